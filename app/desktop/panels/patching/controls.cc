#include "app/desktop/panels/patching/controls.h"

#include <QCheckBox>
#include <QComboBox>
#include <QHBoxLayout>
#include <QLabel>
#include <QProgressBar>
#include <QPushButton>
#include <QScreen>
#include <QStandardItemModel>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "app/desktop/panels/patching/stored.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/param_editor.h"
#include "app/desktop/views/param_form.h"

namespace microtome::desktop {
namespace {

// What stands in the row, in this order; all else is under "More".
constexpr const char* kRow[] = {"site", "direction", "kind", "reference", "resample_from", "metric", "by_position"};

bool inRow(const std::string& name) { return std::find(std::begin(kRow), std::end(kRow), name) != std::end(kRow); }

QWidget* labelled(const QString& text, QWidget* control, const QString& tip, QWidget* parent) {
  auto* cell = new QWidget(parent);
  auto* row = new QHBoxLayout(cell);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid / 2);
  if (!text.isEmpty()) {
    auto* label = new QLabel(text, cell);
    label->setTextFormat(Qt::PlainText);
    label->setProperty("role", QStringLiteral("muted"));
    label->setBuddy(control);
    label->setToolTip(tip);
    row->addWidget(label);
  }
  control->setToolTip(tip);
  row->addWidget(control);
  return cell;
}

// Whether the model has a hook point of this site's name in any layer: "z" is "blocks.0.attn.hook_z".
bool hasSite(const app::ModelFacts& facts, const std::string& site) {
  const std::string ending = ".hook_" + site;
  return std::any_of(facts.hooks.begin(), facts.hooks.end(), [&](const app::HookFacts& h) {
    return h.name.size() > ending.size() && h.name.compare(h.name.size() - ending.size(), ending.size(), ending) == 0;
  });
}

}  // namespace

PatchingControls::PatchingControls(Session& session, QWidget* parent) : QWidget(parent), session_(session) {
  auto* row = new QHBoxLayout(this);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  flow_ = new QWidget(this);
  auto* flow = new FlowLayout(flow_, kGrid * 3 / 2, kGrid / 2);
  flow->setContentsMargins(0, 0, 0, 0);
  QSizePolicy policy(QSizePolicy::Expanding, QSizePolicy::Minimum);
  policy.setHeightForWidth(true);
  flow_->setSizePolicy(policy);
  analyses_ = new QComboBox(flow_);
  analyses_->setObjectName(QStringLiteral("patching_analysis"));
  analyses_->setAccessibleName(tr("Analysis"));
  analyses_->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  guardWheel(analyses_);
  scope_ = new QComboBox(flow_);
  scope_->setObjectName(QStringLiteral("patching_scope"));
  scope_->setAccessibleName(tr("Prompts"));
  scope_->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  guardWheel(scope_);
  more_ = new QToolButton(flow_);
  more_->setObjectName(QStringLiteral("patching_more"));
  more_->setText(tr("More…"));
  more_->setToolTip(tr("The analysis's further parameters"));
  more_->setFocusPolicy(Qt::StrongFocus);
  popup_ = new QWidget(this, Qt::Popup);
  popup_->setObjectName(QStringLiteral("patching_more_form"));
  auto* box = new QVBoxLayout(popup_);
  box->setContentsMargins(2 * kGrid, kGrid, 2 * kGrid, 2 * kGrid);
  form_ = new ParamForm(popup_);
  box->addWidget(form_);

  auto* side = new QVBoxLayout;
  side->setSpacing(kGrid / 2);
  auto* buttons = new QHBoxLayout;
  buttons->setSpacing(kGrid);
  run_ = new QPushButton(tr("Run"), this);
  run_->setObjectName(QStringLiteral("patching_run"));
  run_->setProperty("primary", true);
  cancel_ = new QPushButton(tr("Cancel"), this);
  cancel_->setObjectName(QStringLiteral("patching_cancel"));
  cancel_->setToolTip(tr("What was computed is kept; Run goes on from there"));
  progressText_ = new QLabel(this);
  progressText_->setObjectName(QStringLiteral("patching_progress"));
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
  connect(&timer_, &QTimer::timeout, this, &PatchingControls::look);
  connect(analyses_, &QComboBox::currentIndexChanged, this, [this] {
    const QString name = analyses_->currentData().toString();
    if (setting_ || name.isEmpty() || name == analysis_) return;
    keep();
    analysis_ = name;
    build();
    Q_EMIT changed();
  });
  connect(scope_, &QComboBox::currentIndexChanged, this, [this] { edited(); });
  connect(form_, &ParamForm::changed, this, [this] { edited(); });
  connect(more_, &QToolButton::clicked, this, &PatchingControls::openMore);
  connect(run_, &QPushButton::clicked, this, [this] { Q_EMIT runWanted(false); });
  connect(cancel_, &QPushButton::clicked, this, [this] {
    cancel_->setEnabled(false);
    Q_EMIT cancelWanted();
  });
  setHindrance({});
  setJobs({});
}

PatchingControls::~PatchingControls() = default;

const app::AnalysisFacts* PatchingControls::facts() const { return session_.findAnalysis(analysis_); }

void PatchingControls::refresh() {
  if (analyses_->count() == 0) {
    setting_ = true;
    for (const QString& name : gridAnalyses())
      if (const app::AnalysisFacts* a = session_.findAnalysis(name)) {
        analyses_->addItem(labelText(a->info.title.empty() ? a->info.name : a->info.title, 60), name);
        const QString source = a->info.source.empty() ? QString() : tr(" Source: %1").arg(labelText(a->info.source, 200));
        analyses_->setItemData(analyses_->count() - 1, tipText(labelText(a->info.definition, 800) + source), Qt::ToolTipRole);
      }
    setting_ = false;
    if (analyses_->count() > 0) {
      if (analysis_.isEmpty()) analysis_ = analyses_->itemData(0).toString();
      analyses_->setCurrentIndex(std::max(0, analyses_->findData(analysis_)));
      build();
    }
  }
  setting_ = true;
  const bool one = onePrompt();
  const size_t count = session_.prompts().text.pairs.size();
  scope_->clear();
  scope_->addItem(count == 0 ? tr("no prompts yet") : count == 1 ? tr("the prompt") : tr("all %1").arg(count), false);
  if (count > 1) scope_->addItem(tr("only number %1").arg(session_.selection().prompt() + 1), true);
  scope_->setCurrentIndex(one && count > 1 ? 1 : 0);
  scope_->setEnabled(count > 1);
  setting_ = false;
  markSites();
}

// ---- the row -------------------------------------------------------------------------------------------------------

void PatchingControls::build() {
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
  if (const app::AnalysisFacts* a = facts()) {
    analyses_->setToolTip(tipText(labelText(a->info.definition, 800)));
    for (const char* name : kRow) {
      const ParamSpec* spec = a->schema.find(name);
      if (!spec) continue;
      Entry e;
      e.name = name;
      e.editor = new ParamEditor(*spec, flow_);
      QWidget* control = e.editor->widget();
      if (auto* list = qobject_cast<QComboBox*>(control)) list->setSizeAdjustPolicy(QComboBox::AdjustToContents);
      const QString label = spec->type == ParamSpec::Type::kBool ? QString() : nameText(spec->name);
      e.cell = labelled(label, control, tipText(labelText(spec->help, 600)), flow_);
      e.cell->show();
      connect(e.editor, &ParamEditor::edited, this, [this] { edited(); });
      flow->addWidget(e.cell);
      entries_.push_back(e);
    }
    for (const ParamSpec& spec : a->schema.specs)
      if (!inRow(spec.name)) rest.specs.push_back(spec);
  }
  // The same cell each time: made once.
  static const char* const kScopeCell = "patching_scope_cell";
  QWidget* scope = flow_->findChild<QWidget*>(QString::fromLatin1(kScopeCell), Qt::FindDirectChildrenOnly);
  if (!scope) {
    scope = labelled(tr("prompts"), scope_, tr("The whole set, or the prompt that is selected in Prompts"), flow_);
    scope->setObjectName(QString::fromLatin1(kScopeCell));
  }
  flow->addWidget(scope);
  flow->addWidget(more_);
  more_->setVisible(!rest.specs.empty());
  form_->setSchema(rest);
  setting_ = false;
  if (const auto kept = kept_.find(analysis_); kept != kept_.end()) set(analysis_, kept->second, onePrompt());
  showConditional();
  markSites();
  flow_->updateGeometry();
}

void PatchingControls::showConditional() {
  // What another choice makes meaningless.
  std::string kind;
  for (const Entry& e : entries_)
    if (e.name == "kind") kind = e.editor->text();
  for (const Entry& e : entries_) {
    if (e.name == "reference") e.cell->setVisible(kind.empty() || kind == "mean");
    if (e.name == "resample_from") e.cell->setVisible(kind.empty() || kind == "resample");
  }
  const size_t set = form_->values().size();
  more_->setText(set > 0 ? tr("More (%1)…").arg(set) : tr("More…"));
  flow_->layout()->invalidate();
  flow_->updateGeometry();
}

// Sites that no open model has can't be chosen; of two models, those that one lacks say so.
void PatchingControls::markSites() {
  const app::AnalysisFacts* a = facts();
  const ParamSpec* spec = a ? a->schema.find("site") : nullptr;
  if (!spec) return;
  for (const Entry& e : entries_) {
    auto* list = e.name == "site" ? qobject_cast<QComboBox*>(e.editor->widget()) : nullptr;
    auto* items = list ? qobject_cast<QStandardItemModel*>(list->model()) : nullptr;
    if (!items) continue;
    for (int i = 0; i < items->rowCount() && i < static_cast<int>(spec->choices.size()); ++i) {
      QStringList without;
      int models = 0;
      for (int slot = 0; slot < Session::kSlots; ++slot)
        if (const app::ModelPtr m = session_.model(slot)) {
          ++models;
          if (!hasSite(m->facts(), spec->choices[static_cast<size_t>(i)])) without << labelText(m->facts().name, 60);
        }
      items->item(i)->setEnabled(models == 0 || without.size() < models);
      items->item(i)->setToolTip(without.isEmpty() ? QString() : tr("%1 has no such site").arg(without.join(tr(" and "))));
    }
  }
}

void PatchingControls::edited() {
  if (setting_) return;
  showConditional();
  Q_EMIT changed();
}

void PatchingControls::keep() {
  if (!analysis_.isEmpty() && facts()) kept_[analysis_] = values();
}

std::map<std::string, std::string> PatchingControls::values() const {
  std::map<std::string, std::string> out = form_->values();
  const app::AnalysisFacts* a = facts();
  for (const Entry& e : entries_)
    if (const ParamSpec* spec = a ? a->schema.find(e.name) : nullptr; spec && e.editor->text() != param_text(spec->fallback))
      out[e.name] = e.editor->text();
  return out;
}

bool PatchingControls::onePrompt() const { return scope_->currentData().toBool(); }

bool PatchingControls::isValid(QString* why) const { return form_->isValid(why); }

void PatchingControls::set(const QString& analysis, const std::map<std::string, std::string>& values, bool one) {
  if (analysis != analysis_) {
    keep();
    analysis_ = analysis;
    kept_[analysis] = values;
    setting_ = true;
    analyses_->setCurrentIndex(std::max(0, analyses_->findData(analysis)));
    setting_ = false;
    if (facts()) build();
  }
  const app::AnalysisFacts* a = facts();
  if (!a) {
    kept_[analysis] = values;
    return;
  }
  setting_ = true;
  const Result<Params> params = resolve_params(a->schema, values);
  std::map<std::string, std::string> rest;
  for (const auto& [name, value] : values)
    if (!inRow(name)) rest[name] = value;
  for (const Entry& e : entries_)
    if (params && params.value().has(e.name)) e.editor->show(params.value().values().at(e.name));
  form_->setValues(rest);
  scope_->setCurrentIndex(std::max(0, scope_->findData(one)));
  setting_ = false;
  showConditional();
}

void PatchingControls::openMore() {
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

// ---- run and progress ----------------------------------------------------------------------------------------------

void PatchingControls::setHindrance(const QString& why) {
  hindrance_ = why;
  run_->setEnabled(why.isEmpty());
  run_->setToolTip(why.isEmpty() ? tr("Ctrl+Enter. What the project already holds is not computed twice") : tipText(why));
}

void PatchingControls::setAnswered(bool answered) {
  if (run_->property("primary").toBool() == !answered) return;
  run_->setProperty("primary", !answered);
  // A style sheet looks at properties only when it is asked to.
  run_->setStyleSheet(QStringLiteral(" "));
  run_->setStyleSheet({});
}

void PatchingControls::setJobs(std::vector<qint64> jobs) {
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

void PatchingControls::look() {
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
