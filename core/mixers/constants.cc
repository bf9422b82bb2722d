#include "core/mixers/constants.h"

#include <ATen/ATen.h>

#include <mutex>
#include <utility>
#include <vector>

namespace microtome::mixers {

at::Tensor on_device(const at::Tensor& numbers, at::Device device, at::ScalarType type) {
  if (device.is_cpu()) return numbers.to(type);
  constexpr size_t kMost = 256;
  static std::mutex mutex;
  static std::vector<std::pair<at::Tensor, at::Tensor>> sent;          // here, there; the oldest first
  std::lock_guard lock(mutex);
  for (const auto& [here, there] : sent)
    if (there.device() == device && there.scalar_type() == type && here.sizes() == numbers.sizes() && here.equal(numbers)) return there;
  if (sent.size() >= kMost) sent.erase(sent.begin());
  sent.emplace_back(numbers.clone(), numbers.to(device, type));
  return sent.back().second;
}

}  // namespace microtome::mixers
