// The entry of the core library: one command by name, errors to standard error in the contract's form.
#include <csignal>
#include <cstdio>

#include "app/cli/commands/commands.h"
#include "core/base/log.h"

namespace microtome::cli {
namespace {

struct Entry {
  const char* name;
  int (*body)(const CommandLine&);
};
const Entry kCommands[] = {
    {"doctor", doctor}, {"inspect", inspect}, {"tokenize", tokenize}, {"forward", forward}, {"mixer", mixer},
    {"generate", generate}, {"analyses", analyses_command}, {"run", run}, {"tasks", tasks}, {"runs", runs}, {"show", show},
    {"explain", explain}, {"diff", diff}, {"gc", gc}, {"export", export_command}, {"report", report}, {"circuit", circuit_command}, {"features", features_command}, {"dictionary", dictionary_command}, {"train", train}, {"bench", bench},
    {"demo", demo}};

}  // namespace
}  // namespace microtome::cli

extern "C" int microtome_run_command(const microtome::cli::CommandLine& line) {
  using namespace microtome;
  int exit_code = 1;
  Status s = catch_status([&] {
    for (const auto& c : cli::kCommands)
      if (line.command == c.name) {
        exit_code = c.body(line);
        return;
      }
    throw Error(StatusCode::kInternal, "command '" + line.command + "' has no body");
  });
  std::fflush(stdout);
  if (!s) {
    std::fprintf(stderr, "microtome: error: %s\n", s.text().c_str());
    return s.exit_code();
  }
  return exit_code;
}
