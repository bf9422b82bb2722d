// patterns.h — the attention patterns of one prompt, read from a run of the analysis `attention`: checked once, then
// cut head by head as a person wants to see them. Any thread; nothing of the GUI.
#pragma once

#include <QString>
#include <QStringList>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "app/desktop/session/session.h"
#include "app/desktop/views/heat_map_grid.h"

namespace microtome::desktop {

// How the exact matrix of a recurrent head is shown: as it is, by size, or by size as shares of a row (as its numbers
// take it).
enum class RecurrentLook { kSigned, kAbsolute, kShare };

struct PatternOptions {
  RecurrentLook recurrent = RecurrentLook::kSigned;
  bool hideFirst = false;  // without the first token, whose weight often hides all others
  bool operator==(const PatternOptions&) const = default;
};

// Largest size of a value, by look; nothing where no map has that look.
using PatternScales = std::array<std::optional<double>, 3>;

// Small maps of all heads, with the scales they would have on their own.
struct PatternGrid {
  HeatMapGridData data;
  PatternScales most;
};

class Patterns {
 public:
  // Null where the run keeps no pattern (a prompt too long for it), or an array that does not fit the model and the
  // prompt.
  static std::shared_ptr<const Patterns> read(const RunViewPtr& run, const app::ModelPtr& model,
                                              const PromptPair& pair);

  int64_t layers() const { return layers_; }
  int64_t heads() const { return heads_; }  // of the layer that has most
  int64_t headsOf(int64_t layer) const { return facts_[static_cast<size_t>(layer)].heads; }
  int64_t tokens() const { return tokens_; }
  bool recurrent(int64_t layer) const { return facts_[static_cast<size_t>(layer)].recurrent; }
  bool anyRecurrent() const;
  const QStringList& words() const { return words_; }
  const RunViewPtr& run() const { return run_; }
  // False for heads that the layer lacks and for layers without such a matrix.
  bool exists(int64_t layer, int64_t head) const;

  // 1 where the first token is left out (its weights are then NaN, "no value"), else 0.
  int64_t first(const PatternOptions& options) const { return options.hideFirst && tokens_ > 1 ? 1 : 0; }
  Look look(int64_t layer, const PatternOptions& options) const;
  // A row over all tokens: NaN for keys after the query, and for the first token where it is left out.
  std::vector<double> row(int64_t layer, int64_t head, int64_t query, const PatternOptions& options) const;
  // A head's map in full, labelled with the tokens, without a scale.
  HeatMapData map(int64_t layer, int64_t head, const PatternOptions& options) const;
  // Of long prompts the maps hold the value of largest size of every block of cells, at most kGridSide a side.
  static constexpr int64_t kGridSide = 256;
  PatternGrid grid(const PatternOptions& options) const;

 private:
  const float* head(int64_t layer, int64_t head) const {
    return values_->data() + (layer * heads_ + head) * tokens_ * tokens_;
  }
  // What a weight of this row becomes: sign, size or share.
  double factor(int64_t layer, const float* row, int64_t query, const PatternOptions& options) const;
  HeatMapData named(int64_t layer, const PatternOptions& options) const;
  RunViewPtr run_;
  const std::vector<float>* values_ = nullptr;
  QString help_;
  int64_t layers_ = 0, heads_ = 0, tokens_ = 0;
  std::vector<app::LayerFacts> facts_;
  QStringList words_;
};

// What keeping whole patterns takes: one number for every head, query and key. Bytes.
double patternBytes(const app::ModelFacts& facts, int64_t tokens);
// "96 MB", "1.1 GB".
QString bytesText(double bytes);

// The one scale of maps whose numbers are comparable: for each look from what all of `grids` have. Attention without
// anything hidden goes from 0 to 1.
PatternScales commonScales(const std::vector<const PatternGrid*>& grids, bool hideFirst);
// lo, hi of a look under that scale.
std::pair<double, double> scaleFor(Look look, const PatternScales& scales);

}  // namespace microtome::desktop
