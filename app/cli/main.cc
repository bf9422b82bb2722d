// microtome — parses its arguments, then opens the core library. See command_line.h.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "app/cli/command_line.h"

namespace {

std::string own_folder() {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n <= 0) return ".";
  std::string s(path, static_cast<size_t>(n));
  return s.substr(0, s.rfind('/'));
}

}  // namespace

int main(int argc, char** argv) {
  microtome::cli::Parsed parsed = microtome::cli::parse(argc, argv);
  if (parsed.exit_code >= 0) return parsed.exit_code;
  std::string folder = own_folder();
  parsed.line.program = folder + "/microtome";
  void* library = nullptr;
  std::string why;
  for (const char* place : {"/libmicrotome_app.so", "/../lib/microtome/libmicrotome_app.so"}) {
    library = dlopen((folder + place).c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library) break;
    if (why.empty()) why = dlerror();
  }
  auto run = library ? reinterpret_cast<microtome::cli::RunCommand>(dlsym(library, microtome::cli::kRunCommandSymbol)) : nullptr;
  if (!run) {
    std::fprintf(stderr, "microtome: error: the core library did not open (%s): build again with ./bootstrap.sh build\n", why.c_str());
    return 1;
  }
  return run(parsed.line);
}
