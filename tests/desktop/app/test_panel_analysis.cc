// Run: the list of analyses, the form, the command, running on one model or both; a plug-in's analysis like any other.
#include <QAbstractItemModelTester>
#include <QApplication>
#include <QClipboard>
#include <QComboBox>
#include <QCoreApplication>
#include <QFileInfo>
#include <QLineEdit>
#include <QListView>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QSignalSpy>
#include <QSpinBox>
#include <QTabBar>
#include <QToolButton>

#include "app/desktop/panels/analysis/catalogue.h"
#include "app/desktop/panels/analysis/setup.h"
#include "app/desktop/panels/result_pane.h"
#include "app/desktop/views/param_form.h"
#include "app/desktop/views/row_delegate.h"
#include "app/desktop/views/summary_view.h"
#include "tests/desktop/app/panel_runs.h"

namespace microtome::desktop {
namespace {

QString examplePlugins() { return QCoreApplication::applicationDirPath() + QStringLiteral("/plugins-example"); }

// The core looks for plug-ins once, when it is opened.
class ExamplePlugins : public ::testing::Environment {
 public:
  void SetUp() override { qputenv("MICROTOME_PLUGIN_PATH", examplePlugins().toUtf8()); }
};
const auto* const plugins = ::testing::AddGlobalTestEnvironment(new ExamplePlugins);

class AnalysisPanelTest : public PanelRunsTest {
 protected:
  void open(const QSize& size = QSize(760, 480)) {
    panel_.reset(makePanel("analysis", size));
    ASSERT_TRUE(panel_);
    list_ = panel_->findChild<QListView*>(QStringLiteral("analyses"));
    setup_ = panel_->findChild<AnalysisSetup*>();
    ASSERT_TRUE(list_ && setup_);
    ASSERT_TRUE(waitUntil([&] { return list_->model()->rowCount() > 0; }, 5000));
  }
  void TearDown() override {
    panel_.reset();
    PanelRunsTest::TearDown();
  }
  void choose(const char* name) {
    for (int i = 0; i < list_->model()->rowCount(); ++i)
      if (const QModelIndex index = list_->model()->index(i, 0); index.data(AnalysisList::kNameRole).toString() == QLatin1String(name)) {
        click(list_, index);
        return;
      }
    FAIL() << "no analysis " << name;
  }
  QString command() const { return panel_->findChild<QPlainTextEdit*>(QStringLiteral("command"))->toPlainText(); }
  QPushButton* button(const char* name) const { return panel_->findChild<QPushButton*>(QString::fromLatin1(name)); }
  // Shown results, left to right.
  std::vector<ResultPane*> results() const {
    std::vector<ResultPane*> out;
    for (ResultPane* r : panel_->findChildren<ResultPane*>())
      if (r->isVisible()) out.push_back(r);
    return out;
  }
  std::unique_ptr<Panel> panel_;
  QListView* list_ = nullptr;
  AnalysisSetup* setup_ = nullptr;
};

TEST_F(AnalysisPanelTest, ListsEveryAnalysisAndFilters) {
  open();
  QAbstractItemModelTester tester(list_->model(), QAbstractItemModelTester::FailureReportingMode::Fatal);
  ASSERT_EQ(list_->model()->rowCount(), static_cast<int>(session_->analyses().size()));
  for (const app::AnalysisFacts& a : session_->analyses()) {
    choose(a.info.name.c_str());
    EXPECT_EQ(textOf(panel_.get(), "analysis_title").toStdString(), a.info.title);
    EXPECT_FALSE(textOf(panel_.get(), "definition").isEmpty());
    EXPECT_TRUE(command().startsWith(QStringLiteral("microtome run ") + QString::fromStdString(a.info.name))) << command().toStdString();
    // Without a model there is nothing to run, and a sentence says so.
    EXPECT_FALSE(button("run")->isEnabled());
    EXPECT_TRUE(textOf(panel_.get(), "hint").contains(QStringLiteral("No model is open")));
  }
  auto* filter = panel_->findChild<QLineEdit*>(QStringLiteral("filter"));
  QTest::keyClicks(filter, QStringLiteral("patching"));
  EXPECT_GE(list_->model()->rowCount(), 1);
  EXPECT_LT(list_->model()->rowCount(), static_cast<int>(session_->analyses().size()));
  QTest::keyClick(filter, Qt::Key_Down);
  EXPECT_EQ(QApplication::focusWidget(), list_);
}

TEST_F(AnalysisPanelTest, TheCommandFollowsWhatIsSet) {
  openTwins(8);
  open();
  choose("head_probes");
  EXPECT_TRUE(button("run")->isEnabled()) << textOf(panel_.get(), "hint").toStdString();
  EXPECT_FALSE(command().contains(QStringLiteral("--n ")));
  auto* form = panel_->findChild<ParamForm*>(QStringLiteral("form"));
  form->setValues({{"n", "12"}});
  EXPECT_TRUE(command().contains(QStringLiteral(" --n 12"))) << command().toStdString();
  EXPECT_FALSE(panel_->findChild<QComboBox*>(QStringLiteral("prompts"))->isVisible()) << "it makes its own tokens";
  QTest::qWait(100);
  picture(panel_.get(), QStringLiteral("analysis"));
  choose("attention");
  auto* prompts = panel_->findChild<QComboBox*>(QStringLiteral("prompts"));
  ASSERT_TRUE(prompts->isVisible());
  prompts->setCurrentIndex(1);
  EXPECT_TRUE(command().contains(QStringLiteral("--only 1"))) << command().toStdString();
  session_->selection().setPrompt(2);
  EXPECT_TRUE(waitUntil([&] { return command().contains(QStringLiteral("--only 3")); }, 2000)) << command().toStdString();
  auto* model = panel_->findChild<QComboBox*>(QStringLiteral("model"));
  ASSERT_EQ(model->count(), 3);
  model->setCurrentIndex(1);
  EXPECT_TRUE(command().contains(QStringLiteral("zoo-gated_deltanet")));
  model->setCurrentIndex(2);
  EXPECT_EQ(command().split(QLatin1Char('\n')).size(), 2);
  QTest::mouseClick(panel_->findChild<QToolButton*>(QStringLiteral("copy")), Qt::LeftButton);
  EXPECT_EQ(QApplication::clipboard()->text(), command());
  // What was set for one analysis is there when one comes back to it.
  choose("head_probes");
  EXPECT_EQ(form->values(), (std::map<std::string, std::string>{{"n", "12"}}));
  // A value that can't be is not run.
  form->setValues({{"n", "1"}});
  EXPECT_FALSE(button("run")->isEnabled());
  EXPECT_FALSE(textOf(panel_.get(), "hint").isEmpty());
  const QByteArray state = panel_->saveState();
  open();
  panel_->restoreState(state);
  EXPECT_EQ(textOf(panel_.get(), "analysis_title").toStdString(), session_->findAnalysis(QStringLiteral("head_probes"))->info.title);
}

TEST_F(AnalysisPanelTest, RunsByKeyAndShowsTheResult) {
  openTwins(4);
  open();
  choose("head_probes");
  panel_->findChild<ParamForm*>(QStringLiteral("form"))->setValues({{"n", "12"}, {"batch", "2"}});
  EXPECT_TRUE(panel_->views().empty());
  list_->setFocus();
  QTest::keyClick(list_, Qt::Key_Return, Qt::ControlModifier);
  ASSERT_TRUE(settle());
  ASSERT_TRUE(waitUntil([&] { return !panel_->views().empty(); }, 10000));
  ASSERT_EQ(session_->runs().size(), 1u);
  const RunRecord& run = session_->runs().front();
  EXPECT_EQ(run.spec.answer_params.at("n"), "12");
  EXPECT_EQ(session_->selection().run(), run.id);
  const auto shown = results();
  ASSERT_EQ(shown.size(), 1u);
  const AnalysisResult stored = session_->store()->result(run.id).value();
  EXPECT_EQ(shown[0]->findChild<SummaryView*>()->model().items().front().value, stored.summary.front().value);
  EXPECT_TRUE(textOf(panel_.get(), "outcome_0").contains(QStringLiteral("run %1, done").arg(run.id)));
  for (View* view : panel_->views()) EXPECT_EQ(view->sourceRun(), run.id);
  QTest::qWait(100);
  picture(panel_.get(), QStringLiteral("analysis_result"));

  // Both models, side by side.
  panel_->findChild<QTabBar*>(QStringLiteral("pages"))->setCurrentIndex(0);
  panel_->findChild<QComboBox*>(QStringLiteral("model"))->setCurrentIndex(2);
  QTest::mouseClick(button("run"), Qt::LeftButton);
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->runs().size(), 2u) << "the first model's answer was in the project";
  EXPECT_EQ(results().size(), 2u);
  EXPECT_TRUE(textOf(panel_.get(), "outcome_1").contains(QStringLiteral("zoo-gated_deltanet")));
  panel_->resize(1100, 620);
  QTest::qWait(200);
  picture(panel_.get(), QStringLiteral("analysis_both"));
}

TEST_F(AnalysisPanelTest, ProgressAndCancel) {
  openTwins(160, false);
  open();
  choose("activation_patching");
  panel_->findChild<ParamForm*>(QStringLiteral("form"))->setValues({{"by_position", "true"}, {"batch_size", "1"}});
  QSignalSpy failed(session_.get(), &Session::runFailed);
  QTest::mouseClick(button("run"), Qt::LeftButton);
  const auto cancel = [&]() -> QPushButton* {
    for (QPushButton* b : panel_->findChildren<QPushButton*>(QStringLiteral("cancel")))
      if (b->isVisible()) return b;
    return nullptr;
  };
  ASSERT_TRUE(waitUntil([&] { return cancel() != nullptr; }, 5000)) << problems_.join(QLatin1Char('\n')).toStdString();
  // The picture fills while it runs.
  EXPECT_TRUE(waitUntil([&] { return !panel_->views().empty(); }, 20000));
  QTest::qWait(300);
  picture(panel_.get(), QStringLiteral("analysis_running"));
  ASSERT_TRUE(cancel());
  QTest::mouseClick(cancel(), Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return failed.size() == 1; }));
  EXPECT_TRUE(textOf(panel_.get(), "outcome_0").contains(QStringLiteral("cancelled")));
  EXPECT_FALSE(cancel());
  ASSERT_TRUE(settle());
}

TEST_F(AnalysisPanelTest, APlugInsAnalysisIsLikeAnyOther) {
  if (!QFileInfo::exists(examplePlugins() + QStringLiteral("/token_surprisal.so"))) GTEST_SKIP() << "the example plug-ins are not built";
  openTwins(4, false);
  open();
  choose("token_surprisal");
  EXPECT_EQ(list_->currentIndex().data(RowRole::kTag).toString().toStdString(), "plug-in");
  EXPECT_TRUE(textOf(panel_.get(), "source").contains(QStringLiteral("token_surprisal.so")));
  QTest::qWait(100);
  picture(panel_.get(), QStringLiteral("analysis_plugin"));
  QTest::mouseClick(button("run"), Qt::LeftButton);
  ASSERT_TRUE(settle());
  EXPECT_TRUE(waitUntil([&] { return !panel_->views().empty(); }, 10000)) << problems_.join(QLatin1Char('\n')).toStdString();
  ASSERT_EQ(session_->runs().size(), 1u);
  EXPECT_FALSE(session_->runs().front().spec.plugin_hash.empty());
}

}  // namespace
}  // namespace microtome::desktop
