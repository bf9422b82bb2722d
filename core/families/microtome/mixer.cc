#include "core/families/microtome/mixer.h"

#include <cmath>
#include <set>

#include "core/mixers/registry.h"

namespace microtome::families {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& where, const std::string& instead) {
  throw Error(StatusCode::kBadInput, what, where, instead);
}

const char* type_word(const ParamValue& v) {
  const char* words[] = {"true or false", "an integer", "a number", "a text"};
  return words[v.index()];
}

// An integer serves as a number.
bool fits(const ParamValue& given, const ParamValue& example) {
  return given.index() == example.index() ||
         (std::holds_alternative<int64_t>(given) && std::holds_alternative<double>(example));
}

ParamValue value_of(const Json& v, const std::string& key, const std::string& where) {
  if (v.is_boolean()) return v.get<bool>();
  if (v.is_number_float() && std::isfinite(v.get<double>())) return v.get<double>();
  if (v.is_number_integer() && !(v.is_number_unsigned() && v.get<uint64_t>() > INT64_MAX)) return v.get<int64_t>();
  if (v.is_string()) return v.get<std::string>();
  refuse("parameter '" + key + "' is " + v.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60), where,
         "give true or false, a number or a text");
}

// Whether the mixer asks for the parameter when it describes itself: then a value of the wrong type is refused.
bool asks_for(const MixerKind& kind, Params params, const std::string& key, int64_t d_model) {
  for (const ParamValue& wrong : {ParamValue(std::string("?")), ParamValue(true)}) {
    params.set(key, wrong);
    try {
      kind.info(params, d_model);
      kind.weights(params, d_model);
    } catch (const Error& e) {
      const Status& s = e.status();
      if (s.code() == StatusCode::kInternal && s.what().find("'" + key + "'") != std::string::npos) return true;
    }
  }
  return false;
}

// Mixers keep no list of their parameters. Those are: what a conformance case of the mixer sets, and what it asks for
// with the parameters given, or with those of a case.
bool takes(const MixerKind& kind, const Params& given, const std::string& key, int64_t d_model) {
  for (const MixerCase& c : kind.cases)
    if (c.params.has(key)) return true;
  if (asks_for(kind, given, key, d_model)) return true;
  for (const MixerCase& c : kind.cases)
    if (asks_for(kind, c.params, key, c.d_model)) return true;
  return false;
}

std::string known_parameters(const MixerKind& kind) {
  std::set<std::string> names;
  for (const MixerKind* other : mixers::builtin().all())
    for (const MixerCase& c : other->cases)
      for (const auto& [key, _] : c.params.values())
        if (!names.count(key) && takes(kind, {}, key, c.d_model)) names.insert(key);
  for (const char* usual : {"norm_eps", "use_output_norm", "elementwise_affine", "conv_bias"})
    if (takes(kind, {}, usual, 32)) names.insert(usual);
  std::string out;
  for (const std::string& n : names) out += (out.empty() ? "" : ", ") + n;
  return out;
}

}  // namespace

void read_mixer(const Json& mixer, int64_t d_model, LayerConfig& layer, const std::string& where) {
  const std::string name = json_string(mixer, "kind", where);
  const MixerKind* kind = mixers::builtin().find(name);
  if (!kind) {
    std::string known;
    for (const MixerKind* k : mixers::builtin().all()) known += (known.empty() ? "" : ", ") + k->name;
    refuse("mixer kind '" + name.substr(0, 60) + "' is unknown", where, "known are " + known);
  }
  layer.mixer = kind->name;
  for (const auto& [key, v] : mixer.items())
    if (key != "kind") layer.mixer_params.set(key, value_of(v, key, where));
  for (const auto& [key, value] : layer.mixer_params.values()) {
    if (!takes(*kind, layer.mixer_params, key, d_model))
      refuse("mixer '" + kind->name + "' has no parameter '" + key.substr(0, 60) + "'", where,
             "it has " + known_parameters(*kind));
    const ParamValue* example = nullptr;
    for (const MixerCase& c : kind->cases)
      if (auto it = c.params.values().find(key); it != c.params.values().end() && !(example && fits(value, *example)))
        example = &it->second;
    if (example && !fits(value, *example))
      refuse("parameter '" + key + "' is '" + param_text(value).substr(0, 60) + "'", where,
             std::string("it must be ") + type_word(*example));
  }
  try {
    kind->info(layer.mixer_params, d_model);
    kind->weights(layer.mixer_params, d_model);
  } catch (const Error& e) {
    // What is a slip of the program where a family gives the parameters is the writer's of this file.
    const Status& s = e.status();
    if (s.code() == StatusCode::kInternal)
      refuse("mixer '" + kind->name + "': " + s.what(), where, "it has " + known_parameters(*kind));
    throw Error(s.code(), s.what(), where + ", " + s.where(), s.todo());
  }
}

}  // namespace microtome::families
