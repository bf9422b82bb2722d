#include "app/cli/core_library.h"

#include <dlfcn.h>
#include <unistd.h>

namespace microtome::cli {

std::string program_folder() {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n <= 0) return ".";
  std::string s(path, static_cast<size_t>(n));
  return s.substr(0, s.rfind('/'));
}

void* core_function(const char* symbol, std::string* why) {
  static void* const library = [&]() -> void* {
    for (const char* place : {"/libmicrotome_app.so", "/../lib/microtome/libmicrotome_app.so"}) {
      if (void* opened = dlopen((program_folder() + place).c_str(), RTLD_NOW | RTLD_GLOBAL)) return opened;
      if (why && why->empty()) *why = dlerror();
    }
    return nullptr;
  }();
  void* function = library ? dlsym(library, symbol) : nullptr;
  if (!function && why)
    *why = "the core library did not open (" + (why->empty() ? std::string("no ") + symbol : *why) + "): build again with ./bootstrap.sh build";
  return function;
}

}  // namespace microtome::cli
