#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/base/artifact.h"
#include "core/base/log.h"
#include "core/base/progress.h"

namespace microtome {
namespace {

TEST(Progress, RangesNest) {
  Progress p;
  p.step(1, 10, "load");
  EXPECT_DOUBLE_EQ(p.snapshot().fraction, 0.1);
  Progress half = p.range(0.5, 1.0);
  half.step(1, 2, "run");
  EXPECT_DOUBLE_EQ(p.snapshot().fraction, 0.75);
  Progress quarter = half.range(0.5, 1.0);
  quarter.step(1, 2);
  EXPECT_DOUBLE_EQ(p.snapshot().fraction, 0.875);
  EXPECT_EQ(p.snapshot().what, "run");
  quarter.step(7, 0);
  EXPECT_DOUBLE_EQ(p.snapshot().fraction, 1.0);
}

TEST(Progress, NeverFallsAndNeverLeavesItsRange) {
  Progress p;
  p.step(5, 10);
  p.step(1, 10);
  EXPECT_DOUBLE_EQ(p.snapshot().fraction, 0.5);
  p.step(50, 10);
  EXPECT_DOUBLE_EQ(p.snapshot().fraction, 1.0);
  EXPECT_EQ(p.snapshot().left_s, 0);
  EXPECT_LT(Progress().snapshot().left_s, 0);
}

TEST(Progress, CancelReachesEveryRange) {
  Progress p;
  Progress part = p.range(0, 0.5);
  EXPECT_NO_THROW(part.check());
  p.cancel();
  EXPECT_TRUE(part.cancelled());
  for (auto* q : {&p, &part}) {
    try {
      q->step(1, 2);
      ADD_FAILURE() << "step after cancel went on";
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kCancelled);
    }
  }
  EXPECT_DOUBLE_EQ(p.snapshot().fraction, 0);
}

TEST(Progress, TheListenerMayAskAndCancel) {
  Progress p;
  std::vector<double> seen;
  p.on_step([&](const Progress::Snapshot& s) {
    seen.push_back(s.fraction);
    if (p.snapshot().fraction >= 0.5) p.cancel();
  });
  p.step(1, 4);
  p.step(2, 4);
  EXPECT_THROW(p.step(3, 4), Error);
  EXPECT_EQ(seen, (std::vector<double>{0.25, 0.5}));
}

TEST(Progress, ManyThreadsMayStep) {
  Progress p;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      Progress part = p.range(t / 4.0, (t + 1) / 4.0);
      for (int i = 1; i <= 500; ++i) part.step(i, 500);
    });
  for (auto& t : threads) t.join();
  EXPECT_DOUBLE_EQ(p.snapshot().fraction, 1.0);
}

TEST(Log, WarningsGoToStandardErrorAndTheListener) {
  std::vector<std::pair<LogLevel, std::string>> heard;
  set_log_listener([&](LogLevel level, const std::string& text) { heard.emplace_back(level, text); });
  ::testing::internal::CaptureStderr();
  log_warning("weights {hold} a NaN %s");
  log_info("quiet");
  const std::string printed = ::testing::internal::GetCapturedStderr();
  set_log_listener(nullptr);
  ::testing::internal::CaptureStderr();
  log_message(LogLevel::kError, "alone");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "microtome: error: alone\n");
  EXPECT_EQ(printed, "microtome: warning: weights {hold} a NaN %s\n");
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_EQ(heard[1], std::pair(LogLevel::kInfo, std::string("quiet")));
}

TEST(Artifact, ArraysReadAsDoubles) {
  NamedArray a;
  a.data = std::vector<int64_t>{3, -4};
  EXPECT_EQ(a.size(), 2);
  EXPECT_EQ(a.at(1), -4.0);
  EXPECT_THROW(a.at(2), Error);
  EXPECT_THROW(a.at(-1), Error);
  a.data = std::vector<float>{0.5f};
  EXPECT_EQ(a.at(0), 0.5);
}

TEST(Artifact, KindsAndNames) {
  Series s;
  s.name = "curve";
  EXPECT_EQ(artifact_name(Artifact(s)), "curve");
  EXPECT_STREQ(artifact_kind(Table{}), "table");
  EXPECT_STREQ(artifact_kind(TensorMap{}), "tensors");
  EXPECT_STREQ(artifact_kind(s), "series");
  EXPECT_STREQ(artifact_kind(Text{}), "text");
  EXPECT_STREQ(artifact_kind(Circuit{}), "circuit");
}

}  // namespace
}  // namespace microtome
