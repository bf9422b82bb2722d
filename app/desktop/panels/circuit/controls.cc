#include "app/desktop/panels/circuit/controls.h"

#include <QComboBox>
#include <QHBoxLayout>
#include <QLabel>
#include <QProgressBar>
#include <QPushButton>
#include <QScreen>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/param_editor.h"
#include "app/desktop/views/param_form.h"

namespace microtome::desktop {
namespace {

// What stands in the row, in this order, where an analysis has it; all else is under "More".
constexpr const char* kRow[] = {"metric", "outside"};

bool inRow(const std::string& name) { return std::find(std::begin(kRow), std::end(kRow), name) != std::end(kRow); }

QWidget* labelled(const QString& text, QWidget* control, const QString& tip, QWidget* parent) {
  auto* cell = new QWidget(parent);
  auto* row = new QHBoxLayout(cell);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid / 2);
  auto* label = new QLabel(text, cell);
  label->setTextFormat(Qt::PlainText);
  label->setProperty("role", QStringLiteral("muted"));
  label->setBuddy(control);
  label->setToolTip(tip);
  control->setToolTip(tip);
  row->addWidget(label);
  row->addWidget(control);
  return cell;
}

QComboBox* list(const char* name, const QString& title, QWidget* parent) {
  auto* box = new QComboBox(parent);
  box->setObjectName(QString::fromLatin1(name));
  box->setAccessibleName(title);
  box->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  guardWheel(box);
  return box;
}

}  // namespace

CircuitControls::CircuitControls(Session& session, QWidget* parent) : QWidget(parent), session_(session) {
  auto* row = new QHBoxLayout(this);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  flow_ = new QWidget(this);
  auto* flow = new FlowLayout(flow_, kGrid * 3 / 2, kGrid / 2);
  flow->setContentsMargins(0, 0, 0, 0);
  QSizePolicy policy(QSizePolicy::Expanding, QSizePolicy::Minimum);
  policy.setHeightForWidth(true);
  flow_->setSizePolicy(policy);
  analyses_ = list("circuit_analysis", tr("Analysis"), flow_);
  scope_ = list("circuit_scope", tr("Prompts"), flow_);
  scopeCell_ = labelled(tr("prompts"), scope_, tr("The whole set, or the prompt that is selected in Prompts"), flow_);
  more_ = new QToolButton(flow_);
  more_->setObjectName(QStringLiteral("circuit_more"));
  more_->setText(tr("More…"));
  more_->setToolTip(tr("The analysis's further parameters"));
  more_->setFocusPolicy(Qt::StrongFocus);
  popup_ = new QWidget(this, Qt::Popup);
  popup_->setObjectName(QStringLiteral("circuit_more_form"));
  auto* box = new QVBoxLayout(popup_);
  box->setContentsMargins(2 * kGrid, kGrid, 2 * kGrid, 2 * kGrid);
  form_ = new ParamForm(popup_);
  box->addWidget(form_);

  auto* side = new QVBoxLayout;
  side->setSpacing(kGrid / 2);
  auto* buttons = new QHBoxLayout;
  buttons->setSpacing(kGrid);
  run_ = new QPushButton(tr("Run"), this);
  run_->setObjectName(QStringLiteral("circuit_run"));
  run_->setProperty("primary", true);
  cancel_ = new QPushButton(tr("Cancel"), this);
  cancel_->setObjectName(QStringLiteral("circuit_cancel"));
  cancel_->setToolTip(tr("What was computed is kept; Run goes on from there"));
  progressText_ = new QLabel(this);
  progressText_->setObjectName(QStringLiteral("circuit_progress"));
  progressText_->setProperty("role", QStringLiteral("muted"));
  progressText_->setTextFormat(Qt::PlainText);
  progressText_->setAlignment(Qt::AlignRight | Qt::AlignVCenter);
  bar_ = new QProgressBar(this);
  bar_->setRange(0, 1000);
  bar_->setTextVisible(false);
  bar_->setFixedHeight(kGrid / 2);
  buttons->addWidget(cancel_);
  buttons->addWidget(run_);
  side->addLayout(buttons);
  side->addWidget(bar_);
  side->addWidget(progressText_);
  side->addStretch(1);
  row->addWidget(flow_, 1);
  row->addLayout(side);

  timer_.setInterval(150);
  connect(&timer_, &QTimer::timeout, this, &CircuitControls::look);
  connect(analyses_, &QComboBox::currentIndexChanged, this, [this] {
    const QString name = analyses_->currentData().toString();
    if (setting_ || name.isEmpty() || name == analysis_) return;
    if (facts()) kept_[analysis_] = values();
    analysis_ = name;
    build();
    Q_EMIT changed();
  });
  connect(scope_, &QComboBox::currentIndexChanged, this, [this] { edited(); });
  connect(form_, &ParamForm::changed, this, [this] { edited(); });
  connect(more_, &QToolButton::clicked, this, &CircuitControls::openMore);
  connect(run_, &QPushButton::clicked, this, &CircuitControls::runWanted);
  connect(cancel_, &QPushButton::clicked, this, [this] {
    cancel_->setEnabled(false);
    Q_EMIT cancelWanted();
  });
  setHindrance({});
  setJobs({});
  build();
}

CircuitControls::~CircuitControls() = default;

void CircuitControls::refresh(const QStringList& analyses) {
  setting_ = true;
  bool rebuild = false;
  if (analyses != listed_) {
    listed_ = analyses;
    analyses_->clear();
    for (const QString& name : analyses) {
      const app::AnalysisFacts* a = session_.findAnalysis(name);
      if (!a) continue;
      analyses_->addItem(labelText(a->info.title.empty() ? a->info.name : a->info.title, 60), name);
      const QString source = a->info.source.empty() ? QString() : tr(" Source: %1").arg(labelText(a->info.source, 200));
      analyses_->setItemData(analyses_->count() - 1, tipText(labelText(a->info.definition, 800) + source), Qt::ToolTipRole);
    }
    if (analyses_->findData(analysis_) < 0) analysis_ = analyses_->count() > 0 ? analyses_->itemData(0).toString() : QString();
    analyses_->setCurrentIndex(std::max(0, analyses_->findData(analysis_)));
    rebuild = true;
  }
  const bool one = onePrompt();
  const size_t count = session_.prompts().text.pairs.size();
  scope_->clear();
  scope_->addItem(count == 0 ? tr("no prompts yet") : count == 1 ? tr("the prompt") : tr("all %1").arg(count), false);
  if (count > 1) scope_->addItem(tr("only number %1").arg(session_.selection().prompt() + 1), true);
  scope_->setCurrentIndex(one && count > 1 ? 1 : 0);
  scope_->setEnabled(count > 1);
  setting_ = false;
  if (rebuild) build();
}

void CircuitControls::build() {
  setting_ = true;
  QLayout* flow = flow_->layout();
  while (flow->count() > 0) delete flow->takeAt(0);
  for (Entry& e : entries_) {
    e.cell->hide();
    e.cell->deleteLater();
  }
  entries_.clear();
  ParamSchema rest;
  flow->addWidget(analyses_);
  analyses_->setVisible(analyses_->count() > 0);
  if (const app::AnalysisFacts* a = facts()) {
    analyses_->setToolTip(tipText(labelText(a->info.definition, 800)));
    for (const char* name : kRow) {
      const ParamSpec* spec = a->schema.find(name);
      if (!spec) continue;
      Entry e;
      e.name = name;
      e.editor = new ParamEditor(*spec, flow_);
      QWidget* control = e.editor->widget();
      if (auto* box = qobject_cast<QComboBox*>(control)) box->setSizeAdjustPolicy(QComboBox::AdjustToContents);
      e.cell = labelled(nameText(spec->name), control, tipText(labelText(spec->help, 600)), flow_);
      e.cell->show();
      connect(e.editor, &ParamEditor::edited, this, [this] { edited(); });
      flow->addWidget(e.cell);
      entries_.push_back(e);
    }
    for (const ParamSpec& spec : a->schema.specs)
      if (!inRow(spec.name)) rest.specs.push_back(spec);
  }
  flow->addWidget(scopeCell_);
  flow->addWidget(more_);
  more_->setVisible(!rest.specs.empty());
  form_->setSchema(rest);
  setting_ = false;
  if (const auto kept = kept_.find(analysis_); kept != kept_.end()) set(analysis_, kept->second, onePrompt());
  flow_->layout()->invalidate();
  flow_->updateGeometry();
}

void CircuitControls::edited() {
  if (setting_) return;
  const size_t set = form_->values().size();
  more_->setText(set > 0 ? tr("More (%1)…").arg(set) : tr("More…"));
  Q_EMIT changed();
}

std::map<std::string, std::string> CircuitControls::values() const {
  std::map<std::string, std::string> out = form_->values();
  const app::AnalysisFacts* a = facts();
  for (const Entry& e : entries_)
    if (const ParamSpec* spec = a ? a->schema.find(e.name) : nullptr; spec && e.editor->text() != param_text(spec->fallback))
      out[e.name] = e.editor->text();
  return out;
}

bool CircuitControls::onePrompt() const { return scope_->currentData().toBool(); }

bool CircuitControls::isValid(QString* why) const { return form_->isValid(why); }

void CircuitControls::set(const QString& analysis, const std::map<std::string, std::string>& values, bool one) {
  kept_[analysis] = values;
  if (analysis != analysis_) {
    if (facts()) kept_[analysis_] = this->values();
    analysis_ = analysis;
    setting_ = true;
    analyses_->setCurrentIndex(std::max(0, analyses_->findData(analysis)));
    setting_ = false;
    if (facts()) build();
  }
  const app::AnalysisFacts* a = facts();
  if (!a) return;
  setting_ = true;
  const Result<Params> params = resolve_params(a->schema, values);
  std::map<std::string, std::string> rest;
  for (const auto& [name, value] : values)
    if (!inRow(name)) rest[name] = value;
  for (const Entry& e : entries_)
    if (params && params.value().has(e.name)) e.editor->show(params.value().values().at(e.name));
  form_->setValues(rest);
  scope_->setCurrentIndex(std::max(0, scope_->findData(one)));
  more_->setText(rest.empty() ? tr("More…") : tr("More (%1)…").arg(rest.size()));
  setting_ = false;
}

void CircuitControls::openMore() {
  popup_->adjustSize();
  popup_->resize(std::max(popup_->width(), 48 * kGrid), popup_->sizeHint().height());
  QPoint at = more_->mapToGlobal(QPoint(0, more_->height()));
  if (const QScreen* screen = more_->screen()) {
    const QRect room = screen->availableGeometry();
    at.setX(std::max(room.left(), std::min(at.x(), room.right() - popup_->width())));
    at.setY(std::max(room.top(), std::min(at.y(), room.bottom() - popup_->height())));
  }
  popup_->move(at);
  popup_->show();
}

void CircuitControls::setHindrance(const QString& why) {
  run_->setEnabled(why.isEmpty());
  run_->setToolTip(why.isEmpty() ? tr("Ctrl+Enter. What the project already holds is not computed twice") : tipText(why));
}

void CircuitControls::setAnswered(bool answered) {
  if (run_->property("primary").toBool() == !answered) return;
  run_->setProperty("primary", !answered);
  // A style sheet looks at properties only when it is asked to.
  run_->setStyleSheet(QStringLiteral(" "));
  run_->setStyleSheet({});
}

void CircuitControls::setJobs(std::vector<qint64> jobs) {
  jobs_ = std::move(jobs);
  const bool any = !jobs_.empty();
  cancel_->setVisible(any);
  cancel_->setEnabled(any);
  bar_->setVisible(any);
  progressText_->setVisible(any);
  if (any) timer_.start();
  else timer_.stop();
  look();
}

void CircuitControls::look() {
  if (jobs_.empty()) return;
  double sum = 0, left = -1;
  bool running = false;
  QString what;
  for (const JobSnapshot& job : session_.jobs()) {
    if (std::find(jobs_.begin(), jobs_.end(), job.id) == jobs_.end()) continue;
    running = running || job.state == JobState::kRunning;
    sum += job.state == JobState::kQueued ? 0 : job.state == JobState::kRunning ? job.progress.fraction : 1;
    left = std::max(left, job.progress.left_s);
    if (job.state == JobState::kRunning) what = labelText(job.progress.what, 120);
  }
  const double share = sum / static_cast<double>(jobs_.size());
  bar_->setValue(static_cast<int>(share * 1000));
  QString text = !cancel_->isEnabled() ? tr("stopping…") : !running ? tr("waits for its turn") : tr("%1 %").arg(static_cast<int>(share * 100));
  if (running && cancel_->isEnabled() && left >= 0.5) text += tr(" · %1 left").arg(durationText(left));
  progressText_->setText(text);
  progressText_->setToolTip(tipText(what));
}

}  // namespace microtome::desktop
