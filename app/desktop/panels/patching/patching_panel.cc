// Controls, runs and states of the Patching panel; what is shown is in patching_show.cc.
#include "app/desktop/panels/patching/patching_panel.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDataStream>
#include <QHBoxLayout>
#include <QLabel>
#include <QShortcut>
#include <QSplitter>
#include <QStackedWidget>
#include <algorithm>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

QWidget* labelled(const QString& text, QWidget* control, QWidget* parent) {
  auto* cell = new QWidget(parent);
  auto* row = new QHBoxLayout(cell);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid / 2);
  auto* label = new QLabel(text, cell);
  label->setProperty("role", QStringLiteral("muted"));
  label->setBuddy(control);
  row->addWidget(label);
  row->addWidget(control);
  return cell;
}

}  // namespace

PatchingPanel::PatchingPanel(Session& session, const PanelInfo& info, QWidget* parent)
    : Panel(session, info, parent), stored_(session) {
  body()->setSpacing(kGrid / 2);
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  auto* content = new QWidget(stack_);
  auto* column = new QVBoxLayout(content);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  controls_ = new PatchingControls(session, content);
  column->addWidget(controls_);
  makeBar();
  column->addWidget(bar_);
  splitter_ = new QSplitter(Qt::Vertical, content);
  splitter_->setChildrenCollapsible(false);
  grids_ = new QSplitter(Qt::Horizontal, splitter_);
  grids_->setChildrenCollapsible(false);
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    PatchingColumn* c = columns_[slot] = new PatchingColumn(*this, slot, grids_);
    c->setObjectName(QStringLiteral("patching_%1").arg(slot));
    if (slot > 0) c->layout()->setContentsMargins(kGrid, 0, 0, 0);
    grids_->addWidget(c);
    connect(c, &PatchingColumn::cellPicked, this, [this, slot](const PatchCell& cell) { pick(slot, cell); });
    connect(c, &PatchingColumn::gridChanged, this, [this] { gridChanged(); });
    connect(c, &PatchingColumn::stateChanged, this, [this] { showStates(); });
    connect(c, &PatchingColumn::pressed, this, [this] { start(); });
  }
  differenceCell_ = new QWidget(grids_);
  auto* third = new QVBoxLayout(differenceCell_);
  third->setContentsMargins(kGrid, 0, 0, 0);
  third->setSpacing(kGrid / 2);
  differenceName_ = new QLabel(differenceCell_);
  differenceName_->setProperty("role", QStringLiteral("section"));
  differenceName_->setTextFormat(Qt::PlainText);
  differenceName_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  differenceMap_ = new HeatMapView(differenceCell_);
  differenceMap_->setObjectName(QStringLiteral("patching_difference_map"));
  third->addWidget(differenceName_);
  third->addWidget(differenceMap_, 1);
  grids_->addWidget(differenceCell_);
  differenceCell_->hide();
  adopt(differenceMap_);
  connect(differenceMap_, &HeatMapView::cellClicked, this, [this](qint64 row, qint64 col) {
    if (!differenceGrid_ || row < 0 || col < 0) return;
    const int slot = leading() ? leading()->slot() : 0;
    pick(slot, differenceGrid_->cellAt(row, col, columns_[0]->array(), columns_[0]->look()));
  });
  pane_ = new CellPane(*this, splitter_);
  connect(pane_, &CellPane::cellWanted, this, [this](const PatchCell& cell) { pick(leading() ? leading()->slot() : 0, cell); });
  splitter_->setStretchFactor(0, 3);
  splitter_->setStretchFactor(1, 2);
  splitter_->setSizes({300, 200});
  column->addWidget(splitter_, 1);
  stack_->addWidget(empty_);
  stack_->addWidget(content);
  body()->addWidget(stack_, 1);
  columns_[1]->hide();

  connect(empty_, &EmptyState::pressed, this, [this] { this->session().openDemo(); });
  connect(controls_, &PatchingControls::changed, this, [this] {
    touched_ = true;
    clearBar();
    lookUp();
  });
  connect(controls_, &PatchingControls::runWanted, this, [this] { start(); });
  connect(controls_, &PatchingControls::cancelWanted, this, [this] { cancel(); });
  for (const auto key : {Qt::CTRL | Qt::Key_Return, Qt::CTRL | Qt::Key_Enter}) {
    auto* shortcut = new QShortcut(QKeySequence(key), this);
    shortcut->setContext(Qt::WidgetWithChildrenShortcut);
    connect(shortcut, &QShortcut::activated, this, [this] { start(); });
  }
  connect(&session, &Session::engineChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::modelChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::openingChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::promptsChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::runsChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::projectChanged, this, [this] {
    // Another project holds other runs.
    touched_ = adopted_ = false;
    for (PatchingColumn* c : columns_)
      if (c->job() == 0) c->forget();
    scheduleRefresh();
  });
  Selection& s = session.selection();
  connect(&s, &Selection::promptChanged, this, [this] { scheduleRefresh(); });
  connect(&s, &Selection::modelChanged, this, [this] { showCell(); });
  connect(&s, &Selection::headChanged, this, [this](int layer, int head) {
    if (picking_ || layer < 0) return;
    layer_ = layer;
    head_ = head;
    showCell();
  });
  connect(&s, &Selection::positionChanged, this, [this](int query, int) {
    const PromptPair* pair = this->session().currentPair(std::clamp(this->session().selection().model(), 0, Session::kSlots - 1));
    if (picking_ || query < 0 || !pair) return;
    fromEnd_ = std::max<int64_t>(0, static_cast<int64_t>(pair->clean_ids.size()) - query);
    showCell();
  });
}

void PatchingPanel::makeBar() {
  bar_ = new QWidget(stack_->widget(1) ? stack_->widget(1) : this);
  auto* row = new QHBoxLayout(bar_);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid * 3 / 2);
  array_ = new QComboBox(bar_);
  array_->setObjectName(QStringLiteral("patching_array"));
  array_->setAccessibleName(tr("Number that colours the cells"));
  heads_ = new QComboBox(bar_);
  heads_->setObjectName(QStringLiteral("patching_heads"));
  heads_->setAccessibleName(tr("Which heads are shown"));
  for (QComboBox* box : {array_, heads_}) {
    box->setSizeAdjustPolicy(QComboBox::AdjustToContents);
    guardWheel(box);
  }
  arrayCell_ = labelled(tr("show"), array_, bar_);
  headsCell_ = labelled(tr("heads"), heads_, bar_);
  difference_ = new QCheckBox(tr("Difference"), bar_);
  difference_->setObjectName(QStringLiteral("patching_difference"));
  difference_->setToolTip(tr("A third picture: left model minus right model, cell by cell"));
  hint_ = new QLabel(bar_);
  hint_->setObjectName(QStringLiteral("patching_hint"));
  hint_->setProperty("role", QStringLiteral("muted"));
  hint_->setTextFormat(Qt::PlainText);
  hint_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  row->addWidget(arrayCell_);
  row->addWidget(headsCell_);
  row->addWidget(difference_);
  row->addWidget(hint_, 1);
  connect(array_, &QComboBox::currentIndexChanged, this, [this] {
    if (filling_) return;
    wantedArray_ = array_->currentData().toString();
    applyPicture();
  });
  connect(heads_, &QComboBox::currentIndexChanged, this, [this] {
    if (filling_) return;
    wantedHeads_ = heads_->currentData().toInt();
    applyPicture();
    showCell();
  });
  connect(difference_, &QCheckBox::toggled, this, [this] { showDifference(); });
}

// ---- runs ----------------------------------------------------------------------------------------------------------

RunRequest PatchingPanel::request(int slot) const {
  RunRequest out;
  out.analysis = controls_->analysis();
  out.params = controls_->values();
  out.slot = slot;
  out.onePrompt = controls_->onePrompt();
  return out;
}

QString PatchingPanel::hindrance(int slot) const {
  QString why;
  if (!controls_->ready()) return tr("The analyses are being read: one moment.");
  if (!controls_->isValid(&why)) return why;
  const app::AnalysisFacts* a = session().findAnalysis(controls_->analysis());
  const std::shared_ptr<const Dataset>& set = session().prompts().bySlot[slot];
  const QString& problem = session().prompts().problem[slot];
  if (!problem.isEmpty()) return problem;
  if (!set || set->pairs.empty()) return tr("There are no prompts yet: type one or load a task in Prompts.");
  if (a && a->info.prompts == AnalysisInfo::Prompts::kPairs) {
    const PromptPair* pair = session().currentPair(slot);
    const auto lacks = [](const PromptPair& p) { return p.corrupted_ids.empty(); };
    if (controls_->onePrompt() ? pair && lacks(*pair) : std::any_of(set->pairs.begin(), set->pairs.end(), lacks))
      return tr("Patching needs a corrupted prompt: type one in Prompts.");
  }
  const auto values = controls_->values();
  const ParamSpec* spec = a ? a->schema.find("site") : nullptr;
  if (!spec || !session().model(slot)) return {};
  const auto given = values.find("site");
  const std::string site = given == values.end() ? param_text(spec->fallback) : given->second, ending = ".hook_" + site;
  const auto& hooks = session().model(slot)->facts().hooks;
  const bool has = std::any_of(hooks.begin(), hooks.end(), [&](const app::HookFacts& h) {
    return h.name.size() > ending.size() && h.name.compare(h.name.size() - ending.size(), ending.size(), ending) == 0;
  });
  return has ? QString()
             : tr("%1 has no site “%2” in any layer: choose another site.").arg(labelText(session().model(slot)->facts().name, 60), labelText(site, 40));
}

void PatchingPanel::start() {
  if (!session().model(0) && !session().model(1)) return;
  clearBar();
  bool any = false;
  QString first;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    if (!used(slot)) continue;
    columns_[slot]->cancel();
    const QString why = hindrance(slot);
    if (!why.isEmpty()) {
      if (first.isEmpty()) first = why;
      columns_[slot]->fail(tr("Not for this model"), why);
      continue;
    }
    any = columns_[slot]->start(request(slot), stored_.requested(request(slot))) || any;
  }
  if (!any && !first.isEmpty()) showNotice(first);
  touched_ = true;
  showStates();
}

void PatchingPanel::cancel() {
  for (PatchingColumn* c : columns_) c->cancel();
}

// What a person last computed is there again after a start: the newest grid of the open models.
void PatchingPanel::adoptNewest() {
  if (touched_ || adopted_ || session().runs().empty()) return;
  const RunRecord* best = nullptr;
  int slot = 0;
  for (int i = 0; i < Session::kSlots; ++i)
    if (const RunRecord* r = used(i) ? stored_.newest(i) : nullptr; r && (!best || r->id > best->id)) best = r, slot = i;
  if (!best) return;
  adopted_ = true;
  const GridRequest wanted = requestOfRecord(*best);
  const app::AnalysisFacts* a = session().findAnalysis(wanted.analysis);
  if (!a) return;
  std::map<std::string, std::string> changed;
  for (const auto* params : {&best->spec.answer_params, &best->spec.cost_params})
    for (const auto& [name, value] : *params)
      if (const ParamSpec* p = a->schema.find(name); p && param_text(p->fallback) != value) changed[name] = value;
  controls_->set(wanted.analysis, changed, stored_.scopeOf(slot, wanted.prompts) == PromptScope::kOne);
  for (int i = 0; i < Session::kSlots; ++i)
    if (used(i)) columns_[i]->load(i == slot ? best->id : stored_.find(i, wanted));
}

void PatchingPanel::lookUp() {
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    if (!used(slot) || columns_[slot]->job() != 0 || !controls_->ready()) continue;
    const GridRequest wanted = stored_.requested(request(slot));
    if (wanted.prompts.empty()) continue;
    if (const qint64 run = stored_.find(slot, wanted)) columns_[slot]->load(run);
  }
  showStates();
}

void PatchingPanel::refresh() {
  const bool any = used(0) || used(1), opening = session().opening(0) || session().opening(1);
  if (!any || !session().engineReady()) {
    if (opening) empty_->setText(tr("Opening…"), tr("The model is being opened."));
    else empty_->setText(tr("No model is open"), tr("Open a model folder, or see the two models that ship with Microtome."), tr("Try the demo"));
    stack_->setCurrentWidget(empty_);
  } else {
    stack_->setCurrentIndex(1);
  }
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    columns_[slot]->setVisible(used(slot) || (slot == 0 && !used(1)));
    if (models_[slot] == session().model(slot)) continue;
    models_[slot] = session().model(slot);
    columns_[slot]->forget();
    adopted_ = adopted_ && columns_[1 - slot]->hasGrid();
  }
  columns_[0]->layout()->setContentsMargins(0, 0, session().comparing() ? kGrid : 0, 0);
  controls_->refresh();
  adoptNewest();
  lookUp();
  fillChoices();
  showDifference();
  showCell();
}

void PatchingPanel::showStates() {
  std::vector<qint64> jobs;
  QString hint, why;
  bool answered = true, any = false;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    PatchingColumn* c = columns_[slot];
    if (c->job() != 0) jobs.push_back(c->job());
    if (!used(slot)) continue;
    const QString mine = hindrance(slot);
    if (mine.isEmpty()) any = true;
    else if (why.isEmpty()) why = mine;
    const GridRequest wanted = controls_->ready() ? stored_.requested(request(slot)) : GridRequest();
    const bool same = c->shown().run && c->shown().request == wanted;
    answered = answered && (same || !mine.isEmpty());
    const bool other = c->hasGrid() && stored_.scopeOf(slot, c->shown().request.prompts) == PromptScope::kOther;
    c->setRemark(other ? tr("other prompts than those of the window") : QString(), session().comparing());
    if (!c->hasGrid() && c->job() == 0 && c->loading() == 0 && c->state() != PatchingColumn::State::kFailed && c->state() != PatchingColumn::State::kCancelled) {
      if (mine.isEmpty()) c->say(tr("Nothing computed yet"), tr("Each cell of the grid is a run of the model with one place changed."), tr("Run"));
      else c->say(tr("Nothing to run yet"), mine, {});
    }
    if (c->hasGrid() && !same && c->job() == 0 && mine.isEmpty() && c->state() == PatchingColumn::State::kDone)
      hint = tr("What is set above is not computed yet: press Run (Ctrl+Enter).");
  }
  controls_->setJobs(jobs);
  controls_->setHindrance(any ? QString() : why);
  controls_->setAnswered(answered);
  if (!any && !why.isEmpty()) hint = why;
  hint_->setText(hint);
  hint_->setToolTip(tipText(hint));
  bar_->setVisible(columns_[0]->hasGrid() || columns_[1]->hasGrid());
}

// ---- pictures ------------------------------------------------------------------------------------------------------

}  // namespace microtome::desktop
