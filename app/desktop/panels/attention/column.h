// column.h — one model's attention on the selected prompt: the grid of all heads, one of them enlarged with its
// numbers, and what a query looks at over the text. Knows nothing of the other model; the panel tells it which head,
// row and scale to show.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "app/desktop/panels/attention/patterns.h"
#include "app/desktop/panels/prompt_run.h"

class QBoxLayout;
class QLabel;
class QScrollArea;
class QSplitter;

namespace microtome::desktop {

class HeadLine;
class TokenStrip;

class AttentionColumn : public PromptRunPane {
  Q_OBJECT
 public:
  static constexpr int kLastQuery = -2;  // the last token, whatever its number

  AttentionColumn(Panel& panel, int slot, QWidget* parent);
  HeatMapGridView* grid() const { return grid_; }
  HeatMapView* map() const { return map_; }
  TokenStrip* strip() const { return strip_; }
  HeadLine* line() const { return line_; }
  const std::shared_ptr<const Patterns>& patterns() const { return patterns_; }
  std::vector<View*> views() const;  // those with numbers of a stored run

  void setOptions(const PatternOptions& options);
  // Of the maps that are there; null while they are being cut.
  const PatternGrid* built() const { return built_ ? &*built_ : nullptr; }
  // Nothing: each map has a scale of its own.
  void setScales(const std::optional<PatternScales>& scales);
  // Heads and positions that the model or the prompt lacks: the nearest there is. query -1: none. key -1: none.
  void showAt(int layer, int head, int query, int key);
  int layer() const { return layer_; }
  int head() const { return head_; }
  // Where there is width for two squares the grid stands beside the pattern, else above it; where height is scarce too,
  // the numbers stand beside the grid and the text beside the pattern.
  enum Arrangement { kBeside, kAbove, kDense };
  static constexpr int kArrangements = 3;
  // Share of the grid in each of them.
  double share(int arrangement) const { return share_[arrangement]; }
  void setShare(int arrangement, double share);
  // What the text wants, within reason; two columns take the larger of theirs, so that their borders are at one height.
  int stripWanted() const;
  void setStripHeight(int height);

 Q_SIGNALS:
  void headPicked(int layer, int head);
  void positionPicked(int query, int key);  // -1, -1: cleared
  void gridBuilt();
  void shareChanged(int arrangement, double share);
  void stripChanged();  // stripWanted() may be another

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  void take();  // another run
  void cutGrid();
  void takeGrid(PatternGrid grid);
  void showGrid();
  void cutMap();
  void takeMap(HeatMapData data);
  void markPosition();
  void arrange();
  void divide();
  void showBar();
  std::pair<double, double> scaleOfHead() const;
  Session& session_;
  QSplitter* splitter_;
  HeatMapGridView* grid_;
  QBoxLayout *column_, *upperBox_, *lowerBox_;
  HeatMapView* map_;
  HeadLine* line_;
  QLabel* stripLabel_;
  QScrollArea* stripArea_;
  TokenStrip* strip_;
  std::shared_ptr<const Patterns> patterns_;
  PatternOptions options_;
  std::optional<PatternGrid> built_;
  std::optional<PatternScales> scales_;
  int layer_ = 0, head_ = 0, query_ = -1, key_ = -1;
  int gridTicket_ = 0, mapTicket_ = 0;
  bool mapThere_ = false, mapAsked_ = false;
  Arrangement arrangement_ = kBeside;
  bool lineBelow_ = false;
  double share_[kArrangements] = {0.45, 0.38, 0.45};
};

}  // namespace microtome::desktop
