// registry.h — the mixers by name. Folders of core/mixers/ register themselves (resources/cmake/Registry.cmake); a second
// registration of a name is an error.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

class Registry {
 public:
  void add(MixerKind kind);                            // throws Error(kInternal) on a second registration
  // By name or alias; null: unknown.
  const MixerKind* find(const std::string& name) const;
  std::vector<const MixerKind*> all() const;           // by name

 private:
  std::map<std::string, MixerKind> kinds_;
  std::map<std::string, std::string> aliases_;
};

void register_all(Registry& registry);                 // generated
// All built-in mixers; made on first use, immutable afterwards.
const Registry& builtin();

}  // namespace microtome::mixers
