#include "core/families/registry.h"

#include <algorithm>

#include "core/mixers/registry.h"

namespace microtome {

namespace families {

void Registry::add(Family family) {
  for (const std::string& t : family.model_types)
    if (!by_type_.emplace(t, families_.size()).second)
      throw Error(StatusCode::kInternal, "model_type '" + t + "' is registered twice");
  families_.push_back(std::move(family));
}

const Family* Registry::find(const std::string& model_type) const {
  auto it = by_type_.find(model_type);
  return it == by_type_.end() ? nullptr : &families_[it->second];
}

std::vector<std::string> Registry::model_types() const {
  std::vector<std::string> out;
  for (const auto& [t, _] : by_type_) out.push_back(t);
  return out;
}

const Registry& builtin() {
  static const Registry registry = [] {
    Registry r;
    register_all(r);
    return r;
  }();
  return registry;
}

FamilyAndConfig read_model_config(const Json& config, const std::string& where) {
  std::string known;
  for (const std::string& t : builtin().model_types()) known += (known.empty() ? "" : ", ") + t;
  if (!config.contains("model_type"))
    throw Error(StatusCode::kBadInput, "config has no 'model_type'", where, "add one of: " + known);
  std::string type = json_string(config, "model_type", where);
  const Family* family = builtin().find(type);
  if (!family)
    throw Error(StatusCode::kUnsupported, "model_type '" + type.substr(0, 100) + "' is not supported", where,
                "supported are " + known);
  ModelConfig out = family->read_config(config, where);
  out.family = family->name;
  check_config(out, where);
  return {family, std::move(out)};
}

}  // namespace families

std::vector<int64_t> TensorBinding::canonical_shape() const {
  if (!shape.empty()) return shape;
  std::vector<int64_t> s = view.empty() ? source_shape : view;
  if (transpose) std::swap(s[0], s[1]);
  if (length >= 0) s[0] = groups * length;
  return s;
}

std::vector<TensorBinding> bind_mixer_weights(const LayerConfig& layer, int64_t d_model,
                                              const std::string& canonical_prefix, const std::string& source_prefix) {
  const MixerKind* kind = mixers::builtin().find(layer.mixer);
  if (!kind) throw Error(StatusCode::kInternal, "mixer '" + layer.mixer + "' is not registered");
  std::vector<TensorBinding> out;
  for (const WeightSpec& w : kind->weights(layer.mixer_params, d_model)) {
    TensorBinding b;
    b.canonical = canonical_prefix + w.name;
    b.source = source_prefix + w.name;
    b.source_shape = w.shape;
    b.optional = w.optional;
    out.push_back(std::move(b));
  }
  return out;
}

void bind_norm(std::vector<TensorBinding>& out, const NormConfig& norm, int64_t d_model, const std::string& canonical,
               const std::string& source) {
  TensorBinding b;
  b.source_shape = {d_model};
  if (norm.kind == NormConfig::Kind::kNone) return;
  if (norm.weight) {
    b.canonical = canonical + ".weight";
    b.source = source + ".weight";
    out.push_back(b);
  }
  if (norm.bias) {
    b.canonical = canonical + ".bias";
    b.source = source + ".bias";
    out.push_back(b);
  }
}

}  // namespace microtome
