// registry.h — the analyses by name; folders of analysis/ register themselves (resources/cmake/Registry.cmake).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "analysis/analysis.h"

namespace microtome::analyses {

class Registry {
 public:
  void add(AnalysisKind kind);                         // throws Error(kInternal) on a second registration
  const AnalysisKind* find(const std::string& name) const;
  std::vector<const AnalysisKind*> all() const;        // by name

 private:
  std::map<std::string, AnalysisKind> kinds_;
};

void register_all(Registry& registry);                 // generated
const Registry& builtin();
// The schema in params.json of the folder of this name.
const ParamSchema& schema_of(const std::string& name);

}  // namespace microtome::analyses
