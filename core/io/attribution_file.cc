#include "core/io/attribution_file.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <set>

#include "core/base/status.h"

namespace microtome {
namespace {

using Kind = AttributionGraph::Kind;

std::string text(const std::string& s) { return Json(s).dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string probability(double p) {
  char out[32];
  std::snprintf(out, sizeof out, "%.3f", p);
  return out;
}

// Pairs (layer, feature) as one number, as circuit-tracer's page expects it.
int64_t cantor(int64_t x, int64_t y) { return (x + y) * (x + y + 1) / 2 + y; }

std::string token_text(const AttributionGraph& g, const AttributionGraph::Node& n) {
  if (n.kind == Kind::kToken && n.position >= 0 && n.position < static_cast<int64_t>(g.tokens.size())) return g.tokens[static_cast<size_t>(n.position)];
  return n.label;
}

Json node_json(const AttributionGraph& g, const AttributionGraph::Node& n, double cumulative, bool target) {
  const std::string layer = std::to_string(n.layer), position = std::to_string(n.position), id = graph_node_id(g, n);
  Json out = {{"node_id", id}, {"ctx_idx", n.position}, {"token_prob", 0.0}, {"is_target_logit", false}, {"run_idx", 0}, {"reverse_ctx_idx", 0},
              {"clerp", ""}, {"influence", std::isfinite(cumulative) ? Json(cumulative) : Json()}, {"activation", nullptr}};
  switch (n.kind) {
    case Kind::kToken:
      out["feature"] = n.position;
      out["layer"] = "E";
      out["feature_type"] = "embedding";
      out["jsNodeId"] = "E_" + std::to_string(n.feature) + "-" + position;
      out["clerp"] = "Emb: \"" + token_text(g, n) + "\"";
      break;
    case Kind::kError:
      out["feature"] = -1;
      out["layer"] = layer;
      out["feature_type"] = "mlp reconstruction error";
      out["jsNodeId"] = layer + "_-1-" + position;
      break;
    case Kind::kLogit: {
      out["feature"] = n.feature;
      out["layer"] = std::to_string(g.n_layers + 1);
      out["feature_type"] = "logit";
      out["jsNodeId"] = "L_" + std::to_string(n.feature) + "-" + position;
      out["token_prob"] = n.activation;
      out["is_target_logit"] = target;
      const std::string mark = "(p=";
      out["clerp"] = n.label.find(mark) != std::string::npos ? "Output " + n.label : "Output \"" + n.label + "\" (p=" + probability(n.activation) + ")";
      out["influence"] = nullptr;
      break;
    }
    case Kind::kFeature:
      out["feature"] = cantor(n.layer, n.feature);
      out["layer"] = layer;
      out["feature_type"] = "cross layer transcoder";
      out["jsNodeId"] = layer + "_" + std::to_string(n.feature) + "-0";
      out["clerp"] = n.label;
      out["activation"] = std::isfinite(n.activation) ? Json(n.activation) : Json();
      break;
  }
  return out;
}

std::vector<double> own_cumulative(const AttributionGraph& g) {
  std::vector<size_t> order(g.nodes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return g.nodes[a].influence > g.nodes[b].influence; });
  double total = 0, sum = 0;
  for (const auto& n : g.nodes) total += std::isfinite(n.influence) ? n.influence : 0;
  std::vector<double> out(g.nodes.size(), 1);
  for (size_t i : order) {
    sum += std::isfinite(g.nodes[i].influence) ? g.nodes[i].influence : 0;
    out[i] = total > 0 ? sum / total : 1;
  }
  return out;
}

}  // namespace

std::string graph_node_id(const AttributionGraph& g, const AttributionGraph::Node& n) {
  const std::string position = std::to_string(n.position), feature = std::to_string(n.feature);
  switch (n.kind) {
    case Kind::kToken: return "E_" + feature + "_" + position;
    case Kind::kError: return std::to_string(n.layer) + "_-1_" + position;
    case Kind::kLogit: return std::to_string(g.n_layers + 1) + "_" + feature + "_" + position;
    default: return std::to_string(n.layer) + "_" + feature + "_" + position;
  }
}

NeuronpediaText graph_to_neuronpedia(const AttributionGraph& g, const NeuronpediaOptions& o) {
  const std::vector<double> cumulative = o.cumulative.size() == g.nodes.size() ? o.cumulative : own_cumulative(g);
  std::string prompt = o.prompt;
  if (prompt.empty())
    for (const std::string& t : g.tokens) prompt += t;
  const auto words = [&] {
    Json out = Json::array();
    for (const std::string& t : g.tokens) out.push_back(t);
    return out;
  }();
  Json settings = Json::object();
  for (const auto& [name, value] : o.settings) settings[name] = value;
  const Json metadata = {{"slug", o.slug}, {"scan", o.scan}, {"transcoder_list", Json::array()}, {"prompt_tokens", words}, {"prompt", prompt},
                         {"node_threshold", g.node_threshold}, {"schema_version", 1}, {"generation_settings", settings},
                         {"pruning_settings", {{"node_threshold", g.node_threshold}, {"edge_threshold", g.edge_threshold}}},
                         {"info", {{"description", g.title}, {"generator", {{"name", "microtome"}, {"version", "0.1.0"}}}}}};

  // One logit is the target: the likeliest.
  size_t target = g.nodes.size();
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (g.nodes[i].kind == Kind::kLogit && (target == g.nodes.size() || g.nodes[i].activation > g.nodes[target].activation)) target = i;
  std::vector<std::string> nodes(g.nodes.size()), ids(g.nodes.size());
  const auto dump = [](const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); };
  size_t fixed = 0;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    ids[i] = text(graph_node_id(g, g.nodes[i]));
    nodes[i] = dump(node_json(g, g.nodes[i], cumulative[i], i == target));
  }
  const auto ends = [&](size_t i) { return g.nodes[i].kind == Kind::kToken || g.nodes[i].kind == Kind::kLogit; };

  // Strongest links first, as long as they and the nodes they bring fit.
  std::vector<double> incoming(g.nodes.size(), 0);
  for (const auto& e : g.edges) incoming[static_cast<size_t>(e.to)] += std::fabs(e.weight);
  const auto flow = [&](const AttributionGraph::Edge& e) {
    const auto& to = g.nodes[static_cast<size_t>(e.to)];
    const double weight = to.kind == Kind::kLogit ? to.activation : to.influence;
    return incoming[static_cast<size_t>(e.to)] > 0 ? std::fabs(e.weight) / incoming[static_cast<size_t>(e.to)] * weight : 0;
  };
  std::vector<std::pair<double, size_t>> order;
  for (size_t e = 0; e < g.edges.size(); ++e) order.emplace_back(-flow(g.edges[e]), e);
  std::sort(order.begin(), order.end());

  NeuronpediaText out;
  std::vector<char> used(g.nodes.size(), 0);
  fixed = dump(metadata).size() + 200;
  for (const auto& s : g.supernodes) fixed += s.name.size() + 24 + 20 * s.nodes.size();
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (ends(i)) {
      used[i] = 1;
      fixed += nodes[i].size() + 1;
    }
  const size_t limit = static_cast<size_t>(std::max<int64_t>(0, o.max_bytes));
  if (fixed > limit)
    throw Error(StatusCode::kBadInput, "tokens and logits alone take " + std::to_string(fixed) + " bytes, and " + std::to_string(limit) + " are allowed", "export",
                "allow a larger file with --max-size");
  size_t size = fixed;
  std::vector<std::string> links;
  for (const auto& [score, e] : order) {
    const auto& edge = g.edges[e];
    const size_t from = static_cast<size_t>(edge.from), to = static_cast<size_t>(edge.to);
    const std::string link = "{\"source\":" + ids[from] + ",\"target\":" + ids[to] + ",\"weight\":" + Json(edge.weight).dump() + "}";
    const size_t more = link.size() + 1 + (used[from] ? 0 : nodes[from].size() + 1) + (used[to] ? 0 : nodes[to].size() + 1);
    if (size + more > limit) break;
    size += more;
    used[from] = used[to] = 1;
    links.push_back(link);
  }
  out.links = links.size();
  out.links_left_out = g.edges.size() - links.size();

  Json groups = Json::array();
  for (const auto& s : g.supernodes) {
    Json group = Json::array({s.name});
    for (int64_t n : s.nodes)
      if (used[static_cast<size_t>(n)]) group.push_back(graph_node_id(g, g.nodes[static_cast<size_t>(n)]));
    if (group.size() > 1) groups.push_back(group);
  }
  const Json params = {{"pinnedIds", Json::array()}, {"supernodes", groups}, {"linkType", "both"}, {"clickedId", ""}, {"sg_pos", ""}};
  out.json = "{\"metadata\":" + dump(metadata) + ",\n\"qParams\":" + dump(params) + ",\n\"nodes\":[";
  bool first = true;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    if (!used[i]) {
      ++out.nodes_left_out;
      continue;
    }
    out.json += (first ? "\n" : ",\n") + nodes[i];
    first = false;
    ++out.nodes;
  }
  out.json += "],\n\"links\":[";
  for (size_t i = 0; i < links.size(); ++i) out.json += (i ? ",\n" : "\n") + links[i];
  out.json += "]}\n";
  return out;
}

}  // namespace microtome
