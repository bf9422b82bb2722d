// positions.h — some positions of a tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace microtome::mixers {

// x at these positions of axis 1, ascending; a view where they follow one another.
at::Tensor at_positions(const at::Tensor& x, const std::vector<int64_t>& positions);

// For each of `tokens` tokens its place in `positions` (ascending), or -1: int64 [tokens] on the device, made without waiting for it.
at::Tensor places_of(const std::vector<int64_t>& positions, int64_t tokens, at::Device device);

}  // namespace microtome::mixers
