#include "core/families/decoder.h"

#include <algorithm>
#include <cmath>

namespace microtome::families {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& where, const std::string& instead) {
  throw Error(StatusCode::kBadInput, what, where, instead);
}

std::string joined(const std::vector<double>& numbers) {
  std::string out;
  for (double n : numbers) out += (out.empty() ? "" : ",") + param_text(ParamValue(n));
  return out;
}

// The object with the rotary settings; an empty one where there is none.
Json rope_object(const Json& config, const std::string& where, const std::string& kind) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!config.contains(key) || config[key].is_null()) continue;
    const Json& r = config[key];
    if (!r.is_object()) refuse("field '" + std::string(key) + "' is not an object", where, "give rope_theta and rope_type");
    if (kind.empty() || !r.contains(kind)) return r;
    if (!r[kind].is_object())
      refuse("field '" + std::string(key) + "." + kind + "' is not an object", where, "give rope_theta and rope_type");
    return r[kind];
  }
  return Json::object();
}

std::string read_factors(const Json& r, const char* key, int64_t count, const std::string& where) {
  std::vector<double> out;
  if (r.contains(key) && r[key].is_array())
    for (const Json& v : r[key])
      if (v.is_number()) out.push_back(v.get<double>());
  if (static_cast<int64_t>(out.size()) != count)
    refuse("field '" + std::string(key) + "' has " + std::to_string(out.size()) + " numbers", where,
           "give " + std::to_string(count) + ", one a pair of rotary channels");
  return joined(out);
}

void read_yarn(const Json& r, double factor, Params& p, const std::string& where) {
  p.set("rope_beta_fast", json_float(r, "beta_fast", 32.0, where));
  p.set("rope_beta_slow", json_float(r, "beta_slow", 1.0, where));
  p.set("rope_truncate", json_bool(r, "truncate", true, where));
  auto scale = [&](double m) { return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
  const double m = json_float(r, "mscale", 0.0, where), all = json_float(r, "mscale_all_dim", 0.0, where);
  const double usual = m != 0 && all != 0 ? scale(m) / scale(all) : scale(1);
  p.set("rope_attention_factor", json_float(r, "attention_factor", usual, where));
}

}  // namespace

void Decoder::qkv_bias(bool on) {
  for (const char* b : {"q_bias", "k_bias", "v_bias"}) attention().set(b, on);
}

Decoder read_decoder(const Json& config, const std::string& where, bool tied) {
  Decoder d;
  ModelConfig& m = d.model;
  read_common(config, m, where);
  m.d_model = read_size(config, "hidden_size", where);
  d.n_layers = read_layer_count(config, "num_hidden_layers", where);
  d.heads = read_size(config, "num_attention_heads", where);
  d.kv_heads = read_size(config, "num_key_value_heads", d.heads, where);
  divide(d.heads, d.kv_heads, "num_attention_heads", "num_key_value_heads", where);
  d.head_dim = read_size(config, "head_dim", 0, where);
  if (!d.head_dim) d.head_dim = divide(m.d_model, d.heads, "hidden_size", "num_attention_heads", where);
  m.context_length = read_size(config, "max_position_embeddings", 2048, where);
  m.hard_context = true;
  m.tied_unembedding = json_bool(config, "tie_word_embeddings", tied, where);
  d.layer.mixer = "softmax_attention";
  d.attention().set("num_heads", d.heads);
  d.attention().set("num_kv_heads", d.kv_heads);
  d.attention().set("head_dim", d.head_dim);
  d.layer.channel.d_mlp = read_size(config, "intermediate_size", where);
  d.layer.channel.activation = read_activation(config, "hidden_act", "silu", where);
  return d;
}

ModelConfig finish(Decoder d, const std::function<void(int64_t, LayerConfig&)>& edit) {
  const Params& p = d.layer.mixer_params;
  const std::string scaling = p.get_string("rope_scaling", "default");
  // These reach beyond what max_position_embeddings says, which is what they stretch.
  if (scaling == "linear" || scaling == "dynamic" || scaling == "yarn") {
    const double reach = static_cast<double>(p.get_int("rope_original_context")) * p.get_float("rope_factor");
    d.model.context_length = std::max(d.model.context_length, static_cast<int64_t>(std::min(reach, 1e12)));
  }
  d.model.layers.assign(static_cast<size_t>(d.n_layers), d.layer);
  for (int64_t i = 0; edit && i < d.n_layers; ++i) edit(i, d.model.layers[static_cast<size_t>(i)]);
  return std::move(d.model);
}

void read_rope(const Json& config, int64_t head_dim, const std::string& where, Params& p, const RopeDefaults& defaults,
               const std::string& kind) {
  const Json r = rope_object(config, where, kind);
  double theta = json_float(config, "rope_theta", json_float(config, "rotary_emb_base", defaults.theta, where), where);
  theta = json_float(r, "rope_theta", theta, where);
  if (!(theta > 0)) refuse("rope_theta is " + std::to_string(theta), where, "it must be positive; 10000 is usual");
  double partial = json_float(config, "rotary_pct", defaults.partial, where);
  partial = json_float(r, "partial_rotary_factor", json_float(config, "partial_rotary_factor", partial, where), where);
  if (!(partial >= 0 && partial <= 1))
    refuse("partial_rotary_factor is " + std::to_string(partial), where, "it must lie between 0 and 1");
  const int64_t dim = static_cast<int64_t>(static_cast<double>(head_dim) * partial);
  if (dim % 2)
    refuse("rotary positions turn " + std::to_string(dim) + " of head_dim " + std::to_string(head_dim) + " channels", where,
           "their number must be even");
  p.set("rotary_dim", dim);
  p.set("rope_theta", theta);
  std::string type = json_string(r, "rope_type", json_string(r, "type", "default", where), where);
  if (type == "su") type = "longrope";                 // Phi-3's first name for it
  if (type == "default" || dim == 0) return;
  if (type != "linear" && type != "dynamic" && type != "yarn" && type != "llama3" && type != "longrope")
    throw Error(StatusCode::kUnsupported, "rotary scaling '" + type.substr(0, 60) + "' is not supported", where,
                "supported are default, linear, dynamic, yarn, llama3 and longrope");
  p.set("rope_scaling", type);
  const int64_t context = read_size(config, "max_position_embeddings", 2048, where);
  int64_t original = read_size(config, "original_max_position_embeddings", 0, where);
  original = read_size(r, "original_max_position_embeddings", original ? original : context, where);
  // NTK by length starts from the whole context that the config claims.
  p.set("rope_original_context", type == "dynamic" ? context : original);
  const double stretch = static_cast<double>(context) / static_cast<double>(original);
  const double factor = type == "longrope" ? json_float(r, "factor", stretch, where) : json_float(r, "factor", where);
  if (!(factor >= 1)) refuse("the rotary scaling's factor is " + std::to_string(factor), where, "it must be 1 or more");
  p.set("rope_factor", factor);
  if (type == "llama3") {
    p.set("rope_low_freq_factor", json_float(r, "low_freq_factor", where));
    p.set("rope_high_freq_factor", json_float(r, "high_freq_factor", where));
  }
  if (type == "yarn") read_yarn(r, factor, p, where);
  if (type == "longrope") {
    p.set("rope_short_factors", read_factors(r, "short_factor", dim / 2, where));
    p.set("rope_long_factors", read_factors(r, "long_factor", dim / 2, where));
    // Phi-3 keeps both lengths in its config; the stretch between them then decides, whatever factor says.
    const double by = config.contains("original_max_position_embeddings") ? stretch : factor;
    const double usual = by <= 1 ? 1.0 : std::sqrt(1 + std::log(by) / std::log(static_cast<double>(original)));
    p.set("rope_attention_factor", json_float(r, "attention_factor", usual, where));
  }
}

std::vector<std::string> read_layer_types(const Json& config, int64_t n_layers, const std::vector<std::string>& allowed,
                                          const std::function<std::string(int64_t)>& otherwise, const std::string& where) {
  std::vector<std::string> out;
  if (!config.contains("layer_types") || config["layer_types"].is_null()) {
    for (int64_t i = 0; i < n_layers; ++i) out.push_back(otherwise(i));
    return out;
  }
  const Json& list = config["layer_types"];
  if (!list.is_array() || static_cast<int64_t>(list.size()) != n_layers)
    refuse("field 'layer_types' has " + (list.is_array() ? std::to_string(list.size()) + " entries" : "no list"), where,
           "give one entry for each of the " + std::to_string(n_layers) + " layers");
  std::string known;
  for (const std::string& a : allowed) known += (known.empty() ? "" : ", ") + a;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string type = list[i].is_string() ? list[i].get<std::string>() : list[i].dump();
    if (std::find(allowed.begin(), allowed.end(), type) == allowed.end())
      refuse("field 'layer_types' has '" + type.substr(0, 60) + "' at layer " + std::to_string(i), where, "allowed are " + known);
    out.push_back(type);
  }
  return out;
}

std::vector<int64_t> read_windows(const Json& config, int64_t n_layers, int64_t window,
                                  const std::function<bool(int64_t)>& otherwise, const std::string& where) {
  std::vector<int64_t> out;
  for (const std::string& type : read_layer_types(
           config, n_layers, {"full_attention", "sliding_attention"},
           [&](int64_t i) { return otherwise(i) ? "sliding_attention" : "full_attention"; }, where))
    out.push_back(type == "sliding_attention" ? window : 0);
  return out;
}

std::vector<int64_t> read_upper_windows(const Json& config, int64_t n_layers, const std::string& where) {
  const bool on = json_bool(config, "use_sliding_window", false, where);
  const int64_t window = on ? read_size(config, "sliding_window", 4096, where) : 0;
  const int64_t full = json_int(config, "max_window_layers", 28, where);
  return read_windows(config, n_layers, window, [&](int64_t i) { return on && i >= full; }, where);
}

int64_t read_window(const Json& config, const char* key, const std::string& where) {
  return read_size(config, key, 0, where);
}

void bind_channel(Binder& out, const ModelConfig& c, size_t i, const std::string& from, const DecoderNames& n) {
  const ChannelMixerConfig& m = c.layers[i].channel;
  if (m.d_mlp == 0) return;
  if (m.experts.count == 0) return out.mlp(i, from + n.mlp, n.gate, n.up, n.down);
  out.experts(i, from + n.experts, n.router, n.expert_gate, n.expert_up, n.expert_down);
  if (!m.experts.d_shared) return;
  const std::string to = Binder::block(i) + "mlp.";
  out.linear(to + "shared.gate", from + n.shared + n.gate, m.experts.d_shared, c.d_model, false);
  out.linear(to + "shared.up", from + n.shared + n.up, m.experts.d_shared, c.d_model, false);
  out.linear(to + "shared.down", from + n.shared + n.down, c.d_model, m.experts.d_shared, false);
  if (m.experts.shared_gate) out.linear(to + "shared_gate", from + n.shared_gate, 1, c.d_model, false);
}

std::vector<TensorBinding> bind_decoder(const ModelConfig& c, const Stored& has,
                                        const DecoderNames& n) {
  Binder out(c);
  const std::string root = has(n.embed + ".weight") && !has("model." + n.embed + ".weight") ? "" : "model.";
  out.add("embed.weight", root + n.embed + ".weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const std::string to = Binder::block(i), from = root + "layers." + std::to_string(i) + ".";
    out.norm(l.norm1, to + "ln1", from + n.norm1);
    if (l.post1) out.norm(*l.post1, to + "ln1_post", from + n.post1);
    out.mixer(i, from + n.attention, n.renames);
    out.norm(l.norm2, to + "ln2", from + n.norm2);
    if (l.post2) out.norm(*l.post2, to + "ln2_post", from + n.post2);
    bind_channel(out, c, i, from, n);
  }
  out.norm(c.final_norm, "ln_final", root + n.final_norm);
  out.unembedding("lm_head");
  return out.take();
}

std::vector<TensorBinding> bind_llama(const ModelConfig& c, const Stored& has) { return bind_decoder(c, has); }

DecoderNames mixtral_names() {
  DecoderNames names;
  names.experts = "block_sparse_moe.";
  names.expert_gate = "w1";
  names.expert_down = "w2";
  names.expert_up = "w3";
  return names;
}

bool masked_decoder_ignorable(const std::string& name) {
  for (const char* buffer : {".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"})
    if (name.ends_with(buffer)) return true;
  return decoder_ignorable(name);
}

bool decoder_ignorable(const std::string& name) {
  return name.find("rotary_emb.inv_freq") != std::string::npos || tied_head(name);
}

}  // namespace microtome::families
