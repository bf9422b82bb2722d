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

// What a workload measures, as a line of the README's table (`bench --table`): a result keeps its lines under "table".
struct BenchLine {
  BenchLine(std::string title, const Timed& t) : what(std::move(title)), seconds(t.median), runs(t.runs) {}
  std::string what;                    // "forward with every hook point cached, 16 × 256"
  double seconds = 0;                  // median
  int runs = 0;
  double per = 0;                      // things done in that time, where the line is a rate …
  std::string unit;                    // … of these: "tokens"
  double bytes = 0, flop = 0;          // that the work cannot do without; 0: not given
  double reference = 0, aim = 0;       // seconds, or things a second where `per` is given; 0: none
  Json json(const Compute& c) const;   // adds the physical limit of this device, where that is known
};

struct Device {
  std::string name;                    // "NVIDIA H200"; empty: not known
  std::string driver;                  // CUDA version of the driver
  double bytes_per_s = 0;              // of its memory, from the data sheet; 0: not known
  double flop_per_s = 0;               // dense, in the type computed in
};
Device bench_device(const Compute& c);

struct Workload {
  const char *name, *what;
  Json (*run)(const CommandLine& line, const Compute& c, Progress& progress);
};
// In the order of `bench all`.
const std::vector<Workload>& workloads();

Json patching_bench(const CommandLine& line, const Compute& c, Progress& progress);
Json forward_bench(const CommandLine& line, const Compute& c, Progress& progress);
Json decode_bench(const CommandLine& line, const Compute& c, Progress& progress);
Json attention_bench(const CommandLine& line, const Compute& c, Progress& progress);
Json kernels_bench(const CommandLine& line, const Compute& c, Progress& progress);
Json training_bench(const CommandLine& line, const Compute& c, Progress& progress);
Json circuits_bench(const CommandLine& line, const Compute& c, Progress& progress);
// Markdown from files that `bench --out` wrote.
std::string bench_table(const std::vector<std::string>& files);

}  // namespace microtome::cli
