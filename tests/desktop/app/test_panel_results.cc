// Results: a run as it is stored, two side by side with what differs, and what is said where there is no result yet.
#include <QAbstractItemModel>
#include <QApplication>
#include <QClipboard>
#include <QPushButton>
#include <QSignalSpy>
#include <QTabWidget>
#include <QTableView>
#include <QToolButton>

#include "app/desktop/panels/results/differences.h"
#include "app/desktop/panels/results/run_pane.h"
#include "app/desktop/views/summary_view.h"
#include "app/desktop/views/table_view.h"
#include "core/store/explain.h"
#include "tests/desktop/app/panel_runs.h"

namespace microtome::desktop {
namespace {

class ResultsPanelTest : public PanelRunsTest {
 protected:
  void open(const QSize& size = QSize(760, 480)) {
    panel_.reset(makePanel("results", size));
    ASSERT_TRUE(panel_);
    left_ = panel_->findChild<RunPane*>(QStringLiteral("left"));
    right_ = panel_->findChild<RunPane*>(QStringLiteral("right"));
    ASSERT_TRUE(left_ && right_);
    QTest::qWait(50);
  }
  void TearDown() override {
    panel_.reset();
    PanelRunsTest::TearDown();
  }
  QPushButton* shownButton(const QString& text) {
    for (QPushButton* b : panel_->findChildren<QPushButton*>())
      if (b->isVisible() && b->text() == text) return b;
    return nullptr;
  }
  QString shownText() {
    QStringList all;
    for (QLabel* l : panel_->findChildren<QLabel*>())
      if (l->isVisible()) all << l->text();
    return all.join(QLatin1Char('\n'));
  }
  bool shows(RunPane* pane) {
    return waitUntil([&] { return !pane->views().empty(); }, 20000);
  }
  std::unique_ptr<Panel> panel_;
  RunPane *left_ = nullptr, *right_ = nullptr;
};

TEST_F(ResultsPanelTest, NothingSelectedSaysWhatToDo) {
  open();
  EXPECT_TRUE(shownButton(QStringLiteral("Try the demo")));
  EXPECT_TRUE(panel_->views().empty());
  openTwins(2, false);
  const qint64 a = runAnalysis("attention");
  session_->selection().setRun(0);
  QTest::qWait(50);
  QPushButton* newest = shownButton(QStringLiteral("Show the newest"));
  ASSERT_TRUE(newest);
  QTest::mouseClick(newest, Qt::LeftButton);
  EXPECT_EQ(session_->selection().run(), a);
  EXPECT_TRUE(shows(left_));
}

TEST_F(ResultsPanelTest, ShowsARunAsStored) {
  openTwins(8);
  const qint64 a = runAnalysis("attention");
  open();
  session_->selection().setRun(a);
  ASSERT_TRUE(shows(left_));
  EXPECT_FALSE(right_->isVisible());
  EXPECT_TRUE(textOf(left_, "run_title").startsWith(QStringLiteral("Run %1 ·").arg(a)));
  EXPECT_TRUE(textOf(left_, "run_facts").contains(QStringLiteral("zoo-llama · ioi · done")));
  // The numbers are the store's.
  const AnalysisResult stored = session_->store()->result(a).value();
  auto* summary = left_->findChild<SummaryView*>();
  ASSERT_TRUE(summary);
  ASSERT_EQ(summary->model().items().size(), stored.summary.size());
  EXPECT_EQ(summary->model().items().front().value, stored.summary.front().value);
  // Every view can be traced and repeated.
  for (View* view : panel_->views()) {
    EXPECT_EQ(view->sourceRun(), a) << view->title().toStdString();
    EXPECT_EQ(view->command().toStdString(), session_->findRun(a)->command);
  }
  picture(panel_.get(), QStringLiteral("results"));
  // A head that is picked is the selected head, on the run's model.
  session_->selection().setModel(1);
  Q_EMIT left_->result()->cellPicked({{QStringLiteral("layer"), 1},
                                      {QStringLiteral("head"), 2},
                                      {QStringLiteral("q_pos"), 5},
                                      {QStringLiteral("k_pos"), 3}});
  EXPECT_EQ(session_->selection().model(), 0);
  EXPECT_EQ(session_->selection().layer(), 1);
  EXPECT_EQ(session_->selection().head(), 2);
  EXPECT_EQ(session_->selection().position(), 5);
  EXPECT_EQ(session_->selection().keyPosition(), 3);
  // What can't be is not selected.
  Q_EMIT left_->result()->cellPicked({{QStringLiteral("layer"), 9999}, {QStringLiteral("pos"), 100000}});
  EXPECT_EQ(session_->selection().layer(), 1);
  EXPECT_EQ(session_->selection().position(), 5);
}

TEST_F(ResultsPanelTest, TwoRunsSideBySideWithWhatDiffers) {
  openTwins(8);
  const qint64 a = runAnalysis("head_probes", {{"n", "12"}, {"batch", "2"}}),
               b = runAnalysis("head_probes", {{"n", "16"}, {"batch", "2"}}, 1);
  open();
  session_->selection().setRun(a);
  session_->selection().setCompareRun(b);
  ASSERT_TRUE(shows(left_) && shows(right_));
  EXPECT_TRUE(right_->isVisible());
  EXPECT_EQ(right_->run(), b);
  auto* table = panel_->findChild<TableView*>(QStringLiteral("differences"));
  ASSERT_TRUE(table && table->isVisible());
  const auto differences = diff_keys(*session_->findRun(a), *session_->findRun(b));
  ASSERT_EQ(table->model()->rowCount(), static_cast<int>(differences.size()));
  QStringList cells;
  for (int r = 0; r < table->model()->rowCount(); ++r)
    for (int c = 0; c < 3; ++c) cells << table->model()->index(r, c).data().toString();
  const qsizetype n = cells.indexOf(QStringLiteral("n"));
  ASSERT_GE(n, 0) << cells.join(QLatin1Char('|')).toStdString();
  EXPECT_EQ(cells.value(n + 1).toStdString(), "12");
  EXPECT_EQ(cells.value(n + 2).toStdString(), "16");
  EXPECT_TRUE(cells.join(QLatin1Char('|')).contains(QStringLiteral("zoo-gated_deltanet")));
  EXPECT_TRUE(textOf(panel_.get(), "differences_heading").contains(QString::number(differences.size())));
  QTest::qWait(200);
  picture(panel_.get(), QStringLiteral("results_two"));
  panel_->resize(1200, 760);
  QTest::qWait(300);
  picture(panel_.get(), QStringLiteral("results_two_large"));
  EXPECT_GE(panel_->views().size(), 3u);
  // The same part of both.
  auto* tabs = left_->result()->findChild<QTabWidget*>();
  ASSERT_GE(tabs->count(), 2);
  tabs->setCurrentIndex(1);
  EXPECT_FALSE(left_->result()->currentArtifact().isEmpty());
  EXPECT_EQ(right_->result()->currentArtifact(), left_->result()->currentArtifact());
  QTest::qWait(300);
  picture(panel_.get(), QStringLiteral("results_two_maps"));
  // One scale, wide enough for both.
  const auto heat = [](RunPane* pane) {
    for (HeatMapView* map : pane->findChildren<HeatMapView*>())
      if (map->isVisible()) return map;
    return static_cast<HeatMapView*>(nullptr);
  };
  ASSERT_TRUE(heat(left_) && heat(right_));
  EXPECT_EQ(heat(left_)->scale(), heat(right_)->scale());
  const auto& values = *heat(left_)->data().values;
  EXPECT_GE(heat(right_)->scale().second, *std::max_element(values.begin(), values.end()));
  QTest::mouseClick(panel_->findChild<QToolButton*>(QStringLiteral("end_comparison")), Qt::LeftButton);
  QTest::qWait(50);
  EXPECT_FALSE(right_->isVisible());
  EXPECT_EQ(session_->selection().run(), a);
}

TEST_F(ResultsPanelTest, AnUnfinishedRunGoesOn) {
  openTwins(4, false);
  const qint64 a = runAnalysis("attention");
  const qint64 b = leaveUnfinished(a, QStringLiteral("logit_lens"), "the disk is full");
  open();
  session_->selection().setRun(b);
  ASSERT_TRUE(waitUntil([&] { return shownText().contains(QStringLiteral("the disk is full")); }, 10000)) << shownText().toStdString();
  EXPECT_TRUE(shownText().contains(QStringLiteral("This run failed")));
  QTest::qWait(50);
  picture(panel_.get(), QStringLiteral("results_failed"));
  QPushButton* go = shownButton(QStringLiteral("Go on"));
  ASSERT_TRUE(go);
  QTest::mouseClick(go, Qt::LeftButton);
  ASSERT_TRUE(settle());
  ASSERT_TRUE(shows(left_));
  EXPECT_EQ(session_->findRun(b)->state, RunStatus::kDone) << "the same run, not another";
  EXPECT_EQ(session_->runs().size(), 2u);
}

TEST_F(ResultsPanelTest, WithoutItsModelItOffersToOpenIt) {
  openTwins(4, false);
  const qint64 a = runAnalysis("attention");
  const qint64 b = leaveUnfinished(a, QStringLiteral("logit_lens"));
  session_->closeModel(0);
  open();
  session_->selection().setRun(b);
  QTest::qWait(100);
  QPushButton* go = shownButton(QStringLiteral("Open zoo-llama"));
  ASSERT_TRUE(go) << shownText().toStdString();
  picture(panel_.get(), QStringLiteral("results_no_model"));
  QTest::mouseClick(go, Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return session_->model(0) != nullptr; }));
  ASSERT_TRUE(settle());
  EXPECT_TRUE(waitUntil([&] { return shownButton(QStringLiteral("Go on")) != nullptr; }, 10000)) << shownText().toStdString();
  // A finished one needs no model.
  session_->closeModel(0);
  session_->selection().setRun(a);
  EXPECT_TRUE(shows(left_));
}

TEST(Differences, NamesStandBeforeHashes) {
  RunRecord a, b;
  a.id = 3;
  b.id = 5;
  a.spec.model_name = "left-model";
  b.spec.model_name = "right-model";
  a.key_text = "analysis=x\nparam.top_k=3\nweights=" + std::string(64, 'a') + "\n";
  b.key_text = "analysis=x\nweights=" + std::string(64, 'b') + "\n";
  const Table t = differenceTable(a, b);
  ASSERT_EQ(t.rows.size(), 2u);
  EXPECT_EQ(std::get<std::string>(t.rows[0][0]), "top k");
  EXPECT_EQ(std::get<std::string>(t.rows[0][2]), "–");
  EXPECT_EQ(std::get<std::string>(t.rows[1][1]), "left-model  aaaaaaaaaaaa…");
  EXPECT_TRUE(differenceTable(a, a).rows.empty());
}

}  // namespace
}  // namespace microtome::desktop
