// Models in TransformerLens's own naming (W_Q [head, d_model, d_head] and so on; `transformer_lens`): attention-only and
// full ones, with learned or rotary positions, with LayerNorm, RMSNorm or no norm.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

std::string one_of(const Json& config, const char* key, const char* fallback, const std::vector<std::string>& allowed,
                   const std::string& where) {
  std::string value = json_string(config, key, fallback, where), known;
  for (const std::string& a : allowed) {
    if (a == value) return value;
    known += (known.empty() ? "" : ", ") + (a.empty() ? "none" : a);
  }
  throw Error(StatusCode::kUnsupported, "field '" + std::string(key) + "' is '" + value.substr(0, 60) + "'", where,
              "supported are " + known);
}

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d;
  ModelConfig& m = d.model;
  m.vocab_size = json_int(config, "d_vocab", where);
  m.d_model = read_size(config, "d_model", where);
  d.n_layers = read_layer_count(config, "n_layers", where);
  d.head_dim = read_size(config, "d_head", where);
  d.heads = read_size(config, "n_heads", m.d_model / d.head_dim, where);
  d.kv_heads = read_size(config, "n_key_value_heads", d.heads, where);
  divide(d.heads, d.kv_heads, "n_heads", "n_key_value_heads", where);
  m.context_length = read_size(config, "n_ctx", where);
  m.hard_context = true;
  m.unembedding_bias = true;
  m.stored_dtype = json_string(config, "dtype", "float32", where);
  one_of(config, "attention_dir", "causal", {"causal"}, where);
  const std::string positions = one_of(config, "positional_embedding_type", "standard", {"standard", "rotary"}, where);
  const std::string norm = one_of(config, "normalization_type", "", {"", "LN", "LNPre", "RMS", "RMSPre"}, where);
  const double eps = json_float(config, "eps", 1e-5, where);
  if (norm.empty()) d.all_norms({NormConfig::Kind::kNone, 0, false, false});
  else if (norm[0] == 'L') d.all_norms({NormConfig::Kind::kLayer, eps, norm == "LN", norm == "LN"});
  else d.all_norms({NormConfig::Kind::kRms, eps, norm == "RMS", false});
  d.layer.mixer = "softmax_attention";
  Params& p = d.attention();
  p.set("num_heads", d.heads);
  p.set("num_kv_heads", d.kv_heads);
  p.set("head_dim", d.head_dim);
  d.qkv_bias(true);
  p.set("o_bias", true);
  if (!json_bool(config, "use_attn_scale", true, where)) p.set("scale", 1.0);
  else if (const double divisor = json_float(config, "attn_scale", -1.0, where); divisor > 0) p.set("scale", 1 / divisor);
  if (positions == "standard") {
    m.learned_positions = m.context_length;
  } else {
    p.set("rotary_dim", read_size(config, "rotary_dim", d.head_dim, where));
    p.set("rope_theta", json_float(config, "rotary_base", 10000.0, where));
    p.set("rope_interleaved", json_bool(config, "rotary_adjacent_pairs", false, where));
  }
  if (!json_bool(config, "attn_only", false, where)) {
    const bool gated = json_bool(config, "gated_mlp", false, where);
    // TransformerLens has biases on both outer matrices, also of a gated MLP, and none on the gate.
    if (gated)
      throw Error(StatusCode::kUnsupported, "field 'gated_mlp' is true", where, "only plain MLPs are supported in this format");
    d.layer.channel = {read_size(config, "d_mlp", 4 * m.d_model, where), read_activation(config, "act_fn", "gelu", where),
                       false, true};
    if (json_bool(config, "parallel_attn_mlp", false, where)) d.layer.wiring = Wiring::kParallel;
  }
  return finish(std::move(d));
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  out.add("embed.weight", "embed.W_E", {c.vocab_size, c.d_model});
  if (c.learned_positions) out.add("pos_embed.weight", "pos_embed.W_pos", {c.learned_positions, c.d_model});
  auto norm = [&](const NormConfig& n, const std::string& to, const std::string& from) {
    if (n.kind == NormConfig::Kind::kNone) return;
    if (n.weight) out.add(to + ".weight", from + ".w", {c.d_model});
    if (n.bias) out.add(to + ".bias", from + ".b", {c.d_model});
  };
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const Params& p = l.mixer_params;
    const int64_t heads = p.get_int("num_heads"), kv = p.get_int("num_kv_heads"), dh = p.get_int("head_dim");
    const std::string to = Binder::block(i), from = to;
    norm(l.norm1, to + "ln1", from + "ln1");
    for (const char* role : {"q", "k", "v"}) {
      const int64_t n = *role == 'q' ? heads : kv;
      const std::string name = std::string(kv != heads && *role != 'q' ? "_" : "");
      const std::string letter(1, static_cast<char>(*role - 'a' + 'A'));
      TensorBinding& w = out.add(to + "attn." + role + "_proj.weight", from + "attn." + name + "W_" + letter, {n, c.d_model, dh});
      w.transpose = true;
      w.shape = {n * dh, c.d_model};
      out.add(to + "attn." + role + "_proj.bias", from + "attn." + name + "b_" + letter, {n, dh}).shape = {n * dh};
    }
    TensorBinding& o = out.add(to + "attn.o_proj.weight", from + "attn.W_O", {heads, dh, c.d_model});
    o.view = {heads * dh, c.d_model};
    o.transpose = true;
    o.shape = {c.d_model, heads * dh};
    out.add(to + "attn.o_proj.bias", from + "attn.b_O", {c.d_model});
    if (!l.channel.d_mlp) continue;
    norm(l.norm2, to + "ln2", from + (has(from + "ln2.w") || l.wiring != Wiring::kParallel ? "ln2" : "ln1"));
    for (auto [mine, theirs, in, width] : {std::tuple{"up", "in", c.d_model, l.channel.d_mlp},
                                           std::tuple{"down", "out", l.channel.d_mlp, c.d_model}}) {
      out.add(to + "mlp." + mine + ".weight", from + "mlp.W_" + theirs, {in, width}).transpose = true;
      out.add(to + "mlp." + mine + ".bias", from + "mlp.b_" + theirs, {width});
    }
  }
  norm(c.final_norm, "ln_final", "ln_final");
  out.add("unembed.weight", "unembed.W_U", {c.d_model, c.vocab_size}).transpose = true;
  out.add("unembed.bias", "unembed.b_U", {c.vocab_size});
  return out.take();
}

// Masks and rotary tables that the library keeps as buffers.
bool ignorable(const std::string& name) {
  for (const char* end : {".mask", ".IGNORE", ".rotary_sin", ".rotary_cos"})
    if (name.ends_with(end)) return true;
  return false;
}

}  // namespace

void register_transformer_lens(Registry& registry) {
  registry.add({"transformer_lens", {"transformer_lens"}, read, bind, ignorable});
}

}  // namespace microtome::families
