#include "app/desktop/views/tensor_picture.h"

#include <algorithm>

#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

constexpr int64_t kMostPoints = 20000;
constexpr size_t kMostLabelBytes = 512;

Look lookFor(const TensorMap& map, const NamedArray& array, const TensorCut& cut) {
  const auto it = map.looks.find(array.name);
  if (it == map.looks.end()) return cut.range.first < 0 ? Look::kDiverging : Look::kSequential;
  const Look look = lookOf(it->second);
  // The exact matrix of a recurrent layer has signs: white is then zero, as in every signed picture.
  return look == Look::kPattern && cut.negative ? Look::kDiverging : look;
}

}  // namespace

TensorCut cutArray(const TensorMap& map, int array, const TensorSlice& slice,
                   const std::optional<std::pair<double, double>>& known, const std::atomic<bool>& stop) {
  const NamedArray& a = map.arrays[static_cast<size_t>(array)];
  TensorCut out;
  out.array = array;
  out.slice = slice;
  out.rows = rowsOf(a, slice);
  out.cols = colsOf(a, slice);
  auto values = std::make_shared<std::vector<float>>(cut(a, slice, stop));
  out.causal = map.looks.count(a.name) && map.looks.at(a.name) == "pattern" && isCausal(*values, out.rows, out.cols);
  out.negative = std::any_of(values->begin(), values->end(), [](float x) { return x < -1e-6f; });
  out.range = known ? *known : rangeOf(a, stop);
  out.values = std::move(values);
  return out;
}

const std::vector<std::string>* labelsOf(const TensorMap& map, const std::string& axis, int64_t size) {
  const auto it = map.axis_labels.find(axis);
  // Labels of another length belong to another array: which of them fit can't be known.
  return it != map.axis_labels.end() && static_cast<int64_t>(it->second.size()) == size ? &it->second : nullptr;
}

bool hasTokens(const std::string& axis, const std::vector<std::string>* labels) {
  if (!labels || !isPositionAxis(axis)) return false;
  return std::any_of(labels->begin(), labels->end(), [](const std::string& l) {
    return l.find_first_not_of("-0123456789") != std::string::npos;
  });
}

MapAxis mapAxisOf(const TensorMap& map, const NamedArray& array, int axis, const ArtifactContext& context) {
  MapAxis out;
  if (axis < 0) return out;
  const std::string& name = array.axes[static_cast<size_t>(axis)];
  const int64_t size = array.shape[static_cast<size_t>(axis)];
  out.name = axisText(name);
  const std::vector<std::string>* labels = labelsOf(map, name, size);
  out.tokens = hasTokens(name, labels);
  if (labels) {
    out.labels.reserve(static_cast<qsizetype>(labels->size()));
    for (const std::string& l : *labels)
      out.labels += out.tokens ? QString::fromStdString(l.substr(0, kMostLabelBytes)) : labelText(l, 120);
  }
  if (name == "layer" && static_cast<int64_t>(context.layers.size()) == size) out.kinds = context.layers;
  return out;
}

HeatMapData heatMapOf(const TensorMap& map, const TensorCut& cut, const MapAxis& rows, const MapAxis& cols, bool commonScale) {
  const NamedArray& a = map.arrays[static_cast<size_t>(cut.array)];
  HeatMapData out;
  out.values = cut.values;
  out.rows = cut.rows;
  out.cols = cut.cols;
  out.rowAxis = rows;
  out.colAxis = cols;
  out.look = lookFor(map, a, cut);
  out.label = nameText(a.name);
  out.unit = labelText(a.unit, 40);
  out.help = labelText(a.help, 600);
  out.causal = cut.causal;
  if (commonScale && cut.range.first < cut.range.second) {
    const float ends[2] = {static_cast<float>(cut.range.first), static_cast<float>(cut.range.second)};
    std::tie(out.lo, out.hi) = scaleOf(out.look, ends, 2);
  }
  return out;
}

ChartData chartOf(const TensorMap& map, const TensorCut& cut, const MapAxis& axis) {
  const NamedArray& a = map.arrays[static_cast<size_t>(cut.array)];
  ChartData out;
  const std::string& name = a.axes[static_cast<size_t>(cut.slice.cols >= 0 ? cut.slice.cols : cut.slice.rows)];
  // A line says that what lies between has a meaning: so from layer to layer, not from prompt to prompt.
  const bool ordered = isPositionAxis(name) || name == "layer" || name == "step" || name == "epoch" || name == "checkpoint";
  out.kind = ordered ? ChartData::Kind::kLines : ChartData::Kind::kScatter;
  out.xLabel = axis.name;
  out.yLabel = withUnit(nameText(a.name), labelText(a.unit, 40));
  out.xTicks = axis.labels;
  ChartLine line;
  line.name = nameText(a.name);
  line.help = labelText(a.help, 600);
  line.y.assign(cut.values->begin(), cut.values->end());
  line.x.resize(line.y.size());
  for (size_t i = 0; i < line.x.size(); ++i) line.x[i] = static_cast<double>(i);
  out.lines.push_back(std::move(line));
  return out;
}

bool isTooLongForChart(int64_t cols) { return cols > kMostPoints; }

}  // namespace microtome::desktop
