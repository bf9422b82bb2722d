#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/mixers/log_linear_attn/forms.h"

namespace microtome::mixers {

namespace {

// A power of two, so that tokens of one chunk share the levels at which they see earlier chunks.
constexpr int64_t kChunk = 64;

// [query, key] the level of every pair, 0 above the diagonal.
at::Tensor level_table(int64_t first, int64_t n, at::Device device) {
  std::vector<int64_t> levels(static_cast<size_t>(n * n), 0);
  for (int64_t t = 0; t < n; ++t)
    for (int64_t s = 0; s <= t; ++s) levels[static_cast<size_t>(t * n + s)] = level_of(first + t, first + s);
  return at::tensor(levels, at::TensorOptions().dtype(at::kLong)).view({n, n}).to(device);
}

// [batch, head, pos, …] of what has heads behind positions.
at::Tensor heads_first(const at::Tensor& x) { return x.transpose(1, 2); }

at::Tensor running_decay(const LogLinearInput& in) {
  return heads_first(in.r.g.squeeze(3)).to(at::kDouble).clamp_min(-1e4).cumsum(2);
}

// scale q_t . k_s exp(b_t - b_s) scales_t[level(t, s)]
at::Tensor scores(const LogLinearInput& in, const at::Tensor& b) {
  const int64_t n = in.positions();
  at::Tensor a = at::matmul(heads_first(in.r.q), heads_first(in.r.k).transpose(2, 3)) * in.r.scale;
  at::Tensor future = at::ones({n, n}, a.options().dtype(at::kBool)).triu(1);
  at::Tensor between = (b.unsqueeze(3) - b.unsqueeze(2)).to(a.scalar_type());
  between = between.masked_fill(future, -std::numeric_limits<double>::infinity()).exp();
  at::Tensor levels = level_table(in.first, n, a.device()).expand({a.size(0), a.size(1), n, n});
  return a * between * heads_first(in.scales).gather(3, levels);
}

// One chunk, or its beginning: in.first is a multiple of kChunk.
at::Tensor one_chunk(const LogLinearInput& in, LevelStates& states) {
  const int64_t n = in.positions(), last = n - 1;
  const auto type = in.r.q.scalar_type();
  merge_levels(states, in.first);
  at::Tensor b = running_decay(in), v = heads_first(in.r.v), z = at::matmul(scores(in, b), v);
  at::Tensor q = heads_first(in.r.q) * (b.to(type).exp() * in.r.scale).unsqueeze(3);
  for (size_t l = 0; l < states.size(); ++l)
    if (states[l].defined())
      z = z + at::matmul(q, states[l]) * heads_first(in.scales).slice(3, static_cast<int64_t>(l), static_cast<int64_t>(l) + 1);

  at::Tensor whole = b.slice(2, last).to(type).exp().unsqueeze(3);
  for (at::Tensor& s : states)
    if (s.defined()) s = s * whole;
  // The tokens of the chunk, by the levels at which its last one sees them.
  at::Tensor k = heads_first(in.r.k) * (b.slice(2, last) - b).to(type).exp().unsqueeze(3);
  auto add = [&](int64_t level, int64_t from, int64_t to) {
    add_to_level(states, level, at::matmul(k.slice(2, from, to).transpose(2, 3), v.slice(2, from, to)));
  };
  add(0, last, n);
  for (int64_t bit = 1; bit <= last; bit *= 2)
    if (last & bit) {
      const int64_t from = last & ~(2 * bit - 1);
      add(level_of(last, from), from, from + bit);
    }
  return z.transpose(1, 2);
}

}  // namespace

// Within a chunk a product of all pairs; earlier chunks through the states of their levels, of which there are as many as
// the chunk's number has bits.
at::Tensor log_linear_chunk(const LogLinearInput& in, LevelStates& states) {
  const int64_t T = in.positions();
  std::vector<at::Tensor> z;
  int64_t from = 0;
  if (const int64_t inside = in.first % kChunk; inside > 0) {        // the run begins in the middle of a chunk
    from = std::min(T, kChunk - inside);
    z.push_back(log_linear_naive(in.slice(0, from), states));
  }
  for (; from < T; from += kChunk) z.push_back(one_chunk(in.slice(from, std::min(T, from + kChunk)), states));
  return z.size() == 1 ? z[0] : at::cat(z, 1);
}

at::Tensor log_linear_pattern(const LogLinearInput& in) { return scores(in, running_decay(in)); }

}  // namespace microtome::mixers
