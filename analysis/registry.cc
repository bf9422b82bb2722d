#include "analysis/registry.h"

#include "analysis/params_text.h"

namespace microtome::analyses {

void Registry::add(AnalysisKind kind) {
  std::string name = kind.info.name;
  if (!kinds_.emplace(name, std::move(kind)).second)
    throw Error(StatusCode::kInternal, "analysis '" + name + "' is registered twice");
}

const AnalysisKind* Registry::find(const std::string& name) const {
  auto it = kinds_.find(name);
  return it == kinds_.end() ? nullptr : &it->second;
}

std::vector<const AnalysisKind*> Registry::all() const {
  std::vector<const AnalysisKind*> out;
  for (const auto& [_, kind] : kinds_) out.push_back(&kind);
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

const ParamSchema& schema_of(const std::string& name) {
  static const std::map<std::string, ParamSchema> schemas = [] {
    std::map<std::string, ParamSchema> out;
    for (const auto& [folder, text] : embedded_params()) out[folder] = parse_param_schema(text, folder + "/params.json");
    return out;
  }();
  auto it = schemas.find(name);
  if (it == schemas.end()) throw Error(StatusCode::kInternal, "analysis '" + name + "' has no params.json");
  return it->second;
}

}  // namespace microtome::analyses
