// feature_html.h — a dictionary's features as HTML: a card a feature (histogram, logits, examples with shaded tokens), a gallery
// for the report, pages of their own for a browser. Pure functions; every text is escaped.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/store/feature_query.h"

namespace microtome::report {

struct FeatureLook {
  size_t examples = 3;                         // of the strongest; 0: all there are, those of the bands too
  bool near = false;                           // also neighbours and features that fire together
  int heading = 5;                             // <h5>; 0: the page's own heading names it
  // Where a feature's own page is; empty text or no function: it has none.
  std::function<std::string(int64_t index)> link = {};
};
std::string feature_card(const FeatureSet& set, const FeatureSet::Feature& feature, const FeatureLook& look);
// The activations of an example's tokens as the shade behind them, against the feature's maximum.
std::string example_html(const FeatureSet& set, const FeatureSet::Example& example, double max);
// Counts of activations as bars, heights on a logarithmic scale. Empty without counts.
std::string histogram_svg(const FeatureSet::Feature& feature);

// Those a reader may care for first: with a label; then those that fire on at most a tenth of the tokens and have examples, by
// largest activation; then the rest. At most n.
std::vector<const FeatureSet::Feature*> shown_first(const FeatureSet& set, size_t n);
std::string features_html(const FeatureSet& set);
std::string features_md(const FeatureSet& set);
std::string feature_style();

// Whole pages that load nothing from elsewhere. `set` holds what is shown; `about` is one line over the list ("Run 3 of …").
struct FeaturePlace {
  std::string previous, next, index;           // links; empty: none
};
std::string feature_page(const FeatureSet& set, const FeatureSet::Feature& feature, const FeatureLook& look, const FeaturePlace& place, const std::string& about);
// All features of the set one below the other.
std::string features_page(const FeatureSet& set, const std::string& about);
std::string feature_index_page(const FeatureSet& head, const std::vector<FeatureRow>& rows, const std::string& about, const std::function<std::string(int64_t)>& link);

// The weights of a dictionary (a tensor map whose axis "config" has its configuration as the one label), said in a sentence: a picture of them is
// noise. Empty: the map is something else.
std::string weights_text(const TensorMap& map);

}  // namespace microtome::report
