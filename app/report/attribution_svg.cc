#include "app/report/attribution_svg.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "app/report/html.h"
#include "core/io/attribution_file.h"

namespace microtome::report {
namespace {

using Kind = AttributionGraph::Kind;

constexpr double kRow = 62, kSlot = 30, kLeft = 74, kTop = 30, kBottom = 44, kMostRadius = 12, kLeastRadius = 4;

constexpr const char* kRules = R"css(.ag text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;font-size:10.5px;fill:var(--fg)}
.ag .al{fill:var(--dim);font-size:11px;text-anchor:end}.ag .at{text-anchor:middle;font-size:11px}.ag .ai{text-anchor:middle;font-size:9px;fill:var(--dim)}
.ab{fill:var(--soft)}.ae{fill:none;stroke-linecap:round;opacity:.62}.ap{stroke:var(--pos)}.am{stroke:var(--neg)}
.an{stroke:var(--bg);stroke-width:1}.anf{fill:var(--c0)}.ant{fill:var(--c2)}.anl{fill:var(--c7)}.ane{fill:var(--bg);stroke:var(--dim);stroke-width:1.5}
)css";
constexpr std::pair<const char*, const char*> kLight[] = {{"bg", "#ffffff"}, {"fg", "#1b1f27"}, {"dim", "#5c6470"}, {"soft", "#f4f6f9"}, {"pos", "#2166ac"},
                                                          {"neg", "#b2182b"}, {"c0", "#0072b2"}, {"c2", "#009e73"},  {"c7", "#7b4fb5"}};

std::string standalone_style() {
  std::string s = kRules;
  for (const auto& [name, colour] : kLight) {
    const std::string variable = std::string("var(--") + name + ")";
    for (size_t at = s.find(variable); at != std::string::npos; at = s.find(variable, at)) s.replace(at, variable.size(), colour);
  }
  return s;
}

// Tokens at the bottom, then the layers, logits on top.
int64_t row_of(const AttributionGraph& g, const AttributionGraph::Node& n) { return n.kind == Kind::kToken ? 0 : n.kind == Kind::kLogit ? g.n_layers + 1 : n.layer + 1; }

std::string title_of(const AttributionGraph& g) { return g.title.empty() ? g.name.empty() ? "Attribution graph" : g.name : g.title; }

struct Placed { int64_t node; double x, y, radius; };

std::string shape(const AttributionGraph& g, const Placed& p) {
  const auto& n = g.nodes[static_cast<size_t>(p.node)];
  std::string hover = attribution_name(g, p.node) + (n.label.empty() ? "" : ": " + n.label) + "; influence " + number(n.influence);
  if (n.kind == Kind::kFeature) hover += ", activation " + number(n.activation);
  const std::string tip = "<title>" + escape(shorten(hover, 300)) + "</title>";
  const std::string x = coordinate(p.x), y = coordinate(p.y), r = coordinate(p.radius);
  if (n.kind == Kind::kFeature) return "<circle class=\"an anf\" cx=\"" + x + "\" cy=\"" + y + "\" r=\"" + r + "\">" + tip + "</circle>";
  if (n.kind == Kind::kError) {
    const double d = p.radius * 1.15;
    return "<path class=\"ane\" d=\"M" + x + " " + coordinate(p.y - d) + "l" + coordinate(d) + " " + coordinate(d) + "l" + coordinate(-d) + " " + coordinate(d) + "l" + coordinate(-d) + " " +
           coordinate(-d) + "z\">" + tip + "</path>";
  }
  const double side = p.radius * 1.8;
  return "<rect class=\"an " + std::string(n.kind == Kind::kToken ? "ant" : "anl") + "\" x=\"" + coordinate(p.x - side / 2) + "\" y=\"" + coordinate(p.y - side / 2) + "\" width=\"" +
         coordinate(side) + "\" height=\"" + coordinate(side) + "\" rx=\"2\">" + tip + "</rect>";
}

}  // namespace

std::string attribution_style() { return kRules; }

std::string attribution_name(const AttributionGraph& g, int64_t node) {
  const auto& n = g.nodes[static_cast<size_t>(node)];
  const std::string token = n.position >= 0 && n.position < static_cast<int64_t>(g.tokens.size()) ? "“" + visible_blanks(shorten(g.tokens[static_cast<size_t>(n.position)], 40)) + "”" : "?";
  if (n.kind == Kind::kToken) return "token " + token;
  if (n.kind == Kind::kLogit) return "logit " + shorten(n.label, 80);
  const std::string where = " of layer " + std::to_string(n.layer) + " at " + token + " (" + std::to_string(n.position) + ")";
  return (n.kind == Kind::kError ? "error" : "feature " + std::to_string(n.feature)) + where;
}

std::vector<int64_t> nodes_by_influence(const AttributionGraph& g) {
  std::vector<int64_t> out;
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (g.nodes[i].kind != Kind::kLogit && g.nodes[i].in_graph) out.push_back(static_cast<int64_t>(i));
  const auto size = [&](int64_t i) { return std::isfinite(g.nodes[static_cast<size_t>(i)].influence) ? g.nodes[static_cast<size_t>(i)].influence : -1; };
  std::stable_sort(out.begin(), out.end(), [&](int64_t a, int64_t b) { return size(a) > size(b); });
  return out;
}

std::vector<double> incoming_shares(const AttributionGraph& g) {
  std::vector<double> sums(g.nodes.size(), 0), out;
  for (const auto& e : g.edges)
    if (std::isfinite(e.weight)) sums[static_cast<size_t>(e.to)] += std::fabs(e.weight);
  for (const auto& e : g.edges) out.push_back(std::isfinite(e.weight) && sums[static_cast<size_t>(e.to)] > 0 ? std::fabs(e.weight) / sums[static_cast<size_t>(e.to)] : 0);
  return out;
}

std::vector<int64_t> edges_by_share(const AttributionGraph& g) {
  const std::vector<double> shares = incoming_shares(g);
  const auto flow = [&](int64_t e) {
    const auto& to = g.nodes[static_cast<size_t>(g.edges[static_cast<size_t>(e)].to)];
    const double w = to.kind == Kind::kLogit ? to.activation : to.influence;
    return shares[static_cast<size_t>(e)] * (std::isfinite(w) ? w : 0);
  };
  std::vector<int64_t> out(g.edges.size());
  std::iota(out.begin(), out.end(), 0);
  std::stable_sort(out.begin(), out.end(), [&](int64_t a, int64_t b) { return flow(a) > flow(b); });
  return out;
}

AttributionPicture attribution_svg(const AttributionGraph& g, const AttributionLook& look) {
  std::vector<char> drawn(g.nodes.size(), 0);
  std::vector<int64_t> order = nodes_by_influence(g);
  const size_t all = order.size();
  if (order.size() > look.most_nodes) order.resize(look.most_nodes);
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (g.nodes[i].kind == Kind::kLogit && g.nodes[i].in_graph) order.push_back(static_cast<int64_t>(i));
  if (order.empty()) return {"", "The graph has no nodes."};
  for (int64_t i : order) drawn[static_cast<size_t>(i)] = 1;

  // A column a position that has nodes, as wide as its fullest row needs.
  std::map<int64_t, std::map<int64_t, std::vector<int64_t>>> cells;   // position → row → nodes
  double largest = 0;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    if (!drawn[i]) continue;
    cells[g.nodes[i].position][row_of(g, g.nodes[i])].push_back(static_cast<int64_t>(i));
    largest = std::max(largest, std::isfinite(g.nodes[i].influence) ? g.nodes[i].influence : 0);
  }
  const int64_t rows = g.n_layers + 2;
  const auto y_of = [&](int64_t row) { return kTop + static_cast<double>(rows - 1 - row) * kRow + kRow / 2; };
  std::vector<Placed> places;
  std::vector<size_t> place_of(g.nodes.size(), 0);
  std::string labels;
  double x = kLeft;
  int64_t last = -1;
  for (const auto& [position, column] : cells) {
    size_t fullest = 1;
    for (const auto& [row, nodes] : column) fullest = std::max(fullest, nodes.size());
    const std::string token = position >= 0 && position < static_cast<int64_t>(g.tokens.size()) ? visible_blanks(shorten(g.tokens[static_cast<size_t>(position)], 12)) : "?";
    const double width = std::max({static_cast<double>(fullest) * kSlot, static_cast<double>(text_cells(token)) * 6.6 + 12, 34.0});
    if (last >= 0 && position > last + 1) {
      labels += "<text class=\"ai\" x=\"" + coordinate(x + 6) + "\" y=\"" + coordinate(y_of(0) + 34) + "\">…</text>";
      x += 14;
    }
    const double middle = x + width / 2;
    labels += "<text class=\"at\" x=\"" + coordinate(middle) + "\" y=\"" + coordinate(y_of(0) + 28) + "\">" + escape(token) + "</text><text class=\"ai\" x=\"" + coordinate(middle) + "\" y=\"" +
              coordinate(y_of(0) + 40) + "\">" + std::to_string(position) + "</text>";
    for (const auto& [row, nodes] : column)
      for (size_t k = 0; k < nodes.size(); ++k) {
        const auto& n = g.nodes[static_cast<size_t>(nodes[k])];
        const double influence = n.kind == Kind::kLogit ? n.activation : largest > 0 && std::isfinite(n.influence) ? n.influence / largest : 0;
        place_of[static_cast<size_t>(nodes[k])] = places.size();
        places.push_back({nodes[k], middle + (static_cast<double>(k) - (static_cast<double>(nodes.size()) - 1) / 2) * kSlot, y_of(row),
                          std::max(kLeastRadius, kMostRadius * std::sqrt(std::clamp(influence, 0.0, 1.0)))});
      }
    x += width + 8;
    last = position;
  }
  const double width = std::max(x + 90, 420.0), height = kTop + static_cast<double>(rows) * kRow + kBottom;

  const std::vector<double> shares = incoming_shares(g);
  std::vector<int64_t> chosen;
  for (int64_t e : edges_by_share(g)) {
    const auto& edge = g.edges[static_cast<size_t>(e)];
    if (drawn[static_cast<size_t>(edge.from)] && drawn[static_cast<size_t>(edge.to)] && chosen.size() < look.most_edges) chosen.push_back(e);
  }
  std::string lines;
  for (auto it = chosen.rbegin(); it != chosen.rend(); ++it) {   // the strongest above the others
    const auto& e = g.edges[static_cast<size_t>(*it)];
    const Placed &a = places[place_of[static_cast<size_t>(e.from)]], &b = places[place_of[static_cast<size_t>(e.to)]];
    const double bend = (a.y - b.y) * 0.45;
    lines += "<path class=\"ae " + std::string(e.weight < 0 ? "am" : "ap") + "\" stroke-width=\"" + coordinate(0.4 + 5 * shares[static_cast<size_t>(*it)]) + "\" d=\"M" + coordinate(a.x) + " " +
             coordinate(a.y) + "C" + coordinate(a.x) + " " + coordinate(a.y - bend) + " " + coordinate(b.x) + " " + coordinate(b.y + bend) + " " + coordinate(b.x) + " " + coordinate(b.y) + "\"><title>" +
             escape(attribution_name(g, e.from) + " → " + attribution_name(g, e.to) + ": " + number(e.weight)) + "</title></path>";
  }
  std::string bands;
  for (int64_t row = 0; row < rows; ++row) {
    if (row % 2 == 1) bands += "<rect class=\"ab\" x=\"0\" y=\"" + coordinate(y_of(row) - kRow / 2) + "\" width=\"" + coordinate(width) + "\" height=\"" + coordinate(kRow) + "\"/>";
    bands += "<text class=\"al\" x=\"" + coordinate(kLeft - 14) + "\" y=\"" + coordinate(y_of(row) + 4) + "\">" + (row == 0 ? "tokens" : row == rows - 1 ? "logits" : "layer " + std::to_string(row - 1)) + "</text>";
  }
  std::string marks;
  for (const Placed& p : places) marks += shape(g, p);
  // Logits carry their words beside them; the first ones only, since they stand close.
  size_t named = 0;
  double beside = 0;
  for (const Placed& p : places) beside = std::max(beside, g.nodes[static_cast<size_t>(p.node)].kind == Kind::kLogit ? p.x : 0);
  for (const Placed& p : places) {
    const auto& n = g.nodes[static_cast<size_t>(p.node)];
    if (n.kind == Kind::kLogit && named < 3)
      labels += "<text x=\"" + coordinate(beside + 18) + "\" y=\"" + coordinate(p.y - 14 + 14 * static_cast<double>(named++)) + "\">" + escape(visible_blanks(shorten(n.label, 24))) + "</text>";
  }
  const std::string name = escape(shorten(title_of(g), 200));
  const double shown_width = width + 60;
  std::string out = "<svg class=\"ag\" role=\"img\"" + std::string(look.standalone ? " xmlns=\"http://www.w3.org/2000/svg\"" : "") + " width=\"" + coordinate(shown_width) + "\" height=\"" +
                    coordinate(height) + "\" viewBox=\"0 0 " + coordinate(shown_width) + " " + coordinate(height) + "\" aria-label=\"" + name + "\">";
  if (look.standalone)
    out += "<title>" + name + "</title><style>" + standalone_style() + "</style><rect width=\"" + coordinate(shown_width) + "\" height=\"" + coordinate(height) + "\" fill=\"#ffffff\"/>";
  std::string caption = "Positions from left to right, layers upward. Circles are features, squares tokens and logits, diamonds the transcoders' errors; a node's area is its influence on the logits. "
                        "Blue edges add to their target, red ones take from it; an edge's width is its share of what the target receives. ";
  caption += all > look.most_nodes ? "The " + count(static_cast<int64_t>(look.most_nodes)) + " nodes with most influence of " + count(static_cast<int64_t>(all)) + " are drawn, " : "All " + count(static_cast<int64_t>(all)) + " nodes are drawn, ";
  caption += "with " + count(static_cast<int64_t>(chosen.size())) + " of " + count(static_cast<int64_t>(g.edges.size())) + " edges.";
  return {out + bands + lines + marks + labels + "</svg>", caption};
}

}  // namespace microtome::report
