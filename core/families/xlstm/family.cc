// xLSTM 7B (transformers' `xlstm`, arXiv 2503.13427): mLSTM memories with a gated MLP behind each.
#include <cmath>

#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

// hidden * factor, rounded down for projections.
int64_t share(const Json& config, const char* key, double fallback, int64_t hidden, const std::string& where) {
  const double factor = json_float(config, key, fallback, where);
  const double width = std::floor(static_cast<double>(hidden) * factor);
  if (!(factor > 0 && factor <= 64 && width >= 1))
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is " + std::to_string(factor), where,
                "it must lie between 0 and 64 and leave at least one channel of hidden_size " + std::to_string(hidden));
  return static_cast<int64_t>(width);
}

// A soft cap; null: none.
double read_cap(const Json& config, const char* key, double fallback, const std::string& where) {
  if (config.contains(key) && config[key].is_null()) return 0;
  const double cap = json_float(config, key, fallback, where);
  if (!(cap > 0))
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is " + std::to_string(cap), where,
                "it must be positive, or null for none");
  return cap;
}

ModelConfig read(const Json& config, const std::string& where) {
  if (const std::string mode = json_string(config, "weight_mode", "single", where); mode != "single")
    throw Error(StatusCode::kUnsupported, "field 'weight_mode' is '" + mode.substr(0, 60) + "'", where,
                "only single is supported: save the model with separate matrices");
  ModelConfig m;
  read_common(config, m, where);
  m.d_model = read_either(config, {"hidden_size", "embedding_dim"}, where);
  const bool blocks = config.contains("num_blocks") && !config["num_blocks"].is_null();
  const int64_t n = read_layer_count(config, blocks ? "num_blocks" : "num_hidden_layers", where);
  const int64_t heads = read_size(config, "num_heads", 8, where);
  m.tied_unembedding = json_bool(config, "tie_word_embeddings", false, where);
  m.logit_softcap = read_cap(config, "output_logit_soft_cap", 30, where);
  const double eps = json_float(config, "norm_eps", 1e-6, where);
  const bool bias = json_bool(config, "use_bias", false, where);
  LayerConfig layer;
  layer.mixer = "mlstm";
  Params& p = layer.mixer_params;
  p.set("num_heads", heads);
  p.set("head_k", divide(share(config, "qk_dim_factor", 0.5, m.d_model, where), heads, "hidden_size * qk_dim_factor",
                         "num_heads", where));
  p.set("head_v", divide(share(config, "v_dim_factor", 1.0, m.d_model, where), heads, "hidden_size * v_dim_factor",
                         "num_heads", where));
  p.set("gate_soft_cap", read_cap(config, "gate_soft_cap", 15, where));
  p.set("eps", json_float(config, "eps", 1e-6, where));
  p.set("norm_eps", eps);
  p.set("bias", bias);
  layer.norm1 = layer.norm2 = {NormConfig::Kind::kRms, eps, true, bias, 0};
  m.final_norm = {NormConfig::Kind::kRms, eps, true, false, 0};
  const int64_t step = read_size(config, "ffn_round_up_to_multiple_of", 64, where);
  const double factor = json_float(config, "ffn_proj_factor", 2.667, where);
  if (!(factor > 0 && factor <= 64))
    throw Error(StatusCode::kBadInput, "field 'ffn_proj_factor' is " + std::to_string(factor), where,
                "it must lie between 0 and 64");
  const double steps = std::floor((static_cast<double>(m.d_model) * factor + static_cast<double>(step) - 1) /
                                  static_cast<double>(step));
  layer.channel.d_mlp = static_cast<int64_t>(steps) * step;
  layer.channel.bias = bias;
  m.layers.assign(static_cast<size_t>(n), layer);
  return m;
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored&) {
  Binder out(c);
  out.add("embed.weight", "backbone.embeddings.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = "backbone.blocks." + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "norm_mlstm");
    out.mixer(i, from + "mlstm_layer.");
    out.norm(c.layers[i].norm2, to + "ln2", from + "norm_ffn");
    out.mlp(i, from + "ffn.", "proj_up_gate", "proj_up", "proj_down");
  }
  out.norm(c.final_norm, "ln_final", "backbone.out_norm");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_xlstm(Registry& registry) { registry.add({"xlstm", {"xlstm"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
