// rope.h — rotary position embedding with the ways in which its frequencies are stretched to longer contexts.
// RoPE: arXiv 2104.09864; position interpolation ("linear"): 2306.15595; NTK-aware ("dynamic") and YaRN: 2309.00071;
// LongRoPE: 2402.13753; "llama3": the Llama 3.1 release.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/base/params.h"

namespace microtome::mixers {

// Parameters, all with the prefix rope_: theta (10000), interleaved (false), scaling ("default", "linear", "dynamic",
// "yarn", "llama3", "longrope"), factor, original_context (positions the model was trained on first), low_freq_factor and
// high_freq_factor (llama3), beta_fast, beta_slow and truncate (yarn), attention_factor (of cos and sin; yarn and
// longrope), short_factors and long_factors (longrope: numbers divided by commas, rotary_dim / 2 of them).
class Rope {
 public:
  Rope() = default;                                    // rotates nothing
  // dim: how many leading channels turn; even. Throws Error(kBadInput) naming kind.rope_X and the value.
  Rope(const Params& params, int64_t dim, const std::string& kind);

  bool any() const { return dim_ > 0; }
  // Angle a position by channel pair, in radians, for a sequence of `length` tokens (dynamic and longrope depend on it).
  std::vector<double> frequencies(int64_t length) const;
  double attention_factor() const { return attention_factor_; }

  // x [batch, pos, head, d]; x[:, 0] is at first_pos of a sequence that has `length` tokens so far. Channel i turns with
  // channel i + dim / 2, or 2i with 2i + 1 when interleaved. Angles are computed in float64.
  at::Tensor turn(const at::Tensor& x, int64_t first_pos, int64_t length) const;

 private:
  enum class Scaling { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLong };
  int64_t dim_ = 0;
  Scaling scaling_ = Scaling::kDefault;
  bool interleaved_ = false;
  double theta_ = 10000, factor_ = 1, attention_factor_ = 1;
  int64_t original_ = 0;
  double low_ = 1, high_ = 4, beta_fast_ = 32, beta_slow_ = 1;
  bool truncate_ = true;
  std::vector<double> short_, long_;
};

}  // namespace microtome::mixers
