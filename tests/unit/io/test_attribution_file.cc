// Attribution graphs as Neuronpedia's JSON: fields and names of its schema (graph-schema.json) and of circuit-tracer's
// graph_models.py, and the limit on size.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "core/base/status.h"
#include "core/io/attribution_file.h"

namespace microtome {
namespace {

using Kind = AttributionGraph::Kind;

AttributionGraph small() {
  AttributionGraph g;
  g.name = "graph";
  g.title = "A graph";
  g.tokens = {"<s>", " The", " \"cat\""};
  g.token_ids = {0, 41, 7};
  g.n_layers = 2;
  g.nodes = {{Kind::kToken, -1, 0, 0, 0, 0.05, true, ""},   {Kind::kToken, -1, 1, 41, 0, 0.2, true, ""}, {Kind::kToken, -1, 2, 7, 0, 0.3, true, ""},
             {Kind::kFeature, 0, 1, 1, 2.5, 0.4, true, "feature 1"}, {Kind::kError, 0, 1, -1, 0, 0.1, true, "error"},
             {Kind::kFeature, 1, 2, 12, 0.5, 0.6, true, "feature 12"}, {Kind::kLogit, 2, 2, 99, 0.25, 0, true, "\" sat\" (p=0.250)"}, {Kind::kLogit, 2, 2, 5, 0.5, 0, true, " ran"}};
  g.edges = {{1, 3, 1.5}, {3, 5, -0.5}, {4, 5, 0.25}, {5, 6, 0.75}, {2, 7, 0.125}, {5, 7, 2}};
  g.supernodes = {{"group", {3, 5}}};
  return g;
}

Json exported(const AttributionGraph& g, const NeuronpediaOptions& o) { return parse_json(graph_to_neuronpedia(g, o).json, "test").value(); }

NeuronpediaOptions options() {
  NeuronpediaOptions o;
  o.slug = "my-graph";
  o.scan = "a-model";
  return o;
}

TEST(AttributionFile, HasTheFieldsOfTheSchema) {
  const AttributionGraph g = small();
  NeuronpediaOptions o = options();
  o.cumulative = {0.99, 0.7, 0.6, 0.4, 0.9, 0.2, 1, 1};
  o.settings["max_n_logits"] = 10;
  const Json j = exported(g, o);
  std::set<std::string> top;
  for (const auto& [key, value] : j.items()) top.insert(key);
  EXPECT_EQ(top, (std::set<std::string>{"metadata", "qParams", "nodes", "links"}));
  const Json& m = j["metadata"];
  EXPECT_EQ(m["slug"], "my-graph");
  EXPECT_EQ(m["scan"], "a-model");
  EXPECT_EQ(m["prompt_tokens"], Json({"<s>", " The", " \"cat\""}));
  EXPECT_EQ(m["prompt"], "<s> The \"cat\"");
  EXPECT_EQ(m["node_threshold"], 0.8);
  EXPECT_EQ(m["schema_version"], 1);
  EXPECT_EQ(m["generation_settings"]["max_n_logits"], 10);
  EXPECT_EQ(m["pruning_settings"]["edge_threshold"], 0.98);
  for (const char* key : {"pinnedIds", "supernodes", "linkType", "clickedId", "sg_pos"}) EXPECT_TRUE(j["qParams"].contains(key)) << key;
  EXPECT_EQ(j["qParams"]["supernodes"], Json::parse(R"([["group", "0_1_1", "1_12_2"]])"));

  ASSERT_EQ(j["nodes"].size(), g.nodes.size());
  std::set<std::string> ids, js_ids;
  for (const Json& n : j["nodes"]) {
    for (const char* key : {"node_id", "feature", "layer", "ctx_idx", "feature_type", "token_prob", "is_target_logit", "run_idx", "reverse_ctx_idx", "jsNodeId", "clerp", "influence", "activation"})
      EXPECT_TRUE(n.contains(key)) << key;
    EXPECT_TRUE(n["node_id"].is_string() && n["layer"].is_string() && n["ctx_idx"].is_number_integer() && n["feature"].is_number_integer());
    EXPECT_TRUE(ids.insert(n["node_id"].get<std::string>()).second) << n["node_id"].get<std::string>();
  }
  const auto node = [&](const std::string& id) {
    for (const Json& n : j["nodes"])
      if (n["node_id"] == id) return n;
    ADD_FAILURE() << id;
    return Json();
  };
  const Json feature = node("1_12_2");
  EXPECT_EQ(feature["feature_type"], "cross layer transcoder");
  EXPECT_EQ(feature["feature"], (1 + 12) * (1 + 12 + 1) / 2 + 12);     // Cantor's pairing of layer and feature
  EXPECT_EQ(feature["jsNodeId"], "1_12-0");
  EXPECT_EQ(feature["activation"], 0.5);
  EXPECT_EQ(feature["influence"], 0.2);
  const Json token = node("E_41_1");
  EXPECT_EQ(token["layer"], "E");
  EXPECT_EQ(token["feature_type"], "embedding");
  EXPECT_EQ(token["feature"], 1);
  EXPECT_EQ(token["jsNodeId"], "E_41-1");
  // The error of layer 0 at position 1 has not the name of feature 1 there.
  const Json error = node("0_-1_1");
  EXPECT_EQ(error["feature_type"], "mlp reconstruction error");
  EXPECT_EQ(error["feature"], -1);
  EXPECT_EQ(error["jsNodeId"], "0_-1-1");
  EXPECT_EQ(node("0_1_1")["feature_type"], "cross layer transcoder");
  const Json likeliest = node("3_5_2"), other = node("3_99_2");
  EXPECT_EQ(likeliest["feature_type"], "logit");
  EXPECT_EQ(likeliest["layer"], "3");
  EXPECT_TRUE(likeliest["is_target_logit"].get<bool>());
  EXPECT_FALSE(other["is_target_logit"].get<bool>());
  EXPECT_EQ(likeliest["token_prob"], 0.5);
  EXPECT_EQ(likeliest["clerp"], "Output \" ran\" (p=0.500)");
  EXPECT_EQ(other["clerp"], "Output \" sat\" (p=0.250)");
  EXPECT_EQ(likeliest["jsNodeId"], "L_5-2");

  ASSERT_EQ(j["links"].size(), g.edges.size());
  std::map<std::pair<std::string, std::string>, double> links;
  for (const Json& l : j["links"]) {
    EXPECT_TRUE(ids.count(l["source"].get<std::string>()) && ids.count(l["target"].get<std::string>()));
    links[{l["source"].get<std::string>(), l["target"].get<std::string>()}] = l["weight"].get<double>();
  }
  EXPECT_EQ((links[{"E_41_1", "0_1_1"}]), 1.5);
  EXPECT_EQ((links[{"0_1_1", "1_12_2"}]), -0.5);
}

TEST(AttributionFile, StaysBelowTheSizeByLeavingOutTheWeakest) {
  AttributionGraph g = small();
  for (int i = 0; i < 400; ++i) {
    g.nodes.push_back({Kind::kFeature, 0, 2, 1000 + i, 1, 1e-4 * i, true, "weak"});
    g.edges.push_back({static_cast<int64_t>(g.nodes.size()) - 1, 5, 1e-4 * (i + 1)});
  }
  const NeuronpediaText all = graph_to_neuronpedia(g, options());
  EXPECT_EQ(all.links_left_out, 0u);
  EXPECT_EQ(all.nodes, g.nodes.size());
  NeuronpediaOptions o = options();
  o.max_bytes = 20'000;
  const NeuronpediaText some = graph_to_neuronpedia(g, o);
  EXPECT_LE(static_cast<int64_t>(some.json.size()), o.max_bytes);
  EXPECT_GT(static_cast<int64_t>(some.json.size()), o.max_bytes / 2);
  EXPECT_GT(some.links_left_out, 100u);
  EXPECT_EQ(some.links + some.links_left_out, g.edges.size());
  const Json j = parse_json(some.json, "test").value();
  double least = 1e9;
  std::set<std::string> ids;
  for (const Json& n : j["nodes"]) ids.insert(n["node_id"].get<std::string>());
  for (const Json& l : j["links"]) {
    EXPECT_TRUE(ids.count(l["source"].get<std::string>()) && ids.count(l["target"].get<std::string>()));
    if (l["target"] == "1_12_2") least = std::min(least, std::fabs(l["weight"].get<double>()));
  }
  // Of the weak ones, the strongest are there.
  EXPECT_GT(least, 1e-4 * 200);
  for (const char* id : {"E_0_0", "E_41_1", "E_7_2", "3_99_2", "3_5_2"}) EXPECT_TRUE(ids.count(id)) << id;
  o.max_bytes = 500;
  EXPECT_THROW(graph_to_neuronpedia(g, o), Error);
}

TEST(AttributionFile, WithoutCumulativeSharesTheyAreOverTheGraph) {
  const Json j = exported(small(), options());
  for (const Json& n : j["nodes"]) {
    if (n["node_id"] == "1_12_2") EXPECT_NEAR(n["influence"].get<double>(), 0.6 / 1.65, 1e-12);
    if (n["node_id"] == "0_1_1") EXPECT_NEAR(n["influence"].get<double>(), 1.0 / 1.65, 1e-12);
    if (n["node_id"] == "E_0_0") EXPECT_NEAR(n["influence"].get<double>(), 1.0, 1e-12);
  }
}

TEST(AttributionFile, KeepsHostileTextWhole) {
  AttributionGraph g = small();
  g.tokens[1] = "\"}]\n\xff</script>";
  g.nodes[3].label = "\\\"quote";
  const Json j = exported(g, options());
  EXPECT_NE(j["metadata"]["prompt_tokens"][1].get<std::string>().find("</script>"), std::string::npos);
  for (const Json& n : j["nodes"])
    if (n["node_id"] == "0_1_1") EXPECT_EQ(n["clerp"], "\\\"quote");
}

}  // namespace
}  // namespace microtome
