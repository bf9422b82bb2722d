// report.h — what an evaluation found as numbers, tables and sentences.
#pragma once

#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "core/training/dictionary_metrics.h"

namespace microtome::analyses {

struct EvalReport {
  const AnalysisInput& input;
  const DictionarySet& set;
  std::vector<MetricsAccumulator> metrics;             // a member
  struct Choice {
    std::string name;
    LossRows losses;                                   // rows in the order of the text
  };
  std::vector<Choice> choices;                         // each member alone, then all together where there are several
  double kept_error_change = 0;
  int64_t sequences = 0;
};

AnalysisResult make_report(const EvalReport& r);

}  // namespace microtome::analyses
