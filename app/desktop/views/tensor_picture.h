// tensor_picture.h — what a slice of an array looks like: the data of a heat map, a chart or a number, with axes, labels,
// units and scale. And the worker's part: cutting with the range of the whole array.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "app/desktop/views/artifact_view.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/heat_map.h"
#include "app/desktop/views/tensor_slice.h"

namespace microtome::desktop {

// A slice with its numbers.
struct TensorCut {
  int array = -1;
  TensorSlice slice;
  std::shared_ptr<const std::vector<float>> values;
  int64_t rows = 1, cols = 1;
  bool causal = false, negative = false;               // of this slice
  std::pair<double, double> range{0, 0};               // of the whole array
};

// Any thread. `known`: the range of the whole array where it is known already.
TensorCut cutArray(const TensorMap& map, int array, const TensorSlice& slice,
                   const std::optional<std::pair<double, double>>& known, const std::atomic<bool>& stop);

// The labels of an axis where there is one for each of its `size` places; else null.
const std::vector<std::string>* labelsOf(const TensorMap& map, const std::string& axis, int64_t size);
// Positions whose labels are words rather than numbers.
bool hasTokens(const std::string& axis, const std::vector<std::string>* labels);
MapAxis mapAxisOf(const TensorMap& map, const NamedArray& array, int axis, const ArtifactContext& context);

HeatMapData heatMapOf(const TensorMap& map, const TensorCut& cut, const MapAxis& rows, const MapAxis& cols, bool commonScale);
// For a slice with a single axis.
ChartData chartOf(const TensorMap& map, const TensorCut& cut, const MapAxis& axis);
// Whether a single axis is better a row of cells: more places than a chart can draw.
bool isTooLongForChart(int64_t cols);

}  // namespace microtome::desktop
