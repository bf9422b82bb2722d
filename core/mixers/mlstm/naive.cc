#include <ATen/ATen.h>

#include <vector>

#include "core/mixers/mlstm/forms.h"
#include "core/mixers/recurrence.h"

namespace microtome::mixers {

MlstmInput MlstmInput::slice(int64_t from, int64_t to) const {
  auto part = [&](const at::Tensor& x) { return x.slice(1, from, to); };
  return {part(q), part(k), part(v), part(i), part(g), scale, eps};
}

MlstmState MlstmState::empty(const MlstmInput& in) {
  const int64_t B = in.k.size(0), H = in.k.size(2), K = in.k.size(3);
  return {in.k.new_zeros({B, H, K, in.v.size(3)}), in.k.new_zeros({B, H, K}), in.k.new_zeros({B, H})};
}

// xLSTM, arXiv 2405.04517, eq. 19 to 27, with the stabiliser of its appendix:
//
//   m_t = max(g_t + m_{t-1}, i_t);   C_t = e^(g_t + m_{t-1} - m_t) C_{t-1} + e^(i_t - m_t) k_t v_t^T;   n_t likewise with k_t
//   z_t = scale C_t^T q_t / (max(|scale n_t . q_t|, e^-m_t) + eps)
MlstmWrite mlstm_write(const MlstmInput& in, int64_t t, const MlstmState& before) {
  at::Tensor old = before.max + in.g.select(1, t), i = in.i.select(1, t), max = at::maximum(old, i);
  at::Tensor kept = (old - max).exp().unsqueeze(2), added = in.k.select(1, t) * (i - max).exp().unsqueeze(2);
  return {{kept.unsqueeze(3) * before.C, kept * before.n, max}, outer_product(added, in.v.select(1, t)), added};
}

at::Tensor mlstm_read(const MlstmInput& in, int64_t t, const MlstmState& after) {
  at::Tensor q = in.q.select(1, t) * in.scale, seen = (after.n * q).sum(2);
  at::Tensor by = at::maximum(seen.abs(), (-after.max).exp()) + in.eps;
  return read_state(after.C, q) / by.unsqueeze(2);
}

at::Tensor mlstm_naive(const MlstmInput& in, MlstmState& state) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    MlstmWrite w = mlstm_write(in, t, state);
    state = {w.decayed.C + w.C, w.decayed.n + w.n, w.decayed.max};
    z.push_back(mlstm_read(in, t, state));
  }
  return at::stack(z, 1);
}

}  // namespace microtome::mixers
