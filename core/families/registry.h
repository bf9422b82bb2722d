// registry.h — the families by model_type; folders of core/families/ register themselves.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/families/family.h"

namespace microtome::families {

class Registry {
 public:
  void add(Family family);                             // throws Error(kInternal) on a second registration
  const Family* find(const std::string& model_type) const;
  std::vector<std::string> model_types() const;        // sorted

 private:
  std::vector<Family> families_;
  std::map<std::string, size_t> by_type_;
};

void register_all(Registry& registry);                 // generated
const Registry& builtin();

// config.json → (family, configuration). An unknown model_type is Error(kUnsupported) that lists what is supported; a
// config without model_type is kBadInput.
struct FamilyAndConfig {
  const Family* family;
  ModelConfig config;
};
FamilyAndConfig read_model_config(const Json& config, const std::string& where);

}  // namespace microtome::families
