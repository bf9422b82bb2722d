#include "core/store/feature_codec.h"

#include "core/store/value_codec.h"

namespace microtome {
namespace {

using Where = std::string;
std::vector<int64_t> integers(const Json& v, const char* field, const Where& where) {
  std::vector<int64_t> out;
  for (const Json& x : decode_list(v, field, where)) out.push_back(decode_integer(x, field, where));
  return out;
}

struct Reader {
  const Json& object;
  const Where& where;
  const Json& at(const char* f) const { return decode_field(object, f, where); }
  std::string text(const char* f) const { return decode_text(at(f), f, where); }
  int64_t integer(const char* f) const { return decode_integer(at(f), f, where); }
  double number(const char* f) const { return decode_number(at(f), f, where); }
  const Json& list(const char* f) const { return decode_list(at(f), f, where); }
};

}  // namespace

Json encode_features_head(const FeatureSet& set) {
  return {{"name", encode_text(set.name)}, {"title", encode_text(set.title)}, {"dictionary", encode_text(set.dictionary)},
          {"hook", encode_text(set.hook)}, {"d_sae", set.d_sae}, {"tokens_seen", set.tokens_seen}};
}

FeatureSet decode_features_head(const Json& object, const std::string& where) {
  Reader r{object, where};
  FeatureSet set;
  set.name = r.text("name");
  set.title = r.text("title");
  set.dictionary = r.text("dictionary");
  set.hook = r.text("hook");
  set.d_sae = r.integer("d_sae");
  set.tokens_seen = r.integer("tokens_seen");
  return set;
}

Json features_json(const FeatureSet& set) {
  Json features = Json::array();
  for (const FeatureSet::Feature& f : set.features) {
    auto tokens = [&](const std::vector<FeatureSet::TokenScore>& v) {
      Json out = Json::array();
      for (const auto& s : v) {
        auto text = set.token_texts.find(s.id);
        out.push_back({{"id", s.id}, {"token", plain_text(text == set.token_texts.end() ? std::string() : text->second)}, {"value", plain_number(s.value)}});
      }
      return out;
    };
    features.push_back({{"index", f.index}, {"label", plain_text(f.label)}, {"density", plain_number(f.density)}, {"max", plain_number(f.max)},
                        {"mean", plain_number(f.mean)}, {"examples", f.examples.size()}, {"top_logits", tokens(f.top_logits)}, {"bottom_logits", tokens(f.bottom_logits)}});
  }
  return {{"name", plain_text(set.name)}, {"title", plain_text(set.title)}, {"dictionary", plain_text(set.dictionary)}, {"hook", plain_text(set.hook)},
          {"d_sae", set.d_sae}, {"tokens_seen", set.tokens_seen}, {"features", features}};
}

Json encode_graph(const AttributionGraph& g) {
  Json nodes = Json::array(), edges = Json::array(), groups = Json::array();
  for (const AttributionGraph::Node& n : g.nodes)
    nodes.push_back(Json::array({static_cast<int>(n.kind), n.layer, n.position, n.feature, encode_number(n.activation), encode_number(n.influence), n.in_graph, encode_text(n.label)}));
  for (const AttributionGraph::Edge& e : g.edges) edges.push_back(Json::array({e.from, e.to, encode_number(e.weight)}));
  for (const AttributionGraph::Supernode& s : g.supernodes) groups.push_back(Json::array({encode_text(s.name), s.nodes}));
  return {{"name", encode_text(g.name)}, {"title", encode_text(g.title)}, {"token_ids", g.token_ids}, {"tokens", encode_texts(g.tokens)},
          {"n_layers", g.n_layers}, {"dictionary", encode_text(g.dictionary)}, {"node_threshold", encode_number(g.node_threshold)},
          {"edge_threshold", encode_number(g.edge_threshold)}, {"replacement_score", encode_number(g.replacement_score)},
          {"completeness_score", encode_number(g.completeness_score)}, {"nodes", nodes}, {"edges", edges}, {"supernodes", groups}};
}

AttributionGraph decode_graph(const Json& object, const std::string& where) {
  Reader r{object, where};
  AttributionGraph g;
  g.name = r.text("name");
  g.title = r.text("title");
  g.token_ids = integers(r.at("token_ids"), "token_ids", where);
  g.tokens = decode_texts(r.at("tokens"), "tokens", where);
  g.n_layers = r.integer("n_layers");
  g.dictionary = r.text("dictionary");
  g.node_threshold = r.number("node_threshold");
  g.edge_threshold = r.number("edge_threshold");
  g.replacement_score = r.number("replacement_score");
  g.completeness_score = r.number("completeness_score");
  auto bad = [&](const char* what) { return Error(StatusCode::kBadInput, what, where, "restore the project file from a copy"); };
  for (const Json& n : r.list("nodes")) {
    decode_list(n, 8, "nodes", where);
    AttributionGraph::Node out;
    int64_t kind = decode_integer(n[0], "nodes", where);
    if (kind < 0 || kind > static_cast<int64_t>(AttributionGraph::Kind::kLogit)) throw bad("a node of the graph is of no known kind");
    out.kind = static_cast<AttributionGraph::Kind>(kind);
    out.layer = decode_integer(n[1], "nodes", where);
    out.position = decode_integer(n[2], "nodes", where);
    out.feature = decode_integer(n[3], "nodes", where);
    out.activation = decode_number(n[4], "nodes", where);
    out.influence = decode_number(n[5], "nodes", where);
    out.in_graph = decode_bool(n[6], "nodes", where);
    out.label = decode_text(n[7], "nodes", where);
    g.nodes.push_back(std::move(out));
  }
  auto node = [&](const Json& v, const char* field) {
    int64_t i = decode_integer(v, field, where);
    if (i < 0 || i >= static_cast<int64_t>(g.nodes.size())) throw bad("an edge or a group of the graph names a node that is not there");
    return i;
  };
  for (const Json& e : r.list("edges")) {
    decode_list(e, 3, "edges", where);
    g.edges.push_back({node(e[0], "edges"), node(e[1], "edges"), decode_number(e[2], "edges", where)});
  }
  for (const Json& s : r.list("supernodes")) {
    decode_list(s, 2, "supernodes", where);
    AttributionGraph::Supernode group{decode_text(s[0], "supernodes", where), {}};
    for (const Json& i : decode_list(s[1], "supernodes", where)) group.nodes.push_back(node(i, "supernodes"));
    g.supernodes.push_back(std::move(group));
  }
  return g;
}

Json graph_json(const AttributionGraph& g) {
  static constexpr const char* kKinds[] = {"token", "feature", "error", "logit"};
  Json nodes = Json::array(), edges = Json::array(), groups = Json::array(), tokens = Json::array();
  for (const std::string& t : g.tokens) tokens.push_back(plain_text(t));
  for (const AttributionGraph::Node& n : g.nodes)
    nodes.push_back({{"kind", kKinds[static_cast<int>(n.kind)]}, {"layer", n.layer}, {"position", n.position}, {"feature", n.feature},
                     {"activation", plain_number(n.activation)}, {"influence", plain_number(n.influence)}, {"in_graph", n.in_graph}, {"label", plain_text(n.label)}});
  for (const AttributionGraph::Edge& e : g.edges) edges.push_back({{"from", e.from}, {"to", e.to}, {"weight", plain_number(e.weight)}});
  for (const AttributionGraph::Supernode& s : g.supernodes) groups.push_back({{"name", plain_text(s.name)}, {"nodes", s.nodes}});
  return {{"name", plain_text(g.name)}, {"title", plain_text(g.title)}, {"token_ids", g.token_ids}, {"tokens", tokens}, {"n_layers", g.n_layers},
          {"dictionary", plain_text(g.dictionary)}, {"node_threshold", plain_number(g.node_threshold)}, {"edge_threshold", plain_number(g.edge_threshold)},
          {"replacement_score", plain_number(g.replacement_score)}, {"completeness_score", plain_number(g.completeness_score)},
          {"nodes", nodes}, {"edges", edges}, {"supernodes", groups}};
}

}  // namespace microtome
