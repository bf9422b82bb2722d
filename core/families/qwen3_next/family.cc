// Qwen3-Next (transformers' `qwen3_next`): gated delta rule in three layers of four, gated softmax attention in the others,
// routed experts with one shared expert. q, k, v and gate of a key head lie together in one matrix, beta and decay in
// another.
#include "core/families/gated_delta_hybrid.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

void bind_linear(Binder& out, const ModelConfig& c, size_t i, const std::string& from) {
  const Params& p = c.layers[i].mixer_params;
  const int64_t keys = p.get_int("num_heads"), share = p.get_int("num_v_heads") / keys;
  const int64_t k = p.get_int("head_k"), v = share * p.get_int("head_v");
  const std::string to = Binder::block(i) + "attn.";
  auto part = [&](const char* name, const char* source, int64_t rows, int64_t begin, int64_t length) {
    TensorBinding& b = out.add(to + name + ".weight", from + source + ".weight", {keys * rows, c.d_model});
    b.groups = keys;
    b.begin = begin;
    b.length = length;
  };
  part("q_proj", "in_proj_qkvz", 2 * k + 2 * v, 0, k);
  part("k_proj", "in_proj_qkvz", 2 * k + 2 * v, k, k);
  part("v_proj", "in_proj_qkvz", 2 * k + 2 * v, 2 * k, v);
  part("g_proj", "in_proj_qkvz", 2 * k + 2 * v, 2 * k + v, v);
  part("b_proj", "in_proj_ba", 2 * share, 0, share);
  part("a_proj", "in_proj_ba", 2 * share, share, share);
  out.fused_conv(i, from + "conv1d.weight");
  out.mixer(i, from, {{"o_norm", "norm"}, {"o_proj", "out_proj"}},
            {"q_proj", "k_proj", "v_proj", "g_proj", "a_proj", "b_proj", "q_conv1d", "k_conv1d", "v_conv1d"});
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored&) {
  Binder out(c);
  out.add("embed.weight", "model.embed_tokens.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const std::string to = Binder::block(i), from = "model.layers." + std::to_string(i) + ".";
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
  out.norm(c.final_norm, "ln_final", "model.norm");
  out.unembedding("lm_head");
  return out.take();
}

// The layers that guess several tokens ahead are not run.
bool ignorable(const std::string& name) { return decoder_ignorable(name) || name.rfind("mtp.", 0) == 0; }

}  // namespace

void register_qwen3_next(Registry& registry) {
  registry.add({"qwen3_next", {"qwen3_next"}, read_qwen_hybrid, bind, ignorable});
}

}  // namespace microtome::families
