#include "analysis/features/feature_result.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/prompts.h"

namespace microtome::analyses {
namespace {

using namespace engine;

constexpr size_t kTableRows = 1000;
constexpr double kDense = 0.1;                     // features that fire on more of the tokens than this
constexpr size_t kTokensShown = 5;

std::string many(int64_t n) {
  std::string digits = std::to_string(n), out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, share < 0.0995 ? "%.2g %%" : "%.0f %%", 100 * share);
  return text;
}

template <class Pair>
std::vector<Pair> pairs(const std::vector<NamedArray>& arrays, const char* index, const char* value, int64_t row) {
  const NamedArray &i = find_array(arrays, index), &v = find_array(arrays, value);
  const int64_t count = i.shape.at(1);
  std::vector<Pair> out;
  for (int64_t k = row * count; k < (row + 1) * count; ++k) {
    const int64_t id = static_cast<int64_t>(i.at(k));
    if (id >= 0 && std::isfinite(v.at(k))) out.push_back({id, v.at(k)});
  }
  return out;
}

// The strongest tokens of the first examples, each once.
std::string strongest_tokens(const FeatureSet& set, const FeatureSet::Feature& f) {
  std::string out;
  std::set<int64_t> seen;
  for (const FeatureSet::Example& e : f.examples) {
    if (e.band != "top" || !seen.insert(e.ids[static_cast<size_t>(e.strongest)]).second || seen.size() > kTokensShown) continue;
    out += (out.empty() ? "'" : ", '") + set.token_texts.at(e.ids[static_cast<size_t>(e.strongest)]) + "'";
  }
  return out;
}

std::string raised_tokens(const FeatureSet& set, const FeatureSet::Feature& f) {
  std::string out;
  for (size_t k = 0; k < std::min(kTokensShown, f.top_logits.size()); ++k) out += (k ? ", '" : "'") + set.token_texts.at(f.top_logits[k].id) + "'";
  return out;
}

// How many features (of all, those that fire) lie at which density, by factors of 10^¼.
Series density_curve(const Moments& m) {
  Series out{"densities", "How often features fire", "log10 of the share of tokens", "features", {{"features", {}, {}}}};
  std::map<int64_t, int64_t> bins;
  for (int64_t n : m.count)
    if (n > 0) ++bins[static_cast<int64_t>(std::floor(4 * std::log10(static_cast<double>(n) / static_cast<double>(m.tokens))))];
  if (bins.empty()) return out;
  for (int64_t b = bins.begin()->first; b <= bins.rbegin()->first; ++b) {
    out.lines[0].x.push_back((static_cast<double>(b) + 0.5) / 4);
    out.lines[0].y.push_back(bins.count(b) ? static_cast<double>(bins[b]) : 0);
  }
  return out;
}

}  // namespace

FeatureSet feature_set(const FoundFeatures& found) {
  const Moments& m = found.first.moments();
  FeatureSet set;
  set.name = "features";
  set.title = "What each feature fires on";
  set.dictionary = found.dictionary.config.name;
  set.hook = found.corpus.hook();
  set.d_sae = found.dictionary.config.d_sae;
  set.tokens_seen = m.tokens;
  const std::vector<int64_t>& chosen = found.second.chosen();
  set.features.reserve(chosen.size());
  for (size_t s = 0; s < chosen.size(); ++s) {
    const size_t k = static_cast<size_t>(chosen[s]);
    const int64_t row = static_cast<int64_t>(s);
    FeatureSet::Feature f;
    f.index = chosen[s];
    f.density = m.tokens > 0 ? static_cast<double>(m.count[k]) / static_cast<double>(m.tokens) : 0;
    f.max = static_cast<double>(m.max[k]);
    f.mean = m.count[k] > 0 ? m.sum[k] / static_cast<double>(m.count[k]) : 0;
    f.top_logits = pairs<FeatureSet::TokenScore>(found.decoder, "top_id", "top_value", row);
    f.bottom_logits = pairs<FeatureSet::TokenScore>(found.decoder, "bottom_id", "bottom_value", row);
    f.neighbours = pairs<FeatureSet::Neighbour>(found.decoder, "neighbour", "cosine", row);
    f.coactive = pairs<FeatureSet::Neighbour>(found.coactive, "feature", "phi", row);
    SecondPass::Feature second = found.second.feature(s);
    f.histogram = std::move(second.histogram);
    for (SecondPass::Shown& shown : second.shown) {
      FeatureSet::Example e;
      e.band = std::move(shown.band);
      e.sequence = found.corpus.sequence_of(shown.token);
      const int64_t begin = found.corpus.first_token(e.sequence);
      auto [from, count] = found.second.window(shown.token);
      e.position = shown.token - begin;
      e.strongest = shown.token - from;
      const auto& ids = found.corpus.corpus().sequences[static_cast<size_t>(e.sequence)];
      e.ids.assign(ids.begin() + (from - begin), ids.begin() + (from - begin + count));
      e.activations = std::move(shown.activations);
      f.examples.push_back(std::move(e));
    }
    for (const auto* scores : {&f.top_logits, &f.bottom_logits})
      for (const FeatureSet::TokenScore& t : *scores) set.token_texts[t.id];
    for (const FeatureSet::Example& e : f.examples)
      for (int64_t id : e.ids) set.token_texts[id];
    set.features.push_back(std::move(f));
  }
  for (auto& [id, text] : set.token_texts) text = token_texts(found.input.tokenizer, {id})[0];
  return set;
}

AnalysisResult feature_result(const FoundFeatures& found) {
  const Moments& m = found.first.moments();
  FeatureSet set = feature_set(found);
  const int64_t d_sae = set.d_sae, alive = std::count_if(m.count.begin(), m.count.end(), [](int64_t n) { return n > 0; });
  const double tokens = static_cast<double>(std::max<int64_t>(1, m.tokens));
  const int64_t dense = std::count_if(m.count.begin(), m.count.end(), [&](int64_t n) { return static_cast<double>(n) > kDense * tokens; });
  double fired = 0;
  for (int64_t n : m.count) fired += static_cast<double>(n);

  AnalysisResult out;
  out.summary = {plain_number("tokens", static_cast<double>(m.tokens), "", "tokens of the corpus that were looked at"),
                 plain_number("alive", static_cast<double>(alive) / static_cast<double>(d_sae), "share", "features that fire on at least one token"),
                 plain_number("dead", static_cast<double>(d_sae - alive), "", "features that never fire on this corpus"),
                 plain_number("dense", static_cast<double>(dense), "", "features that fire on more than 10 % of the tokens"),
                 plain_number("l0", fired / tokens, "", "features that fire on a token, mean over tokens"),
                 plain_number("shown", static_cast<double>(set.features.size()), "", "features with a dashboard")};
  out.findings.push_back(many(alive) + " of " + many(d_sae) + " features (" + percent(static_cast<double>(alive) / static_cast<double>(d_sae)) + ") fire on at least one of " + many(m.tokens) + " tokens; a token has " +
                         short_number(fired / tokens) + " of them on average.");
  if (dense > 0) out.findings.push_back(many(dense) + (dense == 1 ? " feature fires" : " features fire") + " on more than 10 % of the tokens.");
  int64_t judged = 0, of_one_token = 0;
  for (const FeatureSet::Feature& f : set.features) {
    std::set<int64_t> ids;
    int64_t top = 0;
    for (const FeatureSet::Example& e : f.examples)
      if (e.band == "top") ++top, ids.insert(e.ids[static_cast<size_t>(e.strongest)]);
    if (top < 3) continue;
    ++judged;
    of_one_token += ids.size() == 1;
  }
  if (judged > 0) {
    out.summary.push_back(plain_number("one_token", static_cast<double>(of_one_token) / static_cast<double>(judged), "share",
                                       "of the features with three strongest examples or more, those that are strongest on one and the same token in all of them"));
    out.findings.push_back(many(of_one_token) + " of the " + many(judged) + " features with three examples or more are strongest on one and the same token in all their strongest examples.");
  }
  if (alive == 0) out.warnings.push_back("no feature fires on this corpus: the dictionary may belong to another model or point");

  std::vector<const FeatureSet::Feature*> order;
  for (const FeatureSet::Feature& f : set.features) order.push_back(&f);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->max > b->max; });
  Table table{"feature_table", order.size() > kTableRows ? "The " + many(static_cast<int64_t>(kTableRows)) + " features with the largest activations" : "Features by largest activation",
              {{"feature", "", "number in the dictionary"}, {"density", "share", "tokens it fires on"}, {"max", "", "largest activation"}, {"mean", "", "over the tokens it fires on"},
               {"strongest on", "", "tokens of the strongest examples, each once"}, {"raises", "", "tokens whose logits its direction raises most"}}, {}};
  for (size_t i = 0; i < std::min(order.size(), kTableRows); ++i)
    table.rows.push_back({order[i]->index, order[i]->density, order[i]->max, order[i]->mean, strongest_tokens(set, *order[i]), raised_tokens(set, *order[i])});
  out.artifacts = {std::move(set), density_curve(m), std::move(table)};
  return out;
}

}  // namespace microtome::analyses
