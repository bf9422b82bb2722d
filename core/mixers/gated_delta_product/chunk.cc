#include <ATen/ATen.h>

#include "core/mixers/chunk_kernel.h"
#include "core/mixers/chunked.h"
#include "core/mixers/delta_rule/forms.h"
#include "core/mixers/gated_delta_product/forms.h"
#include "core/mixers/gated_delta_rule/forms.h"

namespace microtome::mixers {

namespace {

// [batch, pos, head, d] → [batch, pos * n, head, d]: at step `at` of each token, zero at the others.
at::Tensor at_step(const at::Tensor& x, int64_t n, int64_t at) {
  if (n == 1) return x;
  return at::constant_pad_nd(x.unsqueeze(2), {0, 0, 0, 0, at, n - 1 - at}).flatten(1, 2);
}

// What one step after the other is.
const LinearRecurrence::Kind& step_by_step(bool decays) {
  static const LinearRecurrence::Kind plain{"gated_delta_product", delta_rule_naive, delta_rule_chunk, true};
  static const LinearRecurrence::Kind gated{"gated_delta_product", gated_delta_rule_naive, gated_delta_rule_chunk, true};
  return decays ? gated : plain;
}

}  // namespace

// The chunked gated delta rule over the n T steps: the decay falls on a token's first step, and its query reads after
// the last. With b the sum of g from the chunk's start, G[t,s] = exp(b_t - b_s), L = stril(diag(beta) (K K^T ∘ G)):
//
//   u = U - W S,  U = (I + L)^-1 diag(beta) V,  W = (I + L)^-1 diag(beta exp(b)) K
//   Z = scale (diag(exp(b)) Q S + tril(Q K^T ∘ G) u);   S' = exp(b_C) S + (diag(exp(b_C - b)) K)^T u
//
// On a GPU by the kernels of that, where they cover the case.
at::Tensor gated_delta_product_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  RecurrenceInput each = in;
  each.steps = 1;
  each.q = at_step(in.q, in.steps, in.steps - 1);
  if (in.g.defined()) each.g = at_step(in.g, in.steps, 0);
  const LinearRecurrence::Kind& kind = step_by_step(in.g.defined());
  if (!chunk_kernel_refuses(kind, each, state)) {
    const at::Tensor z = chunk_kernel(kind, each, state, read_out, nullptr);
    return read_out ? z.slice(1, in.steps - 1, z.size(1), in.steps) : z;
  }
  Chunks c(each);
  at::Tensor known = c.b.defined() ? c.from_start() * c.k : c.k;
  at::Tensor both = solve_unit_lower(c.beta * c.scores(c.k), at::cat({c.beta * c.v, c.beta * known}, -1));
  const int64_t V = c.v.size(3);
  DeltaBorder border = pass_delta_states(c.whole(), both.slice(3, 0, V), both.slice(3, V),
                                         c.b.defined() ? c.k * c.to_end() : c.k, c.state(state.S), read_out);
  state.S = c.unstate(border.last);
  if (!read_out) return {};
  at::Tensor z = c.join(at::matmul(c.q_from_start(), border.starts) + at::matmul(c.scores(c.q), border.values));
  return z.slice(1, in.steps - 1, z.size(1), in.steps) * c.scale;
}

}  // namespace microtome::mixers
