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

// Mixers keep no list of their parameters. Those are: what a conformance case of the mixer sets, and what the mixer asks
// for when it describes itself, with the parameters given and with those of its cases.
std::set<std::string> parameters_of(const MixerKind& kind, const Params& given, int64_t d_model) {
  std::set<std::string> out;
  auto describe = [&](const Params& params, int64_t width) {
    const Params watched = params.recording(out);
    try {
      kind.info(watched, width);
      kind.weights(watched, width);
    } catch (const Error&) {                           // what is wrong with them is said later
    }
  };
  describe(given, d_model);
  for (const MixerCase& c : kind.cases) {
    for (const auto& [key, _] : c.params.values()) out.insert(key);
    describe(c.params, c.d_model);
  }
  return out;
}

std::string joined(const std::set<std::string>& names) {
  std::string out;
  for (const std::string& n : names) out += (out.empty() ? "" : ", ") + n;
  return out;
}

}  // namespace

void read_mixer(const Json& mixer, int64_t d_model, LayerConfig& layer, const std::string& where) {
  const std::string name = json_string(mixer, "kind", where);
  const MixerKind* kind = mixers::builtin().find(name);
  if (!kind) {
    std::set<std::string> kinds;
    for (const MixerKind* k : mixers::builtin().all()) kinds.insert(k->name);
    refuse("mixer kind '" + name.substr(0, 60) + "' is unknown", where, "known are " + joined(kinds));
  }
  layer.mixer = kind->name;
  for (const auto& [key, v] : mixer.items())
    if (key != "kind") layer.mixer_params.set(key, value_of(v, key, where));
  const std::set<std::string> known = parameters_of(*kind, layer.mixer_params, d_model);
  for (const auto& [key, value] : layer.mixer_params.values()) {
    if (!known.count(key))
      refuse("mixer '" + kind->name + "' has no parameter '" + key.substr(0, 60) + "'", where,
             "it has " + joined(known));
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
      refuse("mixer '" + kind->name + "': " + s.what(), where, "it has " + joined(known));
    throw Error(s.code(), s.what(), where + ", " + s.where(), s.todo());
  }
}

}  // namespace microtome::families
