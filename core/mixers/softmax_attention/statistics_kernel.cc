// The kernels of kernels/attention_statistics, where they are and cover what is asked.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/mixers/softmax_attention/statistics.h"
#include "core/model/kernel_library.h"
#include "kernels/attention_statistics/attention_statistics.h"

namespace microtome::mixers {
namespace {

struct Kernels {
  kernels::AttentionStatisticsCuda statistics = nullptr;
  kernels::AttentionPatternCuda pattern = nullptr;
  std::string why_not;
};

const Kernels& cuda_kernels() {
  static const Kernels found = [] {
    Kernels out;
    out.statistics = reinterpret_cast<kernels::AttentionStatisticsCuda>(kernel_function(kernels::kAttentionStatisticsCudaSymbol, &out.why_not));
    out.pattern = reinterpret_cast<kernels::AttentionPatternCuda>(kernel_function(kernels::kAttentionPatternCudaSymbol, &out.why_not));
    return out;
  }();
  return found;
}

bool typed(at::ScalarType from, kernels::AttentionType& to) {
  switch (from) {
    case at::kFloat: to = kernels::AttentionType::kFloat32; return true;
    case at::kHalf: to = kernels::AttentionType::kFloat16; return true;
    case at::kBFloat16: to = kernels::AttentionType::kBFloat16; return true;
    default: return false;
  }
}

// False: the device has no room for such blocks, and nothing was started.
bool started(const char* answer) {
  if (!answer) return true;
  const std::string_view why = answer;
  if (why.substr(0, std::string_view(kernels::kAttentionRefusal).size()) == kernels::kAttentionRefusal) return false;
  throw Error(StatusCode::kFailed, "the GPU does not run the attention kernel: " + std::string(why), "kernels/attention_statistics", "use --form naive");
}

// Tensors that a call points to; they must live until it is started.
struct Held {
  at::Tensor q, k, slopes, sinks, own;
  kernels::AttentionScores scores;
};

Held describe(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options, const QueryRows& rows) {
  Held h;
  h.q = q.stride(3) == 1 ? q : q.contiguous();
  h.k = k.scalar_type() == q.scalar_type() ? k : k.to(q.scalar_type());
  if (h.k.stride(3) != 1) h.k = h.k.contiguous();
  kernels::AttentionScores& s = h.scores;
  s.q = h.q.const_data_ptr();
  s.k = h.k.const_data_ptr();
  s.batch = q.size(0);
  s.count = q.size(1);
  s.heads = q.size(2);
  s.d = q.size(3);
  s.keys = k.size(1);
  s.kv_heads = k.size(2);
  for (int i = 0; i < 3; ++i) {
    s.q_stride[i] = h.q.stride(i);
    s.k_stride[i] = h.k.stride(i);
  }
  typed(q.scalar_type(), s.type);
  s.tf32 = at::globalContext().allowTF32CuBLAS();
  s.scale = options.scale;
  s.softcap = options.softcap;
  s.window = options.window;
  s.causal = options.causal;
  const auto wide = at::TensorOptions().dtype(at::kDouble);
  if (options.alibi) {
    h.slopes = at::tensor(alibi_slopes(s.heads), wide).to(q.device());
    s.slopes = h.slopes.const_data_ptr<double>();
  }
  if (options.sinks.defined()) {
    h.sinks = options.sinks.to(q.device(), at::kDouble).contiguous();
    s.sinks = h.sinks.const_data_ptr<double>();
  }
  s.past = rows.past;
  if (rows.read) {
    h.own = rows.own_keys(q.device());
    s.own = h.own.const_data_ptr<int64_t>();
  }
  return h;
}

}  // namespace

bool statistics_kernel_covers(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options, std::string* why) {
  auto no = [&](const std::string& reason) {
    if (why) *why = reason;
    return false;
  };
  kernels::AttentionType type;
  if (!q.is_cuda()) return no("it is not on a GPU");
  if (!typed(q.scalar_type(), type)) return no("the kernels take float32, float16 and bfloat16");
  if (options.weighting != Weighting::kSoftmax) return no("the weights are no softmax");
  if (q.size(3) > kernels::kAttentionMostWidth) return no("heads are wider than " + std::to_string(kernels::kAttentionMostWidth));
  if (q.size(0) * q.size(2) > 65535) return no("there are more than 65,535 heads times rows");
  if (!cuda_kernels().statistics || !cuda_kernels().pattern) return no(cuda_kernels().why_not);
  return true;
}

const std::string& attention_kernels_missing() { return cuda_kernels().why_not; }

PatternStatistics pattern_statistics(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options,
                                     const QueryRows& rows, const StatisticsAsked& asked) {
  at::NoGradGuard no_grad;
  if (!statistics_kernel_covers(q, k, options)) return pattern_statistics_blocked(q, k, options, rows, asked);
  const Held h = describe(q, k, options, rows);
  kernels::AttentionStatistics work;
  work.scores = h.scores;
  work.first = -asked.dropped;
  const auto plain = at::TensorOptions().dtype(at::kFloat).device(q.device());
  PatternStatistics out;
  out.numbers = at::empty({q.size(0), q.size(2), q.size(1), kernels::kAttentionNumbers}, plain);
  work.out = out.numbers.mutable_data_ptr<float>();
  at::Tensor targets;
  if (asked.targets.defined()) {
    targets = asked.targets.to(at::kLong);
    targets = at::where(targets >= 0, targets - asked.dropped, -1).contiguous();
    work.targets = targets.const_data_ptr<int64_t>();
    work.targets_count = targets.size(2);
    out.at = at::empty({q.size(0), q.size(2), q.size(1), targets.size(2)}, plain);
    work.out_targets = out.at.mutable_data_ptr<float>();
  }
  if (!started(cuda_kernels().statistics(work, q.device().index(), current_stream(q.device())))) return pattern_statistics_blocked(q, k, options, rows, asked);
  if (asked.dropped > 0) out.numbers.select(3, 2).add_(static_cast<double>(asked.dropped));
  return out;
}

at::Tensor pattern_only(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options, const QueryRows& rows,
                        at::ScalarType type) {
  at::NoGradGuard no_grad;
  kernels::AttentionPattern work;
  if (typed(type, work.out_type) && statistics_kernel_covers(q, k, options)) {
    const Held h = describe(q, k, options, rows);
    work.scores = h.scores;
    at::Tensor out = at::empty({q.size(0), q.size(2), q.size(1), k.size(1)}, at::TensorOptions().dtype(type).device(q.device()));
    work.out = out.mutable_data_ptr();
    if (started(cuda_kernels().pattern(work, q.device().index(), current_stream(q.device())))) return out;
  }
  return attention_pattern(attention_scores(q, k, options, rows), options).to(type);
}

}  // namespace microtome::mixers
