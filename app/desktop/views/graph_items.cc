#include "app/desktop/views/graph_items.h"

#include <QApplication>
#include <QFontMetricsF>
#include <QPainter>
#include <QPainterPath>
#include <QStyleOptionGraphicsItem>
#include <QWidget>
#include <algorithm>
#include <cmath>

#include "app/desktop/views/graph_edge_layer.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

// Of `over` so much, the rest of `under`.
QColor mix(const QColor& under, const QColor& over, double part) {
  auto one = [part](double a, double b) { return static_cast<float>(a + (b - a) * part); };
  return QColor::fromRgbF(one(under.redF(), over.redF()), one(under.greenF(), over.greenF()), one(under.blueF(), over.blueF()));
}

QColor kindColour(const Theme& theme, LayerKind kind) {
  if (kind == LayerKind::kSoftmax) return theme.softmax;
  if (kind == LayerKind::kRecurrent) return theme.recurrent;
  return theme.muted;
}

struct NodeLook {
  QColor fill, line, text;
};

NodeLook lookOf(const GraphState& state, LayerKind kind, bool faded, bool knockedOut) {
  const Theme& t = *state.theme;
  const QColor base = kindColour(t, kind);
  const double tint = kind == LayerKind::kNone ? 0.14 : t.dark ? 0.32 : 0.22;
  NodeLook look{mix(t.surface, base, tint), base, t.text};
  if (faded || knockedOut) look = {mix(t.surface, base, tint * 0.3), mix(t.surface, base, 0.3), mix(t.surface, t.muted, 0.7)};
  return look;
}

QRectF outline(const NodePlace& p, double more = 0) {
  return QRectF(p.centre.x() - p.half.width() - more, p.centre.y() - p.half.height() - more, 2 * (p.half.width() + more),
                2 * (p.half.height() + more));
}

void drawShape(QPainter& painter, const NodePlace& p, double more = 0) {
  if (p.box) painter.drawRoundedRect(outline(p, more), 6 + more, 6 + more);
  else painter.drawEllipse(outline(p, more));
}

// Points of a convex outline, counter-clockwise (Andrew's monotone chain).
QPolygonF hullOf(std::vector<QPointF> points) {
  std::sort(points.begin(), points.end(), [](const QPointF& a, const QPointF& b) {
    return a.x() != b.x() ? a.x() < b.x() : a.y() < b.y();
  });
  if (points.size() < 3) return {};
  auto turn = [](const QPointF& o, const QPointF& a, const QPointF& b) {
    return (a.x() - o.x()) * (b.y() - o.y()) - (a.y() - o.y()) * (b.x() - o.x());
  };
  std::vector<QPointF> hull(2 * points.size());
  size_t k = 0;
  for (size_t pass = 0; pass < 2; ++pass) {
    const size_t start = k + 1;
    for (const QPointF& p : points) {
      while (k >= start + 1 && turn(hull[k - 2], hull[k - 1], p) <= 0) --k;
      hull[k++] = p;
    }
    --k;
    std::reverse(points.begin(), points.end());
  }
  return QPolygonF(QList<QPointF>(hull.begin(), hull.begin() + static_cast<std::ptrdiff_t>(k)));
}

// A rounded outline round the nodes of each group, and its colour.
template <typename Paint>
void forEachGroup(const GraphState& state, Paint&& paint) {
  constexpr double kPad = 12;
  int colour = 0;
  for (const auto& [name, nodes] : state.groups()) {
    const QColor tone = state.theme->series(2 + colour++ % 4);         // not the two of the signs
    std::vector<QPointF> points;
    for (int i : nodes) {
      const NodePlace& p = state.place(i);
      const double inset = std::min(p.box ? 6 : p.half.width(), p.half.height());
      for (double sx : {-1.0, 1.0})
        for (double sy : {-1.0, 1.0})
          for (int k = 0; k <= 6; ++k) {
            const double angle = k * 1.5707963267948966 / 6;           // a quarter circle at each corner
            points.emplace_back(p.centre.x() + sx * (p.half.width() - inset + (inset + kPad) * std::cos(angle)),
                                p.centre.y() + sy * (p.half.height() - inset + (inset + kPad) * std::sin(angle)));
          }
    }
    const QPolygonF hull = hullOf(std::move(points));
    if (!hull.isEmpty()) paint(name, hull, tone);
  }
}

// Nodes that are a few pixels wide: coloured squares in batches, whatever their number.
void paintDots(QPainter& painter, const GraphState& state, const QRectF& clip) {
  const std::vector<NodePlace>& places = *state.places;
  std::map<std::pair<int, bool>, std::vector<QRectF>> batches;
  for (size_t i = 0; i < places.size(); ++i) {
    const QRectF r = outline(places[i]);
    if (!clip.intersects(r)) continue;
    batches[{static_cast<int>(state.data.nodes[i].kind), state.isFaded(static_cast<int>(i))}].push_back(r);
  }
  painter.setPen(Qt::NoPen);
  for (const auto& [key, rects] : batches) {
    const QColor kind = kindColour(*state.theme, static_cast<LayerKind>(key.first));
    painter.setBrush(mix(state.theme->surface, kind, key.second ? 0.25 : 0.8));
    painter.drawRects(rects.data(), static_cast<int>(rects.size()));
  }
}

void paintMarks(QPainter& painter, const GraphState& state, int i, const NodePlace& p) {
  const Theme& t = *state.theme;
  const QPointF corner = p.centre + (p.box ? QPointF(p.half.width() - 2, -p.half.height() + 2)
                                           : QPointF(p.half.width(), -p.half.height()) * 0.76);
  if (!state.data.nodes[static_cast<size_t>(i)].note.isEmpty()) {
    painter.setPen(QPen(t.surface, 1.5));
    painter.setBrush(t.accent);
    painter.drawEllipse(corner, 5, 5);
    // A small page: two lines of writing.
    painter.setPen(QPen(t.surface, 1.1));
    painter.drawLine(corner + QPointF(-2.2, -1.2), corner + QPointF(2.2, -1.2));
    painter.drawLine(corner + QPointF(-2.2, 1.2), corner + QPointF(1, 1.2));
  }
  if (state.pinned[static_cast<size_t>(i)]) {
    const QPointF pin = p.centre + (p.box ? QPointF(-p.half.width() + 2, -p.half.height() + 2)
                                          : QPointF(-p.half.width(), -p.half.height()) * 0.76);
    painter.setPen(QPen(t.surface, 1.5));
    painter.setBrush(t.muted);
    painter.drawEllipse(pin, 3.5, 3.5);
  }
}

}  // namespace

void paintRankStripes(QPainter& painter, const GraphState& state, const QRectF& clip) {
  // Layers, not ranks: attention and MLP of one layer are one stripe.
  const QColor stripe = mix(state.theme->surface, state.theme->window, state.theme->dark ? 0.55 : 0.75);
  int layer = 0;
  for (size_t i = 0; i < state.ranks.size();) {
    const auto found = state.data.rankNames.find(state.ranks[i].rank);
    const QString name = found == state.data.rankNames.end() ? QString() : found->second;
    size_t j = i + 1;
    while (j < state.ranks.size() && !name.isEmpty() && state.data.rankNames.count(state.ranks[j].rank) &&
           state.data.rankNames.at(state.ranks[j].rank) == name)
      ++j;
    if (!name.isEmpty() && ++layer % 2) {
      const double top = state.ranks[j - 1].top, bottom = state.ranks[i].bottom;
      painter.fillRect(QRectF(clip.left(), top, clip.width(), bottom - top), stripe);
    }
    i = j;
  }
}

void paintRankNames(QPainter& painter, const GraphState& state, const QTransform& toDevice, const QRectF& area) {
  painter.save();
  QFont font = QApplication::font();
  font.setPixelSize(12);
  font.setBold(true);
  painter.setFont(font);
  const QFontMetricsF metrics(font);
  double last = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < state.ranks.size();) {
    const auto found = state.data.rankNames.find(state.ranks[i].rank);
    size_t j = i + 1;
    if (found == state.data.rankNames.end() || found->second.isEmpty()) {
      i = j;
      continue;
    }
    while (j < state.ranks.size() && state.data.rankNames.count(state.ranks[j].rank) &&
           state.data.rankNames.at(state.ranks[j].rank) == found->second)
      ++j;
    const double y = toDevice.map(QPointF(0, (state.ranks[j - 1].top + state.ranks[i].bottom) / 2)).y();
    i = j;
    if (y < area.top() + 8 || y > area.bottom() - 8 || last - y < metrics.height()) continue;
    last = y;
    const QString name = metrics.elidedText(plainLine(found->second, 40), Qt::ElideRight, 12 * kGrid);
    const QRectF box(area.left() + kGrid, y - 9, metrics.horizontalAdvance(name) + 12, 18);
    QColor behind = state.theme->surface;
    behind.setAlphaF(0.85f);
    painter.setPen(Qt::NoPen);
    painter.setBrush(behind);
    painter.drawRoundedRect(box, 4, 4);
    painter.setPen(state.theme->muted);
    painter.drawText(box, Qt::AlignCenter, name);
  }
  painter.restore();
}

void paintGroups(QPainter& painter, const GraphState& state) {
  forEachGroup(state, [&](const QString&, const QPolygonF& hull, const QColor& tone) {
    QColor fill = tone;
    fill.setAlphaF(state.theme->dark ? 0.16f : 0.10f);
    painter.setBrush(fill);
    painter.setPen(QPen(tone, 1.5, Qt::DashLine, Qt::RoundCap, Qt::RoundJoin));
    painter.drawPolygon(hull);
  });
}

void paintGroupNames(QPainter& painter, const GraphState& state) {
  QFont font = nodeFont(true);
  font.setPixelSize(12);
  const QFontMetricsF metrics(font);
  forEachGroup(state, [&](const QString& name, const QPolygonF& hull, const QColor& tone) {
    const QRectF box = hull.boundingRect();
    // Over the middle of the top edge, not of the box: the outline may lean.
    double left = box.right(), right = box.left();
    for (const QPointF& p : hull) {
      if (p.y() > box.top() + 4) continue;
      left = std::min(left, p.x());
      right = std::max(right, p.x());
    }
    const QString text = metrics.elidedText(plainLine(name, 80), Qt::ElideRight, std::max(120.0, box.width()));
    const double width = metrics.horizontalAdvance(text) + 12;
    const QRectF tag((left + right) / 2 - width / 2, box.top() - 15, width, 18);
    painter.setPen(QPen(tone, 1));
    painter.setBrush(state.theme->surface);
    painter.drawRoundedRect(tag, 4, 4);
    painter.setFont(font);
    painter.drawText(tag, Qt::AlignCenter, text);
  });
}

void paintNodes(QPainter& painter, const GraphState& state, double scale, const QRectF& clip) {
  const Theme& t = *state.theme;
  const std::vector<NodePlace>& places = *state.places;
  painter.setRenderHint(QPainter::Antialiasing);
  if (!places.empty() && 2 * 15 * scale < 5) {
    painter.setRenderHint(QPainter::Antialiasing, false);
    paintDots(painter, state, clip);
    return;
  }
  const bool labelled = 11 * scale >= 4.5;
  const QFont font = nodeFont();
  painter.setFont(font);
  // Who stays in full colour while a node is selected: its neighbours.
  std::vector<char> near;
  if (state.selected >= 0) {
    near.assign(places.size(), 0);
    near[static_cast<size_t>(state.selected)] = 1;
    for (int r : state.edgesOf(state.selected)) {
      const EdgeRecord& e = state.edges->records[static_cast<size_t>(r)];
      near[static_cast<size_t>(e.from)] = near[static_cast<size_t>(e.to)] = 1;
    }
  }
  for (size_t k = 0; k < places.size(); ++k) {
    const NodePlace& p = places[k];
    if (!clip.intersects(outline(p, 8))) continue;
    const int i = static_cast<int>(k);
    const bool chosen = i == state.selected || state.marked.count(i);
    const bool faded = !chosen && (state.isFaded(i) || (!near.empty() && !near[k]));
    const NodeLook look = lookOf(state, state.data.nodes[k].kind, faded, state.knockedOut.count(i) > 0);
    if (chosen) {
      painter.setPen(Qt::NoPen);
      painter.setBrush(t.accentSoft);
      drawShape(painter, p, 6);
    }
    // Below, the edges end; nothing of them shows through.
    painter.setBrush(look.fill);
    const bool hovered = i == state.hovered;
    painter.setPen(QPen(chosen || hovered ? t.accent : look.line, chosen ? 2.4 : hovered ? 2 : 1.3));
    drawShape(painter, p);
    if (state.ringed.count(i) && !faded) {
      painter.setBrush(Qt::NoBrush);
      painter.setPen(QPen(t.accent, 1.4));
      drawShape(painter, p, 3.5);
    }
    if (state.knockedOut.count(i)) {
      // Wider than the node, so that it is seen beside the label, which lies on top.
      painter.setPen(QPen(t.error, 2, Qt::SolidLine, Qt::RoundCap));
      const QRectF cross = outline(p, p.box ? 4 : -1);
      painter.drawLine(cross.topLeft(), cross.bottomRight());
      painter.drawLine(cross.bottomLeft(), cross.topRight());
    }
    if (labelled) {
      if (state.knockedOut.count(i)) {
        const double wide = QFontMetricsF(font).horizontalAdvance(state.labels[k]) + 4;
        painter.fillRect(QRectF(p.centre.x() - wide / 2, p.centre.y() - 6.5, wide, 13), look.fill);
      }
      painter.setPen(state.knockedOut.count(i) ? t.text : look.text);
      painter.drawText(outline(p), Qt::AlignCenter, state.labels[k]);
    }
    paintMarks(painter, state, i, p);
  }
}

bool somethingStandsOut(const GraphState& state) { return state.selected >= 0 || state.selectedEdge >= 0; }

void paintStandingOut(QPainter& painter, const GraphState& state, const QTransform& toDevice, const QRectF& clip) {
  if (!somethingStandsOut(state)) return;
  EdgeScene scene = state.scene();
  EdgeBrush brush;
  brush.clip = clip;
  if (state.selected >= 0) {
    std::vector<int> own = state.edgesOf(state.selected);
    // Few enough are drawn as if they were alone; the weakest first.
    constexpr size_t kMost = 400;
    if (own.size() > kMost) own.resize(kMost);
    std::reverse(own.begin(), own.end());
    scene.shown = std::min<size_t>(scene.shown, std::max<size_t>(own.size(), 150));
    paintEdges(painter, scene, own, toDevice, brush);
  }
  if (state.selectedEdge >= 0) {
    scene.shown = 1;
    EdgeScene halo = scene;
    halo.positive = halo.negative = halo.neutral = state.theme->accentSoft;
    EdgeBrush wide = brush;
    wide.widen = 6;
    paintEdges(painter, halo, {state.selectedEdge}, toDevice, wide);
    brush.widen = 1;
    paintEdges(painter, scene, {state.selectedEdge}, toDevice, brush);
  }
}

GraphItem::GraphItem(Part part, const GraphState& state, const EdgeLayer* layer) : part_(part), state_(state), layer_(layer) {
  setFlag(ItemUsesExtendedStyleOption);
  setZValue(static_cast<double>(part));
}

void GraphItem::setArea(const QRectF& area) {
  if (area == area_) return;
  prepareGeometryChange();
  area_ = area;
}

void GraphItem::paint(QPainter* painter, const QStyleOptionGraphicsItem* option, QWidget* widget) {
  const QTransform toDevice = painter->worldTransform();
  const double scale = std::abs(toDevice.m11());
  if (part_ == Part::kNodes) {
    paintNodes(*painter, state_, scale, option->exposedRect);
    return paintGroupNames(*painter, state_);
  }
  painter->setRenderHint(QPainter::Antialiasing);
  if (part_ == Part::kGroups) return paintGroups(*painter, state_);
  const QRectF seen = widget ? QRectF(widget->rect()) : toDevice.mapRect(option->exposedRect);
  painter->save();
  painter->resetTransform();
  layer_->paint(*painter, toDevice, seen, somethingStandsOut(state_) ? kSteppedBack : 1);
  paintStandingOut(*painter, state_, toDevice, seen);
  painter->restore();
}

}  // namespace microtome::desktop
