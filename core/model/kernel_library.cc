#include "core/model/kernel_library.h"

#include <c10/core/Stream.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <dlfcn.h>
#include <unistd.h>

namespace microtome {
namespace {

struct Library {
  void* handle = nullptr;
  std::string why_not;
};

[[maybe_unused]] Library open_library(const std::string& file) {
  Library out;
  Dl_info info{};
  std::string folder = ".";
  if (dladdr(reinterpret_cast<void*>(&kernel_function), &info) && info.dli_fname) {
    folder = info.dli_fname;
    const size_t slash = folder.rfind('/');
    folder = slash == std::string::npos ? "." : folder.substr(0, slash);
  }
  for (const std::string& place : {folder, folder + "/.."}) {
    if (out.handle || access((place + "/" + file).c_str(), F_OK) != 0) continue;
    out.handle = dlopen((place + "/" + file).c_str(), RTLD_NOW | RTLD_LOCAL);
    const char* why = out.handle ? nullptr : dlerror();
    if (why) out.why_not = why;
  }
  if (!out.handle && out.why_not.empty()) out.why_not = file + " is not beside the program";
  return out;
}

void* function(const Library& from, const char* file, const char* symbol, std::string* why_not) {
  void* f = from.handle ? dlsym(from.handle, symbol) : nullptr;
  if (!f && why_not) *why_not = from.handle ? std::string(file) + " has no " + symbol : from.why_not;
  return f;
}

}  // namespace

void* kernel_function(const char* symbol, std::string* why_not) {
#ifdef MICROTOME_KERNELS
  static const Library found = open_library("libmicrotome_kernels.so");
#else
  static const Library found{nullptr, "this build has no CUDA kernels"};
#endif
  return function(found, "libmicrotome_kernels.so", symbol, why_not);
}

void* graph_function(const char* symbol, std::string* why_not) {
#ifdef MICROTOME_GRAPH
  static const Library found = open_library("libmicrotome_graph.so");
#else
  static const Library found{nullptr, "this build records no CUDA graphs"};
#endif
  return function(found, "libmicrotome_graph.so", symbol, why_not);
}

void* current_stream(c10::Device device) { return c10::impl::getDeviceGuardImpl(device.type())->getStream(device).native_handle(); }

}  // namespace microtome
