#include "app/desktop/panels/analysis/setup.h"

#include <QClipboard>
#include <QComboBox>
#include <QGuiApplication>
#include <QLabel>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QScrollArea>
#include <QScrollBar>
#include <QToolButton>
#include <QVBoxLayout>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/param_form.h"

namespace microtome::desktop {
namespace {

constexpr int kBoth = 2;               // of the model list: slots 0 and 1 are themselves

// As tall as its words need at the width it has: their hints at another width would leave a blank end to scroll to.
class Page : public QWidget {
 public:
  QSize minimumSizeHint() const override { return {0, 0}; }
};

QLabel* words(QWidget* parent, const char* role = nullptr) {
  auto* label = new QLabel(parent);
  label->setTextFormat(Qt::PlainText);
  label->setWordWrap(true);
  label->setTextInteractionFlags(Qt::TextSelectableByMouse);
  label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Minimum);
  if (role) label->setProperty("role", QString::fromLatin1(role));
  return label;
}

QString needsText(const AnalysisInfo& info) {
  switch (info.prompts) {
    case AnalysisInfo::Prompts::kNone: return AnalysisSetup::tr("Needs no prompts: it makes its own tokens.");
    case AnalysisInfo::Prompts::kClean: return AnalysisSetup::tr("Needs prompts; corrupted ones are not used.");
    default: return AnalysisSetup::tr("Needs prompts in pairs, clean and corrupted.");
  }
}

// "Gives induction [layer, head], …": the first few, the rest as a number.
QString givesText(const AnalysisInfo& info) {
  QStringList names;
  for (const OutputInfo& o : info.outputs) {
    QStringList axes;
    for (const std::string& a : o.axes) axes << axisText(a);
    names << labelText(o.name, 40) +
                 (axes.isEmpty() ? QString() : QStringLiteral(" [") + axes.join(QStringLiteral(", ")) + QLatin1Char(']'));
    if (names.size() == 6) break;
  }
  if (names.isEmpty()) return {};
  const qsizetype more = static_cast<qsizetype>(info.outputs.size()) - names.size();
  return AnalysisSetup::tr("Gives ") + names.join(QStringLiteral(", ")) +
         (more > 0 ? AnalysisSetup::tr(" and %1 more.").arg(more) : QStringLiteral("."));
}

}  // namespace

AnalysisSetup::AnalysisSetup(Session& session, QWidget* parent) : QWidget(parent), session_(session) {
  auto* outer = new QVBoxLayout(this);
  outer->setContentsMargins(0, 0, 0, 0);
  outer->setSpacing(kGrid);
  scroll_ = new QScrollArea(this);
  scroll_->setWidgetResizable(true);
  scroll_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  auto* content = new Page;
  auto* column = new QVBoxLayout(content);
  column->setContentsMargins(kGrid, kGrid, 2 * kGrid, kGrid);
  column->setSpacing(kGrid);
  title_ = words(content, "headline");
  title_->setObjectName(QStringLiteral("analysis_title"));
  definition_ = words(content);
  definition_->setObjectName(QStringLiteral("definition"));
  source_ = words(content, "muted");
  source_->setObjectName(QStringLiteral("source"));
  gives_ = words(content, "muted");
  form_ = new ParamForm(content);
  form_->setObjectName(QStringLiteral("form"));
  for (QLabel* label : {title_, definition_, source_, gives_}) column->addWidget(label);
  column->addSpacing(kGrid);
  column->addWidget(form_);
  column->addStretch(1);
  scroll_->setWidget(content);
  outer->addWidget(scroll_, 1);

  auto* where = new QHBoxLayout;
  where->setSpacing(kGrid);
  const auto combo = [&](const QString& text, const char* name) {
    auto* box = new QComboBox(this);
    box->setObjectName(QString::fromLatin1(name));
    box->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    box->setMinimumContentsLength(10);
    box->setMaximumWidth(32 * kGrid);
    guardWheel(box);
    auto* label = new QLabel(text, this);
    label->setBuddy(box);
    where->addWidget(label);
    where->addWidget(box, 1);
    return std::pair(box, label);
  };
  model_ = combo(tr("&Model"), "model").first;
  std::tie(prompts_, promptsLabel_) = combo(tr("&Prompts"), "prompts");
  where->addStretch(1);
  outer->addLayout(where);

  auto* line = new QHBoxLayout;
  line->setSpacing(kGrid);
  command_ = new QPlainTextEdit(this);
  command_->setObjectName(QStringLiteral("command"));
  command_->setAccessibleName(tr("The command line this amounts to"));
  command_->setReadOnly(true);
  command_->setFont(monoFont(-1));
  command_->setWordWrapMode(QTextOption::WrapAtWordBoundaryOrAnywhere);
  command_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  command_->setTabChangesFocus(true);
  command_->setFixedHeight(3 * QFontMetrics(command_->font()).lineSpacing() + 2 * kGrid);
  line->addWidget(command_, 1);
  auto* copy = new QToolButton(this);
  copy->setObjectName(QStringLiteral("copy"));
  copy->setText(tr("Copy"));
  copy->setToolTip(tr("Copy the command line"));
  copy->setFocusPolicy(Qt::StrongFocus);
  line->addWidget(copy, 0, Qt::AlignTop);
  outer->addLayout(line);

  auto* buttons = new QHBoxLayout;
  buttons->setSpacing(kGrid);
  hint_ = words(this, "muted");
  hint_->setObjectName(QStringLiteral("hint"));
  again_ = new QPushButton(tr("Run again"), this);
  again_->setObjectName(QStringLiteral("again"));
  again_->setToolTip(tr("Compute it even if the project already has the answer"));
  run_ = new QPushButton(tr("Run"), this);
  run_->setObjectName(QStringLiteral("run"));
  run_->setProperty("primary", true);
  run_->setToolTip(tr("Ctrl+Enter. What the project already holds is not computed twice"));
  buttons->addWidget(hint_, 1);
  buttons->addWidget(again_);
  buttons->addWidget(run_);
  outer->addLayout(buttons);

  connect(form_, &ParamForm::changed, this, &AnalysisSetup::changed);
  connect(model_, &QComboBox::currentIndexChanged, this, &AnalysisSetup::changed);
  connect(prompts_, &QComboBox::currentIndexChanged, this, &AnalysisSetup::changed);
  connect(copy, &QToolButton::clicked, this, [this] { QGuiApplication::clipboard()->setText(command_->toPlainText()); });
  connect(run_, &QPushButton::clicked, this, [this] { Q_EMIT runWanted(false); });
  connect(again_, &QPushButton::clicked, this, [this] { Q_EMIT runWanted(true); });
}

void AnalysisSetup::setAnalysis(const QString& name) {
  const app::AnalysisFacts* a = session_.findAnalysis(name);
  if (!name_.isEmpty() && session_.findAnalysis(name_)) kept_[name_] = form_->values();
  name_ = a ? name : QString();
  if (!a) return;
  title_->setText(labelText(a->info.title.empty() ? a->info.name : a->info.title, 200));
  definition_->setText(labelText(a->info.definition, 2000));
  QString source = a->info.source.empty() ? QString() : tr("Source: %1").arg(labelText(a->info.source, 400));
  if (!a->plugin.empty())
    source +=
        (source.isEmpty() ? QString() : QStringLiteral("\n")) + tr("From the plug-in %1").arg(labelText(a->plugin, 300));
  source_->setText(source);
  source_->setVisible(!source.isEmpty());
  gives_->setText((givesText(a->info) + QLatin1Char(' ') + needsText(a->info)).trimmed());
  form_->setSchema(a->schema);
  if (const auto kept = kept_.find(name); kept != kept_.end()) form_->setValues(kept->second);
  scroll_->verticalScrollBar()->setValue(0);
  refreshChoices();
}

void AnalysisSetup::refreshChoices() {
  // Lists anew, choices kept.
  const auto fill = [](QComboBox* box, const std::vector<std::pair<QString, int>>& entries) {
    const QVariant chosen = box->currentData();
    const QSignalBlocker quiet(box);
    box->clear();
    for (const auto& [text, value] : entries) box->addItem(text, value);
    box->setCurrentIndex(std::max(0, box->findData(chosen)));
    box->setEnabled(entries.size() > 1);
  };
  std::vector<std::pair<QString, int>> models;
  for (int slot = 0; slot < Session::kSlots; ++slot)
    if (session_.model(slot)) models.push_back({labelText(session_.model(slot)->facts().name, 60), slot});
  if (models.size() == 2) models.push_back({tr("Both"), kBoth});
  if (models.empty()) models.push_back({tr("None is open"), -1});
  fill(model_, models);
  const app::AnalysisFacts* a = session_.findAnalysis(name_);
  const bool uses = a && a->info.prompts != AnalysisInfo::Prompts::kNone;
  prompts_->setVisible(uses);
  promptsLabel_->setVisible(uses);
  const size_t count = session_.prompts().text.pairs.size();
  if (count <= 1) fill(prompts_, {{count == 0 ? tr("None yet") : tr("The prompt as typed"), 0}});
  else
    fill(prompts_, {{tr("All %1 of %2").arg(count).arg(labelText(session_.prompts().text.name, 40)), 0},
                    {tr("Selected: number %1").arg(session_.selection().prompt() + 1), 1}});
  changed();
}

std::vector<int> AnalysisSetup::chosenSlots() const {
  const int chosen = model_->currentData().toInt();
  if (chosen == kBoth) return {0, 1};
  // Without a model the command is still worth showing.
  return {std::max(0, chosen)};
}

std::vector<RunRequest> AnalysisSetup::requests() const {
  std::vector<RunRequest> out;
  for (int slot : chosenSlots()) {
    RunRequest request;
    request.analysis = name_;
    request.params = form_->values();
    request.slot = slot;
    request.onePrompt = prompts_->isVisibleTo(this) && prompts_->currentData().toInt() == 1;
    out.push_back(request);
  }
  return out;
}

bool AnalysisSetup::canRun(QString* why) const {
  const app::AnalysisFacts* a = session_.findAnalysis(name_);
  if (!a) return *why = tr("Choose an analysis."), false;
  for (int slot : chosenSlots()) {
    if (!session_.model(slot)) {
      *why = session_.opening(slot) ? tr("The model is being opened.") : tr("No model is open: open a model folder, or try the demo.");
      return false;
    }
    if (a->info.prompts != AnalysisInfo::Prompts::kNone &&
        (!session_.prompts().bySlot[slot] || session_.prompts().bySlot[slot]->pairs.empty())) {
      const QString& problem = session_.prompts().problem[slot];
      *why = problem.isEmpty() ? tr("There are no prompts yet: type one or load a task in Prompts.") : problem;
      return false;
    }
  }
  return form_->isValid(why);
}

void AnalysisSetup::changed() {
  QStringList lines;
  if (!name_.isEmpty())
    for (const RunRequest& r : requests()) lines << session_.commandFor(r);
  const QString text = lines.join(QLatin1Char('\n'));
  if (command_->toPlainText() != text) command_->setPlainText(text);
  QString why;
  const bool can = canRun(&why);
  run_->setEnabled(can);
  again_->setEnabled(can);
  hint_->setText(can ? QString() : why);
}

}  // namespace microtome::desktop
