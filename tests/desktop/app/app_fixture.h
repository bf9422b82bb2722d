// app_fixture.h — a session with the two shipped models and IOI prompts, as *Try the demo* gives it, in a folder of its own; and
// what tests of panels share: waiting, pictures.
#pragma once

#include <QDir>
#include <QFile>
#include <QSettings>
#include <QTemporaryDir>
#include <QtTest/QTest>
#include <functional>

#include <gtest/gtest.h>

#include "app/desktop/panels/registry.h"
#include "app/desktop/session/session.h"

namespace microtome::desktop {

// Runs the event loop until `done` or the time is over.
inline bool waitUntil(const std::function<bool()>& done, int ms = 60000) { return QTest::qWaitFor(done, ms); }

class AppTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(folder_.isValid());
    QSettings().clear();
    session_ = std::make_unique<Session>();
    QObject::connect(session_.get(), &Session::problem, [this](const QString& where, const QString& sentence) { problems_ << where + QStringLiteral(": ") + sentence; });
    session_->openProject(folder_.filePath(QStringLiteral("test.microtome")));
    session_->openEngine();
    ASSERT_TRUE(waitUntil([&] { return session_->engineReady() && session_->store(); })) << problems_.join(QLatin1Char('\n')).toStdString();
    panels::register_all(registry_);
  }
  void TearDown() override { session_.reset(); }

  QString models() const { return QStringLiteral(MICROTOME_SOURCE_DIR "/resources/models"); }
  // Both twins and `count` IOI prompts.
  void openTwins(int count = 8, bool second = true) {
    session_->openModel(models() + QStringLiteral("/zoo-llama"), 0);
    if (second) session_->openModel(models() + QStringLiteral("/zoo-gated_deltanet"), 1);
    ASSERT_TRUE(waitUntil([&] { return session_->model(0) && (!second || session_->model(1)); })) << problems_.join(QLatin1Char('\n')).toStdString();
    PromptSource source;
    source.kind = PromptSource::Kind::kTask;
    source.task = QStringLiteral("ioi");
    source.count = count;
    session_->setTask(source);
    ASSERT_TRUE(waitUntil([&] { return session_->prompts().bySlot[0] && (!second || session_->prompts().bySlot[1]); })) << problems_.join(QLatin1Char('\n')).toStdString();
  }
  Panel* makePanel(const char* id, const QSize& size = QSize(900, 560)) {
    for (const PanelKind& kind : registry_.all())
      if (kind.info.id == QLatin1String(id)) {
        Panel* p = kind.create(*session_, nullptr);
        p->resize(size);
        p->show();
        return p;
      }
    ADD_FAILURE() << "no panel " << id;
    return nullptr;
  }
  // No job is queued or running and nothing waits for the GUI thread.
  bool settle(int ms = 120000) {
    return waitUntil([&] {
      for (const JobSnapshot& j : session_->jobs())
        if (j.state == JobState::kQueued || j.state == JobState::kRunning) return false;
      return !session_->busy();
    }, ms) && (QTest::qWait(150), true);
  }
  // Kept where MICROTOME_TEST_PICTURES names a folder, so that a person can look.
  void picture(QWidget* w, const QString& name) {
    const QString to = qEnvironmentVariable("MICROTOME_TEST_PICTURES");
    const QImage image = w->grab().toImage();
    EXPECT_FALSE(image.isNull());
    if (!to.isEmpty()) image.save(QDir(to).filePath(name + QStringLiteral(".png")));
  }

  QTemporaryDir folder_;
  QStringList problems_;
  std::unique_ptr<Session> session_;
  panels::Registry registry_;
};

}  // namespace microtome::desktop
