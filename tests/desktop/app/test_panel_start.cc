// The start page as a person uses it: the demo, a folder, what was open lately, what the work runs on.
#include <QFileDialog>
#include <QLabel>
#include <QPushButton>
#include <QScrollArea>
#include <QScrollBar>

#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/start/recent_row.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

struct StartPanelTest : AppTest {
  void TearDown() override {
    panel_.reset();
    AppTest::TearDown();
  }
  void open(const QSize& size = QSize(760, 480)) {
    panel_.reset(makePanel("start", size));
    ASSERT_TRUE(panel_);
    QTest::qWait(50);
  }
  std::vector<RecentRow*> rows() const {
    std::vector<RecentRow*> out;
    for (RecentRow* r : panel_->findChildren<RecentRow*>())
      if (r->isVisible()) out.push_back(r);
    return out;
  }
  RecentRow* row(const QString& name) const {
    for (RecentRow* r : rows())
      if (r->text() == name) return r;
    return nullptr;
  }
  // "–" while there is no such row.
  QString state(const char* name) const {
    const RecentRow* r = row(QString::fromLatin1(name));
    return r ? r->state() : QStringLiteral("–");
  }
  QPushButton* button(const char* id) const { return panel_->findChild<QPushButton*>(QString::fromLatin1(id)); }

  std::unique_ptr<Panel> panel_;
};

TEST_F(StartPanelTest, SaysWhatItIsAndWhatItRunsOn) {
  open();
  auto* device = panel_->findChild<QLabel*>(QStringLiteral("startDevice"));
  auto* version = panel_->findChild<QLabel*>(QStringLiteral("startVersion"));
  ASSERT_TRUE(device && version);
  EXPECT_TRUE(version->text().contains(QStringLiteral(MICROTOME_VERSION)));
  EXPECT_TRUE(version->text().contains(QString::fromStdString(session_->devices().libtorch)));
  // Empty where there is a GPU, and then nothing is to be said.
  EXPECT_TRUE(device->text().contains(QString::fromStdString(session_->devices().why_no_gpu)))
      << device->text().toStdString();
  EXPECT_EQ(rows().size(), 1u) << "the project of this test";
  // Nothing has to be scrolled at the size the page has in a window of 1280 × 800.
  EXPECT_EQ(panel_->findChild<QScrollArea*>()->verticalScrollBar()->maximum(), 0);
  picture(panel_.get(), QStringLiteral("start_first"));
}

TEST_F(StartPanelTest, DemoOpensBothTwins) {
  open();
  QString wanted;
  QObject::connect(session_.get(), &Session::panelWanted, panel_.get(), [&](const QString& id) { wanted = id; });
  QTest::mouseClick(button("startDemo"), Qt::LeftButton);
  if (Session::shippedModels().isEmpty()) {
    EXPECT_EQ(problems_.size(), 1) << "says that the models are missing";
    return;
  }
  ASSERT_TRUE(waitUntil([&] { return session_->model(0) && session_->model(1) && session_->prompts().bySlot[0]; }));
  EXPECT_EQ(wanted, QStringLiteral("attention"));
  ASSERT_TRUE(
      waitUntil([&] { return row(QStringLiteral("zoo-llama")) && row(QStringLiteral("zoo-gated_deltanet")); }, 5000));
  EXPECT_EQ(state("zoo-llama"), QStringLiteral("open"));
  ASSERT_TRUE(waitUntil([&] { return state("demo") == QStringLiteral("open"); }, 5000));
}

TEST_F(StartPanelTest, RecentRowsOpenByMouseAndKeyboard) {
  openTwins(4, false);
  session_->closeModel(0);
  open();
  RecentRow* llama = row(QStringLiteral("zoo-llama"));
  ASSERT_TRUE(llama);
  EXPECT_EQ(llama->state(), QString());
  llama->setFocus();
  QTest::keyClick(llama, Qt::Key_Return);
  ASSERT_TRUE(waitUntil([&] { return session_->model(0) != nullptr; }));
  ASSERT_TRUE(waitUntil([&] { return state("zoo-llama") == QStringLiteral("open"); }, 5000));
  // Another one beside it.
  session_->openModel(models() + QStringLiteral("/zoo-gated_deltanet"), 1);
  ASSERT_TRUE(waitUntil([&] { return session_->comparing(); }));
  ASSERT_TRUE(waitUntil([&] { return rows().size() == 3; }, 5000));
  EXPECT_EQ(rows()[0]->text(), QStringLiteral("zoo-gated_deltanet")) << "newest first";
  picture(panel_.get(), QStringLiteral("start_recent"));
  panel_->resize(1400, 860);
  QTest::qWait(30);
  picture(panel_.get(), QStringLiteral("start_large"));
  session_->closeModel(1);
  ASSERT_TRUE(waitUntil([&] { return state("zoo-gated_deltanet").isEmpty(); }, 5000));
  QTest::mouseClick(row(QStringLiteral("zoo-gated_deltanet")), Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return session_->model(0) && session_->model(0)->facts().name == "zoo-gated_deltanet"; }));
}

TEST_F(StartPanelTest, FolderIsChosenInADialogThatDoesNotBlock) {
  open();
  button("startModel")->setFocus();
  QTest::keyClick(button("startModel"), Qt::Key_Return);
  auto* dialog = panel_->findChild<QFileDialog*>();
  ASSERT_TRUE(dialog);
  EXPECT_EQ(dialog->fileMode(), QFileDialog::Directory);
  // As the dialog says it when a folder was chosen.
  Q_EMIT dialog->fileSelected(models() + QStringLiteral("/zoo-llama"));
  dialog->reject();
  ASSERT_TRUE(waitUntil([&] { return session_->model(0) != nullptr; }));
  ASSERT_TRUE(waitUntil([&] { return row(QStringLiteral("zoo-llama")) != nullptr; }, 5000));
}

TEST_F(StartPanelTest, ProjectsAreListedAndOpened) {
  const QString other = folder_.filePath(QStringLiteral("other.microtome"));
  session_->openProject(other);
  ASSERT_TRUE(waitUntil([&] { return session_->projectPath() == other; }));
  open();
  ASSERT_EQ(rows().size(), 2u);
  EXPECT_EQ(state("other"), QStringLiteral("open"));
  RecentRow* first = row(QStringLiteral("test"));
  ASSERT_TRUE(first);
  QTest::mouseClick(first, Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return session_->projectPath() == folder_.filePath(QStringLiteral("test.microtome")); }));
  ASSERT_TRUE(waitUntil([&] { return state("test") == QStringLiteral("open"); }, 5000));
  EXPECT_TRUE(state("other").isEmpty());
}

TEST_F(StartPanelTest, HostilePathsStayInTheirRow) {
  const QString odd = folder_.filePath(QStringLiteral("a\u202egnihton ") + QString(120, QLatin1Char('x')));
  ASSERT_TRUE(QDir().mkpath(odd));
  QSettings().setValue(QStringLiteral("recent/models"), QStringList{odd, QStringLiteral("/not/there")});
  open(QSize(640, 420));
  ASSERT_EQ(rows().size(), 2u) << "a folder that is gone is not offered";
  for (RecentRow* r : rows()) EXPECT_LE(r->mapTo(panel_.get(), QPoint(r->width(), 0)).x(), panel_->width());
  picture(panel_.get(), QStringLiteral("start_hostile"));
}

}  // namespace
}  // namespace microtome::desktop
