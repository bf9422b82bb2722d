#include "app/desktop/views/number_view.h"

#include <QPainter>
#include <cmath>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

QString quoted(QString text) {
  return QLatin1Char('"') + text.replace(QLatin1Char('"'), QStringLiteral("\"\"")) + QLatin1Char('"');
}

}  // namespace

NumberView::NumberView(QWidget* parent) : View(parent) {}

void NumberView::setNumber(double value, const QString& name, const QString& unit, const QString& help) {
  value_ = value;
  name_ = name;
  unit_ = unit;
  help_ = help;
  setAccessibleDescription(QStringLiteral("%1: %2 %3").arg(name, numberText(value), unit));
  update();
}

QSizeF NumberView::pictureSize() const { return QSizeF(40 * kGrid, 20 * kGrid); }
QSize NumberView::sizeHint() const { return pictureSize().toSize(); }

QString NumberView::csv() const {
  const QString value = std::isfinite(value_) ? QString::number(value_, 'g', 17) : QString();
  return QStringLiteral("name,value,unit\r\n%1,%2,%3\r\n").arg(quoted(name_), value, quoted(unit_));
}

void NumberView::drawPicture(QPainter& painter, const QSizeF& size) const {
  const Theme& theme = Theme::of(this);
  const QFont plain = font();
  QFont large = plain;
  large.setPointSizeF(std::max(8.0, plain.pointSizeF()) * 3);
  QFont medium = plain;
  medium.setPointSizeF(std::max(8.0, plain.pointSizeF()) * 1.4);
  const QFontMetricsF big(large), mid(medium), small(plain);
  const QString value = numberText(value_);
  const QString unit = mid.elidedText(unit_, Qt::ElideRight, size.width() / 3);
  const double gap = unit.isEmpty() ? 0 : kGrid;
  const double width = big.horizontalAdvance(value) + gap + mid.horizontalAdvance(unit);
  double y = size.height() / 2 - (small.height() + big.height() + 2 * small.height()) / 2 + small.ascent();
  const auto centred = [&](const QString& text) {
    const QString fits = small.elidedText(text, Qt::ElideRight, size.width() - 4 * kGrid);
    painter.drawText(QPointF((size.width() - small.horizontalAdvance(fits)) / 2, y), fits);
  };
  painter.setFont(plain);
  painter.setPen(theme.text);
  centred(name_);
  y += small.descent() + big.ascent();
  const double x = (size.width() - width) / 2;
  painter.setFont(large);
  painter.drawText(QPointF(x, y), value);
  painter.setFont(medium);
  painter.setPen(theme.muted);
  painter.drawText(QPointF(x + big.horizontalAdvance(value) + gap, y), unit);
  y += big.descent() + small.height();
  painter.setFont(plain);
  centred(help_);
}

void NumberView::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.fillRect(rect(), Theme::of(this).surface);
  painter.setRenderHint(QPainter::Antialiasing);
  drawPicture(painter, size());
}

}  // namespace microtome::desktop
