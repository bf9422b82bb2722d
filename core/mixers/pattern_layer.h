// pattern_layer.h — the layer around mixers that see all positions at once through one matrix a head:
//
//   x → q, k, v by heads → A (from q and k) → z = A v → output projection
//
// A mixer gives A (the definition, and hook_pattern) and z without A, where that is cheaper. Such a mixer is not causal:
// it keeps no state, and its parameters say "causal": false.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/base/params.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

struct PatternLayerConfig {
  std::string kind;
  int64_t d_model = 0, heads = 0, head_k = 0, head_v = 0;
  enum class Keys { kProjected, kQueries, kInput };   // k = k_proj x, none but q, or x itself
  Keys keys = Keys::kProjected;
  bool project_out = true;             // false: z is what joins the residual stream (one head of d_model)
};

// num_heads, head_k, head_v (head_k) and causal from params. Throws Error(kBadInput) naming the parameter; causal must be
// false.
PatternLayerConfig read_pattern_params(const Params& p, int64_t d_model, const std::string& kind);
// Throws Error(kBadInput) unless "causal" is false.
void require_not_causal(const Params& p, const std::string& kind);
MixerInfo pattern_info(const PatternLayerConfig& c, const std::string& note = "");
std::vector<WeightSpec> pattern_weights(const PatternLayerConfig& c);

class PatternLayer : public TokenMixer {
 public:
  // Throws Error(kBadInput) naming a weight that is absent or of another shape than specs says.
  PatternLayer(PatternLayerConfig config, WeightMap weights, const std::vector<WeightSpec>& specs);
  const MixerInfo& info() const override { return info_; }
  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override;

 protected:
  // A [batch, head, pos, pos]; q, k [batch, head, pos, head_k], at least float32. Keys::kQueries: k is undefined.
  virtual at::Tensor pattern(const at::Tensor& q, const at::Tensor& k) const = 0;
  // A v without A; v [batch, head, pos, head_v].
  virtual at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const = 0;
  const WeightMap& weights() const { return weights_; }
  const PatternLayerConfig& config() const { return config_; }

 private:
  PatternLayerConfig config_;
  MixerInfo info_;
  WeightMap weights_;
};

// [batch, pos, head, d] → [batch, head, pos, d] and back.
at::Tensor heads_first(const at::Tensor& x);
// Inputs q, k, v of an op as [batch, head, pos, d]; k is optional. Throws Error(kBadInput) unless they fit together.
struct PatternOpInputs {
  at::Tensor q, k, v;
};
PatternOpInputs pattern_op_inputs(const MixerOpRequest& request, bool with_k = true);
// The request's scale; default d^-0.5.
double op_scale(const MixerOpRequest& request, int64_t d);

}  // namespace microtome::mixers
