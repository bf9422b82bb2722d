#include "analysis/attribution_graph/picture.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <queue>

#include "analysis/attribution_graph/groups.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/prompts.h"
#include "core/io/attribution_file.h"

namespace microtome::analyses {
namespace {

using namespace feature_circuit;
using Kind = AttributionGraph::Kind;
using engine::short_number;

constexpr size_t kMostPops = 400'000;          // of the search for paths
constexpr size_t kLongestPath = 64;

std::string in_marks(const std::string& token) { return "“" + token + "”"; }

}  // namespace

GraphPicture::GraphPicture(GraphBuild& build, const std::vector<int64_t>& tokens, const GraphOptions& options, const GraphText& text)
    : build_(build), text_(text) {
  const NodeIndex& nodes = build.nodes();
  const GraphBuild::Outcome& o = build.outcome();
  graph_.name = text.name;
  graph_.title = text.title;
  graph_.token_ids = tokens;
  graph_.tokens = engine::token_texts(text.tokenizer, tokens);
  graph_.n_layers = nodes.layers();
  graph_.dictionary = build.frozen().transcoders().name();
  graph_.node_threshold = options.prune.node_share;
  graph_.edge_threshold = options.prune.edge_share;
  graph_.replacement_score = o.scores.replacement;
  graph_.completeness_score = o.scores.completeness;
  place_.assign(static_cast<size_t>(nodes.size()), -1);
  for (int64_t n = 0; n < nodes.size(); ++n) {
    if (!o.pruned.nodes[static_cast<size_t>(n)]) continue;
    AttributionGraph::Node node;
    node.layer = nodes.layer_of(n);
    node.position = nodes.position_of(n);
    node.influence = o.influence.nodes[static_cast<size_t>(n)];
    if (nodes.is_feature(n)) {
      node.feature = nodes.feature(n).feature;
      node.activation = static_cast<double>(nodes.feature(n).activation);
    } else if (nodes.is_error(n)) {
      node.kind = Kind::kError;
    } else if (nodes.is_token(n)) {
      node.kind = Kind::kToken;
      node.feature = tokens[static_cast<size_t>(node.position)];
    } else {
      const size_t i = static_cast<size_t>(n - nodes.logit(0));
      node.kind = Kind::kLogit;
      node.feature = build.frozen().logit_ids()[i];
      node.activation = build.frozen().logit_p()[i];
    }
    place_[static_cast<size_t>(n)] = static_cast<int64_t>(of_.size());
    of_.push_back(n);
    cumulative_.push_back(o.pruned.cumulative[static_cast<size_t>(n)]);
    graph_.nodes.push_back(std::move(node));
  }
  for (const KeptEdge& e : o.pruned.edges)
    graph_.edges.push_back({place_[static_cast<size_t>(e.from)], place_[static_cast<size_t>(e.to)], static_cast<double>(e.weight)});
  find_labels();
  if (!text.groups.empty()) graph_.supernodes = groups_of_file(text.groups, graph_);
  else if (text.supernodes == "top_logit") graph_.supernodes = groups_by_token(graph_, top_tokens_);
  else if (text.supernodes == "decoder") {
    std::vector<at::Tensor> writes(graph_.nodes.size());
    for (size_t i = 0; i < of_.size(); ++i) {
      if (!nodes.is_feature(of_[i])) continue;
      for (int64_t l = graph_.nodes[i].layer; l < nodes.layers(); ++l)
        if (build.frozen().transcoders().writes(graph_.nodes[i].layer, l)) {
          at::Tensor w = build.frozen().write(of_[i], l);
          writes[i] = writes[i].defined() ? writes[i] + w : w;
        }
    }
    graph_.supernodes = groups_by_direction(graph_, writes, top_tokens_, text.similarity);
  }
  find_paths(text.paths);
}

void GraphPicture::find_labels() {
  const NodeIndex& nodes = build_.nodes();
  const FrozenModel& frozen = build_.frozen();
  top_tokens_.assign(of_.size(), "");
  for (size_t i = 0; i < of_.size(); ++i) {
    AttributionGraph::Node& n = graph_.nodes[i];
    const auto token = [&](int64_t id) { return engine::token_texts(text_.tokenizer, {id})[0]; };
    if (n.kind == Kind::kToken) n.label = in_marks(token(n.feature));
    if (n.kind == Kind::kError) n.label = "error of layer " + std::to_string(n.layer);
    if (n.kind == Kind::kLogit) {
      char p[32];
      std::snprintf(p, sizeof p, "%.3f", n.activation);
      n.label = "\"" + token(n.feature) + "\" (p=" + p + ")";
    }
    if (n.kind != Kind::kFeature) continue;
    at::Tensor sum;
    for (int64_t l = n.layer; l < nodes.layers(); ++l)
      if (frozen.transcoders().writes(n.layer, l)) {
        at::Tensor w = frozen.write(of_[i], l);
        sum = sum.defined() ? sum + w : w;
      }
    at::Tensor logits = engine::direct_logits(frozen.model(), sum.unsqueeze(0).to(frozen.model().dtype())).select(0, 0);
    top_tokens_[i] = token(logits.argmax().item<int64_t>());
    n.label = "feature " + std::to_string(n.feature) + " → " + in_marks(top_tokens_[i]);
  }
}

std::string GraphPicture::node_name(int64_t node) const {
  const NodeIndex& nodes = build_.nodes();
  const auto token = [&](int64_t p) { return in_marks(graph_.tokens[static_cast<size_t>(p)]); };
  if (nodes.is_token(node)) return "token " + token(nodes.position_of(node));
  if (nodes.is_logit(node))
    return "logit " + in_marks(engine::token_texts(text_.tokenizer, {build_.frozen().logit_ids()[static_cast<size_t>(node - nodes.logit(0))]})[0]);
  const std::string where = " of layer " + std::to_string(nodes.layer_of(node)) + " at " + token(nodes.position_of(node));
  return nodes.is_error(node) ? "the error" + where : "feature " + std::to_string(nodes.feature(node).feature) + where;
}

void GraphPicture::find_paths(int64_t most) {
  if (most == 0) return;
  std::vector<double> incoming(graph_.nodes.size(), 0);
  std::vector<std::vector<std::pair<double, int64_t>>> into(graph_.nodes.size());
  for (const auto& e : graph_.edges) incoming[static_cast<size_t>(e.to)] += std::fabs(e.weight);
  for (const auto& e : graph_.edges)
    if (e.weight != 0) into[static_cast<size_t>(e.to)].emplace_back(std::fabs(e.weight) / incoming[static_cast<size_t>(e.to)], e.from);
  // Shares only fall along a path, so whole paths leave the queue strongest first.
  struct Open { double share; int64_t node, before; size_t length; };
  std::vector<Open> all;
  const auto weaker = [&](size_t a, size_t b) { return all[a].share != all[b].share ? all[a].share < all[b].share : a > b; };
  std::priority_queue<size_t, std::vector<size_t>, decltype(weaker)> queue(weaker);
  for (size_t i = 0; i < graph_.nodes.size(); ++i)
    if (graph_.nodes[i].kind == Kind::kLogit) {
      all.push_back({graph_.nodes[i].activation, static_cast<int64_t>(i), -1, 1});
      queue.push(all.size() - 1);
    }
  for (size_t pops = 0; !queue.empty() && pops < kMostPops && (static_cast<int64_t>(paths_.size()) < most || through_features_.nodes.empty()); ++pops) {
    const size_t here = queue.top();
    queue.pop();
    const Open now = all[here];
    const Kind kind = graph_.nodes[static_cast<size_t>(now.node)].kind;
    if (kind == Kind::kToken || kind == Kind::kError) {
      Path path{now.share, {}};
      for (int64_t k = static_cast<int64_t>(here); k >= 0; k = all[static_cast<size_t>(k)].before) path.nodes.push_back(all[static_cast<size_t>(k)].node);
      if (kind == Kind::kToken && path.nodes.size() > 2 && through_features_.nodes.empty()) through_features_ = path;
      if (static_cast<int64_t>(paths_.size()) < most) paths_.push_back(std::move(path));
      continue;
    }
    if (now.length >= kLongestPath) continue;
    for (const auto& [share, from] : into[static_cast<size_t>(now.node)]) {
      if (all.size() >= kMostPops * 8) break;
      all.push_back({now.share * share, from, static_cast<int64_t>(here), now.length + 1});
      queue.push(all.size() - 1);
    }
  }
}

TensorMap GraphPicture::numbers() const {
  TensorMap map;
  map.name = graph_.name + " nodes";
  map.title = "Numbers of the nodes";
  std::vector<double> influence;
  for (const auto& n : graph_.nodes) influence.push_back(n.influence);
  const int64_t count = static_cast<int64_t>(graph_.nodes.size());
  map.arrays.push_back({"influence", {"node"}, {count}, influence, "", "influence on the logits over all paths"});
  map.arrays.push_back({"cumulative", {"node"}, {count}, cumulative_, "", "share of all influence that nodes at least as influential have"});
  for (const auto& n : graph_.nodes) map.axis_labels["node"].push_back(graph_node_id(graph_, n));
  map.looks = {{"influence", "sequential"}, {"cumulative", "sequential"}};
  return map;
}

Table GraphPicture::node_table(size_t most) const {
  Table t{graph_.name + " strongest nodes", "Nodes with most influence on the logits",
          {{"node", "", "LAYER_FEATURE_POSITION; E: token; -1: error"}, {"what", "", ""}, {"layer", "", ""}, {"token", "", "at whose position it is"},
           {"raises most", "", "the token whose logit a feature's decoder raises most, directly"}, {"activation", "", ""}, {"influence", "", "on the logits, over all paths"}},
          {}};
  std::vector<size_t> order;
  for (size_t i = 0; i < graph_.nodes.size(); ++i)
    if (graph_.nodes[i].kind != Kind::kLogit) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return graph_.nodes[a].influence > graph_.nodes[b].influence; });
  static constexpr const char* kKinds[] = {"token", "feature", "error", "logit"};
  for (size_t k = 0; k < std::min(most, order.size()); ++k) {
    const auto& n = graph_.nodes[order[k]];
    t.rows.push_back({graph_node_id(graph_, n), std::string(kKinds[static_cast<int>(n.kind)]), n.layer >= 0 ? Cell{n.layer} : Cell{},
                      graph_.tokens[static_cast<size_t>(n.position)], n.kind == Kind::kFeature ? Cell{top_tokens_[order[k]]} : Cell{},
                      n.kind == Kind::kFeature ? Cell{n.activation} : Cell{}, n.influence});
  }
  return t;
}

Table GraphPicture::path_table() const {
  Table t{graph_.name + " strongest paths", "Strongest paths from a token or an error to a logit",
          {{"share", "%", "of the logits' probability: product of the shares of each step in what its target receives"}, {"steps", "", ""}, {"path", "", ""}}, {}};
  for (const Path& p : paths_) {
    std::string text;
    for (int64_t n : p.nodes) text += (text.empty() ? "" : " → ") + node_name(of_[static_cast<size_t>(n)]);
    t.rows.push_back({100 * p.share, static_cast<int64_t>(p.nodes.size()) - 1, text});
  }
  return t;
}

std::string GraphPicture::strongest_path() const {
  std::string text;
  const Path* path = !through_features_.nodes.empty() ? &through_features_ : paths_.empty() ? nullptr : &paths_[0];
  if (path)
    for (int64_t n : path->nodes) text += (text.empty() ? "" : " → ") + node_name(of_[static_cast<size_t>(n)]);
  if (path) text = (path == &through_features_ ? "The strongest path through features is " : "The strongest path is ") + text + ".";
  return text;
}

Table GraphPicture::test_table(const std::vector<EdgeTest>& tests) const {
  const char* unit = "pre-activation or logits";
  Table t{graph_.name + " tested edges", "Edges tested by taking their source away",
          {{"from", "", ""}, {"to", "", ""}, {"predicted", unit, "change that the edge alone says: minus its weight"},
           {"everything frozen", unit, "change in the replacement model"}, {"attention and norms frozen", unit, "change in the model with its attention patterns and norm scales frozen, MLPs recomputed"},
           {"recomputed", unit, "change in the model, everything recomputed"},
           {"predicted over all paths", unit, "change that all paths between the two say, if features stay on"},
           {"from node", "", "its number in the graph"}, {"to node", "", "its number in the graph"}},
          {}};
  for (const EdgeTest& e : tests)
    t.rows.push_back({node_name(e.from), node_name(e.to), e.predicted, e.frozen, e.attention_frozen, e.recomputed, e.predicted_total,
                      place_[static_cast<size_t>(e.from)], place_[static_cast<size_t>(e.to)]});
  return t;
}

}  // namespace microtome::analyses
