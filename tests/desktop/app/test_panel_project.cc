// Project: what it lists, finds and sorts, and what a person does with runs.
#include <QAbstractItemModelTester>
#include <QApplication>
#include <QClipboard>
#include <QLineEdit>
#include <QMenu>
#include <QPushButton>
#include <QSignalSpy>
#include <QToolButton>
#include <QTreeView>

#include "app/desktop/panels/project/run_tree.h"
#include "app/desktop/session/run_facts.h"
#include "tests/desktop/app/panel_runs.h"

namespace microtome::desktop {
namespace {

class ProjectPanelTest : public PanelRunsTest {
 protected:
  void open(const QSize& size = QSize(272, 560)) {
    panel_.reset(makePanel("project", size));
    ASSERT_TRUE(panel_);
    tree_ = panel_->findChild<QTreeView*>(QStringLiteral("runs"));
    ASSERT_TRUE(tree_);
    QTest::qWait(50);
  }
  void TearDown() override {
    panel_.reset();
    PanelRunsTest::TearDown();
  }
  QModelIndex group(const QString& title) const {
    for (int i = 0; i < tree_->model()->rowCount(); ++i)
      if (tree_->model()->index(i, 0).data().toString() == title) return tree_->model()->index(i, 0);
    return {};
  }
  QStringList titles(const QString& of) const {
    QStringList out;
    const QModelIndex parent = group(of);
    for (int i = 0; parent.isValid() && i < tree_->model()->rowCount(parent); ++i)
      out << tree_->model()->index(i, 0, parent).data().toString();
    return out;
  }
  QModelIndex row(const QString& of, const QString& start) const {
    const QModelIndex parent = group(of);
    for (int i = 0; parent.isValid() && i < tree_->model()->rowCount(parent); ++i)
      if (tree_->model()->index(i, 0, parent).data().toString().startsWith(start)) return tree_->model()->index(i, 0, parent);
    return {};
  }
  // Opens the context menu as the right button does and takes an entry.
  bool takeFromMenu(const QString& start) {
    tree_->customContextMenuRequested(QPoint(4, 4));
    auto* menu = qobject_cast<QMenu*>(QApplication::activePopupWidget());
    if (!menu) return false;
    bool taken = false;
    for (QAction* action : menu->actions())
      if (!taken && action->text().startsWith(start) && action->isEnabled()) {
        action->trigger();
        taken = true;
      }
    menu->close();
    return taken;
  }
  std::unique_ptr<Panel> panel_;
  QTreeView* tree_ = nullptr;
};

TEST_F(ProjectPanelTest, AnEmptyProjectSaysWhatToDo) {
  open();
  QSignalSpy wanted(session_.get(), &Session::panelWanted);
  EXPECT_FALSE(tree_->isVisible());
  QPushButton* go = nullptr;
  for (QPushButton* b : panel_->findChildren<QPushButton*>())
    if (b->isVisible()) go = b;
  ASSERT_TRUE(go);
  EXPECT_EQ(go->text().toStdString(), "Try the demo");
  picture(panel_.get(), QStringLiteral("project_empty"));
}

TEST_F(ProjectPanelTest, ListsRunsModelsDatasetsAndNotes) {
  openTwins(4);
  const qint64 a = runAnalysis("attention"), b = runAnalysis("attention", {}, 1),
               c = runAnalysis("head_probes", {{"n", "12"}, {"batch", "2"}});
  const qint64 d = leaveUnfinished(a, QStringLiteral("logit_lens"), "the disk is full");
  session_->setViewNote(b, QStringLiteral("patterns"), QStringLiteral("the diagonal is gone"));
  ASSERT_TRUE(settle());
  open();
  auto* model = panel_->findChild<RunTree*>();
  ASSERT_TRUE(model);
  QAbstractItemModelTester source(model, QAbstractItemModelTester::FailureReportingMode::Fatal);
  QAbstractItemModelTester filtered(tree_->model(), QAbstractItemModelTester::FailureReportingMode::Fatal);

  const QStringList runs = titles(QStringLiteral("Runs"));
  ASSERT_EQ(runs.size(), 4);
  EXPECT_TRUE(runs.front().startsWith(QString::number(d))) << "newest first";
  const QModelIndex first = row(QStringLiteral("Runs"), QString::number(a));
  EXPECT_EQ(first.data(RowRole::kDetail).toString().toStdString(), "zoo-llama · ioi");
  EXPECT_EQ(first.data(RowRole::kMark).toInt(), static_cast<int>(RowMark::kSoftmax));
  EXPECT_EQ(row(QStringLiteral("Runs"), QString::number(b)).data(RowRole::kMark).toInt(), static_cast<int>(RowMark::kRecurrent));
  EXPECT_FALSE(first.data(RowRole::kProgress).isValid());
  EXPECT_TRUE(first.data(RowRole::kNote).toBool()) << "a run's own note";
  EXPECT_TRUE(row(QStringLiteral("Runs"), QString::number(b)).data(RowRole::kNote).toBool()) << "a note on a picture";
  EXPECT_FALSE(row(QStringLiteral("Runs"), QString::number(c)).data(RowRole::kNote).toBool());
  const QModelIndex failed = row(QStringLiteral("Runs"), QString::number(d));
  EXPECT_EQ(failed.data(RowRole::kState).toString().toStdString(), "failed");
  EXPECT_EQ(failed.data(RowRole::kTone).toInt(), static_cast<int>(RowTone::kError));
  EXPECT_DOUBLE_EQ(failed.data(RowRole::kProgress).toDouble(), 0.0);
  EXPECT_EQ(titles(QStringLiteral("Models")).size(), 2);
  EXPECT_EQ(row(QStringLiteral("Models"), QStringLiteral("zoo-llama")).data(RowRole::kDetail).toString().toStdString(), "3 runs");
  // Each twin has a tokenizer of its own or the same one: as many datasets as hashes.
  QSet<QString> hashes;
  for (const RunRecord& r : session_->runs())
    if (!r.spec.dataset_hash.empty()) hashes << QString::fromStdString(r.spec.dataset_hash);
  EXPECT_EQ(titles(QStringLiteral("Datasets")).size(), hashes.size());
  EXPECT_EQ(titles(QStringLiteral("Notes")).size(), 2);
  EXPECT_FALSE(group(QStringLiteral("Trash")).isValid()) << "an empty trash is not shown";
  click(tree_, first);
  picture(panel_.get(), QStringLiteral("project"));

  // Words of any column, all of them.
  auto* filter = panel_->findChild<QLineEdit*>(QStringLiteral("filter"));
  QTest::keyClicks(filter, QStringLiteral("gated attention"));
  EXPECT_EQ(titles(QStringLiteral("Runs")).size(), 1);
  EXPECT_TRUE(titles(QStringLiteral("Runs")).front().startsWith(QString::number(b)));
  EXPECT_FALSE(group(QStringLiteral("Datasets")).isValid());
  filter->setText(QStringLiteral("baseline"));
  EXPECT_EQ(titles(QStringLiteral("Runs")).size(), 1) << "a note is found too";
  filter->clear();
  EXPECT_EQ(titles(QStringLiteral("Runs")).size(), 4);

  // Orders.
  auto* order = panel_->findChild<QToolButton*>(QStringLiteral("order"));
  order->menu()->actions().at(1)->trigger();
  EXPECT_TRUE(titles(QStringLiteral("Runs")).front().startsWith(QString::number(a)));
  order->menu()->actions().at(3)->trigger();
  EXPECT_TRUE(titles(QStringLiteral("Runs")).front().startsWith(QString::number(b))) << "zoo-gated_deltanet before zoo-llama";
  const QByteArray state = panel_->saveState();
  open();
  panel_->restoreState(state);
  EXPECT_EQ(panel_->findChild<QToolButton*>(QStringLiteral("order"))->text().toStdString(), "By model");
}

TEST_F(ProjectPanelTest, SelectsOpensComparesAndCopies) {
  openTwins(4);
  const qint64 a = runAnalysis("attention"), b = runAnalysis("attention", {}, 1);
  open();
  QSignalSpy wanted(session_.get(), &Session::panelWanted);
  click(tree_, row(QStringLiteral("Runs"), QString::number(a)));
  EXPECT_EQ(session_->selection().run(), a);
  QTest::keyClick(tree_, Qt::Key_Return);
  ASSERT_EQ(wanted.size(), 1);
  EXPECT_EQ(wanted[0][0].toString().toStdString(), "results");

  auto* compare = panel_->findChild<QPushButton*>(QStringLiteral("compare"));
  EXPECT_FALSE(compare->isVisible());
  click(tree_, row(QStringLiteral("Runs"), QString::number(b)), Qt::ControlModifier);
  EXPECT_TRUE(compare->isVisible());
  EXPECT_EQ(session_->selection().compareRun(), 0);
  picture(panel_.get(), QStringLiteral("project_two"));
  QTest::mouseClick(compare, Qt::LeftButton);
  EXPECT_EQ(session_->selection().run(), a);
  EXPECT_EQ(session_->selection().compareRun(), b);
  EXPECT_EQ(wanted.size(), 2);
  // Another run ends it.
  click(tree_, row(QStringLiteral("Runs"), QString::number(b)));
  EXPECT_EQ(session_->selection().run(), b);
  EXPECT_EQ(session_->selection().compareRun(), 0);

  QTest::keyClick(tree_, Qt::Key_C, Qt::ControlModifier);
  EXPECT_EQ(QApplication::clipboard()->text().toStdString(), session_->findRun(b)->command);
  EXPECT_TRUE(QApplication::clipboard()->text().contains(QStringLiteral("microtome run attention")));
  // What is chosen elsewhere is shown here.
  session_->selection().setRun(a);
  EXPECT_TRUE(tree_->currentIndex().data().toString().startsWith(QString::number(a)));
}

TEST_F(ProjectPanelTest, NotesTrashAndUndo) {
  openTwins(2, false);
  const qint64 a = runAnalysis("attention"), b = runAnalysis("logit_lens");
  open();
  click(tree_, row(QStringLiteral("Runs"), QString::number(a)));
  QTest::keyClick(tree_, Qt::Key_F2);
  auto* note = panel_->findChild<QLineEdit*>(QStringLiteral("note"));
  ASSERT_TRUE(note->isVisible());
  QTest::keyClicks(note, QStringLiteral("sinks at the start token"));
  QTest::keyClick(note, Qt::Key_Return);
  EXPECT_FALSE(note->isVisible());
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->findRun(a)->note, "sinks at the start token");
  EXPECT_EQ(titles(QStringLiteral("Notes")), QStringList{QStringLiteral("sinks at the start token")});

  // Both at once; one undo brings both back.
  click(tree_, row(QStringLiteral("Runs"), QString::number(a)));
  click(tree_, row(QStringLiteral("Runs"), QString::number(b)), Qt::ControlModifier);
  QTest::keyClick(tree_, Qt::Key_Delete);
  ASSERT_TRUE(settle());
  EXPECT_TRUE(session_->runs().empty());
  EXPECT_EQ(session_->trashedRuns().size(), 2u);
  EXPECT_TRUE(group(QStringLiteral("Trash")).isValid());
  EXPECT_TRUE(titles(QStringLiteral("Notes")).isEmpty());
  picture(panel_.get(), QStringLiteral("project_trash"));
  session_->undoStack().undo();
  ASSERT_TRUE(settle());
  EXPECT_EQ(titles(QStringLiteral("Runs")).size(), 2);

  // Emptying asks first, and keeps on Keep.
  session_->deleteRun(a);
  ASSERT_TRUE(settle());
  ASSERT_TRUE(takeFromMenu(QStringLiteral("Empty trash")));
  EXPECT_EQ(session_->trashedRuns().size(), 1u) << "nothing is gone before the answer";
  auto* go = panel_->findChild<QPushButton*>(QStringLiteral("empty_trash"));
  ASSERT_TRUE(go->isVisible());
  picture(panel_.get(), QStringLiteral("project_empty_trash"));
  QTest::mouseClick(go, Qt::LeftButton);
  ASSERT_TRUE(settle());
  EXPECT_TRUE(session_->trashedRuns().empty());
  EXPECT_EQ(session_->store()->trash().value().size(), 0u);
  EXPECT_EQ(session_->runs().size(), 1u);
}

TEST_F(ProjectPanelTest, RepeatsAndRestores) {
  openTwins(2, false);
  const qint64 a = runAnalysis("attention", {{"epsilon", "0.25"}});
  open();
  click(tree_, row(QStringLiteral("Runs"), QString::number(a)));
  QSignalSpy finished(session_.get(), &Session::runFinished);
  ASSERT_TRUE(takeFromMenu(QStringLiteral("Repeat")));
  ASSERT_TRUE(settle());
  ASSERT_EQ(finished.size(), 1) << problems_.join(QLatin1Char('\n')).toStdString();
  EXPECT_EQ(finished[0][3].value<RunViewPtr>()->record.id, a) << "the same key, computed anew";
  EXPECT_EQ(session_->runs().size(), 1u);
  EXPECT_EQ(session_->store()->attempts(a).value().size(), 2u);
  // On other prompts it would be another run: a sentence says so, and nothing starts.
  PromptSource other;
  other.kind = PromptSource::Kind::kTask;
  other.task = QStringLiteral("ioi");
  other.count = 3;
  session_->setTask(other);
  ASSERT_TRUE(waitUntil([&] { return session_->prompts().bySlot[0] && session_->prompts().bySlot[0]->pairs.size() == 3; }));
  ASSERT_TRUE(takeFromMenu(QStringLiteral("Repeat")));
  ASSERT_TRUE(settle());
  EXPECT_EQ(finished.size(), 1);
  bool told = false;
  for (QLabel* l : panel_->findChildren<QLabel*>()) told = told || (l->isVisible() && l->text().contains(QStringLiteral("other prompts")));
  EXPECT_TRUE(told);

  QTest::keyClick(tree_, Qt::Key_Delete);
  ASSERT_TRUE(settle());
  tree_->expand(group(QStringLiteral("Trash")));
  click(tree_, row(QStringLiteral("Trash"), QString::number(a)));
  ASSERT_TRUE(takeFromMenu(QStringLiteral("Restore")));
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->runs().size(), 1u);
  EXPECT_TRUE(session_->store()->trash().value().empty());
}

TEST_F(ProjectPanelTest, ARunUnderWayHasARowThatCanBeCancelled) {
  openTwins(96, false);
  open();
  RunRequest request;
  request.analysis = QStringLiteral("activation_patching");
  request.params = {{"by_position", "true"}, {"batch_size", "1"}};
  QSignalSpy failed(session_.get(), &Session::runFailed);
  ASSERT_NE(session_->run(request), 0);
  ASSERT_TRUE(waitUntil([&] { return titles(QStringLiteral("Under way")).size() == 1; }));
  const QModelIndex index = row(QStringLiteral("Under way"), QString());
  EXPECT_TRUE(index.data(RowRole::kProgress).isValid());
  ASSERT_TRUE(waitUntil([&] {
    return row(QStringLiteral("Under way"), QString()).data(RowRole::kState).toString().contains(QLatin1Char('%'));
  }));
  QTest::qWait(300);
  picture(panel_.get(), QStringLiteral("project_running"));
  click(tree_, row(QStringLiteral("Under way"), QString()));
  QTest::keyClick(tree_, Qt::Key_Delete);
  ASSERT_TRUE(waitUntil([&] { return failed.size() == 1; }));
  EXPECT_TRUE(failed[0][4].toBool()) << "cancelled";
  ASSERT_TRUE(settle());
  EXPECT_FALSE(group(QStringLiteral("Under way")).isValid());
  // What was computed is a run that can go on.
  ASSERT_EQ(session_->runs().size(), 1u);
  EXPECT_NE(session_->runs().front().state, RunStatus::kDone);
  ASSERT_TRUE(waitUntil([&] { return row(QStringLiteral("Runs"), QString::number(session_->runs().front().id)).isValid(); }));
}

TEST(RunFacts, TimesAndDurations) {
  EXPECT_EQ(durationText(0.00014).toStdString(), "< 0.01 s");
  EXPECT_EQ(durationText(0.42).toStdString(), "0.42 s");
  EXPECT_EQ(durationText(12.4).toStdString(), "12 s");
  EXPECT_EQ(durationText(200).toStdString(), "3 min 20 s");
  EXPECT_EQ(durationText(7500).toStdString(), "2 h 5 min");
  EXPECT_EQ(durationText(-1).toStdString(), "–");
  EXPECT_EQ(durationText(1e300).toStdString(), durationText(3.2e9).toStdString());
  EXPECT_EQ(shortTime("nonsense\n").contains(QLatin1Char('\n')), false);
  const QDateTime now = QDateTime::currentDateTimeUtc();
  EXPECT_EQ(shortTime(now.toString(Qt::ISODate).toStdString()), now.toLocalTime().toString(QStringLiteral("HH:mm")));
  RunRecord r;
  r.state = RunStatus::kPartial;
  r.items_done = 3;
  r.items_total = 8;
  EXPECT_EQ(runStateText(r).toStdString(), "3 of 8 items");
  r.title = std::string(5000, 'x') + "\n\xe2\x80\xae";
  EXPECT_LE(runTitle(r).size(), 210);
}

}  // namespace
}  // namespace microtome::desktop
