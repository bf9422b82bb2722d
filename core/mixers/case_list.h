// case_list.h — writing down conformance cases: make_case("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}}).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

inline MixerCase make_case(const std::string& name, int64_t pos, std::vector<std::pair<std::string, ParamValue>> params) {
  MixerCase c;
  c.name = name;
  c.pos = pos;
  for (auto& [key, value] : params) c.params.set(key, std::move(value));
  return c;
}

// An integer parameter.
constexpr int64_t operator""_n(unsigned long long n) { return static_cast<int64_t>(n); }

}  // namespace microtome::mixers
