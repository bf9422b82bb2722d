// Lens: what the residual stream would say after every layer, position by position; how far that is from the model's
// own output.
#include "app/desktop/panels/panel.h"

#include <QComboBox>
#include <QDataStream>
#include <QHBoxLayout>
#include <QLabel>
#include <QSplitter>
#include <QTimer>
#include <algorithm>
#include <cmath>

#include "app/desktop/panels/lens/column.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

class LensPanel : public Panel {
 public:
  LensPanel(Session& session, const PanelInfo& info, QWidget* parent);
  std::vector<View*> views() const override;
  QByteArray saveState() const override;
  void restoreState(const QByteArray& state) override;

 protected:
  void refresh() override;
  void resizeEvent(QResizeEvent* event) override;

 private:
  void fillChoice();
  void shareScale();
  void showSelection();
  void showCharts();
  void pick(int slot, int row, int position);
  void divide();  // the borders, until a person moves them
  // The column whose tokens the charts are about: of the selected model, where it has a table.
  const LensColumn* leading() const;

  QWidget* bar_;
  QComboBox* colour_;
  QSplitter *splitter_, *tables_, *charts_;
  LensColumn* columns_[Session::kSlots] = {nullptr, nullptr};
  ChartView *kl_, *probability_;
  QString wanted_;  // the quantity a person chose
  int row_ = LensColumn::kLast;
  bool picking_ = false, movedAcross_ = false, movedDown_ = false;
};

LensPanel::LensPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
  bar_ = new QWidget(this);
  auto* row = new QHBoxLayout(bar_);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  auto* label = new QLabel(tr("Colour by"), bar_);
  label->setProperty("role", QStringLiteral("muted"));
  colour_ = new QComboBox(bar_);
  colour_->setObjectName(QStringLiteral("lens_colour"));
  colour_->setAccessibleName(tr("Number that colours the cells"));
  colour_->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  guardWheel(colour_);
  row->addWidget(label);
  row->addWidget(colour_);
  row->addStretch(1);
  body()->addWidget(bar_);
  splitter_ = new QSplitter(Qt::Vertical, this);
  splitter_->setChildrenCollapsible(false);
  tables_ = new QSplitter(Qt::Horizontal, splitter_);
  tables_->setChildrenCollapsible(false);
  charts_ = new QSplitter(Qt::Horizontal, splitter_);
  charts_->setChildrenCollapsible(false);
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    LensColumn* c = columns_[slot] = new LensColumn(*this, slot, tables_);
    c->setObjectName(QStringLiteral("lens_%1").arg(slot));
    if (slot > 0) c->layout()->setContentsMargins(kGrid, 0, 0, 0);
    tables_->addWidget(c);
    connect(c, &LensColumn::cellPicked, this, [this, slot](int r, int p) { pick(slot, r, p); });
    connect(c->table(), &TokenMapView::scrolled, this, [this, slot](int pixels) {
      TokenMapView* other = columns_[1 - slot] ? columns_[1 - slot]->table() : nullptr;
      if (other && other->data().cols == columns_[slot]->table()->data().cols) other->setScrolledAcross(pixels);
    });
    connect(c, &LensColumn::tableFilled, this, [this] {
      fillChoice();
      shareScale();
      divide();
      showSelection();
    });
  }
  kl_ = new ChartView(charts_);
  kl_->setObjectName(QStringLiteral("lens_kl"));
  probability_ = new ChartView(charts_);
  probability_->setObjectName(QStringLiteral("lens_probability"));
  for (ChartView* chart : {kl_, probability_}) {
    charts_->addWidget(chart);
    adopt(chart);
    connect(chart, &ChartView::cursorMoved, this, [this](double x) {
      const LensColumn* c = leading();
      if (!c || !c->lens() || !std::isfinite(x)) return;
      const auto r = static_cast<int>(std::lround(std::clamp(x, 0.0, static_cast<double>(c->lens()->layers()))));
      pick(c->run()->slot(), r, c->shown().second);
    });
  }
  splitter_->setStretchFactor(0, 2);
  splitter_->setStretchFactor(1, 1);
  body()->addWidget(splitter_, 1);
  connect(splitter_, &QSplitter::splitterMoved, this, [this] { movedDown_ = true; });
  connect(tables_, &QSplitter::splitterMoved, this, [this] { movedAcross_ = true; });

  connect(colour_, &QComboBox::currentIndexChanged, this, [this] {
    wanted_ = colour_->currentText();
    for (LensColumn* c : columns_) c->setQuantity(wanted_);
    shareScale();
  });
  const auto again = [this] { scheduleRefresh(); };
  connect(&session, &Session::engineChanged, this, again);
  connect(&session, &Session::modelChanged, this, again);
  connect(&session, &Session::openingChanged, this, again);
  connect(&session, &Session::projectChanged, this, again);
  connect(&session, &Session::promptsChanged, this, again);
  Selection& s = session.selection();
  connect(&s, &Selection::promptChanged, this, again);
  connect(&s, &Selection::modelChanged, this, [this] { showCharts(); });
  connect(&s, &Selection::headChanged, this, [this](int layer, int) {
    if (picking_ || layer < 0) return;
    row_ = layer;
    showSelection();
  });
  connect(&s, &Selection::positionChanged, this, [this] {
    if (!picking_) showSelection();
  });
  columns_[1]->hide();
  charts_->hide();
}

const LensColumn* LensPanel::leading() const {
  const int slot = std::clamp(session().selection().model(), 0, Session::kSlots - 1);
  return columns_[slot]->lens() ? columns_[slot] : columns_[0]->lens() ? columns_[0] : nullptr;
}

std::vector<View*> LensPanel::views() const {
  std::vector<View*> out;
  for (const LensColumn* c : columns_)
    if (c->isVisibleTo(tables_) && c->showsContent() && c->lens()) out.push_back(c->table());
  if (charts_->isVisibleTo(splitter_)) out.insert(out.end(), {kl_, probability_});
  return out;
}

void LensPanel::refresh() {
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    columns_[slot]->setVisible(slot == 0 || session().comparing() || session().opening(slot));
    columns_[slot]->setNameShown(session().comparing());
  }
  columns_[0]->layout()->setContentsMargins(0, 0, columns_[1]->isVisibleTo(tables_) ? kGrid : 0, 0);
  for (LensColumn* c : columns_) c->run()->ask({});
  fillChoice();
  divide();
  showSelection();
}

void LensPanel::resizeEvent(QResizeEvent* event) {
  Panel::resizeEvent(event);
  // The splitters get their sizes when the layout comes to them.
  QTimer::singleShot(0, this, [this] { divide(); });
}

void LensPanel::divide() {
  const bool both = columns_[1]->isVisibleTo(tables_) && columns_[1]->lens() && columns_[0]->lens();
  // Two tables have one scale: the bar at the right stands for both.
  columns_[0]->table()->setShowColourBar(!both);
  if (!movedAcross_ && both) {
    const int bar = columns_[1]->table()->sizeHint().width() - columns_[0]->table()->sizeHint().width();
    const int wide = tables_->width() - std::clamp(bar, 0, tables_->width() / 4);
    tables_->setSizes({wide / 2, tables_->width() - wide / 2});
  }
  if (movedDown_ || !leading()) return;
  // The table's own height, as long as the lines get enough to be read.
  int table = 0;
  for (const LensColumn* c : columns_)
    if (c->lens() && c->isVisibleTo(tables_))
      table = std::max(table, c->table()->sizeHint().height() + (both ? 3 * kGrid : 0));
  table = std::min(table, splitter_->height() * 58 / 100);
  splitter_->setSizes({table, std::max(1, splitter_->height() - table)});
}

void LensPanel::fillChoice() {
  QStringList names, tips;
  for (const LensColumn* c : columns_)
    for (const TokenQuantity& q : c->table()->data().quantities)
      if (!names.contains(q.name)) {
        names << q.name;
        tips << q.help;
      }
  bar_->setVisible(!names.isEmpty());
  charts_->setVisible(leading() != nullptr);
  QStringList now;
  for (int i = 0; i < colour_->count(); ++i) now << colour_->itemText(i);
  if (names.isEmpty() || names == now) return;
  {
    const QSignalBlocker quiet(colour_);
    colour_->clear();
    colour_->addItems(names);
    for (int i = 0; i < tips.size(); ++i) colour_->setItemData(i, tips[i], Qt::ToolTipRole);
    colour_->setCurrentIndex(std::max<int>(0, static_cast<int>(names.indexOf(wanted_))));
  }
  for (LensColumn* c : columns_) c->setQuantity(colour_->currentText());
}

// One colour means one number in both tables.
void LensPanel::shareScale() {
  double lo = 0, hi = 0;
  bool any = false;
  for (const LensColumn* c : columns_) {
    if (!c->lens() || !c->isVisibleTo(tables_)) continue;
    const auto own = c->table()->ownScale();
    lo = any ? std::min(lo, own.first) : own.first;
    hi = any ? std::max(hi, own.second) : own.second;
    any = true;
  }
  for (LensColumn* c : columns_) c->table()->setScale(lo, hi);
}

void LensPanel::showSelection() {
  const int position = session().selection().position();
  for (LensColumn* c : columns_) c->showAt(row_, position >= 0 ? position : LensColumn::kLast);
  showCharts();
}

void LensPanel::showCharts() {
  const LensColumn* lead = leading();
  charts_->setVisible(lead != nullptr);
  if (!lead) return;
  const Lens& of = *lead->lens();
  const int position = lead->shown().second;
  const QString word = visibleToken(of.table().colAxis.labels.value(position).left(40));
  const QString target = of.target(position);
  ChartData kl, probability;
  kl.title = tr("KL to the output at %1 “%2”").arg(position).arg(word);
  kl.yLabel = tr("KL (nats)");
  probability.title =
      (position + 1 == of.tokens() ? tr("Probability of the answer “%1”") : tr("Probability of the next token “%1”"))
          .arg(visibleToken(target.left(40)));
  probability.yLabel = tr("probability");
  kl.xLabel = probability.xLabel = tr("layers applied");
  // Their layers' colours tell two models apart where each has one kind and the other has the other.
  int kinds[Session::kSlots] = {0, 0};  // 1: softmax alone, 2: recurrent alone, 3: both
  for (const LensColumn* c : columns_)
    if (c->lens())
      for (const app::LayerFacts& f : c->lens()->model()->facts().layers)
        kinds[c->run()->slot()] |= f.recurrent ? 2 : 1;
  const bool apart = kinds[0] != kinds[1] && kinds[0] != 3 && kinds[1] != 3;
  for (const LensColumn* c : columns_) {
    if (!c->lens() || !c->isVisibleTo(tables_)) continue;
    ChartLine line;
    line.name = labelText(c->lens()->model()->facts().name, 60);
    line.softmax = apart && kinds[c->run()->slot()] == 1;
    line.recurrent = apart && kinds[c->run()->slot()] == 2;
    for (int64_t r = 0; r <= c->lens()->layers(); ++r) line.x.push_back(static_cast<double>(r));
    line.help = tr("KL(output ‖ lens): how far the lens is from what the model says in the end");
    line.y = c->lens()->kl(c->shown().second);
    kl.lines.push_back(line);
    line.help = tr("what the lens gives the token that comes next");
    line.y = c->lens()->probability(c->shown().second);
    probability.lines.push_back(line);
  }
  const RunRecord& record = of.run()->record;
  for (ChartView* chart : {kl_, probability_}) {
    const ChartData& data = chart == kl_ ? kl : probability;
    if (chart == probability_ && target.isEmpty())
      chart->clear(tr("The prompt ends here without an answer: give it one in Prompts, or select another position."));
    else chart->setData(data);
    chart->setTitle(data.title);
    chart->setCommand(QString::fromStdString(record.command.empty() ? record.spec.command : record.command));
    chart->setSource(record.id, QStringLiteral("logit_lens"));
    chart->setCursor(lead->shown().first);
  }
}

void LensPanel::pick(int slot, int row, int position) {
  const auto& lens = columns_[slot]->lens();
  if (!lens) return;
  const auto output = static_cast<int>(lens->layers());
  Selection& s = session().selection();
  // The output is no layer: the last one stands for it elsewhere.
  picking_ = true;
  row_ = row == output ? LensColumn::kLast : row;
  s.setModel(slot);
  s.setHead(std::min(row, output - 1), -1);
  s.setPosition(position);
  picking_ = false;
  showSelection();
}

QByteArray LensPanel::saveState() const {
  QByteArray out;
  QDataStream stream(&out, QIODevice::WriteOnly);
  stream << quint8(1) << wanted_ << movedDown_ << movedAcross_ << splitter_->saveState() << tables_->saveState()
         << charts_->saveState();
  return out;
}

void LensPanel::restoreState(const QByteArray& state) {
  QDataStream stream(state);
  quint8 version = 0;
  QString wanted;
  QByteArray all, tables, charts;
  bool down = false, across = false;
  stream >> version >> wanted >> down >> across >> all >> tables >> charts;
  if (stream.status() != QDataStream::Ok || version != 1) return;
  wanted_ = wanted.left(200);
  movedDown_ = down;
  movedAcross_ = across;
  if (down) splitter_->restoreState(all);
  if (across) tables_->restoreState(tables);
  charts_->restoreState(charts);
  if (const int at = colour_->findText(wanted_); at >= 0) colour_->setCurrentIndex(at);
}

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_lens(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{
      QStringLiteral("lens"),
      QObject::tr("Lens"),
      QObject::tr("What the model would say after every layer, token by token, and how far that is from its output."),
      PanelArea::kCentre,
      30,
      QStringLiteral("Ctrl+3")};
  registry.add({info, [info](Session& session, QWidget* parent) { return new LensPanel(session, info, parent); }});
}

}  // namespace microtome::panels
