// Model: what is inside the open models, as a tree with a filter.
#include "app/desktop/panels/panel.h"

#include <QAction>
#include <QClipboard>
#include <QGuiApplication>
#include <QHeaderView>
#include <QLineEdit>
#include <QMenu>
#include <QScopedValueRollback>
#include <QSortFilterProxyModel>
#include <QStackedWidget>
#include <QTimer>
#include <QTreeView>

#include "app/desktop/panels/model/model_tree.h"
#include "app/desktop/panels/model/tree_delegate.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/session/session.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

using Kind = ModelTree::Kind;

// Keeps rows in which every word of the filter occurs, with what is above and below them.
class TreeFilter : public QSortFilterProxyModel {
 public:
  explicit TreeFilter(QObject* parent) : QSortFilterProxyModel(parent) {
    setRecursiveFilteringEnabled(true);
    setAutoAcceptChildRows(true);
  }
  void setWords(const QStringList& words) {
    words_ = words;
    invalidateFilter();
  }

 protected:
  bool filterAcceptsRow(int row, const QModelIndex& parent) const override {
    if (words_.isEmpty()) return true;
    const QModelIndex i = sourceModel()->index(row, 0, parent);
    // The model's own row would let everything below it pass.
    if (i.data(ModelTree::kKindRole).toInt() == static_cast<int>(Kind::kModel)) return false;
    // Not the sizes: a "2" means the block, not every "32".
    const QString all =
        QStringList{i.data().toString(), i.data(ModelTree::kAsideRole).toString(), i.data(ModelTree::kNameRole).toString()}
            .join(QLatin1Char(' '));
    return std::all_of(words_.begin(), words_.end(),
                       [&](const QString& w) { return all.contains(w, Qt::CaseInsensitive); });
  }

 private:
  QStringList words_;
};

class ModelPanel : public Panel {
 public:
  ModelPanel(Session& session, const PanelInfo& info, QWidget* parent);

 protected:
  void refresh() override;

 private:
  void build();
  void applyFilter(const QString& text);
  void currentChanged(const QModelIndex& index);
  void showIndex(const QModelIndex& source);  // without telling the selection
  void followHead(int layer);
  void readWeights(int slot);
  void pollWeights();
  void copyName();
  void copyCommand();
  QString captureCommand(const QModelIndex& index) const;
  QModelIndex current() const { return view_->currentIndex(); }

  ModelTree* tree_;
  TreeFilter* filter_;
  QTreeView* view_;
  QLineEdit* search_;
  QStackedWidget* stack_;
  EmptyState* empty_;
  QAction *copyName_, *copyCommand_;
  QTimer poll_;
  qint64 weightsJob_[Session::kSlots] = {0, 0};
  bool following_ = false, filtering_ = false;
};

ModelPanel::ModelPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
  build();
  connect(&session, &Session::modelChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::openingChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::engineChanged, this, [this] { scheduleRefresh(); });
  connect(&session.selection(), &Selection::headChanged, this, [this](int layer, int) { followHead(layer); });
  connect(&session.selection(), &Selection::hookPointChanged, this, [this](const QString& name) {
    if (!following_) showIndex(tree_->hookIndex(this->session().selection().model(), name));
  });
  poll_.setInterval(120);
  connect(&poll_, &QTimer::timeout, this, &ModelPanel::pollWeights);
  refresh();
}

void ModelPanel::build() {
  stack_ = new QStackedWidget(this);
  auto* page = new QWidget(stack_);
  auto* column = new QVBoxLayout(page);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  search_ = new QLineEdit(page);
  search_->setPlaceholderText(tr("Filter: hook_z, mlp, 2 q …"));
  search_->setClearButtonEnabled(true);
  search_->setAccessibleName(tr("Filter the model tree"));
  search_->setToolTip(tr("Rows that hold every word; the words of a hook point's full name count too."));
  column->addWidget(search_);

  tree_ = new ModelTree(this);
  filter_ = new TreeFilter(this);
  filter_->setSourceModel(tree_);
  view_ = new QTreeView(page);
  view_->setModel(filter_);
  view_->setItemDelegate(new ModelRowDelegate(view_));
  view_->setHeaderHidden(true);
  view_->setUniformRowHeights(true);
  view_->setIndentation(kGrid * 3 / 2);
  view_->setMouseTracking(true);
  view_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  view_->header()->setStretchLastSection(true);
  view_->setAccessibleName(tr("Model"));
  view_->setContextMenuPolicy(Qt::CustomContextMenu);
  column->addWidget(view_, 1);
  stack_->addWidget(page);
  empty_ = new EmptyState({}, {}, {}, stack_);
  stack_->addWidget(empty_);
  body()->setContentsMargins(kGrid, kGrid / 2, kGrid, kGrid / 2);
  body()->addWidget(stack_, 1);

  copyName_ = new QAction(tr("Copy name"), view_);
  copyName_->setShortcut(QKeySequence::Copy);
  copyCommand_ = new QAction(tr("Copy as command"), view_);
  copyCommand_->setShortcut(Qt::CTRL | Qt::SHIFT | Qt::Key_C);
  copyCommand_->setToolTip(tr("The `microtome forward` line that captures this."));
  for (QAction* a : {copyName_, copyCommand_}) {
    a->setShortcutContext(Qt::WidgetShortcut);
    a->setShortcutVisibleInContextMenu(true);
    view_->addAction(a);
  }
  connect(copyName_, &QAction::triggered, this, [this] { copyName(); });
  connect(copyCommand_, &QAction::triggered, this, [this] { copyCommand(); });

  connect(empty_, &EmptyState::pressed, &session(), [this] { session().openDemo(); });
  connect(search_, &QLineEdit::textChanged, this, &ModelPanel::applyFilter);
  // Down from the filter goes into the tree.
  auto* down = new QAction(search_);
  down->setShortcut(Qt::Key_Down);
  down->setShortcutContext(Qt::WidgetShortcut);
  search_->addAction(down);
  connect(down, &QAction::triggered, view_, [this] { view_->setFocus(Qt::ShortcutFocusReason); });
  auto* find = new QAction(this);
  find->setShortcut(QKeySequence::Find);
  find->setShortcutContext(Qt::WidgetWithChildrenShortcut);
  addAction(find);
  connect(find, &QAction::triggered, search_, [this] { search_->setFocus(Qt::ShortcutFocusReason); });
  connect(view_->selectionModel(), &QItemSelectionModel::currentChanged, this,
          [this](const QModelIndex& now) { currentChanged(now); });
  connect(view_, &QTreeView::entered, this,
          [this](const QModelIndex& i) { Q_EMIT hoverText(i.data(Qt::StatusTipRole).toString()); });
  connect(view_, &QTreeView::expanded, this, [this](const QModelIndex& i) {
    if (!filtering_ && i.data(ModelTree::kKindRole).toInt() == static_cast<int>(Kind::kWeights))
      readWeights(i.data(ModelTree::kSlotRole).toInt());
  });
  connect(view_, &QTreeView::customContextMenuRequested, this, [this](const QPoint& at) {
    if (!current().isValid()) return;
    copyName_->setEnabled(!current().data(ModelTree::kNameRole).toString().isEmpty());
    copyCommand_->setEnabled(!current().data(ModelTree::kCaptureRole).toString().isEmpty());
    // From the keyboard's menu key the row is meant, wherever the mouse is.
    const QRect row = view_->visualRect(current());
    auto* menu = new QMenu(view_);
    menu->setAttribute(Qt::WA_DeleteOnClose);
    menu->addActions({copyName_, copyCommand_});
    menu->popup(view_->viewport()->mapToGlobal(
        row.contains(at) || row.isEmpty() ? at : QPoint(row.left() + 2 * kGrid, row.bottom())));
  });
}

void ModelPanel::refresh() {
  bool any = false;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    const app::ModelPtr model = session().model(slot);
    any = any || model;
    if (model == tree_->model(slot)) continue;
    if (weightsJob_[slot]) session().cancel(weightsJob_[slot]);
    weightsJob_[slot] = 0;
    {
      const QScopedValueRollback<bool> guard(following_, true);
      tree_->setModel(slot, model);
    }
    if (model) view_->expand(filter_->mapFromSource(tree_->modelIndex(slot)));
  }
  if (!search_->text().trimmed().isEmpty()) applyFilter(search_->text());
  stack_->setCurrentIndex(any ? 0 : 1);
  if (any) return;
  if (session().opening(0) || session().opening(1))
    empty_->setText(tr("Opening the model…"), tr("Its blocks and hook points appear here."));
  else
    empty_->setText(tr("No model is open"), tr("Open a model folder to see its blocks, hook points and weights."),
                    tr("Try the demo"));
}

void ModelPanel::applyFilter(const QString& text) {
  const QStringList words = text.split(QLatin1Char(' '), Qt::SkipEmptyParts);
  const QModelIndex kept = filter_->mapToSource(current());
  const bool was = filtering_;
  filtering_ = true;                   // opening what matches reads no weights and selects nothing
  const QScopedValueRollback<bool> guard(following_, true);
  filter_->setWords(words);
  if (!words.isEmpty()) {
    view_->expandAll();
  } else if (was || !text.isEmpty()) {
    view_->collapseAll();
    for (int slot = 0; slot < Session::kSlots; ++slot) view_->expand(filter_->mapFromSource(tree_->modelIndex(slot)));
    showIndex(kept);
  }
  filtering_ = !words.isEmpty();
}

void ModelPanel::currentChanged(const QModelIndex& index) {
  if (following_ || !index.isValid()) return;
  const QScopedValueRollback<bool> guard(following_, true);
  Selection& s = session().selection();
  const auto kind = static_cast<Kind>(index.data(ModelTree::kKindRole).toInt());
  const int slot = index.data(ModelTree::kSlotRole).toInt(), layer = index.data(ModelTree::kLayerRole).toInt();
  if (kind != Kind::kRemark) s.setModel(slot);
  if ((kind == Kind::kBlock || kind == Kind::kGroup) && layer >= 0) s.setHead(layer, -1);
  if (kind == Kind::kHook) s.setHookPoint(index.data(ModelTree::kNameRole).toString());
}

void ModelPanel::showIndex(const QModelIndex& source) {
  const QModelIndex i = filter_->mapFromSource(source);
  if (!i.isValid() || i == current()) return;
  const QScopedValueRollback<bool> guard(following_, true);
  view_->setCurrentIndex(i);
  view_->scrollTo(i);
}

void ModelPanel::followHead(int layer) {
  if (following_ || layer < 0) return;
  const int slot = session().selection().model();
  const QModelIndex now = current();
  if (now.isValid() && now.data(ModelTree::kLayerRole).toInt() == layer && now.data(ModelTree::kSlotRole).toInt() == slot)
    return;
  showIndex(tree_->blockIndex(slot, layer));
}

void ModelPanel::readWeights(int slot) {
  const app::ModelPtr model = tree_->model(slot);
  app::Engine* engine = session().engine();
  if (!model || !engine || weightsJob_[slot] || tree_->hasWeights(slot)) return;
  tree_->setWeightsRemark(slot, tr("reading…"));
  weightsJob_[slot] = session().post(
      tr("Weights of %1").arg(labelText(model->facts().name, 60)), QStringLiteral("cpu"), this,
      [engine, model](Progress& p) { return engine->weights(*model, p); },
      [this, slot, model](const Result<std::vector<app::WeightFacts>>& read) {
        if (tree_->model(slot) != model) return;
        weightsJob_[slot] = 0;
        if (read) {
          tree_->setWeights(slot, read.value());
          if (filtering_) applyFilter(search_->text());
          return;
        }
        const bool cancelled = read.status().code() == StatusCode::kCancelled;
        tree_->setWeightsRemark(slot, tr("not read: close and open this to try again"));
        if (!cancelled) showProblem(tr("The weights could not be read: %1.").arg(labelText(read.status().text(), 300)));
      });
  poll_.start();
}

void ModelPanel::pollWeights() {
  bool running = false;
  const std::vector<JobSnapshot> jobs = session().jobs();
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    if (!weightsJob_[slot]) continue;
    running = true;
    for (const JobSnapshot& j : jobs)
      if (j.id == weightsJob_[slot] && j.state == JobState::kRunning)
        tree_->setWeightsRemark(slot, tr("reading… %1 %").arg(static_cast<int>(j.progress.fraction * 100)));
  }
  if (!running) poll_.stop();
}

void ModelPanel::copyName() {
  const QString name = current().data(ModelTree::kNameRole).toString();
  if (name.isEmpty()) return;
  QGuiApplication::clipboard()->setText(name);
  Q_EMIT hoverText(tr("Copied %1").arg(name));
}

void ModelPanel::copyCommand() {
  const QString command = captureCommand(current());
  if (command.isEmpty()) return;
  QGuiApplication::clipboard()->setText(command);
  Q_EMIT hoverText(tr("Copied %1").arg(command));
}

QString ModelPanel::captureCommand(const QModelIndex& index) const {
  const QString capture = index.data(ModelTree::kCaptureRole).toString();
  const int slot = index.data(ModelTree::kSlotRole).toInt();
  const app::ModelPtr model = tree_->model(slot);
  if (capture.isEmpty() || !model) return {};
  const PromptPair* pair = session().currentPair(slot);
  const QString prompt = pair && !pair->clean.empty() ? QString::fromStdString(pair->clean) : QStringLiteral("PROMPT");
  QString file = index.data(ModelTree::kNameRole).toString();
  file.replace(QLatin1Char('/'), QLatin1Char('_'));
  return QStringLiteral("microtome forward --model %1 --prompt %2 --capture %3 --out %4")
      .arg(shellWord(QString::fromStdString(model->facts().folder)), shellWord(prompt), shellWord(capture),
           shellWord(file + QStringLiteral(".safetensors")));
}

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_model(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{
      QStringLiteral("model"),
      QObject::tr("Model"),
      QObject::tr("What is inside the open models: blocks, hook points with their shapes, weights with their norms."),
      PanelArea::kLeft,
      10,
      QStringLiteral("Ctrl+M")};
  registry.add({info, [info](Session& s, QWidget* parent) -> Panel* { return new ModelPanel(s, info, parent); }});
}

}  // namespace microtome::panels
