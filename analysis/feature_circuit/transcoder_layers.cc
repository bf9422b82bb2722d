#include "analysis/feature_circuit/transcoder_layers.h"

#include <ATen/ATen.h>

#include "analysis/engine/layers.h"
#include "core/dictionary/kinds/parts.h"

namespace microtome::feature_circuit {
namespace {

[[noreturn]] void bad(const std::string& what, const std::string& where, const std::string& todo) {
  throw Error(StatusCode::kBadInput, what, where, todo);
}

std::string shown(const Dictionary& d) { return "transcoder '" + (d.config.name.empty() ? d.config.hook_in : d.config.name).substr(0, 120) + "'"; }

}  // namespace

TranscoderLayers::TranscoderLayers(const Model& model, const DictionarySet& set) : name_(set.name), cross_layer_(set.cross_layer()) {
  const int64_t layers = engine::layer_count(model), d_model = model.config().d_model;
  member_.assign(static_cast<size_t>(layers), -1);
  hooks_.resize(static_cast<size_t>(layers));
  read_at_.resize(static_cast<size_t>(layers), ReadAt::kNormed);
  if (set.members.empty()) bad("the set holds no transcoders", "param transcoders", "name a folder with transcoders");
  const at::ScalarType type = model.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  for (const Dictionary& given : set.members) {
    const DictionaryConfig& c = given.config;
    if (!c.transcoder)
      bad(shown(given) + " is a sparse autoencoder of " + c.hook_in + ", which stands in for no MLP", "param transcoders", "name transcoders: MLP input to MLP output");
    const int64_t layer = layer_of_hook(c.hook_in);
    if (layer < 0 || layer >= layers)
      bad(shown(given) + " reads '" + c.hook_in + "', and the model has layers 0 to " + std::to_string(layers - 1), "param transcoders", "use transcoders of this model");
    const std::string block = "blocks." + std::to_string(layer) + ".", in = HookCatalogue::canonical(c.hook_in);
    if (HookCatalogue::canonical(c.hook_out) != block + "hook_mlp_out" || !engine::has_point(model, layer, "hook_mlp_out"))
      bad(shown(given) + " writes '" + c.hook_out + "', which is not the output of the MLP of layer " + std::to_string(layer), "param transcoders",
          "use transcoders to hook_mlp_out");
    const bool parallel = model.config().layers[static_cast<size_t>(layer)].wiring == Wiring::kParallel;
    ReadAt where = ReadAt::kNormed;
    if (in == block + "ln2.hook_normalized") where = ReadAt::kDivided;
    else if (in == block + "hook_mlp_in" || in == block + (parallel ? "hook_resid_pre" : "hook_resid_mid")) where = ReadAt::kStream;
    else if (in != block + "mlp.hook_in")
      bad(shown(given) + " reads '" + c.hook_in + "', which is not the input of that layer's MLP", "param transcoders",
          "use transcoders from mlp.hook_in, ln2.hook_normalized or hook_resid_mid");
    if (!model.catalogue().find(in)) bad("the model has no point '" + c.hook_in + "'", "param transcoders", "use transcoders of this model");
    if (c.d_in != d_model || c.d_out != d_model)
      bad(shown(given) + " is " + std::to_string(c.d_in) + " → " + std::to_string(c.d_out) + " wide, the model's stream " + std::to_string(d_model),
          "param transcoders", "use transcoders of this model");
    if (c.normalize != "none" && c.normalize != "expected_average_only_in")
      throw Error(StatusCode::kUnsupported, shown(given) + " normalises each input (" + c.normalize + "), so its features do not read the stream linearly",
                  "param transcoders", "use transcoders without it");
    if (has(layer)) bad("layer " + std::to_string(layer) + " has two transcoders", "param transcoders", "keep one a layer");
    member_[static_cast<size_t>(layer)] = static_cast<int64_t>(members_.size());
    hooks_[static_cast<size_t>(layer)] = in;
    read_at_[static_cast<size_t>(layer)] = where;
    members_.push_back(given.to(model.device(), type));
  }
  // A layer that only later layers of a cross-layer set write into still needs an MLP.
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t into = l + 1; has(l) && into < layers; ++into)
      if (writes(l, into) && !engine::has_point(model, into, "hook_mlp_out"))
        bad("features of layer " + std::to_string(l) + " write into layer " + std::to_string(into) + ", which has no MLP", "param transcoders", "use transcoders of this model");
}

bool TranscoderLayers::writes(int64_t from, int64_t into) const {
  if (!has(from) || into < from) return false;
  if (into == from) return true;
  const Dictionary& d = at(from);
  return d.has("W_dec_later") && into - from <= d.weight("W_dec_later").size(0);
}

at::Tensor TranscoderLayers::encoders(int64_t layer, const at::Tensor& features) const {
  const Dictionary& d = at(layer);
  at::Tensor rows = d.weight("W_enc").index_select(1, features).t();
  if (d.config.normalize == "expected_average_only_in") rows = rows * d.config.norm_factor;
  if (d.config.rescale_acts_by_decoder_norm) rows = rows * dictionary_kinds::decoder_norms(d).index_select(0, features).unsqueeze(1);
  if (d.has("r_mag")) rows = rows * d.weight("r_mag").index_select(0, features).exp().unsqueeze(1);
  return rows.contiguous();
}

at::Tensor TranscoderLayers::writes_of(int64_t from, int64_t into, const at::Tensor& features) const {
  const Dictionary& d = at(from);
  at::Tensor rows = into == from ? d.weight("W_dec").index_select(0, features) : d.weight("W_dec_later").select(0, into - from - 1).index_select(0, features);
  if (d.config.rescale_acts_by_decoder_norm) rows = rows / dictionary_kinds::decoder_norms(d).index_select(0, features).clamp_min(1e-12).unsqueeze(1);
  return rows;
}

at::Tensor TranscoderLayers::skip(int64_t layer) const {
  if (!has(layer) || !at(layer).config.skip) return {};
  const Dictionary& d = at(layer);
  return d.config.normalize == "expected_average_only_in" ? d.weight("W_skip") * d.config.norm_factor : d.weight("W_skip");
}

}  // namespace microtome::feature_circuit
