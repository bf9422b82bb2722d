// artifact_codec.h — artifacts, summaries and run specifications as the JSON that the project file keeps; private to
// core/store. Arrays are not in it: the store keeps them as safetensors, in the order given here. Nor are the features of a FeatureSet: they have
// tables of their own (feature_tables.h).
#pragma once

#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/store/run_spec.h"

namespace microtome {

std::string encode_artifact(const Artifact& artifact, const std::string& where);
// `kind` as artifact_kind() gives it; `arrays` are those of a TensorMap, in order. Throws Error(kBadInput).
Artifact decode_artifact(const std::string& kind, const std::string& body, std::vector<NamedArray> arrays,
                         const std::string& where);

// Summary, findings, warnings: a result without its artifacts.
std::string encode_head(const AnalysisResult& result, const std::string& where);
AnalysisResult decode_head(const std::string& head, const std::string& where);

std::string encode_spec(const RunSpec& spec, const std::string& where);
RunSpec decode_spec(const std::string& text, const std::string& where);

}  // namespace microtome
