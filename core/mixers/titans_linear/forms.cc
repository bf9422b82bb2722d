#include "core/mixers/titans_linear/forms.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/mixers/memory_layer.h"

namespace microtome::mixers {

namespace {

at::Tensor written(const TitansInput& in, const at::Tensor& frozen, const at::Tensor& k, const at::Tensor& v) {
  return -answer_gradient(at::matmul(k, frozen), v - k, in.w, in.b, in.eps, false);
}

TitansInput slice(const TitansInput& in, int64_t from, int64_t to) {
  TitansInput out = in;
  for (at::Tensor* x : {&out.q, &out.k, &out.v, &out.theta, &out.keep, &out.eta}) *x = x->slice(2, from, to);
  out.first_pos = in.first_pos + from;
  return out;
}

// How much of what token s wrote is in the memory and in the momentum at token t, [batch, head, pos, pos + 2]: the two
// last columns are for the incoming memory and momentum.
struct Shares {
  at::Tensor memory, momentum;
};

Shares shares(const TitansInput& in) {
  const int64_t T = in.q.size(2);
  at::Tensor own = at::eye(T, T + 2, in.q.options());
  at::Tensor m = in.q.new_zeros({in.q.size(0), in.q.size(1), 1, T + 2}), e = m.clone();
  m.select(3, T).fill_(1);
  e.select(3, T + 1).fill_(1);
  std::vector<at::Tensor> memory, momentum;
  for (int64_t t = 0; t < T; ++t) {
    e = in.eta.slice(2, t, t + 1) * e + own[t];
    m = in.keep.slice(2, t, t + 1) * m + e;
    memory.push_back(m);
    momentum.push_back(e);
  }
  return {at::cat(memory, 2), at::cat(momentum, 2)};
}

}  // namespace

// Behrouz et al., arXiv 2501.00663, eqs. 13-14, with a linear memory:
//
//   S_t = eta_t S_{t-1} + 2 theta_t k_t^T u_t;   M_t = (1 - alpha_t) M_{t-1} + S_t;   z_t = q_t M_t
TitansResult titans_naive(const TitansInput& in, TitansState& s, HookScope* hooks) {
  TitansResult out;
  std::vector<at::Tensor> z, u;
  for (int64_t t = 0; t < in.q.size(2); ++t) {
    auto at_t = [&](const at::Tensor& x) { return x.slice(2, t, t + 1); };
    if ((in.first_pos + t) % in.chunk_size == 0) s.frozen = s.M;
    u.push_back(written(in, s.frozen, at_t(in.k), at_t(in.v)));
    s.S = at_t(in.eta) * s.S + 2 * at_t(in.theta) * at::matmul(at_t(in.k).transpose(2, 3), u.back());
    s.M = at_t(in.keep) * s.M + s.S;
    if (hooks) s.M = hooks->apply_at("hook_state", t, s.M);
    z.push_back(at::matmul(at_t(in.q), s.M));
    out.M.push_back(s.M);
    out.S.push_back(s.S);
  }
  out.z = at::cat(z, 2);
  out.u = at::cat(u, 2);
  return out;
}

TitansResult titans_chunk(const TitansInput& in, TitansState& s) {
  std::vector<at::Tensor> z, u;
  const int64_t T = in.q.size(2);
  for (int64_t from = 0; from < T;) {
    const int64_t begun = (in.first_pos + from) % in.chunk_size, n = std::min(T - from, in.chunk_size - begun);
    const int64_t to = from + n;
    if (begun == 0) s.frozen = s.M;
    const TitansInput a = slice(in, from, to);
    u.push_back(written(a, s.frozen, a.k, a.v));
    const Shares c = shares(a);
    at::Tensor keys = 2 * a.theta * a.k;
    auto old = [&](const at::Tensor& share) {
      return share.slice(3, n, n + 1) * at::matmul(a.q, s.M) + share.slice(3, n + 1) * at::matmul(a.q, s.S);
    };
    z.push_back(old(c.memory) + at::matmul(c.memory.slice(3, 0, n) * at::matmul(a.q, keys.transpose(2, 3)), u.back()));
    auto last = [&](const at::Tensor& share) {
      at::Tensor row = share.slice(2, n - 1);                      // [batch, head, 1, n + 2]
      return row.slice(3, n, n + 1) * s.M + row.slice(3, n + 1) * s.S +
             at::matmul((row.slice(3, 0, n).transpose(2, 3) * keys).transpose(2, 3), u.back());
    };
    at::Tensor M = last(c.memory);
    s.S = last(c.momentum);
    s.M = M;
    from = to;
  }
  TitansResult out;
  out.z = at::cat(z, 2);
  out.u = at::cat(u, 2);
  return out;
}

at::Tensor titans_pattern(const TitansInput& in) {
  return shares(in).memory.slice(3, 0, in.q.size(2)) * at::matmul(in.q, (2 * in.theta * in.k).transpose(2, 3));
}

}  // namespace microtome::mixers
