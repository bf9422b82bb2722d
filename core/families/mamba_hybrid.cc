#include "core/families/mamba_hybrid.h"

#include "core/families/mamba_shell.h"

namespace microtome::families {

Params read_hybrid_mamba2(const Json& config, const std::string& where, const Mamba2Names& names, double norm_eps,
                          int64_t inner) {
  const int64_t expanded = read_size(config, names.expand, 2, where) * read_size(config, "hidden_size", where);
  if (!inner) inner = expanded;
  const int64_t heads = read_size(config, names.heads, names.default_heads, where);
  const std::string width = inner == expanded ? std::string(names.expand) + " * hidden_size" : "mamba_d_ssm";
  const int64_t even = divide(inner, heads, width.c_str(), names.heads, where);
  const bool automatic = config.contains(names.head_dim) && config[names.head_dim] == "auto";
  const int64_t head_dim = automatic ? even : read_size(config, names.head_dim, even, where);
  if (head_dim != even)
    throw Error(StatusCode::kBadInput, "field '" + std::string(names.heads) + "' " + std::to_string(heads) + " times '" +
                names.head_dim + "' " + std::to_string(head_dim) + " is not " + width + " " + std::to_string(inner), where,
                "correct one of the fields");
  const int64_t groups = read_size(config, names.groups, 1, where);
  divide(heads, groups, names.heads, names.groups, where);
  Params p;
  p.set("num_heads", heads);
  p.set("head_dim", head_dim);
  p.set("state_size", read_size(config, names.state_size, names.default_state_size, where));
  p.set("n_groups", groups);
  p.set("conv_size", read_size(config, names.conv_size, 4, where));
  for (const char* bias : {"in_bias", "out_bias"}) p.set(bias, json_bool(config, names.bias, false, where));
  p.set("norm_groups", groups);
  p.set("norm_eps", norm_eps);
  return p;
}

std::vector<TensorBinding> bind_mamba_hybrid(const ModelConfig& c, const Stored&) {
  Binder out(c);
  DecoderNames names;
  names.mlp = "feed_forward.";
  names.experts = "feed_forward.";
  names.router = "router";
  out.add("embed.weight", "model.embed_tokens.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const std::string to = Binder::block(i), from = "model.layers." + std::to_string(i) + ".";
    out.norm(l.norm1, to + "ln1", from + "input_layernorm");
    const Renames inside = {{"ssm.", "mamba."}, {"dt_norm", "mamba.dt_layernorm"}, {"b_norm", "mamba.b_layernorm"},
                            {"c_norm", "mamba.c_layernorm"}, {"", l.mixer.starts_with("mamba") ? "mamba." : "self_attn."}};
    out.mixer(i, from, inside);
    out.norm(l.norm2, to + "ln2", from + "pre_ff_layernorm");
    bind_channel(out, c, i, from, names);
  }
  out.norm(c.final_norm, "ln_final", "model.final_layernorm");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace microtome::families
