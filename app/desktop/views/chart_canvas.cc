#include "app/desktop/views/chart_canvas.h"

#include <QGraphicsItem>
#include <QPainter>
#include <QtCharts/QChart>
#include <QtCharts/QLegend>
#include <QtCharts/QLineSeries>
#include <QtCharts/QScatterSeries>
#include <QtCharts/QValueAxis>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

constexpr int kFewPoints = 60;                         // of a line: each is marked

}  // namespace

// A sheet below or above Qt Charts' items.
class ChartCanvas::Layer : public QGraphicsItem {
 public:
  Layer(ChartCanvas* canvas, bool above) : QGraphicsItem(canvas->chart_), canvas_(canvas), above_(above) {
    setZValue(above ? 1000 : 0);
    setAcceptedMouseButtons(Qt::NoButton);
  }
  void setSize(const QSizeF& size) {
    if (size == size_) return;
    prepareGeometryChange();
    size_ = size;
  }
  QRectF boundingRect() const override { return {QPointF(), size_}; }
  void paint(QPainter* p, const QStyleOptionGraphicsItem*, QWidget*) override {
    const ChartCanvas& c = *canvas_;
    const Theme& theme = Theme::of(canvas_);
    if (!above_) {
      drawBackdrop(*p, c.state_, c.frame_, c.fonts_, theme);
      return;
    }
    drawOverlay(*p, c.state_, c.frame_, c.hover_, c.band_, c.fonts_, theme);
    if (c.ring_ && c.state_.emptyText.isEmpty()) {
      p->setPen(QPen(theme.accent, 1));
      p->setBrush(Qt::NoBrush);
      p->drawRect(c.frame_.plot.adjusted(-0.5, -0.5, 0.5, 0.5));
    }
  }

 private:
  ChartCanvas* canvas_;
  bool above_;
  QSizeF size_;
};

ChartCanvas::ChartCanvas(QWidget* parent) : QChartView(parent), chart_(chart()) {
  chart_->legend()->hide();
  chart_->setBackgroundVisible(false);
  chart_->setPlotAreaBackgroundVisible(false);
  chart_->setMargins(QMargins());
  chart_->setAnimationOptions(QChart::NoAnimation);
  xAxis_ = new QValueAxis(chart_);
  yAxis_ = new QValueAxis(chart_);
  chart_->addAxis(xAxis_, Qt::AlignBottom);
  chart_->addAxis(yAxis_, Qt::AlignLeft);
  xAxis_->setVisible(false);
  yAxis_->setVisible(false);
  backdrop_ = new Layer(this, false);
  overlay_ = new Layer(this, true);
  setRenderHint(QPainter::Antialiasing);
  setFrameShape(QFrame::NoFrame);
  setRubberBand(QChartView::NoRubberBand);
  setMouseTracking(true);
  viewport()->setMouseTracking(true);
  setFocusPolicy(Qt::StrongFocus);
  setMinimumSize(20 * kGrid, 14 * kGrid);
  soon_.setSingleShot(true);
  soon_.setInterval(30);
  connect(&soon_, &QTimer::timeout, this, &ChartCanvas::flush);
  styleChanged();
}

ChartCanvas::~ChartCanvas() = default;

void ChartCanvas::dataChanged() {
  zoomed_ = false;
  hover_ = {};
  stale_ = true;
  flush();
}

void ChartCanvas::numbersChanged() {
  stale_ = true;
  if (!soon_.isActive()) soon_.start();
}

void ChartCanvas::flush() {
  if (!stale_) return;
  stale_ = false;
  soon_.stop();
  full_ = rangeOf(state_.data, state_.hidden, state_.logY);
  if (!zoomed_) range_ = full_;
  state_.unshown = state_.logY ? unshownOnLog(state_.data, state_.hidden) : 0;
  if (hover_.line >= 0 && (hover_.line >= static_cast<int>(state_.data.lines.size()) ||
                             !state_.shows(static_cast<size_t>(hover_.line))))
    hover_ = {};
  place(size());
  feed();
}

void ChartCanvas::styleChanged() {
  fonts_ = ChartFonts::of(font());
  setBackgroundBrush(Theme::of(this).surface);
  for (size_t l = 0; l < std::min(drawn_.size(), state_.data.lines.size()); ++l) styleLine(l);
  place(size());
  backdrop_->update();
  overlay_->update();
}

void ChartCanvas::changeEvent(QEvent* event) {
  QChartView::changeEvent(event);
  const QEvent::Type type = event->type();
  // Qt sends the first ones while the chart is being made.
  if (overlay_ && (type == QEvent::PaletteChange || type == QEvent::FontChange || type == QEvent::StyleChange))
    styleChanged();
}

void ChartCanvas::overlayChanged() { overlay_->update(); }

void ChartCanvas::zoomTo(const ChartRange& range) {
  // No deeper than numbers can tell apart.
  const auto wide = [](double lo, double hi) { return hi - lo > 1e-9 * std::max({std::abs(lo), std::abs(hi), 1e-290}); };
  if (!wide(range.xLo, range.xHi) || !wide(range.yLo, range.yHi) || !std::isfinite(range.xHi - range.xLo) ||
      !std::isfinite(range.yHi - range.yLo))
    return;
  range_ = range;
  zoomed_ = true;
  setHover({});
  place(size());
  feed();
}

void ChartCanvas::resetZoom() {
  zoomed_ = false;
  range_ = full_;
  place(size());
  feed();
}

// Everything's place at a size; Qt Charts gets the same plot and the same axes.
void ChartCanvas::place(const QSizeF& size) {
  frame_ = frameOf(state_, range_, size, fonts_);
  backdrop_->setSize(size);
  overlay_->setSize(size);
  if (chart_->plotArea() != frame_.plot) chart_->setPlotArea(frame_.plot);
  xAxis_->setRange(frame_.range.xLo, frame_.range.xHi);
  yAxis_->setRange(frame_.range.yLo, frame_.range.yHi);
  backdrop_->update();
  overlay_->update();
}

void ChartCanvas::feed() {
  const bool empty = !state_.emptyText.isEmpty();
  const size_t lines = empty ? 0 : state_.data.lines.size();
  if (drawn_.size() < lines) drawn_.resize(lines);
  for (size_t l = 0; l < drawn_.size(); ++l) {
    if (l < lines && state_.shows(l)) {
      feedLine(l);
      continue;
    }
    fill(drawn_[l].raw, {});
    fill(drawn_[l].smooth, {});
    if (drawn_[l].dots) drawn_[l].dots->setVisible(false);
  }
}

void ChartCanvas::feedLine(size_t line) {
  Drawn& d = drawn_[line];
  const ChartLine& l = state_.data.lines[line];
  const ChartRange& r = frame_.range;
  QList<QPointF> dots;
  if (state_.scatter()) {
    dots = drawnPoints(l.x, l.y, r, state_.logY);
    fill(d.raw, {});
    fill(d.smooth, {});
  } else {
    const bool ascending = state_.ascending[line];
    DrawnLine raw = drawnLine(l.x, l.y, ascending, r.xLo, r.xHi, state_.logY);
    fill(d.raw, raw.pieces);
    dots = raw.dots;
    const bool smooth = state_.halfLife > 0 && line < state_.smooth.size();
    fill(d.smooth, smooth ? drawnLine(l.x, state_.smooth[line], ascending, r.xLo, r.xHi, state_.logY).pieces
                          : std::vector<QList<QPointF>>());
  }
  if (!dots.isEmpty() && !d.dots) {
    d.dots = new QScatterSeries(chart_);
    chart_->addSeries(d.dots);
    d.dots->attachAxis(xAxis_);
    d.dots->attachAxis(yAxis_);
  }
  if (d.dots) {
    d.dots->replace(dots);
    d.dots->setVisible(!dots.isEmpty());
  }
  styleLine(line);
}

void ChartCanvas::fill(std::vector<QLineSeries*>& pool, const std::vector<QList<QPointF>>& pieces) {
  while (pool.size() < pieces.size()) {
    auto* series = new QLineSeries(chart_);
    chart_->addSeries(series);
    series->attachAxis(xAxis_);
    series->attachAxis(yAxis_);
    pool.push_back(series);
  }
  for (size_t i = 0; i < pool.size(); ++i) {
    const bool used = i < pieces.size();
    if (used) pool[i]->replace(pieces[i]);
    else if (pool[i]->count() > 0) pool[i]->clear();
    pool[i]->setVisible(used);
  }
}

void ChartCanvas::styleLine(size_t line) {
  Drawn& d = drawn_[line];
  const Theme& theme = Theme::of(this);
  const QColor colour = lineColour(state_, line, theme);
  const Qt::PenStyle style = lineStyle(state_, line, theme);
  const bool smooth = state_.halfLife > 0 && !state_.scatter();
  const bool few = pointsOf(state_.data.lines[line]) <= kFewPoints && !smooth;
  QColor thin = colour;
  thin.setAlphaF(smooth ? 0.3f : 1.0f);
  QPen pen(thin, smooth ? 1 : 2, smooth ? Qt::SolidLine : style, Qt::RoundCap, Qt::RoundJoin);
  for (QLineSeries* s : d.raw) {
    s->setPen(pen);
    s->setPointsVisible(few);
    s->setMarkerSize(2.5);  // Qt takes it for the radius
  }
  QPen thick(colour, 2, style, Qt::RoundCap, Qt::RoundJoin);
  for (QLineSeries* s : d.smooth) s->setPen(thick);
  if (!d.dots) return;
  const bool scatter = state_.scatter();
  d.dots->setMarkerShape(scatter && line % 2 ? QScatterSeries::MarkerShapeRectangle : QScatterSeries::MarkerShapeCircle);
  d.dots->setMarkerSize(scatter ? 8 : 6);
  QColor fill = colour;
  fill.setAlphaF(scatter ? 0.75f : thin.alphaF());
  d.dots->setColor(fill);
  d.dots->setBorderColor(scatter ? theme.surface : fill);
}

void ChartCanvas::draw(QPainter& painter, const QSizeF& size) {
  flush();
  const ChartHover hover = hover_;
  const bool ring = ring_;
  hover_ = {};
  ring_ = false;
  const QSizeF before = chart_->size();
  chart_->resize(size);
  place(size);
  scene()->render(&painter, QRectF(QPointF(), size), QRectF(QPointF(), size), Qt::IgnoreAspectRatio);
  hover_ = hover;
  ring_ = ring;
  chart_->resize(before);
  place(this->size());
}

}  // namespace microtome::desktop
