#include "app/desktop/panels/patching/effect_grid.h"

#include <QCoreApplication>
#include <QRegularExpression>
#include <algorithm>
#include <cmath>

#include "app/desktop/views/label_text.h"
#include "app/desktop/views/tensor_picture.h"

namespace microtome::desktop {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

QString tr(const char* text) { return QCoreApplication::translate("EffectGrid", text); }

// layer, then pos, then head, each at most once.
bool isGrid(const NamedArray& a) {
  const char* const order[] = {"layer", "pos", "head"};
  size_t next = 0;
  for (const std::string& axis : a.axes) {
    while (next < 3 && axis != order[next]) ++next;
    if (next++ >= 3) return false;
  }
  return !a.axes.empty() && a.axes.front() == "layer" && problemOf(a).isEmpty();
}

int axisOf(const NamedArray& a, const char* name) {
  const auto at = std::find(a.axes.begin(), a.axes.end(), name);
  return at == a.axes.end() ? -1 : static_cast<int>(at - a.axes.begin());
}

}  // namespace

std::shared_ptr<const EffectGrid> EffectGrid::read(std::shared_ptr<const AnalysisResult> result, std::vector<LayerKind> kinds,
                                                   double neutral) {
  if (!result) return nullptr;
  auto out = std::make_shared<EffectGrid>();
  for (const Artifact& artifact : result->artifacts) {
    const auto* map = std::get_if<TensorMap>(&artifact);
    if (!map) continue;
    for (const NamedArray& a : map->arrays)
      if (isGrid(a) && (out->arrays_.empty() || (a.axes == out->arrays_[0]->axes && a.shape == out->arrays_[0]->shape)))
        out->arrays_.push_back(&a);
    if (out->arrays_.empty()) continue;
    out->map_ = map;
    break;
  }
  if (!out->map_) return nullptr;
  out->converted_.resize(out->arrays_.size());
  for (size_t i = 0; i < out->arrays_.size(); ++i) {
    const NamedArray& a = *out->arrays_[i];
    const auto* floats = std::get_if<std::vector<float>>(&a.data);
    if (!floats) {
      for (int64_t k = 0; k < a.size(); ++k) out->converted_[i].push_back(static_cast<float>(a.at(k)));
      floats = &out->converted_[i];
    }
    out->numbers_.push_back(floats->data());
  }
  const NamedArray& first = *out->arrays_[0];
  const auto size = [&first](const char* axis) {
    const int i = axisOf(first, axis);
    return i < 0 ? 0 : first.shape[static_cast<size_t>(i)];
  };
  out->layers_ = size("layer");
  out->heads_ = size("head");
  out->width_ = size("pos");
  if (static_cast<int64_t>(kinds.size()) == out->layers_) out->kinds_ = std::move(kinds);
  out->neutral_ = neutral;
  out->result_ = std::move(result);
  return out;
}

std::shared_ptr<const EffectGrid> EffectGrid::difference(const EffectGrid& left, const EffectGrid& right) {
  if (left.layers_ != right.layers_ || left.heads_ != right.heads_ || left.width_ != right.width_) return nullptr;
  TensorMap map = *left.map_;
  map.arrays.clear();
  for (const NamedArray* a : left.arrays_) {
    const int other = right.arrayNamed(QString::fromStdString(a->name));
    if (other < 0 || right.array(other).unit != a->unit) continue;
    NamedArray d = *a;
    std::vector<float> values(static_cast<size_t>(a->size()));
    for (int64_t i = 0; i < a->size(); ++i) values[static_cast<size_t>(i)] = static_cast<float>(a->at(i) - right.array(other).at(i));
    d.data = std::move(values);
    map.looks[a->name] = "diverging";
    map.arrays.push_back(std::move(d));
  }
  if (map.arrays.empty()) return nullptr;
  auto result = std::make_shared<AnalysisResult>();
  result->artifacts.emplace_back(std::move(map));
  return read(std::move(result), left.kinds_ == right.kinds_ ? left.kinds_ : std::vector<LayerKind>(), 0);
}

int EffectGrid::arrayNamed(const QString& name) const {
  for (size_t i = 0; i < arrays_.size(); ++i)
    if (QString::fromStdString(arrays_[i]->name) == name) return static_cast<int>(i);
  return -1;
}

// ---- cells ---------------------------------------------------------------------------------------------------------

bool EffectGrid::holds(const PatchCell& c) const {
  const auto fits = [](int64_t at, int64_t size) { return size > 0 ? at >= 0 && at < size : at == -1; };
  return fits(c.layer, layers_) && fits(c.head, heads_) && fits(c.pos, width_);
}

int64_t EffectGrid::flat(const PatchCell& c) const {
  int64_t at = c.layer;
  if (width_ > 0) at = at * width_ + c.pos;
  if (heads_ > 0) at = at * heads_ + c.head;
  return at;
}

double EffectGrid::value(int array, const PatchCell& cell) const {
  return array >= 0 && array < arrays() && holds(cell) ? static_cast<double>(numbers_[static_cast<size_t>(array)][flat(cell)]) : kNaN;
}

PatchCell EffectGrid::strongest(const PatchCell& fixed) const {
  const auto range = [](int64_t given, int64_t size) {
    if (size == 0) return std::pair<int64_t, int64_t>(-1, 0);
    return given < 0 ? std::pair<int64_t, int64_t>(0, size) : std::pair(std::min(given, size - 1), std::min(given, size - 1) + 1);
  };
  const auto [l0, l1] = range(fixed.layer, layers_);
  const auto [h0, h1] = range(fixed.head, heads_);
  const auto [p0, p1] = range(fixed.pos, width_);
  PatchCell best;
  double most = -1;
  for (int64_t l = l0; l < l1; ++l)
    for (int64_t p = p0; p < p1; ++p)
      for (int64_t h = h0; h < h1; ++h) {
        const double size = std::abs(value(0, {l, h, p}) - neutral_);
        if (size > most) best = {l, h, p}, most = size;
      }
  return best;
}

int64_t EffectGrid::strongestHead(int array, int64_t layer, int64_t pos) const {
  int64_t best = 0;
  double most = -1;
  // The first array is what was done; the others go on from another zero.
  const double zero = array == 0 ? neutral_ : 0;
  for (int64_t h = 0; h < heads_; ++h)
    if (const double size = std::abs(value(array, {layer, h, pos}) - zero); size > most) best = h, most = size;
  return best;
}

QString EffectGrid::labelAt(int64_t pos) const {
  const std::vector<std::string>* labels = labelsOf(*map_, "pos", width_);
  if (!labels || pos < 0 || pos >= width_) return {};
  return QString::fromStdString((*labels)[static_cast<size_t>(pos)].substr(0, 200));
}

// ---- the picture ---------------------------------------------------------------------------------------------------

HeatMapData EffectGrid::picture(int index, int look) const {
  const NamedArray& a = array(index);
  ArtifactContext context;
  context.layers = kinds_;
  const MapAxis layer = mapAxisOf(*map_, a, 0, context), pos = mapAxisOf(*map_, a, axisOf(a, "pos"), context),
                head = mapAxisOf(*map_, a, axisOf(a, "head"), context);
  HeatMapData out;
  const auto known = map_->looks.find(a.name);
  out.look = known == map_->looks.end() ? Look::kDiverging : lookOf(known->second);
  out.label = nameText(a.name);
  out.unit = labelText(a.unit, 40);
  out.help = labelText(a.help, 600);
  out.rowAxis = layer;
  out.rows = layers_;
  out.cols = 1;
  if (width_ > 0) out.cols = width_, out.colAxis = pos;
  else if (heads_ > 0) out.cols = heads_, out.colAxis = head;
  else out.colAxis.labels = QStringList(tr("all positions"));
  auto values = std::make_shared<std::vector<float>>();
  if (threeAxes() && look == kEveryHead) {
    out.rows = layers_ * heads_;
    out.rowAxis.name = tr("layer, head");
    out.rowAxis.labels.clear();
    out.rowAxis.kinds.clear();
    for (int64_t l = 0; l < layers_; ++l)
      for (int64_t h = 0; h < heads_; ++h) {
        out.rowAxis.labels << QStringLiteral("L%1 H%2").arg(l).arg(h);
        if (!kinds_.empty()) out.rowAxis.kinds.push_back(kinds_[static_cast<size_t>(l)]);
      }
  }
  if (threeAxes() && look == kStrongestHead) out.help += tr(" Shown: of every layer and position the head that does most.");
  values->reserve(static_cast<size_t>(out.rows * out.cols));
  for (int64_t r = 0; r < out.rows; ++r)
    for (int64_t c = 0; c < out.cols; ++c) values->push_back(static_cast<float>(value(index, cellAt(r, c, index, look))));
  out.values = std::move(values);
  return out;
}

PatchCell EffectGrid::cellAt(int64_t row, int64_t col, int array, int look) const {
  if (!threeAxes()) return {row, heads_ > 0 ? col : -1, width_ > 0 ? col : -1};
  if (look == kEveryHead) return {row / heads_, row % heads_, col};
  return {row, look == kStrongestHead ? strongestHead(array, row, col) : std::min<int64_t>(look, heads_ - 1), col};
}

std::pair<int64_t, int64_t> EffectGrid::placeOf(const PatchCell& cell, int look) const {
  if (!holds(cell)) return {-1, -1};
  if (!threeAxes()) return {cell.layer, width_ > 0 ? cell.pos : heads_ > 0 ? cell.head : 0};
  if (look == kEveryHead) return {cell.layer * heads_ + cell.head, cell.pos};
  if (look >= 0 && cell.head != look) return {-1, -1};
  return {cell.layer, cell.pos};
}

// ---- beside the grid -----------------------------------------------------------------------------------------------

double EffectGrid::onPrompt(const char* name, const PatchCell& cell, int64_t prompt) const {
  if (!holds(cell) || prompt < 0) return kNaN;
  std::vector<std::string> axes = arrays_[0]->axes;
  std::vector<int64_t> shape = arrays_[0]->shape;
  axes.push_back("prompt");
  for (const Artifact& artifact : result_->artifacts) {
    const auto* map = std::get_if<TensorMap>(&artifact);
    if (!map) continue;
    for (const NamedArray& a : map->arrays) {
      if (a.name != name || a.axes != axes || a.shape.size() != axes.size() || !problemOf(a).isEmpty()) continue;
      if (!std::equal(shape.begin(), shape.end(), a.shape.begin()) || prompt >= a.shape.back()) continue;
      return a.at(flat(cell) * a.shape.back() + prompt);
    }
  }
  return kNaN;
}

std::string EffectGrid::metric() const {
  const std::string prefix = "clean_";
  for (const SummaryItem& item : result_->summary)
    if (item.name.compare(0, prefix.size(), prefix) == 0) return item.name.substr(prefix.size());
  return {};
}

std::shared_ptr<const Table> EffectGrid::table() const {
  for (const Artifact& artifact : result_->artifacts)
    if (const auto* table = std::get_if<Table>(&artifact)) return std::shared_ptr<const Table>(result_, table);
  return nullptr;
}

PatchCell EffectGrid::cellOfRow(qint64 row) const {
  const std::shared_ptr<const Table> t = table();
  if (!t || row < 0 || row >= static_cast<qint64>(t->rows.size()) || t->rows[static_cast<size_t>(row)].empty()) return {};
  const auto* place = std::get_if<std::string>(&t->rows[static_cast<size_t>(row)].front());
  if (!place || place->size() > 1000) return {};
  // "z of head 2.1 at position -3 (' Mary')", "resid_pre of layer 2 at position -3".
  static const QRegularExpression form(
      QStringLiteral("^(?:\\w+ of )?(?:head (\\d{1,6})\\.(\\d{1,6})|layer (\\d{1,6}))(?: at position (-?\\d{1,9}))?"));
  const QRegularExpressionMatch m = form.match(QString::fromStdString(*place));
  if (!m.hasMatch()) return {};
  PatchCell out;
  out.layer = (m.hasCaptured(1) && !m.captured(1).isEmpty() ? m.captured(1) : m.captured(3)).toLongLong();
  if (!m.captured(2).isEmpty()) out.head = m.captured(2).toLongLong();
  if (!m.captured(4).isEmpty()) out.pos = width_ + m.captured(4).toLongLong();
  return holds(out) ? out : PatchCell();
}

}  // namespace microtome::desktop
