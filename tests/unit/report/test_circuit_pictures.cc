// Circuits as SVG, DOT, GraphML and CSV, and their place in the page.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "app/layout/graph_layout.h"
#include "app/report/circuit_svg.h"
#include "app/report/circuit_text.h"
#include "app/report/html.h"
#include "app/report/svg_chart.h"
#include "tests/unit/report/sample_runs.h"

namespace microtome {
namespace {

using namespace report;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const std::string kHostile = "</title><script>alert(1)</script>\"'&\\n\n]]>\xff";

size_t occurrences(const std::string& s, const std::string& what) {
  size_t n = 0;
  for (size_t at = s.find(what); at != std::string::npos; at = s.find(what, at + what.size())) ++n;
  return n;
}
bool has(const std::string& s, const std::string& what) { return s.find(what) != std::string::npos; }

Circuit small() {
  Circuit c{"c", "Small", 2, 2, 8, false, {}, {}, {}};
  for (const char* n : {"input", "a0.h1", "m0", "a1", "logits"}) c.nodes.push_back({n, true, 0.5});
  c.nodes.push_back({"m1", false, 0.1});
  c.edges = {{"input", "a0.h1<q>", true, 0.5}, {"input", "a0.h1<beta>", true, -0.25}, {"a0.h1", "m0", true, 1}, {"m0", "a1<v_conv>", true, kNaN},
             {"a1", "logits", true, -0.75},    {"m1", "logits", true, 9},             {"input", "logits", false, 3}};
  c.groups = {{"movers", {"a0.h1", "a1"}}};
  return c;
}

// x or y of the n-th element of a class.
double number_after(const std::string& svg, const std::string& start, const std::string& attribute, size_t n = 0) {
  size_t at = svg.find(start);
  while (n-- > 0) at = svg.find(start, at + 1);
  EXPECT_NE(at, std::string::npos) << start;
  return std::strtod(svg.c_str() + svg.find(attribute + "=\"", at) + attribute.size() + 2, nullptr);
}

TEST(CircuitSvg, DrawsWhatBelongs) {
  const CircuitPicture p = circuit_svg(small(), {});
  // m1 is given as out: its edge is not drawn, strong as it is.
  EXPECT_EQ(occurrences(p.svg, "<path class=\"ce c"), 5u + 3u);      // and three in the legend
  EXPECT_TRUE(has(p.svg, "input \xE2\x86\x92 a0.h1&lt;q&gt;: 0.5"));
  EXPECT_FALSE(has(p.svg, ">m1<"));
  EXPECT_TRUE(has(p.svg, ">0.1</text>"));
  EXPECT_TRUE(has(p.svg, ">movers</text>"));
  EXPECT_TRUE(has(p.svg, "thickest: |score| 1<"));
  for (const char* port : {"into q<", "into beta<", "into v_conv<"}) EXPECT_TRUE(has(p.svg, port)) << port;
  EXPECT_TRUE(has(p.caption, "5 edges between 5 nodes."));
  // The strongest is the widest; signs have their classes.
  const size_t widest = p.svg.find("stroke-width=\"5\"");
  EXPECT_TRUE(has(p.svg.substr(widest, 400), "a0.h1 \xE2\x86\x92 m0"));
  EXPECT_TRUE(has(p.svg, "ce cm\" stroke-width=\"3.95\""));        // 0.8 + 4.2 × 0.75
  EXPECT_EQ(circuit_svg(small(), {}).svg, p.svg);
}

TEST(CircuitSvg, LayersGoUp) {
  const std::string svg = circuit_svg(small(), {}).svg;
  const auto y = [&](const std::string& label) {
    const size_t end = svg.find("\">" + label + "</text></g>");
    EXPECT_NE(end, std::string::npos) << label;
    return std::strtod(svg.c_str() + svg.rfind("y=\"", end) + 3, nullptr);
  };
  EXPECT_GT(y("input"), y("0.1"));
  EXPECT_GT(y("0.1"), y("m0"));
  EXPECT_GT(y("m0"), y("a1"));
  EXPECT_GT(y("a1"), y("logits"));
}

TEST(CircuitSvg, TheStrongestAreDrawnAndTheRestCounted) {
  Circuit c{"c", "", 40, 12, 8, false, {}, {}, {}};
  for (int i = 0; i < 40 * 12; ++i) {
    const std::string head = "a" + std::to_string(i / 12) + ".h" + std::to_string(i % 12);
    c.nodes.push_back({head, true, 0});
    c.edges.push_back({"input", head + "<q>", true, 1.0 + i});
    c.edges.push_back({head, "logits", true, -1000.0 - i});
  }
  const CircuitPicture p = circuit_svg(c, {});
  EXPECT_TRUE(has(p.caption, "The 300 strongest of 960 edges are drawn; 660 weaker ones and 181 nodes that only they join are not.")) << p.caption;
  EXPECT_EQ(occurrences(p.svg, "<path class=\"ce cm\" stroke-width") - 1, 300u);
  EXPECT_FALSE(has(p.svg, ">14.11<"));
  EXPECT_TRUE(has(p.svg, ">15.0<"));
  EXPECT_TRUE(circuit_svg(Circuit{}, {}).svg.empty());
  EXPECT_TRUE(has(circuit_svg(Circuit{}, {}).caption, "Nothing belongs"));
}

TEST(CircuitSvg, SaysHowItIsLaidOut) {
  const std::string caption = circuit_svg(small(), {}).caption;
  EXPECT_EQ(has(caption, "without graphviz"), !layout::has_dot());
}

TEST(CircuitSvg, SoftmaxAndRecurrentLayersHaveTheirColours) {
  ModelFacts facts;
  facts.layers = {MixerKind::kSoftmax, MixerKind::kRecurrent};
  CircuitLook look;
  look.model = &facts;
  const std::string svg = circuit_svg(small(), look).svg;
  EXPECT_TRUE(has(svg, "<circle class=\"nk\"") && has(svg, "<rect class=\"nr\""));
  EXPECT_TRUE(has(svg, "softmax layer") && has(svg, "recurrent layer"));
  EXPECT_FALSE(has(circuit_svg(small(), {}).svg, "class=\"nk\""));
}

TEST(CircuitSvg, AFileStandsAlone) {
  CircuitLook look;
  look.standalone = true;
  const std::string svg = circuit_svg(small(), look).svg;
  EXPECT_EQ(svg.rfind("<svg class=\"cg\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\"", 0), 0u);
  EXPECT_TRUE(has(svg, "<style>"));
  EXPECT_FALSE(has(svg, "var(--"));
}

TEST(CircuitPictures, HostileNamesAreText) {
  Circuit c = small();
  c.name = c.title = c.nodes[1].name = c.edges[0].from = c.groups[0].name = kHostile;
  c.edges[1].to = kHostile + "<" + kHostile + ">";
  c.groups[0].nodes.push_back(kHostile);
  CircuitLook look;
  look.standalone = true;
  for (const std::string& text : {circuit_svg(c, look).svg, circuit_graphml(c, true)}) {
    EXPECT_FALSE(has(text, "<script"));
    EXPECT_FALSE(has(text, "]]>"));
    EXPECT_EQ(occurrences(text, "\"") % 2, 0u);
    EXPECT_EQ(clean_utf8(text), text);
  }
  const std::string dot = circuit_dot(c, true);
  EXPECT_EQ(clean_utf8(dot), dot);
  // No quoted text ends before its time: outside of quotes there is nothing of the name.
  std::string outside;
  bool quoted = false;
  for (size_t i = 0; i < dot.size(); ++i) {
    if (quoted && dot[i] == '\\') ++i;
    else if (dot[i] == '"') quoted = !quoted;
    else if (!quoted) outside += dot[i];
  }
  EXPECT_FALSE(quoted);
  EXPECT_FALSE(has(outside, "script"));
}

TEST(CircuitText, DotHoldsWhatBelongs) {
  const std::string dot = circuit_dot(small());
  EXPECT_EQ(occurrences(dot, " -> n"), 5u);
  EXPECT_TRUE(has(dot, "headlabel=\"beta\""));
  EXPECT_TRUE(has(dot, "subgraph cluster_0"));
  EXPECT_EQ(occurrences(circuit_dot(small(), true), " -> n"), 7u);
  EXPECT_EQ(occurrences(circuit_dot(small(), true), "style=dotted"), 2u);
}

TEST(CircuitText, GraphMlHoldsNumbersThatReadBack) {
  const std::string xml = circuit_graphml(small());
  EXPECT_EQ(occurrences(xml, "<edge "), 5u);
  EXPECT_EQ(occurrences(xml, "<node "), 5u);
  EXPECT_TRUE(has(xml, "<data key=\"e_score\">-0.25</data>"));
  EXPECT_TRUE(has(xml, "<data key=\"n_label\">a0.h1</data><data key=\"n_kind\">head</data><data key=\"n_layer\">0</data><data key=\"n_head\">1</data>"));
  EXPECT_TRUE(has(xml, "<data key=\"n_group\">movers</data>"));
  EXPECT_EQ(occurrences(circuit_graphml(small(), true), "<edge "), 7u);
}

TEST(CircuitText, CsvHasAllEdges) {
  EXPECT_EQ(circuit_csv(small()),
            "from,to,port,score,in_graph\ninput,a0.h1,q,0.5,true\ninput,a0.h1,beta,-0.25,true\na0.h1,m0,\"\",1,true\n"
            "m0,a1,v_conv,nan,true\na1,logits,\"\",-0.75,true\nm1,logits,\"\",9,false\ninput,logits,\"\",3,false\n");
}

TEST(LineChart, AnIntervalIsABand) {
  auto count = [](const std::string& text, const std::string& what) {
    size_t n = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
  };
  Series s{"faithfulness", "", "x", "y", {{"f", {1, 2, 3}, {0, 0.5, 1}}, {"low (95 %)", {1, 2, 3}, {-0.1, 0.4, 0.9}}, {"high (95 %)", {1, 2, 3}, {0.1, 0.6, 1.1}}}};
  const std::string svg = line_chart(s, x_range(s), y_range(s));
  EXPECT_EQ(count(svg, "class=\"band"), 2u) << "the band and its place in the legend";
  EXPECT_EQ(count(svg, "<circle"), 3u) << "points of the line alone";
  EXPECT_TRUE(has(svg, "95 % interval"));
  EXPECT_FALSE(has(svg, "high (95"));
  s.lines[1].x = {1, 2};                               // ends that do not belong together are lines
  s.lines[1].y = {0, 1};
  EXPECT_EQ(count(line_chart(s, x_range(s), y_range(s)), "class=\"band"), 0u);
}

TEST(LogAxis, TicksAndPlaces) {
  EXPECT_EQ(log_ticks({0.1, 100}), (std::vector<double>{0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100}));
  EXPECT_EQ(log_ticks({1e-6, 1e2}), (std::vector<double>{1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100}));
  EXPECT_TRUE(log_ticks({0, 1}).empty());
  const Series s{"faithfulness", "", "x", "y", {{"l", {1, 10, 100}, {0, 0.5, 1}}}};
  const std::string svg = line_chart(s, x_range(s), y_range(s), true);
  // Equal factors are equal ways.
  const double x0 = number_after(svg, "<circle", "cx", 0), x1 = number_after(svg, "<circle", "cx", 1), x2 = number_after(svg, "<circle", "cx", 2);
  EXPECT_NEAR(x1 - x0, x2 - x1, 0.02);
  const Series zero{"faithfulness", "", "x", "y", {{"l", {0, 1, 10}, {0, 0.5, 1}}}};
  EXPECT_TRUE(has(line_chart(zero, x_range(zero), y_range(zero), true), "no place on a logarithmic axis: 1 not drawn"));
  const Series none{"faithfulness", "", "x", "y", {{"l", {0, -1}, {0, 0.5}}}};
  EXPECT_FALSE(has(line_chart(none, x_range(none), y_range(none), true), "nan"));
}

TEST(ReportCircuit, CurvesStandBesideTheCircuitOnce) {
  const auto run = microtome::testing::single_run({Series{"faithfulness", "How faithful", "edges (%)", "f", {{"eap", {1, 10, 100}, {0.1, 0.7, 1}}}}, small()});
  const std::string html = render_html({run}, {});
  EXPECT_EQ(occurrences(html, "How faithful"), 2u);                  // caption and read-out label of one chart
  EXPECT_TRUE(has(html, "<svg class=\"cg\""));
  EXPECT_TRUE(has(html, "Edges by strength"));
  EXPECT_LT(html.find("<svg class=\"cg\""), html.find("How faithful"));
  // Without a circuit the curve stands for itself.
  const auto alone = microtome::testing::single_run({Series{"faithfulness", "How faithful", "edges (%)", "f", {{"eap", {1, 10, 100}, {0.1, 0.7, 1}}}}});
  EXPECT_TRUE(has(render_html({alone}, {}), "How faithful"));
  const std::string md = render_markdown({run}, {});
  EXPECT_TRUE(has(md, "5 of 7 edges"));
  EXPECT_TRUE(has(md, "- group movers: a0.h1, a1"));
}

}  // namespace
}  // namespace microtome
