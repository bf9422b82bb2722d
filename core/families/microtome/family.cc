// Microtome's own models (`microtome`): any mixer, norm and channel mixer a layer, chosen in config.json. README.md.
#include "core/families/binder.h"
#include "core/families/config_read.h"
#include "core/families/decoder.h"
#include "core/families/microtome/layer.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& where, const std::string& instead) {
  throw Error(StatusCode::kBadInput, what, where, instead);
}

// One round of layers, each laid over the defaults. One at a time: copies of a large object would add up.
std::vector<LayerConfig> read_layers(const Json& config, int64_t d_model, const NormConfig& norm, const std::string& where) {
  const Json defaults = read_object(config, "defaults", where);
  auto place = [&](size_t i) { return where + ", layers[" + std::to_string(i) + "]"; };
  if (!config.contains("layers") || config["layers"].is_null()) {
    const int64_t n = read_layer_count(config, "n_layers", where);
    return std::vector<LayerConfig>(static_cast<size_t>(n), read_layer(defaults, d_model, norm, place(0)));
  }
  const Json& list = config["layers"];
  if (!list.is_array() || list.empty() || list.size() > 10000)
    refuse("field 'layers' is no list of 1 to 10000 layers", where, "give an object a layer, {} for the defaults alone");
  const int64_t n = read_size(config, "n_layers", static_cast<int64_t>(list.size()), where);
  if (n != static_cast<int64_t>(list.size()))
    refuse("field 'n_layers' is " + std::to_string(n) + ", but 'layers' has " + std::to_string(list.size()) + " entries",
           where, "leave n_layers out, or make them equal");
  std::vector<LayerConfig> out;
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object())
      refuse("layers[" + std::to_string(i) + "] is not an object", where, "give {} for the defaults alone");
    const bool same = i > 0 && list[i] == list[i - 1];
    out.push_back(same ? out.back() : read_layer(laid_over(defaults, list[i]), d_model, norm, place(i)));
  }
  return out;
}

ModelConfig read(const Json& config, const std::string& where) {
  check_keys(config, {"model_type", "description", "vocab_size", "d_model", "n_layers", "layers", "loops", "context_length",
                      "learned_positions", "embed_scale", "tied_unembedding", "unembedding_bias", "norm", "embed_norm",
                      "final_norm", "defaults", "logit_scale", "logit_softcap", "bos_token_id", "eos_token_id", "dtype"},
             where);
  ModelConfig m;
  read_common(config, m, where);
  m.d_model = read_size(config, "d_model", where);
  m.learned_positions = read_size(config, "learned_positions", 0, where);
  m.context_length = read_size(config, "context_length", m.learned_positions, where);
  // Only a table of positions ends; the length trained at is information.
  m.hard_context = m.learned_positions > 0;
  if (m.hard_context && m.context_length > m.learned_positions)
    refuse("field 'context_length' is " + std::to_string(m.context_length) + ", more than the " +
           std::to_string(m.learned_positions) + " learned positions", where, "lower it, or raise learned_positions");
  m.embed_scale = json_float(config, "embed_scale", 1.0, where);
  m.tied_unembedding = json_bool(config, "tied_unembedding", false, where);
  m.unembedding_bias = json_bool(config, "unembedding_bias", false, where);
  m.logit_scale = json_float(config, "logit_scale", 1.0, where);
  m.logit_softcap = json_float(config, "logit_softcap", 0.0, where);
  const NormConfig norm = read_norm(config, "norm", {}, where);
  m.final_norm = read_norm(config, "final_norm", norm, where);
  if (config.contains("embed_norm") && !config["embed_norm"].is_null())
    m.embed_norm = read_norm(config, "embed_norm", norm, where);
  m.layers = read_layers(config, m.d_model, norm, where);
  m.loops = read_size(config, "loops", 1, where);
  const std::vector<LayerConfig> round = m.layers;
  if (m.loops * static_cast<int64_t>(round.size()) > 10000)
    refuse("field 'loops' is " + std::to_string(m.loops) + " over " + std::to_string(round.size()) + " layers", where,
           "their product must be at most 10000");
  for (int64_t k = 1; k < m.loops; ++k) m.layers.insert(m.layers.end(), round.begin(), round.end());
  return m;
}

void bind_channel_mixer(Binder& out, const ModelConfig& c, size_t i, const std::string& from) {
  const ChannelMixerConfig& m = c.layers[i].channel;
  const std::string to = Binder::block(i) + "mlp.";
  auto linear = [&](const std::string& name, int64_t rows, int64_t columns) {
    out.linear(to + name, from + name, rows, columns, false);
  };
  if (m.experts.count == 0) {
    out.mlp(i, from, "gate", "up", "down");
    if (m.shift != ChannelMixerConfig::Shift::kNone) out.add(to + "shift.up", from + "shift.up", {c.d_model});
    if (!m.receptance) return;
    out.add(to + "shift.receptance", from + "shift.receptance", {c.d_model});
    return linear("receptance", c.d_model, c.d_model);
  }
  const ExpertsConfig& e = m.experts;
  linear("router", e.count, c.d_model);
  if (e.correction) out.add(to + "router.correction", from + "router.correction", {e.count});
  auto expert = [&](const std::string& name, int64_t width) {
    if (m.gated) linear(name + "gate", width, c.d_model);
    linear(name + "up", width, c.d_model);
    linear(name + "down", c.d_model, width);
  };
  for (int64_t k = 0; k < e.count; ++k) expert("experts." + std::to_string(k) + ".", e.d_expert);
  if (!e.d_shared) return;
  expert("shared.", e.d_shared);
  if (e.shared_gate) linear("shared_gate", 1, c.d_model);
}

// Canonical names are the stored ones. Later rounds of a looped stack point to the first round's tensors.
std::vector<TensorBinding> bind(const ModelConfig& c, const Stored&) {
  Binder out(c);
  out.add("embed.weight", "embed.weight", {c.vocab_size, c.d_model});
  if (c.learned_positions) out.add("pos_embed.weight", "pos_embed.weight", {c.learned_positions, c.d_model});
  if (c.embed_norm) out.norm(*c.embed_norm, "embed.ln", "embed.ln");
  const size_t round = c.layers.size() / static_cast<size_t>(c.loops);
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const std::string to = Binder::block(i), from = Binder::block(i % round);
    out.norm(l.norm1, to + "ln1", from + "ln1");
    if (l.post1) out.norm(*l.post1, to + "ln1_post", from + "ln1_post");
    out.mixer(i, from + "attn.");
    if (l.channel.d_mlp == 0) continue;
    out.norm(l.norm2, to + "ln2", from + "ln2");
    if (l.post2) out.norm(*l.post2, to + "ln2_post", from + "ln2_post");
    bind_channel_mixer(out, c, i, from + "mlp.");
  }
  out.norm(c.final_norm, "ln_final", "ln_final");
  out.unembedding("unembed");
  return out.take();
}

}  // namespace

void register_microtome(Registry& registry) {
  registry.add({"microtome", {"microtome"}, read, bind, [](const std::string&) { return false; }});
}

}  // namespace microtome::families
