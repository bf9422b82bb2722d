// bench_parts.h — what the benchmark workloads share: timing, the model and the prompts.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "app/cli/commands/commands.h"
#include "core/base/json.h"
#include "core/model/device.h"
#include "core/model/model.h"
#include "core/tasks/task.h"

namespace microtome::cli {

struct Timed {
  double median = 0, best = 0;
  int runs = 0;
  Json json() const { return {{"median_s", median}, {"best_s", best}, {"runs", runs}}; }
};

// After `warm` runs that do not count.
template <class F>
Timed timed(c10::Device device, int runs, int warm, F&& f) {
  for (int i = 0; i < warm; ++i) f();
  std::vector<double> t;
  for (int i = 0; i < runs; ++i) {
    synchronise(device);
    auto a = std::chrono::steady_clock::now();
    f();
    synchronise(device);
    t.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - a).count());
  }
  std::sort(t.begin(), t.end());
  return {t[t.size() / 2], t.front(), runs};
}

// --model, or GPT-2-small's shape (12 layers, 12 heads, d_model 768, MLP 3,072, vocabulary 50,257; --small: 4 layers of 128)
// with random weights.
std::shared_ptr<Model> bench_model(const CommandLine& line, const Compute& c, std::string& name);
// Clean and corrupted differ from the first token on.
Dataset random_pairs(int64_t count, int64_t length, int64_t vocab);

Json training_bench(const CommandLine& line, const Compute& c);
Json kernels_bench(const CommandLine& line, const Compute& c);
Json circuits_bench(const CommandLine& line, const Compute& c, Progress& progress);

}  // namespace microtome::cli
