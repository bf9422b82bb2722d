// plugin_fixture.h — the libraries the tests load, by the folders they are built into.
#pragma once

#include <string>
#include <vector>

#include "app/engine/plugin_analyses.h"

namespace microtome::testing {

inline std::string test_plugin(const std::string& name) {
  return std::string(MICROTOME_BINARY_DIR) + "/tests/test-plugins/" + name;
}
inline std::string examples() { return std::string(MICROTOME_BINARY_DIR) + "/plugins-example"; }

inline app::AnalysisCatalogue load(const std::vector<std::string>& folders) {
  std::vector<plugins::Folder> list;
  for (const std::string& f : folders) list.push_back({f, true});
  return app::load_analyses(list);
}

}  // namespace microtome::testing
