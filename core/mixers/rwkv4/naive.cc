#include <ATen/ATen.h>

#include "core/mixers/rwkv4/forms.h"

namespace microtome::mixers {

Rwkv4Input Rwkv4Input::slice(int64_t from, int64_t to) const {
  return {k.slice(1, from, to), v.slice(1, from, to), g.slice(1, from, to), u};
}

Rwkv4State Rwkv4State::empty(int64_t batch, const at::Tensor& like) {
  at::Tensor zero = like.new_zeros({batch, like.size(-1)});
  return {zero, zero, at::full_like(zero, -1e38)};
}

// RWKV-4, arXiv 2305.13048, eq. 16, by channel: a mean of all values so far, weighted by their keys and by age, in which the
// token itself has a bonus u in place of a decay,
//
//   z_t = (e^max num + e^(u + k_t) v_t) / (e^max den + e^(u + k_t))
//   e^max' num' = e^(g_t) e^max num + e^(k_t) v_t;   the same with 1 in place of v for den
at::Tensor rwkv4_read(const Rwkv4Input& in, int64_t t, const Rwkv4State& before) {
  at::Tensor own = in.u + in.k.select(1, t), top = at::maximum(before.max, own);
  at::Tensor old_weight = (before.max - top).exp(), own_weight = (own - top).exp();
  return (old_weight * before.num + own_weight * in.v.select(1, t)) / (old_weight * before.den + own_weight);
}

Rwkv4Write rwkv4_write(const Rwkv4Input& in, int64_t t, const Rwkv4State& before) {
  at::Tensor old = before.max + in.g.select(1, t), k = in.k.select(1, t), max = at::maximum(old, k);
  at::Tensor kept = (old - max).exp(), added = (k - max).exp();
  return {{kept * before.num, kept * before.den, max}, added * in.v.select(1, t), added};
}

at::Tensor rwkv4_naive(const Rwkv4Input& in, Rwkv4State& state) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    z.push_back(rwkv4_read(in, t, state));
    Rwkv4Write w = rwkv4_write(in, t, state);
    state = {w.decayed.num + w.num, w.decayed.den + w.den, w.decayed.max};
  }
  return at::stack(z, 1);
}

}  // namespace microtome::mixers
