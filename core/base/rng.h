// rng.h — random numbers that are the same on every machine: SplitMix64 to seed, xoshiro256** to draw
// (Blackman & Vigna). Item seeds derive from (run seed, item number), so a resumed run draws what it would have drawn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace microtome {

uint64_t splitmix64(uint64_t& state);
// The seed of item `item` of a run with seed `run_seed`.
uint64_t item_seed(uint64_t run_seed, uint64_t item);

// Copyable; not thread-safe.
class Rng {
 public:
  explicit Rng(uint64_t seed);
  uint64_t next();
  // Uniform in [0, n), without modulo bias; n > 0.
  uint64_t below(uint64_t n);
  // Uniform in [0, 1), 53 bits.
  double uniform();
  double normal();
  template <class T>
  void shuffle(std::vector<T>& v) {
    for (size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[below(i)]);
  }
  template <class T>
  const T& pick(const std::vector<T>& v) { return v[below(v.size())]; }

 private:
  uint64_t s_[4];
};

}  // namespace microtome
