#include "app/desktop/panels/dictionary_form.h"

#include <QClipboard>
#include <QComboBox>
#include <QDataStream>
#include <QDir>
#include <QFormLayout>
#include <QGuiApplication>
#include <QLabel>
#include <QMap>
#include <QPushButton>
#include <QScrollArea>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "app/desktop/panels/job_strip.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/param_form.h"

namespace microtome::desktop {
namespace {

QLabel* words(QWidget* parent, const char* role) {
  auto* label = new QLabel(parent);
  label->setTextFormat(Qt::PlainText);
  label->setWordWrap(true);
  label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Minimum);
  if (*role) label->setProperty("role", QString::fromLatin1(role));
  return label;
}

bool isTranscoder(const TrainingFacts::Made& made) { return made.hook.contains(QStringLiteral(" → ")); }

}  // namespace

DictionaryForm::DictionaryForm(Panel& panel, TrainingRuns& trained, DictionaryUse use, QWidget* parent)
    : QWidget(parent), panel_(panel), session_(panel.session()), trained_(trained), use_(std::move(use)) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid);
  title_ = words(this, "headline");
  definition_ = words(this, "");
  auto* scroll = new QScrollArea(this);
  scroll->setWidgetResizable(true);
  scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  auto* page = new QWidget(scroll);
  auto* inside = new QVBoxLayout(page);
  inside->setContentsMargins(0, 0, kGrid, 0);
  inside->setSpacing(kGrid);
  inside->addWidget(title_);
  inside->addWidget(definition_);
  const auto combo = [&](const char* name, const QString& title) {
    auto* box = new QComboBox(page);
    box->setObjectName(QString::fromLatin1(name));
    box->setAccessibleName(title);
    box->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    box->setMinimumContentsLength(16);
    guardWheel(box);
    return box;
  };
  auto* rows = new QFormLayout;
  rows->setHorizontalSpacing(kGrid);
  rows->setVerticalSpacing(kGrid / 2);
  rows->setFieldGrowthPolicy(QFormLayout::ExpandingFieldsGrow);
  models_ = combo("form_model", tr("Model"));
  modelLabel_ = new QLabel(tr("Model"), page);
  rows->addRow(modelLabel_, models_);
  list_ = combo("form_trained", tr("Dictionaries trained in this project"));
  list_->setToolTip(tr("A dictionary that was trained in this project is written beside the project file first, in SAELens's layout"));
  listLabel_ = new QLabel(tr("Trained here"), page);
  rows->addRow(listLabel_, list_);
  inside->addLayout(rows);
  form_ = new ParamForm(page);
  form_->setObjectName(QStringLiteral("dictionary_form"));
  inside->addWidget(form_);
  inside->addStretch(1);
  scroll->setWidget(page);
  column->addWidget(scroll, 1);
  strip_ = new JobStrip(session_, this);
  strip_->setCancelText(tr("Cancel"), tr("What was computed is kept; the same run goes on from there"));
  column->addWidget(strip_);
  auto* buttons = new QHBoxLayout;
  buttons->setSpacing(kGrid);
  hint_ = words(this, "muted");
  hint_->setObjectName(QStringLiteral("form_hint"));
  copy_ = new QToolButton(this);
  copy_->setObjectName(QStringLiteral("form_copy"));
  copy_->setText(tr("Copy as command"));
  copy_->setFocusPolicy(Qt::StrongFocus);
  start_ = new QPushButton(tr("Run"), this);
  start_->setObjectName(QStringLiteral("form_run"));
  start_->setProperty("primary", true);
  start_->setToolTip(tr("What the project already holds is not computed twice"));
  buttons->addWidget(hint_, 1);
  buttons->addWidget(copy_);
  buttons->addWidget(start_);
  column->addLayout(buttons);
  connect(models_, &QComboBox::currentIndexChanged, this, &DictionaryForm::showState);
  connect(form_, &ParamForm::changed, this, &DictionaryForm::showState);
  connect(list_, &QComboBox::currentIndexChanged, this, &DictionaryForm::takeTrained);
  connect(start_, &QPushButton::clicked, this, &DictionaryForm::start);
  connect(copy_, &QToolButton::clicked, this, [this] { QGuiApplication::clipboard()->setText(session_.commandFor(request())); });
  connect(&trained_, &TrainingRuns::changed, this, &DictionaryForm::fillTrained);
  connect(&session_, &Session::runFinished, this, [this](qint64 job, const QString&, int, const RunViewPtr& run) {
    if (job_ == 0 || job != job_) return;
    job_ = 0;
    showState();
    Q_EMIT changed();
    Q_EMIT finished(run);
  });
  connect(&session_, &Session::runFailed, this, [this](qint64 job, const QString&, int, const QString& why, bool cancelled) {
    if (job_ == 0 || job != job_) return;
    job_ = 0;
    cancelled ? panel_.showNotice(why) : panel_.showProblem(why);
    showState();
    Q_EMIT changed();
  });
}

void DictionaryForm::refresh() {
  const app::AnalysisFacts* a = session_.findAnalysis(use_.analysis);
  if (a && !ready_) {
    ready_ = true;
    title_->setText(labelText(a->info.title, 120));
    definition_->setText(labelText(a->info.definition, 1000));
    definition_->setToolTip(tipText(labelText(a->info.source, 300)));
    form_->setSchema(a->schema, use_.first);
    form_->setValues(kept_);
  }
  {
    const QSignalBlocker quiet(models_);
    const QVariant chosen = models_->currentData();
    models_->clear();
    for (int slot = 0; slot < Session::kSlots; ++slot)
      if (session_.model(slot)) models_->addItem(labelText(session_.model(slot)->facts().name, 60), slot);
    models_->setCurrentIndex(std::max(0, models_->findData(chosen)));
    models_->setVisible(models_->count() > 1);
    modelLabel_->setVisible(models_->count() > 1);
  }
  trained_.read();
  fillTrained();
  showState();
}

void DictionaryForm::fillTrained() {
  const QSignalBlocker quiet(list_);
  const QString chosen = list_->currentData().toString();
  list_->clear();
  list_->addItem(tr("from the disk, below"), QString());
  for (const RunRecord* r : trained_.list()) {
    const TrainingFactsPtr facts = trained_.facts(r->id);
    if (r->state != RunStatus::kDone || !facts) continue;
    std::vector<const TrainingFacts::Made*> fitting;
    for (const TrainingFacts::Made& m : facts->dictionaries)
      if (!use_.transcoders || isTranscoder(m)) fitting.push_back(&m);
    if (fitting.empty()) continue;
    const auto add = [&](const QString& text, const std::string& name) {
      list_->addItem(tr("run %1 · %2").arg(r->id).arg(text), trained_.folderOf(*r, name));
      list_->setItemData(list_->count() - 1, static_cast<qint64>(r->id), Qt::UserRole + 1);
      list_->setItemData(list_->count() - 1, tipText(runModel(*r) + QStringLiteral(" · ") + longTime(r->created)), Qt::ToolTipRole);
    };
    if (use_.sets) {
      add(fitting.size() == 1 ? fitting.front()->kind + QStringLiteral(" · ") + fitting.front()->hook : tr("%1 dictionaries").arg(fitting.size()), {});
    } else {
      for (const TrainingFacts::Made* m : fitting) add(m->kind + QStringLiteral(" · ") + m->hook, m->name);
    }
  }
  list_->setCurrentIndex(std::max(0, list_->findData(chosen)));
  list_->setVisible(list_->count() > 1);
  listLabel_->setVisible(list_->count() > 1);
}

void DictionaryForm::takeTrained() {
  const QString folder = list_->currentData().toString();
  if (folder.isEmpty()) return showState();
  std::map<std::string, std::string> values = form_->values();
  values[use_.param] = QDir::toNativeSeparators(folder).toStdString();
  form_->setValues(values);
  showState();
}

bool DictionaryForm::chooseTrained(qint64 run) {
  for (int i = 0; i < list_->count(); ++i)
    if (run != 0 && list_->itemData(i, Qt::UserRole + 1).toLongLong() == run) {
      list_->setCurrentIndex(i);
      takeTrained();
      return true;
    }
  return false;
}

RunRequest DictionaryForm::request() const {
  RunRequest out;
  out.analysis = use_.analysis;
  out.params = form_->values();
  out.slot = models_->count() > 0 ? models_->currentData().toInt() : 0;
  out.onePrompt = use_.onePrompt;
  return out;
}

bool DictionaryForm::canRun(QString* why) const {
  const app::AnalysisFacts* a = session_.findAnalysis(use_.analysis);
  const int slot = models_->count() > 0 ? models_->currentData().toInt() : 0;
  if (!session_.engineReady()) return *why = tr("The core is being opened."), false;
  if (!a) return *why = tr("This build has no analysis “%1”.").arg(use_.analysis), false;
  if (busy()) return *why = QString(), false;
  if (!session_.model(slot)) return *why = session_.opening(slot) ? tr("The model is being opened.") : tr("No model is open: open a model folder, or try the demo."), false;
  if (!form_->isValid(why)) {
    if (!why->isEmpty()) (*why)[0] = (*why)[0].toUpper();
    return false;
  }
  const auto values = form_->values();
  const auto missing = [&](const std::string& name) {
    const ParamSpec* p = a->schema.find(name);
    const auto at = values.find(name);
    return p && param_text(p->fallback).empty() && (at == values.end() || at->second.empty());
  };
  if (missing(use_.param)) return *why = use_.sets ? tr("Choose transcoders: a folder with one a layer, or a run that trained them.") : tr("Choose a dictionary: a folder or file, or a run that trained one."), false;
  if (missing("corpus")) return *why = tr("Choose a corpus: a text file, JSON lines, or a file of token ids."), false;
  if (a->info.prompts != AnalysisInfo::Prompts::kNone && !session_.currentPair(slot)) {
    const QString& problem = session_.prompts().problem[slot];
    return *why = problem.isEmpty() ? tr("There is no prompt yet: type one or load a task in Prompts.") : problem, false;
  }
  return true;
}

void DictionaryForm::showState() {
  QString why;
  const bool can = canRun(&why);
  start_->setEnabled(can);
  copy_->setEnabled(ready_);
  hint_->setText(can ? QString() : why);
  // Another path than the trained one's was typed.
  const auto values = form_->values();
  const auto at = values.find(use_.param);
  const QString path = at == values.end() ? QString() : QDir::fromNativeSeparators(QString::fromStdString(at->second));
  const QSignalBlocker quiet(list_);
  list_->setCurrentIndex(std::max(0, path.isEmpty() ? 0 : list_->findData(path)));
}

void DictionaryForm::start() {
  QString why;
  if (!canRun(&why)) {
    if (!why.isEmpty()) panel_.showNotice(why);
    return;
  }
  panel_.clearBar();
  writing_ = true;
  showState();
  const auto values = form_->values();
  const auto at = values.find(use_.param);
  trained_.ensure(at == values.end() ? QString() : QString::fromStdString(at->second), this, [this](const QString& problem) {
    writing_ = false;
    if (problem.isEmpty()) return run();
    panel_.showProblem(problem);
    showState();
  });
}

void DictionaryForm::run() {
  const RunRequest asked = request();
  job_ = session_.run(asked, QStringLiteral("dictionary-") + use_.analysis);
  if (job_ != 0) strip_->setJob(job_, title_->text());
  showState();
  Q_EMIT changed();
}

void DictionaryForm::cancel() {
  if (job_ != 0) session_.cancel(job_);
}

QByteArray DictionaryForm::saveState() const {
  QByteArray out;
  QDataStream s(&out, QIODevice::WriteOnly);
  QMap<QString, QString> values;
  for (const auto& [name, value] : ready_ ? form_->values() : kept_) values.insert(QString::fromStdString(name), QString::fromStdString(value));
  s << qint32(1) << values;
  return out;
}

void DictionaryForm::restoreState(const QByteArray& state) {
  QDataStream s(state);
  qint32 version = 0;
  QMap<QString, QString> values;
  s >> version >> values;
  if (s.status() != QDataStream::Ok || version != 1) return;
  kept_.clear();
  for (auto it = values.begin(); it != values.end(); ++it) kept_[it.key().toStdString()] = it.value().toStdString();
  if (ready_) form_->setValues(kept_);
}

}  // namespace microtome::desktop
