#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "core/jobs/job_queue.h"

namespace microtome {
namespace {

using namespace std::chrono_literals;

// A door that a job waits at, so that tests need no sleeps to get the order they want.
class Gate {
 public:
  void open() {
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

JobSnapshot snapshot_of(const JobQueue& queue, int64_t id) {
  for (const JobSnapshot& s : queue.snapshots()) {
    if (s.id == id) return s;
  }
  ADD_FAILURE() << "no job " << id;
  return {};
}

// A body that runs until it is cancelled.
std::function<void(Progress&)> endless(Gate& started) {
  return [&started](Progress& p) {
    started.open();
    for (auto begin = std::chrono::steady_clock::now(); std::chrono::steady_clock::now() - begin < 20s;) {
      p.step(1, 2, "turning");
      std::this_thread::sleep_for(1ms);
    }
  };
}

TEST(JobQueue, RunsAJobAndKeepsItsResult) {
  JobQueue queue;
  std::atomic<int> ran{0};
  int64_t id = queue.submit("count", "cpu", [&](Progress& p) {
    p.step(1, 4, "first");
    ++ran;
  });
  EXPECT_TRUE(queue.wait(id).is_ok());
  EXPECT_EQ(ran, 1);
  JobSnapshot s = snapshot_of(queue, id);
  EXPECT_EQ(s.state, JobState::kDone);
  EXPECT_EQ(s.title, "count");
  EXPECT_EQ(s.lane, "cpu");
  EXPECT_EQ(s.progress.fraction, 1.0);
  EXPECT_EQ(s.progress.what, "first");
  EXPECT_TRUE(s.status.is_ok());
  double elapsed = s.progress.elapsed_s;
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(snapshot_of(queue, id).progress.elapsed_s, elapsed) << "the clock of a finished job stands still";
}

TEST(JobQueue, WaitOnAnUnknownJobIsNotFound) {
  JobQueue queue;
  EXPECT_EQ(queue.wait(99).code(), StatusCode::kNotFound);
}

TEST(JobQueue, ADeviceLaneRunsOneAtATimeInOrder) {
  JobQueue queue(4);
  std::mutex mutex;
  std::vector<int> order;
  std::atomic<int> inside{0}, most{0};
  std::vector<int64_t> ids;
  for (int i = 0; i < 50; ++i) {
    ids.push_back(queue.submit("job", "cuda:0", [&, i](Progress&) {
      int now = ++inside;
      most = std::max(most.load(), now);
      {
        std::lock_guard<std::mutex> lock(mutex);
        order.push_back(i);
      }
      --inside;
    }));
  }
  for (int64_t id : ids) EXPECT_TRUE(queue.wait(id).is_ok());
  EXPECT_EQ(most, 1);
  ASSERT_EQ(order.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(JobQueue, TheCpuLaneRunsAsManyAsItsThreadsAndNoMore) {
  JobQueue queue(3);
  std::mutex mutex;
  std::condition_variable changed;
  int inside = 0, most = 0;
  std::vector<int64_t> ids;
  for (int i = 0; i < 12; ++i) {
    ids.push_back(queue.submit("job", "cpu", [&](Progress&) {
      std::unique_lock<std::mutex> lock(mutex);
      most = std::max(most, ++inside);
      changed.notify_all();
      // The first three meet here; a pool of fewer would time out.
      changed.wait_for(lock, 20s, [&] { return most >= 3; });
      --inside;
    }));
  }
  for (int64_t id : ids) EXPECT_TRUE(queue.wait(id).is_ok());
  EXPECT_EQ(most, 3);
}

TEST(JobQueue, LanesDoNotWaitForEachOther) {
  JobQueue queue(1);
  Gate gate;
  int64_t slow = queue.submit("slow", "cuda:0", [&](Progress&) { EXPECT_TRUE(gate.wait()); });
  int64_t other = queue.submit("other", "cuda:1", [](Progress&) {});
  int64_t cpu = queue.submit("cpu", "cpu", [](Progress&) {});
  EXPECT_TRUE(queue.wait(other).is_ok());
  EXPECT_TRUE(queue.wait(cpu).is_ok());
  EXPECT_NE(snapshot_of(queue, slow).state, JobState::kDone);
  gate.open();
  EXPECT_TRUE(queue.wait(slow).is_ok());
}

TEST(JobQueue, CancelsAQueuedJobAtOnceAndItsBodyNeverRuns) {
  JobQueue queue(1);
  Gate gate;
  std::atomic<bool> ran{false};
  auto held = std::make_shared<int>(1);
  int64_t first = queue.submit("first", "cuda:0", [&](Progress&) { EXPECT_TRUE(gate.wait()); });
  int64_t second = queue.submit("second", "cuda:0", [&ran, held](Progress&) { ran = true; });
  queue.cancel(second);
  EXPECT_EQ(queue.wait(second).code(), StatusCode::kCancelled) << "while the first still runs";
  EXPECT_EQ(held.use_count(), 1) << "what the body held is let go";
  gate.open();
  EXPECT_TRUE(queue.wait(first).is_ok());
  EXPECT_EQ(snapshot_of(queue, second).state, JobState::kCancelled);
  EXPECT_FALSE(ran);
  queue.cancel(second);      // of a finished job: nothing
  queue.cancel(12345);       // of none: nothing
  EXPECT_EQ(snapshot_of(queue, first).state, JobState::kDone);
}

TEST(JobQueue, CancelsARunningJobAtItsNextStep) {
  JobQueue queue;
  Gate started;
  int64_t id = queue.submit("endless", "cpu", endless(started));
  ASSERT_TRUE(started.wait());
  queue.cancel(id);
  EXPECT_EQ(queue.wait(id).code(), StatusCode::kCancelled);
  EXPECT_EQ(snapshot_of(queue, id).state, JobState::kCancelled);
  EXPECT_LT(snapshot_of(queue, id).progress.fraction, 1.0);
}

TEST(JobQueue, ANewerJobSupersedesTheRunningAndTheQueuedOne) {
  JobQueue queue(1);
  Gate started;
  std::atomic<int> ran{0};
  int64_t running = queue.submit("view 1", "cuda:0", endless(started), "view");
  ASSERT_TRUE(started.wait());
  int64_t unrelated = queue.submit("export", "cuda:0", [&](Progress&) { ++ran; }, "export");
  int64_t queued = queue.submit("view 2", "cuda:0", [&](Progress&) { ran += 100; }, "view");
  int64_t newest = queue.submit("view 3", "cuda:0", [&](Progress&) { ++ran; }, "view");
  EXPECT_EQ(queue.wait(running).code(), StatusCode::kCancelled);
  EXPECT_EQ(queue.wait(queued).code(), StatusCode::kCancelled);
  EXPECT_TRUE(queue.wait(unrelated).is_ok());
  EXPECT_TRUE(queue.wait(newest).is_ok());
  EXPECT_EQ(ran, 2);
}

TEST(JobQueue, AnEmptySupersedesTextSupersedesNothing) {
  JobQueue queue(1);
  std::vector<int64_t> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(queue.submit("job", "cuda:0", [](Progress&) {}));
  for (int64_t id : ids) EXPECT_TRUE(queue.wait(id).is_ok());
}

TEST(JobQueue, ExceptionsBecomeTheStatusAndTheLaneGoesOn) {
  JobQueue queue(1);
  int64_t own = queue.submit("own", "cpu", [](Progress&) {
    throw Error(StatusCode::kBadInput, "layer 9 does not exist", "params.layer", "give a layer below 4");
  });
  int64_t other = queue.submit("other", "cpu", [](Progress&) { throw std::runtime_error("shape mismatch"); });
  int64_t odd = queue.submit("odd", "cpu", [](Progress&) { throw 7; });
  int64_t memory = queue.submit("memory", "cpu", [](Progress&) { throw std::bad_alloc(); });
  int64_t none = queue.submit("none", "cpu", nullptr);
  int64_t fine = queue.submit("fine", "cpu", [](Progress&) {});
  Status s = queue.wait(own);
  EXPECT_EQ(s.code(), StatusCode::kBadInput);
  EXPECT_EQ(s.where(), "params.layer");
  EXPECT_EQ(s.todo(), "give a layer below 4");
  EXPECT_EQ(queue.wait(other).code(), StatusCode::kInternal);
  EXPECT_NE(queue.wait(other).what().find("shape mismatch"), std::string::npos);
  EXPECT_EQ(queue.wait(odd).code(), StatusCode::kInternal);
  EXPECT_EQ(queue.wait(memory).code(), StatusCode::kFailed);
  EXPECT_EQ(queue.wait(none).code(), StatusCode::kInternal);
  EXPECT_TRUE(queue.wait(fine).is_ok());
  EXPECT_EQ(snapshot_of(queue, own).state, JobState::kFailed);
  EXPECT_EQ(snapshot_of(queue, own).status.what(), "layer 9 does not exist");
}

TEST(JobQueue, ProgressNeverFallsAsTheOutsideSeesIt) {
  JobQueue queue;
  int64_t id = queue.submit("parts", "cpu", [](Progress& p) {
    for (int part = 0; part < 4; ++part) {
      Progress inner = p.range(part * 0.25, part * 0.25 + 0.25);
      for (int i = 0; i < 50; ++i) {
        inner.step(i, 50, "part");
        std::this_thread::sleep_for(100us);
      }
    }
  });
  double last = 0;
  int looks = 0;
  for (JobSnapshot s = snapshot_of(queue, id);; s = snapshot_of(queue, id)) {
    ASSERT_GE(s.progress.fraction, last);
    ASSERT_LE(s.progress.fraction, 1.0);
    last = s.progress.fraction;
    ++looks;
    if (s.state == JobState::kDone) break;
  }
  EXPECT_EQ(last, 1.0);
  EXPECT_GT(looks, 2);
  EXPECT_TRUE(queue.wait(id).is_ok());
}

TEST(JobQueue, AStepListenerOfTheBodyIsNotCalledAfterIt) {
  JobQueue queue;
  Progress kept;
  int64_t id = queue.submit("listener", "cpu", [&](Progress& p) {
    auto calls = std::make_unique<int>(0);
    p.on_step([raw = calls.get()](const Progress::Snapshot&) { ++*raw; });
    p.step(1, 2);
    EXPECT_EQ(*calls, 1);
    kept = p;
  });
  EXPECT_TRUE(queue.wait(id).is_ok());
  kept.step(2, 2);           // would write to freed memory if the listener were still there
  EXPECT_EQ(kept.snapshot().fraction, 1.0);
}

TEST(JobQueue, TheDestructorCancelsWhatRunsAndWhatWaits) {
  Gate started;
  std::atomic<bool> second_ran{false};
  std::mutex mutex;
  std::vector<int64_t> told;
  auto begin = std::chrono::steady_clock::now();
  {
    JobQueue queue(1);
    queue.on_change([&](int64_t id) {
      std::lock_guard<std::mutex> lock(mutex);
      told.push_back(id);
    });
    queue.submit("endless", "cpu", endless(started));
    queue.submit("never", "cpu", [&](Progress&) { second_ran = true; });
    ASSERT_TRUE(started.wait());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_FALSE(second_ran);
  EXPECT_EQ(std::count(told.begin(), told.end(), 1), 3) << "submitted, running, cancelled";
  EXPECT_EQ(std::count(told.begin(), told.end(), 2), 2) << "submitted, cancelled";
}

TEST(JobQueue, ChangesAreToldInOrderAndTheListenerMayUseTheQueue) {
  JobQueue queue(1);
  std::mutex mutex;
  std::condition_variable changed;
  std::set<JobState> seen;
  int64_t follow_up = 0;
  bool finished = false;
  queue.on_change([&](int64_t id) {
    JobSnapshot s = snapshot_of(queue, id);
    std::lock_guard<std::mutex> lock(mutex);
    if (id == 1) seen.insert(s.state);
    if (id == 1 && s.state == JobState::kDone && follow_up == 0) {
      follow_up = queue.submit("follow-up", "cpu", [](Progress&) {});
    }
    if (id == follow_up && s.state == JobState::kDone) finished = true;
    changed.notify_all();
  });
  queue.submit("first", "cpu", [](Progress&) {});
  {
    std::unique_lock<std::mutex> lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, 20s, [&] { return finished; }));
    EXPECT_EQ(follow_up, 2);
    EXPECT_TRUE(seen.count(JobState::kDone));
  }
  std::atomic<int> after{0};
  queue.on_change(nullptr);  // the old listener is gone when this returns
  int64_t id = queue.submit("quiet", "cpu", [&](Progress&) { ++after; });
  EXPECT_TRUE(queue.wait(id).is_ok());
  EXPECT_EQ(after, 1);
}

TEST(JobQueue, ManyThreadsSubmitCancelAndLook) {
  std::atomic<int> ran{0}, ended{0};
  {
    JobQueue queue(3);
    std::atomic<int> told{0};
    queue.on_change([&](int64_t) { ++told; });
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 60; ++i) {
          std::string lane = i % 3 == 0 ? "cpu" : i % 3 == 1 ? "cuda:0" : "cuda:1";
          std::string supersedes = i % 7 == 0 ? "view " + std::to_string(t) : "";
          int64_t id = queue.submit("job", lane,
                                    [&](Progress& p) {
                                      for (int k = 0; k < 5; ++k) p.step(k, 5);
                                      ++ran;
                                    },
                                    supersedes);
          if (i % 5 == 0) queue.cancel(id);
          if (i % 11 == 0) queue.snapshots();
          Status s = queue.wait(id);
          EXPECT_TRUE(s.is_ok() || s.code() == StatusCode::kCancelled) << s.text();
          ++ended;
        }
      });
    }
    for (std::thread& t : threads) t.join();
    int done = 0;
    for (const JobSnapshot& s : queue.snapshots()) done += s.state == JobState::kDone;
    EXPECT_EQ(done, ran.load());
    EXPECT_GE(told.load(), 1);
  }
  EXPECT_EQ(ended, 360);
  EXPECT_GE(ran, 360 - 6 * 12 - 6 * 9);
}

TEST(JobQueue, ForgetsWhatEndedLongAgoButNothingThatRuns) {
  JobQueue queue(1);
  std::atomic<bool> go{false};
  const int64_t first = queue.submit("old and running", "cuda:0", [&](Progress& p) {
    while (!go) {
      p.check();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  int64_t last = 0, second = 0;
  for (int i = 0; i < 1200; ++i) {
    last = queue.submit("short", "cpu", [](Progress&) {});
    if (i == 0) second = last;
    if (i % 100 == 0) queue.wait(last);
  }
  queue.wait(last);
  queue.submit("one more", "cpu", [](Progress&) {});
  EXPECT_LE(queue.snapshots().size(), 1003u);
  EXPECT_EQ(queue.wait(second).code(), StatusCode::kNotFound);
  EXPECT_TRUE(queue.wait(last).is_ok());
  go = true;
  EXPECT_TRUE(queue.wait(first).is_ok());
}

}  // namespace
}  // namespace microtome
