#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/mixers/mesa_net/forms.h"

namespace microtome::mixers {

namespace {

// Numbers that the matrices of one chunk may take.
constexpr int64_t kBudget = int64_t{1} << 25;
constexpr int64_t kMaxChunk = 64;

}  // namespace

// Chunk with H before it, b the sum of g from the chunk's start: all of its matrices at once,
//
//   H_t = exp(b_t) H + sum_{s<=t} exp(b_t - b_s) beta_s k_s k_s^T
//
// and one batched solve.
at::Tensor mesa_solve_chunk(const MesaInput& in, at::Tensor& Hkk) {
  const int64_t B = in.q.size(0), T = in.q.size(1), H = in.q.size(2), K = in.q.size(3);
  const int64_t C = std::clamp<int64_t>(kBudget / (B * H * K * K), 1, kMaxChunk);
  const auto type = in.q.scalar_type();
  at::Tensor ridge = at::diag_embed(in.ridge).unsqueeze(1);                      // [head, 1, d_k, d_k]
  std::vector<at::Tensor> solved;
  for (int64_t from = 0; from < T; from += C) {
    const int64_t to = std::min(T, from + C), n = to - from;
    auto part = [&](const at::Tensor& x) { return x.slice(1, from, to).transpose(1, 2); };
    at::Tensor k = part(in.k), b = part(in.g).to(at::kDouble).clamp_min(-1e4).cumsum(2);
    at::Tensor future = at::ones({n, n}, b.options().dtype(at::kBool)).triu(1);
    at::Tensor between = (b.unsqueeze(3) - b.unsqueeze(2)).to(type).masked_fill(future, -std::numeric_limits<double>::infinity());
    at::Tensor outer = (k * part(in.beta).unsqueeze(3)).unsqueeze(4) * k.unsqueeze(3);   // [batch, head, n, d_k, d_k]
    at::Tensor all = at::matmul(between.exp(), outer.flatten(3)).view({B, H, n, K, K}) +
                     b.to(type).exp().unsqueeze(3).unsqueeze(4) * Hkk.unsqueeze(2);
    Hkk = all.select(2, n - 1);
    solved.push_back(at::linalg_solve(all + ridge, part(in.q).unsqueeze(4)).squeeze(4).transpose(1, 2));
  }
  return solved.size() == 1 ? solved[0] : at::cat(solved, 1);
}

}  // namespace microtome::mixers
