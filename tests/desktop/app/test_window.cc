// The window: every panel has its place, keys, palette, drops, themes, layouts and what is kept between starts.
#include <QDockWidget>
#include <QDragEnterEvent>
#include <QDropEvent>
#include <QFile>
#include <QLineEdit>
#include <QListWidget>
#include <QMenuBar>
#include <QMimeData>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QTabBar>
#include <QTabWidget>
#include <QTableWidget>
#include <set>

#include "app/desktop/frame/command_palette.h"
#include "app/desktop/frame/main_window.h"
#include "app/desktop/theme/theme.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

class WindowTest : public AppTest {
 protected:
  void SetUp() override {
    AppTest::SetUp();
    window_ = std::make_unique<MainWindow>(*session_, registry_.all());
    window_->resize(1280, 800);
    window_->show();
    ASSERT_TRUE(QTest::qWaitForWindowExposed(window_.get()));
  }
  void TearDown() override {
    window_.reset();
    AppTest::TearDown();
  }
  void drop(const QStringList& paths) {
    QMimeData data;
    QList<QUrl> urls;
    for (const QString& p : paths) urls << QUrl::fromLocalFile(p);
    data.setUrls(urls);
    QDragEnterEvent enter(QPoint(400, 400), Qt::CopyAction, &data, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(window_.get(), &enter);
    EXPECT_TRUE(enter.isAccepted());
    QDropEvent event(QPointF(400, 400), Qt::CopyAction, &data, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(window_.get(), &event);
  }
  std::unique_ptr<MainWindow> window_;
};

TEST(Palette, FindsWordsInAnyOrderAndPutsBeginningsFirst) {
  const std::vector<PaletteEntry> entries = {{QStringLiteral("run"), QStringLiteral("3 · Patching"), QStringLiteral("ioi"), {}},
                                             {QStringLiteral("analysis"), QStringLiteral("Activation patching"), QStringLiteral("activation_patching"), {}},
                                             {QStringLiteral("panel"), QStringLiteral("Patching"), {}, {}}};
  auto found = matchEntries(entries, QStringLiteral("patch"), 10);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0]->kind, QStringLiteral("panel"));
  found = matchEntries(entries, QStringLiteral("ioi RUN"), 10);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0]->detail, QStringLiteral("ioi"));
  EXPECT_EQ(matchEntries(entries, QString(), 2).size(), 2u);
  EXPECT_TRUE(matchEntries(entries, QStringLiteral("zzz"), 10).empty());
}

TEST_F(WindowTest, EveryPanelHasItsPlaceAndKey) {
  std::set<QString> keys;
  EXPECT_GE(registry_.all().size(), 14u);
  for (const char* id : {"start", "project", "model", "prompts", "attention", "states", "lens", "patching", "circuit", "probes", "report", "jobs", "analysis", "results", "inspector"})
    EXPECT_TRUE(window_->panel(QLatin1String(id))) << id;
  for (const PanelKind& kind : registry_.all()) {
    Panel* p = window_->panel(kind.info.id);
    ASSERT_TRUE(p);
    EXPECT_FALSE(kind.info.title.isEmpty());
    EXPECT_FALSE(kind.info.help.isEmpty()) << kind.info.id.toStdString();
    if (!kind.info.shortcut.isEmpty()) {
      EXPECT_TRUE(keys.insert(kind.info.shortcut).second) << "two panels have " << kind.info.shortcut.toStdString();
    }
    window_->showPanel(kind.info.id);
    EXPECT_TRUE(p->isVisible()) << kind.info.id.toStdString();
  }
  for (QAction* a : window_->allActions())
    if (!a->shortcut().isEmpty()) {
      EXPECT_TRUE(keys.insert(a->shortcut().toString()).second) << "a panel and an action share " << a->shortcut().toString().toStdString();
    }
}

TEST_F(WindowTest, EveryPanelFitsIntoASmallWindow) {
  openTwins(4);
  ASSERT_TRUE(settle());
  for (const PanelKind& kind : registry_.all()) {
    if (kind.info.area != PanelArea::kCentre) continue;
    window_->showPanel(kind.info.id);
    QTest::qWait(50);
  }
  ASSERT_TRUE(settle());
  EXPECT_LE(window_->minimumSizeHint().width(), 1280);
  EXPECT_LE(window_->minimumSizeHint().height(), 800);
  window_->resize(1280, 800);
  QTest::qWait(50);
  EXPECT_EQ(window_->size(), QSize(1280, 800));
}

TEST_F(WindowTest, FindAnythingOpensAPanelByKeyboard) {
  QTest::keyClick(window_.get(), Qt::Key_K, Qt::ControlModifier);
  auto* palette = window_->findChild<CommandPalette*>(QStringLiteral("palette"));
  ASSERT_TRUE(palette);
  ASSERT_TRUE(palette->isVisible());
  auto* field = palette->findChild<QLineEdit*>();
  QTest::keyClicks(field, QStringLiteral("panel patching"));
  QTest::keyClick(field, Qt::Key_Return);
  EXPECT_FALSE(palette->isVisible());
  EXPECT_EQ(window_->currentCentre()->info().id, QStringLiteral("patching"));
  QTest::keyClick(window_.get(), Qt::Key_K, Qt::ControlModifier);
  QTest::keyClick(field, Qt::Key_Escape);
  EXPECT_FALSE(palette->isVisible());
}

TEST_F(WindowTest, DroppedFoldersOpenAndAWrongOneSaysWhatIsMissing) {
  drop({models() + QStringLiteral("/zoo-llama"), models() + QStringLiteral("/zoo-gated_deltanet")});
  ASSERT_TRUE(waitUntil([&] { return session_->comparing() && session_->model(0); }));
  EXPECT_EQ(session_->model(0)->facts().name, "zoo-llama");
  EXPECT_EQ(session_->model(1)->facts().name, "zoo-gated_deltanet");
  problems_.clear();
  QDir(folder_.path()).mkdir(QStringLiteral("empty"));
  drop({folder_.filePath(QStringLiteral("empty"))});
  ASSERT_TRUE(waitUntil([&] { return !problems_.isEmpty(); }));
  EXPECT_TRUE(problems_[0].contains(QStringLiteral("config.json is missing"))) << problems_[0].toStdString();
  bool shown = false;
  for (QLabel* label : window_->currentCentre()->findChildren<QLabel*>()) shown = shown || (label->isVisible() && label->text().contains(QStringLiteral("config.json")));
  EXPECT_TRUE(shown) << "the sentence is in the panel's bar";
  EXPECT_TRUE(session_->model(0)) << "the model that was open stays";
}

TEST_F(WindowTest, DroppedPromptsAndProjectsOpen) {
  openTwins(4, false);
  const QString file = folder_.filePath(QStringLiteral("pairs.jsonl"));
  QFile f(file);
  ASSERT_TRUE(f.open(QIODevice::WriteOnly));
  f.write("{\"clean\": \"Mary gave\"}\n");
  f.close();
  drop({file});
  ASSERT_TRUE(waitUntil([&] { return session_->prompts().source.kind == PromptSource::Kind::kFile && session_->prompts().bySlot[0]; }));
  EXPECT_EQ(session_->prompts().bySlot[0]->pairs[0].clean, "Mary gave");
  const QString project = folder_.filePath(QStringLiteral("other.microtome"));
  drop({project});
  ASSERT_TRUE(waitUntil([&] { return session_->projectPath() == project; }));
}

TEST_F(WindowTest, KeysAreListedAndThemesChangeLive) {
  QTest::keyClick(window_.get(), Qt::Key_F1);
  auto* keys = window_->findChild<QWidget*>(QStringLiteral("keys"));
  ASSERT_TRUE(keys);
  auto* table = keys->findChild<QTableWidget*>();
  EXPECT_GE(table->rowCount(), 20);
  picture(keys, QStringLiteral("keys"));
  keys->close();
  const bool before = Theme::of(window_.get()).dark;
  window_->setDark(!before);
  EXPECT_NE(Theme::of(window_.get()).dark, before);
  QTest::qWait(20);
  picture(window_.get(), QStringLiteral("window_other_theme"));
  window_->setDark(before);
}

TEST_F(WindowTest, LayoutAndTabOrderAreKept) {
  QDockWidget* jobs = window_->findChild<QDockWidget*>(QStringLiteral("dock_jobs"));
  ASSERT_TRUE(jobs);
  jobs->hide();
  auto* tabs = window_->findChild<QTabWidget*>(QStringLiteral("centre"));
  tabs->tabBar()->moveTab(tabs->indexOf(window_->panel(QStringLiteral("report"))), 1);
  window_->close();
  window_ = std::make_unique<MainWindow>(*session_, registry_.all());
  window_->show();
  EXPECT_FALSE(window_->findChild<QDockWidget*>(QStringLiteral("dock_jobs"))->isVisible());
  EXPECT_EQ(window_->findChild<QTabWidget*>(QStringLiteral("centre"))->indexOf(window_->panel(QStringLiteral("report"))), 1);
}

TEST_F(WindowTest, ANoteOnARunIsWrittenInAPopup) {
  openTwins(4, false);
  RunRequest request;
  request.analysis = QStringLiteral("logit_lens");
  ASSERT_NE(session_->run(request), 0);
  // The panel in front makes runs of its own.
  qint64 id = 0;
  ASSERT_TRUE(waitUntil([&] {
    for (const RunRecord& r : session_->runs())
      if (r.analysis == "logit_lens" && r.state == RunStatus::kDone) id = r.id;
    return id != 0 && !session_->busy();
  }));
  Q_EMIT window_->panel(QStringLiteral("results"))->noteWanted(id, QString());
  auto* popup = window_->findChild<QFrame*>(QStringLiteral("note"));
  ASSERT_TRUE(popup);
  QTest::keyClicks(popup->findChild<QPlainTextEdit*>(), QStringLiteral("worth a figure"));
  QTest::mouseClick(popup->findChild<QPushButton*>(), Qt::LeftButton);
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->store()->find_run(std::to_string(id))->note, "worth a figure");
}

}  // namespace
}  // namespace microtome::desktop
