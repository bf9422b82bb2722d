#include "core/mixers/agalite/forms.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/vector_recurrence.h"

namespace microtome::mixers {

namespace {

constexpr double kEps = 1e-5;
const double kPi = std::acos(-1.0);

// q [batch, pos, head, f], K [batch, pos, r, head, f] … → how strongly each factor is read [batch, pos, head, r].
at::Tensor factor_weights(const at::Tensor& q, const at::Tensor& K, const at::Tensor& s) {
  at::Tensor read = (K * q.unsqueeze(2)).sum(-1).transpose(2, 3);
  return read / (2.0 * static_cast<double>(K.size(2)) * (s * q).sum(-1, true) + kEps);
}

at::Tensor read_out(const at::Tensor& q, const at::Tensor& K, const at::Tensor& V, const at::Tensor& s) {
  return (factor_weights(q, K, s).transpose(2, 3).unsqueeze(-1) * V).sum(2);
}

// h_t = (1 - g_t) h_{t-1} + g_t x_t over [batch, pos, …]; h [batch, …].
at::Tensor scan(const at::Tensor& g, const at::Tensor& x, at::Tensor& h) {
  VectorInput in;
  in.k = g.expand_as(x).flatten(2);
  in.v = x.flatten(2);
  in.g = at::log1p(-in.k);
  at::Tensor flat = h.flatten(1), out = vector_chunk(in, flat);
  h = flat.view_as(h);
  return out.view_as(x);
}

}  // namespace

at::Tensor agalite_map(const at::Tensor& x, const at::Tensor& p) {
  return (at::relu(p).unsqueeze(-1) * at::relu(x).unsqueeze(-2)).flatten(-2);
}

at::Tensor agalite_wave(double first_tau, int64_t count, int64_t r, const at::Tensor& like) {
  at::Tensor tau = at::arange(count, like.options().dtype(at::kDouble)) + first_tau;
  return (tau.unsqueeze(1) * at::linspace(-kPi, kPi, r, tau.options())).cos().to(like.scalar_type());
}

// Pramanik et al., arXiv 2310.15719, eqs. 13-17:
//
//   K_i = (1 - gamma) K_i + cos(w_i tau) gamma k;   V_i = (1 - beta) V_i + cos(w_i tau) beta v;   s = (1 - gamma) s + gamma k
//   o = sum_i V_i (K_i . q) / (2 r s . q + eps)
AgaliteResult agalite_naive(const AgaliteInput& in, AgaliteState& state, HookScope* hooks) {
  std::vector<at::Tensor> o, K, V, s;
  for (int64_t t = 0; t < in.q.size(1); ++t) {
    at::Tensor wave = in.wave.select(0, t).view({1, -1, 1, 1}), k = in.k.select(1, t), v = in.v.select(1, t);
    at::Tensor gamma = in.gamma.select(1, t), beta = in.beta.select(1, t);
    state.K = (1 - gamma).unsqueeze(1) * state.K + wave * (gamma * k).unsqueeze(1);
    state.V = (1 - beta).unsqueeze(1) * state.V + wave * (beta * v).unsqueeze(1);
    state.s = (1 - gamma) * state.s + gamma * k;
    if (hooks) state.V = hooks->apply_at("hook_state", t, state.V.transpose(1, 2)).transpose(1, 2);
    K.push_back(state.K);
    V.push_back(state.V);
    s.push_back(state.s);
  }
  AgaliteResult out{{}, at::stack(K, 1), at::stack(V, 1), at::stack(s, 1)};
  out.o = read_out(in.q, out.K, out.V, out.s);
  return out;
}

AgaliteResult agalite_chunk(const AgaliteInput& in, AgaliteState& state) {
  at::Tensor wave = in.wave.view({1, in.wave.size(0), -1, 1, 1});
  AgaliteResult out;
  out.K = scan(in.gamma.unsqueeze(2), wave * in.k.unsqueeze(2), state.K);
  out.V = scan(in.beta.unsqueeze(2), wave * in.v.unsqueeze(2), state.V);
  out.s = scan(in.gamma, in.k, state.s);
  out.o = read_out(in.q, out.K, out.V, out.s);
  return out;
}

at::Tensor agalite_pattern(const AgaliteInput& in, const AgaliteResult& r) {
  const int64_t T = in.q.size(1);
  at::Tensor own = at::eye(T, in.q.options()), row;        // what is left of each write, [batch, head, d, pos]
  std::vector<at::Tensor> rows;
  for (int64_t t = 0; t < T; ++t) {
    at::Tensor beta = in.beta.select(1, t).unsqueeze(-1), write = beta * own[t];
    row = row.defined() ? (1 - beta) * row + write : write;
    rows.push_back(row.mean(2));
  }
  at::Tensor share = at::stack(rows, 2);
  return at::matmul(factor_weights(in.q, r.K, r.s).transpose(1, 2), in.wave.t()) * share;
}

}  // namespace microtome::mixers
