// decoder.h — what transformers' decoder families share: sizes, rotary positions in the old and the new spelling, kinds
// of layers, and Llama's tensor names.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/families/binder.h"
#include "core/families/config_read.h"

namespace microtome::families {

// A decoder while its config is read: `layer` is what all layers have in common, with softmax attention as its mixer.
struct Decoder {
  ModelConfig model;
  LayerConfig layer;
  int64_t n_layers = 0, heads = 0, kv_heads = 0, head_dim = 0;

  Params& attention() { return layer.mixer_params; }
  void qkv_bias(bool on);
  void all_norms(const NormConfig& norm) { layer.norm1 = layer.norm2 = model.final_norm = norm; }
};

// hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings (a hard
// bound), vocab_size and so on; a gated SiLU MLP of intermediate_size. tied: what tie_word_embeddings is when absent.
// Norms and positions are left to the family.
Decoder read_decoder(const Json& config, const std::string& where, bool tied = false);
// n copies of the layer, each changed by `edit` where one is given.
ModelConfig finish(Decoder decoder, const std::function<void(int64_t, LayerConfig&)>& edit = {});

// rotary_dim and rope_* into p. Reads rope_parameters {rope_theta, rope_type, partial_rotary_factor …}, also with one
// such object a kind of layer (`kind` then selects it), and the older rope_theta, rotary_emb_base, rope_scaling
// {type | rope_type}, rotary_pct, partial_rotary_factor.
struct RopeDefaults {
  double theta = 10000, partial = 1;
};
void read_rope(const Json& config, int64_t head_dim, const std::string& where, Params& p, const RopeDefaults& defaults = {},
               const std::string& kind = "");

// layer_types: one of `allowed` a layer; absent: what `otherwise` says of layer i. Throws naming the entry.
std::vector<std::string> read_layer_types(const Json& config, int64_t n_layers, const std::vector<std::string>& allowed,
                                          const std::function<std::string(int64_t)>& otherwise, const std::string& where);
// sliding_window for the layers whose layer_types says sliding_attention; absent: for layer i where `otherwise(i)`.
// Gives 0 for the others.
std::vector<int64_t> read_windows(const Json& config, int64_t n_layers, int64_t window,
                                  const std::function<bool(int64_t)>& otherwise, const std::string& where);
// Qwen's: where use_sliding_window is on, from layer max_window_layers up.
std::vector<int64_t> read_upper_windows(const Json& config, int64_t n_layers, const std::string& where);
// A positive window, or 0 where the key is absent or null.
int64_t read_window(const Json& config, const char* key, const std::string& where);

// Llama's names and what other families call them instead.
struct DecoderNames {
  std::string embed = "embed_tokens", norm1 = "input_layernorm", norm2 = "post_attention_layernorm", final_norm = "norm";
  std::string post1 = "", post2 = "", attention = "self_attn.", mlp = "mlp.";
  std::string gate = "gate_proj", up = "up_proj", down = "down_proj";
  Renames renames = {};
  // Of routed experts: below `experts`, and then "experts.E."; of the one that every token passes, below `shared`.
  std::string experts = "mlp.", router = "gate", expert_gate = "gate_proj", expert_up = "up_proj", expert_down = "down_proj";
  std::string shared = "mlp.shared_expert.", shared_gate = "mlp.shared_expert_gate";
};
// Names of Mixtral's kind of experts: w1, w2, w3 below block_sparse_moe.
DecoderNames mixtral_names();
// The channel mixer of layer i, dense or of experts, from below `from`.
void bind_channel(Binder& out, const ModelConfig& config, size_t i, const std::string& from, const DecoderNames& names);
// "model." before all of it is optional, as checkpoints without a head are saved.
std::vector<TensorBinding> bind_decoder(const ModelConfig& config, const Stored& has,
                                        const DecoderNames& names = {});
// The same with Llama's names.
std::vector<TensorBinding> bind_llama(const ModelConfig& config, const Stored& has);
// Rotary tables, and the tied head that some writers repeat.
bool decoder_ignorable(const std::string& name);
// The mask buffers of old GPT files besides.
bool masked_decoder_ignorable(const std::string& name);

}  // namespace microtome::families
