// config_read.h — what families share when they read config.json: sizes that must be positive, heads that must divide,
// activations by the names libraries write.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/families/family.h"

namespace microtome::families {

// A positive integer at most 2^31; throws Error(kBadInput) naming the field and the value.
int64_t read_size(const Json& config, const char* key, const std::string& where);
int64_t read_size(const Json& config, const char* key, int64_t fallback, const std::string& where);
// whole / parts; throws naming both fields where it does not divide.
int64_t divide(int64_t whole, int64_t parts, const char* whole_name, const char* parts_name, const std::string& where);
// An activation's canonical name; throws Error(kUnsupported) listing the known ones.
std::string read_activation(const Json& config, const char* key, const char* fallback, const std::string& where);
// bos_token_id / eos_token_id (eos may be a list: the first), vocab_size, dtype.
void read_common(const Json& config, ModelConfig& out, const std::string& where);

// flash-linear-attention's model shell: norms, gated MLP, embeddings, hybrid `attn` layers. Fills all but the linear
// layers' mixers, which `linear_layer` gives.
ModelConfig read_fla_model(const Json& config, const std::string& where, const LayerConfig& linear_layer);
// Its softmax attention, from num_heads, num_kv_heads, qkv_bias, rope_theta, window_size and qk_norm.
LayerConfig read_fla_attention(const Json& config, int64_t d_model, double eps, const std::string& where);
std::vector<TensorBinding> bind_fla_model(const ModelConfig& config, const Stored& stored = {});
// num_heads, num_v_heads (a multiple), head_k and head_v from num_heads, num_v_heads, head_dim and expand_v, as
// flash-linear-attention's delta layers give them.
void read_delta_heads(const Json& config, int64_t head_dim, double expand_v, const std::string& where, Params& out);
// Throws Error(kUnsupported) naming an option that is set (neither null nor false).
void refuse_option(const Json& config, const char* key, const std::string& where);
// At most 10000 layers; throws naming the key.
int64_t read_layer_count(const Json& config, const char* key, const std::string& where);
// The head that writers repeat where it is tied: a family's `ignorable` where nothing else is.
inline bool tied_head(const std::string& name) { return name == "lm_head.weight"; }
// A positive integer under the first of the keys that is there; throws naming the first where none is.
int64_t read_either(const Json& config, std::initializer_list<const char*> keys, const std::string& where);
// Layers (0 … n_layers - 1) that a list of numbers names; absent or null: none.
std::vector<bool> read_layer_list(const Json& config, const char* key, int64_t n_layers, const std::string& where);
// head widths from hidden_size, expand_k / expand_v and num_heads; `round` names the field in errors.
int64_t expanded_head(const Json& config, const char* expand_key, double fallback, int64_t hidden, int64_t heads,
                      const std::string& where);

}  // namespace microtome::families
