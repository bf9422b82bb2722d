// Phi-3, 3.5 and 4 (transformers' `phi3`): Llama with q, k, v in one matrix, gate and up in another, and LongRoPE.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where);
  d.all_norms({NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-5, where), true, false});
  d.attention().set("window", read_window(config, "sliding_window", where));
  read_rope(config, d.head_dim, where, d.attention());
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  const std::string root = has("embed_tokens.weight") && !has("model.embed_tokens.weight") ? "" : "model.";
  out.add("embed.weight", root + "embed_tokens.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const std::string to = Binder::block(i), from = root + "layers." + std::to_string(i) + ".";
    out.norm(l.norm1, to + "ln1", from + "input_layernorm");
    out.fused_qkv(i, from + "self_attn.qkv_proj", Binder::Fused::kOneAfterOther);
    out.mixer(i, from + "self_attn.", {}, {"q_proj", "k_proj", "v_proj"});
    out.norm(l.norm2, to + "ln2", from + "post_attention_layernorm");
    for (int64_t part = 0; part < 2; ++part) {
      TensorBinding& b = out.add(to + (part ? "mlp.up.weight" : "mlp.gate.weight"), from + "mlp.gate_up_proj.weight",
                                 {2 * l.channel.d_mlp, c.d_model});
      b.begin = part * l.channel.d_mlp;
      b.length = l.channel.d_mlp;
    }
    out.linear(to + "mlp.down", from + "mlp.down_proj", c.d_model, l.channel.d_mlp, false);
  }
  out.norm(c.final_norm, "ln_final", root + "norm");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_phi3(Registry& registry) { registry.add({"phi3", {"phi3"}, read, bind, decoder_ignorable}); }

}  // namespace microtome::families
