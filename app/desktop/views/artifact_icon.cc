#include "app/desktop/views/artifact_icon.h"

#include <QPainter>
#include <QPixmap>
#include <algorithm>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

constexpr int kSide = 16;

void draw(QPainter& p, const Theme&, const Table&) {
  p.drawRoundedRect(QRectF(2.5, 3.5, 11, 9), 1, 1);
  p.drawLine(QPointF(2.5, 6.5), QPointF(13.5, 6.5));
  p.drawLine(QPointF(2.5, 9.5), QPointF(13.5, 9.5));
  p.drawLine(QPointF(6.5, 3.5), QPointF(6.5, 12.5));
}

void draw(QPainter& p, const Theme& theme, const TensorMap&) {
  p.setPen(Qt::NoPen);
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) {
      QColor colour = r >= c ? theme.accent : theme.muted;
      colour.setAlphaF(r == c ? 1.0f : r > c ? 0.55f : 0.3f);
      p.fillRect(QRectF(2 + c * 4, 2 + r * 4, 4, 4), colour);
    }
}

void draw(QPainter& p, const Theme& theme, const Series&) {
  p.drawPolyline(QPolygonF({{2.5, 2.5}, {2.5, 13.5}, {13.5, 13.5}}));
  p.setPen(QPen(theme.accent, 1.4, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
  p.drawPolyline(QPolygonF({{4.5, 10.5}, {7.5, 6.5}, {9.5, 8.5}, {13, 3.5}}));
}

void draw(QPainter& p, const Theme&, const Text&) {
  for (int i = 0; i < 4; ++i) p.drawLine(QPointF(2.5, 3.5 + 3 * i), QPointF(i == 3 ? 8.5 : 13.5, 3.5 + 3 * i));
}

void draw(QPainter& p, const Theme& theme, const Circuit&) {
  p.drawLine(QPointF(4, 12), QPointF(8, 4));
  p.drawLine(QPointF(8, 4), QPointF(12, 12));
  p.setPen(Qt::NoPen);
  p.setBrush(theme.accent);
  for (const QPointF& at : {QPointF(4, 12), QPointF(8, 4), QPointF(12, 12)}) p.drawEllipse(at, 2.2, 2.2);
}

// Bars of a histogram.
void draw(QPainter& p, const Theme& theme, const FeatureSet&) {
  p.drawLine(QPointF(2.5, 13.5), QPointF(13.5, 13.5));
  const int heights[] = {10, 7, 4, 2};
  for (int i = 0; i < 4; ++i) p.fillRect(QRectF(3 + 2.7 * i, 13 - heights[i], 2, heights[i]), theme.accent);
}

// Two rows of nodes, joined.
void draw(QPainter& p, const Theme& theme, const AttributionGraph&) {
  for (double x : {3.5, 8.0, 12.5}) p.drawLine(QPointF(x, 12.5), QPointF(8, 4));
  p.setPen(Qt::NoPen);
  p.setBrush(theme.accent);
  for (const QPointF& at : {QPointF(3.5, 12.5), QPointF(8, 12.5), QPointF(12.5, 12.5), QPointF(8, 3.5)}) p.drawRect(QRectF(at - QPointF(1.6, 1.6), QSizeF(3.2, 3.2)));
}

}  // namespace

QIcon artifactIcon(const Artifact& artifact, const Theme& theme, double pixelRatio) {
  const double ratio = std::clamp(pixelRatio, 1.0, 4.0);
  QPixmap picture(qRound(kSide * ratio), qRound(kSide * ratio));
  picture.setDevicePixelRatio(ratio);
  picture.fill(Qt::transparent);
  QPainter p(&picture);
  p.setRenderHint(QPainter::Antialiasing);
  p.setPen(QPen(theme.muted, 1));
  std::visit([&](const auto& part) { draw(p, theme, part); }, artifact);
  p.end();
  return QIcon(picture);
}

}  // namespace microtome::desktop
