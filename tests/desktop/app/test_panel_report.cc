// Report: what is chosen is on the pages and in the files.
#include <QElapsedTimer>
#include <QLineEdit>
#include <QListWidget>
#include <QPlainTextEdit>
#include <QProcess>
#include <QPushButton>
#include <QTabWidget>

#include "app/desktop/panels/report/content.h"
#include "app/desktop/panels/report/preview.h"
#include "app/desktop/panels/report/report_panel.h"
#include "app/desktop/views/heat_map.h"
#include "app/report/project_report.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

QByteArray readFile(const QString& path) {
  QFile f(path);
  return f.open(QIODevice::ReadOnly) ? f.readAll() : QByteArray();
}

class ReportPanelTest : public AppTest {
 protected:
  void runTwo() {
    openTwins(6);
    for (int slot = 0; slot < 2; ++slot)
      for (const char* name : {"logit_lens", "dla"}) {
        RunRequest request;
        request.analysis = QLatin1String(name);
        request.slot = slot;
        ASSERT_NE(session_->run(request), 0);
      }
    ASSERT_TRUE(settle());
    ASSERT_TRUE(waitUntil([&] { return session_->runs().size() == 4; }));
  }
};

TEST_F(ReportPanelTest, AnEmptyProjectSaysWhatToDo) {
  std::unique_ptr<Panel> panel(makePanel("report"));
  QTest::qWait(50);
  picture(panel.get(), QStringLiteral("report_empty"));
  EXPECT_TRUE(panel->findChild<EmptyState*>()->isVisible());
}

TEST_F(ReportPanelTest, PagesAndFilesHoldWhatIsChosen) {
  runTwo();
  // A picture as another panel would have it on show.
  HeatMapView map;
  HeatMapData data;
  data.values = std::make_shared<const std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  data.rows = data.cols = 2;
  data.label = QStringLiteral("effect");
  map.resize(320, 240);
  map.setData(data);
  map.setTitle(QStringLiteral("The picked picture"));
  map.setCommand(QStringLiteral("microtome run dla --model x"));
  map.setSource(session_->runs().back().id, QStringLiteral("logit_lens"));
  session_->setViewNote(session_->runs().back().id, QStringLiteral("logit_lens"), QStringLiteral("a note on it"));
  session_->setViewSource([&] { return std::vector<View*>{&map}; });

  std::unique_ptr<Panel> panel(makePanel("report"));
  auto* preview = panel->findChild<PagePreview*>(QStringLiteral("report_preview"));
  auto* runs = panel->findChild<QListWidget*>(QStringLiteral("report_runs"));
  auto* pictures = panel->findChild<QListWidget*>(QStringLiteral("report_pictures"));
  ASSERT_TRUE(waitUntil([&] { return preview->pageCount() > 0; }));
  EXPECT_EQ(runs->count(), 4);
  EXPECT_EQ(pictures->count(), 1);
  QTest::qWait(300);
  picture(panel.get(), QStringLiteral("report"));
  const int all = preview->pageCount();
  for (int i = 1; i < runs->count(); ++i) runs->item(i)->setCheckState(Qt::Unchecked);
  ASSERT_TRUE(waitUntil([&] { return preview->pageCount() > 0 && preview->pageCount() < all; })) << "fewer runs, fewer pages";
  panel->findChild<QLineEdit*>(QStringLiteral("report_title"))->setText(QStringLiteral("Names & heads"));
  panel->findChild<QPlainTextEdit*>(QStringLiteral("report_notes"))->setPlainText(QStringLiteral("# Found\n\nhead **1.2** <b>x</b>"));
  QTest::qWait(1200);

  const auto exportTo = [&](const QString& suffix) {
    const QString path = folder_.filePath(QStringLiteral("out.") + suffix);
    // The dialog is the platform's; what follows it is the panel's.
    static_cast<ReportPanel*>(panel.get())->exportTo(path);
    EXPECT_TRUE(waitUntil([&] { return QFile::exists(path); }, 20000)) << suffix.toStdString();
    settle();
    return readFile(path);
  };
  const QByteArray html = exportTo(QStringLiteral("html"));
  EXPECT_TRUE(html.contains("Names &amp; heads"));
  EXPECT_TRUE(html.contains("data:image/svg+xml;base64,"));
  EXPECT_TRUE(html.contains("a note on it"));
  EXPECT_FALSE(html.contains("<b>x</b>"));
  const QByteArray pdf = exportTo(QStringLiteral("pdf"));
  EXPECT_TRUE(pdf.startsWith("%PDF-"));
  EXPECT_GT(pdf.size(), 8000);
  const QByteArray md = exportTo(QStringLiteral("md"));
  EXPECT_TRUE(md.contains("![The picked picture](<out-pictures/1.svg>)"));
  EXPECT_TRUE(readFile(folder_.filePath(QStringLiteral("out-pictures/1.svg"))).contains("<svg"));
  session_->setViewSource({});
}

TEST_F(ReportPanelTest, APlaceThatCantBeWrittenIsSaidInTheBar) {
  runTwo();
  std::unique_ptr<Panel> panel(makePanel("report"));
  auto* preview = panel->findChild<PagePreview*>();
  ASSERT_TRUE(waitUntil([&] { return preview->pageCount() > 0; }));
  for (const char* name : {"none/out.pdf", "none/out.html"}) {
    static_cast<ReportPanel*>(panel.get())->exportTo(folder_.filePath(QLatin1String(name)));
    const auto said = [&] {
      for (QLabel* label : panel->findChildren<QLabel*>())
        if (label->isVisible() && label->text().contains(QLatin1String(name))) return true;
      return false;
    };
    EXPECT_TRUE(waitUntil(said, 20000)) << name;
    panel->clearBar();
  }
}

TEST_F(ReportPanelTest, EveryStepOfALongReportIsShort) {
  openTwins(6, false);
  for (const char* name : {"attention", "activation_patching", "head_probes", "logit_lens"}) {
    RunRequest request;
    request.analysis = QLatin1String(name);
    ASSERT_NE(session_->run(request), 0);
  }
  ASSERT_TRUE(settle());
  auto content = std::make_shared<ReportContent>();
  for (const RunRecord& r : report::chosen_runs(*session_->store(), {})) content->runs.push_back(report::load_run(*session_->store(), r));
  ASSERT_EQ(content->runs.size(), 4u);
  auto pages = std::make_shared<ReportPages>();
  double worst = 0;
  for (const auto& step : reportSteps(content, pages)) {
    QElapsedTimer timer;
    timer.start();
    step();
    worst = std::max(worst, static_cast<double>(timer.nsecsElapsed()) / 1e6);
  }
  RecordProperty("worst_step_ms", std::to_string(worst));
  EXPECT_LT(worst, 400) << "ms; the bound is for machines that are busy with other tests";
  EXPECT_GE(pages->pages(QStringLiteral("x")).size(), 4u);
}

TEST_F(ReportPanelTest, HeadlessPdfIsTheSameReport) {
  runTwo();
  const QString project = session_->projectPath();
  session_.reset();
  const QString out = folder_.filePath(QStringLiteral("headless.pdf"));
  QProcess program;
  program.start(QStringLiteral(MICROTOME_BINARY_DIR "/microtome-desktop"),
                {QStringLiteral("--headless"), QStringLiteral("report"), QStringLiteral("--project"), project, QStringLiteral("--format"), QStringLiteral("pdf"), QStringLiteral("--out"), out});
  ASSERT_TRUE(program.waitForFinished(60000));
  EXPECT_EQ(program.exitCode(), 0) << program.readAllStandardError().toStdString();
  EXPECT_TRUE(readFile(out).startsWith("%PDF-"));
  program.start(QStringLiteral(MICROTOME_BINARY_DIR "/microtome-desktop"), {QStringLiteral("--headless"), QStringLiteral("runs"), QStringLiteral("--project"), project});
  ASSERT_TRUE(program.waitForFinished(60000));
  const QByteArray there = program.readAllStandardOutput();
  program.start(QStringLiteral(MICROTOME_BINARY_DIR "/microtome"), {QStringLiteral("runs"), QStringLiteral("--project"), project});
  ASSERT_TRUE(program.waitForFinished(60000));
  EXPECT_EQ(there, program.readAllStandardOutput());
  EXPECT_TRUE(there.contains("logit_lens"));
}

}  // namespace
}  // namespace microtome::desktop
