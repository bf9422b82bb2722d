#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "core/mixers/mlstm/forms.h"

namespace microtome::mixers {

namespace {

constexpr int64_t kChunk = 64;

// Sums of g from the span's start, [batch, head, pos] in float64: differences of them cancel.
at::Tensor sums(const MlstmInput& in) { return in.g.to(at::kDouble).clamp_min(-1e4).cumsum(1).transpose(1, 2); }

at::Tensor by_head(const at::Tensor& x) { return x.transpose(1, 2); }      // [batch, head, pos, …]

// A span's read-out before it is divided, all scaled by exp(-m_t): by head,
//
//   x[t,s] = b_t - b_s + i_s for s <= t;   x0[t] = b_t + max;   m_t the largest of them        b: the sum of g
//   own[t,s] = scale q_t . k_s e^(x[t,s] - m_t);   old_t = scale q_t e^(x0[t] - m_t)
struct Weights {
  at::Tensor own;            // [batch, head, q_pos, k_pos]
  at::Tensor old;            // [batch, head, pos, d_k]
  at::Tensor by;             // what both are divided by [batch, head, pos, 1]
};

Weights weights_of(const MlstmInput& in, const MlstmState& state) {
  const int64_t T = in.positions();
  const auto type = in.q.scalar_type();
  at::Tensor b = sums(in);
  at::Tensor x = b.unsqueeze(3) + (by_head(in.i).to(at::kDouble) - b).unsqueeze(2);
  at::Tensor later = at::ones({T, T}, in.q.options().dtype(at::kBool)).triu(1);
  x = x.masked_fill(later, -std::numeric_limits<double>::infinity());
  at::Tensor x0 = b + state.max.to(at::kDouble).unsqueeze(2), m = at::maximum(x.amax(3), x0);
  at::Tensor q = by_head(in.q) * in.scale;
  at::Tensor own = at::matmul(q, by_head(in.k).transpose(2, 3)) * (x - m.unsqueeze(3)).to(type).exp();
  at::Tensor old = q * (x0 - m).to(type).exp().unsqueeze(3);
  at::Tensor seen = own.sum(3, true) + at::matmul(old, state.n.unsqueeze(3));
  return {own, old, at::maximum(seen.abs(), (-m).to(type).exp().unsqueeze(3)) + in.eps};
}

// The state behind a span: exponents to its end in place of those to t.
MlstmState after(const MlstmInput& in, const MlstmState& state) {
  const auto type = in.q.scalar_type();
  at::Tensor b = sums(in), last = b.select(2, in.positions() - 1);
  at::Tensor y = last.unsqueeze(2) - b + by_head(in.i).to(at::kDouble), y0 = last + state.max.to(at::kDouble);
  at::Tensor max = at::maximum(y.amax(2), y0);
  at::Tensor added = by_head(in.k) * (y - max.unsqueeze(2)).to(type).exp().unsqueeze(3);
  at::Tensor kept = (y0 - max).to(type).exp().unsqueeze(2);
  return {kept.unsqueeze(3) * state.C + at::matmul(added.transpose(2, 3), by_head(in.v)), kept * state.n + added.sum(2),
          max.to(type)};
}

}  // namespace

at::Tensor mlstm_chunk(const MlstmInput& in, MlstmState& state) {
  std::vector<at::Tensor> z;
  for (int64_t from = 0; from < in.positions(); from += kChunk) {
    const MlstmInput part = in.slice(from, std::min(in.positions(), from + kChunk));
    const Weights w = weights_of(part, state);
    at::Tensor found = at::matmul(w.own, by_head(part.v)) + at::matmul(w.old, state.C);
    z.push_back((found / w.by).transpose(1, 2));
    state = after(part, state);
  }
  return z.size() == 1 ? z[0] : at::cat(z, 1);
}

MlstmPattern mlstm_pattern(const MlstmInput& in, const MlstmState& state) {
  const Weights w = weights_of(in, state);
  return {w.own / w.by, at::matmul(w.old, state.C) / w.by};
}

}  // namespace microtome::mixers
