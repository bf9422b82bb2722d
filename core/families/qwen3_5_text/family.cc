// Qwen3.5, text (transformers' `qwen3_5_text`): Qwen3-Next's layers with separate matrices for q, k, v, for the gate, for
// beta and for the decay, and a dense MLP.
#include "core/families/gated_delta_hybrid.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

void bind_linear(Binder& out, const ModelConfig& c, size_t i, const std::string& from) {
  const Params& p = c.layers[i].mixer_params;
  const int64_t key = p.get_int("num_heads") * p.get_int("head_k"), value = p.get_int("num_v_heads") * p.get_int("head_v");
  const std::string to = Binder::block(i) + "attn.";
  int64_t begin = 0;
  for (auto [name, rows] : {std::pair{"q_proj", key}, {"k_proj", key}, {"v_proj", value}}) {
    TensorBinding& b = out.add(to + name + ".weight", from + "in_proj_qkv.weight", {2 * key + value, c.d_model});
    b.begin = begin;
    b.length = rows;
    begin += rows;
  }
  out.fused_conv(i, from + "conv1d.weight");
  out.mixer(i, from, {{"o_norm", "norm"}, {"o_proj", "out_proj"}, {"g_proj", "in_proj_z"}, {"a_proj", "in_proj_a"},
                      {"b_proj", "in_proj_b"}},
            {"q_proj", "k_proj", "v_proj", "q_conv1d", "k_conv1d", "v_conv1d"});
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  // Files cut from the model that also sees pictures keep its prefix.
  const std::string root = has("model.language_model.embed_tokens.weight") && !has("model.embed_tokens.weight")
                               ? "model.language_model." : "model.";
  out.add("embed.weight", root + "embed_tokens.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const std::string to = Binder::block(i), from = root + "layers." + std::to_string(i) + ".";
    out.norm(l.norm1, to + "ln1", from + "input_layernorm");
    if (l.mixer == "gated_delta_rule") {
      bind_linear(out, c, i, from + "linear_attn.");
    } else {
      bind_gated_queries(out, c, i, from + "self_attn.");
      out.mixer(i, from + "self_attn.", {}, {"q_proj", "g_proj"});
    }
    out.norm(l.norm2, to + "ln2", from + "post_attention_layernorm");
    bind_channel(out, c, i, from, {});
  }
  out.norm(c.final_norm, "ln_final", root + "norm");
  out.unembedding("lm_head");
  return out.take();
}

bool ignorable(const std::string& name) { return decoder_ignorable(name) || name.rfind("mtp.", 0) == 0; }

}  // namespace

void register_qwen3_5_text(Registry& registry) {
  registry.add({"qwen3_5_text", {"qwen3_5_text"}, read_qwen_hybrid, bind, ignorable});
}

}  // namespace microtome::families
