// From nothing to a report, as a person would: the demo, an attention grid, a head, states, a patching grid that fills, a cell's
// next tokens, a report. Then a minute of work with jobs running, in which the event loop may never be away for long.
#include <QElapsedTimer>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QPushButton>
#include <QScrollBar>
#include <QSlider>
#include <QStandardPaths>
#include <QTabWidget>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>
#include <map>

#include "app/desktop/frame/command_palette.h"
#include "app/desktop/frame/main_window.h"
#include "app/desktop/panels/report/preview.h"
#include "app/desktop/panels/report/report_panel.h"
#include "app/desktop/views/heat_map.h"
#include "app/desktop/views/heat_map_grid.h"
#include "tests/desktop/app/app_fixture.h"
#include "tests/desktop/app/loop_watchdog.h"

namespace microtome::desktop {
namespace {

// Milliseconds the event loop may be away. The bound; the test runs by itself (RUN_SERIAL).
constexpr double kStall = 100;

class ScriptedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(folder_.isValid());
    QSettings().clear();
    panels::register_all(registry_);
    session_ = std::make_unique<Session>();
    QObject::connect(session_.get(), &Session::problem, [this](const QString& where, const QString& sentence) { problems_ << where + QStringLiteral(": ") + sentence; });
    window_ = std::make_unique<MainWindow>(*session_, registry_.all());
    window_->resize(1280, 800);
    window_->show();
    ASSERT_TRUE(QTest::qWaitForWindowExposed(window_.get()));
    session_->openEngine();
    session_->openUntitledProject();
  }
  void TearDown() override {
    window_.reset();
    session_.reset();
  }

  template <class T>
  T* find(const char* panel, const std::function<bool(T*)>& which = {}) const {
    Panel* p = window_->panel(QLatin1String(panel));
    if (!p) return nullptr;
    for (T* w : p->findChildren<T*>())
      if (w->isVisible() && (!which || which(w))) return w;
    return nullptr;
  }
  QPushButton* button(const char* panel, const QString& text) const {
    return find<QPushButton>(panel, [&](QPushButton* b) { return b->text().contains(text); });
  }
  bool idle() const {
    for (const JobSnapshot& j : session_->jobs())
      if (j.state == JobState::kQueued || j.state == JobState::kRunning) return false;
    return !session_->busy();
  }
  void wheel(QWidget* w, int delta) {
    const QPointF at = QRectF(w->rect()).center();
    QWheelEvent event(at, w->mapToGlobal(at), QPoint(), QPoint(0, delta), Qt::NoButton, Qt::NoModifier, Qt::NoScrollPhase, false);
    QApplication::sendEvent(w, &event);
  }
  static int known(const HeatMapView* map) {
    int n = 0;
    if (map->data().values)
      for (float v : *map->data().values) n += !std::isnan(v);
    return n;
  }
  void picture(const QString& name) {
    const QString to = qEnvironmentVariable("MICROTOME_TEST_PICTURES");
    if (!to.isEmpty()) window_->grab().save(QDir(to).filePath(name + QStringLiteral(".png")));
  }
  std::string said() const { return problems_.join(QLatin1Char('\n')).toStdString(); }

  QTemporaryDir folder_;
  QStringList problems_;
  panels::Registry registry_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<MainWindow> window_;
};

TEST_F(ScriptedTest, FromNothingToAReport) {
  ASSERT_TRUE(waitUntil([&] { return session_->engineReady() && session_->store(); })) << said();
  // A project of its own: what an earlier run left in the demo's would answer at once.
  QDir(QStandardPaths::writableLocation(QStandardPaths::AppDataLocation)).removeRecursively();
  LoopWatchdog dog;

  // 1. Try the demo: the twin models, and the grids of both within three seconds.
  QPushButton* demo = button("start", QStringLiteral("demo"));
  ASSERT_TRUE(demo);
  QElapsedTimer clock;
  clock.start();
  QTest::mouseClick(demo, Qt::LeftButton);
  const auto grids = [&] {
    int n = 0;
    for (HeatMapGridView* g : window_->panel(QStringLiteral("attention"))->findChildren<HeatMapGridView*>())
      n += g->isVisible() && !g->data().maps.empty() && g->data().maps.front().values;
    return n;
  };
  ASSERT_TRUE(waitUntil([&] { return grids() == 2; })) << said();
  const double toGrid = static_cast<double>(clock.elapsed());
  RecordProperty("demo_to_grids_ms", std::to_string(toGrid));
  EXPECT_LT(toGrid, 3000);
  EXPECT_EQ(window_->currentCentre()->info().id, QStringLiteral("attention"));
  EXPECT_TRUE(session_->comparing());

  // 2. Pick a head with the mouse: the same head everywhere.
  HeatMapGridView* grid = find<HeatMapGridView>("attention");
  ASSERT_TRUE(grid);
  grid->setFocus();
  QTest::keyClick(grid, Qt::Key_Down);
  QTest::keyClick(grid, Qt::Key_Right);
  EXPECT_GE(session_->selection().layer(), 0);
  EXPECT_GE(session_->selection().head(), 0);

  // 3. States: the slider goes over the tokens.
  window_->showPanel(QStringLiteral("states"));
  ASSERT_TRUE(waitUntil([&] { return find<HeatMapView>("states", [](HeatMapView* m) { return m->data().values != nullptr; }) != nullptr; })) << said();
  QSlider* slider = find<QSlider>("states");
  ASSERT_TRUE(slider);
  ASSERT_GT(slider->maximum(), 4);
  HeatMapView* state = find<HeatMapView>("states", [](HeatMapView* m) { return m->data().values != nullptr; });
  slider->setFocus();
  QTest::keyClick(slider, Qt::Key_Home);
  QTest::qWait(60);
  const std::vector<float> first = *state->data().values;
  QTest::keyClick(slider, Qt::Key_End);
  QTest::qWait(60);
  EXPECT_NE(first, *state->data().values) << "another token, another state";

  // 4. Patching fills while the window lives, and a cell shows that run's next tokens.
  window_->showPanel(QStringLiteral("patching"));
  QPushButton* run = nullptr;
  ASSERT_TRUE(waitUntil([&] {
    run = window_->panel(QStringLiteral("patching"))->findChild<QPushButton*>(QStringLiteral("patching_run"));
    return idle() && run && run->isVisible() && run->isEnabled();
  }));
  QTest::mouseClick(run, Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] {
    HeatMapView* m = find<HeatMapView>("patching");
    return m && known(m) > 0;
  })) << said();
  ASSERT_TRUE(waitUntil([&] { return idle(); }));
  HeatMapView* effect = find<HeatMapView>("patching", [&](HeatMapView* m) { return known(m) > 0; });
  ASSERT_TRUE(effect);
  effect->setFocus();
  QTest::keyClick(effect, Qt::Key_Right);
  QTest::keyClick(effect, Qt::Key_Down);
  EXPECT_TRUE(waitUntil([&] {
    for (QLabel* label : window_->panel(QStringLiteral("patching"))->findChildren<QLabel*>())
      if (label->isVisible() && label->text().contains(QStringLiteral("→"))) return true;
    return false;
  })) << "the sentence says what the cell did";
  picture(QStringLiteral("scripted_patching"));

  // 5. A report of what is on screen.
  window_->showPanel(QStringLiteral("report"));
  auto* preview = find<PagePreview>("report");
  ASSERT_TRUE(preview);
  ASSERT_TRUE(waitUntil([&] { return preview->pageCount() > 0; }));
  auto* pictures = window_->panel(QStringLiteral("report"))->findChild<QListWidget*>(QStringLiteral("report_pictures"));
  EXPECT_GE(pictures->count(), 3) << "what Attention, States and Patching show can be taken";
  const QString out = folder_.filePath(QStringLiteral("demo.html"));
  static_cast<ReportPanel*>(window_->panel(QStringLiteral("report")))->exportTo(out);
  ASSERT_TRUE(waitUntil([&] { return QFile::exists(out); }));
  QFile file(out);
  ASSERT_TRUE(file.open(QIODevice::ReadOnly));
  EXPECT_GE(file.readAll().count("data:image/svg+xml"), 3);
  EXPECT_TRUE(problems_.isEmpty()) << said();
  RecordProperty("worst_stall_ms", std::to_string(dog.worst()));
  EXPECT_EQ(dog.over(kStall), 0) << "worst " << dog.worst() << " ms of " << dog.count();
}

TEST_F(ScriptedTest, AMinuteOfWorkWithJobsRunning) {
  ASSERT_TRUE(waitUntil([&] { return session_->engineReady() && session_->store(); })) << said();
  session_->openDemo();
  ASSERT_TRUE(waitUntil([&] { return session_->comparing() && session_->prompts().bySlot[1]; })) << said();
  QStringList centre;
  for (const PanelKind& kind : registry_.all())
    if (kind.info.area == PanelArea::kCentre) centre << kind.info.id;
  LoopWatchdog dog;
  QElapsedTimer clock;
  clock.start();
  int step = 0, started = 0;
  // Where the loop was away, for whoever has to mend it.
  size_t seen = 0;
  std::map<std::string, std::vector<double>> away;
  const auto look = [&](const std::string& doing) {
    for (const std::vector<double> all = dog.stalls(); seen < all.size(); ++seen)
      if (all[seen] > kStall / 2) away[doing].push_back(all[seen]);
  };
  while (clock.elapsed() < 60000) {
    // Two long runs at all times.
    int running = 0;
    for (const JobSnapshot& j : session_->jobs()) running += j.lane == "cpu" && (j.state == JobState::kRunning || j.state == JobState::kQueued);
    for (int slot = 0; running < 2 && slot < 2; ++slot, ++running) {
      RunRequest request;
      request.analysis = started % 2 ? QStringLiteral("ablation") : QStringLiteral("activation_patching");
      request.params = {{"site", started % 3 ? "z" : "resid_pre"}};
      if (started % 3) request.params["by_position"] = "true";
      request.slot = slot;
      request.again = true;
      EXPECT_NE(session_->run(request), 0) << said();
      ++started;
    }
    const QString id = centre[step % centre.size()];
    window_->showPanel(id);
    Panel* p = window_->panel(id);
    QTest::qWait(150);
    look(id.toStdString() + ": shown");
    for (HeatMapView* map : p->findChildren<HeatMapView*>()) {
      if (!map->isVisible()) continue;
      wheel(map, 120);
      QTest::mouseMove(map, map->rect().center());
      QTest::mouseClick(map, Qt::LeftButton, Qt::NoModifier, map->rect().center());
      QTest::keyClick(map, Qt::Key_Right);
      wheel(map, -240);
      QTest::qWait(10);
    }
    look(id.toStdString() + ": maps");
    for (HeatMapGridView* grid : p->findChildren<HeatMapGridView*>())
      if (grid->isVisible()) QTest::keyClick(grid, step % 2 ? Qt::Key_Right : Qt::Key_Down);
    for (QSlider* slider : p->findChildren<QSlider*>())
      if (slider->isVisible()) slider->setValue((slider->value() + 3) % std::max(1, slider->maximum()));
    QTest::qWait(20);
    look(id.toStdString() + ": grids and sliders");
    if (step % 4 == 0) {
      QTest::keyClick(window_.get(), Qt::Key_K, Qt::ControlModifier);
      if (auto* field = window_->findChild<CommandPalette*>()->findChild<QLineEdit*>()) {
        QTest::keyClicks(field, QStringLiteral("patch"));
        QTest::keyClick(field, Qt::Key_Escape);
      }
    }
    QTest::qWait(20);
    look("find anything");
    if (step % 5 == 0) session_->selection().setPrompt((session_->selection().prompt() + 1) % 32);
    if (step % 9 == 0) window_->resize(1280 + 16 * (step % 3), 800);
    QTest::qWait(60);
    look(id.toStdString() + (step % 9 == 0 ? ": resized" : step % 5 == 0 ? ": next prompt" : ": rest"));
    ++step;
  }
  for (const auto& [doing, ms] : away) std::printf("  %s: %zu over %.0f ms, worst %.0f ms\n", doing.c_str(), ms.size(), kStall / 2, *std::max_element(ms.begin(), ms.end()));
  RecordProperty("worst_stall_ms", std::to_string(dog.worst()));
  RecordProperty("steps", step);
  EXPECT_GE(step, 60);
  // Jobs have both cores of a small machine busy, so once in thousands of turns the system gives the loop its core late: 100.2 ms was
  // seen where a quiet minute's worst is 53. One such turn is let pass; what blocks the loop does so again and again.
  EXPECT_LE(dog.over(kStall), 1) << "worst " << dog.worst() << " ms of " << dog.count() << ", " << started << " runs started";
  EXPECT_LT(dog.worst(), 2 * kStall) << started << " runs started";
  std::printf("a minute: %d steps, %d runs started, event loop away for at most %.1f ms\n", step, started, dog.worst());
}

}  // namespace
}  // namespace microtome::desktop
