// Jobs: what is listed, progress, cancelling; the log.
#include <QAbstractItemModelTester>
#include <QApplication>
#include <QClipboard>
#include <QPlainTextEdit>
#include <QSignalSpy>
#include <QTableView>
#include <QToolButton>

#include "app/desktop/panels/jobs/job_table.h"
#include "tests/desktop/app/panel_runs.h"

namespace microtome::desktop {
namespace {

JobSnapshot job(int64_t id, JobState state, const char* lane = "cpu", double elapsed = 0.1) {
  JobSnapshot j;
  j.id = id;
  j.title = "job " + std::to_string(id);
  j.lane = lane;
  j.state = state;
  j.progress.fraction = 0.25;
  j.progress.elapsed_s = elapsed;
  j.progress.left_s = 30;
  j.progress.what = "layer 3";
  return j;
}

TEST(JobTable, ListsNewestFirstAndKeepsItsShape) {
  JobTable model;
  QAbstractItemModelTester tester(&model, QAbstractItemModelTester::FailureReportingMode::Fatal);
  model.setJobs({job(1, JobState::kRunning), job(2, JobState::kQueued)});
  ASSERT_EQ(model.rowCount(), 2);
  EXPECT_EQ(model.index(0, JobTable::kTitle).data().toString().toStdString(), "job 2");
  EXPECT_EQ(model.index(1, JobTable::kState).data().toString().toStdString(), "running");
  EXPECT_DOUBLE_EQ(model.index(1, JobTable::kState).data(JobTable::kProgressRole).toDouble(), 0.25);
  EXPECT_FALSE(model.index(0, JobTable::kState).data(JobTable::kProgressRole).isValid());
  EXPECT_EQ(model.index(1, JobTable::kLeft).data().toString().toStdString(), "30 s");
  EXPECT_EQ(model.index(1, JobTable::kWhat).data().toString().toStdString(), "layer 3");
  EXPECT_EQ(model.index(1, JobTable::kCancel).data().toString().toStdString(), "Cancel");
  JobSnapshot failed = job(1, JobState::kFailed);
  failed.status = Status(StatusCode::kFailed, "the disk is full", "", "make room");
  model.setJobs({failed, job(2, JobState::kRunning), job(3, JobState::kQueued)});
  ASSERT_EQ(model.rowCount(), 3);
  EXPECT_TRUE(model.index(2, JobTable::kWhat).data().toString().contains(QStringLiteral("make room")));
  EXPECT_TRUE(model.index(2, JobTable::kWhat).data(JobTable::kFailedRole).toBool());
  EXPECT_TRUE(model.index(2, JobTable::kCancel).data().toString().isEmpty());
  model.setJobs({});
  EXPECT_EQ(model.rowCount(), 0);
  std::vector<JobSnapshot> many;
  for (int i = 1; i <= 1000; ++i) many.push_back(job(i, JobState::kDone));
  model.setJobs(many);
  EXPECT_EQ(model.rowCount(), static_cast<int>(JobTable::kMost));
  EXPECT_EQ(model.index(0, 0).data().toString().toStdString(), "job 1000");
}

TEST(JobTable, HousekeepingIsShownWhenItTakesLongOrFails) {
  EXPECT_TRUE(JobTable::isShown(job(1, JobState::kRunning, "cpu", 0)));
  for (const char* lane : {"store", "light"}) {
    EXPECT_FALSE(JobTable::isShown(job(1, JobState::kRunning, lane, 0.2)));
    EXPECT_TRUE(JobTable::isShown(job(1, JobState::kRunning, lane, 0.7)));
    EXPECT_TRUE(JobTable::isShown(job(1, JobState::kDone, lane, 0.7)));
    EXPECT_FALSE(JobTable::isShown(job(1, JobState::kDone, lane, 0.2)));
    EXPECT_TRUE(JobTable::isShown(job(1, JobState::kFailed, lane, 0.01)));
    EXPECT_FALSE(JobTable::isShown(job(1, JobState::kQueued, lane, 0)));
  }
}

class JobsPanelTest : public PanelRunsTest {
 protected:
  void TearDown() override {
    panel_.reset();
    PanelRunsTest::TearDown();
  }
  void open() {
    panel_.reset(makePanel("jobs", QSize(1280, 144)));
    table_ = panel_->findChild<QTableView*>(QStringLiteral("jobs"));
    log_ = panel_->findChild<QPlainTextEdit*>(QStringLiteral("log"));
    ASSERT_TRUE(table_ && log_);
  }
  qint64 startLong() {
    RunRequest request;
    request.analysis = QStringLiteral("activation_patching");
    request.params = {{"by_position", "true"}, {"batch_size", "1"}};
    return session_->run(request);
  }
  std::unique_ptr<Panel> panel_;
  QTableView* table_ = nullptr;
  QPlainTextEdit* log_ = nullptr;
};

TEST_F(JobsPanelTest, ShowsProgressCancelsAndLogs) {
  open();
  EXPECT_FALSE(table_->isVisible());
  picture(panel_.get(), QStringLiteral("jobs_empty"));
  openTwins(96);
  QSignalSpy failed(session_.get(), &Session::runFailed);
  const qint64 first = startLong(), second = startLong(), third = startLong();
  ASSERT_TRUE(first && second && third);
  ASSERT_TRUE(waitUntil([&] { return table_->isVisible() && table_->model()->rowCount() >= 3; }));
  const QAbstractItemModel& m = *table_->model();
  const auto rowOf = [&](qint64 id) {
    for (int r = 0; r < m.rowCount(); ++r)
      if (static_cast<const JobTable&>(m).job(m.index(r, 0))->id == id) return r;
    return -1;
  };
  // The lane runs two at a time.
  EXPECT_TRUE(waitUntil([&] { return m.index(rowOf(first), JobTable::kState).data(JobTable::kProgressRole).toDouble() > 0; }));
  EXPECT_EQ(m.index(rowOf(third), JobTable::kState).data().toString().toStdString(), "queued");
  const double before = m.index(rowOf(first), JobTable::kState).data(JobTable::kProgressRole).toDouble();
  EXPECT_TRUE(waitUntil([&] {
    return m.index(rowOf(first), JobTable::kState).data(JobTable::kProgressRole).toDouble() > before;
  })) << "polled while it runs";
  picture(panel_.get(), QStringLiteral("jobs_running"));
  // The button, then the key.
  click(table_, m.index(rowOf(third), JobTable::kCancel));
  EXPECT_TRUE(waitUntil([&] { return failed.size() == 1; }));
  EXPECT_EQ(failed[0][0].toLongLong(), third);
  table_->selectRow(rowOf(second));
  QTest::keyClick(table_, Qt::Key_Delete);
  EXPECT_TRUE(waitUntil([&] { return failed.size() == 2; }));
  EXPECT_EQ(failed[1][0].toLongLong(), second);
  click(table_, m.index(rowOf(first), JobTable::kTitle));
  EXPECT_EQ(failed.size(), 2) << "a click elsewhere cancels nothing";
  session_->cancel(first);
  ASSERT_TRUE(settle());
  EXPECT_TRUE(waitUntil([&] { return m.index(rowOf(first), JobTable::kState).data().toString() == QLatin1String("cancelled"); }, 5000));

  runAnalysis("attention");
  session_->openModel(folder_.path(), 0);
  ASSERT_TRUE(waitUntil([&] { return log_->toPlainText().contains(QStringLiteral("Problem")); })) << log_->toPlainText().toStdString();
  const QString log = log_->toPlainText();
  EXPECT_TRUE(log.contains(QStringLiteral("Attention patterns · zoo-llama finished: run"))) << log.toStdString();
  EXPECT_TRUE(log.contains(QStringLiteral("Activation patching · zoo-llama started"))) << log.toStdString();
  EXPECT_TRUE(log.contains(QStringLiteral("Cancelled")));
  for (const QString& line : log.split(QLatin1Char('\n'))) EXPECT_EQ(line.indexOf(QLatin1Char(':')), 2) << line.toStdString();
  QTest::qWait(100);
  picture(panel_.get(), QStringLiteral("jobs"));
  QTest::mouseClick(panel_->findChild<QToolButton*>(QStringLiteral("copy_log")), Qt::LeftButton);
  EXPECT_EQ(QApplication::clipboard()->text().trimmed(), log);
  for (int i = 0; i < 1200; ++i) Q_EMIT session_->notice(QStringLiteral("line %1").arg(i));
  EXPECT_LE(log_->document()->blockCount(), 1000);
}

}  // namespace
}  // namespace microtome::desktop
