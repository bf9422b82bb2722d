// array_view.h — decides how an array with named axes is looked at: which axes are cut or averaged, which become rows,
// columns and panels. The drawing is in figures.cc. Works on any axes; nothing here knows an analysis.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "app/report/report_index.h"
#include "app/report/svg_heatmap.h"
#include "core/base/artifact.h"

namespace microtome::report {

// A strided look into an array; cutting and reordering copy nothing. The array must outlive it.
class ArraySlice {
 public:
  // False when the shape and the data do not fit together; `why` then says how, and `out` is untouched.
  static bool make(const NamedArray& array, ArraySlice& out, std::string& why);
  int64_t rank() const { return static_cast<int64_t>(axes_.size()); }
  const std::vector<std::string>& axes() const { return axes_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int find(const std::string& axis) const;  // first axis of that name, -1 when absent
  int64_t cells() const;
  ArraySlice cut(int axis, int64_t index) const;
  ArraySlice order(const std::vector<int>& axes) const;
  std::vector<double> values() const;             // row-major copy
  std::vector<double> mean_over(int axis) const;  // NaN cells left out; NaN where all are

 private:
  double at(int64_t flat) const;
  const NamedArray* array_ = nullptr;
  std::vector<std::string> axes_;
  std::vector<int64_t> shape_, strides_;
  int64_t offset_ = 0;
};

// The heads of one model worth a picture, best first, and what says so.
struct HeadRanking {
  struct Head {
    int64_t layer, head;
    double score;
  };
  std::vector<Head> heads;
  std::string reason;  // "largest |effect| in activation_patching"; empty: none known
};
HeadRanking rank_heads(const std::vector<ReportRun>& runs, const ReportIndex& index, size_t model);

struct ArrayView {
  enum class Kind { kBroken, kNumber, kBars, kMap, kPanels, kPattern };
  Kind kind = Kind::kBroken;
  Ramp ramp = Ramp::kSequential;
  std::vector<std::string> notes;  // what was cut, averaged, left out
  std::vector<double> numbers;     // kNumber: one; kBars: the bars
  HeatmapAxis bars;
  std::vector<Heatmap> maps;         // kMap: one; kPanels, kPattern: several, without scale
  HeatmapAxis grid_rows, grid_cols;  // kPattern: layers × heads
  int64_t grid_columns = 0;          // kPattern: heads; 0: too many heads for a grid
  std::vector<size_t> chosen;        // kPattern: maps to enlarge, best first
  std::vector<std::string> chosen_labels;
  bool has_missing = false;
};

struct ViewContext {
  const ModelFacts* model = nullptr;
  std::vector<std::string> tokens;  // of prompt 0, for position axes without labels of their own
  const HeadRanking* heads = nullptr;
};
ArrayView view_array(const NamedArray& array, const TensorMap& map, const ViewContext& context);

}  // namespace microtome::report
