#include "app/desktop/views/heat_map.h"

#include <QActionGroup>
#include <QCoreApplication>
#include <QMenu>
#include <QPaintEngine>
#include <QPointer>
#include <QThreadPool>
#include <algorithm>
#include <cmath>

#include "app/desktop/views/heat_map_impl.h"
#include "app/desktop/views/map_text.h"

namespace microtome::desktop {
namespace {

constexpr int64_t kMeasuredAtOnce = 1 << 20;  // cells: a few milliseconds
constexpr int64_t kCsvCells = 4'000'000;
constexpr int64_t kRectCells = 4096;  // drawn one by one in a vector picture

CellGrid gridOf(const HeatMapData& data) { return {data.values, data.rows, data.cols, data.look, data.causal}; }

}  // namespace

// ---- scale and worker ----------------------------------------------------------------------------------------------

std::pair<double, double> HeatMapView::Impl::scale() const {
  const bool signedLook = data.look == Look::kDiverging;
  if (choice == ScaleChoice::kUnit) return {signedLook ? -1.0 : 0.0, 1.0};
  std::pair<double, double> s{autoLo, autoHi};
  if (givenLo < givenHi) s = {givenLo, givenHi};
  if (choice == ScaleChoice::kSymmetric || signedLook) {
    // White stays at zero whatever is asked for.
    const double m = std::max(std::abs(s.first), std::abs(s.second));
    return {-m, m};
  }
  return s;
}

void HeatMapView::Impl::absorb(const Extent& extent) {
  missing = extent.missing;
  const auto [lo, hi] = scaleOf(data.look, extent);
  if (!extent.any) {
    if (!autoKnown) std::tie(autoLo, autoHi) = std::pair(lo, hi);
    return;
  }
  // Grows only: a grid that fills while a run goes on must not change its colours with every cell.
  autoLo = autoKnown ? std::min(autoLo, lo) : lo;
  autoHi = autoKnown ? std::max(autoHi, hi) : hi;
  autoKnown = true;
}

void HeatMapView::Impl::measureValues(bool fresh) {
  ++serial;
  if (fresh) {
    stopWork();
    autoKnown = false;
    pyramid.reset();
  }
  if (grid.count() <= kMeasuredAtOnce) {
    absorb(extentOf(grid));
  } else if (fresh) {
    absorb(extentOf(grid,
                    std::max<int64_t>(1, static_cast<int64_t>(std::sqrt(static_cast<double>(grid.count() / 65536))))));
  }
  if (grid.count() >= kPyramidFrom) startWork();
}

void HeatMapView::Impl::startWork() {
  if (stop) {
    stale = true;
    return;
  }
  stale = false;
  stop = std::make_shared<std::atomic<bool>>(false);
  QThreadPool::globalInstance()->start([grid = grid, ticket = stop, view = QPointer<HeatMapView>(self)] {
    auto made = buildPyramid(grid, *ticket);
    // The application outlives its thread pool's work; the view may not, so it is asked on its own thread.
    if (!*ticket)
      QMetaObject::invokeMethod(
          QCoreApplication::instance(), [view, ticket, made] { workDone(view.data(), ticket, made); },
          Qt::QueuedConnection);
  });
}

void HeatMapView::Impl::stopWork() {
  if (stop) *stop = true;
  stop.reset();
  stale = false;
}

void HeatMapView::Impl::workDone(HeatMapView* view, const std::shared_ptr<std::atomic<bool>>& ticket,
                                 const std::shared_ptr<const CellPyramid>& made) {
  if (!view || view->impl_->stop != ticket || !made) return;
  Impl& d = *view->impl_;
  d.stop.reset();
  d.pyramid = made;
  ++d.serial;
  d.absorb(made->extent);
  if (d.stale) d.startWork();
  view->update();
}

// ---- what is shown -------------------------------------------------------------------------------------------------

HeatMapView::HeatMapView(QWidget* parent) : View(parent), impl_(std::make_unique<Impl>(this)) {
  setMouseTracking(true);
  setFocusPolicy(Qt::StrongFocus);
  setAccessibleName(tr("Heat map"));
  impl_->emptyText = tr("Nothing to show yet.");
}

HeatMapView::~HeatMapView() = default;

void HeatMapView::setData(const HeatMapData& data) {
  Impl& d = *impl_;
  const CellGrid grid = gridOf(data);
  if (!grid.valid()) {
    clear(d.emptyText);
    return;
  }
  // A choice of scale is kept from head to head, but not carried from one kind of numbers to another.
  if (!d.has || d.data.look != data.look) d.choice = Impl::ScaleChoice::kAutomatic;
  d.data = data;
  d.grid = grid;
  d.has = true;
  d.givenLo = d.givenHi = 0;
  if (std::isfinite(data.lo) && std::isfinite(data.hi) && data.lo < data.hi)
    std::tie(d.givenLo, d.givenHi) = std::pair(data.lo, data.hi);
  d.row = d.col = d.brush = -1;
  d.brushLast = false;
  d.measured = false;
  d.visible = QRectF(0, 0, static_cast<double>(data.cols), static_cast<double>(data.rows));
  d.measureValues(true);
  d.hover(-1, -1, {});
  updateGeometry();
  update();
}

void HeatMapView::clear(const QString& emptyText) {
  Impl& d = *impl_;
  d.stopWork();
  d.data = {};
  d.grid = {};
  d.has = false;
  d.pyramid.reset();
  d.frame = {};
  d.row = d.col = d.brush = -1;
  d.drag = Impl::Drag::kNone;
  if (!emptyText.isEmpty()) d.emptyText = emptyText;
  d.hover(-1, -1, {});
  updateGeometry();
  update();
}

const HeatMapData& HeatMapView::data() const { return impl_->data; }

void HeatMapView::setValues(std::shared_ptr<const std::vector<float>> values) {
  Impl& d = *impl_;
  if (!d.has || !values || values->size() != d.data.values->size()) return;
  d.data.values = std::move(values);
  d.grid.values = d.data.values;
  d.measureValues(false);
  if (d.hoverRow >= 0 && d.hoverCol >= 0) {
    d.hoverSaid = cellPhrase(d.data, d.hoverRow, d.hoverCol);
    Q_EMIT hoverText(d.hoverSaid);
  }
  update();
}

void HeatMapView::setScale(double lo, double hi) {
  const bool good = std::isfinite(lo) && std::isfinite(hi) && lo < hi;
  impl_->givenLo = good ? lo : 0;
  impl_->givenHi = good ? hi : 0;
  update();
}

std::pair<double, double> HeatMapView::scale() const { return impl_->scale(); }

void HeatMapView::setShowColourBar(bool on) {
  impl_->bar = on;
  update();
}

void HeatMapView::setSelectedCell(int64_t row, int64_t col) { impl_->select(row, col, false); }
void HeatMapView::setBrushedRow(int64_t row) { impl_->brushRow(row, false); }
int64_t HeatMapView::brushedRow() const { return impl_->brush; }
QRectF HeatMapView::visibleCells() const { return impl_->visible; }
QRectF HeatMapView::plotRect() const { return impl_->has ? impl_->placesNow().plot : QRectF(); }
void HeatMapView::setVisibleCells(const QRectF& cells) { impl_->setVisible(cells); }

void HeatMapView::zoomToFit() {
  impl_->setVisible(QRectF(0, 0, static_cast<double>(impl_->data.cols), static_cast<double>(impl_->data.rows)));
}

void HeatMapView::Impl::setVisible(QRectF cells) {
  if (!has || !std::isfinite(cells.x() + cells.y() + cells.width() + cells.height())) return;
  const auto clamp = [](double from, double length, int64_t n) {
    const double all = static_cast<double>(n);
    // Two cells are near enough.
    length = std::clamp(length, std::min(2.0, all), all);
    return std::pair(std::clamp(from, 0.0, all - length), length);
  };
  const auto [x, w] = clamp(cells.x(), cells.width(), data.cols);
  const auto [y, h] = clamp(cells.y(), cells.height(), data.rows);
  if (visible == QRectF(x, y, w, h)) return;
  visible = QRectF(x, y, w, h);
  self->update();
}

MapScene HeatMapView::Impl::scene() const {
  MapScene s;
  s.data = &data;
  s.visible = visible;
  std::tie(s.lo, s.hi) = scale();
  s.bar = bar;
  s.missing = missing;
  s.focus = self->hasFocus();
  s.hoverRow = hoverRow;
  s.hoverCol = hoverCol;
  s.row = row;
  s.col = col;
  s.brush = brush;
  s.font = self->font();
  s.theme = &Theme::of(self);
  return s;
}

MapPlaces HeatMapView::Impl::places(const MapScene& scene, const QSizeF& size) const {
  if (!measured || measuredFont != scene.font) {
    measures = measureMap(data, scene.font);
    measuredFont = scene.font;
    measured = true;
  }
  return placeMap(scene, measures, size);
}

MapPlaces HeatMapView::Impl::placesNow() const { return places(scene(), self->size()); }

// ---- drawing -------------------------------------------------------------------------------------------------------

void HeatMapView::paintEvent(QPaintEvent*) {
  Impl& d = *impl_;
  QPainter painter(this);
  const Theme& theme = Theme::of(this);
  painter.fillRect(rect(), theme.surface);
  if (!d.has) {
    paintEmptyText(painter, rect(), d.emptyText, theme);
    return;
  }
  const MapScene scene = d.scene();
  const MapPlaces places = d.places(scene, size());
  const double ratio = devicePixelRatioF();
  CellPaint how{d.visible, (places.plot.size() * ratio).toSize(), scene.lo, scene.hi, theme.dark, ratio};
  Impl::Frame& f = d.frame;
  if (f.image.isNull() || f.visible != how.visible || f.pixels != how.pixels || f.lo != how.lo || f.hi != how.hi ||
      f.dark != how.dark || f.serial != d.serial) {
    f = {cellImage(d.grid, d.pyramid.get(), how), how.visible, how.pixels, how.lo, how.hi, how.dark, d.serial};
    f.image.setDevicePixelRatio(ratio);
  }
  painter.drawImage(places.plot.topLeft(), f.image);
  paintMapParts(painter, scene, places);
}

void HeatMapView::drawPicture(QPainter& painter, const QSizeF& size) const {
  const Impl& d = *impl_;
  const Theme& theme = Theme::of(this);
  if (!d.has) {
    paintEmptyText(painter, QRectF(QPointF(), size), d.emptyText, theme);
    return;
  }
  MapScene scene = d.scene();
  scene.focus = false;
  scene.hoverRow = scene.hoverCol = -1;
  const MapPlaces places = d.places(scene, size);
  const bool vector = painter.paintEngine() && painter.paintEngine()->type() != QPaintEngine::Raster;
  if (vector && d.visible.width() * d.visible.height() <= static_cast<double>(kRectCells)) {
    paintCellRects(painter, scene, places);
  } else {
    // Twice the pixels in a vector picture, where they may be enlarged.
    const QTransform& t = painter.deviceTransform();
    const double ratio = vector ? 2.0 : std::clamp(std::hypot(t.m11(), t.m12()), 1.0, 8.0);
    CellPaint how{d.visible, (places.plot.size() * ratio).toSize(), scene.lo, scene.hi, theme.dark, ratio};
    std::shared_ptr<const CellPyramid> pyramid = d.pyramid;
    // A saved picture is never the coarse one.
    const std::atomic<bool> goOn{false};
    if (!pyramid && levelFor(d.grid, how) > 0) pyramid = buildPyramid(d.grid, goOn);
    painter.drawImage(places.plot, cellImage(d.grid, pyramid.get(), how));
  }
  paintMapParts(painter, scene, places);
}

QSizeF HeatMapView::pictureSize() const {
  const Impl& d = *impl_;
  const QSizeF whole = QSizeF(size()).expandedTo(QSizeF(320, 240));
  if (!d.has) return whole;
  // Without the room that the window leaves around it.
  const MapPlaces places = d.places(d.scene(), whole);
  return QSizeF(std::ceil(places.used.width()), std::ceil(places.used.height())).boundedTo(whole);
}

QList<View::Format> HeatMapView::formats() const {
  if (impl_->has && impl_->grid.count() > kCsvCells) return {Format::kPng, Format::kSvg};
  return View::formats();
}

QString HeatMapView::csv() const {
  const HeatMapData& d = impl_->data;
  if (!impl_->has || impl_->grid.count() > kCsvCells) return {};
  const auto label = [](const MapAxis& axis, int64_t n, int64_t i) {
    return csvField(hasLabels(axis, n) ? axis.labels.at(static_cast<qsizetype>(i)) : QString::number(i));
  };
  QString out = csvField(d.rowAxis.name + QLatin1Char('\\') + d.colAxis.name);
  out.reserve(static_cast<qsizetype>(d.rows * d.cols * 8));
  for (int64_t c = 0; c < d.cols; ++c) out += QLatin1Char(',') + label(d.colAxis, d.cols, c);
  out += QLatin1String("\r\n");
  for (int64_t r = 0; r < d.rows; ++r) {
    out += label(d.rowAxis, d.rows, r);
    for (int64_t c = 0; c < d.cols; ++c) {
      out += QLatin1Char(',');
      if (!d.causal || c <= r) out += csvNumber((*d.values)[static_cast<size_t>(r * d.cols + c)]);
    }
    out += QLatin1String("\r\n");
  }
  return out;
}

QSize HeatMapView::sizeHint() const {
  const Impl& d = *impl_;
  if (!d.has) return {60 * kGrid, 45 * kGrid};
  // Room for readable cells, within what a laptop's panel has.
  const int width = static_cast<int>(std::clamp<int64_t>(d.data.cols * 24 + 25 * kGrid, 40 * kGrid, 90 * kGrid));
  const int height = static_cast<int>(std::clamp<int64_t>(d.data.rows * 24 + 12 * kGrid, 25 * kGrid, 70 * kGrid));
  return {width, height};
}

QSize HeatMapView::minimumSizeHint() const { return {20 * kGrid, 15 * kGrid}; }

void HeatMapView::addActions(QMenu& menu) {
  menu.addAction(tr("Fit"), this, [this] { zoomToFit(); })->setObjectName(QStringLiteral("map_fit"));
  QMenu* scales = menu.addMenu(tr("Colour scale"));
  auto* group = new QActionGroup(scales);
  const auto add = [&](const QString& text, const char* name, Impl::ScaleChoice choice) {
    QAction* action = scales->addAction(text, this, [this, choice] {
      impl_->choice = choice;
      update();
    });
    action->setObjectName(QString::fromLatin1(name));
    action->setCheckable(true);
    action->setChecked(impl_->choice == choice);
    group->addAction(action);
  };
  add(tr("Automatic"), "scale_automatic", Impl::ScaleChoice::kAutomatic);
  add(tr("Symmetric about 0"), "scale_symmetric", Impl::ScaleChoice::kSymmetric);
  add(impl_->data.look == Look::kDiverging ? tr("−1…1") : tr("0…1"), "scale_unit", Impl::ScaleChoice::kUnit);
  menu.actions().last()->setEnabled(impl_->has);
}

}  // namespace microtome::desktop
