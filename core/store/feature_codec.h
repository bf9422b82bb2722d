// feature_codec.h — feature dashboards and attribution graphs as the JSON that the project file keeps (encode, decode) and
// as the plain JSON of results (…_json); private to core/store. Decoders throw Error(kBadInput).
#pragma once

#include <string>

#include "core/base/artifact.h"
#include "core/base/json.h"

namespace microtome {

// The set's own facts; its features lie in tables (feature_tables.h).
Json encode_features_head(const FeatureSet& set);
FeatureSet decode_features_head(const Json& object, const std::string& where);
Json features_json(const FeatureSet& set);

Json encode_graph(const AttributionGraph& graph);
AttributionGraph decode_graph(const Json& object, const std::string& where);
Json graph_json(const AttributionGraph& graph);

}  // namespace microtome
