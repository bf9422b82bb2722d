// MiniMax (transformers' `minimax`): lightning attention with softmax attention between, routed experts; the stream goes
// on from each norm's output, with factors for what is kept and what is added.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

// The norm inside lightning attention does not follow rms_norm_eps.
constexpr double kInnerEps = 1e-6;

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  if (d.layer.channel.activation != "silu")
    throw Error(StatusCode::kUnsupported, "field 'hidden_act' is '" + d.layer.channel.activation + "'", where,
                "lightning attention is only run with silu");
  d.all_norms({NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-5, where), true, false});
  d.attention().set("window", read_window(config, "sliding_window", where));
  read_rope(config, d.head_dim, where, d.attention(), {1000000, 1});
  // The library reads partial_rotary_factor and turns all channels.
  d.attention().set("rotary_dim", d.head_dim);
  LayerConfig& layer = d.layer;
  ExpertsConfig& e = layer.channel.experts;
  e.count = read_either(config, {"num_local_experts", "num_experts"}, where);
  e.per_token = read_size(config, "num_experts_per_tok", 2, where);
  e.d_expert = layer.channel.d_mlp;
  e.renormalize = true;
  layer.normed_stream = true;
  auto factor = [&](const char* key) { return json_float(config, key, 1.0, where); };
  layer.keep1 = factor("full_attn_alpha_factor");
  layer.add1 = factor("full_attn_beta_factor");
  layer.keep2 = factor("mlp_alpha_factor");
  layer.add2 = factor("mlp_beta_factor");
  LayerConfig linear = layer;
  linear.mixer = "lightning_attn";
  linear.mixer_params = {};
  linear.mixer_params.set("num_heads", d.heads);
  linear.mixer_params.set("head_k", d.head_dim);
  linear.mixer_params.set("num_layers", d.n_layers);
  linear.mixer_params.set("norm_eps", kInnerEps);
  linear.keep1 = factor("linear_attn_alpha_factor");
  linear.add1 = factor("linear_attn_beta_factor");
  const std::vector<std::string> types =
      read_layer_types(config, d.n_layers, {"linear_attention", "full_attention"},
                       [](int64_t i) { return i % 2 ? "linear_attention" : "full_attention"; }, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (types[static_cast<size_t>(i)] != "linear_attention") return;
    l = linear;
    l.mixer_params.set("layer_idx", i);
  });
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  return bind_decoder(c, has, mixtral_names());
}

bool ignorable(const std::string& name) {
  for (const char* buffer : {"slope_rate", "query_decay", "key_decay", "diagonal_decay"})
    if (name.ends_with(std::string(".self_attn.") + buffer)) return true;
  return decoder_ignorable(name);
}

}  // namespace

void register_minimax(Registry& registry) { registry.add({"minimax", {"minimax"}, read, bind, ignorable}); }

}  // namespace microtome::families
