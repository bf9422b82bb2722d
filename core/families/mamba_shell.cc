#include "core/families/mamba_shell.h"

#include <cmath>

#include "core/families/binder.h"

namespace microtome::families {

bool is_fla_mamba(const Json& config) { return config.contains("norm_eps"); }

double mamba_norm_eps(const Json& config, const std::string& where) {
  return json_float(config, is_fla_mamba(config) ? "norm_eps" : "layer_norm_epsilon", 1e-5, where);
}

void require_silu(const Json& config, const std::string& where) {
  if (read_activation(config, "hidden_act", "silu", where) != "silu")
    throw Error(StatusCode::kUnsupported, "field 'hidden_act' is '" + json_string(config, "hidden_act", where).substr(0, 60) +
                "'", where, "the convolution and the gate of a Mamba block are supported with silu alone");
}

void read_step_limits(const Json& config, const char* key, const std::string& where, Params& out) {
  if (!config.contains(key) || config[key].is_null()) return;
  const Json& limits = config[key];
  if (!limits.is_array() || limits.size() != 2)
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is no list of two numbers", where,
                "[0.0, Infinity] is usual");
  auto number = [&](size_t i) { return json_float(Json{{key, limits[i]}}, key, where); };
  const double least = number(0), most = number(1);
  if (!(std::isfinite(least) && least >= 0 && least < most))
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' runs from " + std::to_string(least) + " to " +
                std::to_string(most), where, "it must begin at 0 or more and end above that");
  if (least > 0) out.set("dt_min", least);
  if (std::isfinite(most)) out.set("dt_max", most);
}

LayerConfig read_mamba1_layer(const Json& config, const std::string& where) {
  const int64_t hidden = read_size(config, "hidden_size", where), expand = read_size(config, "expand", 2, where);
  require_silu(config, where);
  LayerConfig layer;
  layer.mixer = "mamba1";
  Params& p = layer.mixer_params;
  p.set("d_inner", read_size(config, "intermediate_size", expand * hidden, where));
  p.set("state_size", read_size(config, "state_size", 16, where));
  const char* rank = config.contains("dt_rank") ? "dt_rank" : "time_step_rank";
  const bool automatic = config.contains(rank) && config[rank].is_string() && json_string(config, rank, where) == "auto";
  p.set("dt_rank", automatic ? (hidden + 15) / 16 : read_size(config, rank, (hidden + 15) / 16, where));
  p.set("conv_size", read_size(config, "conv_kernel", 4, where));
  p.set("conv_bias", json_bool(config, "use_conv_bias", true, where));
  for (const char* bias : {"in_bias", "out_bias"}) p.set(bias, json_bool(config, "use_bias", false, where));
  return layer;
}

LayerConfig read_mamba2_layer(const Json& config, const std::string& where) {
  const bool fla = is_fla_mamba(config);
  const int64_t hidden = read_size(config, "hidden_size", where), inner = read_size(config, "expand", 2, where) * hidden;
  require_silu(config, where);
  LayerConfig layer;
  layer.mixer = "mamba2";
  Params& p = layer.mixer_params;
  const int64_t head_dim = read_size(config, "head_dim", 64, where);
  const int64_t heads = config.contains("num_heads") && !config["num_heads"].is_null()
                            ? read_size(config, "num_heads", where)
                            : divide(inner, head_dim, "expand * hidden_size", "head_dim", where);
  if (heads * head_dim != inner)
    throw Error(StatusCode::kBadInput, "num_heads " + std::to_string(heads) + " times head_dim " + std::to_string(head_dim) +
                " is not expand * hidden_size " + std::to_string(inner), where, "correct one of the fields");
  const int64_t groups = read_size(config, "n_groups", fla ? 1 : 8, where);
  divide(heads, groups, "num_heads", "n_groups", where);
  p.set("num_heads", heads);
  p.set("head_dim", head_dim);
  p.set("state_size", read_size(config, "state_size", 128, where));
  p.set("n_groups", groups);
  p.set("conv_size", read_size(config, "conv_kernel", 4, where));
  p.set("conv_bias", json_bool(config, "use_conv_bias", true, where));
  for (const char* bias : {"in_bias", "out_bias"}) p.set(bias, json_bool(config, "use_bias", false, where));
  read_step_limits(config, fla ? "dt_limit" : "time_step_limit", where, p);
  refuse_option(config, "D_has_hdim", where);
  for (const char* norm : {"rms_norm", "rmsnorm"})
    if (!json_bool(config, norm, true, where))
      throw Error(StatusCode::kUnsupported, "field '" + std::string(norm) + "' is false", where,
                  "only models with the gated norm are supported");
  p.set("norm_groups", groups);
  // transformers gates first, whatever the configuration says.
  p.set("norm_before_gate", fla && json_bool(config, "norm_before_gate", false, where));
  p.set("norm_eps", mamba_norm_eps(config, where));
  return layer;
}

ModelConfig read_mamba_model(const Json& config, const std::string& where, const LayerConfig& layer, bool tied) {
  refuse_option(config, "attnres_block_size", where);
  ModelConfig out;
  read_common(config, out, where);
  out.d_model = read_size(config, "hidden_size", where);
  out.context_length = read_size(config, "max_position_embeddings", 0, where);
  out.tied_unembedding = json_bool(config, "tie_word_embeddings", tied, where);
  out.final_norm = {NormConfig::Kind::kRms, mamba_norm_eps(config, where), true, false};
  const int64_t n_layers = read_layer_count(config, "num_hidden_layers", where);
  LayerConfig l = layer;
  l.norm1 = out.final_norm;
  out.layers.assign(static_cast<size_t>(n_layers), l);
  return out;
}

ModelConfig read_mamba_mlp_model(const Json& config, const std::string& where, const LayerConfig& layer) {
  Json shell = config;
  shell.erase("intermediate_size");
  shell["norm_eps"] = json_float(config, "norm_eps", 1e-5, where);
  return read_fla_model(shell, where, layer);
}

std::vector<TensorBinding> bind_mamba_model(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  // The authors' own checkpoints spell it in the singular.
  const bool singular = !has("backbone.embeddings.weight") && has("backbone.embedding.weight");
  out.add("embed.weight", singular ? "backbone.embedding.weight" : "backbone.embeddings.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = "backbone.layers." + std::to_string(i) + ".";
    const LayerConfig& l = c.layers[i];
    out.norm(l.norm1, to + "ln1", from + (l.channel.d_mlp ? "mixer_norm" : "norm"));
    out.mixer(i, from + "mixer.");
    if (!l.channel.d_mlp) continue;
    out.norm(l.norm2, to + "ln2", from + "mlp_norm");
    out.mlp(i, from + "mlp.", "gate_proj", "up_proj", "down_proj");
  }
  out.norm(c.final_norm, "ln_final", "backbone.norm_f");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace microtome::families
