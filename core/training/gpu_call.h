// gpu_call.h — calls into libmicrotome_kernels.so for training; private to core/training.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstring>
#include <string>

#include "core/base/status.h"
#include "core/model/kernel_library.h"

namespace microtome {

// Kernels run on the default stream: work on another one would have to be waited for.
inline bool on_default_stream(const at::Tensor& t) {
  return t.is_cuda() && c10::impl::getDeviceGuardImpl(t.device().type())->getStream(t.device()).id() == 0;
}

template <class F>
F kernel_of(const char* symbol) {
  return reinterpret_cast<F>(kernel_function(symbol));
}

// False: "not covered", nothing was done. Throws where the GPU refuses.
inline bool did(const char* error, const char* what) {
  if (!error) return true;
  if (std::strcmp(error, "not covered") == 0) return false;
  throw Error(StatusCode::kFailed, std::string("the GPU refuses ") + what + ": " + error, "training", "train on --device cpu");
}

}  // namespace microtome
