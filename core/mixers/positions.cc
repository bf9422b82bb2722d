#include "core/mixers/positions.h"

#include <ATen/ATen.h>

#include "core/hooks/index_tensor.h"

namespace microtome::mixers {
at::Tensor at_positions(const at::Tensor& x, const std::vector<int64_t>& positions) {
  const int64_t n = static_cast<int64_t>(positions.size());
  bool run = n > 0;
  for (int64_t i = 1; run && i < n; ++i) run = positions[static_cast<size_t>(i)] == positions[0] + i;
  if (run) return x.narrow(1, positions[0], n);
  return x.index_select(1, index_tensor(positions, x.device()));
}

at::Tensor places_of(const std::vector<int64_t>& positions, int64_t tokens, at::Device device) {
  const auto whole = at::TensorOptions().dtype(at::kLong);
  if (static_cast<int64_t>(positions.size()) == tokens) return at::arange(tokens, whole.device(device));
  at::Tensor out = at::full({tokens}, -1, whole);
  int64_t* to = out.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < positions.size(); ++i) to[positions[i]] = static_cast<int64_t>(i);
  return send_to(out, device);
}

}  // namespace microtome::mixers
