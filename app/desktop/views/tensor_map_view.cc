#include "app/desktop/views/tensor_map_view.h"

#include <QCheckBox>
#include <QComboBox>
#include <QLabel>
#include <QSignalBlocker>
#include <QStackedWidget>
#include <QTimer>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/axis_control.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/number_view.h"
#include "app/desktop/views/tensor_worker.h"

namespace microtome::desktop {
namespace {

// More numbers than this are read by a worker: the GUI thread has about 2 ms for them.
constexpr int64_t kMostAtOnce = 1000000;

bool sameAxis(const MapAxis& a, const MapAxis& b) {
  return a.name == b.name && a.labels == b.labels && a.kinds == b.kinds && a.tokens == b.tokens;
}

QLabel* mutedLabel(const QString& text, QWidget* parent) {
  auto* label = new QLabel(text, parent);
  label->setTextFormat(Qt::PlainText);
  label->setProperty("role", QStringLiteral("muted"));
  return label;
}

}  // namespace

struct TensorMapView::Impl {
  TensorMapView* self;
  std::shared_ptr<const TensorMap> map;
  ArtifactContext context;
  int array = -1;
  TensorSlice slice;
  MapAxis rowAxis, colAxis;
  std::vector<std::optional<std::pair<double, double>>> ranges;   // of each array, once known
  std::optional<TensorCut> onShow;
  TensorWorker* worker = nullptr;
  bool common = true;

  QWidget* bar = nullptr;
  FlowLayout* flow = nullptr;
  QComboBox *arrays = nullptr, *rows = nullptr, *cols = nullptr;
  QWidget *arrayBox = nullptr, *axesBox = nullptr;
  QLabel *by = nullptr, *help = nullptr, *sentence = nullptr, *working = nullptr;
  QToolButton* swap = nullptr;
  QCheckBox* scale = nullptr;
  std::vector<AxisControl*> axes;
  QStackedWidget* stack = nullptr;
  HeatMapView* heat = nullptr;
  ChartView* chart = nullptr;
  NumberView* number = nullptr;
  QString helpText;

  const NamedArray& current() const { return map->arrays[static_cast<size_t>(array)]; }

  void build() {
    worker = new TensorWorker(self);
    connect(worker, &TensorWorker::finished, self, [this](const TensorCut& cut) { finished(cut); });
    auto* column = new QVBoxLayout(self);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGrid / 2);
    bar = new QWidget(self);
    flow = new FlowLayout(bar, 2 * kGrid, kGrid / 2);
    flow->setContentsMargins(kGrid, kGrid / 2, kGrid, 0);
    const auto box = [&](QWidget*& into) {
      into = new QWidget(bar);
      auto* row = new QHBoxLayout(into);
      row->setContentsMargins(0, 0, 0, 0);
      row->setSpacing(kGrid / 2);
      flow->addWidget(into);
      return row;
    };
    const auto combo = [&](const char* name, const QString& said) {
      auto* c = new QComboBox(bar);
      c->setObjectName(QString::fromLatin1(name));
      c->setAccessibleName(said);
      c->setToolTip(said);
      c->setSizeAdjustPolicy(QComboBox::AdjustToContents);
      c->setMaximumWidth(26 * kGrid);
      guardWheel(c);
      return c;
    };
    QHBoxLayout* row = box(arrayBox);
    row->addWidget(arrays = combo("arrays", tr("Which array is shown")));
    row = box(axesBox);
    row->addWidget(rows = combo("rows", tr("Axis of the rows; “–”: a line along the columns")));
    row->addWidget(by = mutedLabel(QStringLiteral("×"), axesBox));
    row->addWidget(cols = combo("cols", tr("Axis of the columns")));
    swap = new QToolButton(axesBox);
    swap->setText(QStringLiteral("⇄"));
    swap->setObjectName(QStringLiteral("swap"));
    swap->setAccessibleName(tr("Swap rows and columns"));
    swap->setToolTip(swap->accessibleName());
    swap->setFocusPolicy(Qt::StrongFocus);
    row->addWidget(swap);
    scale = new QCheckBox(tr("one scale"), bar);
    scale->setObjectName(QStringLiteral("scale"));
    scale->setChecked(true);
    scale->setToolTip(tr("One colour scale over the whole array, so that slices can be compared; off, and for means: each its own"));
    flow->addWidget(scale);
    working = mutedLabel(tr("reading…"), bar);
    working->hide();
    flow->addWidget(working);
    column->addWidget(bar);
    help = mutedLabel({}, self);
    help->setContentsMargins(kGrid, 0, kGrid, 0);
    help->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
    column->addWidget(help);
    stack = new QStackedWidget(self);
    sentence = mutedLabel({}, stack);
    sentence->setObjectName(QStringLiteral("sentence"));
    sentence->setAlignment(Qt::AlignCenter);
    sentence->setWordWrap(true);
    sentence->setMargin(2 * kGrid);
    sentence->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    stack->addWidget(sentence);
    column->addWidget(stack, 1);
    connect(arrays, &QComboBox::currentIndexChanged, self, [this](int i) { choose(i); });
    connect(rows, &QComboBox::currentIndexChanged, self, [this] { axisChosen(true); });
    connect(cols, &QComboBox::currentIndexChanged, self, [this] { axisChosen(false); });
    connect(swap, &QToolButton::clicked, self, [this] {
      std::swap(slice.rows, slice.cols);
      layOut();
      request();
    });
    connect(scale, &QCheckBox::toggled, self, [this](bool on) {
      common = on;
      if (onShow) show(*onShow);
    });
  }

  void say(const QString& text) {
    sentence->setText(text);
    stack->setCurrentWidget(sentence);
    onShow.reset();
    working->hide();
    Q_EMIT self->shown();
  }

  void stopJob() {
    worker->stop();
    working->hide();
  }

  // Shows an array, with its first slice or the one that was there.
  void choose(int index) {
    stopJob();
    if (!map || index < 0 || index >= static_cast<int>(map->arrays.size())) return;
    const bool keep = array >= 0 && onShow && onShow->array < static_cast<int>(map->arrays.size()) &&
                      map->arrays[static_cast<size_t>(onShow->array)].shape == map->arrays[static_cast<size_t>(index)].shape &&
                      map->arrays[static_cast<size_t>(onShow->array)].axes == map->arrays[static_cast<size_t>(index)].axes;
    array = index;
    const NamedArray& a = current();
    {
      const QSignalBlocker quiet(arrays);
      arrays->setCurrentIndex(index);
    }
    helpText = labelText(a.help, 600);
    if (const QString unit = labelText(a.unit, 40); !unit.isEmpty())
      helpText += helpText.isEmpty() ? unit : QStringLiteral(" · ") + unit;
    fitHelp();
    if (const QString why = problemOf(a); !why.isEmpty()) {
      slice = {};
      layOut();
      say(why);
      return;
    }
    // From array to array of one shape the place stays: layer 3 of "norm", then layer 3 of "effective rank".
    const auto look = map->looks.find(a.name);
    if (!keep) slice = defaultSlice(a, look == map->looks.end() ? std::string() : look->second);
    else if (!hasMean(a))
      for (int64_t& at : slice.at) at = std::max<int64_t>(at, 0);
    layOut();
    request();
  }

  void fitHelp() {
    const int room = self->width() - 2 * kGrid - 4;
    help->setText(help->fontMetrics().elidedText(helpText, Qt::ElideRight, std::max(room, 10 * kGrid)));
    help->setToolTip(tipText(helpText));
    help->setVisible(!helpText.isEmpty() && (!number || stack->currentWidget() != number));   // a number says it itself
  }

  // The controls for the array and slice in force.
  void layOut() {
    // Later: one of them may be the sender.
    for (AxisControl* a : axes) {
      a->hide();
      a->setObjectName({});
      a->deleteLater();
    }
    axes.clear();
    arrayBox->setVisible(map && map->arrays.size() > 1);
    const bool good = map && array >= 0 && !slice.at.empty();
    const int rank = good ? static_cast<int>(current().axes.size()) : 0;
    axesBox->setVisible(rank >= 2);
    rows->setVisible(rank >= 3);
    cols->setVisible(rank >= 3);
    by->setVisible(rank >= 3);
    swap->setVisible(slice.rows >= 0 && slice.cols >= 0);
    bool others = false;
    if (rank >= 3) {
      const QSignalBlocker a(rows), b(cols);
      rows->clear();
      cols->clear();
      rows->addItem(QStringLiteral("–"));
      for (const std::string& name : current().axes) {
        rows->addItem(axisText(name));
        cols->addItem(axisText(name));
      }
      rows->setCurrentIndex(slice.rows + 1);
      cols->setCurrentIndex(slice.cols);
    }
    for (int i = 0; i < rank; ++i) {
      const int64_t size = current().shape[static_cast<size_t>(i)];
      if (i == slice.rows || i == slice.cols || size < 2) continue;
      others = true;
      const std::string& name = current().axes[static_cast<size_t>(i)];
      const auto* labels = labelsOf(*map, name, size);
      auto* control = new AxisControl(name, size, map, labels, hasTokens(name, labels), hasMean(current()), bar);
      if (name == "layer" && static_cast<int64_t>(context.layers.size()) == size) control->setKinds(context.layers);
      control->setIndex(slice.at[static_cast<size_t>(i)]);
      connect(control, &AxisControl::changed, self, [this, i, control] {
        slice.at[static_cast<size_t>(i)] = control->index();
        request();
      });
      control->show();
      flow->addWidget(control);
      axes.push_back(control);
    }
    // Behind the sliders.
    for (QWidget* last : {static_cast<QWidget*>(scale), static_cast<QWidget*>(working)}) {
      flow->removeWidget(last);
      flow->addWidget(last);
    }
    scale->setVisible(others && slice.rows >= 0 && slice.cols >= 0);
    bar->setVisible(arrayBox->isVisibleTo(bar) || axesBox->isVisibleTo(bar) || others);
    bar->updateGeometry();
    if (good) {
      rowAxis = mapAxisOf(*map, current(), slice.rows, context);
      colAxis = mapAxisOf(*map, current(), slice.cols, context);
    }
  }

  void axisChosen(bool ofRows) {
    const TensorSlice before = slice;
    slice.rows = rows->currentIndex() - 1;
    slice.cols = cols->currentIndex();
    // Both the same: they change places.
    if (slice.rows == slice.cols) (ofRows ? slice.cols : slice.rows) = ofRows ? before.rows : before.cols;
    if (slice.cols < 0) {                  // it was a line along what are now the rows
      slice.cols = slice.rows == 0 ? 1 : 0;
      if (static_cast<size_t>(slice.cols) >= slice.at.size()) slice = before;
    }
    layOut();
    request();
  }

  void request() {
    if (!map || array < 0) return;
    const NamedArray& a = current();
    const auto& known = ranges[static_cast<size_t>(array)];
    const int64_t cost = costOf(a, slice) + (known ? 0 : a.size());
    if (cost <= kMostAtOnce) {
      worker->stop();
      working->hide();
      const std::atomic<bool> never{false};
      show(cutArray(*map, array, slice, known, never));
      return;
    }
    worker->start(map, array, slice, known);
    if (!onShow) say(tr("Reading %1…").arg(nameText(a.name)));
    // A word only where it takes long enough to be read.
    QTimer::singleShot(200, self, [this] { working->setVisible(worker->busy()); });
  }

  void finished(const TensorCut& cut) {
    working->setVisible(working->isVisibleTo(self) && worker->busy());
    // Rows and columns changed meanwhile: what fits them is on its way.
    if (cut.array != array || cut.slice.rows != slice.rows || cut.slice.cols != slice.cols) return;
    if (cut.values) show(cut);
    else say(tr("There is not enough memory to show this slice: choose axes with fewer places."));
  }

  template <class V>
  V* viewFor(V*& view) {
    if (!view) {
      view = new V(stack);
      stack->addWidget(view);
      connect(view, &View::hoverText, self, &TensorMapView::hoverText);
      connect(view, &View::message, self, &TensorMapView::message);
      connect(view, &View::noteWanted, self, &TensorMapView::noteWanted);
    }
    return view;
  }

  void show(const TensorCut& cut) {
    const NamedArray& a = map->arrays[static_cast<size_t>(cut.array)];
    onShow = cut;
    ranges[static_cast<size_t>(cut.array)] = cut.range;
    View* on = nullptr;
    if (cut.rows * cut.cols == 1 && (cut.slice.rows < 0 || cut.slice.cols < 0)) {
      viewFor(number)->setNumber((*cut.values)[0], nameText(a.name), labelText(a.unit, 40), labelText(a.help, 600));
      on = number;
    } else if (cut.slice.rows < 0 && !isTooLongForChart(cut.cols)) {
      const bool fresh = !chart;
      viewFor(chart)->setData(chartOf(*map, cut, colAxis));
      if (fresh)
        connect(chart, &ChartView::pointClicked, self, [this](int, int index) { pick(0, index); });
      on = chart;
    } else {
      const bool fresh = !heat;
      viewFor(heat);
      if (fresh) connect(heat, &HeatMapView::cellClicked, self, [this](qint64 r, qint64 c) { pick(r, c); });
      // A mean lies well inside the range of what it is made of: a scale over all that would leave it pale.
      const bool mean = std::find(cut.slice.at.begin(), cut.slice.at.end(), kMean) != cut.slice.at.end();
      scale->setEnabled(!mean);
      showHeat(heatMapOf(*map, cut, rowAxis, colAxis, common && !mean && !axes.empty()));
      on = heat;
    }
    on->setTitle(titleOf(a));
    on->setCommand(context.command);
    on->setSource(context.run, QString::fromStdString(map->name));
    stack->setCurrentWidget(on);
    fitHelp();
    Q_EMIT self->shown();
  }

  // Zoom stays while rows and columns mean the same.
  void showHeat(const HeatMapData& next) {
    const HeatMapData& now = heat->data();
    const bool sameFrame = now.values && now.rows == next.rows && now.cols == next.cols && sameAxis(now.rowAxis, next.rowAxis) &&
                           sameAxis(now.colAxis, next.colAxis);
    if (sameFrame && now.look == next.look && now.causal == next.causal && now.label == next.label && now.unit == next.unit &&
        now.help == next.help && now.lo == next.lo && now.hi == next.hi) {
      heat->setValues(next.values);
      return;
    }
    const QRectF seen = sameFrame ? heat->visibleCells() : QRectF();
    heat->setData(next);
    if (sameFrame) heat->setVisibleCells(seen);
  }

  QString titleOf(const NamedArray& a) const {
    QString title = labelText(map->title.empty() ? map->name : map->title);
    const QString name = nameText(a.name);
    if (map->arrays.size() > 1 && !title.contains(name, Qt::CaseInsensitive)) title += QStringLiteral(" – ") + name;
    for (const AxisControl* c : axes) {
      // "head H0", but "prompt 1" where the label says it already.
      const QString axis = axisText(c->axis()), value = c->valueText();
      title += QStringLiteral(", ") + (value.startsWith(axis) ? value : axis + QLatin1Char(' ') + value);
    }
    return title;
  }

  void pick(int64_t row, int64_t col) {
    if (!onShow || row < 0 || col < 0 || row >= onShow->rows || col >= onShow->cols) return;
    Q_EMIT self->cellPicked(placeOf(map->arrays[static_cast<size_t>(onShow->array)], onShow->slice, row, col));
  }
};

TensorMapView::TensorMapView(QWidget* parent) : QWidget(parent), impl_(std::make_unique<Impl>()) {
  impl_->self = this;
  impl_->build();
  clear(tr("Nothing to show yet."));
}

TensorMapView::~TensorMapView() { impl_->stopJob(); }

void TensorMapView::setMap(std::shared_ptr<const TensorMap> map, const ArtifactContext& context) {
  Impl& d = *impl_;
  d.stopJob();
  const std::shared_ptr<const TensorMap> before = d.map;
  const int old = d.array;
  const TensorSlice slice = d.slice;
  d.map = std::move(map);
  d.context = context;
  d.array = -1;
  d.onShow.reset();
  if (!d.map || d.map->arrays.empty()) {
    d.map = nullptr;
    clear(tr("This result holds no arrays."));
    return;
  }
  d.ranges.assign(d.map->arrays.size(), std::nullopt);
  {
    const QSignalBlocker quiet(d.arrays);
    d.arrays->clear();
    for (const NamedArray& a : d.map->arrays) {
      d.arrays->addItem(nameText(a.name));
      d.arrays->setItemData(d.arrays->count() - 1, tipText(labelText(a.help, 600)), Qt::ToolTipRole);
    }
  }
  int first = 0;
  bool same = false;
  // Ids make no picture: they come first only where there is nothing else.
  for (size_t i = d.map->arrays.size(); i-- > 0;)
    if (hasMean(d.map->arrays[i])) first = static_cast<int>(i);
  if (before && old >= 0)
    for (size_t i = 0; i < d.map->arrays.size(); ++i)
      if (d.map->arrays[i].name == before->arrays[static_cast<size_t>(old)].name) {
        first = static_cast<int>(i);
        same = d.map->arrays[i].axes == before->arrays[static_cast<size_t>(old)].axes;
        break;
      }
  d.choose(first);
  if (same) setSlice(slice);
}

void TensorMapView::clear(const QString& emptyText) {
  Impl& d = *impl_;
  d.stopJob();
  d.map = nullptr;
  d.array = -1;
  d.slice = {};
  d.helpText.clear();
  d.fitHelp();
  d.layOut();
  d.say(emptyText);
}

int TensorMapView::arrayIndex() const { return impl_->array; }

void TensorMapView::setArray(int index) {
  if (index != impl_->array) impl_->choose(index);
}

void TensorMapView::setArrayNamed(const QString& name) {
  if (!impl_->map) return;
  for (size_t i = 0; i < impl_->map->arrays.size(); ++i)
    if (QString::fromStdString(impl_->map->arrays[i].name) == name) return setArray(static_cast<int>(i));
}

const TensorSlice& TensorMapView::slice() const { return impl_->slice; }

void TensorMapView::setSlice(const TensorSlice& wanted) {
  Impl& d = *impl_;
  if (!d.map || d.array < 0 || d.slice.at.empty() || wanted == d.slice) return;
  const std::optional<TensorSlice> next = fitted(d.current(), wanted);
  if (!next) return;
  d.slice = *next;
  d.layOut();
  d.request();
}

void TensorMapView::select(const QHash<QString, qint64>& indexByAxis) {
  Impl& d = *impl_;
  if (!d.map || d.array < 0 || d.slice.at.empty()) return;
  const NamedArray& a = d.current();
  TensorSlice next = d.slice;
  int64_t row = -1, col = -1;
  for (size_t i = 0; i < a.axes.size(); ++i) {
    const qint64 index = indexByAxis.value(QString::fromStdString(a.axes[i]), -1);
    if (index < 0 || index >= a.shape[i]) continue;
    if (static_cast<int>(i) == next.rows) row = index;
    else if (static_cast<int>(i) == next.cols) col = index;
    else next.at[i] = index;
  }
  setSlice(next);
  if (d.heat && row >= 0 && col >= 0) d.heat->setSelectedCell(row, col);
}

void TensorMapView::setCommonScale(bool on) { impl_->scale->setChecked(on); }

View* TensorMapView::view() const {
  return impl_->onShow ? qobject_cast<View*>(impl_->stack->currentWidget()) : nullptr;
}

bool TensorMapView::busy() const { return impl_->worker->busy(); }

void TensorMapView::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  impl_->fitHelp();
}

}  // namespace microtome::desktop
