#include "core/mixers/softmax_attention/both.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/base/status.h"
#include "core/model/kernel_library.h"
#include "kernels/masked_softmax/masked_softmax.h"

namespace microtome::mixers {

namespace {

// Axes 1 and 2 exchanged, dense. Four floats at a time where they lie together: LibTorch copies element by element.
at::Tensor exchanged(const at::Tensor& x) {
  const bool fours = x.stride(3) == 1 && x.size(3) % 4 == 0 && x.storage_offset() % 4 == 0 && x.stride(0) % 4 == 0 && x.stride(1) % 4 == 0 && x.stride(2) % 4 == 0;
  if (!fours) return x.transpose(1, 2).contiguous();
  return x.view(at::kComplexDouble).transpose(1, 2).contiguous().view(at::kFloat);
}

}  // namespace

Looked attention_looked_at(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionOptions& options, const QueryRows& rows) {
  if (!q.is_cuda()) return {};         // nothing is opened for a CPU's sake
  static const auto start = reinterpret_cast<kernels::MaskedSoftmaxCuda>(kernel_function(kernels::kMaskedSoftmaxCudaSymbol));
  const bool differentiated = at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  if (!start || q.scalar_type() != at::kFloat || k.scalar_type() != at::kFloat || v.scalar_type() != at::kFloat || differentiated || rows.read || options.alibi ||
      options.sinks.defined() || options.weighting != Weighting::kSoftmax)
    return {};
  const int64_t batch = q.size(0), count = q.size(1), heads = q.size(2), kv_heads = k.size(2), keys = k.size(1);
  // The query heads of one kv head become more rows of one product.
  const int64_t group = heads / kv_heads;
  at::Tensor by_kv = exchanged(q).view({batch * kv_heads, group * count, q.size(3)}), keyed = exchanged(k).view({batch * kv_heads, keys, k.size(3)});
  at::Tensor x = at::bmm(by_kv, keyed.transpose(1, 2)).view({batch, heads, count, keys}), p = at::empty_like(x);
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
  at::Tensor z = at::bmm(p.view({batch * kv_heads, group * count, keys}), exchanged(v).view({batch * kv_heads, keys, v.size(3)}));
  return {x, p, exchanged(z.view({batch, heads, count, v.size(3)}))};
}

}  // namespace microtome::mixers
