// Project: the runs of the project file and what follows from them, with what can be done to each.
#include <QClipboard>
#include <QFileDialog>
#include <QGuiApplication>
#include <QHeaderView>
#include <QKeyEvent>
#include <QLineEdit>
#include <QMenu>
#include <QStackedWidget>
#include <QToolButton>
#include <QTreeView>
#include <QTimer>
#include <QVBoxLayout>

#include "app/desktop/panels/project/run_tree.h"
#include "app/desktop/panels/project/strips.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

constexpr int kPollMs = 200;

class ProjectPanel : public Panel {
 public:
  ProjectPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
    makeTitle();
    makeFilter();
    makeTree();
    strips_ = new ProjectStrips(this);
    body()->addWidget(strips_);
    body()->setSpacing(kGrid / 2);
    poll_.setInterval(kPollMs);

    connect(&session, &Session::projectChanged, this, &ProjectPanel::scheduleRefresh);
    connect(&session, &Session::runsChanged, this, &ProjectPanel::scheduleRefresh);
    connect(&session, &Session::modelChanged, this, &ProjectPanel::scheduleRefresh);
    connect(&session, &Session::engineChanged, this, &ProjectPanel::scheduleRefresh);
    connect(&session, &Session::runStarted, this, [this](qint64 job) {
      jobs_.insert(job);
      scheduleRefresh();
    });
    connect(&session.selection(), &Selection::runChanged, this, &ProjectPanel::showRun);
    // What a notice says of the trash is no longer so after an undo.
    connect(&session.undoStack(), &QUndoStack::indexChanged, this, &ProjectPanel::clearBar);
    connect(&poll_, &QTimer::timeout, this, [this] { isVisible() ? pollJobs() : poll_.stop(); });
    connect(strips_, &ProjectStrips::noteGiven, &session, [&session](qint64 run, const QString& note) { session.setNote(run, note); });
    connect(strips_, &ProjectStrips::trashConfirmed, &session, &Session::emptyTrash);
    connect(strips_, &ProjectStrips::compareWanted, this, &ProjectPanel::compare);
    connect(strips_, &ProjectStrips::closed, tree_, [this] { tree_->setFocus(); });
  }

  QByteArray saveState() const override {
    return (QStringList{QString::number(static_cast<int>(filter_->order()))} + folded_.values()).join(QLatin1Char('\n')).toUtf8();
  }
  void restoreState(const QByteArray& state) override {
    QStringList parts = QString::fromUtf8(state).split(QLatin1Char('\n'));
    const int order = parts.takeFirst().toInt();
    if (order >= 0 && order <= static_cast<int>(RunTreeFilter::Order::kState)) setOrder(static_cast<RunTreeFilter::Order>(order));
    folded_ = QSet<QString>(parts.begin(), parts.end());
    unfold();
  }

 protected:
  void refresh() override {
    Session& s = session();
    const bool saved = !s.projectIsUntitled();
    name_->setText(name_->fontMetrics().elidedText(plainLine(s.projectName(), 200), Qt::ElideMiddle, std::max(8 * kGrid, name_->width())));
    name_->setToolTip(saved ? tipText(s.projectPath()) : tr("Kept by the app until you save it under a name"));
    ProjectFacts facts = jobFacts();
    for (int slot = 0; slot < Session::kSlots; ++slot)
      if (s.model(slot)) marks_[QString::fromStdString(s.model(slot)->facts().folder)] = markOf(s.model(slot)->facts());
    lookAtModels();
    facts.marks = marks_;
    filling_ = true;
    model_->refresh(facts);
    filling_ = false;
    const bool none = s.runs().empty() && s.trashedRuns().empty() && facts.underWay.empty();
    if (none) {
      if (s.model(0))
        empty_->setText(tr("No runs yet"), tr("What you run is kept here and need not be computed twice."),
                        tr("Choose an analysis"));
      else
        empty_->setText(tr("No runs yet"), tr("Open a model folder, or see the two models that ship with Microtome."),
                        tr("Try the demo"));
    }
    stack_->setCurrentIndex(none ? 0 : 1);
    filterField_->setVisible(!none);
    sort_->setVisible(!none);
    unfold();
    showRun(s.selection().run());
    updateCompare();
  }

  void resizeEvent(QResizeEvent* event) override {
    Panel::resizeEvent(event);
    scheduleRefresh();                 // the name is cut to what fits
  }

  bool eventFilter(QObject* object, QEvent* event) override {
    if (object == filterField_ && event->type() == QEvent::KeyPress && static_cast<QKeyEvent*>(event)->key() == Qt::Key_Down) {
      tree_->setFocus();
      return true;
    }
    if (object == tree_ && event->type() == QEvent::KeyPress && onKey(static_cast<QKeyEvent*>(event))) return true;
    return Panel::eventFilter(object, event);
  }

 private:
  void makeTitle() {
    auto* row = new QHBoxLayout;
    row->setSpacing(kGrid / 2);
    name_ = new QLabel(this);
    name_->setObjectName(QStringLiteral("project_name"));
    name_->setProperty("role", QStringLiteral("section"));
    name_->setTextFormat(Qt::PlainText);
    name_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    row->addWidget(name_, 1);
    const auto button = [&](const QString& text, const QString& tip) {
      auto* b = new QToolButton(this);
      b->setText(text);
      b->setToolTip(tip);
      b->setFocusPolicy(Qt::StrongFocus);
      row->addWidget(b);
      return b;
    };
    connect(button(tr("Open…"), tr("Open a project file, or make a new one")), &QToolButton::clicked, this, [this] {
      const QString path = QFileDialog::getSaveFileName(this, tr("Open or make a project"), session().projectPath(),
                                                        kinds(), nullptr, QFileDialog::DontConfirmOverwrite);
      if (!path.isEmpty()) session().openProject(path);
    });
    connect(button(tr("Save as…"), tr("Copy the project with all its results to a place of its own")),
            &QToolButton::clicked, this, [this] {
              const QString path = QFileDialog::getSaveFileName(this, tr("Save the project"), QString(), kinds());
              if (!path.isEmpty()) session().saveProjectAs(path);
            });
    body()->addLayout(row);
  }
  static QString kinds() { return tr("Microtome projects (*.microtome)"); }

  void makeFilter() {
    auto* row = new QHBoxLayout;
    row->setSpacing(kGrid / 2);
    filterField_ = new QLineEdit(this);
    filterField_->setObjectName(QStringLiteral("filter"));
    filterField_->setPlaceholderText(tr("Filter"));
    filterField_->setClearButtonEnabled(true);
    filterField_->setAccessibleName(tr("Filter the project"));
    filterField_->installEventFilter(this);
    row->addWidget(filterField_, 1);
    sort_ = new QToolButton(this);
    sort_->setObjectName(QStringLiteral("order"));
    sort_->setPopupMode(QToolButton::InstantPopup);
    sort_->setFocusPolicy(Qt::StrongFocus);
    sort_->setToolTip(tr("Order of the runs"));
    auto* menu = new QMenu(sort_);
    const QString names[] = {tr("Newest first"), tr("Oldest first"), tr("By analysis"), tr("By model"), tr("By prompts"), tr("By state")};
    for (int i = 0; i < 6; ++i) menu->addAction(names[i], this, [this, i] { setOrder(static_cast<RunTreeFilter::Order>(i)); });
    sort_->setMenu(menu);
    row->addWidget(sort_);
    body()->addLayout(row);
    connect(filterField_, &QLineEdit::textChanged, this, [this](const QString& text) {
      filter_->setText(text);
      unfold();
    });
  }

  void makeTree() {
    model_ = new RunTree(this);
    filter_ = new RunTreeFilter(model_, this);
    tree_ = new QTreeView(this);
    tree_->setObjectName(QStringLiteral("runs"));
    tree_->setAccessibleName(tr("Runs of the project"));
    tree_->setModel(filter_);
    tree_->setItemDelegate(new RowDelegate(tree_));
    tree_->header()->hide();
    tree_->setRootIsDecorated(false);
    tree_->setIndentation(kGrid / 2);
    tree_->setSelectionMode(QAbstractItemView::ExtendedSelection);
    tree_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    tree_->setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
    tree_->setMouseTracking(true);
    tree_->setContextMenuPolicy(Qt::CustomContextMenu);
    tree_->setExpandsOnDoubleClick(false);
    tree_->installEventFilter(this);
    empty_ = new EmptyState({}, {}, {}, this);
    stack_ = new QStackedWidget(this);
    stack_->addWidget(empty_);
    stack_->addWidget(tree_);
    body()->addWidget(stack_, 1);
    setOrder(RunTreeFilter::Order::kNewest);
    connect(empty_, &EmptyState::pressed, this, [this] {
      if (session().model(0)) Q_EMIT session().panelWanted(QStringLiteral("analysis"));
      else session().openDemo();
    });
    connect(tree_, &QTreeView::activated, this, &ProjectPanel::open);
    connect(tree_, &QTreeView::clicked, this, [this](const QModelIndex& index) {
      if (!filter_->row(index)) tree_->setExpanded(index, !tree_->isExpanded(index));
    });
    connect(tree_, &QTreeView::collapsed, this, [this](const QModelIndex& i) { fold(i, true); });
    connect(tree_, &QTreeView::expanded, this, [this](const QModelIndex& i) { fold(i, false); });
    connect(tree_->selectionModel(), &QItemSelectionModel::selectionChanged, this, [this] {
      const QList<qint64> runs = selectedRuns();
      updateCompare();
      if (filling_ || showing_ || runs.isEmpty()) return;
      // A second one marked for comparing leaves the first on show.
      if (runs.size() == 1 || !runs.contains(session().selection().run()))
        session().selection().setRun(runs.size() == 1 ? runs.front() : runs.back());
    });
    connect(tree_, &QTreeView::customContextMenuRequested, this,
            [this](const QPoint& at) { showMenu(tree_->viewport()->mapToGlobal(at)); });
  }

  ProjectFacts jobFacts() {
    ProjectFacts facts;
    facts.session = &session();
    for (const JobSnapshot& job : session().jobs()) {
      if (!jobs_.contains(job.id)) continue;
      if (job.state == JobState::kQueued || job.state == JobState::kRunning) facts.underWay.push_back(job);
      else jobs_.remove(job.id);
    }
    if (facts.underWay.empty()) poll_.stop();
    else if (!poll_.isActive()) poll_.start();
    return facts;
  }
  // Five times a second while something runs: the list of runs may be long and does not change by that.
  void pollJobs() {
    filling_ = true;
    model_->refresh(jobFacts(), kJobsGroup);
    filling_ = false;
    unfold();
  }

  // ---- what is selected

  QList<const ProjectRow*> selectedRows() const {
    QList<const ProjectRow*> out;
    for (const QModelIndex& i : tree_->selectionModel()->selectedIndexes())
      if (const ProjectRow* row = filter_->row(i)) out << row;
    return out;
  }
  QList<qint64> selectedRuns() const {
    QList<qint64> out;
    for (const ProjectRow* row : selectedRows())
      if (row->run != 0 && !out.contains(row->run)) out << row->run;
    return out;
  }

  void showRun(qint64 run) {
    if (selectedRuns().contains(run)) return;
    showing_ = true;
    QModelIndex at = model_->find(QStringLiteral("run:%1").arg(run));
    if (!at.isValid()) at = model_->find(QStringLiteral("trash:%1").arg(run));
    const QModelIndex index = filter_->mapFromSource(at);
    if (index.isValid()) {
      tree_->setCurrentIndex(index);
      tree_->scrollTo(index);
    } else if (run == 0 && !selectedRuns().isEmpty()) {
      tree_->clearSelection();
    }
    showing_ = false;
  }

  void updateCompare() {
    const QList<qint64> runs = selectedRuns();
    if (runs.size() == 2) strips_->offerCompare(std::min(runs[0], runs[1]), std::max(runs[0], runs[1]));
    else strips_->offerCompare(0, 0);
  }

  void fold(const QModelIndex& proxy, bool on) {
    const ProjectGroup* group = model_->group(filter_->mapToSource(proxy));
    if (!group || showing_ || filling_ || unfolding_) return;
    if (on) folded_.insert(group->id);
    else folded_.remove(group->id);
  }
  void unfold() {
    unfolding_ = true;
    for (int i = 0; i < filter_->rowCount(); ++i) {
      const QModelIndex index = filter_->index(i, 0);
      const ProjectGroup* group = model_->group(filter_->mapToSource(index));
      if (group) tree_->setExpanded(index, !folded_.contains(group->id));
    }
    unfolding_ = false;
  }

  void setOrder(RunTreeFilter::Order order) {
    filter_->setOrder(order);
    sort_->setText(sort_->menu()->actions().at(static_cast<int>(order))->text());
  }

  // ---- what is done

  void open(const QModelIndex& index) {
    const ProjectRow* row = filter_->row(index);
    if (!row) return;
    if (row->run != 0) {
      session().selection().setRun(row->run);
      Q_EMIT session().panelWanted(QStringLiteral("results"));
    } else if (row->job != 0) {
      Q_EMIT session().panelWanted(QStringLiteral("jobs"));
    } else if (!row->modelPath.isEmpty()) {
      session().openModel(row->modelPath, 0);
    } else if (!row->filter.isEmpty()) {
      filterField_->setText(row->filter);
    }
  }

  void compare(qint64 a, qint64 b) {
    session().selection().setRun(a);
    session().selection().setCompareRun(b);
    Q_EMIT session().panelWanted(QStringLiteral("results"));
  }

  void copyCommands(const QList<qint64>& runs) {
    QStringList lines;
    for (qint64 id : runs)
      if (const RunRecord* r = session().findRun(id); r && !r->command.empty()) lines << QString::fromStdString(r->command);
    if (lines.isEmpty()) {
      showNotice(tr("This run was stored without a command line."));
      return;
    }
    QGuiApplication::clipboard()->setText(lines.join(QLatin1Char('\n')));
    showNotice(lines.size() == 1 ? tr("The command that repeats the run is on the clipboard.")
                                 : tr("%1 commands are on the clipboard.").arg(lines.size()));
  }

  void repeat(qint64 run) {
    const RunRecord* r = session().findRun(run);
    if (!r) return;
    QString why;
    if (auto request = requestOf(session(), *r, &why)) {
      request->again = true;
      session().run(*request);
    } else {
      showNotice(why);
    }
  }

  void remove(bool restore) {
    QList<qint64> runs;
    for (const ProjectRow* row : selectedRows())
      if (row->run != 0 && row->artifact.isEmpty() && row->trashed == restore && !runs.contains(row->run)) runs << row->run;
    if (runs.isEmpty()) return;
    QUndoStack& undo = session().undoStack();
    if (runs.size() > 1) undo.beginMacro(restore ? tr("restore %1 runs").arg(runs.size()) : tr("delete %1 runs").arg(runs.size()));
    for (qint64 id : runs) restore ? session().restoreRun(id) : session().deleteRun(id);
    if (runs.size() > 1) undo.endMacro();
    if (!restore)
      showNotice(runs.size() == 1 ? tr("Run %1 is in the trash: Ctrl+Z brings it back.").arg(runs.front())
                                  : tr("%1 runs are in the trash: Ctrl+Z brings them back.").arg(runs.size()));
  }

  void editNote(qint64 run) {
    if (const RunRecord* r = session().findRun(run)) strips_->editNote(run, QString::fromStdString(r->note));
  }

  bool onKey(QKeyEvent* event) {
    const QList<qint64> runs = selectedRuns();
    const QModelIndex current = tree_->currentIndex();
    if (event->key() == Qt::Key_Delete) {
      for (const ProjectRow* row : selectedRows())
        if (row->job != 0) session().cancel(row->job);
      remove(false);
      return true;
    }
    if (event->matches(QKeySequence::Copy)) {
      if (!runs.isEmpty()) copyCommands(runs);
      return true;
    }
    if (event->key() == Qt::Key_F2 && runs.size() == 1) {
      editNote(runs.front());
      return true;
    }
    if ((event->key() == Qt::Key_Return || event->key() == Qt::Key_Enter || event->key() == Qt::Key_Space) &&
        current.isValid() && !filter_->row(current)) {
      tree_->setExpanded(current, !tree_->isExpanded(current));
      return true;
    }
    return false;
  }

  void showMenu(const QPoint& at) {
    const QList<const ProjectRow*> rows = selectedRows();
    auto* menu = new QMenu(this);
    menu->setAttribute(Qt::WA_DeleteOnClose);
    const auto add = [&](const QString& text, const QKeySequence& key, std::function<void()> does, bool on = true) {
      QAction* action = menu->addAction(text, this, std::move(does));
      if (!key.isEmpty()) action->setShortcut(key);
      action->setEnabled(on);
    };
    const QList<qint64> runs = selectedRuns();
    if (rows.size() == 1 && rows.front()->job != 0) {
      add(tr("Cancel"), Qt::Key_Delete, [this, job = rows.front()->job] { session().cancel(job); });
    } else if (!runs.isEmpty()) {
      const bool one = runs.size() == 1;
      const bool trashed = rows.front()->trashed;
      add(tr("Open"), Qt::Key_Return, [this] { open(tree_->currentIndex()); }, one);
      add(tr("Compare two"), {}, [this, runs] { compare(std::min(runs[0], runs[1]), std::max(runs[0], runs[1])); }, runs.size() == 2);
      menu->addSeparator();
      add(tr("Add note…"), Qt::Key_F2, [this, runs] { editNote(runs.front()); }, one && !trashed);
      add(tr("Copy as command"), QKeySequence::Copy, [this, runs] { copyCommands(runs); });
      add(tr("Repeat"), {}, [this, runs] { repeat(runs.front()); }, one);
      menu->addSeparator();
      if (trashed) add(tr("Restore"), {}, [this] { remove(true); });
      else add(tr("Delete"), Qt::Key_Delete, [this] { remove(false); });
    } else if (rows.size() == 1) {
      const ProjectRow row = *rows.front();
      if (!row.modelPath.isEmpty()) {
        add(tr("Open model"), Qt::Key_Return, [this, row] { session().openModel(row.modelPath, 0); });
        add(tr("Open beside the first"), {}, [this, row] { session().openModel(row.modelPath, 1); }, session().model(0) != nullptr);
      }
      if (!row.filter.isEmpty()) add(tr("Show its runs"), {}, [this, row] { filterField_->setText(row.filter); });
    }
    if (!session().trashedRuns().empty()) {
      menu->addSeparator();
      add(tr("Empty trash…"), {}, [this] { strips_->askEmptyTrash(static_cast<int>(session().trashedRuns().size())); });
    }
    if (menu->isEmpty()) delete menu;
    else menu->popup(at);
  }

  // Kinds of layers of models that are not open, from their config alone.
  void lookAtModels() {
    app::Engine* engine = session().engine();
    if (!engine) return;
    QStringList paths;
    for (const RunRecord& r : session().runs()) {
      const QString path = QString::fromStdString(r.spec.model_path);
      if (!path.isEmpty() && !marks_.contains(path)) paths << path;
      if (!path.isEmpty() && !marks_.contains(path)) marks_[path] = RowMark::kUnknown;
    }
    if (paths.isEmpty()) return;
    session().post(tr("Looking at the project's models"), QStringLiteral("light"), this, [engine, paths](Progress& p) {
      QHash<QString, RowMark> out;
      for (const QString& path : paths) {
        p.check();
        // A folder that is gone is no problem of the project.
        (void)catch_status([&] { out[path] = markOf(engine->inspect(path.toStdString())); });
      }
      return out;
    }, [this](const Result<QHash<QString, RowMark>>& marks) {
      if (!marks) return;
      for (auto it = marks.value().constBegin(); it != marks.value().constEnd(); ++it) marks_[it.key()] = it.value();
      scheduleRefresh();
    });
  }

  QLabel* name_;
  QLineEdit* filterField_;
  QToolButton* sort_;
  QStackedWidget* stack_;
  EmptyState* empty_;
  QTreeView* tree_;
  RunTree* model_;
  RunTreeFilter* filter_;
  ProjectStrips* strips_;
  QTimer poll_;
  QSet<qint64> jobs_;                  // started here, not ended yet
  QHash<QString, RowMark> marks_;
  QSet<QString> folded_ = {QStringLiteral("trash")};
  bool filling_ = false, showing_ = false, unfolding_ = false;
};

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_project(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("project"), QObject::tr("Project"),
                       QObject::tr("The runs of the project, the models and prompts they used, notes and the trash."),
                       PanelArea::kLeft, 0, QStringLiteral("Ctrl+J")};
  registry.add({info, [info](Session& session, QWidget* parent) { return new ProjectPanel(session, info, parent); }});
}

}  // namespace microtome::panels
