#include "core/base/progress.h"

#include <algorithm>
#include <chrono>
#include <mutex>

namespace microtome {

struct Progress::Shared {
  std::atomic<bool> cancelled{false};
  mutable std::mutex mutex;                 // guards what follows
  double fraction = 0;
  std::string what;
  std::vector<std::string> warnings;
  std::function<void(const Snapshot&)> listener;
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

  Snapshot snapshot_locked() const {
    Snapshot s;
    s.fraction = fraction;
    s.what = what;
    s.warnings = warnings;
    s.elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    // Before a hundredth is done an estimate is noise.
    if (fraction >= 1) s.left_s = 0;
    else if (fraction >= 0.01) s.left_s = s.elapsed_s * (1 - fraction) / fraction;
    return s;
  }
};

Progress::Progress() : shared_(std::make_shared<Shared>()) {}

Progress Progress::range(double from, double to) {
  Progress part = *this;
  const double width = to_ - from_;
  part.from_ = from_ + width * std::clamp(from, 0.0, 1.0);
  part.to_ = from_ + width * std::clamp(to, 0.0, 1.0);
  return part;
}

void Progress::step(int64_t done, int64_t total, const std::string& what) {
  check();
  const double part = total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 1.0;
  Snapshot now;
  std::function<void(const Snapshot&)> listener;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->fraction = std::max(shared_->fraction, from_ + (to_ - from_) * part);
    if (!what.empty()) shared_->what = what;
    now = shared_->snapshot_locked();
    listener = shared_->listener;
  }
  // Outside the lock: a listener may ask for a snapshot, or cancel.
  if (listener) listener(now);
}

void Progress::warn(const std::string& sentence) {
  Snapshot now;
  std::function<void(const Snapshot&)> listener;
  {
    std::lock_guard lock(shared_->mutex);
    if (shared_->warnings.size() >= 100) return;
    shared_->warnings.push_back(sentence);
    now = shared_->snapshot_locked();
    listener = shared_->listener;
  }
  if (listener) listener(now);
}

void Progress::check() const {
  if (cancelled()) throw Error(StatusCode::kCancelled, "cancelled");
}

void Progress::cancel() { shared_->cancelled.store(true, std::memory_order_relaxed); }
bool Progress::cancelled() const { return shared_->cancelled.load(std::memory_order_relaxed); }

Progress::Snapshot Progress::snapshot() const {
  std::lock_guard lock(shared_->mutex);
  return shared_->snapshot_locked();
}

void Progress::on_step(std::function<void(const Snapshot&)> f) {
  std::lock_guard lock(shared_->mutex);
  shared_->listener = std::move(f);
}

}  // namespace microtome
