// feature_result.h — what the passes found, as the artifacts, numbers and sentences of the result.
#pragma once

#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/features/passes.h"
#include "core/base/artifact.h"
#include "core/dictionary/dictionary.h"

namespace microtome::analyses {

struct FoundFeatures {
  const AnalysisInput& input;
  const Dictionary& dictionary;
  const CorpusScan& corpus;
  const FirstPass& first;
  const SecondPass& second;
  const std::vector<NamedArray>& decoder;      // top_id, top_value, bottom_id, bottom_value, neighbour, cosine
  const std::vector<NamedArray>& coactive;     // feature, phi
};

FeatureSet feature_set(const FoundFeatures& found);
AnalysisResult feature_result(const FoundFeatures& found);

}  // namespace microtome::analyses
