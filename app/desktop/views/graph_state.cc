#include "app/desktop/views/graph_state.h"

#include <QApplication>
#include <QFontMetricsF>
#include <QLocale>
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

constexpr double kBoxHalfHeight = 13, kLeastRadius = 15, kMostRadius = 20, kMostBox = 80;
constexpr double kGridPitch = 44, kGridStep = 80;      // at least, between ranks and columns of a graph that stays on its grid
constexpr int kMeasured = 20'000;      // beyond so many nodes labels are not measured one by one

// A grid is read by its rows and columns and needs less room than edges that are followed one by one: closer together its nodes are
// larger in the same window. Ranks that are folded into several rows stay as they are.
void compact(layout::Placement* placed, const std::vector<layout::LayoutNode>& nodes) {
  double pitch = std::numeric_limits<double>::infinity(), gap = pitch, widest = 0;
  std::vector<std::vector<double>> rows(placed->ranks.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto row = static_cast<size_t>(placed->rows[i]);
    rows[row].push_back(placed->centres[i].x);
    widest = std::max(widest, 2 * nodes[i].half.x);
    if (std::abs(placed->centres[i].y - placed->ranks[row].y) > 0.5) return;
  }
  for (size_t r = 1; r < placed->ranks.size(); ++r) pitch = std::min(pitch, std::abs(placed->ranks[r].y - placed->ranks[r - 1].y));
  for (std::vector<double>& row : rows) {
    std::sort(row.begin(), row.end());
    for (size_t k = 1; k < row.size(); ++k) gap = std::min(gap, row[k] - row[k - 1]);
  }
  const double fy = std::isfinite(pitch) && pitch > 0 ? std::clamp(kGridPitch / pitch, 0.6, 1.0) : 1;
  const double fx = std::isfinite(gap) && gap > 0 ? std::min(1.0, std::max(kGridStep, widest + 10) / gap) : 1;
  for (layout::Point& c : placed->centres) c = {c.x * fx, c.y * fy};
  for (layout::RankRow& r : placed->ranks) {
    r.y *= fy;
    r.top *= fy;
    r.bottom *= fy;
  }
}

}  // namespace

QSizeF nodeHalfSize(const GraphNode& node) {
  if (!node.box) return {kMostRadius, kMostRadius};
  const double width = QFontMetricsF{nodeFont()}.horizontalAdvance(plainLine(node.label.isEmpty() ? node.name : node.label, 80));
  return {std::clamp(width / 2 + 10, 20.0, kMostBox), kBoxHalfHeight};
}

QString countedText(qint64 count) { return QLocale(QLocale::English, QLocale::UnitedStates).toString(count); }

QFont nodeFont(bool bold) {
  QFont font = QApplication::font();
  font.setPixelSize(11);
  font.setBold(bold);
  return font;
}

void GraphState::set(GraphData graph) {
  data = std::move(graph);
  selected = selectedEdge = hovered = -1;
  marked.clear();
  knockedOut.clear();
  ringed.clear();
  dimmed_.clear();
  const size_t n = data.nodes.size();
  pinned.assign(n, 0);
  sortAndIndex();
  measure();
  layout::Placement placed = layout::place_by_rank(layout);
  if (data.places.size() == n && n > 0) {
    for (size_t i = 0; i < n; ++i) placed.centres[i] = {data.places[i].x(), data.places[i].y()};
    placed.ranks.clear();
    for (const GraphRow& r : data.rows) placed.ranks.push_back({r.rank, r.y, r.top, r.bottom});
  } else if (data.grid) {
    compact(&placed, layout);
  }
  ranks = placed.ranks;
  auto made = std::make_shared<std::vector<NodePlace>>(n);
  for (size_t i = 0; i < n; ++i)
    (*made)[i] = {QPointF(placed.centres[i].x, placed.centres[i].y), QSizeF(layout[i].half.x, layout[i].half.y), placed.rows[i], data.nodes[i].box};
  places = made;
  findBounds();
  routeEdges();
  shown = edges->shownAt(threshold);
}

void GraphState::sortAndIndex() {
  const size_t n = data.nodes.size();
  auto sorted = std::make_shared<SortedEdges>(sortEdges(data));
  if (dimmed_.size() == data.edges.size())
    for (EdgeRecord& r : sorted->records) r.dimmed = dimmed_[static_cast<size_t>(r.edge)] != 0;
  edges = sorted;
  start_.assign(n + 1, 0);
  for (const EdgeRecord& r : edges->records) {
    ++start_[static_cast<size_t>(r.from) + 1];
    if (r.to != r.from) ++start_[static_cast<size_t>(r.to) + 1];
  }
  for (size_t i = 0; i < n; ++i) start_[i + 1] += start_[i];
  adjacent_.assign(start_[n], 0);
  std::vector<size_t> next(start_.begin(), start_.end() - 1);
  firstEdge_.assign(n, std::numeric_limits<size_t>::max());
  for (size_t i = 0; i < edges->records.size(); ++i) {
    const EdgeRecord& r = edges->records[i];
    adjacent_[next[static_cast<size_t>(r.from)]++] = static_cast<int>(i);
    if (r.to != r.from) adjacent_[next[static_cast<size_t>(r.to)]++] = static_cast<int>(i);
    for (int end : {r.from, r.to}) firstEdge_[static_cast<size_t>(end)] = std::min(firstEdge_[static_cast<size_t>(end)], i);
  }
}

void GraphState::setLevels(const std::vector<double>& levels, double value) {
  if (levels.size() != data.edges.size()) return;
  const int chosen = selectedEdge < 0 ? -1 : edges->records[static_cast<size_t>(selectedEdge)].edge;
  for (size_t i = 0; i < levels.size(); ++i) data.edges[i].level = levels[i];
  sortAndIndex();
  routeEdges();
  selectedEdge = recordOf(chosen);
  setThreshold(value);
}

void GraphState::setDimmed(const std::vector<char>& dimmed) {
  if (dimmed == dimmed_ || (!dimmed.empty() && dimmed.size() != data.edges.size())) return;
  dimmed_ = dimmed;
  auto changed = std::make_shared<SortedEdges>(*edges);
  for (EdgeRecord& r : changed->records) r.dimmed = !dimmed.empty() && dimmed[static_cast<size_t>(r.edge)] != 0;
  edges = changed;
}

int GraphState::recordOf(int edge) const {
  if (edge < 0) return -1;
  for (size_t i = 0; i < edges->records.size(); ++i)
    if (edges->records[i].edge == edge) return static_cast<int>(i);
  return -1;
}

void GraphState::measure() {
  const size_t n = data.nodes.size();
  layout.assign(n, {});
  labels.assign(n, {});
  const QFontMetricsF metrics{nodeFont()};
  const bool each = n <= kMeasured;
  double radius = kLeastRadius;
  for (size_t i = 0; i < n; ++i) {
    const GraphNode& node = data.nodes[i];
    labels[i] = plainLine(node.label.isEmpty() ? node.name : node.label, each ? 80 : 8);
    layout[i] = {node.rank, node.column, {kMostBox / 2, kBoxHalfHeight}};
    if (!each) continue;
    const double width = metrics.horizontalAdvance(labels[i]);
    if (node.box) layout[i].half.x = std::clamp(width / 2 + 10, 20.0, kMostBox);
    else radius = std::max(radius, width / 2 + 3);
  }
  // Heads are of one size, whatever their numbers.
  radius = std::min(radius, kMostRadius);
  for (size_t i = 0; i < n; ++i) {
    if (!data.nodes[i].box) layout[i].half = {radius, radius};
    const double room = 2 * layout[i].half.x - (data.nodes[i].box ? 12 : 4);
    if (each && metrics.horizontalAdvance(labels[i]) > room) labels[i] = metrics.elidedText(labels[i], Qt::ElideMiddle, room);
  }
}

void GraphState::findBounds() {
  bounds = {};
  for (const NodePlace& p : *places)
    bounds |= QRectF(p.centre.x() - p.half.width(), p.centre.y() - p.half.height(), 2 * p.half.width(), 2 * p.half.height());
  if (!bounds.isNull()) bounds.adjust(-24, -24, 24, 24);
}

void GraphState::setThreshold(double value) {
  threshold = std::isnan(value) ? 0 : value;
  shown = edges->shownAt(threshold);
  if (selectedEdge >= 0 && static_cast<size_t>(selectedEdge) >= shown) selectedEdge = -1;
}

void GraphState::moveNode(int node, const QPointF& centre) {
  auto moved = std::make_shared<std::vector<NodePlace>>(*places);
  (*moved)[static_cast<size_t>(node)].centre = centre;
  places = moved;
  findBounds();
}

void GraphState::setColumns(const std::vector<double>& x) {
  if (x.size() != places->size()) return;
  auto moved = std::make_shared<std::vector<NodePlace>>(*places);
  for (size_t i = 0; i < x.size(); ++i)
    if (!pinned[i]) (*moved)[i].centre.setX(x[i]);
  places = moved;
  findBounds();
  routeEdges();
}

void GraphState::routeEdges() { bends = bendsRoundNodes(*edges, *places); }

std::vector<int> GraphState::edgesOf(int node) const {
  if (!exists(node)) return {};
  const auto begin = adjacent_.begin() + static_cast<std::ptrdiff_t>(start_[static_cast<size_t>(node)]);
  return {begin, begin + degree(node)};
}

int GraphState::degree(int node) const {
  if (!exists(node)) return 0;
  const auto begin = adjacent_.begin() + static_cast<std::ptrdiff_t>(start_[static_cast<size_t>(node)]);
  const auto end = adjacent_.begin() + static_cast<std::ptrdiff_t>(start_[static_cast<size_t>(node) + 1]);
  return static_cast<int>(std::lower_bound(begin, end, static_cast<int>(shown)) - begin);
}

int GraphState::nodeAt(const QPointF& point, double reach) const {
  for (size_t i = places->size(); i > 0; --i) {
    const NodePlace& p = (*places)[i - 1];
    const double dx = std::abs(point.x() - p.centre.x()), dy = std::abs(point.y() - p.centre.y());
    if (dx > p.half.width() + reach || dy > p.half.height() + reach) continue;
    if (p.box || std::hypot(dx, dy) <= p.half.width() + reach) return static_cast<int>(i - 1);
  }
  return -1;
}

int GraphState::neighbour(int node, int dx, int dy) const {
  if (places->empty()) return -1;
  if (!exists(node)) {
    // The first: lowest, then leftmost.
    const auto first = std::min_element(places->begin(), places->end(), [](const NodePlace& a, const NodePlace& b) {
      return a.row != b.row ? a.row < b.row : a.centre.x() < b.centre.x();
    });
    return static_cast<int>(first - places->begin());
  }
  const NodePlace& from = place(node);
  int best = -1;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < nodeCount(); ++i) {
    const NodePlace& to = place(i);
    const double across = to.centre.x() - from.centre.x(), up = from.centre.y() - to.centre.y();
    double cost = 0;
    if (dx != 0) {
      if (to.row != from.row || i == node || across * dx <= 0) continue;
      cost = std::abs(across) + std::abs(up) * 4;
    } else {
      const int rows = (to.row - from.row) * dy;
      if (rows <= 0) continue;
      cost = rows * 1e7 + std::abs(across) + (isFaded(i) ? 1e6 : 0);
    }
    if (cost < least) {
      least = cost;
      best = i;
    }
  }
  return best;
}

EdgeScene GraphState::scene() const {
  EdgeScene out;
  out.edges = edges;
  out.places = places;
  out.bends = bends;
  out.shown = shown;
  out.bounds = bounds.adjusted(-150, -60, 150, 60);     // curves go round nodes
  out.positive = theme->series(0);
  out.negative = theme->series(1);
  out.neutral = theme->muted;
  out.surface = theme->surface;
  return out;
}

std::map<QString, std::vector<int>> GraphState::groups() const {
  std::map<QString, std::vector<int>> out;
  for (int i = 0; i < nodeCount(); ++i) {
    const QString& name = data.nodes[static_cast<size_t>(i)].group;
    if (!name.isEmpty()) out[name].push_back(i);
  }
  return out;
}

QString GraphState::scoreName() const {
  return data.scoreLabel.isEmpty() ? GraphView::tr("score") : plainLine(data.scoreLabel, 40);
}

QString GraphState::nodeText(int node) const {
  if (!exists(node)) return {};
  const GraphNode& n = data.nodes[static_cast<size_t>(node)];
  const int edgesShown = degree(node);
  QString text = plainLine(n.name, 120);
  if (std::isfinite(n.score) && n.score != 0) text += GraphView::tr(" · %1 %2").arg(data.nodeScoreLabel.isEmpty() ? scoreName() : data.nodeScoreLabel, numberText(n.score));
  text += edgesShown == 1 ? GraphView::tr(" · 1 edge shown")
                          : GraphView::tr(" · %1 edges shown").arg(countedText(edgesShown));
  if (knockedOut.count(node)) text += GraphView::tr(" · knocked out");
  if (!n.group.isEmpty()) text += GraphView::tr(" · group %1").arg(plainLine(n.group, 60));
  if (!n.note.isEmpty()) text += GraphView::tr(" · note: %1").arg(plainLine(n.note, 200));
  return text;
}

QString GraphState::nodeHtml(int node) const {
  if (!exists(node)) return {};
  const GraphNode& n = data.nodes[static_cast<size_t>(node)];
  QString rest = nodeText(node).mid(plainLine(n.name, 120).size() + 3);
  const qsizetype note = n.note.isEmpty() ? -1 : rest.indexOf(GraphView::tr(" · note: %1").arg(QString()));
  if (note >= 0) rest.truncate(note);
  QString html = QStringLiteral("<p><b>%1</b><br/>%2</p>").arg(plainLine(n.name, 120).toHtmlEscaped(), rest.toHtmlEscaped());
  if (!n.note.isEmpty()) html += QStringLiteral("<p>%1</p>").arg(plainLine(n.note, 1000).toHtmlEscaped());
  return html;
}

QString GraphState::edgeText(int record) const {
  if (record < 0 || static_cast<size_t>(record) >= edges->records.size()) return {};
  const EdgeRecord& r = edges->records[static_cast<size_t>(record)];
  const GraphEdge& e = data.edges[static_cast<size_t>(r.edge)];
  const QString port = e.port.isEmpty() ? QString() : QStringLiteral(" (%1)").arg(plainLine(e.port, 20));
  const QString from = plainLine(data.nodes[static_cast<size_t>(e.from)].name, 80);
  const QString to = plainLine(data.nodes[static_cast<size_t>(e.to)].name, 80);
  return QStringLiteral("%1 → %2%3: %4").arg(from, to, port, numberText(e.score));
}

QString GraphState::countText() const {
  const QString all = countedText(static_cast<qint64>(edges->total));
  QString text;
  if (edges->total == 0) return GraphView::tr("no edges");
  if (shown == edges->total) text = edges->total == 1 ? GraphView::tr("1 edge") : GraphView::tr("all %1 edges shown").arg(all);
  else text = GraphView::tr("%1 of %2 edges shown").arg(countedText(static_cast<qint64>(shown)), all);
  if (threshold > 0 && !edges->leveled) text += GraphView::tr(", |%1| ≥ %2").arg(scoreName(), numberText(threshold, 3));
  else if (edges->total > edges->records.size()) text += GraphView::tr(", the strongest");
  if (shown == 0) text += GraphView::tr(": lower the threshold to see some");
  return text;
}

}  // namespace microtome::desktop
