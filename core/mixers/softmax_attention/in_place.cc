#include "core/mixers/softmax_attention/in_place.h"

#include <ATen/ATen.h>

#include <limits>

#include "core/base/status.h"
#include "core/mixers/hooked_run.h"

namespace microtome::mixers {

at::Tensor attend_in_place(const Cursor& cursor, MixerState* state, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionOptions& options) {
  const at::Tensor keys = kept_tensor(state, "k"), values = kept_tensor(state, "v");
  if (!keys.defined() || !values.defined() || keys.size(1) != cursor.room || q.size(1) != 1 || options.alibi)
    throw Error(StatusCode::kInternal, "a step in place without room for its keys and values", "softmax_attention");
  keys.index_copy_(1, cursor.position, k);
  values.index_copy_(1, cursor.position, v);
  const int64_t batch = q.size(0), heads = q.size(2), kv_heads = k.size(2), rows = heads / kv_heads;
  const auto type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor unseen = cursor.later;
  if (options.window > 0) {
    const at::Tensor key = at::arange(cursor.room, cursor.position.options());
    unseen = unseen.logical_or(key.le(cursor.position - options.window));
  }
  at::Tensor x = at::matmul(q.to(type).reshape({batch, kv_heads, rows, q.size(3)}), keys.to(type).permute({0, 2, 3, 1})) * options.scale;
  if (options.softcap > 0) x = options.softcap * at::tanh(x / options.softcap);
  x = x.masked_fill(unseen, -std::numeric_limits<double>::infinity()).view({batch, heads, 1, cursor.room});
  at::Tensor pattern = attention_pattern(x, options).view({batch, kv_heads, rows, cursor.room});
  return at::matmul(pattern, values.to(type).transpose(1, 2)).reshape({batch, 1, heads, v.size(3)}).to(q.scalar_type());
}

at::Tensor with_room(const at::Tensor& kept, int64_t position, int64_t room) {
  // By head in memory: a product then reads each head's keys in one piece.
  at::Tensor out = at::zeros({kept.size(0), kept.size(2), room, kept.size(3)}, kept.options()).transpose(1, 2);
  out.narrow(1, position - kept.size(1), kept.size(1)).copy_(kept);
  return out;
}

}  // namespace microtome::mixers
