#include <ATen/ATen.h>

#include "core/mixers/chunked.h"
#include "core/mixers/gsa/forms.h"

namespace microtome::mixers {

namespace {

// sum_{s<=t} (q_t . k_s) exp(b_tm - b_sm) s_sm by slot m. The decay belongs to the slot, so the sum over s cannot be one
// product: blocks of m tokens are joined pairwise, m = 1, 2, 4 …, the second one seeing the first through the border
// between them, and neither decay exceeds 1. Memory is C slots log C a chunk instead of C C slots.
at::Tensor inside(const Chunks& c) {
  const int64_t N = c.N, n = c.n, G = c.G, C = c.C, M = c.v.size(3);
  const auto type = c.k.scalar_type();
  at::Tensor a = at::matmul(c.q, c.k.transpose(2, 3)).view({N, n, G, C, C});
  at::Tensor found = a.diagonal(0, 3, 4).unsqueeze(4) * c.v.unsqueeze(2);
  for (int64_t m = 1; m < C; m *= 2) {
    const int64_t pairs = C / (2 * m);
    at::Tensor b = c.b.view({N, n, pairs, 2, m, M}), first = b.select(3, 0), second = b.select(3, 1);
    at::Tensor border = first.slice(3, m - 1);
    at::Tensor written = c.v.reshape({N, n, pairs, 2, m, M}).select(3, 0) * (border - first).to(type).exp();
    // Rows of the second block of each pair, columns of its first.
    at::Tensor across = a.view({N, n, G, pairs, 2 * m, pairs, 2 * m}).diagonal(0, 3, 5);
    across = across.slice(3, m).slice(4, 0, m).permute({0, 1, 2, 5, 3, 4});
    at::Tensor seen = at::matmul(across, written.unsqueeze(2)) * (second - border).to(type).exp().unsqueeze(2);
    found = found + at::stack({at::zeros_like(seen), seen}, 4).view({N, n, G, C, M});
  }
  return found;
}

}  // namespace

// Chunk c with H before it, b the sum of g from the chunk's start:
//
//   result_t = scale ((H^T q_t) ∘ exp(b_t) + sum_{s<=t} (q_t . k_s) exp(b_t - b_s) ∘ s_s)
//   H'       = H diag(exp(b_C)) + sum_s k_s (s_s ∘ exp(b_C - b_s))^T
at::Tensor slot_scores_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  Chunks c(in);
  at::Tensor writes = at::matmul(c.k.transpose(2, 3), c.v * c.to_end());
  Border border = pass_states(c.whole().transpose(2, 3), writes, c.state(state.S));
  state.S = c.unstate(border.last);
  if (!read_out) return {};
  const std::vector<int64_t> shape = {c.N, c.n, c.G, c.C, c.v.size(3)};
  at::Tensor before = at::matmul(c.q, border.starts).view(shape) * c.from_start().unsqueeze(2);
  return c.join((before + inside(c)).view({c.N, c.n, c.G * c.C, c.v.size(3)})) * c.scale;
}

}  // namespace microtome::mixers
