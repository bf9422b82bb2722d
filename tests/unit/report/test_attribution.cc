// Attribution graphs as SVG, DOT, GraphML, CSV, HTML and Markdown tables.
#include <gtest/gtest.h>

#include <cstdlib>

#include "app/report/attribution_svg.h"

namespace microtome {
namespace {

using namespace report;
using Kind = AttributionGraph::Kind;

size_t occurrences(const std::string& s, const std::string& what) {
  size_t n = 0;
  for (size_t at = s.find(what); at != std::string::npos; at = s.find(what, at + what.size())) ++n;
  return n;
}
bool has(const std::string& s, const std::string& what) { return s.find(what) != std::string::npos; }

AttributionGraph small() {
  AttributionGraph g;
  g.name = "graph";
  g.tokens = {"<s>", " The", "</svg><script>"};
  g.n_layers = 2;
  g.nodes = {{Kind::kToken, -1, 1, 41, 0, 0.2, true, ""},           {Kind::kToken, -1, 2, 7, 0, 0.3, true, ""},     {Kind::kFeature, 0, 1, 1, 2.5, 0.4, true, "one"},
             {Kind::kError, 0, 1, -1, 0, 0.1, true, "error"},       {Kind::kFeature, 1, 2, 12, 0.5, 0.9, true, "twelve"}, {Kind::kLogit, 2, 2, 99, 0.25, 0, true, "\" sat\" (p=0.250)"}};
  g.edges = {{0, 2, 1.5}, {2, 4, -0.5}, {3, 4, 0.25}, {4, 5, 0.75}, {1, 5, 0.25}};
  g.supernodes = {{"group", {2, 4}}};
  g.replacement_score = 0.5;
  g.completeness_score = 0.75;
  return g;
}

double number_at(const std::string& svg, const std::string& title, const char* attribute) {
  // The node's own hover text begins with its name.
  const size_t end = svg.find("<title>" + title + " ", svg.find("class=\"an "));
  EXPECT_NE(end, std::string::npos) << title;
  const size_t start = svg.rfind('<', end - 1);
  return std::strtod(svg.c_str() + svg.find(std::string(attribute) + "=\"", start) + std::string(attribute).size() + 2, nullptr);
}

TEST(AttributionSvg, LayersGoUpAndPositionsRight) {
  const AttributionPicture p = attribution_svg(small(), {});
  EXPECT_EQ(occurrences(p.svg, "class=\"an anf\""), 2u);
  EXPECT_EQ(occurrences(p.svg, "class=\"an ant\""), 2u);
  EXPECT_EQ(occurrences(p.svg, "class=\"an anl\""), 1u);
  EXPECT_EQ(occurrences(p.svg, "class=\"ane\""), 1u);
  EXPECT_EQ(occurrences(p.svg, "<path class=\"ae ap\""), 4u);
  EXPECT_EQ(occurrences(p.svg, "<path class=\"ae am\""), 1u);
  const double y0 = number_at(p.svg, "feature 1 of layer 0", "cy"), y1 = number_at(p.svg, "feature 12 of layer 1", "cy");
  EXPECT_LT(y1, y0);
  EXPECT_LT(number_at(p.svg, "feature 1 of layer 0", "cx"), number_at(p.svg, "feature 12 of layer 1", "cx"));
  // Area by influence: 0.9 against 0.4.
  const double r0 = number_at(p.svg, "feature 1 of layer 0", "r"), r1 = number_at(p.svg, "feature 12 of layer 1", "r");
  EXPECT_NEAR(r0 * r0 / (r1 * r1), 0.4 / 0.9, 0.01);
  EXPECT_FALSE(has(p.svg, "<script"));
  EXPECT_TRUE(has(p.caption, "All 5 nodes are drawn, with 5 of 5 edges."));
  EXPECT_EQ(attribution_svg(small(), {}).svg, p.svg);
  EXPECT_TRUE(attribution_svg(AttributionGraph(), {}).svg.empty());
}

TEST(AttributionSvg, DrawsTheStrongestOnly) {
  AttributionGraph g = small();
  for (int i = 0; i < 300; ++i) {
    g.nodes.push_back({Kind::kFeature, 1, 2, 100 + i, 1, 1e-3 * i / 300, true, ""});
    g.edges.push_back({static_cast<int64_t>(g.nodes.size()) - 1, 5, 1e-6});
  }
  AttributionLook look;
  look.most_nodes = 10;
  look.most_edges = 4;
  const AttributionPicture p = attribution_svg(g, look);
  EXPECT_EQ(occurrences(p.svg, "class=\"an "), 10u);        // nine of these and the logit, beside one error
  EXPECT_EQ(occurrences(p.svg, "class=\"ane\""), 1u);
  EXPECT_EQ(occurrences(p.svg, "<path class=\"ae "), 4u);
  EXPECT_TRUE(has(p.caption, "The 10 nodes with most influence of 305 are drawn, with 4 of 305 edges."));
}

TEST(AttributionTables, AreSortedByWhatBearsOnTheLogits) {
  const Table nodes = attribution_node_table(small(), 3), edges = attribution_edge_table(small(), 10);
  ASSERT_EQ(nodes.rows.size(), 3u);
  EXPECT_EQ(std::get<std::string>(nodes.rows[0][0]), "1_12_2");
  EXPECT_EQ(std::get<std::string>(nodes.rows[1][0]), "0_1_1");
  ASSERT_EQ(edges.rows.size(), 5u);
  // Shares of what the target receives, times the target's influence: 2/3 × 0.9, then 1 × 0.4.
  EXPECT_TRUE(has(std::get<std::string>(edges.rows[0][0]), "feature 1 of layer 0"));
  EXPECT_NEAR(std::get<double>(edges.rows[0][3]), 100 * 0.5 / 0.75, 1e-9);
  EXPECT_EQ(std::get<double>(edges.rows[0][2]), -0.5);
}

TEST(AttributionText, OtherPrograms) {
  const std::string dot = attribution_dot(small()), graphml = attribution_graphml(small()), csv = attribution_csv(small());
  EXPECT_EQ(occurrences(dot, " -> "), 5u);
  EXPECT_TRUE(has(dot, "cluster_0"));
  EXPECT_EQ(occurrences(graphml, "<edge "), 5u);
  EXPECT_EQ(occurrences(graphml, "<node "), 6u);
  EXPECT_TRUE(has(graphml, "source=\"0_-1_1\" target=\"1_12_2\""));
  EXPECT_TRUE(has(csv, "0_1_1,1_12_2,-0.5,"));
  const std::string html = attribution_html(small());
  for (const char* part : {"<svg", "Strongest edges", "Nodes with most influence", "Supernodes", "Replacement score 0.5"}) EXPECT_TRUE(has(html, part)) << part;
  EXPECT_FALSE(has(html, "<script"));
}

}  // namespace
}  // namespace microtome
