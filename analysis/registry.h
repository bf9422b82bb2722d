// registry.h — the analyses by name; folders of analysis/ register themselves (resources/cmake/Registry.cmake), and
// plug-ins are added to a copy of the built-in ones at program start (app/engine/plugin_analyses.h).
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
  // Error(kNotFound) lists the known names.
  const AnalysisKind& get(const std::string& name, const std::string& where) const;
  std::vector<const AnalysisKind*> all() const;        // by name
  std::string names() const;                           // "ablation, attention, …"

 private:
  std::map<std::string, AnalysisKind> kinds_;
};

void register_all(Registry& registry);                 // generated
const Registry& builtin();

}  // namespace microtome::analyses
