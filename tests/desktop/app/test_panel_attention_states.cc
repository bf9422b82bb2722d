// The attention panel when there is nothing to show, when prompts and models come and go, and when a prompt is long.
#include <QCheckBox>
#include <QElapsedTimer>
#include <QScrollArea>

#include "tests/desktop/app/attention_panel_test.h"
#include "tests/desktop/app/loop_watchdog.h"

namespace microtome::desktop {
namespace {

TEST_F(AttentionPanelTest, WithoutAModelItOffersTheDemo) {
  open();
  QTest::qWait(30);
  EXPECT_TRUE(empty().contains(QStringLiteral("No model is open"))) << empty().toStdString();
  EXPECT_TRUE(emptyButton()->isVisible());
  EXPECT_EQ(emptyButton()->text(), QStringLiteral("Try the demo"));
  EXPECT_FALSE(panel_->findChild<QCheckBox*>(QStringLiteral("hide_first"))->isVisible())
      << "no controls without something to control";
  EXPECT_TRUE(panel_->views().empty());
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("attention_empty"));
  session_->openModel(models() + QStringLiteral("/zoo-llama"), 0);
  ASSERT_TRUE(waitUntil([&] { return empty().contains(QStringLiteral("No prompt")); })) << empty().toStdString();
}

TEST_F(AttentionPanelTest, AnotherPromptAnotherRunHiddenNoRun) {
  openTwins();
  open();
  ASSERT_TRUE(waitShown(true));
  const qint64 first = runs_[0]->record.id;
  session_->selection().setPrompt(2);
  ASSERT_TRUE(waitUntil([&] { return runs_[0]->record.id != first && grid(0)->sourceRun() == runs_[0]->record.id; }));
  EXPECT_EQ(map(0)->data().rows, static_cast<int64_t>(session_->currentPair(0)->clean_ids.size()));
  ASSERT_TRUE(settle());
  const size_t runs = session_->runs().size();
  panel_->hide();
  session_->selection().setPrompt(3);
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->runs().size(), runs) << "a hidden panel costs nothing";
  panel_->show();
  ASSERT_TRUE(waitUntil([&] { return session_->runs().size() == runs + 2; }));
  ASSERT_TRUE(settle());
  panel_->hide();
  panel_->show();
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->runs().size(), runs + 2) << "nothing changed, nothing runs";
  session_->closeModel(1);
  QTest::qWait(30);
  EXPECT_FALSE(column(1)->isVisible());
  EXPECT_TRUE(column(0)->isVisible());
  EXPECT_EQ(panel_->views().size(), 3u);
}

TEST_F(AttentionPanelTest, ALongPromptSaysWhatItCostsFirst) {
  session_->openModel(longModel(), 0);
  ASSERT_TRUE(waitUntil([&] { return session_->model(0) != nullptr; }))
      << problems_.join(QLatin1Char('\n')).toStdString();
  open();
  QString text = QStringLiteral("Mary");
  while (text.size() < 7000) text += QStringLiteral(" gave John");
  typePrompt(text);
  const auto tokens = static_cast<int64_t>(session_->currentPair(0)->clean_ids.size());
  ASSERT_GT(tokens, 1024);
  ASSERT_LT(tokens, 2048);
  ASSERT_TRUE(waitUntil([&] { return empty().contains(QStringLiteral("A long prompt")); })) << empty().toStdString();
  EXPECT_TRUE(empty().contains(QStringLiteral("MB"))) << empty().toStdString();
  EXPECT_TRUE(panel_->views().empty());
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("attention_long_asked"));
  QElapsedTimer watch;
  LoopWatchdog loop;
  watch.start();
  QTest::mouseClick(emptyButton(), Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] {
    return shown() && map()->data().rows == tokens && grid()->data().maps[0].rows > 0 && panel_->views().size() == 3;
  }));
  std::printf("%lld tokens, all heads: %lld ms, the window was away for %.0f ms at most\n",
              static_cast<long long>(tokens), static_cast<long long>(watch.elapsed()), loop.worst());
  EXPECT_LE(grid()->data().maps[0].rows, 256) << "little maps of blocks";
  EXPECT_EQ((*map()->data().values)[static_cast<size_t>(900 * tokens + 500)],
            static_cast<float>(stored(0, 0, 0, 900, 500)));
  session_->selection().setPosition(900);
  ASSERT_TRUE(settle());
  // The query is in sight in the text.
  auto* area = column(0)->findChild<QScrollArea*>();
  QImage seen = area->viewport()->grab().toImage();
  bool marked = false;
  for (int y = 0; y < seen.height() && !marked; ++y)
    for (int x = 0; x < seen.width() && !marked; ++x)
      marked = seen.pixelColor(x, y) == Theme::of(panel_.get()).highlight;
  EXPECT_TRUE(marked);
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("attention_long"));
}

TEST_F(AttentionPanelTest, WhatDoesNotWorkSaysWhatToDo) {
  openTwins(4, false);
  open();
  ASSERT_TRUE(waitShown(false));
  QString text = QStringLiteral("Mary");
  while (text.size() < 4000) text += QStringLiteral(" gave John");
  typePrompt(text);
  ASSERT_TRUE(waitUntil([&] { return empty().contains(QStringLiteral("This did not work")); }))
      << empty().toStdString();
  EXPECT_TRUE(empty().contains(QStringLiteral("shorten it"))) << empty().toStdString();
  EXPECT_EQ(emptyButton()->text(), QStringLiteral("Run again"));
  EXPECT_TRUE(panel_->views().empty());
  // One token: a picture of almost nothing is one still.
  typePrompt(QStringLiteral("Mary"));
  ASSERT_TRUE(waitUntil([&] { return panel_->views().size() == 3; }));
  auto* hide = panel_->findChild<QCheckBox*>(QStringLiteral("hide_first"));
  hide->click();
  EXPECT_FALSE(panel_->grab().isNull());
  hide->click();
}

TEST_F(AttentionPanelTest, ARunThatWasCancelledRunsAgain) {
  openTwins(4, false);
  bool cancelled = false;
  QObject::connect(session_.get(), &Session::runStarted, session_.get(), [&](qint64 job, const QString& analysis, int) {
    if (analysis == QLatin1String("attention") && !std::exchange(cancelled, true)) session_->cancel(job);
  });
  open();
  ASSERT_TRUE(waitUntil([&] { return empty().contains(QStringLiteral("Cancelled")) || (cancelled && shown()); }));
  ASSERT_TRUE(cancelled);
  // It may have been quicker than the cancellation.
  if (!shown()) {
    EXPECT_EQ(emptyButton()->text(), QStringLiteral("Run again"));
    QTest::mouseClick(emptyButton(), Qt::LeftButton);
  }
  ASSERT_TRUE(waitUntil([&] { return panel_->views().size() == 3 && shown(); }));
}

}  // namespace
}  // namespace microtome::desktop
