#include "app/desktop/views/chart_view.h"

#include <QActionGroup>
#include <QMenu>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "app/desktop/views/chart_canvas.h"
#include "app/desktop/views/plain_line.h"
#include "core/store/result_json.h"

namespace microtome::desktop {
namespace {

// More lines than this can't be told apart; the others wait in the menu, hidden.
constexpr size_t kMostLines = 60;

}  // namespace

struct ChartView::Impl {
  ChartCanvas* canvas = nullptr;
  std::vector<Smoother> smoothers;                     // one a line, where append() goes on

  ChartState& state() { return canvas->state(); }
  void smoothAll();
};

void ChartView::Impl::smoothAll() {
  ChartState& s = state();
  s.smooth.clear();
  smoothers.clear();
  if (!(s.halfLife > 0)) return;
  for (const ChartLine& line : s.data.lines) {
    Smoother smoother(s.halfLife);
    std::vector<double> out(line.y.size());
    for (size_t i = 0; i < out.size(); ++i) out[i] = smoother.next(line.y[i]);
    s.smooth.push_back(std::move(out));
    smoothers.push_back(smoother);
  }
}

ChartView::ChartView(QWidget* parent) : View(parent), impl_(std::make_unique<Impl>()) {
  impl_->canvas = new ChartCanvas(this);
  impl_->canvas->setAccessibleName(tr("Chart"));
  setFocusProxy(impl_->canvas);
  auto* box = new QVBoxLayout(this);
  box->setContentsMargins(0, 0, 0, 0);
  box->addWidget(impl_->canvas);
  connect(impl_->canvas, &ChartCanvas::cursorMoved, this, &ChartView::cursorMoved);
  connect(impl_->canvas, &ChartCanvas::pointClicked, this, &ChartView::pointClicked);
  connect(impl_->canvas, &ChartCanvas::hoverText, this, &ChartView::hoverText);
  connect(impl_->canvas, &ChartCanvas::lineToggled, this, [this](int line) { setLineVisible(line, !isLineVisible(line)); });
  clear();
}

ChartView::~ChartView() = default;

void ChartView::setData(const ChartData& data) {
  ChartState& s = impl_->state();
  // The same lines again: what was hidden stays so.
  const bool same = s.data.lines.size() == data.lines.size() &&
                    std::equal(data.lines.begin(), data.lines.end(), s.data.lines.begin(),
                               [](const ChartLine& a, const ChartLine& b) { return a.name == b.name; });
  s.data = data;
  if (!same) {
    s.hidden.assign(data.lines.size(), false);
    for (size_t l = kMostLines; l < data.lines.size(); ++l) s.hidden[l] = true;
  }
  s.ascending.clear();
  bool any = false;
  for (ChartLine& line : s.data.lines) {
    line.x.resize(pointsOf(line));
    line.y.resize(line.x.size());
    s.ascending.push_back(isAscending(line.x));
    any = any || std::any_of(line.y.begin(), line.y.end(), [](double y) { return std::isfinite(y); });
  }
  s.emptyText = any ? QString()
                : data.lines.empty() ? tr("No lines to show yet.")
                                     : tr("No values to show yet: every value is missing.");
  impl_->smoothAll();
  impl_->canvas->dataChanged();
}

const ChartData& ChartView::data() const { return impl_->state().data; }

ChartData ChartView::fromSeries(const Series& series) {
  ChartData out;
  out.title = QString::fromStdString(series.title);
  out.xLabel = QString::fromStdString(series.x_label);
  out.yLabel = QString::fromStdString(series.y_label);
  for (const Series::Line& line : series.lines) {
    ChartLine l;
    l.name = QString::fromStdString(line.name);
    l.x = line.x;
    l.y = line.y;
    out.lines.push_back(std::move(l));
  }
  return out;
}

void ChartView::clear(const QString& emptyText) {
  ChartState& s = impl_->state();
  s.data = {};
  s.hidden.clear();
  s.ascending.clear();
  s.cursor = std::numeric_limits<double>::quiet_NaN();
  s.emptyText = emptyText.isEmpty() ? tr("Nothing to show yet.") : emptyText;
  impl_->smoothAll();
  impl_->canvas->dataChanged();
}

void ChartView::append(int line, double x, double y) {
  ChartState& s = impl_->state();
  if (line < 0 || line >= static_cast<int>(s.data.lines.size())) return;
  const auto l = static_cast<size_t>(line);
  ChartLine& to = s.data.lines[l];
  s.ascending[l] = s.ascending[l] && std::isfinite(x) && (to.x.empty() || x >= to.x.back());
  to.x.push_back(x);
  to.y.push_back(y);
  if (s.halfLife > 0) s.smooth[l].push_back(impl_->smoothers[l].next(y));
  if (std::isfinite(y)) s.emptyText.clear();
  impl_->canvas->numbersChanged();
}

void ChartView::setCursor(double x) {
  impl_->state().cursor = x;
  impl_->canvas->overlayChanged();
}

double ChartView::cursor() const { return impl_->state().cursor; }

void ChartView::setLogY(bool on) {
  if (impl_->state().logY == on) return;
  impl_->state().logY = on;
  // Axis units change: an older zoom would mean something else.
  impl_->canvas->dataChanged();
}

bool ChartView::isLogY() const { return impl_->state().logY; }

void ChartView::setSmoothing(double halfLife) {
  impl_->state().halfLife = std::isfinite(halfLife) && halfLife > 0 ? halfLife : 0;
  impl_->smoothAll();
  impl_->canvas->numbersChanged();
  impl_->canvas->flush();
}

double ChartView::smoothing() const { return impl_->state().halfLife; }

void ChartView::setLineVisible(int line, bool on) {
  ChartState& s = impl_->state();
  if (line < 0 || line >= static_cast<int>(s.hidden.size()) || s.hidden[static_cast<size_t>(line)] == !on) return;
  s.hidden[static_cast<size_t>(line)] = !on;
  impl_->canvas->numbersChanged();
  impl_->canvas->flush();
}

bool ChartView::isLineVisible(int line) const {
  return line >= 0 && static_cast<size_t>(line) < impl_->state().hidden.size() &&
         impl_->state().shows(static_cast<size_t>(line));
}

void ChartView::resetZoom() { impl_->canvas->resetZoom(); }

ChartCanvas* ChartView::canvas() const { return impl_->canvas; }

void ChartView::drawPicture(QPainter& painter, const QSizeF& size) const { impl_->canvas->draw(painter, size); }

QString ChartView::csv() const {
  Table table;
  table.columns = {{"line", "", ""}, {"x", "", ""}, {"y", "", ""}};
  for (const ChartLine& line : data().lines)
    for (size_t i = 0, n = pointsOf(line); i < n; ++i)
      table.rows.push_back({line.name.toStdString(), data().logX ? std::pow(10.0, line.x[i]) : line.x[i], line.y[i]});
  return QString::fromStdString(table_to_csv(table));
}

void ChartView::addActions(QMenu& menu) {
  const ChartState& s = impl_->state();
  QAction* log = menu.addAction(tr("Log scale"));
  log->setObjectName(QStringLiteral("log_scale"));
  log->setCheckable(true);
  log->setChecked(s.logY);
  log->setEnabled(!s.scatter());
  connect(log, &QAction::toggled, this, &ChartView::setLogY);

  QMenu* smooth = menu.addMenu(tr("Smoothing"));
  smooth->setEnabled(!s.scatter());
  auto* group = new QActionGroup(smooth);
  for (double points : {0.0, 2.0, 10.0, 50.0, 250.0}) {
    QAction* action = smooth->addAction(points > 0 ? tr("Half-life %1 points").arg(points) : tr("None"));
    action->setCheckable(true);
    action->setChecked(s.halfLife == points);
    group->addAction(action);
    connect(action, &QAction::triggered, this, [this, points] { setSmoothing(points); });
  }

  if (s.data.lines.size() > 1) {
    QMenu* lines = menu.addMenu(tr("Lines"));
    lines->addAction(tr("Show all"), this, [this] {
      for (size_t l = 0; l < data().lines.size(); ++l) setLineVisible(static_cast<int>(l), true);
    });
    for (size_t l = 0; l < std::min<size_t>(s.data.lines.size(), 200); ++l) {
      QString name = plainLine(s.data.lines[l].name, 60);
      QAction* action = lines->addAction(name.replace(QLatin1Char('&'), QStringLiteral("&&")));
      action->setCheckable(true);
      action->setChecked(s.shows(l));
      connect(action, &QAction::toggled, this, [this, l](bool on) { setLineVisible(static_cast<int>(l), on); });
    }
  }
  QAction* reset = menu.addAction(tr("Reset zoom"), this, [this] { resetZoom(); });
  reset->setObjectName(QStringLiteral("reset_zoom"));
  reset->setEnabled(impl_->canvas->isZoomed());
}

}  // namespace microtome::desktop
