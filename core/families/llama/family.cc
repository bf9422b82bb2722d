// Llama (transformers' `llama`): RMSNorm, rotary positions, grouped key/value heads, gated MLP. Reads both spellings of
// the rotary settings: rope_parameters {rope_theta, rope_type} and the older rope_theta / rope_scaling.
#include "core/families/config_read.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  ModelConfig out;
  read_common(config, out, where);
  out.d_model = read_size(config, "hidden_size", where);
  int64_t n_layers = read_size(config, "num_hidden_layers", where);
  int64_t heads = read_size(config, "num_attention_heads", where);
  int64_t kv = read_size(config, "num_key_value_heads", heads, where);
  divide(heads, kv, "num_attention_heads", "num_key_value_heads", where);
  int64_t head_dim = read_size(config, "head_dim", 0, where);
  if (!head_dim) head_dim = divide(out.d_model, heads, "hidden_size", "num_attention_heads", where);
  if (head_dim % 2)
    throw Error(StatusCode::kBadInput, "head_dim " + std::to_string(head_dim) + " is odd", where,
                "rotary embedding needs an even one");
  out.context_length = read_size(config, "max_position_embeddings", 2048, where);
  out.hard_context = true;
  out.tied_unembedding = json_bool(config, "tie_word_embeddings", false, where);
  double eps = json_float(config, "rms_norm_eps", 1e-6, where);
  NormConfig norm{NormConfig::Kind::kRms, eps, true, false};
  out.final_norm = norm;

  double theta = json_float(config, "rope_theta", 10000.0, where);
  std::string scaling = "default";
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.contains(key) || config[key].is_null()) continue;
    if (!config[key].is_object()) throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is not an object", where, "give rope_theta and rope_type");
    const Json& r = config[key];
    theta = json_float(r, "rope_theta", theta, where + ", " + key);
    scaling = json_string(r, "rope_type", json_string(r, "type", "default", where), where);
  }
  if (scaling != "default")
    throw Error(StatusCode::kUnsupported, "rotary scaling '" + scaling.substr(0, 60) + "' is not supported", where,
                "only the unscaled form is");
  if (!(theta > 0)) throw Error(StatusCode::kBadInput, "rope_theta is not positive", where, "10000 is usual");

  bool attention_bias = json_bool(config, "attention_bias", false, where);
  ChannelMixerConfig mlp{read_size(config, "intermediate_size", where), read_activation(config, "hidden_act", "silu", where),
                         true, json_bool(config, "mlp_bias", false, where)};
  if (n_layers > 10000)
    throw Error(StatusCode::kBadInput, "field 'num_hidden_layers' is " + std::to_string(n_layers), where,
                "it must be at most 10000");
  LayerConfig l;
  l.mixer = "softmax_attention";
  l.mixer_params.set("num_heads", heads);
  l.mixer_params.set("num_kv_heads", kv);
  l.mixer_params.set("head_dim", head_dim);
  for (const char* b : {"q_bias", "k_bias", "v_bias", "o_bias"}) l.mixer_params.set(b, attention_bias);
  l.mixer_params.set("rotary_dim", head_dim);
  l.mixer_params.set("rope_theta", theta);
  l.norm1 = l.norm2 = norm;
  l.channel = mlp;
  out.layers.assign(static_cast<size_t>(n_layers), l);
  return out;
}

std::vector<TensorBinding> bind(const ModelConfig& c, const std::function<bool(const std::string&)>&) {
  std::vector<TensorBinding> out;
  auto add = [&](std::string canonical, std::string source, std::vector<int64_t> shape) {
    out.push_back({std::move(canonical), std::move(source), std::move(shape), false, 0, -1, false});
  };
  add("embed.weight", "model.embed_tokens.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    std::string n = std::to_string(i), to = "blocks." + n + ".", from = "model.layers." + n + ".";
    const LayerConfig& l = c.layers[i];
    bind_norm(out, l.norm1, c.d_model, to + "ln1", from + "input_layernorm");
    for (TensorBinding& b : bind_mixer_weights(l, c.d_model, to + "attn.", from + "self_attn.")) out.push_back(std::move(b));
    bind_norm(out, l.norm2, c.d_model, to + "ln2", from + "post_attention_layernorm");
    const std::pair<const char*, const char*> mlp[] = {{"gate", "gate_proj"}, {"up", "up_proj"}, {"down", "down_proj"}};
    for (auto [mine, theirs] : mlp) {
      bool down = std::string(mine) == "down";
      int64_t rows = down ? c.d_model : l.channel.d_mlp, cols = down ? l.channel.d_mlp : c.d_model;
      add(to + "mlp." + mine + ".weight", from + "mlp." + theirs + ".weight", {rows, cols});
      if (l.channel.bias) add(to + "mlp." + mine + ".bias", from + "mlp." + theirs + ".bias", {rows});
    }
  }
  bind_norm(out, c.final_norm, c.d_model, "ln_final", "model.norm");
  if (!c.tied_unembedding) add("unembed.weight", "lm_head.weight", {c.vocab_size, c.d_model});
  return out;
}

bool ignorable(const std::string& name) {
  return name.find("rotary_emb.inv_freq") != std::string::npos || name == "lm_head.weight";
}

}  // namespace

void register_llama(Registry& registry) {
  registry.add({"llama", {"llama"}, read, bind, ignorable});
}

}  // namespace microtome::families
