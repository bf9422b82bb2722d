#include "app/report/token_chips.h"

#include <algorithm>

#include "app/report/html.h"
#include "app/report/report_index.h"

namespace microtome::report {
namespace {

// Label texts by position; labels that share a token are joined.
std::map<int64_t, std::string> position_labels(const Json& prompt) {
  std::map<int64_t, std::string> out;
  const Json* positions = find_key(prompt, "positions");
  if (!positions || !positions->is_object()) return out;
  for (const auto& [name, at] : positions->items()) {
    if (!at.is_number_integer() || out.size() > 256) continue;
    std::string& text = out[at.get<int64_t>()];
    text += (text.empty() ? "" : "/") + shorten(name, 16);
  }
  return out;
}

std::string row(const char* name, const std::vector<std::string>& tokens) {
  std::string out = "<div class=\"toks\"><span class=\"rowname\">" + std::string(name) + "</span>";
  for (const std::string& t : tokens) out += token_chip(t);
  return out + "</div>";
}

}  // namespace

std::string token_chip(const std::string& token, const std::string& look) {
  std::string shown = token.empty() ? "\xE2\x88\x85" : visible_blanks(shorten(token, 48));
  return "<span class=\"tok" + (look.empty() ? "" : " " + look) + "\">" + escape(shown) + "</span>";
}

std::string prompt_html(const Json& prompt, size_t number) {
  std::vector<std::string> clean = token_list(find_key(prompt, "clean")),
                           corrupted = token_list(find_key(prompt, "corrupted"));
  std::map<int64_t, std::string> labels = position_labels(prompt);
  std::string out = "<div class=\"prompt\">";
  if (corrupted.empty() || corrupted.size() == clean.size()) {
    bool pair = !corrupted.empty(), any = !labels.empty();
    out += "<div class=\"toks\"><div class=\"col\">";
    if (any) out += "<span class=\"pl\"></span>";
    out += "<span class=\"rowname\">clean</span>";
    if (pair) out += "<span class=\"rowname\">corrupted</span>";
    out += "</div>";
    for (size_t i = 0; i < clean.size(); ++i) {
      bool differs = pair && clean[i] != corrupted[i];
      out += "<div class=\"col\">";
      if (any) {
        auto it = labels.find(static_cast<int64_t>(i));
        out += "<span class=\"pl\">" + (it == labels.end() ? "" : escape(it->second)) + "</span>";
      }
      out += token_chip(clean[i], differs ? "diff" : "");
      if (pair) out += token_chip(corrupted[i], differs ? "diff" : "same");
      out += "</div>";
    }
    out += "</div>";
  } else {
    out += row("clean", clean) + row("corrupted", corrupted);
  }
  out += "<div class=\"cap\">" + std::to_string(number) + ".";
  std::vector<std::string> answers = token_list(find_key(prompt, "answers"));
  if (std::string a = text_at(prompt, "answer"); !a.empty()) answers.insert(answers.begin(), a);
  if (!answers.empty()) out += " Answer ";
  for (const std::string& a : answers) out += token_chip(a, "ans") + " ";
  std::vector<std::string> wrong = token_list(find_key(prompt, "wrong"));
  if (!wrong.empty()) out += " against ";
  for (size_t i = 0; i < std::min<size_t>(wrong.size(), 12); ++i) out += token_chip(wrong[i]) + " ";
  if (wrong.size() > 12) out += "and " + std::to_string(wrong.size() - 12) + " more ";
  if (const Json* more = find_key(prompt, "labels"); more && more->is_object()) {
    int n = 0;
    for (const auto& [k, v] : more->items()) {
      if (++n > 8) break;
      out += " \xC2\xB7 " + escape(shorten(k, 32)) + " " + escape(shorten(scalar_text(v), 48));
    }
  }
  return out + "</div></div>";
}

}  // namespace microtome::report
