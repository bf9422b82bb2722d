// bench kernels: the chunk kernels of the linear mixers, each in the shapes that reference implementations were measured in, with
// what the machine must do at least for it.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "app/cli/commands/bench_parts.h"
#include "core/mixers/chunk_kernel.h"
#include "core/mixers/delta_rule/forms.h"
#include "core/mixers/gated_delta_rule/forms.h"
#include "core/mixers/gla/forms.h"
#include "core/mixers/kda/forms.h"
#include "core/mixers/linear_attn/forms.h"
#include "core/mixers/simple_gla/forms.h"
#include "core/model/model.h"

namespace microtome::cli {
namespace {

using namespace mixers;

struct Case {
  const char* name;
  LinearRecurrence::Kind kind;
  int gates;                           // 0: none; 1: a head; 2: a channel
  bool constant;                       // the same gate at all tokens
  double reference_ms;                 // flash-linear-attention 0.6 on an H100: BF16, D 64, T 8,192
};

// Calls follow one another without waiting, enough of them that waiting at the end does not count.
template <class F>
Timed timed_batch(c10::Device device, int runs, F&& f) {
  synchronise(device);
  auto a = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) f();
  synchronise(device);
  const double one = std::chrono::duration<double>(std::chrono::steady_clock::now() - a).count() / 3;
  const int each = std::clamp(static_cast<int>(std::ceil(5e-3 / one)), 1, 50);
  Timed t = timed(device, runs, 1, [&] {
    for (int i = 0; i < each; ++i) f();
  });
  return {t.median / each, t.best / each, runs};
}

Json measure(const Case& which, c10::Device device, at::ScalarType type, int64_t B, int64_t H, int64_t T, int64_t D) {
  const at::TensorOptions o = at::TensorOptions().dtype(at::kFloat).device(device);
  auto unit = [](const at::Tensor& x) { return x / x.norm(2, -1, true); };
  RecurrenceInput in;
  in.q = unit(at::randn({B, T, H, D}, o)).to(type);
  in.k = unit(at::randn({B, T, H, D}, o)).to(type);
  in.v = at::randn({B, T, H, D}, o).to(type);
  if (which.gates) in.g = (which.constant ? at::full({B, T, H, 1}, 2.0, o) : at::randn({B, T, H, which.gates == 1 ? 1 : D}, o)).sigmoid().log() / (which.gates == 2 ? 16 : 1);
  if (which.kind.delta) in.beta = at::rand({B, T, H}, o);
  in.scale = 1 / std::sqrt(static_cast<double>(D));
  const at::Tensor S = at::zeros({B, H, D, D}, o);
  Json out = {{"D", D}, {"T", T}};
  if (const char* why = chunk_kernel_refuses(which.kind, in, {S, {}})) {
    out["not_covered"] = why;
    return out;
  }
  const double tokens = static_cast<double>(B * T * H), size = static_cast<double>(c10::elementSize(type));
  const double bytes = tokens * (4 * static_cast<double>(D) * size + (which.gates == 2 ? 4.0 * static_cast<double>(D) : which.gates ? 4.0 : 0.0) + (which.kind.delta ? 4 : 0));
  out["bytes"] = bytes;
  // A token reads and writes a state of D × D; a delta rule reads it once more.
  out["flops"] = tokens * 2 * static_cast<double>(D * D) * (which.kind.delta ? 3 : 2);
  const Timed plain = timed_batch(device, 20, [&] {
    RecurrentState state{S, {}};
    chunk_kernel(which.kind, in, state, true, nullptr);
  });
  out["ms"] = plain.median * 1e3;
  out["runs"] = plain.runs;
  const int64_t kept = T / 64;
  out["kept_bytes"] = static_cast<double>(B * kept * H * D * D * 4);
  ChunkNotes notes;
  for (int64_t t = 63; t < T; t += 64) notes.keep.push_back(t);
  const Timed looked_at = timed_batch(device, 20, [&] {
    RecurrentState state{S, {}};
    chunk_kernel(which.kind, in, state, true, &notes);
  });
  out["ms_states_every_64"] = looked_at.median * 1e3;
  out["ratio"] = looked_at.median / plain.median;
  if (T > 8192) return out;
  // Forward and backward, as a training step has them.
  at::AutoGradMode grad(true);
  std::vector<at::Tensor> leaves;
  for (at::Tensor* t : {&in.q, &in.k, &in.v, &in.g, &in.beta})
    if (t->defined()) leaves.push_back(t->requires_grad_(true));
  const at::Tensor dz = at::randn({B, T, H, D}, o).to(type);
  out["ms_forward_and_gradients"] = 1e3 * timed_batch(device, 20, [&] {
    RecurrentState state{S, {}};
    const at::Tensor z = chunk_kernel(which.kind, in, state, true, nullptr);
    hook_autograd((z * dz).sum(), leaves, false);
  }).median;
  return out;
}

}  // namespace

Json kernels_bench(const CommandLine& line, const Compute& c, Progress&) {
  Json out = {{"batch", 8}, {"heads", 16}, {"missing", chunk_kernel_missing(false)}};
  if (!c.device.is_cuda() || !chunk_kernel_missing(false).empty()) return out;
  std::vector<Case> cases = {{"linear_attn", {"linear_attn", linear_attn_naive, linear_attn_chunk}, 0, false, 0.482},
                             {"retention", {"retention", simple_gla_naive, simple_gla_chunk}, 1, true, 0.843},
                             {"simple_gla, mamba2", {"simple_gla", simple_gla_naive, simple_gla_chunk}, 1, false, 0.849},
                             {"gla", {"gla", gla_naive, gla_chunk}, 2, false, 1.875}};
  if (chunk_kernel_missing(true).empty()) {
    cases.push_back({"delta_rule", {"delta_rule", delta_rule_naive, delta_rule_chunk, true}, 0, false, 1.725});
    cases.push_back({"gated_delta_rule", {"gated_delta_rule", gated_delta_rule_naive, gated_delta_rule_chunk, true}, 1, false, 1.418});
    cases.push_back({"kda", {"kda", kda_naive, kda_chunk, true}, 2, false, 2.677});
  }
  const bool small = line.flag("--small");
  const bool tf32_before = at::globalContext().allowTF32CuBLAS();
  for (const Case& which : cases)
    for (auto [type, name, tf32] : {std::tuple{at::kBFloat16, "bfloat16", false}, {at::kFloat, "tf32", true}, {at::kFloat, "float32", false}}) {
      at::globalContext().setAllowTF32CuBLAS(tf32);
      Json rows = Json::array();
      for (int64_t D : {64, 128})
        for (int64_t T : {2048, 8192, 32768}) {
          // Kept states and operands of the longest run take more than the smaller GPUs have in float32.
          if (T > 2048 && (small || (type == at::kFloat && T > 8192))) continue;
          rows.push_back(measure(which, c.device, type, 8, 16, T, D));
          if (type != at::kBFloat16 || D != 64 || T != 8192 || !rows.back().contains("ms")) continue;
          Compute narrow = c;
          narrow.dtype = at::kBFloat16;
          narrow.tf32 = false;
          const Json& r = rows.back();
          const double plain = r["ms"].get<double>() / 1e3, noted = r["ms_states_every_64"].get<double>() / 1e3;
          const int runs = r["runs"].get<int>();
          BenchLine line_of(std::string(which.name) + ", 8 × 16 heads of 64, 8,192 tokens", {plain, plain, runs});
          line_of.bytes = r["bytes"].get<double>(), line_of.flop = r["flops"].get<double>();
          line_of.reference = line_of.aim = which.reference_ms / 1e3;
          out["table"].push_back(line_of.json(narrow));
          BenchLine looked("the same, states kept every 64 tokens", {noted, noted, runs});
          looked.bytes = line_of.bytes + r["kept_bytes"].get<double>(), looked.flop = line_of.flop, looked.aim = 1.15 * plain;
          out["table"].push_back(looked.json(narrow));
        }
      out[which.name][name] = rows;
    }
  at::globalContext().setAllowTF32CuBLAS(tf32_before);
  return out;
}

}  // namespace microtome::cli
