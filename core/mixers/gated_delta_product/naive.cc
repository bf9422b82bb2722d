#include <ATen/ATen.h>

#include "core/mixers/gated_delta_product/forms.h"

namespace microtome::mixers {

namespace {

// One delta step: S + beta k (v - S^T k)^T; entry i = t n + j is step j of token t.
at::Tensor delta_step(const RecurrenceInput& in, int64_t i, const at::Tensor& S) {
  at::Tensor k = in.k.select(1, i), v = in.v.select(1, i), beta = in.beta.select(1, i).unsqueeze(-1);
  return S + outer_product(k, beta * (v - read_state(S, k)));
}

}  // namespace

// DeltaProduct, arXiv 2502.10297, eq. 3 and 6, k of unit length: decay once, then n delta steps, then read,
//
//   S^0 = exp(g_t) S_{t-1};   S^j = S^{j-1} + beta_tj k_tj (v_tj - (S^{j-1})^T k_tj)^T;   S_t = S^n;   z_t = scale S_t^T q_t
at::Tensor gated_delta_product_naive(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    if (in.g.defined()) state.S = decay_at(in, t) * state.S;
    for (int64_t j = 0; j < in.steps; ++j) state.S = delta_step(in, t * in.steps + j, state.S);
    if (read_out) z.push_back(read_state(state.S, in.q.select(1, t)) * in.scale);
  }
  return read_out ? at::stack(z, 1) : at::Tensor();
}

at::Tensor gated_delta_product_write(const RecurrenceInput& in, int64_t t, const at::Tensor& before,
                                     const at::Tensor& decayed) {
  at::Tensor S = decayed;
  for (int64_t j = 0; j < in.steps; ++j) S = delta_step(in, t * in.steps + j, S);
  return S - decayed;
}

}  // namespace microtome::mixers
