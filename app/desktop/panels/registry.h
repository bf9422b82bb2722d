// registry.h — the panels, in order; folders of app/desktop/panels register themselves (resources/cmake/Registry.cmake).
#pragma once

#include <vector>

#include "app/desktop/panels/panel.h"

namespace microtome::panels {

class Registry {
 public:
  void add(desktop::PanelKind kind);                   // a second panel of one id is a defect: throws Error(kInternal)
  const std::vector<desktop::PanelKind>& all() const { return kinds_; }   // by area, then order

 private:
  std::vector<desktop::PanelKind> kinds_;
};

void register_all(Registry& registry);                 // generated

}  // namespace microtome::panels
