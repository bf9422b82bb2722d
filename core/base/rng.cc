#include "core/base/rng.h"

#include "core/base/status.h"

namespace microtome {
namespace {

uint64_t rotate_left(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

// True with probability exp(-1/2): the parity of a descending run of uniforms that starts at 1/2 (von Neumann).
bool bernoulli_exp_half(Rng& rng) {
  double last = rng.uniform();
  if (last >= 0.5) return true;
  for (bool even = false;; even = !even) {
    const double u = rng.uniform();
    if (u >= last) return even;
    last = u;
  }
}

// True with probability exp(-x (2k + x) / (2k + 2)).
bool bernoulli_exp_step(Rng& rng, int64_t k, double x) {
  const double limit = (static_cast<double>(2 * k) + x) / static_cast<double>(2 * k + 2);
  double last = x;
  for (bool even = true;; even = !even) {
    const double z = rng.uniform();
    if (z >= last) return even;
    if (rng.uniform() >= limit) return even;
    last = z;
  }
}

}  // namespace

uint64_t splitmix64(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

uint64_t item_seed(uint64_t run_seed, uint64_t item) {
  uint64_t state = run_seed;
  state = splitmix64(state) ^ rotate_left(item, 32);
  state = splitmix64(state);
  return splitmix64(state);
}

Rng::Rng(uint64_t seed) {
  for (auto& word : s_) word = splitmix64(seed);
}

uint64_t Rng::next() {
  const uint64_t result = rotate_left(s_[1] * 5, 7) * 9;
  const uint64_t t = s_[1] << 17;
  s_[2] ^= s_[0];
  s_[3] ^= s_[1];
  s_[1] ^= s_[2];
  s_[0] ^= s_[3];
  s_[2] ^= t;
  s_[3] = rotate_left(s_[3], 45);
  return result;
}

uint64_t Rng::below(uint64_t n) {
  if (n == 0) throw Error(StatusCode::kInternal, "a random number below 0 was asked for");
  const uint64_t reject = (0 - n) % n;      // 2^64 mod n: what is over a whole number of n's
  for (;;) {
    const uint64_t r = next();
    if (r >= reject) return r % n;
  }
}

double Rng::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

// Karney's exact sampling (2016, algorithm N): comparisons of uniforms and nothing of libm, whose last bit differs
// between machines.
double Rng::normal() {
  for (;;) {
    int64_t k = 0;
    while (bernoulli_exp_half(*this)) ++k;
    bool accept = true;
    for (int64_t i = k * (k - 1); accept && i > 0; --i) accept = bernoulli_exp_half(*this);
    if (!accept) continue;
    const double x = uniform();
    for (int64_t i = 0; accept && i <= k; ++i) accept = bernoulli_exp_step(*this, k, x);
    if (!accept) continue;
    const double y = static_cast<double>(k) + x;
    return (next() >> 63) != 0 ? -y : y;
  }
}

}  // namespace microtome
