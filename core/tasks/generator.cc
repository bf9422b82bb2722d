#include "core/tasks/generator.h"

#include <algorithm>

#include "core/base/quote.h"

namespace microtome::tasks {

std::vector<Template> Setup::templates() const {
  std::vector<Template> out;
  for (const Json& t : words.at("templates")) {
    Template one;
    one.id = json_int(t, "id", task);
    one.text = json_string(t, "text", task);
    one.label = json_string(t, "name", json_string(t, "template", one.text, task), task);
    one.weight = json_float(t, "weight", 1.0, task);
    one.described = json_int(t, "described", 0, task);
    out.push_back(std::move(one));
  }
  return out;
}

std::vector<std::string> Setup::keep_single(const std::vector<std::string>& all, const std::string& what, size_t need,
                                            const char* lead) const {
  std::vector<std::string> kept;
  for (const std::string& w : all) {
    if (tokenizer.single_token(lead + w)) kept.push_back(w);
  }
  require(kept, all.size(), what, need);
  return kept;
}

void Setup::require(const std::vector<std::string>& kept, size_t of, const std::string& what, size_t need) const {
  if (kept.size() >= need) return;
  constexpr size_t kNamed = 12;
  std::string names;
  for (size_t i = 0; i < std::min(kept.size(), kNamed); ++i) names += (i ? ", " : ": ") + kept[i];
  if (kept.size() > kNamed) names += " …";
  throw Error(StatusCode::kUnsupported,
              "task '" + task + "' needs " + std::to_string(need) + " " + what + " that are single tokens, and of its " +
                  std::to_string(of) + " this tokenizer has " + std::to_string(kept.size()) + names,
              "tokenizer", "use another task, or a dataset of your own");
}

std::vector<std::string> Setup::single_words(const char* key, size_t need, const char* lead) const {
  return keep_single(words.at(key).get<std::vector<std::string>>(), key, need, lead);
}

std::vector<int64_t> Setup::numbers(const char* key) const { return words.at(key).get<std::vector<int64_t>>(); }

std::string Setup::text(const char* key) const { return json_string(words, key, task); }

std::vector<std::pair<int64_t, std::string>> Setup::random_words(size_t need) const {
  std::vector<std::pair<int64_t, std::string>> out;
  const int64_t n = tokenizer.vocab_size();
  for (int64_t id = 0; id < n; ++id) {
    const std::string piece = tokenizer.piece(id);
    size_t at = 0;
    // The space as byte-level and as SentencePiece vocabularies spell it.
    for (const char* space : {"\xC4\xA0", "\xE2\x96\x81", " "}) {
      if (at == 0 && piece.rfind(space, 0) == 0) at = std::string_view(space).size();
    }
    if (at == 0 || piece.size() < at + 2) continue;
    std::string letters = piece.substr(at);
    if (letters.find_first_not_of("abcdefghijklmnopqrstuvwxyz") != std::string::npos) continue;
    out.emplace_back(id, std::move(letters));
  }
  if (out.size() >= need) return out;
  throw Error(StatusCode::kUnsupported,
              "task '" + task + "' needs " + std::to_string(need) +
                  " different lower-case words that are single tokens, and this tokenizer has " +
                  std::to_string(out.size()),
              "tokenizer", "ask for a shorter sequence, or use a dataset of your own");
}

ParamSpec choice_setting(const char* name, std::vector<std::string> choices, const char* help) {
  ParamSpec p;
  p.name = name;
  p.help = help;
  p.type = ParamSpec::Type::kChoice;
  p.fallback = choices.front();
  p.choices = std::move(choices);
  return p;
}

ParamSpec number_setting(const char* name, int64_t min, int64_t max, const char* help) {
  ParamSpec p;
  p.name = name;
  p.help = help;
  p.type = ParamSpec::Type::kInt;
  p.fallback = kDrawn;
  p.min = static_cast<double>(min);
  p.max = static_cast<double>(max);
  return p;
}

Filled fill(const std::string& text, const std::map<std::string, std::string>& values) {
  Filled out;
  for (size_t i = 0; i < text.size();) {
    const size_t close = text[i] == '{' ? text.find('}', i) : std::string::npos;
    if (close == std::string::npos) {
      out.text += text[i++];
      continue;
    }
    const std::string name = text.substr(i + 1, close - i - 1);
    const auto it = values.find(name);
    if (it == values.end()) throw Error(StatusCode::kInternal, "a template has no value for " + in_quotes(name), text);
    const size_t begin = out.text.size();
    out.text += it->second;
    out.slots[name].push_back({begin, out.text.size()});
    i = close + 1;
  }
  return out;
}

bool has_slot(const Template& t, const char* slot) {
  return t.text.find(std::string("{") + slot + "}") != std::string::npos;
}

const Template& pick_template(Rng& rng, const std::vector<Template>& all) {
  double total = 0;
  for (const Template& t : all) total += t.weight;
  double at = rng.uniform() * total;
  for (const Template& t : all) {
    at -= t.weight;
    if (at < 0) return t;
  }
  return all.back();
}

std::string list_label(const std::vector<std::string>& words) { return Json(words).dump(); }

void label_template(Draft& draft, const Template& t) {
  draft.labels["template"] = t.label;
  draft.labels["template_id"] = std::to_string(t.id);
}

}  // namespace microtome::tasks
