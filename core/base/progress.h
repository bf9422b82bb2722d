// progress.h — one object reports how far a job is and is the point where cancelling happens.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"

namespace microtome {

// Thread-safe. Nested ranges: range(0.2, 0.6) maps a part's 0…1 into this one's 0.2…0.6.
class Progress {
 public:
  struct Snapshot {
    double fraction = 0;            // 0…1, never falls
    std::string what;               // what is being done now
    double elapsed_s = 0, left_s = -1;   // left_s < 0: not known yet
    std::vector<std::string> warnings;   // in order; only grows
  };

  Progress();
  Progress range(double from, double to);
  // Reports and throws Error(kCancelled) when cancel() was called. done/total within this range.
  void step(int64_t done, int64_t total, const std::string& what = {});
  // Something a person should know before the work is done, one sentence; at most 100 are kept. Calls the listener.
  void warn(const std::string& sentence);
  // Throws Error(kCancelled) when cancelled; reports nothing.
  void check() const;
  void cancel();
  bool cancelled() const;
  Snapshot snapshot() const;
  // Called from the working thread after each step and warning.
  void on_step(std::function<void(const Snapshot&)> f);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  double from_ = 0, to_ = 1;
};

}  // namespace microtome
