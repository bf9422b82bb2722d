#include "app/layout/attribution_layout.h"

#include <algorithm>
#include <map>

namespace microtome::layout {
namespace {

constexpr double kGap = 8, kRowGap = 8, kRankGap = 34, kLeastColumn = 44;
constexpr int kMostSide = 8;           // nodes side by side in one place
constexpr double kWidest = 2.1;        // width by height, about that of a canvas beside its inspector

using Cell = std::pair<int, int64_t>;  // rank, position

double width_of(const std::vector<int>& nodes, const std::vector<Point>& half, size_t from, size_t to) {
  double w = 0;
  for (size_t i = from; i < to; ++i) w += 2 * half[static_cast<size_t>(nodes[i])].x + (i > from ? kGap : 0);
  return w;
}

}  // namespace

AttributionPlacement place_attribution(const AttributionGraph& graph, const std::vector<char>& shown, const std::vector<Point>& half) {
  AttributionPlacement out;
  const size_t n = graph.nodes.size();
  out.centres.resize(n);
  out.ranks.resize(n);
  const int top = static_cast<int>(graph.n_layers) + 1;
  std::map<Cell, std::vector<int>> cells;
  std::vector<int> logits;
  for (size_t i = 0; i < n; ++i) {
    const AttributionGraph::Node& node = graph.nodes[i];
    int& rank = out.ranks[i];
    if (node.kind == AttributionGraph::Kind::kToken) rank = 0;
    else if (node.kind == AttributionGraph::Kind::kLogit) rank = top;
    else rank = std::clamp(static_cast<int>(node.layer) + 1, 1, std::max(1, top - 1));
    if (!shown[i]) continue;
    if (rank == top) logits.push_back(static_cast<int>(i));
    else cells[{rank, node.position}].push_back(static_cast<int>(i));
  }
  // Features before errors, the most influential first.
  const auto before = [&](int a, int b) {
    const auto &x = graph.nodes[static_cast<size_t>(a)], &y = graph.nodes[static_cast<size_t>(b)];
    const bool ex = x.kind == AttributionGraph::Kind::kError, ey = y.kind == AttributionGraph::Kind::kError;
    if (ex != ey) return ey;
    return x.influence != y.influence ? x.influence > y.influence : x.feature < y.feature;
  };
  for (auto& [cell, nodes] : cells) std::sort(nodes.begin(), nodes.end(), before);
  std::sort(logits.begin(), logits.end(), [&](int a, int b) { return graph.nodes[static_cast<size_t>(a)].activation > graph.nodes[static_cast<size_t>(b)].activation; });

  std::map<int64_t, double> columns;   // position → width
  std::map<int, double> line;          // rank → height of one of its rows
  std::map<int, size_t> rows;          // rank → rows
  const auto rows_of = [](size_t count, int side) { return (count + static_cast<size_t>(side) - 1) / static_cast<size_t>(side); };
  int side = kMostSide;
  double width = 0, height = 0;
  for (;; --side) {
    columns.clear();
    line.clear();
    rows.clear();
    for (const auto& [cell, nodes] : cells) {
      double& column = columns.emplace(cell.second, kLeastColumn).first->second;
      for (size_t from = 0; from < nodes.size(); from += static_cast<size_t>(side))
        column = std::max(column, width_of(nodes, half, from, std::min(nodes.size(), from + static_cast<size_t>(side))));
      for (int i : nodes) line[cell.first] = std::max(line[cell.first], 2 * half[static_cast<size_t>(i)].y);
      rows[cell.first] = std::max(rows[cell.first], rows_of(nodes.size(), side));
    }
    if (!logits.empty()) {
      rows[top] = 1;
      for (int i : logits) line[top] = std::max(line[top], 2 * half[static_cast<size_t>(i)].y);
    }
    width = height = 0;
    for (const auto& [position, w] : columns) width += w + 2 * kGap;
    for (const auto& [rank, count] : rows) height += static_cast<double>(count) * (line[rank] + kRowGap) + kRankGap;
    if (side == 1 || width <= kWidest * height) break;
  }

  std::map<int64_t, double> middle;
  double x = -width / 2;
  for (const auto& [position, w] : columns) {
    middle[position] = x + kGap + w / 2;
    x += w + 2 * kGap;
  }
  double y = 0;
  for (const auto& [rank, count] : rows) {
    const double pitch = line[rank] + kRowGap, tall = static_cast<double>(count) * pitch;
    out.rows.push_back({rank, y - tall / 2, y - tall - kRankGap / 2, y + kRankGap / 2});
    for (auto at = cells.lower_bound({rank, INT64_MIN}); at != cells.end() && at->first.first == rank; ++at) {
      const std::vector<int>& nodes = at->second;
      for (size_t from = 0; from < nodes.size(); from += static_cast<size_t>(side)) {
        const size_t to = std::min(nodes.size(), from + static_cast<size_t>(side));
        double left = middle[at->first.second] - width_of(nodes, half, from, to) / 2;
        const double row = static_cast<double>(from / static_cast<size_t>(side));
        for (size_t i = from; i < to; ++i) {
          const Point& h = half[static_cast<size_t>(nodes[i])];
          out.centres[static_cast<size_t>(nodes[i])] = {left + h.x, y - pitch * (row + 0.5)};
          left += 2 * h.x + kGap;
        }
      }
    }
    if (rank == top) {
      // Above the end of the text, where they are read, as far as there is room.
      const double own = width_of(logits, half, 0, logits.size()) + kGap * static_cast<double>(logits.size());
      double left = std::max(-width / 2, width / 2 - own);
      for (int i : logits) {
        const Point& h = half[static_cast<size_t>(i)];
        out.centres[static_cast<size_t>(i)] = {left + h.x, y - pitch / 2};
        left += 2 * h.x + 2 * kGap;
      }
    }
    y -= tall + kRankGap;
  }
  return out;
}

}  // namespace microtome::layout
