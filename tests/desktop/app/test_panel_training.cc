// Training: stored runs with their curves over each other, L0 against FVU, what is paused; and a real run that is started, paused,
// resumed and finished from the panel.
#include <QAbstractItemModelTester>
#include <QCheckBox>
#include <QComboBox>
#include <QFile>
#include <QLineEdit>
#include <QSlider>
#include <QTabBar>
#include <QTableView>
#include <cmath>

#include "app/desktop/panels/training/run_list.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/param_form.h"
#include "app/desktop/views/table_view.h"
#include "tests/desktop/app/stored_results.h"

namespace microtome::desktop {
namespace {

// Curves of one dictionary: loss falls as 1 / (1 + x / 1000).
AnalysisResult trainingResult(const std::string& kind, double l0, double fvu) {
  AnalysisResult out;
  const auto series = [&](const char* name, auto value) {
    Series s{name, name, "tokens", "", {{kind, {}, {}}}};
    for (int i = 0; i < 40; ++i) {
      s.lines[0].x.push_back(250.0 * i);
      s.lines[0].y.push_back(value(250.0 * i));
    }
    out.artifacts.push_back(std::move(s));
  };
  series("loss", [](double x) { return 1 / (1 + x / 1000); });
  series("l0", [&](double) { return l0; });
  series("fvu", [&](double x) { return fvu + 1 / (1 + x / 500); });
  series("dead", [](double x) { return x / 1e6; });
  Table t{"training", "What was trained", {{"dictionary", "", ""}, {"kind", "", ""}, {"features", "", ""}, {"L0", "", ""}, {"FVU", "", ""}, {"CE recovered", "", ""}, {"dead", "", ""}}, {}};
  t.rows.push_back({kind, kind, int64_t{1024}, l0, fvu, 0.95, 0.01});
  out.artifacts.push_back(std::move(t));
  TensorMap map{"sae", "The dictionary", {{"b_dec", {"d_out"}, {2}, std::vector<float>{1, 2}, "", ""}}, {{"config", {"{\"kind\": \"" + kind + "\", \"hook_in\": \"blocks.2.hook_resid_post\", \"hook_out\": \"blocks.2.hook_resid_post\", \"d_sae\": 1024}"}}}, {}};
  out.artifacts.push_back(std::move(map));
  return out;
}

class TrainingPanelTest : public StoredResultsTest {
 protected:
  ChartView* curve(const char* name) const { return find<ChartView>((std::string("curve_") + name).c_str()); }
  QAbstractItemModel* rows() const { return find<QTableView>("training_runs")->model(); }
  QString cell(int row, int column) const { return rows()->index(row, column).data().toString(); }
  void clickCheck(int row) {
    auto* table = find<QTableView>("training_runs");
    const QRect r = table->visualRect(rows()->index(row, 0));
    QTest::mouseClick(table->viewport(), Qt::LeftButton, {}, QPoint(r.left() + 12, r.center().y()));
  }
};

TEST_F(TrainingPanelTest, WithoutModelOrRunsItSaysWhatToDo) {
  open("training");
  ASSERT_TRUE(emptyState());
  EXPECT_EQ(emptyState()->findChild<QPushButton*>()->text(), QStringLiteral("Try the demo"));
  EXPECT_TRUE(panel_->views().empty());
  picture(panel_.get(), QStringLiteral("training_empty"));
}

TEST_F(TrainingPanelTest, RunsOverEachOther) {
  const AnalysisResult one = trainingResult("topk", 32, 0.12), two = trainingResult("jumprelu", 18, 0.2);
  const qint64 first = storeRun(specOf("sae", {{"kind", "topk"}, {"k", "32"}}), "SAE", &one);
  const qint64 second = storeRun(specOf("sae", {{"kind", "jumprelu"}}), "SAE", &two);
  open("training");
  ASSERT_TRUE(waitUntil([&] { return !curve("loss")->data().lines.empty(); }));
  QAbstractItemModelTester tester(rows(), QAbstractItemModelTester::FailureReportingMode::Fatal);
  ASSERT_EQ(rows()->rowCount(), 2);
  // The newest first, and it alone is drawn until somebody chooses.
  EXPECT_EQ(cell(0, TrainingRunList::kRun), QStringLiteral("run %1").arg(second));
  EXPECT_EQ(cell(0, TrainingRunList::kL0), QStringLiteral("18"));
  EXPECT_EQ(cell(1, TrainingRunList::kFvu), QStringLiteral("0.12"));
  EXPECT_TRUE(cell(1, TrainingRunList::kDictionary).contains(QStringLiteral("topk · blocks.2.hook_resid_post · 1,024 features"))) << cell(1, 1).toStdString();
  ASSERT_EQ(curve("loss")->data().lines.size(), 1u);
  clickCheck(1);
  ASSERT_EQ(curve("loss")->data().lines.size(), 2u);
  const auto& lines = curve("loss")->data().lines;
  EXPECT_DOUBLE_EQ(lines[0].y[4], 0.5);                          // 1 / (1 + 1000 / 1000)
  EXPECT_NE(lines[0].colour, lines[1].colour);
  EXPECT_EQ(curve("l0")->data().lines[1].colour, lines[1].colour);   // one run, one colour
  EXPECT_TRUE(lines[0].name.contains(QStringLiteral("run %1").arg(second)));
  picture(panel_.get(), QStringLiteral("training_runs"));
  clickCheck(0);
  EXPECT_EQ(curve("loss")->data().lines.size(), 1u);
  EXPECT_EQ(curve("loss")->sourceRun(), first);
  EXPECT_TRUE(curve("loss")->command().startsWith(QStringLiteral("microtome run sae")));
  // Scale and smoothing reach every curve.
  find<QCheckBox>("training_log")->click();
  auto* smooth = find<QSlider>("training_smoothing");
  smooth->setFocus();
  for (int i = 0; i < 5; ++i) QTest::keyClick(smooth, Qt::Key_Right);
  for (const char* name : {"loss", "l0", "fvu", "dead"}) {
    EXPECT_TRUE(curve(name)->isLogY());
    EXPECT_GT(curve(name)->smoothing(), 1);
  }
  // One curve alone.
  auto* which = find<QComboBox>("training_which");
  which->setCurrentIndex(which->findData(QStringLiteral("fvu")));
  EXPECT_TRUE(curve("fvu")->isVisible());
  EXPECT_FALSE(curve("loss")->isVisible());
  ASSERT_EQ(panel_->views().size(), 1u);
}

TEST_F(TrainingPanelTest, ParetoAndNumbersOfAllThatIsFinished) {
  const AnalysisResult one = trainingResult("topk", 32, 0.12), two = trainingResult("topk", 64, 0.08);
  AnalysisResult sweep = trainingResult("jumprelu", 20, 0.2);
  sweep.artifacts.push_back(Table{"pareto", "Sweep", {{"l0", "", ""}, {"dictionary", "", ""}, {"L0", "features", ""}, {"FVU", "", ""}, {"CE recovered", "", ""}, {"dead", "", ""}}, {{1e-3, std::string("a"), 40.0, 0.1, 0.9, 0.0}, {1e-2, std::string("b"), 20.0, 0.2, 0.8, 0.0}, {1e-1, std::string("c"), 5.0, 0.5, 0.5, 0.0}}});
  storeRun(specOf("sae", {{"k", "32"}}), "SAE", &one);
  storeRun(specOf("sae", {{"k", "64"}}), "SAE", &two);
  const qint64 third = storeRun(specOf("transcoder", {{"sweep", "3"}}), "Transcoder", &sweep);
  open("training");
  auto* pareto = find<ChartView>("training_pareto");
  ASSERT_TRUE(waitUntil([&] { return pareto->data().lines.size() == 2; }));
  auto* tabs = find<QTabBar>("training_pages");
  QTest::mouseClick(tabs, Qt::LeftButton, {}, tabs->tabRect(1).center());
  EXPECT_TRUE(pareto->isVisible());
  EXPECT_TRUE(pareto->data().logX);                              // 5 to 64
  for (const ChartLine& l : pareto->data().lines) {
    if (!l.name.startsWith(QStringLiteral("jumprelu"))) continue;
    ASSERT_EQ(l.x.size(), 3u);                                   // the sweep's points, not its final numbers again
    EXPECT_NEAR(l.x[0], std::log10(5.0), 1e-12);
    EXPECT_DOUBLE_EQ(l.y[0], 0.5);
    Q_EMIT pareto->pointClicked(static_cast<int>(&l - pareto->data().lines.data()), 1);
  }
  EXPECT_EQ(find<QTableView>("training_runs")->currentIndex().row(), 0);
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("training_pareto"));
  QTest::mouseClick(tabs, Qt::LeftButton, {}, tabs->tabRect(2).center());
  auto* numbers = find<TableView>("training_numbers");
  ASSERT_EQ(numbers->model()->rowCount(), 1);
  EXPECT_EQ(std::get<int64_t>(*numbers->model()->cell(0, 0)), third);
  clickCheck(1);
  EXPECT_EQ(numbers->model()->rowCount(), 2);
}

TEST_F(TrainingPanelTest, WhatIsPausedCanBeResumedAndDeleted) {
  const AnalysisResult one = trainingResult("topk", 32, 0.12);
  storeRun(specOf("sae", {{"k", "32"}}), "SAE", &one);
  const qint64 paused = storeRun(specOf("sae", {{"k", "16"}}), "SAE", nullptr);
  open("training");
  ASSERT_TRUE(waitUntil([&] { return rows()->rowCount() == 2; }));
  EXPECT_TRUE(cell(0, TrainingRunList::kState).contains(QStringLiteral("3 of 8"))) << cell(0, TrainingRunList::kState).toStdString();
  auto* table = find<QTableView>("training_runs");
  QTest::mouseClick(table->viewport(), Qt::LeftButton, {}, table->visualRect(rows()->index(1, 1)).center());
  EXPECT_FALSE(find<QPushButton>("training_resume")->isEnabled());
  EXPECT_TRUE(find<QToolButton>("training_dashboards")->isEnabled());
  QTest::mouseClick(table->viewport(), Qt::LeftButton, {}, table->visualRect(rows()->index(0, 1)).center());
  ASSERT_TRUE(find<QPushButton>("training_resume")->isEnabled());
  EXPECT_FALSE(find<QToolButton>("training_dashboards")->isEnabled());
  // Its model is not open: said in the bar, nothing happens.
  QTest::mouseClick(find<QPushButton>("training_resume"), Qt::LeftButton);
  EXPECT_FALSE(session_->busy());
  table->setFocus();
  QTest::keyClick(table, Qt::Key_Delete);
  ASSERT_TRUE(settle());
  EXPECT_EQ(rows()->rowCount(), 1);
  session_->undoStack().undo();
  ASSERT_TRUE(settle());
  EXPECT_EQ(rows()->rowCount(), 2);
  EXPECT_TRUE(session_->findRun(paused)->deleted.empty());
}

TEST_F(TrainingPanelTest, TheFormPutsFirstWhatMattersAndOffersHooks) {
  ASSERT_TRUE(session_->findAnalysis(QStringLiteral("sae")));
  openTwins(2, false);
  open("training");
  ASSERT_FALSE(emptyState());
  auto* start = find<QPushButton>("training_start");
  EXPECT_FALSE(start->isEnabled());
  EXPECT_TRUE(text("training_hint").contains(QStringLiteral("corpus"))) << text("training_hint").toStdString();
  auto* form = find<ParamForm>("training_form");
  auto* corpus = form->findChild<QLineEdit*>(QStringLiteral("corpus"));
  ASSERT_TRUE(corpus);
  EXPECT_TRUE(form->findChild<QToolButton*>(QStringLiteral("browse_corpus")));
  EXPECT_TRUE(form->findChild<QToolButton*>(QStringLiteral("more")));
  QFile file(folder_.filePath(QStringLiteral("text.txt")));
  ASSERT_TRUE(file.open(QIODevice::WriteOnly));
  file.write("the king said that the queen went to the store\n");
  file.close();
  corpus->setFocus();
  QTest::keyClicks(corpus, file.fileName());
  EXPECT_TRUE(start->isEnabled()) << text("training_hint").toStdString();
  picture(panel_.get(), QStringLiteral("training_form"));
}

TEST_F(TrainingPanelTest, ARunIsStartedPausedResumedAndFinished) {
  ASSERT_TRUE(session_->findAnalysis(QStringLiteral("sae")));
  openTwins(2, false);
  open("training");
  const QString corpus = writeTokens(folder_.filePath(QStringLiteral("corpus.json")), session_->model(0)->facts().vocab_size);
  auto* form = find<ParamForm>("training_form");
  form->setValues({{"corpus", corpus.toStdString()}, {"hook", "blocks.1.hook_resid_post"}, {"kind", "topk"}, {"d_sae", "64"}, {"k", "4"}, {"tokens", "200000"},
                   {"batch", "128"}, {"length", "32"}, {"buffer", "4"}, {"checkpoint_every", "400"}, {"log_every", "5"}, {"eval_tokens", "256"}, {"dead_tokens", "20000"}});
  auto* start = find<QPushButton>("training_start");
  ASSERT_TRUE(start->isEnabled()) << text("training_hint").toStdString();
  QTest::mouseClick(start, Qt::LeftButton);
  ASSERT_TRUE(session_->busy()) << problems_.join(QLatin1Char('\n')).toStdString();
  // Curves grow while it computes.
  const auto points = [&] { return curve("loss")->data().lines.empty() ? size_t{0} : curve("loss")->data().lines[0].x.size(); };
  ASSERT_TRUE(waitUntil([&] { return points() >= 3 || !session_->busy(); }, 120000)) << problems_.join(QLatin1Char('\n')).toStdString();
  ASSERT_TRUE(session_->busy()) << "over before it could be paused: " << problems_.join(QLatin1Char('\n')).toStdString();
  const size_t before = points();
  QPushButton* pause = nullptr;
  for (QPushButton* b : panel_->findChildren<QPushButton*>(QStringLiteral("cancel")))
    if (b->isVisible()) pause = b;
  ASSERT_TRUE(pause);
  EXPECT_EQ(pause->text(), QStringLiteral("Pause"));
  QTest::mouseClick(pause, Qt::LeftButton);
  ASSERT_TRUE(settle());
  ASSERT_EQ(rows()->rowCount(), 1);
  EXPECT_TRUE(cell(0, TrainingRunList::kState).contains(QStringLiteral("paused"))) << cell(0, TrainingRunList::kState).toStdString();
  EXPECT_GE(points(), before);                                   // what was drawn stays
  picture(panel_.get(), QStringLiteral("training_paused"));
  // Nothing of it is kept in the window: after a restart the curve is read from the project.
  panel_.reset();
  open("training");
  ASSERT_TRUE(waitUntil([&] { return points() >= before; })) << points();
  picture(panel_.get(), QStringLiteral("training_paused_read"));
  auto* resume = find<QPushButton>("training_resume");
  ASSERT_TRUE(waitUntil([&] { return resume->isEnabled(); }));
  QTest::mouseClick(resume, Qt::LeftButton);
  ASSERT_TRUE(session_->busy()) << problems_.join(QLatin1Char('\n')).toStdString();
  ASSERT_TRUE(settle(240000));
  ASSERT_EQ(rows()->rowCount(), 1);
  EXPECT_EQ(cell(0, TrainingRunList::kState), QStringLiteral("done"));
  EXPECT_LE(cell(0, TrainingRunList::kL0).toDouble(), 4.0);
  EXPECT_GT(cell(0, TrainingRunList::kL0).toDouble(), 0.0);
  // One curve from the first token to the last, without a gap or a step back.
  const auto& x = curve("loss")->data().lines.at(0).x;
  EXPECT_GT(x.size(), before);
  for (size_t i = 1; i < x.size(); ++i) EXPECT_LT(x[i - 1], x[i]);
  EXPECT_GE(x.back(), 190000);
  const auto& y = curve("loss")->data().lines.at(0).y;
  EXPECT_LT(y.back(), y.front());
  EXPECT_EQ(find<ChartView>("training_pareto")->data().lines.size(), 1u);
  QTest::qWait(100);
  picture(panel_.get(), QStringLiteral("training_done"));
}

TEST_F(TrainingPanelTest, AStoppedRunIsInTheTrash) {
  ASSERT_TRUE(session_->findAnalysis(QStringLiteral("sae")));
  openTwins(2, false);
  open("training");
  const QString corpus = writeTokens(folder_.filePath(QStringLiteral("corpus.json")), session_->model(0)->facts().vocab_size);
  find<ParamForm>("training_form")->setValues({{"corpus", corpus.toStdString()}, {"d_sae", "64"}, {"k", "4"}, {"tokens", "400000"}, {"batch", "128"}, {"length", "32"}, {"buffer", "4"}, {"log_every", "5"}, {"eval_tokens", "256"}});
  QTest::mouseClick(find<QPushButton>("training_start"), Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return !curve("loss")->data().lines.empty() || !session_->busy(); }, 120000));
  ASSERT_TRUE(session_->busy()) << problems_.join(QLatin1Char('\n')).toStdString();
  QTest::mouseClick(find<QPushButton>("training_stop"), Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return session_->trashedRuns().size() == 1; }));
  EXPECT_TRUE(waitUntil([&] { return rows()->rowCount() == 0; }, 5000));
  session_->undoStack().undo();
  ASSERT_TRUE(settle());
  EXPECT_EQ(rows()->rowCount(), 1);
}

}  // namespace
}  // namespace microtome::desktop
