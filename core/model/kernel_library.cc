#include "core/model/kernel_library.h"

#include <dlfcn.h>

namespace microtome {
namespace {

struct Library {
  void* handle = nullptr;
  std::string why_not;
};

const Library& library() {
  static const Library found = [] {
    Library out;
#ifndef MICROTOME_KERNELS
    out.why_not = "this build has no CUDA kernels";
#else
    Dl_info info{};
    std::string folder = ".";
    if (dladdr(reinterpret_cast<void*>(&kernel_function), &info) && info.dli_fname) {
      folder = info.dli_fname;
      const size_t slash = folder.rfind('/');
      folder = slash == std::string::npos ? "." : folder.substr(0, slash);
    }
    for (const std::string& place : {folder, folder + "/.."})
      if (!out.handle) out.handle = dlopen((place + "/libmicrotome_kernels.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!out.handle) out.why_not = "libmicrotome_kernels.so is not beside the program";
#endif
    return out;
  }();
  return found;
}

}  // namespace

void* kernel_function(const char* symbol, std::string* why_not) {
  void* f = library().handle ? dlsym(library().handle, symbol) : nullptr;
  if (!f && why_not) *why_not = library().handle ? std::string("libmicrotome_kernels.so has no ") + symbol : library().why_not;
  return f;
}

}  // namespace microtome
