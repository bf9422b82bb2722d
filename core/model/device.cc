#include "core/model/device.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <dlfcn.h>
#include <malloc.h>

#include <mutex>

#include "core/base/status.h"

namespace microtome {
namespace {

// The folder libtorch_cpu.so was loaded from: its CUDA neighbour is taken from there and from nowhere else.
std::string torch_folder() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<void*>(&at::globalContext), &info) || !info.dli_fname) return {};
  std::string path = info.dli_fname;
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

CudaStatus look() {
  CudaStatus out;
#ifndef MICROTOME_TORCH_CUDA
  out.why_not = "this build has no CUDA half";
  return out;
#else
  out.built = true;
  // The program may be linked to the CPU half only; registration happens in the library's own initialisers.
  if (!dlopen((torch_folder() + "/libtorch_cuda.so").c_str(), RTLD_NOW | RTLD_GLOBAL)) {
    const char* why = dlerror();
    out.why_not = std::string("the CUDA half did not open: ") + (why ? why : "unknown");
    return out;
  }
  try {
    const auto* impl = c10::impl::getDeviceGuardImpl(c10::DeviceType::CUDA);
    int n = impl->deviceCount();
    if (n == 0) {
      out.why_not = "no CUDA device or driver was found";
      return out;
    }
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    for (int i = 0; i < n; ++i) out.devices.push_back({i, "cuda:" + std::to_string(i)});
    out.usable = true;
  } catch (const std::exception& e) {
    std::string text = e.what();
    out.why_not = text.substr(0, text.find('\n'));
  }
  return out;
#endif
}

}  // namespace

const CudaStatus& cuda_status() {
  static const CudaStatus status = look();
  return status;
}

c10::Device parse_device(const std::string& text) {
  if (text == "cpu") return c10::Device(c10::kCPU);
  if (text == "auto") return cuda_status().usable ? c10::Device(c10::kCUDA, 0) : c10::Device(c10::kCPU);
  int index = -1;
  if (text == "cuda") index = 0;
  if (text.rfind("cuda:", 0) == 0 && text.size() > 5 && text.size() < 9 &&
      text.find_first_not_of("0123456789", 5) == std::string::npos)
    index = std::stoi(text.substr(5));
  if (index < 0)
    throw Error(StatusCode::kBadInput, "unknown device '" + text + "'", "--device", "use auto, cpu or cuda:N");
  const CudaStatus& cuda = cuda_status();
  if (!cuda.usable) throw Error(StatusCode::kBadInput, "device '" + text + "' cannot be used: " + cuda.why_not, "--device", "use cpu");
  if (index >= static_cast<int>(cuda.devices.size()))
    throw Error(StatusCode::kBadInput, "device '" + text + "' does not exist", "--device",
                "there are " + std::to_string(cuda.devices.size()) + " CUDA devices, from cuda:0");
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

at::ScalarType parse_dtype(const std::string& text, c10::Device device) {
  if (text == "float32") return at::kFloat;
  if (text == "float64") return at::kDouble;
  if (text == "bfloat16") return at::kBFloat16;
  if (text == "float16") {
    if (device.is_cpu())
      throw Error(StatusCode::kUnsupported, "float16 on the CPU is about 100 times slower than float32", "--dtype",
                  "use float32 or bfloat16");
    return at::kHalf;
  }
  throw Error(StatusCode::kBadInput, "unknown type '" + text + "'", "--dtype", "use float32, float64, bfloat16 or float16");
}

const char* dtype_text(at::ScalarType t) {
  switch (t) {
    case at::kDouble: return "float64";
    case at::kBFloat16: return "bfloat16";
    case at::kHalf: return "float16";
    default: return "float32";
  }
}

void set_compute(bool tf32, int threads) {
  at::globalContext().setAllowTF32CuBLAS(tf32);
  at::globalContext().setAllowTF32CuDNN(tf32);
  if (threads > 0) at::set_num_threads(threads);
}

#ifdef __GLIBC__
namespace {

std::mutex keepers_mutex;
int keepers = 0;

// Where nobody keeps memory, what the C library's thresholds grow to by themselves: once set, they no longer move.
void set_kept(bool kept) {
  mallopt(M_MMAP_MAX, kept ? 0 : 65536);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, kept ? -1 : 64 << 20);
  if (!kept) malloc_trim(0);
}

}  // namespace

KeepMemory::KeepMemory() {
  std::lock_guard lock(keepers_mutex);
  if (keepers++ == 0) set_kept(true);
}

KeepMemory::~KeepMemory() {
  std::lock_guard lock(keepers_mutex);
  if (--keepers == 0) set_kept(false);
}
#else
KeepMemory::KeepMemory() {}
KeepMemory::~KeepMemory() {}
#endif

void synchronise(c10::Device device) {
  if (device.is_cuda()) c10::impl::getDeviceGuardImpl(device.type())->synchronizeDevice(device.index());
}

}  // namespace microtome
