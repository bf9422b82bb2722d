#include "core/io/circuit_file.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/base/json.h"
#include "core/base/rng.h"
#include "tests/unit/base/temp_folder.h"

namespace microtome {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

bool same(double a, double b) { return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b); }

void expect_same(const Circuit& a, const Circuit& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.title, b.title);
  EXPECT_EQ(a.n_layers, b.n_layers);
  EXPECT_EQ(a.n_heads, b.n_heads);
  EXPECT_EQ(a.d_model, b.d_model);
  EXPECT_EQ(a.parallel_attn_mlp, b.parallel_attn_mlp);
  ASSERT_EQ(a.nodes.size(), b.nodes.size());
  for (size_t i = 0; i < a.nodes.size(); ++i)
    EXPECT_TRUE(a.nodes[i].name == b.nodes[i].name && a.nodes[i].in_graph == b.nodes[i].in_graph && same(a.nodes[i].score, b.nodes[i].score)) << a.nodes[i].name;
  ASSERT_EQ(a.edges.size(), b.edges.size());
  for (size_t i = 0; i < a.edges.size(); ++i) {
    const auto &x = a.edges[i], &y = b.edges[i];
    EXPECT_TRUE(x.from == y.from && x.to == y.to && x.in_graph == y.in_graph && same(x.score, y.score)) << x.from << "->" << x.to;
  }
  ASSERT_EQ(a.groups.size(), b.groups.size());
  for (size_t i = 0; i < a.groups.size(); ++i) EXPECT_TRUE(a.groups[i].name == b.groups[i].name && a.groups[i].nodes == b.groups[i].nodes);
}

Circuit sample() {
  Circuit c{"eap", "A \"circuit\" – é", 3, 4, 128, true, {}, {}, {}};
  c.nodes = {{"input", true, kNaN}, {"a0.h3", true, -0.1}, {"a1", true, 1e-300}, {"m2", false, kInf}, {"logits", true, 0}};
  c.edges = {{"input", "a0.h3<q>", true, 0.1}, {"input", "a0.h3<beta>", false, kNaN}, {"a0.h3", "a1", true, -kInf},
             {"a1", "m2", true, 1.0 / 3},      {"m2", "logits", true, -0.0},          {"a0.h3", "a2.h0<q_conv>", true, 5}};
  c.groups = {{"movers </script>", {"a0.h3", "m2"}}, {"é", {}}};
  return c;
}

std::string refusal(const std::string& text) {
  const Result<Circuit> r = parse_circuit(text, "c.json");
  if (r) return "accepted";
  EXPECT_NE(r.status().where().find("c.json"), std::string::npos) << r.status().text();
  EXPECT_EQ(r.status().code(), StatusCode::kBadInput) << r.status().text();
  return r.status().text();
}
#define EXPECT_REFUSED(text, part) EXPECT_NE(refusal(text).find(part), std::string::npos) << refusal(text)

TEST(CircuitFile, RoundTripIsExact) {
  expect_same(parse_circuit(circuit_to_mib(sample()), "c").value(), sample());
  Rng rng(7);
  Circuit c{"", "", 12, 12, 768, false, {}, {}, {}};
  for (int l = 0; l < 12; ++l)
    for (int h = 0; h < 12; ++h) {
      std::string node = "a" + std::to_string(l) + ".h" + std::to_string(h);
      c.nodes.push_back({node, rng.below(2) == 0, rng.normal()});
      double any = std::bit_cast<double>(rng.next());
      c.edges.push_back({"input", node + "<k>", rng.below(2) == 0, std::isnan(any) ? kNaN : any});
    }
  expect_same(parse_circuit(circuit_to_mib(c), "c").value(), c);
  expect_same(parse_circuit(circuit_to_mib({}), "c").value(), {});
}

TEST(CircuitFile, TheFormIsMibs) {
  const Circuit c = sample();
  const Json j = parse_json(circuit_to_mib(c), "c", {.allow_infinity = true}).value();
  EXPECT_EQ(j["cfg"]["n_layers"], 3);
  EXPECT_EQ(j["cfg"]["parallel_attn_mlp"], true);
  EXPECT_EQ(j["cfg"]["extensions"], (Json::array({"<beta>", "<q_conv>", "a{l}"})));
  EXPECT_EQ(j["nodes"]["a0.h3"]["in_graph"], true);
  EXPECT_EQ(j["edges"]["input->a0.h3<q>"]["score"], 0.1);
  EXPECT_EQ(j["edges"]["input->a0.h3<beta>"]["in_graph"], false);
  EXPECT_TRUE(j["edges"]["input->a0.h3<beta>"]["score"].is_null());
  // What MIB knows is not flagged.
  Circuit plain{"", "", 1, 1, 8, false, {{"input", true, kNaN}}, {{"input", "a0.h0<v>", true, 1}}, {}};
  const Json p = parse_json(circuit_to_mib(plain), "p").value();
  EXPECT_FALSE(p["cfg"].contains("extensions"));
  EXPECT_FALSE(p.contains("microtome"));
}

TEST(CircuitFile, ReadsOtherPeoplesForms) {
  const Circuit c = parse_circuit(R"({"cfg":{"n_layers":2,"n_heads":2,"d_model":8,"parallel_attn_mlp":false,"more":[1]},"neurons":{"x":{}},
    "nodes":{"input":true,"a0.h0":false,"m1":{"in_graph":true},"logits":{"in_graph":true,"score":null,"note":"x"}},
    "edges":{"input->a0.h0<q>":{"in_graph":true},"input->a0.h0<k>":{"score":2},"input->m1":false,"input->logits":0.5,"m1->logits":{"score":null,"in_graph":false}}})", "c").value();
  ASSERT_EQ(c.nodes.size(), 4u);
  EXPECT_TRUE(c.nodes[0].in_graph);
  EXPECT_FALSE(c.nodes[1].in_graph);
  EXPECT_TRUE(std::isnan(c.nodes[2].score) && std::isnan(c.nodes[3].score));
  ASSERT_EQ(c.edges.size(), 5u);
  EXPECT_TRUE(c.edges[0].in_graph && std::isnan(c.edges[0].score));
  EXPECT_TRUE(c.edges[1].in_graph && c.edges[1].score == 2);
  EXPECT_TRUE(!c.edges[2].in_graph && std::isnan(c.edges[2].score));
  EXPECT_TRUE(c.edges[3].in_graph && c.edges[3].score == 0.5);
  EXPECT_FALSE(c.edges[4].in_graph);
  // Without nodes they come from the edges.
  const Circuit bare = parse_circuit(R"({"edges":{"input->m0":true,"m0->a1.h0<q>":false,"m0->logits":1}})", "c").value();
  ASSERT_EQ(bare.nodes.size(), 4u);
  EXPECT_EQ(bare.nodes[2].name, "a1.h0");
  EXPECT_FALSE(bare.nodes[2].in_graph);
  EXPECT_TRUE(bare.nodes[3].in_graph);
}

TEST(CircuitFile, RefusesWithTheKey) {
  EXPECT_REFUSED("[]", "not an object");
  EXPECT_REFUSED("{}", "no 'edges'");
  EXPECT_REFUSED(R"({"edges":[]})", "'edges' is not an object");
  EXPECT_REFUSED(R"({"nodes":{"b0":true},"edges":{}})", "node 'b0'");
  EXPECT_REFUSED(R"({"nodes":{"a0.h0<q>":true},"edges":{}})", "node 'a0.h0<q>'");
  EXPECT_REFUSED(R"({"nodes":{"m0":3},"edges":{}})", "node 'm0' is given in no known form");
  EXPECT_REFUSED(R"({"nodes":{"m0":{"in_graph":1}},"edges":{}})", "in_graph of node 'm0'");
  EXPECT_REFUSED(R"({"nodes":{"m0":true,"m0":true},"edges":{}})", "'m0' occurs twice");
  EXPECT_REFUSED(R"({"edges":{"input->m0":1,"input->m0":2}})", "'input->m0' occurs twice");
  EXPECT_REFUSED(R"({"edges":{"input-m0":1}})", "'input-m0' has no '->'");
  EXPECT_REFUSED(R"({"edges":{"input->m0":"1"}})", "edge 'input->m0' is given in no known form");
  EXPECT_REFUSED(R"({"edges":{"input->m0":{"score":"1"}}})", "score of edge 'input->m0'");
  EXPECT_REFUSED(R"({"edges":{"m1->m0":1}})", "'m1->m0' does not lead forward");
  EXPECT_REFUSED(R"({"edges":{"logits->m0":1}})", "does not lead forward");
  EXPECT_REFUSED(R"({"edges":{"a0.h0->a0.h1<q>":1}})", "does not lead forward");
  EXPECT_REFUSED(R"({"edges":{"input->m0<q>":1}})", "'input->m0<q>' enters");
  EXPECT_REFUSED(R"({"edges":{"input->a0.h0<>":1}})", "enters at an input");
  EXPECT_REFUSED(R"({"edges":{"input->a0.h0<q":1}})", "edge 'input->a0.h0<q'");
  EXPECT_REFUSED(R"({"edges":{"input->a0.h0<Q!>":1}})", "enters at an input");
  EXPECT_REFUSED(R"({"edges":{"input->a0.h0<q>->m3":1}})", "edge 'input->a0.h0<q>->m3'");
  EXPECT_REFUSED(R"({"cfg":{"n_layers":2},"edges":{"input->m2":1}})", "layer 2 of a model of 2 layers");
  EXPECT_REFUSED(R"({"cfg":{"n_heads":2},"edges":{"input->a0.h2<q>":1}})", "head 2 of a model of 2 heads");
  EXPECT_REFUSED(R"({"cfg":{"n_layers":-1},"edges":{}})", "cfg.n_layers");
  EXPECT_REFUSED(R"({"cfg":{"n_layers":"2"},"edges":{}})", "n_layers");
  EXPECT_REFUSED(R"({"cfg":3,"edges":{}})", "'cfg' is not an object");
  EXPECT_REFUSED(R"({"edges":{"input->m0":NaN}})", "NaN");
  EXPECT_REFUSED(R"({"edges":{},"microtome":{"groups":[{"name":"g","nodes":["zz"]}]}})", "'zz'");
  EXPECT_REFUSED(R"({"edges":{},"microtome":{"groups":[{"name":"","nodes":[]}]}})", "a group has a name");
  EXPECT_REFUSED(R"({"edges":{},"microtome":{"groups":{}}})", "microtome.groups");
  EXPECT_REFUSED("{\"edges\":{\"input->" + std::string(100'000, 'm') + "\":1}}", "no known form");
  EXPECT_LT(refusal("{\"edges\":{\"input->" + std::string(100'000, 'm') + "\":1}}").size(), 1000u);
  EXPECT_REFUSED("{\"edges\":{},\"x\":" + std::string(20, '[') + std::string(20, ']') + "}", "nested deeper");
}

TEST(CircuitFile, WhatTheFormCannotHoldIsNotWritten) {
  const auto refused = [](const Circuit& c) {
    try {
      circuit_to_mib(c);
      return std::string("written");
    } catch (const Error& e) {
      return e.status().text();
    }
  };
  Circuit c = sample();
  c.nodes.push_back({"feature 7", true, 0});
  EXPECT_NE(refused(c).find("'feature 7'"), std::string::npos);
  c = sample();
  c.nodes.push_back(c.nodes[0]);
  EXPECT_NE(refused(c).find("'input' is given twice"), std::string::npos);
  c = sample();
  c.edges.push_back(c.edges[0]);
  EXPECT_NE(refused(c).find("is given twice"), std::string::npos);
  c = sample();
  c.n_heads = 2;
  EXPECT_NE(refused(c).find("head 3 of a model of 2"), std::string::npos);
}

TEST(CircuitFile, FilesAreWholeOrAbsent) {
  testing::TempFolder folder;
  const std::string path = folder / "c.json";
  ASSERT_TRUE(write_circuit_file(path, sample()).is_ok());
  expect_same(read_circuit_file(path).value(), sample());
  Circuit bad = sample();
  bad.nodes[0].name = "?";
  EXPECT_FALSE(write_circuit_file(path, bad).is_ok());
  expect_same(read_circuit_file(path).value(), sample());
  EXPECT_FALSE(read_circuit_file(folder / "none.json").is_ok());
}

}  // namespace
}  // namespace microtome
