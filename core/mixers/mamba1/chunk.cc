#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/mixers/mamba1/forms.h"

namespace microtome::mixers {

namespace {

// States of so many tokens exist at a time. On a CPU fewer where a state is large: every doubling passes over all of them,
// which pays only while they stay in the cache.
constexpr int64_t kMostTokens = 32, kFewestTokens = 4, kCached = 1 << 17;

int64_t chunk_size(const Mamba1Input& in) {
  if (!in.v.is_cpu()) return kMostTokens;
  const int64_t state = in.v.size(0) * in.v.size(2) * in.A.size(1);
  int64_t n = kFewestTokens;
  while (n < kMostTokens && 2 * n * state <= kCached) n *= 2;
  return n;
}

// What m tokens further back adds: x shifted by m along the tokens, the first m left out.
at::Tensor later(const at::Tensor& x, int64_t m) { return x.slice(1, m); }
at::Tensor earlier(const at::Tensor& x, int64_t m) { return x.slice(1, 0, x.size(1) - m); }

}  // namespace

// A scan by doubling inside each chunk. (a, b) stands for the map h → a h + b; the maps of tokens t - 2m + 1 … t - m and t
// - m + 1 … t are joined to (a' a, a' b + b') for m = 1, 2, 4 …, after which b is the state after each token. All factors
// are at most 1.
at::Tensor mamba1_chunk(const Mamba1Input& in, at::Tensor& state) {
  std::vector<at::Tensor> z;
  const int64_t chunk = chunk_size(in);
  for (int64_t from = 0; from < in.positions(); from += chunk) {
    const int64_t to = std::min(in.positions(), from + chunk), n = to - from;
    at::Tensor a = in.decay(from, to), b = in.write(from, to);
    at::Tensor first = b.slice(1, 0, 1) + a.slice(1, 0, 1) * state.unsqueeze(1);
    b = n == 1 ? first : at::cat({first, later(b, 1)}, 1);
    for (int64_t m = 1; m < n; m *= 2) {
      b = at::cat({b.slice(1, 0, m), later(b, m) + later(a, m) * earlier(b, m)}, 1);
      if (2 * m < n) a = at::cat({a.slice(1, 0, m), later(a, m) * earlier(a, m)}, 1);
    }
    state = b.select(1, n - 1);
    z.push_back((b * in.q.slice(1, from, to)).sum(3));
  }
  at::Tensor y = z.size() == 1 ? z[0] : at::cat(z, 1);
  return in.D.defined() ? y + in.D * in.v : y;
}

// By channel c and state n, summed over n: C_tn B_sn dt_s exp(b_t - b_s), b the running sum of the log decay.
at::Tensor mamba1_pattern(const Mamba1Input& in) {
  const int64_t T = in.positions(), N = in.A.size(1);
  const auto type = in.v.scalar_type();
  at::Tensor future = at::ones({T, T}, in.v.options().dtype(at::kBool)).triu(1), a;
  for (int64_t n = 0; n < N; ++n) {
    at::Tensor g = in.g.defined() ? in.g.select(3, n) : in.dt * in.A.select(1, n);
    at::Tensor b = g.to(at::kDouble).clamp_min(-1e4).cumsum(1).transpose(1, 2);          // [batch, channel, pos]
    at::Tensor between = (b.unsqueeze(3) - b.unsqueeze(2)).to(type);
    between = between.masked_fill(future, -std::numeric_limits<double>::infinity());
    at::Tensor q = in.q.select(3, n).transpose(1, 2).unsqueeze(3), k = in.k.select(3, n).transpose(1, 2).unsqueeze(2);
    at::Tensor term = q * k * between.exp();
    a = a.defined() ? a + term : term;
  }
  a = a * in.dt.transpose(1, 2).unsqueeze(2);
  return in.D.defined() ? a + at::eye(T, a.options()) * in.D.view({1, -1, 1, 1}) : a;
}

}  // namespace microtome::mixers
