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

const AnalysisKind& Registry::get(const std::string& name, const std::string& where) const {
  if (const AnalysisKind* kind = find(name)) return *kind;
  throw Error(StatusCode::kNotFound, "there is no analysis '" + name + "'", where, "known are " + names());
}

std::string Registry::names() const {
  std::string out;
  for (const auto& [name, _] : kinds_) out += (out.empty() ? "" : ", ") + name;
  return out;
}

const Registry& builtin() {
  static const Registry registry = [] {
    std::map<std::string, std::string> texts(embedded_params().begin(), embedded_params().end());
    Registry folders, out;
    register_all(folders);
    for (const AnalysisKind* k : folders.all()) {
      AnalysisKind kind = *k;
      auto it = texts.find(kind.info.name);
      if (it == texts.end()) throw Error(StatusCode::kInternal, "analysis '" + kind.info.name + "' has no params.json");
      kind.schema = parse_param_schema(it->second, kind.info.name + "/params.json");
      out.add(std::move(kind));
    }
    return out;
  }();
  return registry;
}

}  // namespace microtome::analyses
