// parts.h — what the layer and the op of Mamba-2 share: configuration and the op itself.
#pragma once

#include <limits>
#include <vector>

#include "core/mixers/recurrence.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// The parameters of README.md.
struct Mamba2Config {
  int64_t d_model = 0, heads = 0, head_dim = 0, state_size = 0, groups = 1;
  bool tiled = false;                  // head h reads group h % groups, else h / (heads / groups)
  int64_t conv_size = 4;
  bool conv_bias = true, in_bias = false, out_bias = false;
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();
  bool rms_norm = true, norm_before_gate = false;
  int64_t norm_groups = 1;
  double norm_eps = 1e-5;
  int64_t extra_rows = 0;              // of the input projection behind dt, for kinds that build on this one
  double multiplier_in = 1, multiplier_out = 1;
  double multiplier_gate = 1, multiplier_x = 1, multiplier_b = 1, multiplier_c = 1, multiplier_dt = 1;

  int64_t inner() const { return heads * head_dim; }
  int64_t group_width() const { return groups * state_size; }
  int64_t conv_channels() const { return inner() + 2 * group_width(); }
  int64_t in_rows() const { return inner() + conv_channels() + heads + extra_rows; }
  // The group that each head reads, [head] int64.
  std::vector<int64_t> group_of_heads() const;
};

// Throws Error(kBadInput) naming the parameter, its value and what is allowed.
Mamba2Config read_mamba2(const Params& p, int64_t d_model);
MixerInfo mamba2_info(const Mamba2Config& c);
std::vector<WeightSpec> mamba2_weights(const Mamba2Config& c);

// x [batch, pos, head, d_v], dt_raw [batch, pos, head], A_h (negative), D, dt_bias [head], Bm, Cm [batch, pos, group,
// d_k], initial_state [batch, head, d_v, d_k] → o [batch, pos, head, d_v], final_state, and on request states [batch,
// pos, head, d_v, d_k] and A [batch, head, q_pos, k_pos] without the skip; group g serves heads g * heads / groups on.
MixerOpResult mamba2_op(const MixerOpRequest& request);

// Mixes with k = dt B.
LinearRecurrence::Kind mamba2_recurrence();

}  // namespace microtome::mixers
