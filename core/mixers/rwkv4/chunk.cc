#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/mixers/rwkv4/forms.h"

namespace microtome::mixers {

namespace {

// Short: the weights of a chunk are C C numbers a channel.
constexpr int64_t kChunk = 32;

// Weights of a span's tokens against each other and against the incoming state, both scaled by exp(-top): by channel,
//
//   x[t,s] = b_{t-1} - b_s + k_s for s < t,  u + k_t for s = t;   x0[t] = b_{t-1} + max        b: the sum of g
struct Weights {
  at::Tensor own;            // [batch, q_pos, k_pos, channel]
  at::Tensor incoming;       // [batch, pos, channel]
};

at::Tensor sums(const Rwkv4Input& in) { return in.g.to(at::kDouble).clamp_min(-1e4).cumsum(1); }

Weights weights_of(const Rwkv4Input& in, const Rwkv4State& state) {
  const int64_t C = in.positions();
  const auto type = in.k.scalar_type();
  at::Tensor b = sums(in), before = at::constant_pad_nd(b.slice(1, 0, C - 1), {0, 0, 1, 0});
  at::Tensor later = at::ones({C, C}, in.k.options().dtype(at::kBool)).triu(1).unsqueeze(2);
  at::Tensor x = (before.unsqueeze(2) - b.unsqueeze(1)).to(type) + in.k.unsqueeze(1);
  x = at::where(at::eye(C, in.k.options().dtype(at::kBool)).unsqueeze(2), (in.u + in.k).unsqueeze(1), x);
  x = x.masked_fill(later, -std::numeric_limits<double>::infinity());
  at::Tensor x0 = before.to(type) + state.max.unsqueeze(1);
  at::Tensor top = at::maximum(x.amax(2), x0);
  return {(x - top.unsqueeze(2)).exp(), (x0 - top).exp()};
}

}  // namespace

at::Tensor rwkv4_chunk(const Rwkv4Input& in, Rwkv4State& state) {
  std::vector<at::Tensor> z;
  for (int64_t from = 0; from < in.positions(); from += kChunk) {
    const Rwkv4Input part = in.slice(from, std::min(in.positions(), from + kChunk));
    const Weights w = weights_of(part, state);
    at::Tensor num = (w.own * part.v.unsqueeze(1)).sum(2) + w.incoming * state.num.unsqueeze(1);
    z.push_back(num / (w.own.sum(2) + w.incoming * state.den.unsqueeze(1)));

    at::Tensor b = sums(part), last = b.slice(1, part.positions() - 1);
    at::Tensor y = (last - b).to(in.k.scalar_type()) + part.k, y0 = last.squeeze(1).to(y.scalar_type()) + state.max;
    at::Tensor max = at::maximum(y.amax(1), y0);
    at::Tensor added = (y - max.unsqueeze(1)).exp(), kept = (y0 - max).exp();
    state = {kept * state.num + (added * part.v).sum(1), kept * state.den + added.sum(1), max};
  }
  return z.size() == 1 ? z[0] : at::cat(z, 1);
}

Rwkv4Pattern rwkv4_pattern(const Rwkv4Input& in, const Rwkv4State& state) {
  const Weights w = weights_of(in, state);
  at::Tensor den = w.own.sum(2) + w.incoming * state.den.unsqueeze(1);
  return {(w.own / den.unsqueeze(2)).permute({0, 3, 1, 2}).contiguous(), w.incoming * state.num.unsqueeze(1) / den};
}

}  // namespace microtome::mixers
