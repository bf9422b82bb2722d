// analysis_info.h — what is known of an analysis before it runs: name, definition, source, what it needs and gives. Free of
// LibTorch, so that the desktop app makes its forms from it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace microtome {

struct OutputInfo {
  std::string name;                    // as analyses.md gives it
  std::vector<std::string> axes;
  std::string help;
};

struct AnalysisInfo {
  std::string name;
  int64_t version = 1;                 // raised whenever the same inputs give another answer
  std::string title, definition, source;
  enum class Prompts { kNone, kClean, kPairs };
  Prompts prompts = Prompts::kPairs;   // what the dataset must hold; kNone: the analysis makes its own tokens
  std::vector<OutputInfo> outputs;
};

}  // namespace microtome
