// constants.h — a mixer's few numbers that are the same in every run (angles, decays).
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::mixers {

// `numbers` (on the CPU) on that device, in that type. Sent once and kept, for each sending waits for all that the device is
// doing, layer after layer. Thread-safe.
at::Tensor on_device(const at::Tensor& numbers, at::Device device, at::ScalarType type);

}  // namespace microtome::mixers
