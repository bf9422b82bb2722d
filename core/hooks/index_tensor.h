// index_tensor.h — places as a tensor on a device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace microtome {

// A tensor of the host on a device, without waiting for what the device is doing: a copy from pinned memory is one more piece of
// work in its stream, and before a copy from any other the host waits for the stream to be empty.
at::Tensor send_to(const at::Tensor& host, at::Device device);
// Places as int64 [n] there; nothing is sent where they follow one another.
at::Tensor index_tensor(const std::vector<int64_t>& places, at::Device device);

// While one exists in a thread, its sends wait, as other copies do: what is recorded to be done again must not read memory of the
// host that is gone by then. A copy that waits ends the recording.
class NothingSent {
 public:
  NothingSent();
  ~NothingSent();
  NothingSent(const NothingSent&) = delete;
};

}  // namespace microtome
