#include <QApplication>
#include <QFontMetricsF>
#include <QPainter>
#include <QPainterPath>
#include <algorithm>
#include <functional>

#include "app/desktop/views/graph_items.h"

namespace microtome::desktop {
namespace {

struct Piece {
  double width = 0;
  std::function<void(double x)> draw;
};

}  // namespace

void paintLegend(QPainter& painter, const GraphState& state, const QRectF& area, double scale) {
  const Theme& t = *state.theme;
  painter.save();
  painter.setRenderHint(QPainter::Antialiasing);
  QFont font = QApplication::font();
  font.setPixelSize(12);
  painter.setFont(font);
  const QFontMetricsF metrics(font);
  const double y = area.center().y(), left = area.left() + 2 * kGrid, right = area.right() - 2 * kGrid;
  auto word = [&](double x, const QString& text) {
    painter.setPen(t.muted);
    painter.drawText(QRectF(x, area.top(), metrics.horizontalAdvance(text) + 2, area.height()),
                     Qt::AlignVCenter | Qt::AlignLeft, text);
  };
  auto widthOf = [&](const QString& text) { return metrics.horizontalAdvance(text); };

  std::vector<Piece> pieces;
  const bool edges = !state.edges->records.empty();
  bool negative = false, positive = false;
  for (const EdgeRecord& r : state.edges->records) {
    negative |= r.sign < 0;
    positive |= r.sign > 0;
    if (negative && positive) break;
  }
  for (const auto& [there, colour, text] : {std::tuple(positive, t.series(0), GraphView::tr("positive")),
                                            std::tuple(negative, t.series(1), GraphView::tr("negative"))}) {
    if (!there) continue;
    pieces.push_back({24 + 6 + widthOf(text), [&, colour = colour, text = text](double x) {
                        painter.setPen(QPen(colour, 2.5, Qt::SolidLine, Qt::FlatCap));
                        painter.drawLine(QPointF(x, y), QPointF(x + 24, y));
                        word(x + 30, text);
                      }});
  }
  if (edges && state.edges->largest > 0) {
    // A wedge from the weakest shown edge to the strongest, as wide as they are drawn now.
    const auto& sizes = state.edges->magnitudes;
    double least = state.shown > 0 ? sizes[state.shown - 1] : state.edges->leveled ? state.edges->largest : state.threshold;
    if (state.edges->leveled && state.shown > 0) least = *std::min_element(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(state.shown));
    least = std::max(0.0, least);
    if (!std::isfinite(least)) least = state.edges->largest;
    const QString low = QStringLiteral("|%1| %2").arg(state.scoreName(), numberText(least, 2));
    const QString high = numberText(state.edges->largest, 3);
    const double thin = edgeWidth(least / state.edges->largest, state.shown, scale);
    const double wide = edgeWidth(1, state.shown, scale);
    pieces.push_back({widthOf(low) + 6 + 40 + 6 + widthOf(high), [&, low, high, thin, wide](double x) {
                        word(x, low);
                        const double a = x + widthOf(low) + 6, b = a + 40;
                        QPainterPath wedge;
                        wedge.moveTo(a, y - thin / 2);
                        wedge.lineTo(b, y - wide / 2);
                        wedge.lineTo(b, y + wide / 2);
                        wedge.lineTo(a, y + thin / 2);
                        painter.fillPath(wedge, t.muted);
                        word(b + 6, high);
                      }});
  }
  bool softmax = false, recurrent = false;
  for (const GraphNode& n : state.data.nodes) {
    softmax |= n.kind == LayerKind::kSoftmax;
    recurrent |= n.kind == LayerKind::kRecurrent;
  }
  for (const auto& [there, colour, text] : {std::tuple(softmax, t.softmax, GraphView::tr("softmax layer")),
                                            std::tuple(recurrent, t.recurrent, GraphView::tr("recurrent layer"))}) {
    if (!there) continue;
    pieces.push_back({12 + 6 + widthOf(text), [&, colour = colour, text = text](double x) {
                        QColor fill = colour;
                        fill.setAlphaF(0.3f);
                        painter.setPen(QPen(colour, 1.3));
                        painter.setBrush(fill);
                        painter.drawEllipse(QPointF(x + 6, y), 5.5, 5.5);
                        word(x + 18, text);
                      }});
  }

  const QString count = metrics.elidedText(state.countText(), Qt::ElideRight, std::max(0.0, right - left));
  const double room = right - widthOf(count) - 3 * kGrid;
  painter.setPen(t.text);
  painter.drawText(QRectF(right - widthOf(count) - 2, area.top(), widthOf(count) + 2, area.height()),
                   Qt::AlignVCenter | Qt::AlignRight, count);
  double x = left;
  for (const Piece& piece : pieces) {
    if (x + piece.width > room) break;
    piece.draw(x);
    x += piece.width + 2.5 * kGrid;
  }
  painter.restore();
}

}  // namespace microtome::desktop
