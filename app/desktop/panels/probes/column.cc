#include "app/desktop/panels/probes/column.h"

#include <QGridLayout>
#include <QResizeEvent>
#include <QScrollArea>
#include <QStackedWidget>
#include <QTabWidget>
#include <algorithm>
#include <cmath>

#include "app/desktop/panels/result_pane.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/artifact_view.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/table_view.h"

namespace microtome::desktop {
namespace {

constexpr int kMapWidth = 232, kMapHeight = 168;
constexpr size_t kMostMaps = 32;

int columnNamed(const Table& t, const char* name) {
  for (size_t c = 0; c < t.columns.size(); ++c)
    if (t.columns[c].name == name) return static_cast<int>(c);
  return -1;
}

QString words(const std::string& name) { return labelText(name, 60).replace(QLatin1Char('_'), QLatin1Char(' ')); }

}  // namespace

ScoreColumn::ScoreColumn(Panel& panel, int slot, QWidget* parent) : QWidget(parent), panel_(panel), slot_(slot) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(slot > 0 ? kGrid : 0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  name_ = new QLabel(this);
  name_->setProperty("role", QStringLiteral("section"));
  name_->setTextFormat(Qt::PlainText);
  column->addWidget(name_);
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  tabs_ = new QTabWidget(stack_);
  tabs_->setDocumentMode(true);
  scroll_ = new QScrollArea(tabs_);
  scroll_->setWidgetResizable(true);
  scroll_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  page_ = new QWidget(scroll_);
  grid_ = new QGridLayout(page_);
  grid_->setContentsMargins(0, kGrid / 2, 0, 0);
  grid_->setSpacing(kGrid / 2);
  scroll_->setWidget(page_);
  table_ = new TableView(tabs_);
  table_->setObjectName(QStringLiteral("probes_table"));
  stack_->addWidget(empty_);
  stack_->addWidget(tabs_);
  column->addWidget(stack_, 1);
  panel.adopt(table_);
  connect(empty_, &EmptyState::pressed, this, &ScoreColumn::pressed);
  connect(table_, &TableView::rowSelected, this, [this](qint64 row) {
    const Table* t = nullptr;
    for (const Artifact& a : run_ ? run_->result.artifacts : std::vector<Artifact>{})
      if (const auto* table = std::get_if<Table>(&a); table && columnNamed(*table, "layer") >= 0 && columnNamed(*table, "head") >= 0) {
        t = table;
        break;
      }
    if (!t || row < 0 || static_cast<size_t>(row) >= t->rows.size()) return;
    const auto* layer = std::get_if<int64_t>(&t->rows[static_cast<size_t>(row)][static_cast<size_t>(columnNamed(*t, "layer"))]);
    const auto* head = std::get_if<int64_t>(&t->rows[static_cast<size_t>(row)][static_cast<size_t>(columnNamed(*t, "head"))]);
    if (layer && head) Q_EMIT headPicked(static_cast<int>(*layer), static_cast<int>(*head));
  });
}

void ScoreColumn::setNameShown(bool on) { name_->setVisible(on); }

void ScoreColumn::show(const RunViewPtr& run, const QString& headline, const QString& sentence, const QString& button) {
  const app::ModelPtr m = panel_.session().model(slot_);
  name_->setText(m ? labelText(m->facts().name, 80) : QString());
  empty_->setText(headline, sentence, button);
  if (run == run_) {
    stack_->setCurrentWidget(run_ && !maps_.empty() ? static_cast<QWidget*>(tabs_) : empty_);
    return;
  }
  run_ = run;
  fill();
  stack_->setCurrentWidget(run_ && !maps_.empty() ? static_cast<QWidget*>(tabs_) : empty_);
}

void ScoreColumn::fill() {
  for (QWidget* f : frames_) delete f;
  frames_.clear();
  maps_.clear();
  for (View* v : curves_) delete v;
  curves_.clear();
  tabs_->clear();
  if (!run_) return;
  const QString command = QString::fromStdString(run_->record.command.empty() ? run_->record.spec.command : run_->record.command);
  const std::vector<LayerKind> kinds = layersOf(run_->context);
  bool hasTable = false;
  for (const Artifact& a : run_->result.artifacts) {
    if (const auto* map = std::get_if<TensorMap>(&a)) {
      for (const NamedArray& n : map->arrays) {
        if (n.axes != std::vector<std::string>{"layer", "head"} || n.shape.size() != 2 || maps_.size() >= kMostMaps) continue;
        if (n.shape[0] <= 0 || n.shape[1] <= 0 || n.shape[0] > 100000 || n.shape[1] > 100000 || n.size() != n.shape[0] * n.shape[1]) continue;
        auto values = std::make_shared<std::vector<float>>();
        bool any = false;
        for (int64_t i = 0; i < n.size(); ++i) {
          values->push_back(static_cast<float>(n.at(i)));
          any = any || std::isfinite(n.at(i));
        }
        // A score that this kind of model does not have.
        if (!any) continue;
        HeatMapData data;
        data.values = values;
        data.rows = n.shape[0];
        data.cols = n.shape[1];
        data.rowAxis.name = tr("layer");
        data.colAxis.name = tr("head");
        if (static_cast<int64_t>(kinds.size()) == data.rows) data.rowAxis.kinds = kinds;
        const auto look = map->looks.find(n.name);
        data.look = look == map->looks.end() ? Look::kSequential : lookOf(look->second);
        data.label = words(n.name);
        data.unit = QString::fromStdString(n.unit);
        data.help = QString::fromStdString(n.help);
        auto* view = new HeatMapView(page_);
        view->setObjectName(QStringLiteral("probes_map_") + QString::fromStdString(n.name));
        view->setMinimumSize(kMapWidth, kMapHeight);
        view->setData(data);
        view->setTitle(tr("%1 of %2").arg(words(n.name), labelText(run_->record.model_name, 60)));
        view->setToolTip(data.help);
        view->setCommand(command);
        view->setSource(run_->record.id, QString::fromStdString(map->name));
        auto* framed = new QWidget(page_);
        auto* box = new QVBoxLayout(framed);
        box->setContentsMargins(0, 0, 0, 0);
        box->setSpacing(0);
        auto* caption = new QLabel(data.unit.isEmpty() ? data.label : tr("%1 (%2)").arg(data.label, data.unit), framed);
        caption->setProperty("role", QStringLiteral("section"));
        caption->setTextFormat(Qt::PlainText);
        caption->setToolTip(data.help);
        box->addWidget(caption);
        box->addWidget(view, 1);
        frames_.push_back(framed);
        panel_.adopt(view);
        connect(view, &HeatMapView::cellClicked, this, [this](qint64 r, qint64 c) { Q_EMIT headPicked(static_cast<int>(r), static_cast<int>(c)); });
        maps_.push_back(view);
      }
    } else if (const auto* t = std::get_if<Table>(&a); t && !hasTable && columnNamed(*t, "layer") >= 0 && columnNamed(*t, "head") >= 0) {
      table_->setTitle(labelText(t->title, 120));
      table_->setCommand(command);
      table_->setSource(run_->record.id, QString::fromStdString(t->name));
      table_->setTable(std::make_shared<Table>(*t));
      hasTable = true;
    } else if (const auto* s = std::get_if<Series>(&a)) {
      auto* chart = new ChartView(tabs_);
      chart->setData(ChartView::fromSeries(*s));
      chart->setTitle(labelText(s->title, 120));
      chart->setCommand(command);
      chart->setSource(run_->record.id, QString::fromStdString(s->name));
      panel_.adopt(chart);
      curves_.push_back(chart);
    }
  }
  tabs_->addTab(scroll_, tr("Maps"));
  if (hasTable) tabs_->addTab(table_, tr("Heads"));
  else table_->hide();
  for (View* v : curves_) tabs_->addTab(v, v->title());
  arrange();
}

void ScoreColumn::arrange() {
  const int columns = std::max(1, (scroll_->viewport()->width() + kGrid / 2) / (kMapWidth + kGrid / 2));
  while (grid_->count()) delete grid_->takeAt(0);
  for (size_t i = 0; i < frames_.size(); ++i) {
    grid_->addWidget(frames_[i], static_cast<int>(i) / columns, static_cast<int>(i) % columns);
    frames_[i]->show();
  }
}

void ScoreColumn::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  QMetaObject::invokeMethod(this, [this] { arrange(); }, Qt::QueuedConnection);
}

void ScoreColumn::select(int layer, int head) {
  for (HeatMapView* m : maps_) m->setSelectedCell(head < 0 ? -1 : layer, head);
}

std::vector<View*> ScoreColumn::shownViews() const {
  std::vector<View*> out;
  if (stack_->currentWidget() != tabs_) return out;
  if (tabs_->currentWidget() == scroll_) out.assign(maps_.begin(), maps_.end());
  else if (auto* v = qobject_cast<View*>(tabs_->currentWidget())) out.push_back(v);
  return out;
}

}  // namespace microtome::desktop
