// golden_path.h — where reference numbers lie: everything under MICROTOME_GOLDEN (a folder with golden/ and models/)
// when that is set, else the subset in tests/golden.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace microtome::testing {

// "golden/mixers/gla.safetensors" or "models/zoo-llama". Empty when neither place has it.
inline std::string golden_path(const std::string& relative) {
  namespace fs = std::filesystem;
  if (const char* root = std::getenv("MICROTOME_GOLDEN"); root && *root) {
    fs::path p = fs::path(root) / relative;
    if (fs::exists(p)) return p.string();
  }
  fs::path in_tests = fs::path(MICROTOME_SOURCE_DIR) / "tests" / relative;        // tests/golden/...
  if (fs::exists(in_tests)) return in_tests.string();
  fs::path under = fs::path(MICROTOME_SOURCE_DIR) / "tests/golden" / relative;    // tests/golden/models/zoo-…
  if (fs::exists(under)) return under.string();
  fs::path shipped = fs::path(MICROTOME_SOURCE_DIR) / "resources" / relative;     // resources/models/zoo-llama
  return fs::exists(shipped) ? shipped.string() : std::string();
}

// Checkpoints too large for the repository, which only the whole reference folder (MICROTOME_GOLDEN) has.
inline bool lies_elsewhere(const std::string& relative) {
  return (relative == "golden/models/fla-samba" || relative == "golden/models/fla-log_linear_mamba2") && golden_path(relative).empty();
}

}  // namespace microtome::testing
