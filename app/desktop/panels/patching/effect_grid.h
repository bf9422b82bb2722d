// effect_grid.h — the grid of a patching, attribution or ablation result, whole or still filling: its arrays over layers, heads and
// positions, laid out in rows and columns; the cell that stands out; what was measured on one prompt. Pure; any thread.
#pragma once

#include <QString>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "app/desktop/views/heat_map.h"
#include "core/base/artifact.h"

namespace microtome::desktop {

// A place of the grid. -1: the grid has no such axis, or it is left open. pos: as the grid counts, aligned at the end.
struct PatchCell {
  int64_t layer = -1, head = -1, pos = -1;
  bool operator==(const PatchCell&) const = default;
};

// How a grid with layers, positions and heads becomes a picture: a head's number shows that head alone.
constexpr int kEveryHead = -1;         // rows: layer and head; columns: positions
constexpr int kStrongestHead = -2;     // of every layer and position the head that does most

class EffectGrid {
 public:
  // Null where the result has no array over layers, and heads or positions. kinds: of the model's layers. neutral: the value at which
  // nothing happened, 1 where corrupted values are put into a clean run, else 0.
  static std::shared_ptr<const EffectGrid> read(std::shared_ptr<const AnalysisResult> result, std::vector<LayerKind> kinds,
                                                double neutral);
  // left − right, cell by cell; null where their sizes or numbers differ in kind.
  static std::shared_ptr<const EffectGrid> difference(const EffectGrid& left, const EffectGrid& right);

  int64_t layers() const { return layers_; }
  int64_t heads() const { return heads_; }             // 0: no such axis
  int64_t width() const { return width_; }             // positions; 0: no such axis
  int arrays() const { return static_cast<int>(arrays_.size()); }
  const NamedArray& array(int i) const { return *arrays_[static_cast<size_t>(i)]; }
  int arrayNamed(const QString& name) const;           // -1: none
  const std::string& artifact() const { return map_->name; }
  const std::string& title() const { return map_->title; }
  const AnalysisResult& result() const { return *result_; }

  bool holds(const PatchCell& cell) const;             // on the grid, with just the axes that it has
  double value(int array, const PatchCell& cell) const;     // NaN: no such cell, or not known
  // Of the cells that agree with what `fixed` gives, the one furthest from neutral in the first array; no layer: none is known.
  PatchCell strongest(const PatchCell& fixed) const;
  QString labelAt(int64_t pos) const;                  // the token, or "-3" where prompts differ

  // The picture of an array. look: kEveryHead, kStrongestHead or a head; without meaning where there are not three axes.
  HeatMapData picture(int array, int look) const;
  PatchCell cellAt(int64_t row, int64_t col, int array, int look) const;
  // Row and column of a cell; {-1, -1}: it is not in this picture.
  std::pair<int64_t, int64_t> placeOf(const PatchCell& cell, int look) const;
  bool threeAxes() const { return heads_ > 0 && width_ > 0; }

  // A cell's number on one prompt, from an array that keeps every prompt; NaN: there is none.
  double onPrompt(const char* name, const PatchCell& cell, int64_t prompt) const;
  std::string metric() const;          // "logit_diff"; empty while it runs
  std::shared_ptr<const Table> table() const;          // strongest cells; null: none
  // The cell that a row of that table is about; no layer: it names none.
  PatchCell cellOfRow(qint64 row) const;

 private:
  int64_t flat(const PatchCell& cell) const;
  int64_t strongestHead(int array, int64_t layer, int64_t pos) const;
  std::shared_ptr<const AnalysisResult> result_;
  const TensorMap* map_ = nullptr;
  std::vector<const NamedArray*> arrays_;
  std::vector<std::vector<float>> converted_;          // of arrays that are not float32
  std::vector<const float*> numbers_;
  std::vector<LayerKind> kinds_;
  int64_t layers_ = 0, heads_ = 0, width_ = 0;
  double neutral_ = 0;
};

}  // namespace microtome::desktop
