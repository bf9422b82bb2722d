// token_mixer.h — a token mixer moves information between positions: softmax attention, linear attention, a delta rule.
// A block holds one; everything else in a block works on each position alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/params.h"
#include "core/hooks/hook_scope.h"

namespace microtome {

// What one layer leaves for later ones in the same run, by name (RWKV-7: the first layer's values); [batch, pos, …sizes].
using SharedValues = std::map<std::string, at::Tensor>;
struct SharedValue {
  std::string name;
  std::vector<int64_t> sizes;
};

// What is known of a mixer from its parameters alone, before any weight is read.
struct MixerInfo {
  std::string kind;                          // folder name: "softmax_attention", "gated_delta_rule" …
  bool recurrent = false;                    // has a fixed-size state; softmax keeps keys and values instead
  int64_t heads = 0, kv_heads = 0;           // query heads (rows of hook_z); heads of k, v and of the state
  int64_t d_k = 0, d_v = 0;
  std::vector<MixerForm> forms;              // that exist, slowest first; kNaive is always there
  std::vector<std::string> inputs;           // roles with a hook_<role>_input: "q","k","v","beta","decay","gate"
  std::vector<HookPoint> points;             // names relative to "blocks.i.attn."
  std::vector<SharedValue> leaves, reads;    // only a model's first layer may leave something
};

// A weight by canonical name (relative to "blocks.i.attn."), shape as stored: [out, in] for projections.
struct WeightSpec {
  std::string name;
  std::vector<int64_t> shape;
  bool optional = false;
};

// Weights of one mixer by canonical name. Absent optional ones are not in the map.
using WeightMap = std::map<std::string, at::Tensor>;

// What one layer must remember between runs: "k","v" (after rotary) of softmax mixers; "S", "conv_q" … of recurrent ones.
// Batch is dimension 0 of every tensor. Empty: the state before the first token.
struct MixerState {
  std::map<std::string, at::Tensor> tensors;
};

// x [batch, pos, d_model], already normalised. split: role → [batch, pos, head, d_model], normalised per-head inputs
// (one a query head), present only when the plan asked for hook_<role>_input; they replace x for that role, and k and v
// are then computed once a query head.
struct MixerInput {
  at::Tensor x;
  std::map<std::string, at::Tensor> split;
  SharedValues* shared = nullptr;            // of this run; must be there where info().reads is not empty
};

struct MixerRun {
  MixerForm form = MixerForm::kAuto;
  // Positions (relative, ascending) whose output is read; unset: all. A mixer may leave the others out: the result then
  // has that many positions. Only given when nothing is hooked in this block and state is not kept.
  std::optional<std::vector<int64_t>> read;
  int64_t length = 0;                        // of the whole sequence, where this run is a part of a known one; 0: as far as it goes
};

// Immutable once loaded; forward() may be called from several threads at a time.
class TokenMixer {
 public:
  virtual ~TokenMixer() = default;
  virtual const MixerInfo& info() const = 0;

  // Mixes over positions; the result [batch, pos, d_model] (x's type) is what the block adds to the residual stream.
  //   state   in: the state before x[:, 0] (empty counts as zero); out: after the last position. Null: start from zero,
  //           keep nothing. States are float32, or float64 where x is.
  //   hooks   asked before each point is computed; absolute position of x[:, 0] is hooks.first_pos()
  // Time and memory grow linearly in pos for recurrent mixers, unless hooks asks for "hook_pattern" or all states.
  // Differentiable in x, the weights and every changed point. Throws Error naming the argument and both shapes.
  virtual at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const = 0;

  // Puts what info().leaves names into in.shared and does nothing else, for a run that starts behind this layer. state:
  // as in forward, but only what this needs of it is read and kept.
  virtual void leave(const MixerInput& in, MixerState* state) const {}
};

// The op alone, on given tensors (`microtome mixer`): inputs and outputs are named as in the reference files.
struct MixerOpRequest {
  std::map<std::string, at::Tensor> inputs;  // "q","k","v","g"|"gk","beta","initial_state","z0" …
  Params scalars;                            // "scale", "kind", "window" …
  std::vector<double> log_gamma;             // per-head constant decay, where the op has one
  MixerForm form = MixerForm::kAuto;
  bool states = false, implied = false;
};
using MixerOpResult = std::map<std::string, at::Tensor>;   // "o", "final_state", "states", "A", "z_final", "q_rot" …

// One conformance case: forms are compared with naive on random weights and inputs of these shapes.
struct MixerCase {
  std::string name;
  Params params;                             // as a family would give them
  int64_t d_model = 32, batch = 2, pos = 19;
  double atol = 1e-5, rtol = 1e-5;           // float32, on outputs and states; gradients in float64 use 1e-8
};

// What a mixer folder registers.
struct MixerKind {
  std::string name;
  std::vector<std::string> aliases;          // op names of reference files and family names: "retnet", "simple_gla" …
  std::string paper;                         // "arXiv 2412.06464"
  std::function<MixerInfo(const Params&, int64_t d_model)> info;         // throws Error(kBadInput) on senseless params
  std::function<std::vector<WeightSpec>(const Params&, int64_t d_model)> weights;
  std::function<std::unique_ptr<TokenMixer>(const Params&, int64_t d_model, WeightMap)> create;
  std::function<MixerOpResult(const MixerOpRequest&)> op;
  std::vector<MixerCase> cases;
};

}  // namespace microtome
