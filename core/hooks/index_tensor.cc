#include "core/hooks/index_tensor.h"

#include <ATen/ATen.h>

namespace microtome {
namespace {

thread_local int waiting = 0;

}  // namespace

NothingSent::NothingSent() { ++waiting; }
NothingSent::~NothingSent() { --waiting; }

at::Tensor send_to(const at::Tensor& host, at::Device device) {
  return device.is_cuda() && !waiting ? host.pin_memory().to(device, /*non_blocking=*/true) : host.to(device);
}

at::Tensor index_tensor(const std::vector<int64_t>& places, at::Device device) {
  const int64_t n = static_cast<int64_t>(places.size());
  bool run = n > 0;
  for (int64_t i = 1; run && i < n; ++i) run = places[static_cast<size_t>(i)] == places[0] + i;
  const auto whole = at::TensorOptions().dtype(at::kLong);
  if (run) return at::arange(places[0], places[0] + n, whole.device(device));
  return send_to(at::tensor(places, whole), device);
}

}  // namespace microtome
