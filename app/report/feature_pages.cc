// Features as pages of their own, and as Markdown.
#include <algorithm>

#include "app/report/feature_html.h"
#include "app/report/html.h"
#include "app/report/markdown.h"
#include "app/report/style.h"
#include "app/report/svg_heatmap.h"
#include "app/report/token_chips.h"

namespace microtome::report {
namespace {

constexpr size_t kMarkdownFeatures = 12, kMarkdownExamples = 3, kMarkdownLogits = 5;

std::string text_of(const FeatureSet& set, int64_t id) {
  auto it = set.token_texts.find(id);
  return it == set.token_texts.end() ? "#" + std::to_string(id) : it->second;
}

std::string top(const std::string& kick, const std::string& title, const std::string& meta) {
  return "<header><p class=\"kick\">" + escape(shorten(kick, 200)) + "</p><h1>" + escape(shorten(title, 200)) + "</h1><p class=\"meta\">" + meta + "</p></header>\n";
}

std::string end() {
  return "\n<footer class=\"meta\">Written by Microtome. This file is complete: it loads nothing from elsewhere. The shade behind a token is the feature's activation there, against its largest. "
         "Logits leave out the final norm's divisor.</footer><script>" + script() + "</script></body></html>\n";
}

std::string origin(const FeatureSet& set, const std::string& about) {
  return escape(shorten(set.hook, 120)) + " \xC2\xB7 " + count(set.d_sae) + " features \xC2\xB7 " + count(set.tokens_seen) + " tokens" + (about.empty() ? "" : " \xC2\xB7 " + escape(shorten(about, 200)));
}

std::string kick_of(const FeatureSet& set) { return set.dictionary.empty() ? "Features" : set.dictionary; }

std::string one_line(const std::string& text) {
  std::string out;
  for (char c : text) out += c == '\n' ? std::string("\xE2\x8F\x8E") : c == '\t' ? std::string(" ") : std::string(1, c);
  return out;
}

std::string line_of(const FeatureSet& set, const FeatureSet::Example& e) {
  std::string out;
  for (size_t i = 0; i < e.ids.size(); ++i) {
    const std::string text = text_of(set, e.ids[i]);
    out += static_cast<int64_t>(i) == e.strongest ? "\xE2\x9F\xA6" + text + "\xE2\x9F\xA7" : text;
  }
  return one_line(shorten(out, 400));
}

}  // namespace

std::string feature_page(const FeatureSet& set, const FeatureSet::Feature& f, const FeatureLook& look, const FeaturePlace& place, const std::string& about) {
  FeatureLook whole = look;
  whole.examples = 0;
  whole.near = true;
  whole.heading = 0;
  const auto link = look.link;
  whole.link = [&](int64_t i) { return i == f.index || !link ? std::string() : link(i); };
  const std::string name = "Feature " + std::to_string(f.index);
  std::string nav;
  auto go = [&](const std::string& to, const char* rel, const std::string& words) {
    if (!to.empty()) nav += "<a rel=\"" + std::string(rel) + "\" href=\"" + escape(to) + "\">" + words + "</a>";
  };
  go(place.index, "up", "All features");
  go(place.previous, "prev", "\xE2\x86\x90 previous");
  go(place.next, "next", "next \xE2\x86\x92");
  return page_head(name + (f.label.empty() ? "" : ": " + f.label)) + svg_definitions() + (nav.empty() ? "" : "<nav class=\"fnav\" aria-label=\"Features\">" + nav + "</nav>") +
         top(kick_of(set), f.label.empty() ? name : name + ": " + f.label, origin(set, about)) + "<main>" + feature_card(set, f, whole) + "</main>" + end();
}

std::string features_page(const FeatureSet& set, const std::string& about) {
  FeatureLook look;
  look.examples = 0;
  look.near = true;
  look.heading = 2;
  look.link = [&](int64_t i) {
    auto it = std::lower_bound(set.features.begin(), set.features.end(), i, [](const FeatureSet::Feature& f, int64_t k) { return f.index < k; });
    return it != set.features.end() && it->index == i ? "#feature-" + std::to_string(i) : std::string();
  };
  std::string out = page_head(set.title.empty() ? "Features" : set.title) + svg_definitions() + top(kick_of(set), set.title.empty() ? "Features" : set.title, origin(set, about)) + "<main>";
  for (const FeatureSet::Feature& f : set.features) out += "<section>" + feature_card(set, f, look) + "</section>\n";
  if (set.features.empty()) out += "<p>No feature fits.</p>";
  return out + "</main>" + end();
}

std::string feature_index_page(const FeatureSet& head, const std::vector<FeatureRow>& rows, const std::string& about, const std::function<std::string(int64_t)>& link) {
  const std::string title = head.title.empty() ? "Features" : head.title;
  std::string out = page_head(title) + svg_definitions() + top(kick_of(head), title, origin(head, about)) + "<main><p class=\"note\">" + count(static_cast<int64_t>(rows.size())) +
                    (rows.size() == 1 ? " feature." : " features.") + " A heading sorts the table.</p>";
  if (rows.empty()) return out + "<p>No feature fits.</p></main>" + end();
  out += "<p><label>Only rows with <input class=\"ff\" type=\"search\" data-filter=\"features\" autocomplete=\"off\"></label></p>"
         "<div class=\"tw tall\"><table id=\"features\"><thead><tr><th class=\"so n\">feature</th><th class=\"so\">label</th><th class=\"so n\">fires on, %</th><th class=\"so n\">largest</th><th class=\"so n\">mean</th>"
         "<th class=\"so\">strongest on</th><th>strongest example</th></tr></thead><tbody>\n";
  for (const FeatureRow& r : rows) {
    const std::string name = std::to_string(r.index), to = link ? link(r.index) : "";
    out += "<tr><td class=\"n\">" + (to.empty() ? name : "<a href=\"" + escape(to) + "\">" + name + "</a>") + "</td><td>" + escape(shorten(r.label, 120)) + "</td><td class=\"n\">" + number(100 * r.density) +
           "</td><td class=\"n\">" + number(r.max) + "</td><td class=\"n\">" + number(r.mean) + "</td><td>" + (r.token.empty() ? "" : token_chip(r.token)) + "</td><td>" + escape(shorten(one_line(r.text), 120)) + "</td></tr>\n";
  }
  return out + "</tbody></table></div></main>" + end();
}

std::string features_md(const FeatureSet& set) {
  auto md = [](const std::string& s, size_t limit) { return escape_markdown(shorten(s, limit)); };
  std::string out = count(static_cast<int64_t>(set.features.size())) + " of the " + count(set.d_sae) + " features of " + md(set.dictionary.empty() ? "a dictionary" : set.dictionary, 120) + " at " + code_span(set.hook) + " on " + count(set.tokens_seen) +
                    " tokens. The strongest token of an example stands in \xE2\x9F\xA6 \xE2\x9F\xA7.\n\n";
  for (const FeatureSet::Feature* f : shown_first(set, kMarkdownFeatures)) {
    out += "**Feature " + std::to_string(f->index) + "**" + (f->label.empty() ? "" : " " + md(f->label, 200)) + ": " +
           (f->density == 0 ? "never fires on this corpus" : "fires on " + number(100 * f->density) + " % of tokens, largest " + number(f->max) + ", mean " + number(f->mean));
    for (const auto& [name, scores] : {std::pair{"raises", &f->top_logits}, {"lowers", &f->bottom_logits}}) {
      if (scores->empty()) continue;
      out += std::string("; ") + name;
      for (size_t i = 0; i < std::min(scores->size(), kMarkdownLogits); ++i) out += " " + code_span(shorten((*scores)[i].id >= 0 ? text_of(set, (*scores)[i].id) : "", 32));
    }
    out += "\n\n";
    size_t n = 0;
    for (const FeatureSet::Example& e : f->examples) {
      if (e.band != "top" || ++n > kMarkdownExamples) break;
      const bool known = e.strongest >= 0 && e.strongest < static_cast<int64_t>(e.activations.size());
      out += "- " + (known ? number(static_cast<double>(e.activations[static_cast<size_t>(e.strongest)])) + " " : std::string()) + code_span(line_of(set, e)) + "\n";
    }
    out += "\n";
  }
  if (set.features.size() > kMarkdownFeatures) out += "Those with a label, then those with the largest activations that fire on at most 10 % of tokens.\n\n";
  return out;
}

}  // namespace microtome::report
