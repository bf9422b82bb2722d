#include "core/jobs/job_queue.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace microtome {

namespace {

// Ended jobs that can still be asked for; a window that is open for a week starts many thousands.
constexpr size_t kEndedKept = 1000;

struct Job {
  int64_t id = 0;
  std::string title, lane, supersedes;
  std::function<void(Progress&)> body;      // emptied when the job ends, so that what it holds goes
  JobState state = JobState::kQueued;
  Progress progress;                        // renewed when it starts: elapsed time is running time
  Progress::Snapshot last;                  // of a finished job: its clock stands still
  Status status;

  bool ended() const { return state != JobState::kQueued && state != JobState::kRunning; }
};

using JobPtr = std::shared_ptr<Job>;

struct Lane {
  std::deque<JobPtr> queue;
  std::vector<std::thread> threads;
  size_t idle = 0;
};

}  // namespace

struct JobQueue::Impl {
  explicit Impl(int threads) : cpu_threads(std::max(threads, 1)) {}

  const int cpu_threads;
  mutable std::mutex mutex;                 // guards all below but what the notifier owns
  std::condition_variable work, ended;
  bool stopping = false;
  int64_t next_id = 1;
  std::map<int64_t, JobPtr> jobs, active;   // active: queued or running
  std::map<std::string, Lane> lanes;

  // Changes are told by a thread of their own, in the order in which they happened, so that whoever listens may take
  // its time, cancel jobs or submit others.
  std::condition_variable told;
  std::deque<int64_t> changes;
  std::function<void(int64_t)> listener;
  bool telling = false, listener_done = false;
  std::thread notifier;

  void changed(int64_t id) {                // with the mutex held
    if (!listener) return;
    changes.push_back(id);
    told.notify_all();
  }

  void end_queued(const JobPtr& job, Status status, JobState state, std::vector<std::function<void(Progress&)>>& dead) {
    job->state = state;
    job->status = std::move(status);
    job->last = Progress::Snapshot{};
    dead.push_back(std::move(job->body));   // destroyed by the caller, without the mutex
    job->body = nullptr;
    active.erase(job->id);
    changed(job->id);
    ended.notify_all();
  }

  void cancel_locked(const JobPtr& job, const char* why, std::vector<std::function<void(Progress&)>>& dead) {
    if (job->state == JobState::kRunning) {
      job->progress.cancel();
    } else if (job->state == JobState::kQueued) {
      auto& queue = lanes[job->lane].queue;
      queue.erase(std::remove(queue.begin(), queue.end(), job), queue.end());
      end_queued(job, Status(StatusCode::kCancelled, why), JobState::kCancelled, dead);
    }
  }

  void run_one(const JobPtr& job, std::unique_lock<std::mutex>& lock) {
    job->state = JobState::kRunning;
    job->progress = Progress();
    Progress progress = job->progress;      // a handle to the same state
    std::function<void(Progress&)> body = std::move(job->body);
    job->body = nullptr;
    changed(job->id);
    lock.unlock();
    Status status = catch_status([&] { body(progress); });
    // What the body captured goes before anyone hears that the job has ended.
    status = [&] {
      Status gone = catch_status([&] { body = nullptr; });
      return status.is_ok() ? gone : status;
    }();
    progress.on_step(nullptr);
    lock.lock();
    job->last = job->progress.snapshot();
    if (status.is_ok()) {
      job->state = JobState::kDone;
      job->last.fraction = 1;
      job->last.left_s = 0;
    } else {
      job->state = status.code() == StatusCode::kCancelled ? JobState::kCancelled : JobState::kFailed;
      job->last.left_s = -1;
    }
    job->status = std::move(status);
    active.erase(job->id);
    changed(job->id);
    ended.notify_all();
  }

  void work_on(const std::string& lane_name) {
    std::unique_lock<std::mutex> lock(mutex);
    Lane& lane = lanes[lane_name];          // a map's entries stay where they are
    for (;;) {
      ++lane.idle;
      work.wait(lock, [&] { return stopping || !lane.queue.empty(); });
      --lane.idle;
      if (lane.queue.empty()) return;
      JobPtr job = lane.queue.front();
      lane.queue.pop_front();
      run_one(job, lock);
    }
  }

  void tell() {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      told.wait(lock, [&] { return listener_done || !changes.empty(); });
      if (changes.empty()) return;
      int64_t id = changes.front();
      changes.pop_front();
      auto f = listener;
      if (!f) continue;
      telling = true;
      lock.unlock();
      // A listener's exception has nowhere to go: the job it is about is not at fault.
      Status ignored = catch_status([&] { f(id); });
      f = nullptr;
      lock.lock();
      telling = false;
      told.notify_all();
    }
  }
};

JobQueue::JobQueue(int cpu_threads) : impl_(std::make_unique<Impl>(cpu_threads)) {}

JobQueue::~JobQueue() {
  std::vector<std::function<void(Progress&)>> dead;
  std::vector<std::thread> threads;
  {
    std::lock_guard<std::mutex> lock(impl_->mutex);
    impl_->stopping = true;
    auto active = impl_->active;
    for (auto& [id, job] : active) impl_->cancel_locked(job, "cancelled: the program is closing", dead);
    for (auto& [name, lane] : impl_->lanes) {
      for (std::thread& t : lane.threads) threads.push_back(std::move(t));
    }
  }
  dead.clear();
  impl_->work.notify_all();
  for (std::thread& t : threads) t.join();
  {
    std::lock_guard<std::mutex> lock(impl_->mutex);
    impl_->listener_done = true;
  }
  impl_->told.notify_all();
  if (impl_->notifier.joinable()) impl_->notifier.join();
}

int64_t JobQueue::submit(std::string title, std::string lane, std::function<void(Progress&)> body,
                         std::string supersedes) {
  std::vector<std::function<void(Progress&)>> dead;
  auto job = std::make_shared<Job>();
  job->title = std::move(title);
  job->lane = std::move(lane);
  job->supersedes = std::move(supersedes);
  job->body = std::move(body);
  {
    std::lock_guard<std::mutex> lock(impl_->mutex);
    if (!job->supersedes.empty()) {
      auto active = impl_->active;
      for (auto& [id, older] : active) {
        if (older->supersedes == job->supersedes) {
          impl_->cancel_locked(older, "cancelled: a newer job took its place", dead);
        }
      }
    }
    job->id = impl_->next_id++;
    impl_->jobs[job->id] = job;
    impl_->active[job->id] = job;
    // Ids rise, so the oldest come first; what still runs stays however old it is.
    for (auto it = impl_->jobs.begin(); it != impl_->jobs.end() && impl_->jobs.size() > impl_->active.size() + kEndedKept;) {
      it = it->second->ended() ? impl_->jobs.erase(it) : std::next(it);
    }
    impl_->changed(job->id);
    if (impl_->stopping) {
      // A body or a listener that submits while the queue is being destroyed.
      impl_->end_queued(job, Status(StatusCode::kCancelled, "cancelled: the program is closing"), JobState::kCancelled,
                        dead);
    } else {
      Lane& l = impl_->lanes[job->lane];
      l.queue.push_back(job);
      const size_t limit = job->lane == "cpu" ? static_cast<size_t>(impl_->cpu_threads) : 1;
      if (l.idle < l.queue.size() && l.threads.size() < limit) {
        try {
          l.threads.emplace_back([impl = impl_.get(), name = job->lane] { impl->work_on(name); });
        } catch (const std::system_error&) {
          if (l.threads.empty()) {          // else those that run will come to it
            l.queue.pop_back();
            impl_->end_queued(job, Status(StatusCode::kFailed, "the system has no thread for this job", job->title),
                              JobState::kFailed, dead);
          }
        }
      }
    }
  }
  impl_->work.notify_all();
  return job->id;
}

void JobQueue::cancel(int64_t id) {
  std::vector<std::function<void(Progress&)>> dead;
  std::lock_guard<std::mutex> lock(impl_->mutex);
  auto it = impl_->active.find(id);
  if (it == impl_->active.end()) return;
  JobPtr job = it->second;
  impl_->cancel_locked(job, "cancelled", dead);
}

Status JobQueue::wait(int64_t id) {
  std::unique_lock<std::mutex> lock(impl_->mutex);
  auto it = impl_->jobs.find(id);
  if (it == impl_->jobs.end()) {
    return Status(StatusCode::kNotFound, "there is no job " + std::to_string(id));
  }
  JobPtr job = it->second;
  impl_->ended.wait(lock, [&] { return job->ended(); });
  return job->status;
}

std::vector<JobSnapshot> JobQueue::snapshots() const {
  std::vector<JobSnapshot> out;
  std::lock_guard<std::mutex> lock(impl_->mutex);
  out.reserve(impl_->jobs.size());
  for (const auto& [id, job] : impl_->jobs) {
    JobSnapshot s;
    s.id = id;
    s.title = job->title;
    s.lane = job->lane;
    s.state = job->state;
    if (job->state == JobState::kRunning) {
      s.progress = job->progress.snapshot();
    } else {
      s.progress = job->last;
    }
    s.status = job->status;
    out.push_back(std::move(s));
  }
  return out;
}

void JobQueue::on_change(std::function<void(int64_t id)> f) {
  std::unique_lock<std::mutex> lock(impl_->mutex);
  std::function<void(int64_t)> old = std::exchange(impl_->listener, std::move(f));
  if (impl_->listener && !impl_->notifier.joinable()) {
    impl_->notifier = std::thread([impl = impl_.get()] { impl->tell(); });
  }
  // So that the caller may free what the old listener used; from within a listener that would be a wait for oneself.
  if (impl_->notifier.get_id() != std::this_thread::get_id()) {
    impl_->told.wait(lock, [&] { return !impl_->telling; });
  }
  lock.unlock();
}

}  // namespace microtome
