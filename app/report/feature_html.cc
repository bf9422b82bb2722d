#include "app/report/feature_html.h"

#include <algorithm>
#include <cmath>

#include "app/report/html.h"
#include "app/report/svg_chart.h"
#include "app/report/token_chips.h"
#include "core/base/json.h"

namespace microtome::report {
namespace {

constexpr size_t kGallery = 12, kLogitsShown = 8;
constexpr int kShades = 10;

std::string text_of(const FeatureSet& set, int64_t id) {
  auto it = set.token_texts.find(id);
  return it == set.token_texts.end() ? "#" + std::to_string(id) : it->second;
}

// A blank stays one; line breaks and tabs can be seen.
std::string running(const std::string& token) {
  std::string out;
  for (char c : shorten(token, 48)) {
    if (c == '\n') out += "\xE2\x8F\x8E";
    else if (c == '\t') out += "\xE2\x87\xA5";
    else if (c != '\r') out += c;
  }
  return out.empty() ? "\xE2\x88\x85" : out;
}

int shade(float activation, double max) {
  if (!(activation > 0)) return 0;
  const double share = max > 0 ? static_cast<double>(activation) / max : 1;
  return std::clamp(static_cast<int>(std::ceil(share * kShades)), 1, kShades);
}

std::string logits_html(const FeatureSet& set, const std::vector<FeatureSet::TokenScore>& scores, const char* title, size_t most) {
  if (scores.empty()) return {};
  std::string out = "<div class=\"fl\"><h6>" + std::string(title) + "</h6><ol>";
  for (size_t i = 0; i < std::min(scores.size(), most); ++i)
    out += "<li>" + token_chip(text_of(set, scores[i].id)) + "<span class=\"v\">" + number(scores[i].value) + "</span></li>";
  return out + "</ol></div>";
}

std::string near_html(const std::vector<FeatureSet::Neighbour>& near, const char* title, const char* note, const FeatureLook& look) {
  if (near.empty()) return {};
  std::string out = "<div class=\"fl\"><h6 title=\"" + escape(note) + "\">" + std::string(title) + "</h6><ol>";
  for (const FeatureSet::Neighbour& n : near) {
    const std::string link = look.link ? look.link(n.feature) : "", name = std::to_string(n.feature);
    out += "<li>" + (link.empty() ? name : "<a href=\"" + escape(link) + "\">" + name + "</a>") + "<span class=\"v\">" + number(n.value) + "</span></li>";
  }
  return out + "</ol></div>";
}

std::string facts(const FeatureSet::Feature& f) {
  if (f.density == 0) return "never fires on this corpus";
  return "fires on " + number(100 * f.density) + " % of tokens \xC2\xB7 largest " + number(f.max) + " \xC2\xB7 mean " + number(f.mean);
}

}  // namespace

std::string example_html(const FeatureSet& set, const FeatureSet::Example& e, double max) {
  const bool known = e.strongest >= 0 && e.strongest < static_cast<int64_t>(std::min(e.activations.size(), e.ids.size()));
  std::string out = "<div class=\"ex\"><span class=\"v\" title=\"sequence " + std::to_string(e.sequence) + ", position " + std::to_string(e.position) + "\">" +
                    (known ? number(static_cast<double>(e.activations[static_cast<size_t>(e.strongest)])) : "") + "</span><span class=\"et\">";
  for (size_t i = 0; i < e.ids.size(); ++i) {
    const float a = i < e.activations.size() ? e.activations[i] : 0.f;
    const int s = shade(a, max);
    std::string look = s > 0 ? " a" + std::to_string(s) : "";
    if (static_cast<int64_t>(i) == e.strongest) look += " pk";
    out += "<span class=\"tk" + look + "\"" + (s > 0 ? " title=\"" + number(static_cast<double>(a)) + "\"" : "") + ">" + escape(running(text_of(set, e.ids[i]))) + "</span>";
  }
  return out + "</span></div>";
}

std::string histogram_svg(const FeatureSet::Feature& f) {
  int64_t most = 0, all = 0;
  for (int64_t n : f.histogram) {
    most = std::max(most, n);
    all += std::max<int64_t>(0, n);
  }
  if (most <= 0) return {};
  constexpr double kWidth = 300, kHeight = 72, kFoot = 16;
  const double step = kWidth / static_cast<double>(f.histogram.size()), top = std::log1p(static_cast<double>(most));
  std::string bars;
  for (size_t i = 0; i < f.histogram.size(); ++i) {
    if (f.histogram[i] <= 0) continue;
    const double h = std::max(1.5, kHeight * std::log1p(static_cast<double>(f.histogram[i])) / top);
    const double width = f.max / static_cast<double>(f.histogram.size());
    bars += "<rect x=\"" + coordinate(static_cast<double>(i) * step) + "\" y=\"" + coordinate(kHeight - h) + "\" width=\"" + coordinate(std::max(0.6, step - 1)) + "\" height=\"" + coordinate(h) +
            "\"><title>" + number(static_cast<double>(i) * width) + " to " + number(static_cast<double>(i + 1) * width) + ": " + count(f.histogram[i]) + "</title></rect>";
  }
  return "<svg class=\"fh\" role=\"img\" aria-label=\"Histogram of " + count(all) + " activations from 0 to " + number(f.max) + ", heights logarithmic\" viewBox=\"0 0 300 90\" width=\"300\" height=\"90\"><g class=\"ba\">" +
         bars + "</g><line class=\"ze\" x1=\"0\" y1=\"72.5\" x2=\"300\" y2=\"72.5\"/><text class=\"ax\" x=\"0\" y=\"" + coordinate(kHeight + kFoot) + "\">0</text><text class=\"axm\" x=\"150\" y=\"" + coordinate(kHeight + kFoot) + "\">activation, heights logarithmic</text><text class=\"ax tr\" x=\"300\" y=\"" +
         coordinate(kHeight + kFoot) + "\">" + number(f.max) + "</text></svg>";
}

std::string feature_card(const FeatureSet& set, const FeatureSet::Feature& f, const FeatureLook& look) {
  const std::string h = "h" + std::to_string(std::clamp(look.heading, 1, 6)), link = look.link ? look.link(f.index) : "", name = "Feature " + std::to_string(f.index);
  std::string out = "<article class=\"feat\" id=\"feature-" + std::to_string(f.index) + "\">";
  if (look.heading > 0)
    out += "<" + h + ">" + (link.empty() ? name : "<a href=\"" + escape(link) + "\">" + name + "</a>") + (f.label.empty() ? "" : " <span class=\"fn\">" + escape(shorten(f.label, 200)) + "</span>") + "</" + h + ">";
  out += "<p class=\"note\">" + facts(f) + "</p>";
  std::string side = histogram_svg(f);
  if (!side.empty()) side = "<figure>" + side + "</figure>";
  const size_t most = look.near ? f.top_logits.size() : kLogitsShown;
  side += logits_html(set, f.top_logits, "raises", most) + logits_html(set, f.bottom_logits, "lowers", most);
  if (look.near)
    side += near_html(f.neighbours, "nearest", "cosine of the decoder's directions", look) + near_html(f.coactive, "fires with", "correlation of activity over tokens (phi)", look);
  if (!side.empty()) out += "<div class=\"fs\">" + side + "</div>";
  std::string band;
  size_t shown = 0;
  for (const FeatureSet::Example& e : f.examples) {
    if (look.examples > 0 && (e.band != "top" || shown >= look.examples)) break;
    if (look.examples == 0 && e.band != band) {
      band = e.band;
      out += "<h6>" + (band == "top" ? std::string("strongest examples") : "drawn from " + escape(shorten(band, 40)) + " of the largest activation") + "</h6>";
    }
    out += example_html(set, e, f.max);
    ++shown;
  }
  return out + "</article>";
}

std::vector<const FeatureSet::Feature*> shown_first(const FeatureSet& set, size_t n) {
  std::vector<const FeatureSet::Feature*> out;
  for (const FeatureSet::Feature& f : set.features) out.push_back(&f);
  auto rank = [](const FeatureSet::Feature& f) { return !f.label.empty() ? 0 : f.density > 0 && f.density <= 0.1 && !f.examples.empty() ? 1 : f.density > 0 ? 2 : 3; };
  std::stable_sort(out.begin(), out.end(), [&](const auto* a, const auto* b) { return rank(*a) != rank(*b) ? rank(*a) < rank(*b) : a->max > b->max; });
  if (out.size() > n) out.resize(n);
  return out;
}

std::string features_html(const FeatureSet& set) {
  const std::vector<const FeatureSet::Feature*> shown = shown_first(set, kGallery);
  std::string out = "<p class=\"note\">" + count(static_cast<int64_t>(set.features.size())) + " of the " + count(set.d_sae) + " features of <b>" + escape(shorten(set.dictionary.empty() ? "a dictionary" : set.dictionary, 120)) + "</b> at <code>" +
                    escape(shorten(set.hook, 120)) + "</code> on " + count(set.tokens_seen) + " tokens.";
  if (shown.size() < set.features.size())
    out += " Here are " + count(static_cast<int64_t>(shown.size())) + ": those with a label, then those with the largest activations that fire on at most 10 % of tokens.";
  out += " The shade behind a token is the feature's activation there, against its largest; the number in front is the strongest token's. Logits leave out the final norm's divisor.</p><div class=\"feats\">";
  for (const FeatureSet::Feature* f : shown) out += feature_card(set, *f, {});
  return out + "</div>";
}

std::string feature_style() {
  std::string out = R"css(
:root{--act:64 156 255}
.feats{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,560px),1fr));gap:8px 40px;align-items:start}
.feat{min-width:0;padding:0 0 16px}
.feat h5,.feat h4,.feat h3{margin:16px 0 0}
.fn{font-weight:400;color:var(--dim);margin-left:8px;overflow-wrap:anywhere}
.feat h6{font-size:12px;line-height:20px;margin:8px 0 0;font-weight:600;color:var(--dim)}
.feat .note{margin:0 0 8px}.feat figure{margin:0}
.fs{display:flex;flex-wrap:wrap;gap:8px 32px;align-items:flex-start;margin:0 0 8px}
.fl h6{margin:0}.fl ol{list-style:none;margin:0;padding:0;font-size:13px;line-height:20px}
.fl li{display:flex;justify-content:space-between;gap:12px;margin:0}
.fl .tok{line-height:18px;max-width:160px}
.feats .fs{gap:8px 20px}.feats .fh{width:220px;height:66px}.feats .fh .axm{display:none}.feats .fh text{font-size:14px}.feats .fl .tok{max-width:96px}
.v{font-size:12px;color:var(--dim);font-variant-numeric:tabular-nums}
.ex{display:flex;gap:8px;margin:0 0 4px;font-size:13.5px;line-height:23px}
.ex>.v{flex:0 0 3.5em;text-align:right;line-height:23px}
.et{min-width:0;overflow-wrap:anywhere}
.tk{white-space:pre-wrap;unicode-bidi:isolate;border-radius:2px;padding:2px 0;box-decoration-break:clone;-webkit-box-decoration-break:clone;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.tk.pk{box-shadow:inset 0 -2px 0 var(--accent)}
.fnav{display:flex;gap:24px;font-size:14px;padding-top:24px}
a:focus-visible,input:focus-visible,th:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.ff{font:inherit;font-size:14px;width:min(100%,420px);padding:4px 8px;margin:0 0 16px;border:1px solid var(--dim);border-radius:4px;background:var(--bg);color:var(--fg)}
.tall{max-height:none}
)css";
  for (int i = 1; i <= kShades; ++i) out += ".a" + std::to_string(i) + "{background:rgb(var(--act)/" + coordinate(0.09 * i) + ")}";
  // Light text stays legible on the darker half, dark text on the brighter.
  out += "\n@media screen and (prefers-color-scheme:dark){";
  for (int i = 1; i <= kShades; ++i) {
    const std::string n = std::to_string(i);
    out += i <= 6 ? ".a" + n + "{background:rgb(var(--act)/" + coordinate(0.1 * i) + ")}" : ".a" + n + "{background:rgb(var(--act)/" + coordinate(0.55 + 0.045 * i) + ");color:#0b0d10}";
  }
  return out + "}\n";
}

std::string weights_text(const TensorMap& map) {
  const auto config = map.axis_labels.find("config");
  if (config == map.axis_labels.end() || config->second.size() != 1) return {};
  const Result<Json> json = parse_json(config->second.front(), "dictionary");
  if (!json || !json.value().is_object()) return {};
  const auto number_of = [&](const char* key) {
    const auto at = json.value().find(key);
    return at != json.value().end() && at->is_number_integer() ? at->get<int64_t>() : 0;
  };
  const auto kind = json.value().find("kind");
  std::string out = "A dictionary of " + count(number_of("d_sae")) + " features" + (kind != json.value().end() && kind->is_string() ? " of the kind " + kind->get<std::string>() : "") +
                    ", from width " + count(number_of("d_in")) + " to " + count(number_of("d_out")) + ": ";
  for (size_t a = 0; a < map.arrays.size(); ++a) {
    out += (a ? ", " : "") + map.arrays[a].name + " [";
    for (size_t d = 0; d < map.arrays[a].shape.size(); ++d) out += (d ? ", " : "") + std::to_string(map.arrays[a].shape[d]);
    out += "]";
  }
  return out + ". The weights are in the project; `microtome export` writes them as files.";
}

}  // namespace microtome::report
