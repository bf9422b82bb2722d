// device.h — where tensors live. The CUDA half of LibTorch is opened on first use: what never asks for a GPU does not pay
// for it.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>
#include <vector>

namespace microtome {

struct CudaDevice {
  int index = 0;
  std::string name;                    // "cuda:0"
};
struct CudaStatus {
  bool built = false;                  // this LibTorch has a CUDA half
  bool usable = false;                 // it opened and found a device
  std::string why_not;                 // when not usable
  std::vector<CudaDevice> devices;
};

// Opens the CUDA half (once) and looks for devices. Thread-safe.
const CudaStatus& cuda_status();
// "auto" (a GPU where there is one, else the CPU), "cpu", "cuda", "cuda:N". Throws Error(kBadInput) naming what exists.
c10::Device parse_device(const std::string& text);
// "float32", "float64", "bfloat16", "float16" (float16 needs a GPU: on the CPU its products are a hundred times slower).
at::ScalarType parse_dtype(const std::string& text, c10::Device device);
const char* dtype_text(at::ScalarType t);
// TF32 for matrix products and convolutions alike; off by default. threads 0: as LibTorch chooses.
void set_compute(bool tf32, int threads);
// While one exists, memory that is freed stays in the process; with the last one it goes back to the system. Otherwise the C
// library would map every large tensor anew and the system clear its pages, which costs more than most operations on it.
class KeepMemory {
 public:
  KeepMemory();
  ~KeepMemory();
  KeepMemory(const KeepMemory&) = delete;
};
// Waits for the device's queued work (no-op on the CPU).
void synchronise(c10::Device device);

}  // namespace microtome
