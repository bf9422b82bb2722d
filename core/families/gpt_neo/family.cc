// GPT-Neo (transformers' `gpt_neo`): learned positions, unscaled scores, layers that alternate between all tokens and a
// window.
#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& where) {
  throw Error(StatusCode::kBadInput, what, where, "give [[[\"global\", \"local\"], 12]], or a list of global and local");
}

// attention_layers, a name a layer; or attention_types, lists of names and how often each is repeated.
std::vector<bool> read_local(const Json& config, int64_t n_layers, const std::string& where) {
  std::vector<bool> out;
  auto name = [&](const Json& v) {
    if (v != "global" && v != "local") refuse("a kind of attention is " + v.dump().substr(0, 60), where);
    out.push_back(v == "local");
  };
  if (config.contains("attention_layers") && config["attention_layers"].is_array()) {
    for (const Json& v : config["attention_layers"]) name(v);
  } else if (config.contains("attention_types") && !config["attention_types"].is_null()) {
    if (!config["attention_types"].is_array()) refuse("field 'attention_types' is not a list", where);
    for (const Json& run : config["attention_types"]) {
      if (!run.is_array() || run.size() != 2 || !run[0].is_array() || !run[1].is_number_integer() || run[1] < 0 || run[1] > 10000)
        refuse("field 'attention_types' holds " + run.dump().substr(0, 60), where);
      for (int64_t k = 0; k < run[1].get<int64_t>(); ++k)
        for (const Json& v : run[0]) name(v);
    }
  } else {
    for (int64_t i = 0; i < n_layers; ++i) out.push_back(i % 2 == 1);
  }
  if (static_cast<int64_t>(out.size()) != n_layers)
    refuse("the kinds of attention are given for " + std::to_string(out.size()) + " layers, num_layers is " +
           std::to_string(n_layers), where);
  return out;
}

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d;
  ModelConfig& m = d.model;
  read_common(config, m, where);
  m.d_model = read_size(config, "hidden_size", where);
  d.n_layers = read_layer_count(config, "num_layers", where);
  d.heads = read_size(config, "num_heads", where);
  m.learned_positions = m.context_length = read_size(config, "max_position_embeddings", 2048, where);
  m.hard_context = true;
  m.tied_unembedding = json_bool(config, "tie_word_embeddings", true, where);
  d.all_norms({NormConfig::Kind::kLayer, json_float(config, "layer_norm_epsilon", 1e-5, where), true, true});
  d.layer.mixer = "softmax_attention";
  Params& p = d.attention();
  p.set("num_heads", d.heads);
  p.set("head_dim", divide(m.d_model, d.heads, "hidden_size", "num_heads", where));
  p.set("scale", 1.0);
  p.set("o_bias", true);
  d.layer.channel = {read_size(config, "intermediate_size", 4 * m.d_model, where),
                     read_activation(config, "activation_function", "gelu_new", where), false, true};
  const int64_t window = read_size(config, "window_size", 256, where);
  std::vector<bool> local = read_local(config, d.n_layers, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (local[static_cast<size_t>(i)]) l.mixer_params.set("window", window);
  });
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  const std::string root = has("wte.weight") && !has("transformer.wte.weight") ? "" : "transformer.";
  out.add("embed.weight", root + "wte.weight", {c.vocab_size, c.d_model});
  out.add("pos_embed.weight", root + "wpe.weight", {c.learned_positions, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const std::string to = Binder::block(i), from = root + "h." + std::to_string(i) + ".";
    out.norm(c.layers[i].norm1, to + "ln1", from + "ln_1");
    out.mixer(i, from + "attn.attention.", {{"o_proj", "out_proj"}});
    out.norm(c.layers[i].norm2, to + "ln2", from + "ln_2");
    out.mlp(i, from + "mlp.", "", "c_fc", "c_proj");
  }
  out.norm(c.final_norm, "ln_final", root + "ln_f");
  out.unembedding("lm_head");
  return out.take();
}

}  // namespace

void register_gpt_neo(Registry& registry) { registry.add({"gpt_neo", {"gpt_neo"}, read, bind, masked_decoder_ignorable}); }

}  // namespace microtome::families
