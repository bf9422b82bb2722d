// microtome — parses its arguments, then opens the core library. See command_line.h.
#include <cstdio>
#include <string>

#include "app/cli/command_line.h"
#include "app/cli/core_library.h"

int main(int argc, char** argv) {
  microtome::cli::Parsed parsed = microtome::cli::parse(argc, argv);
  if (parsed.exit_code >= 0) return parsed.exit_code;
  parsed.line.program = microtome::cli::program_folder() + "/microtome";
  std::string why;
  auto run = reinterpret_cast<microtome::cli::RunCommand>(microtome::cli::core_function(microtome::cli::kRunCommandSymbol, &why));
  if (!run) {
    std::fprintf(stderr, "microtome: error: %s\n", why.c_str());
    return 1;
  }
  return run(parsed.line);
}
