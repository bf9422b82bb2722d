#include "core/mixers/softmax_attention/both.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/base/status.h"
#include "core/model/kernel_library.h"
#include "kernels/masked_softmax/masked_softmax.h"

namespace microtome::mixers {

std::pair<at::Tensor, at::Tensor> scores_and_pattern(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options, const QueryRows& rows) {
  static const auto start = reinterpret_cast<kernels::MaskedSoftmaxCuda>(kernel_function(kernels::kMaskedSoftmaxCudaSymbol));
  const bool differentiated = at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad());
  if (!start || !q.is_cuda() || q.scalar_type() != at::kFloat || k.scalar_type() != at::kFloat || differentiated || rows.read || options.alibi ||
      options.sinks.defined() || options.weighting != Weighting::kSoftmax)
    return {};
  const int64_t batch = q.size(0), count = q.size(1), heads = q.size(2), kv_heads = k.size(2), keys = k.size(1);
  at::Tensor by_kv = q.permute({0, 2, 1, 3}).reshape({batch, kv_heads, heads / kv_heads * count, q.size(3)});
  at::Tensor x = at::matmul(by_kv, k.permute({0, 2, 3, 1})).view({batch, heads, count, keys}), p = at::empty_like(x);
  kernels::MaskedSoftmax w;
  w.rows = batch * heads * count;
  w.count = count;
  w.keys = keys;
  w.past = rows.past;
  w.scale = options.scale;
  w.softcap = options.softcap;
  w.causal = options.causal;
  w.window = options.window;
  w.x = x.mutable_data_ptr<float>();
  w.p = p.mutable_data_ptr<float>();
  if (const char* error = start(w, x.device().index(), current_stream(x.device())))
    throw Error(StatusCode::kFailed, std::string("the GPU refuses scores and pattern: ") + error, "mixer softmax_attention", "use --form naive");
  return {x, p};
}

}  // namespace microtome::mixers
