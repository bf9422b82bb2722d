#include "app/desktop/views/heat_map_grid.h"

#include <QCoreApplication>
#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QPointer>
#include <QThreadPool>
#include <QToolTip>
#include <algorithm>
#include <cmath>
#include <utility>

#include "app/desktop/views/heat_map_grid_impl.h"
#include "app/desktop/views/map_text.h"

namespace microtome::desktop {
namespace {

constexpr int64_t kMeasuredAtOnce = 1 << 20;  // values of all maps together: a few milliseconds
constexpr int64_t kCsvValues = 4'000'000;

}  // namespace

// ---- numbers -------------------------------------------------------------------------------------------------------

void HeatMapGridView::Impl::measure() {
  measured = false;
  stopWork();
  int64_t total = 0;
  for (const GridMap& one : maps)
    if (one.grid.valid()) total += one.grid.count();
  if (total <= kMeasuredAtOnce) {
    for (GridMap& one : maps)
      if (one.grid.valid()) one.extent = extentOf(one.grid);
    measuredAll();
    return;
  }
  stop = std::make_shared<std::atomic<bool>>(false);
  std::vector<CellGrid> grids;
  for (const GridMap& one : maps) grids.push_back(one.grid);
  QThreadPool::globalInstance()->start(
      [grids = std::move(grids), ticket = stop, view = QPointer<HeatMapGridView>(self)] {
        auto made = std::make_shared<std::vector<std::shared_ptr<const CellPyramid>>>(grids.size());
        for (size_t i = 0; i < grids.size() && !*ticket; ++i)
          if (grids[i].valid()) (*made)[i] = buildPyramid(grids[i], *ticket);
        if (*ticket) return;
        QMetaObject::invokeMethod(
            QCoreApplication::instance(),
            [view, ticket, made] {
              if (!view || view->impl_->stop != ticket) return;
              Impl& d = *view->impl_;
              d.stop.reset();
              for (size_t i = 0; i < made->size(); ++i) {
                if (!(*made)[i]) continue;
                d.maps[i].pyramid = (*made)[i];
                d.maps[i].extent = (*made)[i]->extent;
              }
              d.measuredAll();
            },
            Qt::QueuedConnection);
      });
}

void HeatMapGridView::Impl::measuredAll() {
  measured = true;
  missing = false;
  std::array<Extent, kGridLooks> all;
  std::array<bool, kGridLooks> there{};
  std::array<std::pair<double, double>, kGridLooks> given{};
  for (size_t i = 0; i < maps.size(); ++i) {
    const GridMap& one = maps[i];
    if (!one.grid.valid()) continue;
    const size_t look = static_cast<size_t>(one.grid.look);
    there[look] = true;
    missing |= one.extent.missing;
    if (one.extent.any) {
      Extent& e = all[look];
      e.lo = e.any ? std::min(e.lo, one.extent.lo) : one.extent.lo;
      e.hi = e.any ? std::max(e.hi, one.extent.hi) : one.extent.hi;
      e.any = true;
    }
    const HeatMapData& map = data.maps[i];
    if (map.lo < map.hi && std::isfinite(map.lo) && std::isfinite(map.hi))
      given[look] = given[look].first < given[look].second
                        ? std::pair(std::min(given[look].first, map.lo), std::max(given[look].second, map.hi))
                        : std::pair(map.lo, map.hi);
  }
  for (size_t look = 0; look < kGridLooks; ++look) {
    common[look].reset();
    if (!there[look]) continue;
    std::pair<double, double> s =
        given[look].first < given[look].second ? given[look] : scaleOf(static_cast<Look>(look), all[look]);
    if (static_cast<Look>(look) == Look::kDiverging) {
      const double m = std::max(std::abs(s.first), std::abs(s.second));
      s = {-m, m};
    }
    common[look] = s;
  }
  for (GridMap& one : maps) one.fresh = false;
  self->update();
}

std::pair<double, double> HeatMapGridView::Impl::scaleOfMap(const GridMap& one, const HeatMapData& map) const {
  if (data.commonScale) return common[static_cast<size_t>(map.look)].value_or(std::pair(0.0, 1.0));
  return scaleOf(map.look, one.extent);
}

std::vector<ColourBar> HeatMapGridView::Impl::bars() const {
  std::vector<ColourBar> out;
  std::array<bool, kGridLooks> done{};
  // In the order in which the looks come, as the eye meets them.
  for (size_t i = 0; i < maps.size(); ++i) {
    const HeatMapData& map = data.maps[i];
    const size_t look = static_cast<size_t>(map.look);
    if (!maps[i].grid.valid() || std::exchange(done[look], true)) continue;
    ColourBar bar;
    bar.look = map.look;
    std::tie(bar.lo, bar.hi) = common[look].value_or(std::pair(map.look == Look::kDiverging ? -1.0 : 0.0, 1.0));
    bar.label = labelWithUnit(map.label.isEmpty() ? data.label : map.label, map.unit);
    bar.numbers = data.commonScale;
    if (!data.commonScale) bar.label += tr(", each map by its own largest");
    out.push_back(bar);
  }
  if (!out.empty()) out.back().missing = missing;
  return out;
}

// ---- the widget ----------------------------------------------------------------------------------------------------

HeatMapGridView::HeatMapGridView(QWidget* parent) : View(parent), impl_(std::make_unique<Impl>(this)) {
  setMouseTracking(true);
  setFocusPolicy(Qt::StrongFocus);
  setAccessibleName(tr("Grid of heat maps"));
}

HeatMapGridView::~HeatMapGridView() = default;

void HeatMapGridView::setData(HeatMapGridData data) {
  Impl& d = *impl_;
  const auto n = static_cast<int64_t>(data.maps.size());
  if (data.rows < 1 || data.cols < 1 || data.rows > n / data.cols || data.rows * data.cols != n) {
    clear();
    return;
  }
  // The same maps again, with new numbers: the older images stay until the new ones are there.
  const bool sameShape = d.has && d.data.rows == data.rows && d.data.cols == data.cols;
  std::vector<GridMap> maps(data.maps.size());
  for (size_t i = 0; i < maps.size(); ++i) {
    const HeatMapData& map = data.maps[i];
    maps[i].grid = {map.values, map.rows, map.cols, map.look, map.causal};
    if (sameShape) maps[i].image = d.maps[i].image;
  }
  if (!sameShape) d.row = d.col = -1;
  d.maps = std::move(maps);
  d.data = std::move(data);
  d.has = true;
  if (!d.at(d.row, d.col)) d.row = d.col = -1;
  d.measure();
  if (!sameShape || !d.at(d.hoverRow, d.hoverCol)) d.hover(-1, -1);
  updateGeometry();
  update();
}

void HeatMapGridView::clear(const QString& emptyText) {
  Impl& d = *impl_;
  d.stopWork();
  d.has = false;
  d.data = {};
  d.maps.clear();
  d.row = d.col = -1;
  if (!emptyText.isEmpty()) d.emptyText = emptyText;
  d.hover(-1, -1);
  updateGeometry();
  update();
}

const HeatMapGridData& HeatMapGridView::data() const { return impl_->data; }

void HeatMapGridView::setSelected(int64_t row, int64_t col) {
  Impl& d = *impl_;
  if (!d.at(row, col)) row = col = -1;
  if (row == d.row && col == d.col) return;
  d.row = row;
  d.col = col;
  setAccessibleDescription(d.phrase(row, col));
  update();
}

std::pair<int64_t, int64_t> HeatMapGridView::selected() const { return {impl_->row, impl_->col}; }

void HeatMapGridView::Impl::hover(int64_t r, int64_t c) {
  if (r == hoverRow && c == hoverCol) return;
  hoverRow = r;
  hoverCol = c;
  Q_EMIT self->hoverText(phrase(r, c));
  self->update();
}

void HeatMapGridView::Impl::pick(int64_t r, int64_t c) {
  self->setSelected(r, c);
  Q_EMIT self->picked(r, c);
}

void HeatMapGridView::Impl::step(int rows, int cols) {
  int64_t r = row, c = col;
  if (r < 0) {
    const auto first = std::find_if(maps.begin(), maps.end(), [](const GridMap& m) { return m.grid.valid(); });
    if (first == maps.end()) return;
    const int64_t i = first - maps.begin();
    r = i / data.cols;
    c = i % data.cols;
  } else {
    // Over heads that do not exist.
    do {
      r += rows;
      c += cols;
      if (r < 0 || c < 0 || r >= data.rows || c >= data.cols) return;
    } while (!at(r, c));
  }
  pick(r, c);
  Q_EMIT self->hoverText(phrase(r, c));
}

void HeatMapGridView::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  const Theme& theme = Theme::of(this);
  painter.fillRect(rect(), theme.surface);
  impl_->paint(painter, size(), false);
  if (hasFocus() && impl_->has && impl_->row < 0) {
    painter.setRenderHint(QPainter::Antialiasing, false);
    painter.setBrush(Qt::NoBrush);
    painter.setPen(QPen(theme.accent, 1));
    painter.drawRect(rect().adjusted(0, 0, -1, -1));
  }
}

void HeatMapGridView::mousePressEvent(QMouseEvent* event) {
  int64_t r = -1, c = -1;
  if (event->button() == Qt::LeftButton && impl_->hit(event->position(), &r, &c))
    impl_->pick(r, c);
  else
    event->ignore();
}

void HeatMapGridView::mouseDoubleClickEvent(QMouseEvent* event) {
  int64_t r = -1, c = -1;
  if (event->button() == Qt::LeftButton && impl_->hit(event->position(), &r, &c)) Q_EMIT activated(r, c);
}

void HeatMapGridView::mouseMoveEvent(QMouseEvent* event) {
  int64_t r = -1, c = -1;
  const bool on = impl_->hit(event->position(), &r, &c);
  setCursor(on ? Qt::PointingHandCursor : Qt::ArrowCursor);
  if (on)
    impl_->hover(r, c);
  else
    impl_->hover(-1, -1);
}

void HeatMapGridView::leaveEvent(QEvent*) { impl_->hover(-1, -1); }

void HeatMapGridView::keyPressEvent(QKeyEvent* event) {
  Impl& d = *impl_;
  if (d.has) {
    switch (event->key()) {
      case Qt::Key_Left: d.step(0, -1); return;
      case Qt::Key_Right: d.step(0, 1); return;
      case Qt::Key_Up: d.step(-1, 0); return;
      case Qt::Key_Down: d.step(1, 0); return;
      case Qt::Key_Return:
      case Qt::Key_Enter:
        if (d.row < 0) break;
        Q_EMIT activated(d.row, d.col);
        return;
      default: break;
    }
  }
  View::keyPressEvent(event);
}

bool HeatMapGridView::event(QEvent* event) {
  if (event->type() != QEvent::ToolTip) return View::event(event);
  Impl& d = *impl_;
  const auto* help = static_cast<QHelpEvent*>(event);
  QString text;
  if (d.has) {
    const QRectF area = d.places(size()).bars;
    int64_t r = -1, c = -1;
    if (area.contains(help->pos())) {
      const std::vector<ColourBar> all = d.bars();
      const auto i = std::min(all.size() - 1, static_cast<size_t>((help->pos().y() - area.top()) / area.height() *
                                                                  static_cast<double>(all.size())));
      const auto map = std::find_if(d.data.maps.begin(), d.data.maps.end(),
                                    [&](const HeatMapData& m) { return m.values && m.look == all[i].look; });
      const QString words = map != d.data.maps.end() && !map->help.isEmpty() ? map->help : d.data.help;
      text = words.isEmpty() ? all[i].label : all[i].label + QStringLiteral(": ") + words;
    } else if (d.hit(help->pos(), &r, &c)) {
      text = d.phrase(r, c);
    }
  }
  if (text.isEmpty())
    QToolTip::hideText();
  else
    QToolTip::showText(help->globalPos(), toolTipText(text), this);
  return true;
}

void HeatMapGridView::changeEvent(QEvent* event) {
  if (event->type() == QEvent::PaletteChange || event->type() == QEvent::FontChange ||
      event->type() == QEvent::StyleChange)
    update();
  View::changeEvent(event);
}

void HeatMapGridView::resizeEvent(QResizeEvent* event) {
  View::resizeEvent(event);
  update();
}

void HeatMapGridView::drawPicture(QPainter& painter, const QSizeF& size) const {
  painter.save();
  impl_->paint(painter, size, true);
  painter.restore();
}

QSizeF HeatMapGridView::pictureSize() const {
  const QSizeF whole = QSizeF(size()).expandedTo(QSizeF(320, 240));
  if (!impl_->has) return whole;
  const QSizeF used = impl_->places(whole).used.size();
  return QSizeF(std::ceil(used.width()), std::ceil(used.height())).boundedTo(whole);
}

QList<View::Format> HeatMapGridView::formats() const {
  int64_t total = 0;
  for (const GridMap& one : impl_->maps)
    if (one.grid.valid()) total += one.grid.count();
  if (total > kCsvValues) return {Format::kPng, Format::kSvg};
  return View::formats();
}

QString HeatMapGridView::csv() const {
  Impl& d = *impl_;
  if (!d.has || !formats().contains(Format::kCsv)) return {};
  const auto name = [](const MapAxis& axis, const char* fallback) {
    return csvField(axis.name.isEmpty() ? QString::fromLatin1(fallback) : axis.name);
  };
  const auto label = [](const MapAxis& axis, int64_t n, int64_t i) {
    return csvField(hasLabels(axis, n) ? axis.labels.at(static_cast<qsizetype>(i)) : QString::number(i));
  };
  const auto first =
      std::find_if(d.data.maps.begin(), d.data.maps.end(), [](const HeatMapData& m) { return m.values != nullptr; });
  const HeatMapData inner = first != d.data.maps.end() ? *first : HeatMapData();
  QString out = QStringList{name(d.data.rowAxis, "row"), name(d.data.colAxis, "column"), name(inner.rowAxis, "map row"),
                            name(inner.colAxis, "map column"), QStringLiteral("value")}
                    .join(QLatin1Char(',')) +
                QLatin1String("\r\n");
  for (int64_t r = 0; r < d.data.rows; ++r) {
    for (int64_t c = 0; c < d.data.cols; ++c) {
      if (!d.at(r, c)) continue;
      const HeatMapData& map = d.mapAt(r, c);
      const QString head = label(d.data.rowAxis, d.data.rows, r) + QLatin1Char(',') +
                           label(d.data.colAxis, d.data.cols, c) + QLatin1Char(',');
      // Positions rather than tokens: those repeat, and rows must be told apart.
      for (int64_t i = 0; i < map.rows; ++i)
        for (int64_t k = 0; k < (map.causal ? std::min(map.cols, i + 1) : map.cols); ++k)
          out += head + QString::number(i) + QLatin1Char(',') + QString::number(k) + QLatin1Char(',') +
                 csvNumber((*map.values)[static_cast<size_t>(i * map.cols + k)]) + QLatin1String("\r\n");
    }
  }
  return out;
}

QSize HeatMapGridView::sizeHint() const {
  const Impl& d = *impl_;
  if (!d.has) return {40 * kGrid, 40 * kGrid};
  return {static_cast<int>(std::clamp<int64_t>(d.data.cols * 40 + 20 * kGrid, 40 * kGrid, 100 * kGrid)),
          static_cast<int>(std::clamp<int64_t>(d.data.rows * 40 + 8 * kGrid, 30 * kGrid, 80 * kGrid))};
}

QSize HeatMapGridView::minimumSizeHint() const { return {20 * kGrid, 15 * kGrid}; }

}  // namespace microtome::desktop
