#include "core/families/config_read.h"

#include <cmath>
#include <map>

#include "core/families/binder.h"

namespace microtome::families {

int64_t read_size(const Json& config, const char* key, const std::string& where) {
  int64_t v = json_int(config, key, where);
  if (v < 1 || v > INT32_MAX)
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is " + std::to_string(v), where,
                "it must be a positive number");
  return v;
}

int64_t read_size(const Json& config, const char* key, int64_t fallback, const std::string& where) {
  if (!config.contains(key) || config[key].is_null()) return fallback;
  return read_size(config, key, where);
}

int64_t divide(int64_t whole, int64_t parts, const char* whole_name, const char* parts_name, const std::string& where) {
  if (parts < 1 || whole % parts)
    throw Error(StatusCode::kBadInput, std::string(whole_name) + " " + std::to_string(whole) +
                " does not divide by " + parts_name + " " + std::to_string(parts), where,
                "correct one of the two fields");
  return whole / parts;
}

std::string read_activation(const Json& config, const char* key, const char* fallback, const std::string& where) {
  static const std::map<std::string, std::string> known = {
      {"silu", "silu"}, {"swish", "silu"}, {"gelu", "gelu"}, {"gelu_new", "gelu_new"}, {"gelu_fast", "gelu_new"},
      {"gelu_pytorch_tanh", "gelu_new"}, {"relu", "relu"}, {"relu2", "relu2"}, {"sqrelu", "relu2"}};
  std::string name = json_string(config, key, fallback, where);
  auto it = known.find(name);
  if (it == known.end())
    throw Error(StatusCode::kUnsupported, "field '" + std::string(key) + "' is '" + name.substr(0, 60) + "'", where,
                "supported are gelu, gelu_fast, gelu_new, gelu_pytorch_tanh, relu, relu2, silu, sqrelu, swish");
  return it->second;
}

void read_common(const Json& config, ModelConfig& out, const std::string& where) {
  auto token = [&](const char* key) -> std::optional<int64_t> {
    if (!config.contains(key) || config[key].is_null()) return std::nullopt;
    const Json& v = config[key];
    if (v.is_array()) return v.empty() || !v[0].is_number_integer() ? std::nullopt : std::optional(v[0].get<int64_t>());
    return json_int(config, key, where);
  };
  out.bos_id = token("bos_token_id");
  out.eos_id = token("eos_token_id");
  // The vocabulary is checked against the embedding's rows, not here: a huge claim must fail by shape.
  out.vocab_size = json_int(config, "vocab_size", where);
  out.stored_dtype = json_string(config, "dtype", json_string(config, "torch_dtype", "float32", where), where);
}

int64_t expanded_head(const Json& config, const char* expand_key, double fallback, int64_t hidden, int64_t heads,
                      const std::string& where) {
  double expand = json_float(config, expand_key, fallback, where);
  if (!(expand > 0 && expand <= 64))
    throw Error(StatusCode::kBadInput, "field '" + std::string(expand_key) + "' is out of range", where,
                "it must lie between 0 and 64");
  return divide(static_cast<int64_t>(static_cast<double>(hidden) * expand), heads,
                (std::string("hidden_size * ") + expand_key).c_str(), "num_heads", where);
}

void read_delta_heads(const Json& config, int64_t head_dim, double expand_v, const std::string& where, Params& out) {
  int64_t heads = read_size(config, "num_heads", where);
  int64_t value_heads = read_size(config, "num_v_heads", heads, where);
  divide(value_heads, heads, "num_v_heads", "num_heads", where);
  head_dim = read_size(config, "head_dim", head_dim, where);
  expand_v = json_float(config, "expand_v", expand_v, where);
  double head_v = static_cast<double>(head_dim) * expand_v;
  if (!(expand_v > 0 && expand_v <= 64 && std::abs(head_v - std::round(head_v)) < 1e-5 * head_v && head_v >= 1))
    throw Error(StatusCode::kBadInput, "field 'expand_v' is " + std::to_string(expand_v), where,
                "it must lie between 0 and 64 and give a whole number times head_dim " + std::to_string(head_dim));
  out.set("num_heads", heads);
  out.set("num_v_heads", value_heads);
  out.set("head_k", head_dim);
  out.set("head_v", static_cast<int64_t>(std::round(head_v)));
}

void refuse_option(const Json& config, const char* key, const std::string& where) {
  if (!config.contains(key) || config[key].is_null()) return;
  if (config[key].is_boolean() && !config[key].get<bool>()) return;
  throw Error(StatusCode::kUnsupported, "field '" + std::string(key) + "' is " + config[key].dump().substr(0, 60), where,
              "only models without it are supported");
}

LayerConfig read_fla_attention(const Json& a, int64_t d_model, double eps, const std::string& where) {
  LayerConfig out;
  out.mixer = "softmax_attention";
  Params& p = out.mixer_params;
  int64_t heads = read_size(a, "num_heads", where), kv = read_size(a, "num_kv_heads", heads, where);
  divide(heads, kv, "num_heads", "num_kv_heads", where);
  int64_t head_dim = divide(d_model, heads, "hidden_size", "num_heads", where);
  p.set("num_heads", heads);
  p.set("num_kv_heads", kv);
  p.set("head_dim", head_dim);
  const bool bias = json_bool(a, "qkv_bias", false, where);
  for (const char* b : {"q_bias", "k_bias", "v_bias"}) p.set(b, bias);
  p.set("rotary_dim", head_dim);
  p.set("rope_theta", json_float(a, "rope_theta", 10000.0, where));
  p.set("window", read_size(a, "window_size", 0, where));
  p.set("qk_norm", json_bool(a, "qk_norm", false, where));
  p.set("norm_eps", eps);
  return out;
}

int64_t read_layer_count(const Json& config, const char* key, const std::string& where) {
  const int64_t n = read_size(config, key, where);
  if (n > 10000)
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is " + std::to_string(n), where,
                "it must be at most 10000");
  return n;
}

int64_t read_either(const Json& config, std::initializer_list<const char*> keys, const std::string& where) {
  for (const char* key : keys)
    if (config.contains(key) && !config[key].is_null()) return read_size(config, key, where);
  return read_size(config, *keys.begin(), where);
}

std::vector<bool> read_layer_list(const Json& config, const char* key, int64_t n_layers, const std::string& where) {
  std::vector<bool> out(static_cast<size_t>(n_layers), false);
  if (!config.contains(key) || config[key].is_null()) return out;
  if (!config[key].is_array())
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is no list", where, "list the layers");
  for (const Json& l : config[key]) {
    if (!l.is_number_integer() || l.get<int64_t>() < 0 || l.get<int64_t>() >= n_layers)
      throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' names layer " + l.dump().substr(0, 20) +
                  ", which does not exist", where, "layers run from 0 to " + std::to_string(n_layers - 1));
    out[static_cast<size_t>(l.get<int64_t>())] = true;
  }
  return out;
}

ModelConfig read_fla_model(const Json& config, const std::string& where, const LayerConfig& linear_layer) {
  refuse_option(config, "attnres_block_size", where);
  ModelConfig out;
  read_common(config, out, where);
  out.d_model = read_size(config, "hidden_size", where);
  // A recurrent model has no position table; the trained length is information, not a bound.
  out.context_length = read_size(config, "max_position_embeddings", 0, where);
  out.hard_context = false;
  out.tied_unembedding = json_bool(config, "tie_word_embeddings", false, where);
  double eps = json_float(config, "norm_eps", 1e-6, where);
  out.final_norm = {NormConfig::Kind::kRms, eps, true, false};
  const int64_t n_layers = read_layer_count(config, "num_hidden_layers", where);

  int64_t d_mlp = read_size(config, "intermediate_size", 0, where);
  if (!d_mlp) {
    // fla's default: two thirds of hidden_ratio * hidden, rounded up to 256.
    int64_t ratio = read_size(config, "hidden_ratio", 4, where);
    d_mlp = static_cast<int64_t>(static_cast<double>(out.d_model * ratio) * 2 / 3);
    d_mlp = 256 * ((d_mlp + 255) / 256);
  }
  ChannelMixerConfig mlp{d_mlp, read_activation(config, "hidden_act", "swish", where), true, false};

  LayerConfig attention;
  std::vector<bool> softmax(static_cast<size_t>(n_layers), false);
  if (config.contains("attn") && !config["attn"].is_null()) {
    const Json& a = config["attn"];
    std::string awhere = where + ", attn";
    if (!a.is_object()) throw Error(StatusCode::kBadInput, "field 'attn' is not an object", where, "give layers and num_heads");
    if (!a.contains("layers") || !a["layers"].is_array())
      throw Error(StatusCode::kBadInput, "field 'layers' is missing or no list", awhere, "list the softmax layers");
    softmax = read_layer_list(a, "layers", n_layers, awhere);
    attention = read_fla_attention(a, out.d_model, eps, awhere);
  }
  for (int64_t i = 0; i < n_layers; ++i) {
    LayerConfig layer = softmax[static_cast<size_t>(i)] ? attention : linear_layer;
    layer.norm1 = layer.norm2 = {NormConfig::Kind::kRms, eps, true, false};
    layer.channel = mlp;
    out.layers.push_back(std::move(layer));
  }
  return out;
}

std::vector<TensorBinding> bind_fla_model(const ModelConfig& c, const Stored&) {
  Binder out(c);
  out.add("embed.weight", "model.embeddings.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = "model.layers." + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "attn_norm");
    out.mixer(i, from + "attn.");
    out.norm(c.layers[i].norm2, to + "ln2", from + "mlp_norm");
    out.mlp(i, from + "mlp.", "gate_proj", "up_proj", "down_proj");
  }
  out.norm(c.final_norm, "ln_final", "model.norm");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace microtome::families
