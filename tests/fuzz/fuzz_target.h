// fuzz_target.h — what a fuzz target defines and what it may use. The entry point is libFuzzer's, so a target also
// links with clang's -fsanitize=fuzzer in place of fuzz_driver.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/rng.h"
#include "core/base/status.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace microtome::fuzz {

// Repairs a mutant where a container's own length field would stop nearly all of them at the first check.
void repair(std::vector<uint8_t>& bytes, Rng& rng);

// A broken promise ends the process, as a memory error would; the driver saves the input.
inline void require(bool promise, const std::string& what) {
  if (promise) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what.c_str());
  std::abort();
}

// A file can only be bad or not supported; everything else is a defect.
inline void require_input_error(const Status& status) {
  const bool input = status.code() == StatusCode::kBadInput || status.code() == StatusCode::kUnsupported;
  require(input, "a bad file is reported as something else: " + status.text());
  require(status.text().size() < 5000, "a message of " + std::to_string(status.text().size()) + " bytes");
}

}  // namespace microtome::fuzz
