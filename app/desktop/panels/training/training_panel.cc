// What the panel is made of; its runs are in training_runs.cc.
#include "app/desktop/panels/training/training_panel.h"

#include <QClipboard>
#include <QComboBox>
#include <QCompleter>
#include <QDataStream>
#include <QEvent>
#include <QGuiApplication>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QScrollArea>
#include <QShortcut>
#include <QSplitter>
#include <QStackedWidget>
#include <QStringListModel>
#include <QTableView>
#include <QToolButton>

#include "app/desktop/panels/training/curves.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/param_form.h"

namespace microtome::desktop {
namespace {

// What decides most about a run stands first; an analysis has some of these.
const std::vector<std::string>& foremost() {
  static const std::vector<std::string> names = {"corpus", "hook", "layers", "variant", "kind", "expansion", "d_sae", "k", "l1", "l0", "sweep", "tokens"};
  return names;
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

TrainingPanel::TrainingPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent), trained_(session, this) {
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  splitter_ = new QSplitter(Qt::Horizontal, stack_);
  splitter_->setChildrenCollapsible(false);
  makeSetup(splitter_);
  right_ = new QSplitter(Qt::Vertical, splitter_);
  right_->setChildrenCollapsible(false);
  makeRuns(right_);
  curves_ = new TrainingCurves(*this, right_);
  curves_->layout()->setContentsMargins(kGrid, kGrid / 2, 0, 0);
  right_->addWidget(curves_);
  right_->setStretchFactor(0, 0);
  right_->setStretchFactor(1, 1);
  right_->setSizes({15 * kGrid, 52 * kGrid});
  splitter_->addWidget(right_);
  splitter_->setStretchFactor(0, 0);
  splitter_->setStretchFactor(1, 1);
  splitter_->setSizes({34 * kGrid, 70 * kGrid});
  stack_->addWidget(empty_);
  stack_->addWidget(splitter_);
  body()->addWidget(stack_, 1);
  connect(empty_, &EmptyState::pressed, this, [this] { this->session().openDemo(); });
  connect(curves_, &TrainingCurves::runWanted, this, [this](qint64 key) {
    list_->setChecked(key, true);
    selectKey(key);
  });
  for (const auto key : {Qt::CTRL | Qt::Key_Return, Qt::CTRL | Qt::Key_Enter}) {
    auto* shortcut = new QShortcut(QKeySequence(key), this);
    shortcut->setContext(Qt::WidgetWithChildrenShortcut);
    connect(shortcut, &QShortcut::activated, this, [this] {
      if (start_->isEnabled()) start(request());
    });
  }
  connectSession();
}

void TrainingPanel::makeSetup(QWidget* parent) {
  auto* left = new QWidget(parent);
  left->setMinimumWidth(30 * kGrid);
  auto* column = new QVBoxLayout(left);
  column->setContentsMargins(0, 0, kGrid, 0);
  column->setSpacing(kGrid / 2);
  auto* row = new QHBoxLayout;
  row->setSpacing(kGrid);
  const auto combo = [&](const char* name, const QString& title) {
    auto* box = new QComboBox(left);
    box->setObjectName(QString::fromLatin1(name));
    box->setAccessibleName(title);
    box->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    box->setMinimumContentsLength(8);
    guardWheel(box);
    return box;
  };
  analyses_ = combo("training_analysis", tr("What is trained"));
  analyses_->setToolTip(tr("What is trained"));
  modelLabel_ = new QLabel(tr("on"), left);
  modelLabel_->setProperty("role", QStringLiteral("muted"));
  models_ = combo("training_model", tr("Model"));
  row->addWidget(analyses_, 1);
  row->addWidget(modelLabel_);
  row->addWidget(models_, 1);
  column->addLayout(row);
  definition_ = new QLabel(left);
  definition_->setObjectName(QStringLiteral("training_definition"));
  definition_->setProperty("role", QStringLiteral("muted"));
  definition_->setTextFormat(Qt::PlainText);
  definition_->setWordWrap(true);
  QSizePolicy wrapped(QSizePolicy::Ignored, QSizePolicy::Minimum);
  wrapped.setHeightForWidth(true);
  definition_->setSizePolicy(wrapped);
  column->addWidget(definition_);
  auto* scroll = new QScrollArea(left);
  scroll->setWidgetResizable(true);
  scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  auto* page = new QWidget(scroll);
  auto* inside = new QVBoxLayout(page);
  inside->setContentsMargins(0, kGrid / 2, kGrid, 0);
  form_ = new ParamForm(page);
  form_->setObjectName(QStringLiteral("training_form"));
  inside->addWidget(form_);
  inside->addStretch(1);
  scroll->setWidget(page);
  column->addWidget(scroll, 1);
  hint_ = new QLabel(left);
  hint_->setObjectName(QStringLiteral("training_hint"));
  hint_->setProperty("role", QStringLiteral("muted"));
  hint_->setTextFormat(Qt::PlainText);
  hint_->setWordWrap(true);
  hint_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Minimum);
  column->addWidget(hint_);
  auto* buttons = new QHBoxLayout;
  buttons->setSpacing(kGrid);
  copy_ = button(left, "training_copy", tr("Copy as command"), tr("The command line that trains the same"));
  start_ = new QPushButton(tr("Start"), left);
  start_->setObjectName(QStringLiteral("training_start"));
  start_->setProperty("primary", true);
  start_->setToolTip(tr("Ctrl+Enter. A run that was paused with the same settings goes on where it was"));
  buttons->addWidget(copy_);
  buttons->addStretch(1);
  buttons->addWidget(start_);
  column->addLayout(buttons);
  static_cast<QSplitter*>(parent)->addWidget(left);
  connect(analyses_, &QComboBox::currentIndexChanged, this, &TrainingPanel::chooseAnalysis);
  connect(models_, &QComboBox::currentIndexChanged, this, &TrainingPanel::showState);
  connect(form_, &ParamForm::changed, this, &TrainingPanel::showState);
  connect(start_, &QPushButton::clicked, this, [this] { start(request()); });
  connect(copy_, &QToolButton::clicked, this, [this] { QGuiApplication::clipboard()->setText(this->session().commandFor(request())); });
}

void TrainingPanel::makeRuns(QWidget* parent) {
  auto* top = new QWidget(parent);
  auto* column = new QVBoxLayout(top);
  column->setContentsMargins(kGrid, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* held = new QWidget(top);
  strips_ = new QVBoxLayout(held);
  strips_->setContentsMargins(0, 0, 0, 0);
  strips_->setSpacing(kGrid / 2);
  column->addWidget(held);
  auto* row = new QHBoxLayout;
  row->setSpacing(kGrid / 2);
  auto* title = new QLabel(tr("Training runs"), top);
  title->setProperty("role", QStringLiteral("section"));
  results_ = button(top, "training_results", tr("Results"), tr("All that the selected run gave, in Results"));
  dashboards_ = button(top, "training_dashboards", tr("Features"), tr("Look through the features of the selected run's dictionary"));
  trash_ = button(top, "training_trash", tr("Delete"), tr("Moves the selected run to the trash; Ctrl+Z brings it back (Del)"));
  resume_ = new QPushButton(tr("Resume"), top);
  resume_->setObjectName(QStringLiteral("training_resume"));
  resume_->setToolTip(tr("Goes on with the selected run where it was paused (Enter)"));
  row->addWidget(title);
  row->addStretch(1);
  row->addWidget(trash_);
  row->addWidget(results_);
  row->addWidget(dashboards_);
  row->addWidget(resume_);
  column->addLayout(row);
  list_ = new TrainingRunList(this);
  table_ = new QTableView(top);
  table_->setObjectName(QStringLiteral("training_runs"));
  table_->setAccessibleName(tr("Training runs of the project"));
  table_->setModel(list_);
  table_->setSelectionBehavior(QAbstractItemView::SelectRows);
  table_->setSelectionMode(QAbstractItemView::SingleSelection);
  table_->setEditTriggers(QAbstractItemView::NoEditTriggers);
  table_->setShowGrid(false);
  table_->setWordWrap(false);
  table_->setFrameShape(QFrame::NoFrame);
  table_->setTabKeyNavigation(false);
  table_->setCornerButtonEnabled(false);
  table_->verticalHeader()->hide();
  table_->verticalHeader()->setSectionResizeMode(QHeaderView::Fixed);
  table_->verticalHeader()->setDefaultSectionSize(table_->fontMetrics().height() + kGrid);
  QHeaderView* header = table_->horizontalHeader();
  header->setHighlightSections(false);
  const QFontMetrics m = table_->fontMetrics();
  header->setSectionResizeMode(QHeaderView::Interactive);
  header->setSectionResizeMode(TrainingRunList::kDictionary, QHeaderView::Stretch);
  const int pad = 2 * kGrid;
  table_->viewport()->installEventFilter(this);
  table_->setColumnWidth(TrainingRunList::kRun, m.horizontalAdvance(QStringLiteral("run 123")) + pad + 2 * kGrid);
  for (int c : {TrainingRunList::kL0, TrainingRunList::kFvu, TrainingRunList::kRecovered, TrainingRunList::kDead, TrainingRunList::kState})
    header->setSectionResizeMode(c, QHeaderView::ResizeToContents);
  column->addWidget(table_, 1);
  static_cast<QSplitter*>(parent)->addWidget(top);
  connect(list_, &TrainingRunList::checksChanged, this, &TrainingPanel::draw);
  connect(table_->selectionModel(), &QItemSelectionModel::currentRowChanged, this, &TrainingPanel::rowChanged);
  connect(list_, &QAbstractItemModel::modelReset, this, &TrainingPanel::rowChanged);
  connect(list_, &QAbstractItemModel::dataChanged, this, &TrainingPanel::rowChanged);
  connect(table_, &QTableView::activated, this, [this](const QModelIndex& at) {
    if (at.row() >= 0 && at.row() < static_cast<int>(list_->rows().size()) && list_->rows()[static_cast<size_t>(at.row())].resumable) resume();
  });
  connect(resume_, &QPushButton::clicked, this, &TrainingPanel::resume);
  connect(trash_, &QToolButton::clicked, this, &TrainingPanel::toTrash);
  connect(results_, &QToolButton::clicked, this, [this] {
    const TrainingRunList::Row* r = selectedRow();
    if (!r || r->run == 0) return;
    this->session().selection().setRun(r->run);
    Q_EMIT this->session().panelWanted(QStringLiteral("results"));
  });
  connect(dashboards_, &QToolButton::clicked, this, [this] {
    const TrainingRunList::Row* r = selectedRow();
    if (!r || r->run == 0) return;
    this->session().selection().setRun(r->run);
    Q_EMIT this->session().panelWanted(QStringLiteral("features"));
  });
}

void TrainingPanel::fillAnalyses() {
  if (analyses_->count() > 0 || session().analyses().empty()) return;
  const QSignalBlocker quiet(analyses_);
  for (const QString& name : trainingAnalyses())
    if (const app::AnalysisFacts* a = session().findAnalysis(name)) analyses_->addItem(labelText(a->info.title, 60), name);
  const int wanted = analyses_->findData(wanted_);
  if (wanted >= 0) analyses_->setCurrentIndex(wanted);
  chooseAnalysis();
}

void TrainingPanel::chooseAnalysis() {
  const QString name = analyses_->currentData().toString();
  const app::AnalysisFacts* a = session().findAnalysis(name);
  if (!a || name == analysis_) return;
  if (!analysis_.isEmpty()) kept_[analysis_] = form_->values();
  analysis_ = name;
  const QString text = labelText(a->info.definition, 600);
  definition_->setText(definition_->fontMetrics().elidedText(text, Qt::ElideRight, 54 * kGrid));
  definition_->setToolTip(tipText(text + QStringLiteral(" (") + labelText(a->info.source, 200) + QLatin1Char(')')));
  form_->setSchema(a->schema, foremost());
  if (const auto kept = kept_.find(name); kept != kept_.end()) form_->setValues(kept->second);
  offerHooks();
  showState();
}

// Points of the model, offered while a name is typed.
void TrainingPanel::offerHooks() {
  const app::ModelPtr model = session().model(std::max(0, models_->currentData().toInt()));
  QStringList names;
  if (model)
    for (const app::HookFacts& h : model->facts().hooks) names << QString::fromStdString(h.name);
  for (const char* field : {"hook"})
    if (auto* line = form_->findChild<QLineEdit*>(QLatin1String(field))) {
      auto* completer = new QCompleter(names, line);
      completer->setFilterMode(Qt::MatchContains);
      completer->setCaseSensitivity(Qt::CaseInsensitive);
      line->setCompleter(completer);
    }
}

void TrainingPanel::fitColumns() {
  // Of a narrow list the two numbers go that Numbers has too.
  const bool narrow = table_->viewport()->width() < 70 * kGrid;
  for (int c : {TrainingRunList::kRecovered, TrainingRunList::kDead}) table_->setColumnHidden(c, narrow);
}

bool TrainingPanel::eventFilter(QObject* object, QEvent* event) {
  if (object == table_->viewport() && event->type() == QEvent::Resize) fitColumns();
  return Panel::eventFilter(object, event);
}

std::vector<View*> TrainingPanel::views() const { return stack_->currentWidget() == splitter_ ? curves_->views() : std::vector<View*>(); }

QByteArray TrainingPanel::saveState() const {
  QByteArray out;
  QDataStream s(&out, QIODevice::WriteOnly);
  s << qint32(1) << analysis_ << splitter_->saveState() << right_->saveState() << curves_->saveState();
  QMap<QString, QString> values;
  for (const auto& [name, value] : form_->values()) values.insert(QString::fromStdString(name), QString::fromStdString(value));
  s << values;
  return out;
}

void TrainingPanel::restoreState(const QByteArray& state) {
  QDataStream s(state);
  qint32 version = 0;
  QString analysis;
  QByteArray splitter, right, curves;
  QMap<QString, QString> values;
  s >> version >> analysis >> splitter >> right >> curves >> values;
  if (s.status() != QDataStream::Ok || version != 1) return;
  splitter_->restoreState(splitter);
  right_->restoreState(right);
  curves_->restoreState(curves);
  wanted_ = analysis;
  std::map<std::string, std::string>& kept = kept_[analysis];
  for (auto it = values.begin(); it != values.end(); ++it) kept[it.key().toStdString()] = it.value().toStdString();
  if (analyses_->count() > 0 && analyses_->findData(analysis) >= 0) analyses_->setCurrentIndex(analyses_->findData(analysis));
}

}  // namespace microtome::desktop
