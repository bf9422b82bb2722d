// model_config.h — what any supported model is, whatever its family: an embedding, a stack of blocks (norm, token mixer,
// norm, channel mixer), a final norm, an unembedding. Families translate config.json into this. Free of LibTorch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/params.h"

namespace microtome {

struct NormConfig {
  enum class Kind { kRms, kLayer };
  Kind kind = Kind::kRms;
  double eps = 1e-6;
  bool weight = true;
  bool bias = false;
};

struct ChannelMixerConfig {
  int64_t d_mlp = 0;
  std::string activation = "silu";     // silu, gelu (exact), gelu_new (tanh), relu, relu2 (relu squared)
  bool gated = true;                   // act(gate x) * (up x); else act(up x)
  bool bias = false;
  // Reads a mix of its input x and of the one before it, x': kToEarlier x + (x' - x) w, kToCurrent x w + x' (1 - w),
  // weight mlp.shift.up [d_model]. Such a mixer keeps one input between runs.
  enum class Shift { kNone, kToEarlier, kToCurrent };
  Shift shift = Shift::kNone;
  bool receptance = false;             // the output times sigmoid(mlp.receptance.weight x), x mixed by mlp.shift.receptance
};

struct LayerConfig {
  std::string mixer;                   // a mixer kind: "softmax_attention", "gated_delta_rule" …
  Params mixer_params;
  NormConfig norm1, norm2;
  ChannelMixerConfig channel;
};

struct ModelConfig {
  std::string family, name;            // name: the folder's
  int64_t d_model = 0, vocab_size = 0, context_length = 0;   // context_length 0: no bound
  bool hard_context = false;           // true: positions beyond it do not exist (learned positions)
  int64_t learned_positions = 0;       // rows of the position table; 0: none
  bool tied_unembedding = false;
  bool unembedding_bias = false;
  std::optional<NormConfig> embed_norm;   // of the embeddings, before the first block
  NormConfig final_norm;
  std::vector<LayerConfig> layers;
  std::optional<int64_t> bos_id, eos_id;
  std::string stored_dtype;            // as config.json says, for information
};

// Throws Error(kBadInput) naming the field when sizes are senseless (non-positive, beyond what any file could hold).
void check_config(const ModelConfig& config, const std::string& where);

}  // namespace microtome
