// The attention workload: what looking at softmax attention costs. z alone, the numbers of every row, the pattern itself, and what
// one would do without kernels (scores, softmax, sums over the whole matrix), with the fewest bytes and operations each can do with.
#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <cmath>
#include <optional>

#include "app/cli/commands/bench_parts.h"
#include "core/mixers/softmax_attention/statistics.h"

namespace microtome::cli {
namespace {

using namespace mixers;

// Bytes beyond what was there before, at most, while f runs; nothing on the CPU.
template <class F>
std::optional<int64_t> most_bytes(c10::Device device, F&& f) {
  if (device.is_cpu()) return std::nullopt;
  c10::DeviceAllocator* memory = c10::getDeviceAllocator(device.type());
  constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  memory->resetPeakStats(device.index());
  const int64_t before = memory->getDeviceStats(device.index()).allocated_bytes[all].current;
  f();
  synchronise(device);
  return memory->getDeviceStats(device.index()).allocated_bytes[all].peak - before;
}

}  // namespace

Json attention_bench(const CommandLine& line, const Compute& c, Progress&) {
  const bool cpu = c.device.is_cpu(), small = line.flag("--small");
  const int64_t heads = 12, d = 64;
  std::vector<int64_t> lengths = {2048, 8192, 32768};
  if (cpu) lengths = {512, 2048};
  if (small) lengths = {128};
  Json out = {{"batch", 1}, {"heads", heads}, {"d", d}, {"causal", true}};
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Json by_length = Json::object();
    for (int64_t t : lengths) {
      at::manual_seed(c.seed);
      const at::TensorOptions o = at::TensorOptions().dtype(at::kFloat).device(c.device);
      const at::Tensor q = at::randn({1, t, heads, d}, o).to(type), k = at::randn({1, t, heads, d}, o).to(type), v = at::randn({1, t, heads, d}, o).to(type);
      AttentionOptions options;
      options.scale = 1 / std::sqrt(static_cast<double>(d));
      QueryRows rows;
      rows.tokens = t;
      const StatisticsAsked asked{0, default_targets(rows, 1, 0, at::kFloat, c.device)};
      const double item = static_cast<double>(c10::elementSize(type)), one = static_cast<double>(t * heads * d);
      const double pairs = static_cast<double>(heads) * static_cast<double>(t) * static_cast<double>(t + 1) / 2;
      const double whole = static_cast<double>(heads) * static_cast<double>(t) * static_cast<double>(t);
      const double numbers = static_cast<double>(heads * t) * 4 * static_cast<double>(kPatternNumbers.size() + kPatternTargets);
      Json row = Json::object();
      auto measure = [&](const char* name, double bytes, double flop, const std::function<void()>& f) {
        Json one_form;
        try {
          const auto most = most_bytes(c.device, f);
          one_form = timed(c.device, cpu ? 5 : 20, cpu ? 1 : 3, f).json();
          if (most) one_form["peak_bytes"] = *most;
        } catch (const c10::OutOfMemoryError&) {
          one_form["out_of_memory"] = true;
        }
        one_form["least_bytes"] = bytes;
        one_form["flop"] = flop;
        row[name] = one_form;
      };
      const double qk = 2 * pairs * static_cast<double>(d);
      measure("none", 4 * one * item, 2 * qk, [&] { attention_fused(q, k, v, options, rows); });
      measure("statistics", 2 * one * item + numbers, qk, [&] { pattern_statistics(q, k, options, rows, asked); });
      // Written whole, unseen cells too; a pattern of more than 32 GiB is nobody's question.
      if (whole * item <= 32.0 * (1 << 30)) {
        const std::string name = std::string("pattern_") + dtype_text(type);
        measure(name.c_str(), 2 * one * item + whole * item, qk, [&] { pattern_only(q, k, options, rows, type); });
      }
      if (whole * 4 <= 8.0 * (1 << 30))
        measure("statistics_materialised", 2 * one * item + numbers, qk, [&] {
          const at::Tensor scores = attention_scores(q, k, options, rows);
          statistics_of(attention_pattern(scores, options), scores, options, rows, asked);
        });
      std::string why;
      row["kernel"] = statistics_kernel_covers(q, k, options, &why);
      if (!why.empty()) row["kernel_not_used"] = why;
      by_length[std::to_string(t)] = row;
    }
    out[dtype_text(type)] = by_length;
  }
  return out;
}

}  // namespace microtome::cli
