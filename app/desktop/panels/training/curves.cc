#include "app/desktop/panels/training/curves.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDataStream>
#include <QGridLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QRegularExpression>
#include <QSet>
#include <QSlider>
#include <QStackedWidget>
#include <QTabBar>
#include <algorithm>
#include <cmath>

#include "app/desktop/panels/panel.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/table_view.h"

namespace microtome::desktop {
namespace {

constexpr int kSmoothSteps = 40;

// Half-life in points: 0, then 1 … 500 on a log scale.
double halfLifeAt(int step) { return step == 0 ? 0 : std::pow(500.0, static_cast<double>(step - 1) / (kSmoothSteps - 1)); }

QString lineText(const std::string& name) { return labelText(name, 80); }

// What tells the lines of one run apart: "layer 3" where only the block's number differs, "k 16" behind a point that all share.
std::vector<QString> shortNames(const Series& s) {
  static const QRegularExpression block(QStringLiteral("\\bblocks\\.(\\d+)\\."));
  std::vector<QString> full, layers;
  QSet<QString> shapes, numbers;
  for (const Series::Line& l : s.lines) {
    full.push_back(lineText(l.name));
    const QRegularExpressionMatch m = block.match(full.back());
    layers.push_back(m.captured(1));
    numbers.insert(m.captured(1));
    QString shape = full.back();
    shapes.insert(shape.replace(QStringLiteral("blocks.") + m.captured(1) + QLatin1Char('.'), QStringLiteral("blocks.")));
  }
  if (full.size() < 2) return full;
  if (shapes.size() == 1 && numbers.size() == static_cast<qsizetype>(full.size()) && !numbers.contains(QString())) {
    for (QString& l : layers) l = TrainingCurves::tr("layer %1").arg(l);
    return layers;
  }
  const qsizetype comma = full.front().lastIndexOf(QStringLiteral(", "));
  const QString head = full.front().left(comma + 2);
  if (comma < 0 || !std::all_of(full.begin(), full.end(), [&](const QString& f) { return f.startsWith(head) && f.size() > head.size(); })) return full;
  for (QString& f : full) f = f.mid(head.size());
  return full;
}

}  // namespace

TrainingCurves::TrainingCurves(Panel& panel, QWidget* parent) : QWidget(parent) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* bar = new QHBoxLayout;
  bar->setSpacing(kGrid);
  tabs_ = new QTabBar(this);
  tabs_->setObjectName(QStringLiteral("training_pages"));
  tabs_->setDrawBase(false);
  tabs_->setExpanding(false);
  tabs_->setUsesScrollButtons(false);
  tabs_->addTab(tr("Curves"));
  tabs_->addTab(tr("L0 – FVU"));
  tabs_->addTab(tr("Numbers"));
  tabs_->setTabToolTip(1, tr("What each finished dictionary trades: active features a token against unexplained variance; lower left is better"));
  which_ = new QComboBox(this);
  which_->setObjectName(QStringLiteral("training_which"));
  which_->setAccessibleName(tr("Which curves"));
  which_->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  which_->setMinimumContentsLength(6);
  guardWheel(which_);
  log_ = new QCheckBox(tr("Log"), this);
  log_->setObjectName(QStringLiteral("training_log"));
  log_->setToolTip(tr("Values on a log scale"));
  smoothing_ = new QSlider(Qt::Horizontal, this);
  smoothing_->setObjectName(QStringLiteral("training_smoothing"));
  smoothing_->setRange(0, kSmoothSteps);
  smoothing_->setFixedWidth(9 * kGrid);
  smoothing_->setAccessibleName(tr("Smoothing"));
  guardWheel(smoothing_);
  smoothText_ = new QLabel(tr("smooth"), this);
  smoothText_->setProperty("role", QStringLiteral("muted"));
  smoothText_->setBuddy(smoothing_);
  bar->addWidget(tabs_);
  bar->addStretch(1);
  bar->addWidget(which_);
  bar->addWidget(log_);
  bar->addWidget(smoothText_);
  bar->addWidget(smoothing_);
  column->addLayout(bar);
  pages_ = new QStackedWidget(this);
  grid_ = new QWidget(pages_);
  layout_ = new QGridLayout(grid_);
  layout_->setContentsMargins(0, 0, 0, 0);
  layout_->setSpacing(kGrid);
  curves_ = {{"loss", tr("Loss"), tr("What training minimises, with its sparsity and auxiliary terms")},
             {"l0", tr("L0"), tr("Mean number of active features a token")},
             {"fvu", tr("FVU"), tr("Fraction of variance unexplained, against the mean of all tokens")},
             {"dead", tr("Dead features"), tr("Share of features that did not fire of late")},
             {"ce_recovered", tr("CE recovered"), tr("Cross-entropy recovered when the reconstruction stands in the activation's place")}};
  which_->addItem(tr("All curves"));
  for (Curve& c : curves_) {
    c.chart = new ChartView(grid_);
    c.chart->setObjectName(QStringLiteral("curve_") + QLatin1String(c.name));
    c.chart->setTitle(c.title);
    c.chart->setToolTip(tipText(c.help));
    c.chart->setMinimumSize(18 * kGrid, 12 * kGrid);
    c.chart->clear(tr("No curve yet: start a run, or check one in the list."));
    which_->addItem(c.title, QLatin1String(c.name));
    panel.adopt(c.chart);
  }
  pareto_ = new ChartView(pages_);
  pareto_->setObjectName(QStringLiteral("training_pareto"));
  pareto_->setTitle(tr("L0 against FVU"));
  pareto_->clear(tr("No finished run yet."));
  panel.adopt(pareto_);
  numbers_ = new TableView(pages_);
  numbers_->setObjectName(QStringLiteral("training_numbers"));
  numbers_->setTitle(tr("Final numbers"));
  numbers_->setEmptyText(tr("No finished run is checked in the list."));
  numbers_->setFilterVisible(false);
  panel.adopt(numbers_);
  pages_->addWidget(grid_);
  pages_->addWidget(pareto_);
  pages_->addWidget(numbers_);
  column->addWidget(pages_, 1);
  connect(tabs_, &QTabBar::currentChanged, this, [this](int page) {
    pages_->setCurrentIndex(page);
    for (QWidget* w : {static_cast<QWidget*>(which_), static_cast<QWidget*>(log_), static_cast<QWidget*>(smoothText_), static_cast<QWidget*>(smoothing_)})
      w->setVisible(page == 0);
  });
  connect(which_, &QComboBox::currentIndexChanged, this, &TrainingCurves::arrange);
  connect(log_, &QCheckBox::toggled, this, [this](bool on) {
    for (Curve& c : curves_) c.chart->setLogY(on);
  });
  connect(smoothing_, &QSlider::valueChanged, this, &TrainingCurves::smooth);
  connect(pareto_, &ChartView::pointClicked, this, [this](int line, int point) {
    if (line >= 0 && line < static_cast<int>(points_.size()) && point >= 0 && point < static_cast<int>(points_[static_cast<size_t>(line)].size()))
      Q_EMIT runWanted(points_[static_cast<size_t>(line)][static_cast<size_t>(point)]);
  });
  arrange();
  smooth();
}

void TrainingCurves::arrange() {
  const QString one = which_->currentData().toString();
  int place = 0;
  for (Curve& c : curves_) {
    layout_->removeWidget(c.chart);
    // All: the four of the first look; what a reconstruction costs the model is measured seldom and has its own entry.
    const bool on = one.isEmpty() ? place < 4 : QLatin1String(c.name) == one;
    c.chart->setVisible(on);
    if (!on) continue;
    layout_->addWidget(c.chart, one.isEmpty() ? place / 2 : 0, one.isEmpty() ? place % 2 : 0);
    ++place;
  }
  for (int i : {0, 1}) {
    layout_->setColumnStretch(i, one.isEmpty() || i == 0);
    layout_->setRowStretch(i, one.isEmpty() || i == 0);
  }
}

void TrainingCurves::smooth() {
  const double half = halfLifeAt(smoothing_->value());
  smoothing_->setToolTip(half > 0 ? tr("Exponential smoothing with a half-life of %1 points; the raw curve stays behind it").arg(numberText(half, 2))
                                  : tr("Exponential smoothing by its half-life in points: off"));
  for (Curve& c : curves_) c.chart->setSmoothing(half);
}

int TrainingCurves::colourOf(const QString& line) { return colours_.emplace(line, static_cast<int>(colours_.size())).first->second; }

void TrainingCurves::setRuns(const std::vector<DrawnRun>& runs) {
  for (Curve& c : curves_) {
    ChartData data;
    data.yLabel = c.title;
    const DrawnRun* first = nullptr;
    for (const DrawnRun& run : runs) {
      const Series* s = run.facts ? run.facts->find(c.name) : nullptr;
      if (!s) continue;
      if (!first) first = &run;
      if (data.xLabel.isEmpty()) data.xLabel = labelText(s->x_label.empty() ? "tokens" : s->x_label, 40);
      const std::vector<QString> names = shortNames(*s);
      for (size_t i = 0; i < s->lines.size(); ++i) {
        const Series::Line& l = s->lines[i];
        ChartLine line;
        const QString own = names[i], whole = lineText(l.name);
        const QString full = own.isEmpty() || (s->lines.size() == 1 && runs.size() > 1) ? run.name : run.name + QStringLiteral(" · ") + own;
        line.name = runs.size() == 1 && !own.isEmpty() ? own : full;
        line.help = whole.isEmpty() ? full : run.name + QStringLiteral(" · ") + whole;
        line.x = l.x;
        line.y = l.y;
        line.colour = colourOf(run.name + QLatin1Char('\n') + own);
        data.lines.push_back(std::move(line));
      }
    }
    if (data.lines.empty()) {
      c.chart->clear(runs.empty() ? tr("No curve yet: start a run, or check one in the list.") : tr("These runs have no such curve yet."));
      c.chart->setSource(0, {});
      c.chart->setCommand({});
      continue;
    }
    c.chart->setTitle(c.title);
    c.chart->setCommand(first->command);
    c.chart->setSource(runs.size() == 1 && first->key > 0 ? first->key : 0, QString::fromLatin1(c.name));
    c.chart->setData(data);
  }
  // Final numbers, one row a dictionary.
  auto table = std::make_shared<Table>();
  table->name = "training";
  for (const DrawnRun& run : runs) {
    const Table* own = run.facts ? run.facts->table("training") : nullptr;
    if (!own || run.key <= 0) continue;
    if (table->columns.empty()) {
      table->columns.push_back({"run", "", ""});
      table->columns.insert(table->columns.end(), own->columns.begin(), own->columns.end());
    }
    for (const auto& row : own->rows) {
      std::vector<Cell> cells = {Cell(static_cast<int64_t>(run.key))};
      // A run of another kind may have other columns.
      for (size_t k = 1; k < table->columns.size(); ++k) {
        const auto at = std::find_if(own->columns.begin(), own->columns.end(), [&](const Column& c) { return c.name == table->columns[k].name; });
        const auto c = static_cast<size_t>(at - own->columns.begin());
        cells.push_back(at == own->columns.end() || c >= row.size() ? Cell() : row[c]);
      }
      table->rows.push_back(std::move(cells));
    }
    numbers_->setCommand(run.command);
    numbers_->setSource(run.key, QStringLiteral("training"));
  }
  numbers_->setTable(table->columns.empty() ? nullptr : table);
}

void TrainingCurves::setFinished(const std::vector<DrawnRun>& runs) {
  struct Point {
    double l0, fvu;
    qint64 run;
  };
  std::map<QString, std::vector<Point>> groups;
  for (const DrawnRun& run : runs) {
    if (!run.facts) continue;
    for (const char* name : {"training", "pareto"}) {
      const Table* t = run.facts->table(name);
      if (!t || (QLatin1String(name) == QLatin1String("training") && run.facts->table("pareto"))) continue;
      for (size_t r = 0; r < t->rows.size(); ++r) {
        const Point p{numberOf(*t, r, "L0"), numberOf(*t, r, "FVU"), run.key};
        if (!std::isfinite(p.l0) || !std::isfinite(p.fvu) || !(p.l0 > 0)) continue;
        const TrainingFacts::Made* made = run.facts->dictionaries.empty() ? nullptr : &run.facts->dictionaries[std::min(r, run.facts->dictionaries.size() - 1)];
        // Rows, final numbers and dictionaries stand in one order; the table has the kind as it was trained.
        const Table* trained = run.facts->table("training");
        QString kind = trained ? textOf(*trained, std::min(r, trained->rows.size() - 1), "kind") : QString();
        if (kind.isEmpty() && made) kind = made->kind;
        const QString hook = made ? made->hook : textOf(*t, r, "hook");
        groups[kind + QStringLiteral(" · ") + hook].push_back(p);
      }
    }
  }
  points_.clear();
  ChartData data;
  data.kind = ChartData::Kind::kScatter;
  data.xLabel = tr("L0 (active features a token)");
  data.yLabel = tr("FVU");
  double lo = INFINITY, hi = 0;
  for (const auto& [name, points] : groups)
    for (const Point& p : points) {
      lo = std::min(lo, p.l0);
      hi = std::max(hi, p.l0);
    }
  data.logX = hi > 8 * lo;
  for (auto& [name, points] : groups) {
    std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.l0 < b.l0; });
    ChartLine line;
    line.name = name;
    points_.emplace_back();
    for (const Point& p : points) {
      line.x.push_back(data.logX ? std::log10(p.l0) : p.l0);
      line.y.push_back(p.fvu);
      points_.back().push_back(p.run);
    }
    data.lines.push_back(std::move(line));
  }
  if (data.lines.empty()) pareto_->clear(tr("No finished run yet: its final L0 and FVU become a point here."));
  else pareto_->setData(data);
}

std::vector<View*> TrainingCurves::views() const {
  std::vector<View*> out;
  if (pages_->currentIndex() == 0) {
    for (const Curve& c : curves_)
      if (c.chart->isVisibleTo(grid_)) out.push_back(c.chart);
  } else {
    out.push_back(pages_->currentIndex() == 1 ? static_cast<View*>(pareto_) : static_cast<View*>(numbers_));
  }
  return out;
}

QByteArray TrainingCurves::saveState() const {
  QByteArray out;
  QDataStream s(&out, QIODevice::WriteOnly);
  s << qint32(tabs_->currentIndex()) << qint32(which_->currentIndex()) << log_->isChecked() << qint32(smoothing_->value());
  return out;
}

void TrainingCurves::restoreState(const QByteArray& state) {
  QDataStream s(state);
  qint32 tab = 0, which = 0, smoothing = 0;
  bool log = false;
  s >> tab >> which >> log >> smoothing;
  if (s.status() != QDataStream::Ok) return;
  if (tab >= 0 && tab < tabs_->count()) tabs_->setCurrentIndex(tab);
  if (which >= 0 && which < which_->count()) which_->setCurrentIndex(which);
  log_->setChecked(log);
  smoothing_->setValue(std::clamp(smoothing, qint32(0), qint32(kSmoothSteps)));
}

}  // namespace microtome::desktop
