#include "app/desktop/views/token_map.h"

#include <QPaintEngine>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/map_text.h"
#include "app/desktop/views/token_map_impl.h"

namespace microtome::desktop {
namespace {

constexpr int kWordLetters = 64;  // no cell holds more
constexpr int64_t kMostCells = 1 << 24;

}  // namespace

// ---- numbers -------------------------------------------------------------------------------------------------------

double TokenMapView::Impl::level(int64_t r, int64_t c) const {
  const TokenQuantity* q = quantity();
  if (!q) return std::numeric_limits<double>::quiet_NaN();
  const double v = (*q->values)[index(r, c)];
  return q->logarithmic ? std::log10(1 + std::max(0.0, v)) : v;
}

void TokenMapView::Impl::measureValues() {
  missing = false;
  ownLo = 0;
  ownHi = 1;
  const TokenQuantity* q = quantity();
  if (!q) return;
  Extent extent;
  if (q->logarithmic) {
    for (const float v : *q->values) {
      const float l = std::isnan(v) ? v : std::log10(1 + std::max(0.0f, v));
      extent.add(&l, 1);
    }
  } else {
    extent.add(q->values->data(), static_cast<int64_t>(q->values->size()));
  }
  missing = extent.missing;
  std::tie(ownLo, ownHi) =
      q->lo < q->hi && std::isfinite(q->lo + q->hi) ? std::pair(q->lo, q->hi) : scaleOf(q->look, extent);
}

// ---- the widget ----------------------------------------------------------------------------------------------------

TokenMapView::TokenMapView(QWidget* parent) : View(parent), impl_(std::make_unique<Impl>(this)) {
  setMouseTracking(true);
  setFocusPolicy(Qt::StrongFocus);
  setAccessibleName(tr("Table of tokens"));
  impl_->emptyText = tr("Nothing to show yet.");
  impl_->across = new QScrollBar(Qt::Horizontal, this);
  impl_->down = new QScrollBar(Qt::Vertical, this);
  for (QScrollBar* bar : {impl_->across, impl_->down}) {
    bar->hide();
    bar->setFocusPolicy(Qt::NoFocus);
    connect(bar, &QScrollBar::valueChanged, this, [this] {
      impl_->hover(-1, -1);
      update();
    });
  }
  connect(impl_->across, &QScrollBar::valueChanged, this, &TokenMapView::scrolled);
}

TokenMapView::~TokenMapView() = default;

void TokenMapView::setData(TokenMapData data) {
  Impl& d = *impl_;
  const auto fits = [&](const auto& values) {
    return values && data.rows > 0 && data.cols > 0 && data.rows <= kMostCells / data.cols &&
           static_cast<int64_t>(values->size()) == data.rows * data.cols;
  };
  bool good = fits(data.cells);
  for (const TokenQuantity& q : data.quantities) good = good && fits(q.values);
  if (!good) {
    clear();
    return;
  }
  const bool sameShape = d.has && d.data.rows == data.rows && d.data.cols == data.cols;
  d.data = std::move(data);
  d.has = true;
  d.givenLo = d.givenHi = 0;
  d.shown.clear();
  for (const QString& word : d.data.words) {
    QString text = visibleToken(word.left(kWordLetters + 1));
    if (text.size() > kWordLetters) text = text.left(kWordLetters) + QChar(0x2026);
    d.shown.push_back(std::move(text));
  }
  if (!sameShape) {
    d.row = d.col = -1;
    d.across->setValue(0);
    d.down->setValue(0);
  }
  d.measureValues();
  d.measureTexts();
  d.hover(-1, -1);
  d.layOut();
  updateGeometry();
  update();
}

void TokenMapView::clear(const QString& emptyText) {
  Impl& d = *impl_;
  d.data = {};
  d.has = false;
  d.shown.clear();
  d.row = d.col = -1;
  if (!emptyText.isEmpty()) d.emptyText = emptyText;
  d.hover(-1, -1);
  d.layOut();
  updateGeometry();
  update();
}

const TokenMapData& TokenMapView::data() const { return impl_->data; }

void TokenMapView::setColour(int quantity) {
  impl_->data.colour = quantity;
  impl_->givenLo = impl_->givenHi = 0;
  impl_->measureValues();
  impl_->layOut();
  update();
}

void TokenMapView::setScale(double lo, double hi) {
  const bool good = std::isfinite(lo) && std::isfinite(hi) && lo < hi;
  impl_->givenLo = good ? lo : 0;
  impl_->givenHi = good ? hi : 0;
  impl_->layOut();
  update();
}

std::pair<double, double> TokenMapView::ownScale() const { return {impl_->ownLo, impl_->ownHi}; }

std::pair<double, double> TokenMapView::scale() const {
  return impl_->givenLo < impl_->givenHi ? std::pair(impl_->givenLo, impl_->givenHi) : ownScale();
}

void TokenMapView::setShowColourBar(bool on) {
  if (on == impl_->bar) return;
  impl_->bar = on;
  impl_->layOut();
  update();
}

int TokenMapView::scrolledAcross() const { return impl_->across->value(); }
void TokenMapView::setScrolledAcross(int pixels) { impl_->across->setValue(pixels); }

void TokenMapView::setSelectedCell(int64_t row, int64_t col) { impl_->select(row, col, false); }
std::pair<int64_t, int64_t> TokenMapView::selectedCell() const { return {impl_->row, impl_->col}; }

QRectF TokenMapView::cellRect(int64_t row, int64_t col) const {
  if (!impl_->inside(row, col)) return {};
  const TokenMapPlaces p = impl_->placesNow();
  return p.cell(row, col).intersected(p.plot);
}

void TokenMapView::Impl::select(int64_t r, int64_t c, bool tell) {
  if (!inside(r, c)) r = c = -1;
  const bool changed = r != row || c != col;
  row = r;
  col = c;
  if (changed) {
    if (r >= 0) ensureSeen(r, c);
    self->setAccessibleDescription(r >= 0 ? phrase(r, c) : QString());
    self->update();
  }
  if (tell && r >= 0) Q_EMIT self->cellClicked(r, c);
}

void TokenMapView::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  const Theme& theme = Theme::of(this);
  painter.fillRect(rect(), theme.surface);
  impl_->paint(painter, impl_->placesNow(), true);
}

void TokenMapView::drawPicture(QPainter& painter, const QSizeF& size) const {
  painter.save();
  impl_->paint(painter, impl_->placesIn(size), false);
  painter.restore();
}

QString TokenMapView::csv() const {
  const TokenMapData& d = impl_->data;
  if (!impl_->has) return {};
  const auto named = [](const QString& name, const char* fallback) {
    return csvField(name.isEmpty() ? QString::fromLatin1(fallback) : name);
  };
  const auto label = [](const MapAxis& axis, int64_t n, int64_t i) {
    return csvField(hasLabels(axis, n) ? axis.labels.at(static_cast<qsizetype>(i)) : QString::number(i));
  };
  QStringList head{named(d.rowAxis.name, "row"), named(d.colAxis.name, "column")};
  if (hasLabels(d.colAxis, d.cols)) head << QStringLiteral("token");
  head << named(d.wordName, "word");
  for (const TokenQuantity& q : d.quantities) head << csvField(labelWithUnit(q.name, q.unit));
  QString out = head.join(QLatin1Char(',')) + QLatin1String("\r\n");
  for (int64_t r = 0; r < d.rows; ++r) {
    for (int64_t c = 0; c < d.cols; ++c) {
      out += label(d.rowAxis, d.rows, r) + QLatin1Char(',') + QString::number(c);
      if (hasLabels(d.colAxis, d.cols)) out += QLatin1Char(',') + label(d.colAxis, d.cols, c);
      const int32_t at = (*d.cells)[impl_->index(r, c)];
      out += QLatin1Char(',');
      if (at >= 0 && at < static_cast<int32_t>(d.words.size())) out += csvField(d.words[static_cast<size_t>(at)]);
      for (const TokenQuantity& q : d.quantities) out += QLatin1Char(',') + csvNumber((*q.values)[impl_->index(r, c)]);
      out += QLatin1String("\r\n");
    }
  }
  return out;
}

QSize TokenMapView::minimumSizeHint() const { return {24 * kGrid, 12 * kGrid}; }

// ---- what a cell says ----------------------------------------------------------------------------------------------

QString TokenMapView::Impl::place(int64_t r, int64_t c) const {
  // "before L2" needs no name in front.
  QString text = hasLabels(data.rowAxis, data.rows) ? axisLabel(data.rowAxis, data.rows, r)
                                                    : axisPhrase(data.rowAxis, data.rows, r, tr("row"));
  return text + QStringLiteral(", ") + axisPhrase(data.colAxis, data.cols, c, tr("column"));
}

QString TokenMapView::Impl::phrase(int64_t r, int64_t c) const {
  if (!inside(r, c)) return {};
  const QString* w = word(r, c);
  QString text = place(r, c) + QStringLiteral(": ") + (w ? QStringLiteral("“%1”").arg(*w) : tr("no token"));
  for (const TokenQuantity& q : data.quantities) {
    const double v = (*q.values)[index(r, c)];
    text += QStringLiteral(" · ") + q.name.left(64) + QLatin1Char(' ') + (std::isnan(v) ? tr("none") : numberText(v));
    if (!q.unit.isEmpty() && !std::isnan(v)) text += QLatin1Char(' ') + q.unit.left(32);
  }
  return text;
}

QString TokenMapView::Impl::details(int64_t r, int64_t c) const {
  if (!inside(r, c)) return {};
  const QString* w = word(r, c);
  QString text = QStringLiteral("<p>%1<br><b>%2</b></p>")
                     .arg(place(r, c).toHtmlEscaped(), (w ? *w : tr("no token")).toHtmlEscaped());
  if (c < data.colNotes.size())
    text += QStringLiteral("<p>%1</p>").arg(data.colNotes.at(static_cast<qsizetype>(c)).left(200).toHtmlEscaped());
  text += QStringLiteral("<table cellspacing='2'>");
  for (const TokenQuantity& q : data.quantities) {
    const double v = (*q.values)[index(r, c)];
    const QString value = std::isnan(v)
                              ? tr("none")
                              : numberText(v) + (q.unit.isEmpty() ? QString() : QLatin1Char(' ') + q.unit.left(32));
    text += QStringLiteral(
                "<tr><td><b>%1</b></td><td align='right'><b>&nbsp;%2</b></td></tr><tr><td colspan='2'>%3</td></tr>")
                .arg(q.name.left(64).toHtmlEscaped(), value.toHtmlEscaped(), q.help.left(400).toHtmlEscaped());
  }
  return text + QStringLiteral("</table>");
}

}  // namespace microtome::desktop
