// microtome-desktop — the window, or with --headless the same as `microtome`. Which of the two is decided before Qt starts, so
// that --headless needs no display.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "app/cli/command_line.h"
#include "app/cli/core_library.h"
#include "app/desktop/frame/application.h"

namespace {

int headless(int argc, char** argv) {
  // The rest of the line as `microtome` would see it; provenance then names a command that any machine has.
  std::vector<char*> rest;
  std::string name = "microtome";
  rest.push_back(name.data());
  for (int i = 2; i < argc; ++i) rest.push_back(argv[i]);
  rest.push_back(nullptr);
  microtome::cli::Parsed parsed = microtome::cli::parse(static_cast<int>(rest.size()) - 1, rest.data());
  if (parsed.exit_code >= 0) return parsed.exit_code;
  parsed.line.program = microtome::cli::program_folder() + "/microtome";
  if (parsed.line.command == "report" && parsed.line.get("--format") == "pdf") return microtome::desktop::writePdfReport(argc, argv, parsed.line);
  std::string why;
  auto run = reinterpret_cast<microtome::cli::RunCommand>(microtome::cli::core_function(microtome::cli::kRunCommandSymbol, &why));
  if (!run) {
    std::fprintf(stderr, "microtome: error: %s\n", why.c_str());
    return 1;
  }
  return run(parsed.line);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--headless") == 0) return headless(argc, argv);
  return microtome::desktop::runApplication(argc, argv);
}
