// job_queue.h — one queue of jobs: a lane a GPU, a small CPU pool. No Qt in it. The body gets a Progress&; exceptions
// end here as a Status. The desktop polls snapshots, the command line waits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/progress.h"
#include "core/base/status.h"

namespace microtome {

enum class JobState { kQueued, kRunning, kDone, kFailed, kCancelled };

struct JobSnapshot {
  int64_t id = 0;
  std::string title, lane;                 // lane: "cpu", "cuda:0"
  JobState state = JobState::kQueued;
  Progress::Snapshot progress;
  Status status;                           // of a finished job
};

// Thread-safe. The destructor cancels what runs and waits for it.
class JobQueue {
 public:
  explicit JobQueue(int cpu_threads = 2);
  ~JobQueue();
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  // lane "cpu" runs up to cpu_threads at a time; any other lane one at a time, in order. A job with the same non-empty
  // `supersedes` text as an older queued or running one cancels that one.
  int64_t submit(std::string title, std::string lane, std::function<void(Progress&)> body, std::string supersedes = {});
  void cancel(int64_t id);
  // Blocks until the job has ended; kNotFound for a number that was never given, or whose job ended so long ago that it is
  // forgotten (the last 1,000 ended jobs are kept). Not to be called from a job's body.
  Status wait(int64_t id);
  std::vector<JobSnapshot> snapshots() const;
  // Called from one thread of the queue's own whenever a job is submitted or changes state, in that order; it may call
  // the queue. When on_change() returns, an earlier f is no longer running. The destructor tells what is left to tell.
  void on_change(std::function<void(int64_t id)> f);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome
