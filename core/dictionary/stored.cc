#include "core/dictionary/stored.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/base/json.h"

namespace microtome {

std::string config_to_json(const DictionaryConfig& c) {
  Json j = {{"kind", c.kind}, {"d_in", c.d_in}, {"d_out", c.d_out}, {"d_sae", c.d_sae}, {"transcoder", c.transcoder}, {"skip", c.skip},
            {"apply_b_dec_to_input", c.apply_b_dec_to_input}, {"normalize", c.normalize}, {"norm_factor", c.norm_factor},
            {"rescale_acts_by_decoder_norm", c.rescale_acts_by_decoder_norm}, {"k", c.k}, {"nested", c.nested}, {"hook_in", c.hook_in},
            {"hook_out", c.hook_out}, {"name", c.name}, {"model", c.model}, {"weights_hash", c.weights_hash}, {"dtype", c.dtype},
            {"format", c.format}, {"extra", c.extra}};
  return j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

DictionaryConfig config_from_json(const std::string& text, const std::string& where) {
  Json j = parse_json(text, where).value();
  DictionaryConfig c;
  auto bad = [&](const char* field) { return Error(StatusCode::kBadInput, std::string("the dictionary's field '") + field + "' is missing or of another type", where, "get the dictionary again from its source"); };
  if (!j.is_object()) throw bad("kind");
  auto at = [&](const char* field, bool (Json::*is)() const noexcept) -> const Json& {
    auto it = j.find(field);
    if (it == j.end() || !((*it).*is)()) throw bad(field);
    return *it;
  };
  auto text_of = [&](const char* f) { return at(f, &Json::is_string).get<std::string>(); };
  auto integer = [&](const char* f) { return at(f, &Json::is_number_integer).get<int64_t>(); };
  auto flag = [&](const char* f) { return at(f, &Json::is_boolean).get<bool>(); };
  c.kind = text_of("kind");
  c.d_in = integer("d_in");
  c.d_out = integer("d_out");
  c.d_sae = integer("d_sae");
  c.transcoder = flag("transcoder");
  c.skip = flag("skip");
  c.apply_b_dec_to_input = flag("apply_b_dec_to_input");
  c.normalize = text_of("normalize");
  c.norm_factor = at("norm_factor", &Json::is_number).get<double>();
  c.rescale_acts_by_decoder_norm = flag("rescale_acts_by_decoder_norm");
  c.k = integer("k");
  for (const Json& n : at("nested", &Json::is_array)) {
    if (!n.is_number_integer()) throw bad("nested");
    c.nested.push_back(n.get<int64_t>());
  }
  c.hook_in = text_of("hook_in");
  c.hook_out = text_of("hook_out");
  c.name = text_of("name");
  c.model = text_of("model");
  c.weights_hash = text_of("weights_hash");
  c.dtype = text_of("dtype");
  c.format = text_of("format");
  c.extra = text_of("extra");
  return c;
}

TensorMap dictionary_artifact(const Dictionary& d, std::string name, std::string title) {
  static const std::map<std::string, std::pair<std::vector<std::string>, std::string>> kAbout = {
      {"W_enc", {{"d_in", "feature"}, "encoder weights"}},
      {"b_enc", {{"feature"}, "encoder bias"}},
      {"W_dec", {{"feature", "d_out"}, "decoder weights: the direction of every feature"}},
      {"b_dec", {{"d_out"}, "decoder bias"}},
      {"threshold", {{"feature"}, "the value a pre-activation must exceed"}},
      {"b_gate", {{"feature"}, "bias of the gates"}},
      {"r_mag", {{"feature"}, "logarithm of the scale of the magnitudes"}},
      {"b_mag", {{"feature"}, "bias of the magnitudes"}},
      {"W_skip", {{"d_out", "d_in"}, "skip connection"}},
      {"W_dec_later", {{"later", "feature", "d_out"}, "decoders into the layers after the feature's own"}}};
  TensorMap map;
  map.name = std::move(name);
  map.title = std::move(title);
  map.axis_labels["config"] = {config_to_json(d.config)};
  for (const auto& [tensor, w] : d.weights) {
    const auto& about = kAbout.at(tensor);
    NamedArray a;
    a.name = tensor;
    a.axes = about.first;
    a.help = about.second;
    a.shape = w.sizes().vec();
    at::Tensor host = w.detach().to(at::kCPU, at::kFloat).contiguous();
    a.data = std::vector<float>(host.const_data_ptr<float>(), host.const_data_ptr<float>() + host.numel());
    map.arrays.push_back(std::move(a));
    map.looks[tensor] = "weights";
  }
  return map;
}

bool is_dictionary(const TensorMap& map) {
  auto config = map.axis_labels.find("config");
  return config != map.axis_labels.end() && config->second.size() == 1 && !map.arrays.empty();
}

Dictionary dictionary_of(const TensorMap& map) {
  if (!is_dictionary(map)) throw Error(StatusCode::kBadInput, "'" + map.name + "' is no dictionary", "result", "name a training run");
  Dictionary d;
  d.config = config_from_json(map.axis_labels.at("config")[0], map.name);
  for (const NamedArray& a : map.arrays) {
    const auto* values = std::get_if<std::vector<float>>(&a.data);
    if (!values) throw Error(StatusCode::kBadInput, "tensor '" + a.name + "' is not of floating point", map.name, "restore the project file from a copy");
    d.weights[a.name] = at::from_blob(const_cast<float*>(values->data()), a.shape, at::kFloat).clone();
  }
  check_dictionary(d, map.name);
  return d;
}

DictionarySet dictionaries_of(const AnalysisResult& result, const std::string& where) {
  DictionarySet set;
  set.format = "microtome";
  for (const Artifact& a : result.artifacts) {
    const auto* map = std::get_if<TensorMap>(&a);
    if (!map || !is_dictionary(*map)) continue;
    set.members.push_back(dictionary_of(*map));
    set.layers.push_back(layer_of_hook(set.members.back().config.hook_in));
    if (set.name.empty()) set.name = set.members.back().config.name;
  }
  if (set.members.empty()) throw Error(StatusCode::kBadInput, "the result holds no dictionary", where, "name a run of `sae` or `transcoder`");
  return set;
}

}  // namespace microtome
