#include "core/mixers/ttt_linear/forms.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/mixers/memory_layer.h"

namespace microtome::mixers {

namespace {

at::Tensor written(const TttInput& in, const TttState& s, const at::Tensor& k, const at::Tensor& v) {
  return -answer_gradient(at::matmul(k, s.W) + s.bias, v - k, in.w, in.b, in.eps, true);
}

}  // namespace

// Sun et al., arXiv 2407.04620, in their dual form's terms: within a mini-batch every gradient is taken at the W that it
// began with, and the state at token t has made the steps up to t, of length eta_t:
//
//   u_t = -d|LN(k_t W + b) - (v_t - k_t)|^2/2;   W_t = W + eta_t sum_{s<=t} k_s u_s^T;   z_t = q_t W_t + b_t
TttResult ttt_naive(const TttInput& in, TttState& s, HookScope* hooks) {
  std::vector<at::Tensor> z, u;
  for (int64_t t = 0; t < in.q.size(2); ++t) {
    auto at_t = [&](const at::Tensor& x) { return x.slice(2, t, t + 1); };
    u.push_back(written(in, s, at_t(in.k), at_t(in.v)));
    s.k = at::cat({s.k, at_t(in.k)}, 2);
    s.u = at::cat({s.u, u.back()}, 2);
    at::Tensor eta = at_t(in.eta), W = s.W + eta * at::matmul(s.k.transpose(2, 3), s.u), b = s.bias + eta * s.u.sum(2, true);
    if (hooks) W = hooks->apply_at("hook_state", t, W);
    z.push_back(at::matmul(at_t(in.q), W) + b);
    if (s.k.size(2) < in.mini_batch) continue;
    s = {W, b, s.k.slice(2, 0, 0), s.u.slice(2, 0, 0)};
  }
  return {at::cat(z, 2), at::cat(u, 2)};
}

// z = q W + b + eta (tril(q k^T) + 1) u for the tokens of one mini-batch.
TttResult ttt_chunk(const TttInput& in, TttState& s) {
  std::vector<at::Tensor> z, u;
  const int64_t T = in.q.size(2);
  for (int64_t from = 0; from < T;) {
    const int64_t begun = s.k.size(2), to = std::min(T, from + in.mini_batch - begun);
    auto part = [&](const at::Tensor& x) { return x.slice(2, from, to); };
    at::Tensor q = part(in.q), eta = part(in.eta);
    u.push_back(written(in, s, part(in.k), part(in.v)));
    s.k = at::cat({s.k, part(in.k)}, 2);
    s.u = at::cat({s.u, u.back()}, 2);
    at::Tensor seen = (at::matmul(q, s.k.transpose(2, 3)) + 1).tril(begun);
    z.push_back(at::matmul(q, s.W) + s.bias + eta * at::matmul(seen, s.u));
    if (s.k.size(2) == in.mini_batch) {
      at::Tensor last = eta.slice(2, to - from - 1);
      s = {s.W + last * at::matmul(s.k.transpose(2, 3), s.u), s.bias + last * s.u.sum(2, true), s.k.slice(2, 0, 0),
           s.u.slice(2, 0, 0)};
    }
    from = to;
  }
  return {at::cat(z, 2), at::cat(u, 2)};
}

}  // namespace microtome::mixers
