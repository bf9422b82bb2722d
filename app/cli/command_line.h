// command_line.h — what the thin program hands to the core library after parsing. Plain data: no LibTorch, no CLI11.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace microtome::cli {

struct CommandLine {
  std::string command;                                  // "run", "forward" …
  std::vector<std::string> words;                       // positionals in order
  std::map<std::string, std::string> options;           // "--model" → value, only those given
  std::map<std::string, std::vector<std::string>> lists;   // options that may repeat
  std::set<std::string> flags;                          // given flags: "--json"
  std::vector<std::string> extras;                      // `run`: flags of the analysis's own parameters
  std::string text;                                     // the whole line, quoted, for provenance
  std::string program;                                  // path of this program

  bool flag(const std::string& name) const { return flags.count(name) != 0; }
  bool has(const std::string& name) const { return options.count(name) != 0; }
  std::string get(const std::string& name, const std::string& fallback = {}) const {
    auto it = options.find(name);
    return it == options.end() ? fallback : it->second;
  }
  std::vector<std::string> list(const std::string& name) const {
    auto it = lists.find(name);
    return it == lists.end() ? std::vector<std::string>{} : it->second;
  }
  std::string word(size_t i) const { return i < words.size() ? words[i] : std::string(); }
};

// Parses argv. exit_code >= 0: stop with it (help and version were printed, or an error). Never opens the core.
struct Parsed {
  CommandLine line;
  int exit_code = -1;
};
Parsed parse(int argc, char** argv);

// The one function of libmicrotome_app.so; returns the exit status.
using RunCommand = int (*)(const CommandLine&);
constexpr const char* kRunCommandSymbol = "microtome_run_command";

}  // namespace microtome::cli
