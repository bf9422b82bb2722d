#include "core/mixers/positions.h"

#include <ATen/ATen.h>

namespace microtome::mixers {

at::Tensor at_positions(const at::Tensor& x, const std::vector<int64_t>& positions) {
  const int64_t n = static_cast<int64_t>(positions.size());
  bool run = n > 0;
  for (int64_t i = 1; run && i < n; ++i) run = positions[static_cast<size_t>(i)] == positions[0] + i;
  if (run) return x.narrow(1, positions[0], n);
  return x.index_select(1, at::tensor(positions, at::TensorOptions().dtype(at::kLong)).to(x.device()));
}

}  // namespace microtome::mixers
