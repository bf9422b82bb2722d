#include "core/mixers/chunked.h"

#include <ATen/ATen.h>

#include <limits>

namespace microtome::mixers {

namespace {

constexpr int64_t kMaxChunk = 64;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

int64_t chunk_size(int64_t positions) {
  int64_t c = 1;
  while (c < positions && c < kMaxChunk) c *= 2;
  return c;
}

// [batch, pos, head, d] → [batch*head, n, C, d], padded with zeros.
at::Tensor cut(const at::Tensor& x, int64_t n, int64_t C) {
  const int64_t B = x.size(0), T = x.size(1), H = x.size(2), d = x.size(3);
  at::Tensor y = n * C == T ? x : at::constant_pad_nd(x, {0, 0, 0, 0, 0, n * C - T});
  return y.reshape({B, n, C, H, d}).permute({0, 3, 1, 2, 4}).reshape({B * H, n, C, d});
}

}  // namespace

Chunks::Chunks(const RecurrenceInput& in)
    : scale(in.scale), batch_(in.k.size(0)), heads_(in.k.size(2)), pos_(in.positions()) {
  C = chunk_size(pos_);
  n = (pos_ + C - 1) / C;
  N = batch_ * heads_;
  G = in.q.size(2) / heads_;
  // [batch, pos, heads*G, K]: query heads of one state head lie side by side.
  at::Tensor qc = cut(in.q, n, C);
  q = G == 1 ? qc : qc.view({N, G, n, C, qc.size(3)}).transpose(1, 2).reshape({N, n, G * C, qc.size(3)});
  k = cut(in.k, n, C);
  v = cut(in.v, n, C);
  if (in.beta.defined()) beta = cut(in.beta.unsqueeze(-1), n, C);
  // Below -1e4 a decay is zero in every type; the bound keeps differences finite where somebody set -inf.
  if (in.g.defined()) b = cut(in.g.to(at::kDouble).clamp_min(-1e4), n, C).cumsum(2);
}

at::Tensor Chunks::from_start() const { return b.to(k.scalar_type()).exp(); }
at::Tensor Chunks::to_end() const { return (b.slice(2, C - 1) - b).to(k.scalar_type()).exp(); }
at::Tensor Chunks::whole() const {
  return b.defined() ? b.slice(2, C - 1).to(k.scalar_type()).exp().transpose(2, 3) : at::Tensor();
}

at::Tensor Chunks::q_from_start() const {
  if (!b.defined()) return q;
  return (q.view({N, n, G, C, q.size(3)}) * from_start().unsqueeze(2)).view(q.sizes());
}

at::Tensor Chunks::part(const at::Tensor& x) const { return cut(x, n, C); }

at::Tensor Chunks::before_from_start(const at::Tensor& queries) const {
  if (!b.defined()) return queries;
  const int64_t K = queries.size(3);
  at::Tensor since = at::constant_pad_nd(b.slice(2, 0, C - 1), {0, 0, 1, 0}).to(queries.scalar_type()).exp();
  return (queries.view({N, n, queries.size(2) / C, C, K}) * since.unsqueeze(2)).view(queries.sizes());
}

// A reader before its own token t is one that reads after token t - 1: its row is moved up, read, and moved back down.
at::Tensor Chunks::scores_before(const at::Tensor& queries, const at::Tensor& keys) const {
  const int64_t groups = queries.size(2) / C;
  at::Tensor earlier = queries.view({N, n, groups, C, queries.size(3)}).slice(3, 1);
  earlier = at::constant_pad_nd(earlier, {0, 0, 0, 1}).view(queries.sizes());
  at::Tensor rows = scores(earlier, keys).view({N, n, groups, C, C}).slice(3, 0, C - 1);
  return at::constant_pad_nd(rows, {0, 0, 1, 0}).view({N, n, groups * C, C});
}

at::Tensor Chunks::scores(const at::Tensor& queries, const at::Tensor& keys) const {
  if (b.defined() && b.size(3) > 1) return scores_by_channel(queries, keys);
  const int64_t groups = queries.size(2) / C;
  at::Tensor a = at::matmul(queries, keys.transpose(2, 3)).view({N, n, groups, C, C});
  if (!b.defined()) return a.tril().view({N, n, groups * C, C});
  at::Tensor future = at::ones({C, C}, a.options().dtype(at::kBool)).triu(1);
  at::Tensor between = (b - b.transpose(2, 3)).to(a.scalar_type()).masked_fill(future, -kInfinity);
  return (a * between.exp().unsqueeze(2)).view({N, n, groups * C, C});
}

// One decay a channel: the product cannot be taken before the decay. Blocks of m tokens are joined pairwise, m = 1, 2,
// 4 …; queries of the second block see keys of the first one through the border r between them, exp(b_t - r) exp(r -
// b_s), where both factors are at most 1. Memory is C log C K a chunk instead of C C K.
at::Tensor Chunks::scores_by_channel(const at::Tensor& queries, const at::Tensor& keys) const {
  const int64_t groups = queries.size(2) / C, K = k.size(3);
  const auto type = k.scalar_type();
  at::Tensor qs = queries.view({N, n, groups, C, K});
  at::Tensor blocks = (qs * keys.unsqueeze(2)).sum(-1).view({N, n, groups, C, 1, 1});
  for (int64_t m = 1; m < C; m *= 2) {
    const int64_t pairs = C / (2 * m);
    at::Tensor bp = b.view({N, n, pairs, 2, m, K});
    at::Tensor first = bp.select(3, 0), second = bp.select(3, 1), border = first.slice(3, m - 1);
    at::Tensor since = (second - border).to(type).exp().unsqueeze(2);
    at::Tensor qe = qs.view({N, n, groups, pairs, 2, m, K}).select(4, 1) * since;
    at::Tensor ke = keys.reshape({N, n, pairs, 2, m, K}).select(3, 0) * (border - first).to(type).exp();
    at::Tensor across = m == 1 ? (qe * ke.unsqueeze(2)).sum(-1, true)
                               : at::matmul(qe, ke.transpose(3, 4).unsqueeze(2));
    at::Tensor inside = blocks.view({N, n, groups, pairs, 2, m, m});
    at::Tensor top = at::constant_pad_nd(inside.select(4, 0), {0, m});
    blocks = at::cat({top, at::cat({across, inside.select(4, 1)}, -1)}, -2);
  }
  return blocks.view({N, n, groups * C, C});
}

at::Tensor Chunks::state(const at::Tensor& S) const { return S.reshape({N, S.size(2), S.size(3)}); }
at::Tensor Chunks::unstate(const at::Tensor& S) const { return S.view({batch_, heads_, S.size(1), S.size(2)}); }

at::Tensor Chunks::join(const at::Tensor& o) const {
  const int64_t V = o.size(3);
  at::Tensor y = o.view({batch_, heads_, n, G, C, V}).permute({0, 2, 4, 1, 3, 5});
  return y.reshape({batch_, n * C, heads_ * G, V}).slice(1, 0, pos_);
}

Border pass_states(const at::Tensor& whole, const at::Tensor& writes, const at::Tensor& S) {
  const int64_t n = writes.size(1);
  std::vector<at::Tensor> starts;
  at::Tensor s = S;
  for (int64_t c = 0; c < n; ++c) {
    starts.push_back(s);
    s = (whole.defined() ? s * whole.select(1, c) : s) + writes.select(1, c);
  }
  return {at::stack(starts, 1), s};
}

DeltaBorder pass_delta_states(const at::Tensor& whole, const at::Tensor& U, const at::Tensor& W,
                              const at::Tensor& k_end, const at::Tensor& S, bool keep) {
  const int64_t n = U.size(1);
  std::vector<at::Tensor> starts, values;
  at::Tensor s = S;
  for (int64_t c = 0; c < n; ++c) {
    at::Tensor written = at::baddbmm(U.select(1, c), W.select(1, c), s, 1, -1);
    if (keep) {
      starts.push_back(s);
      values.push_back(written);
    }
    at::Tensor kept = whole.defined() ? s * whole.select(1, c) : s;
    s = at::baddbmm(kept, k_end.select(1, c).transpose(1, 2), written);
  }
  if (!keep) return {{}, s, {}};
  return {at::stack(starts, 1), s, at::stack(values, 1)};
}

at::Tensor solve_unit_lower(const at::Tensor& l, const at::Tensor& right) {
  return at::linalg_solve_triangular(l.tril(-1), right, /*upper=*/false, /*left=*/true, /*unitriangular=*/true);
}

}  // namespace microtome::mixers
