// positions.h — some positions of a tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace microtome::mixers {

// x at these positions of axis 1, ascending. Where they follow one another a view: a list of them would have to be sent to the
// device, which waits for all that it is doing.
at::Tensor at_positions(const at::Tensor& x, const std::vector<int64_t>& positions);

}  // namespace microtome::mixers
