#include "app/desktop/panels/inspector/head_numbers.h"

#include <QCoreApplication>
#include <cmath>
#include <optional>
#include <set>

#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QCoreApplication::translate("HeadNumbers", text); }

// More numbers a head than this are not read in the GUI thread.
constexpr int64_t kMostEntries = 1 << 20;

int64_t stored(const NamedArray& a) {
  return std::visit([](const auto& v) { return static_cast<int64_t>(v.size()); }, a.data);
}

struct Axis {
  size_t index = 0;
  int64_t size = 1, stride = 1;
  bool there = false;
};

std::optional<HeadNumber> fromArray(const TensorMap& map, const NamedArray& array, int64_t layer, int64_t head) {
  if (array.axes.size() != array.shape.size()) return std::nullopt;
  Axis layers, heads, prompts, other;
  int64_t stride = 1;
  for (size_t d = array.axes.size(); d-- > 0;) {
    const int64_t size = array.shape[d];
    // A file may say anything: nothing is multiplied beyond what is really there.
    if (size <= 0 || stride > stored(array) / size) return std::nullopt;
    Axis* axis = array.axes[d] == "layer"    ? &layers
                 : array.axes[d] == "head"   ? &heads
                 : array.axes[d] == "prompt" ? &prompts
                 : size == 1                 ? nullptr
                                             : &other;
    if (axis && axis->there) return std::nullopt;
    if (axis) *axis = {d, size, stride, true};
    stride *= size;
  }
  if (stride != stored(array) || !layers.there || !heads.there) return std::nullopt;
  if (layer < 0 || layer >= layers.size || head < 0 || head >= heads.size || prompts.size * other.size > kMostEntries) return std::nullopt;
  const int64_t base = layer * layers.stride + head * heads.stride;
  HeadNumber out;
  double best = std::nan("");
  int64_t bestAt = -1;
  for (int64_t o = 0; o < other.size; ++o) {
    double sum = 0;
    int64_t n = 0;
    for (int64_t p = 0; p < prompts.size; ++p) {
      const double v = array.at(base + o * other.stride + p * prompts.stride);
      if (std::isnan(v)) continue;
      sum += v;
      ++n;
    }
    if (n == 0) continue;
    const double mean = sum / static_cast<double>(n);
    if (bestAt < 0 || std::abs(mean) > std::abs(best)) {
      best = mean;
      bestAt = o;
    }
  }
  if (bestAt < 0) return std::nullopt;
  out.value = best;
  QStringList where;
  if (prompts.there && prompts.size > 1) where << tr("mean over %1 prompts").arg(prompts.size);
  if (other.there) {
    const std::string& axis = array.axes[other.index];
    const auto labels = map.axis_labels.find(axis);
    const bool named = labels != map.axis_labels.end() && static_cast<int64_t>(labels->second.size()) == other.size;
    where << tr("largest, at %1 %2")
                 .arg(axisText(axis),
                      named ? labelText(labels->second[static_cast<size_t>(bestAt)], 30) : QString::number(bestAt));
  }
  out.where = where.join(QStringLiteral("; "));
  out.name = nameText(array.name);
  out.unit = labelText(array.unit, 40);
  out.help = labelText(array.help, 500);
  return out;
}

std::optional<double> number(const Cell& cell) {
  if (const auto* i = std::get_if<int64_t>(&cell)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&cell); d && !std::isnan(*d)) return *d;
  return std::nullopt;
}

// The only row of the head; null: none, or several that differ in something else.
const std::vector<Cell>* rowOf(const Table& table, int64_t layer, int64_t head, size_t* layerColumn, size_t* headColumn) {
  size_t l = table.columns.size(), h = l;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    if (table.columns[c].name == "layer") l = c;
    if (table.columns[c].name == "head") h = c;
  }
  if (l == table.columns.size() || h == table.columns.size()) return nullptr;
  *layerColumn = l;
  *headColumn = h;
  const std::vector<Cell>* found = nullptr;
  for (const std::vector<Cell>& row : table.rows) {
    if (row.size() <= std::max(l, h)) continue;
    const auto a = number(row[l]), b = number(row[h]);
    if (!a || !b || *a != static_cast<double>(layer) || *b != static_cast<double>(head)) continue;
    if (found) return nullptr;
    found = &row;
  }
  return found;
}

}  // namespace

std::vector<HeadNumber> headNumbers(const AnalysisResult& result, int64_t layer, int64_t head) {
  std::vector<HeadNumber> out;
  std::set<QString> known;
  const auto add = [&](HeadNumber n) {
    if (known.insert(n.name).second) out.push_back(std::move(n));
  };
  for (const Artifact& artifact : result.artifacts)
    if (const auto* map = std::get_if<TensorMap>(&artifact))
      for (const NamedArray& array : map->arrays)
        if (auto n = fromArray(*map, array, layer, head)) add(std::move(*n));
  for (const Artifact& artifact : result.artifacts) {
    const auto* table = std::get_if<Table>(&artifact);
    size_t l = 0, h = 0;
    const std::vector<Cell>* row = table ? rowOf(*table, layer, head, &l, &h) : nullptr;
    if (!row) continue;
    for (size_t c = 0; c < table->columns.size() && c < row->size(); ++c)
      if (const auto v = number((*row)[c]); v && c != l && c != h)
        add({nameText(table->columns[c].name), labelText(table->columns[c].unit, 40), labelText(table->columns[c].help, 500), {}, *v});
  }
  return out;
}

}  // namespace microtome::desktop
