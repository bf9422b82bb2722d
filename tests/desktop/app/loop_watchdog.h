// loop_watchdog.h — how long the event loop was ever away: a thread posts an event every few milliseconds and the GUI thread
// says when it came by. Posting and coming by are both stamped, so that a stall counts from when the loop was last seen.
#pragma once

#include <QCoreApplication>
#include <QObject>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace microtome::desktop {

class LoopWatchdog : public QObject {
 public:
  LoopWatchdog() {
    thread_ = std::thread([this] {
      while (!stop_) {
        // One question at a time: what waits longer than an interval is one stall, not many.
        if (!asked_.exchange(true)) {
          const auto posted = std::chrono::steady_clock::now();
          QMetaObject::invokeMethod(this, [this, posted] {
            stalls_.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - posted).count());
            asked_ = false;
          }, Qt::QueuedConnection);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    });
  }
  ~LoopWatchdog() override {
    stop_ = true;
    thread_.join();
  }
  // Milliseconds; GUI thread.
  double worst() const { return stalls_.empty() ? 0 : *std::max_element(stalls_.begin(), stalls_.end()); }
  const std::vector<double>& stalls() const { return stalls_; }
  size_t count() const { return stalls_.size(); }
  void reset() { stalls_.clear(); }
  // How many were longer than `ms`.
  int over(double ms) const { return static_cast<int>(std::count_if(stalls_.begin(), stalls_.end(), [ms](double s) { return s > ms; })); }

 private:
  std::atomic<bool> stop_{false}, asked_{false};
  std::vector<double> stalls_;
  std::thread thread_;
};

}  // namespace microtome::desktop
