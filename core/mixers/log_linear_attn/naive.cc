#include <ATen/ATen.h>

#include <algorithm>
#include <bit>

#include "core/mixers/log_linear_attn/forms.h"

namespace microtome::mixers {

LogLinearInput LogLinearInput::slice(int64_t from, int64_t to) const {
  return {r.slice(from, to), scales.slice(1, from, to), first + from};
}

int64_t level_of(int64_t t, int64_t s) { return std::bit_width(static_cast<uint64_t>(t ^ s)); }

void add_to_level(LevelStates& states, int64_t level, const at::Tensor& what) {
  if (static_cast<int64_t>(states.size()) <= level) states.resize(static_cast<size_t>(level) + 1);
  at::Tensor& s = states[static_cast<size_t>(level)];
  s = s.defined() ? s + what : what;
}

// Adding 1 to t - 1 carries through its trailing ones: levels 0 … r become level r + 1, r the trailing zeros of t.
void merge_levels(LevelStates& states, int64_t t) {
  if (t <= 0) return;
  const int64_t carried = std::countr_zero(static_cast<uint64_t>(t)) + 1;
  at::Tensor sum;
  for (int64_t l = 0; l < std::min(carried, static_cast<int64_t>(states.size())); ++l) {
    at::Tensor& s = states[static_cast<size_t>(l)];
    if (s.defined()) sum = sum.defined() ? sum + s : s;
    s = at::Tensor();
  }
  if (sum.defined()) add_to_level(states, carried, sum);
}

void decay_levels(const LogLinearInput& in, int64_t t, LevelStates& states) {
  const at::Tensor decay = decay_at(in.r, t);
  for (at::Tensor& s : states)
    if (s.defined()) s = s * decay;
}

at::Tensor mixed_levels(const LogLinearInput& in, int64_t t, const LevelStates& states) {
  at::Tensor sum;
  for (size_t l = 0; l < states.size(); ++l) {
    if (!states[l].defined()) continue;
    at::Tensor part = in.scales.select(1, t).select(2, static_cast<int64_t>(l)).unsqueeze(2).unsqueeze(3) * states[l];
    sum = sum.defined() ? sum + part : part;
  }
  return sum;
}

// Log-linear attention, arXiv 2506.04761, section 3: the past is cut into levels of 1, 1, 2, 4, 8 … tokens as a Fenwick
// tree cuts it, a state each, all with the same decay, and the query weighs the levels,
//
//   S^l_t = exp(g_t) S^l_{t-1} after merging;   S^0_t = k_t v_t^T;   z_t = scale (sum_l scales_t^l S^l_t)^T q_t
at::Tensor log_linear_naive(const LogLinearInput& in, LevelStates& states) {
  std::vector<at::Tensor> z;
  for (int64_t t = 0; t < in.positions(); ++t) {
    merge_levels(states, in.first + t);
    decay_levels(in, t, states);
    add_to_level(states, 0, outer_product(in.r.k.select(1, t), in.r.v.select(1, t)));
    z.push_back(read_state(mixed_levels(in, t, states), in.r.q.select(1, t)) * in.r.scale);
  }
  return at::stack(z, 1);
}

}  // namespace microtome::mixers
