#include "core/mixers/registry.h"

namespace microtome::mixers {

void Registry::add(MixerKind kind) {
  std::string name = kind.name;
  auto taken = [&](const std::string& n) { return kinds_.count(n) || aliases_.count(n); };
  if (taken(name)) throw Error(StatusCode::kInternal, "mixer '" + name + "' is registered twice");
  for (const std::string& a : kind.aliases) {
    if (a == name || taken(a)) throw Error(StatusCode::kInternal, "mixer alias '" + a + "' is registered twice");
    aliases_[a] = name;
  }
  kinds_.emplace(name, std::move(kind));
}

const MixerKind* Registry::find(const std::string& name) const {
  auto alias = aliases_.find(name);
  auto it = kinds_.find(alias == aliases_.end() ? name : alias->second);
  return it == kinds_.end() ? nullptr : &it->second;
}

std::vector<const MixerKind*> Registry::all() const {
  std::vector<const MixerKind*> out;
  for (const auto& [name, kind] : kinds_) out.push_back(&kind);
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

}  // namespace microtome::mixers
