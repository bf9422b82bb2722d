// Controls, runs and states of the Circuit panel; what is shown is in circuit_show.cc.
#include "app/desktop/panels/circuit/circuit_panel.h"

#include <QDataStream>
#include <QHBoxLayout>
#include <QLabel>
#include <QScrollArea>
#include <QShortcut>
#include <QSlider>
#include <QSpinBox>
#include <QSplitter>
#include <QStackedWidget>
#include <QToolButton>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

// A slider that rests so long asks for the points of the curve too.
constexpr int kRestMs = 400;

QLabel* line(QWidget* parent, const char* name, const char* role) {
  auto* label = new QLabel(parent);
  label->setObjectName(QString::fromLatin1(name));
  label->setTextFormat(Qt::PlainText);
  if (*role) label->setProperty("role", QString::fromLatin1(role));
  label->setWordWrap(true);
  label->setTextInteractionFlags(Qt::TextSelectableByMouse);
  QSizePolicy policy(QSizePolicy::Ignored, QSizePolicy::Minimum);
  policy.setHeightForWidth(true);
  label->setSizePolicy(policy);
  return label;
}

QToolButton* button(QWidget* parent, const char* name, const QString& text, const QString& tip) {
  auto* b = new QToolButton(parent);
  b->setObjectName(QString::fromLatin1(name));
  b->setText(text);
  b->setToolTip(tip);
  b->setFocusPolicy(Qt::StrongFocus);
  return b;
}

}  // namespace

CircuitPanel::CircuitPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent), stored_(session, this) {
  body()->setSpacing(kGrid / 2);
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  auto* content = new QWidget(stack_);
  auto* column = new QVBoxLayout(content);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  controls_ = new CircuitControls(session, content);
  column->addWidget(controls_);
  hint_ = line(content, "circuit_hint", "muted");
  column->addWidget(hint_);
  makeBar(content);
  column->addWidget(bar_);
  splitter_ = new QSplitter(Qt::Horizontal, content);
  splitter_->setChildrenCollapsible(false);
  graphs_ = new QSplitter(Qt::Horizontal, splitter_);
  graphs_->setChildrenCollapsible(false);
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    CircuitColumn* c = columns_[slot] = new CircuitColumn(*this, stored_, slot, graphs_);
    c->setObjectName(QStringLiteral("circuit_%1").arg(slot));
    if (slot > 0) c->layout()->setContentsMargins(kGrid, 0, 0, 0);
    graphs_->addWidget(c);
    connect(c, &CircuitColumn::circuitChanged, this, [this] { circuitChanged(); });
    connect(c, &CircuitColumn::stateChanged, this, [this] { showStates(); });
    connect(c, &CircuitColumn::pressed, this, [this] { start(); });
    connect(c, &CircuitColumn::listPicked, this, [this, slot] { picked_[slot] = true; });
    connect(c, &CircuitColumn::nodePicked, this, [this, slot](const QString& node) { pickNode(slot, node); });
    connect(c, &CircuitColumn::nodeActivated, this, [this, slot](const QString& node) {
      pickNode(slot, node);
      toggleKnockOut();
    });
    connect(c, &CircuitColumn::edgePicked, this, [this, slot](const QString& edge) { pickEdge(slot, edge); });
    connect(c, &CircuitColumn::pickCleared, this, [this] { clearPick(); });
    connect(c->questions(), &CircuitQuestions::changed, this, [this] { showNumbers(); });
  }
  makeSide(splitter_);
  splitter_->setStretchFactor(0, 1);
  splitter_->setStretchFactor(1, 0);
  splitter_->setSizes({560, 240});
  column->addWidget(splitter_, 1);
  stack_->addWidget(empty_);
  stack_->addWidget(content);
  body()->addWidget(stack_, 1);
  columns_[1]->hide();

  rest_.setSingleShot(true);
  rest_.setInterval(kRestMs);
  connect(&rest_, &QTimer::timeout, this, [this] { askNow(true); });
  connect(empty_, &EmptyState::pressed, this, [this] { this->session().openDemo(); });
  connect(controls_, &CircuitControls::changed, this, [this] {
    adopted_ = true;
    clearBar();
    showStates();
  });
  connect(controls_, &CircuitControls::runWanted, this, [this] { start(); });
  connect(controls_, &CircuitControls::cancelWanted, this, [this] {
    for (CircuitColumn* c : columns_) c->cancel();
  });
  for (const auto key : {Qt::CTRL | Qt::Key_Return, Qt::CTRL | Qt::Key_Enter}) {
    auto* shortcut = new QShortcut(QKeySequence(key), this);
    shortcut->setContext(Qt::WidgetWithChildrenShortcut);
    connect(shortcut, &QShortcut::activated, this, [this] { start(); });
  }
  connectSession();
}

void CircuitPanel::makeBar(QWidget* parent) {
  bar_ = new QWidget(parent);
  auto* row = new QHBoxLayout(bar_);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  auto* label = new QLabel(tr("strongest edges"), bar_);
  label->setProperty("role", QStringLiteral("muted"));
  slider_ = new QSlider(Qt::Horizontal, bar_);
  slider_->setObjectName(QStringLiteral("circuit_slider"));
  slider_->setAccessibleName(tr("Number of edges, on a log scale"));
  slider_->setToolTip(tr("How many of the strongest edges are kept, on a log scale; those that lie on no path from the input to the logits are then left "
                         "out. Two models keep the same share of their edges"));
  label->setBuddy(slider_);
  guardWheel(slider_);
  spin_ = new QSpinBox(bar_);
  spin_->setObjectName(QStringLiteral("circuit_count"));
  spin_->setAccessibleName(tr("Number of edges"));
  spin_->setAlignment(Qt::AlignRight);
  spin_->setKeyboardTracking(false);
  guardWheel(spin_);
  of_ = new QLabel(bar_);
  of_->setObjectName(QStringLiteral("circuit_of"));
  of_->setProperty("role", QStringLiteral("muted"));
  asFoundButton_ = button(bar_, "circuit_as_found", tr("As found"), tr("The edges that the analysis itself kept, whatever their rank"));
  asFoundButton_->setCheckable(true);
  knock_ = button(bar_, "circuit_knock", tr("Knock out"), tr("The selected node's edges carry what is outside the circuit (K, or Enter on the node)"));
  restore_ = button(bar_, "circuit_restore", tr("Put all back"), tr("No node is knocked out any more (Shift+K)"));
  row->addWidget(label);
  row->addWidget(slider_, 1);
  row->addWidget(spin_);
  row->addWidget(of_);
  row->addWidget(asFoundButton_);
  row->addSpacing(kGrid);
  row->addWidget(knock_);
  row->addWidget(restore_);
  connect(slider_, &QSlider::valueChanged, this, [this](int place) {
    if (setting_ || place < 0 || place >= static_cast<int>(steps_.size())) return;
    moved_ = true;
    setCount(steps_[static_cast<size_t>(place)]);
  });
  connect(spin_, &QSpinBox::valueChanged, this, [this](int count) {
    if (setting_) return;
    moved_ = true;
    setCount(count);
  });
  connect(asFoundButton_, &QToolButton::toggled, this, [this](bool on) {
    if (setting_) return;
    asFound_ = on;
    moved_ = !on;
    applyChoice();
  });
  connect(knock_, &QToolButton::clicked, this, [this] { toggleKnockOut(); });
  connect(restore_, &QToolButton::clicked, this, [this] { restoreAll(); });
}

void CircuitPanel::makeSide(QWidget* parent) {
  side_ = new QWidget(parent);
  side_->setMinimumWidth(26 * kGrid);
  auto* column = new QVBoxLayout(side_);
  column->setContentsMargins(kGrid, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  words_ = new QScrollArea(side_);
  words_->setFrameShape(QFrame::NoFrame);
  words_->setWidgetResizable(true);
  words_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  words_->setFocusPolicy(Qt::NoFocus);
  words_->setMinimumHeight(2 * kGrid);
  auto* inside = new QWidget(words_);
  auto* words = new QVBoxLayout(inside);
  words->setContentsMargins(0, 0, 0, 0);
  words->setSpacing(kGrid / 2);
  const char* names[] = {"circuit_measure_0", "circuit_measure_1"};
  const char* without[] = {"circuit_knocked_0", "circuit_knocked_1"};
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    words->addWidget(measure_[slot] = line(inside, names[slot], ""));
    measure_[slot]->setToolTip(tipText(tr("Faithfulness (m(C) − m(∅)) / (m(M) − m(∅)): m the metric, C the circuit, everything outside it replaced; M the whole model, ∅ "
                                          "no edge at all. In brackets a 95 % bootstrap interval over prompts. Sources: 2211.00593, 2504.13151")));
    words->addWidget(knocked_[slot] = line(inside, without[slot], ""));
  }
  words->addWidget(comparison_ = line(inside, "circuit_comparison", ""));
  words->addWidget(selected_ = line(inside, "circuit_selected", "muted"));
  words->addStretch(1);
  words_->setWidget(inside);
  column->addWidget(words_, 3);
  curve_ = new ChartView(side_);
  curve_->setObjectName(QStringLiteral("circuit_curve"));
  curve_->setMinimumHeight(14 * kGrid);
  curve_->setMaximumHeight(33 * kGrid);
  adopt(curve_);
  column->addWidget(curve_, 2);
  column->addStretch(0);
  connect(splitter_, &QSplitter::splitterMoved, this, [this] { fitWords(); });
  connect(curve_, &ChartView::cursorMoved, this, [this](double x) {
    if (setting_ || most() == 0) return;
    moved_ = true;
    setCount(std::llround(std::pow(10.0, std::clamp(x, 0.0, 12.0))));
  });
}

void CircuitPanel::connectSession() {
  Session& s = session();
  connect(&s, &Session::engineChanged, this, [this] { scheduleRefresh(); });
  connect(&s, &Session::modelChanged, this, [this] { scheduleRefresh(); });
  connect(&s, &Session::openingChanged, this, [this] { scheduleRefresh(); });
  connect(&s, &Session::promptsChanged, this, [this] {
    picked_[0] = picked_[1] = false;
    scheduleRefresh();
  });
  connect(&s, &Session::runsChanged, this, [this] { scheduleRefresh(); });
  connect(&stored_, &StoredCircuits::changed, this, [this] { scheduleRefresh(); });
  connect(&s, &Session::projectChanged, this, [this] {
    // Another project holds other runs.
    stored_.forgetProject();
    adopted_ = false;
    for (CircuitColumn* c : columns_)
      if (c->job() == 0) c->forget();
    scheduleRefresh();
  });
  Selection& selection = s.selection();
  connect(&selection, &Selection::promptChanged, this, [this] { scheduleRefresh(); });
  connect(&selection, &Selection::modelChanged, this, [this] { showNumbers(); });
  connect(&selection, &Selection::headChanged, this, [this] { followSelection(); });
}

void CircuitPanel::setMeterFactory(const MeterFactory& factory) {
  for (CircuitColumn* c : columns_) {
    c->questions()->setFactory(factory);
    c->updateSubject();
  }
  askNow(true);
}

// ---- runs ----------------------------------------------------------------------------------------------------------

RunRequest CircuitPanel::request(int slot) const {
  RunRequest out;
  out.analysis = controls_->analysis();
  out.params = controls_->values();
  out.slot = slot;
  out.onePrompt = controls_->onePrompt();
  return out;
}

QString CircuitPanel::hindrance(int slot) const {
  QString why;
  if (!controls_->ready())
    return session().analyses().empty() ? tr("The analyses are being read: one moment.")
                                        : tr("No analysis here makes circuits: a plug-in may add one; circuits that the project holds are shown.");
  if (!controls_->isValid(&why)) return why;
  const app::AnalysisFacts* a = session().findAnalysis(controls_->analysis());
  if (!a || a->info.prompts == AnalysisInfo::Prompts::kNone) return {};
  const std::shared_ptr<const Dataset>& set = session().prompts().bySlot[slot];
  const QString& problem = session().prompts().problem[slot];
  if (!problem.isEmpty()) return problem;
  if (!set || set->pairs.empty()) return tr("There are no prompts yet: type one or load a task in Prompts.");
  if (a->info.prompts != AnalysisInfo::Prompts::kPairs) return {};
  const PromptPair* pair = session().currentPair(slot);
  const auto lacks = [](const PromptPair& p) { return p.corrupted_ids.empty(); };
  if (controls_->onePrompt() ? pair && lacks(*pair) : std::any_of(set->pairs.begin(), set->pairs.end(), lacks))
    return tr("A circuit is found between a clean and a corrupted prompt: type the corrupted one in Prompts.");
  return {};
}

void CircuitPanel::start() {
  if (!used(0) && !used(1)) return;
  clearBar();
  bool any = false;
  QString first;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    if (!used(slot)) continue;
    columns_[slot]->cancel();
    const QString why = hindrance(slot);
    if (why.isEmpty()) {
      picked_[slot] = false;
      any = columns_[slot]->start(request(slot)) || any;
    } else {
      if (first.isEmpty()) first = why;
      columns_[slot]->say(tr("Not for this model"), why, {});
    }
  }
  if (!any && !first.isEmpty()) showNotice(first);
  adopted_ = true;
  showStates();
}

// The newest stored circuit is there again at once; the controls are then as it was made.
void CircuitPanel::adopt(int slot) {
  CircuitColumn* c = columns_[slot];
  if (!used(slot) || c->job() != 0 || c->loading() != 0) return;
  const std::vector<const RunRecord*> all = stored_.list(slot);
  if (all.empty()) return;
  const RunRecord& newest = *all.front();
  const bool here = stored_.scopeOf(slot, newest.spec.dataset_hash) != CircuitPrompts::kOther;
  const bool stale = c->hasCircuit() && here && !picked_[slot] && stored_.scopeOf(slot, c->request().prompts) == CircuitPrompts::kOther;
  if (!stale && (c->hasCircuit() || c->state() != CircuitColumn::State::kEmpty)) return;
  c->load(newest.id);
  if (adopted_) return;
  adopted_ = true;
  const CircuitRequest wanted = circuitRequestOf(newest);
  const app::AnalysisFacts* a = session().findAnalysis(wanted.analysis);
  if (!a) return;
  std::map<std::string, std::string> changed;
  for (const auto* params : {&newest.spec.answer_params, &newest.spec.cost_params})
    for (const auto& [name, value] : *params)
      if (const ParamSpec* p = a->schema.find(name); p && param_text(p->fallback) != value) changed[name] = value;
  controls_->set(wanted.analysis, changed, stored_.scopeOf(slot, wanted.prompts) == CircuitPrompts::kOne);
}

void CircuitPanel::refresh() {
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
    picked_[slot] = moved_ = false;
    columns_[slot]->forget();
  }
  columns_[0]->layout()->setContentsMargins(0, 0, session().comparing() ? kGrid : 0, 0);
  stored_.learn();
  controls_->refresh(stored_.analyses());
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    adopt(slot);
    columns_[slot]->listStored(session().comparing());
    columns_[slot]->updateSubject();
  }
  showStates();
  askNow(true);
}

void CircuitPanel::showStates() {
  std::vector<qint64> jobs;
  QString hint, why;
  bool answered = true, any = false, shown = false;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    CircuitColumn* c = columns_[slot];
    if (c->job() != 0) jobs.push_back(c->job());
    if (!used(slot)) continue;
    const QString mine = hindrance(slot);
    any = any || mine.isEmpty();
    if (why.isEmpty()) why = mine;
    const bool same = c->hasCircuit() && controls_->ready() && c->request() == stored_.requested(request(slot));
    answered = answered && (same || !mine.isEmpty());
    shown = shown || c->hasCircuit();
    if (!c->hasCircuit() && c->job() == 0 && c->loading() == 0 && c->state() == CircuitColumn::State::kEmpty) {
      if (mine.isEmpty()) c->say(tr("No circuit yet"), tr("An analysis scores every edge between heads, MLPs, input and logits by what it does to the metric."), tr("Run"));
      else c->say(tr("Nothing to run yet"), mine, {});
    }
    if (c->hasCircuit() && c->job() == 0 && stored_.scopeOf(slot, c->request().prompts) == CircuitPrompts::kOther)
      hint = tr("Made on other prompts than those of the window; faithfulness is measured on those of the window.");
    else if (c->hasCircuit() && !same && c->job() == 0 && mine.isEmpty() && hint.isEmpty())
      hint = tr("What is set above is not computed yet: press Run (Ctrl+Enter).");
  }
  controls_->setJobs(jobs);
  controls_->setHindrance(any ? QString() : why);
  controls_->setAnswered(answered);
  if (!any && hint.isEmpty() && shown) hint = why;
  hint_->setText(hint);
  hint_->setVisible(!hint.isEmpty());
  bar_->setVisible(shown);
  side_->setVisible(shown);
}

// ---- for reports, and between starts -------------------------------------------------------------------------------

std::vector<View*> CircuitPanel::views() const {
  std::vector<View*> out;
  for (const CircuitColumn* c : columns_)
    if (used(c->slot()) && c->hasCircuit()) out.push_back(c->graph());
  if (!out.empty() && !curve_->data().lines.empty()) out.push_back(curve_);
  return out;
}

QByteArray CircuitPanel::saveState() const {
  QByteArray out;
  QDataStream stream(&out, QIODevice::WriteOnly);
  stream << quint8(1) << controls_->analysis() << splitter_->saveState() << graphs_->saveState();
  return out;
}

void CircuitPanel::restoreState(const QByteArray& state) {
  QDataStream stream(state);
  quint8 version = 0;
  QString analysis;
  QByteArray all, graphs;
  stream >> version >> analysis >> all >> graphs;
  if (stream.status() != QDataStream::Ok || version != 1) return;
  controls_->set(analysis.left(200), {}, false);
  splitter_->restoreState(all);
  graphs_->restoreState(graphs);
}

}  // namespace microtome::desktop
