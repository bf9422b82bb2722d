// layer_list.h — "all", "0,2-3" → layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace microtome::analyses {

// Ascending, no two alike. Throws Error(kBadInput) naming the part that is no layer.
std::vector<int64_t> read_layers(const std::string& text, int64_t layers);

}  // namespace microtome::analyses
