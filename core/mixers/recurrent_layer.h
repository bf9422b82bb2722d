// recurrent_layer.h — the layer around a linear recurrence, as all of them have it:
//
//   x → q, k, v by heads → short convolution → activation, feature map, norm → rotary → recurrence → RMS norm by head
//     → output gate → output projection
//
// A mixer says which of these it has (RecurrentLayerConfig) and overrides what is its own: the maps of q, k, v, the
// decay and the write strength. Hook points are asked here, once for all of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/base/params.h"
#include "core/mixers/recurrence.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

struct RecurrentLayerConfig {
  std::string kind;
  std::string q_name = "q_proj", k_name = "k_proj", v_name = "v_proj", o_name = "o_proj", gate_name = "g_proj";
  int64_t d_model = 0;
  int64_t heads = 0;                 // rows of hook_z; also the number of split inputs
  int64_t q_heads = 0, k_heads = 0, v_heads = 0, state_heads = 0;
  int64_t head_k = 0, head_v = 0;    // widths of the projections
  int64_t d_k = 0;                   // after the feature map
  int64_t steps = 1;                 // writes a token; k, v and beta then have steps * heads heads, step by step
  int64_t conv_size = 0;             // 0: no short convolution
  bool conv_bias = false;
  bool conv_v = true;                // v has one too
  bool conv_silu_qk = true;          // the convolution of q and k ends in SiLU (v's always does)
  bool rotary = false;
  double rope_theta = 10000;
  int64_t decay_width = 0;           // 0: no decay; 1: one a head; d_k: one a channel
  int64_t decay_heads = 0;
  bool decay_input = false;          // the decay is computed from x
  int64_t beta_heads = 0;            // 0: no write strength
  bool beta_input = false;           // the write strength is computed from x
  std::string beta_point = "hook_beta";
  int64_t slots = 0;                 // the state has slots for rows instead of keys, and beta has a number a slot
  bool erase_key = false;            // what is erased is found by another key than it is written with
  bool normalized = false;           // the read-out is divided by a running normaliser
  std::string norm;                  // weight name of the RMS norm by head, "" without a norm
  bool norm_affine = true;
  bool norm_whole = false;           // one norm over all heads together, its weight as long
  bool norm_silu = false;            // the norm reads silu(z)
  double norm_eps = 1e-5;
  std::string gate;                  // "swish", "sigmoid" or "" without a gate
  int64_t gate_rank = 0;             // the gate's projection passes through that many channels; 0: one matrix
  bool gate_bias = true;             // of such a narrow projection
};

// What most configurations share, from params as a family gives them: num_heads, num_kv_heads, head_k, head_v,
// norm_eps, elementwise_affine, use_short_conv (conv_size, conv_bias), use_output_gate (gate_activation). gate_default:
// whether the gate is there when use_output_gate is not given; the same for the convolution.
RecurrentLayerConfig read_layer_params(const Params& p, int64_t d_model, const std::string& kind, bool gate_default,
                                       bool conv_default);
// Throws Error(kBadInput) naming the parameter unless sizes are positive, bounded and divide each other.
void check_layer(const RecurrentLayerConfig& c);
// Throws Error(kBadInput) unless 1 <= value <= most.
void check_size(const std::string& kind, const char* param, int64_t value, int64_t most);

MixerInfo layer_info(const RecurrentLayerConfig& c);
// q, k, v, o and gate projections, convolutions and the norm; a mixer adds its own.
std::vector<WeightSpec> layer_weights(const RecurrentLayerConfig& c);

class RecurrentLayer : public TokenMixer {
 public:
  // Throws Error(kBadInput) naming a weight that is absent or of another shape than specs says.
  RecurrentLayer(RecurrentLayerConfig config, LinearRecurrence::Kind recurrence, WeightMap weights,
                 const std::vector<WeightSpec>& specs);
  const MixerInfo& info() const override { return info_; }
  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override;

 protected:
  // After the short convolution; [batch, pos, head, head_k] → [batch, pos, head, d_k].
  virtual at::Tensor map_q(const at::Tensor& q) const { return q; }
  virtual at::Tensor map_k(const at::Tensor& k) const { return k; }
  virtual at::Tensor map_v(const at::Tensor& v) const { return v; }
  // r.q, r.k, r.v (and what else comes from them) of the projections: the three maps, unless they depend on one another.
  virtual void map_qkv(const at::Tensor (&qkv)[3], RecurrenceInput& r) const;
  // The recurrence itself, between its input's hook points and hook_z. kept: the layer's whole state, null where none is.
  virtual at::Tensor mix(RecurrenceInput& r, RecurrentState& s, MixerState* kept, HookScope& hooks,
                         const MixerRun& run) const;
  // The matrix of q, k or v (role 0, 1, 2), [heads * width, d_model].
  virtual at::Tensor projection(int role) const;
  // Log decay [batch, pos, decay head, decay_width], at least float32.
  virtual at::Tensor decay(const MixerInput& in) const { return {}; }
  // Write strength [batch, pos, beta head], with slots [batch, pos, beta head, slot]; at least float32.
  virtual at::Tensor beta(const MixerInput& in) const { return {}; }

  const at::Tensor& weight(const std::string& name) const;     // must be there
  at::Tensor maybe(const std::string& name) const { return weight_of(name); }
  const RecurrentLayerConfig& config() const { return config_; }
  const LinearRecurrence& driver() const { return recurrence_; }
  // A role's projection to steps * heads heads; over query heads with a split input.
  at::Tensor project_steps(const MixerInput& in, const std::string& role, const at::Tensor& weight, int64_t heads) const;

 private:
  at::Tensor weight_of(const std::string& name) const;
  // early: what the earlier taps read where that is split off; undefined: the same as the token's own tap.
  void convolve(at::Tensor (&qkv)[3], const at::Tensor (&early)[3], MixerState* state, HookScope& hooks) const;
  at::Tensor gate(const MixerInput& in) const;
  at::Tensor output(const at::Tensor& z, const at::Tensor& gate, HookScope& hooks) const;

  RecurrentLayerConfig config_;
  MixerInfo info_;
  LinearRecurrence recurrence_;
  WeightMap weights_;
};

// x in float32 where it is a half type: gates and decays are computed so.
at::Tensor at_least_float32(const at::Tensor& x);
// Elementwise activations by Hugging Face's names: identity, relu, silu, swish, sigmoid, elu (elu + 1), gelu, tanh.
// Throws Error(kUnsupported) listing them.
at::Tensor activate(const std::string& name, const at::Tensor& x);
void check_activation(const std::string& kind, const char* param, const std::string& name);

}  // namespace microtome::mixers
