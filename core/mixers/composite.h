// composite.h — layers that hold two mixers, softmax attention and a recurrent one: parameters and weights of the second
// lie below "ssm.", and so do, as "NAME.ssm", those of its hook points that exist once a mixer. The plain names are the
// attention's.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

inline constexpr const char* kSsmPrefix = "ssm.";

// Points of a part → points of the layer; what is not listed keeps its name.
using PointNames = std::map<std::string, std::string>;
// hook_z and what goes with it (q, k, v, pattern, gate, norm, result), with ".ssm" behind.
const PointNames& ssm_names();

// A mixer as a part of a layer: its points are asked from the layer's hooks under the layer's names. Immutable.
class MixerPart {
 public:
  // Throws as the kind's own create does.
  MixerPart(const std::string& kind, const Params& params, int64_t d_model, WeightMap weights, PointNames names);
  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const;

 private:
  const std::string& outside(const std::string& point) const;

  PointNames names_;
  std::unique_ptr<TokenMixer> mixer_;
  HookCatalogue catalogue_;
};

// What the kind with these parameters is, its points renamed.
MixerInfo part_info(const std::string& kind, const Params& params, int64_t d_model, const PointNames& names);
std::vector<WeightSpec> part_weights(const std::string& kind, const Params& params, int64_t d_model,
                                     const std::string& prefix);
// Heads and split inputs of the attention, kv_heads, d_k, d_v and forms of the recurrent part, points of both.
MixerInfo join_infos(const std::string& kind, const MixerInfo& attention, const MixerInfo& recurrent);

// Those that begin with prefix, without it.
Params params_below(const Params& params, const std::string& prefix);
WeightMap weights_below(const WeightMap& weights, const std::string& prefix);

}  // namespace microtome::mixers
