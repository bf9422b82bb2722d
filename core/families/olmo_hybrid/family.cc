// OLMo Hybrid (transformers' `olmo_hybrid`): gated delta rule with a norm before each part, softmax attention with norms
// after each part and over all heads of q and k.
#include "core/families/gated_delta_hybrid.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  const NormConfig norm{NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-6, where), true, false};
  d.all_norms(norm);
  // flash-linear-attention's own epsilon for the norm of the read-out, whatever the config says of the others.
  LayerConfig linear = read_gated_delta(config, d.layer, 1e-5, where);
  linear.mixer_params.set("allow_neg_eigval", json_bool(config, "linear_allow_neg_eigval", true, where));
  d.layer.norm1 = d.layer.norm2 = {NormConfig::Kind::kNone, 0, false, false};
  d.layer.post1 = d.layer.post2 = norm;
  Params& p = d.attention();
  const bool bias = json_bool(config, "attention_bias", false, where);
  d.qkv_bias(bias);
  p.set("o_bias", bias);
  p.set("qk_norm", true);
  p.set("qk_norm_kind", std::string("whole_rms"));
  p.set("norm_eps", norm.eps);
  // rope_parameters: null is the model without positions, for long contexts.
  const bool rope = !config.contains("rope_parameters") || !config["rope_parameters"].is_null();
  if (rope) read_rope(config, d.head_dim, where, p, {500000, 1});
  std::vector<std::string> types = read_hybrid_types(config, d.n_layers, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (types[static_cast<size_t>(i)] == "linear_attention") l = linear;
  });
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  out.add("embed.weight", "model.embed_tokens.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const bool linear = l.mixer == "gated_delta_rule";
    const std::string to = Binder::block(i), from = "model.layers." + std::to_string(i) + ".";
    // Files call the norms of a linear layer attention_layer_norm and feedforward_layer_norm; the library, writing them,
    // renames post_attention_layernorm of a softmax layer along with the latter.
    auto name = [&](const char* ours, const char* in_files) {
      return from + (has(from + in_files + ".weight") && !has(from + ours + ".weight") ? in_files : ours);
    };
    if (linear) {
      out.norm(l.norm1, to + "ln1", name("input_layernorm", "attention_layer_norm"));
      out.norm(l.norm2, to + "ln2", name("post_attention_layernorm", "feedforward_layer_norm"));
      out.mixer(i, from + "linear_attn.", {}, {"q_conv1d", "k_conv1d", "v_conv1d"});
      out.split_conv(i, from + "linear_attn.", has);
    } else {
      out.norm(*l.post1, to + "ln1_post", name("post_attention_layernorm", "feedforward_layer_norm"));
      out.norm(*l.post2, to + "ln2_post", from + "post_feedforward_layernorm");
      out.mixer(i, from + "self_attn.");
    }
    bind_channel(out, c, i, from, {});
  }
  out.norm(c.final_norm, "ln_final", "model.norm");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_olmo_hybrid(Registry& registry) {
  registry.add({"olmo_hybrid", {"olmo_hybrid"}, read, bind, decoder_ignorable});
}

}  // namespace microtome::families
