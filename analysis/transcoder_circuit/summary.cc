#include "analysis/transcoder_circuit/summary.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/prompts.h"
#include "core/model/weights.h"

namespace microtome::analyses {
namespace {

using namespace feature_circuit;
using engine::block_point;
using engine::short_number;
using Kind = PathNode::Kind;

constexpr size_t kShownPaths = 40, kShownConnections = 40;
constexpr int64_t kKeptEffects = 2048;         // strongest features of a prompt
constexpr int64_t kTokens = 5;

at::Tensor wide(const at::Tensor& t) { return t.scalar_type() == at::kDouble ? t : t.to(at::kFloat); }
at::Tensor one(int64_t id, at::Device device) { return at::tensor({id}, at::TensorOptions().dtype(at::kLong)).to(device); }

std::string list_tokens(const Tokenizer* tokenizer, const at::Tensor& scores) {
  auto [values, ids] = at::topk(scores, std::min<int64_t>(kTokens, scores.size(0)));
  std::string out;
  for (int64_t i = 0; i < ids.size(0); ++i) out += (i ? " " : "") + ("“" + engine::token_texts(tokenizer, {ids[i].item<int64_t>()})[0] + "”");
  return out;
}

// A norm's gain over what it reads, without its division: the part that is the same for every input.
at::Tensor through_gain(const Model& model, const std::string& name, const NormConfig& config, const at::Tensor& g) {
  if (config.kind == NormConfig::Kind::kNone) return g;
  at::Tensor gain = model.weights().find(name + ".weight");
  at::Tensor out = gain.defined() ? g * (wide(gain) + config.offset) : g;
  return config.kind == NormConfig::Kind::kLayer ? out - out.mean(-1, true) : out;
}

// A feature's encoder as the stream meets it.
at::Tensor encoder_on_stream(const Model& model, const TranscoderLayers& t, int64_t layer, int64_t feature) {
  at::Tensor e = t.encoders(layer, one(feature, model.device())).squeeze(0);
  const NormConfig& norm = model.config().layers[static_cast<size_t>(layer)].norm2;
  if (t.read_at(layer) == ReadAt::kNormed) return through_gain(model, block_point(layer, "ln2"), norm, e);
  return t.read_at(layer) == ReadAt::kDivided && norm.kind == NormConfig::Kind::kLayer ? e - e.mean(-1, true) : e;
}

}  // namespace

std::vector<NamedArray> numbers_of(const FrozenModel& frozen, const at::Tensor& direction, const std::vector<FeaturePath>& paths) {
  const NodeIndex& nodes = frozen.nodes();
  const std::vector<float> row = frozen.attribute_direction(direction);
  const int64_t length = nodes.positions();
  std::vector<std::pair<float, int64_t>> effects;
  std::vector<double> parts(3, 0);
  size_t i = 0;
  for (const auto& [first, count] : nodes.runs(nodes.logit(0)))
    for (int64_t k = 0; k < count; ++k, ++i) {
      const int64_t n = first + k;
      parts[nodes.is_token(n) ? 0 : nodes.is_feature(n) ? 1 : 2] += static_cast<double>(row[i]);
      if (nodes.is_feature(n)) effects.emplace_back(row[i], n);
    }
  std::stable_sort(effects.begin(), effects.end(), [](const auto& a, const auto& b) { return std::fabs(a.first) > std::fabs(b.first); });
  if (static_cast<int64_t>(effects.size()) > kKeptEffects) effects.resize(kKeptEffects);
  std::vector<double> numbers, flows;
  for (const auto& [value, n] : effects) {
    const ActiveFeature& f = nodes.feature(n);
    numbers.insert(numbers.end(), {static_cast<double>(f.layer), static_cast<double>(f.feature), static_cast<double>(f.position - length), static_cast<double>(f.activation), static_cast<double>(value)});
  }
  std::vector<int64_t> places;
  size_t widest = 1;
  for (const FeaturePath& p : paths) widest = std::max(widest, p.nodes.size());
  for (const FeaturePath& p : paths) {
    flows.push_back(p.flow);
    for (size_t k = 0; k < widest; ++k) {
      if (k >= p.nodes.size()) places.insert(places.end(), {-1, -1, -1, 0});
      else places.insert(places.end(), {static_cast<int64_t>(p.nodes[k].kind), p.nodes[k].layer, p.nodes[k].index, p.nodes[k].position - length});
    }
  }
  at::Tensor metric = (frozen.model_values().last.select(0, length - 1) * direction).sum();
  const int64_t n = static_cast<int64_t>(effects.size()), m = static_cast<int64_t>(paths.size());
  return {{"effects", {"feature", "number"}, {n, 5}, std::move(numbers), "", "layer, feature, position from the end, activation, part of the metric"},
          {"parts", {"kind"}, {3}, std::move(parts), "logits", "tokens, features, errors"},
          {"metric", {"one"}, {1}, std::vector<double>{metric.item<double>()}, "logits", "logit difference without the unembedding's bias"},
          {"paths", {"path", "node", "number"}, {m, static_cast<int64_t>(widest), 4}, std::move(places), "", "kind, layer, index, position from the end"},
          {"flows", {"path"}, {m}, std::move(flows), "logits", "part of the metric"}};
}

CircuitSummary::CircuitSummary(const AnalysisInput& input, const TranscoderLayers& transcoders, const std::vector<std::vector<NamedArray>>& items, int64_t prompts)
    : input_(input), transcoders_(transcoders), prompts_(prompts) {
  for (const auto& item : items) {
    const auto doubles = [&](const char* name) -> const std::vector<double>& { return std::get<std::vector<double>>(engine::find_array(item, name).data); };
    const auto& effects = doubles("effects");
    std::set<Key> here;
    for (size_t i = 0; i + 5 <= effects.size(); i += 5) {
      const Key key{static_cast<int64_t>(effects[i]), static_cast<int64_t>(effects[i + 1])};
      Feature& f = features_[key];
      f.activation += effects[i + 3];
      f.effect += effects[i + 4] / static_cast<double>(prompts);
      ++f.active;
      if (here.insert(key).second) ++f.prompts;
    }
    const auto& parts = doubles("parts");
    tokens_.push_back(parts[0]);
    in_features_.push_back(parts[1]);
    errors_.push_back(parts[2]);
    metric_.push_back(doubles("metric")[0]);
    const NamedArray& places = engine::find_array(item, "paths");
    const auto& v = std::get<std::vector<int64_t>>(places.data);
    const auto& flows = doubles("flows");
    const size_t widest = static_cast<size_t>(places.shape[1]);
    for (size_t p = 0; p < flows.size(); ++p) {
      std::vector<PathNode> nodes;
      for (size_t k = 0; k < widest; ++k) {
        const int64_t* at = v.data() + 4 * (p * widest + k);
        if (at[0] >= 0) nodes.push_back({static_cast<Kind>(at[0]), at[1], at[2], at[3]});
      }
      Shared& s = paths_[nodes];
      s.flow += flows[p] / static_cast<double>(prompts);
      ++s.prompts;
    }
  }
}

std::string CircuitSummary::node_text(const PathNode& n) const {
  const std::string place = "@" + std::to_string(n.position);
  switch (n.kind) {
    case Kind::kMetric: return "metric";
    case Kind::kFeature: return "m" + std::to_string(n.layer) + ".f" + std::to_string(n.index) + place;
    case Kind::kHead: return "a" + std::to_string(n.layer) + ".h" + std::to_string(n.index) + " from " + std::to_string(n.position);
    case Kind::kError: return "m" + std::to_string(n.layer) + " error" + place;
    default: break;
  }
  // The token itself, where all prompts have the same there.
  std::set<int64_t> ids;
  for (int64_t p = 0; p < prompts_; ++p) {
    const auto& tokens = input_.dataset.pairs[static_cast<size_t>(p)].clean_ids;
    const int64_t at = static_cast<int64_t>(tokens.size()) + n.position;
    if (at >= 0) ids.insert(tokens[static_cast<size_t>(at)]);
  }
  return (ids.size() == 1 ? "“" + engine::token_texts(input_.tokenizer, {*ids.begin()})[0] + "”" : "token") + place;
}

std::vector<std::pair<CircuitSummary::Key, CircuitSummary::Feature>> CircuitSummary::strongest(int64_t count) const {
  std::vector<std::pair<Key, Feature>> out(features_.begin(), features_.end());
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return std::fabs(a.second.effect) > std::fabs(b.second.effect); });
  if (static_cast<int64_t>(out.size()) > count) out.resize(static_cast<size_t>(count));
  return out;
}

std::string CircuitSummary::raises(const Key& key) const {
  at::Tensor sum;
  for (int64_t into = key.first; into < engine::layer_count(input_.model); ++into) {
    if (!transcoders_.writes(key.first, into)) continue;
    at::Tensor w = transcoders_.writes_of(key.first, into, one(key.second, input_.model.device()));
    sum = sum.defined() ? sum + w : w;
  }
  return list_tokens(input_.tokenizer, engine::direct_logits(input_.model, sum.to(input_.model.dtype())).select(0, 0));
}

std::string CircuitSummary::fires_on(const Key& key) const {
  at::Tensor e = encoder_on_stream(input_.model, transcoders_, key.first, key.second);
  return list_tokens(input_.tokenizer, at::matmul(wide(input_.model.weights().get("embed.weight")), e));
}

Table CircuitSummary::feature_table(const std::vector<std::pair<Key, Feature>>& top) const {
  Table t{"features", "Features that add most to the metric",
          {{"layer", "", ""}, {"feature", "", ""}, {"part of the metric", "logits", "over all paths, mean over prompts"}, {"prompts", "", "in which it is active"},
           {"activation", "", "mean where it is active"}, {"raises", "", "tokens whose logits its decoder raises most, directly"},
           {"reads", "", "de-embedding: tokens whose embeddings its encoder reads most, directly"}},
          {}};
  for (const auto& [key, f] : top)
    t.rows.push_back({key.first, key.second, f.effect, f.prompts, f.activation / static_cast<double>(f.active), raises(key), fires_on(key)});
  return t;
}

Table CircuitSummary::connection_table(const FrozenModel& frozen, const std::vector<std::pair<Key, Feature>>& top, const std::vector<std::vector<bool>>& heads) const {
  struct Row { std::string from, to, via; double weight, typical; };
  std::vector<Row> rows;
  const Model& model = input_.model;
  const auto name = [](const Key& k) { return "m" + std::to_string(k.first) + ".f" + std::to_string(k.second); };
  for (const auto& [to, g] : top) {
    at::Tensor reads = encoder_on_stream(model, transcoders_, to.first, to.second);
    for (int64_t l = 0; l <= to.first; ++l) {
      const LayerConfig& layer = model.config().layers[static_cast<size_t>(l)];
      const bool in_block = l < to.first || layer.wiring != Wiring::kParallel;   // a parallel block's attention comes beside its MLP
      const auto& allowed = heads[static_cast<size_t>(l)];
      for (int64_t h = -1; h < static_cast<int64_t>(allowed.size()); ++h) {
        if (h < 0 ? l != to.first : !in_block || !allowed[static_cast<size_t>(h)]) continue;
        at::Tensor vector = reads;
        if (h >= 0) {
          at::Tensor behind = layer.post1 ? through_gain(model, block_point(l, "ln1_post"), *layer.post1, reads) : reads;
          vector = through_gain(model, block_point(l, "ln1"), layer.norm1, at::matmul(frozen.mixers()[static_cast<size_t>(l)].ov(h).t(), behind * layer.add1));
        }
        for (const auto& [from, f] : top) {
          double weight = 0;
          for (int64_t into = from.first; into < l; ++into)
            if (transcoders_.writes(from.first, into))
              weight += (transcoders_.writes_of(from.first, into, one(from.second, model.device())).squeeze(0) * vector).sum().item<double>();
          if (weight != 0) rows.push_back({name(from), name(to), h < 0 ? "directly" : "a" + std::to_string(l) + ".h" + std::to_string(h), weight, weight * f.activation / static_cast<double>(f.active)});
        }
      }
    }
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return std::fabs(a.typical) > std::fabs(b.typical); });
  if (rows.size() > kShownConnections) rows.resize(kShownConnections);
  Table t{"connections", "Input-invariant connections between these features",
          {{"from", "", ""}, {"to", "", ""}, {"through", "", "directly, or a head's values"},
           {"weight", "", "decoder times encoder, with the norms' gains and without their division, patterns, gates and short convolutions"},
           {"times activation", "", "times the source's mean activation where it is active"}},
          {}};
  for (const Row& r : rows) t.rows.push_back({r.from, r.to, r.via, r.weight, r.typical});
  return t;
}

Circuit CircuitSummary::circuit() const {
  Circuit c;
  c.name = "circuit";
  c.title = "Paths by MLP and head";
  const ModelConfig& config = input_.model.config();
  c.n_layers = static_cast<int64_t>(config.layers.size());
  c.n_heads = engine::most_heads(input_.model);
  c.d_model = config.d_model;
  const auto name = [](const PathNode& n) {
    if (n.kind == Kind::kMetric) return std::string("logits");
    if (n.kind == Kind::kToken) return std::string("input");
    return (n.kind == Kind::kHead ? "a" : "m") + std::to_string(n.layer) + (n.kind == Kind::kHead ? ".h" + std::to_string(n.index) : "");
  };
  std::map<std::pair<std::string, std::string>, double> edges;
  std::map<std::string, double> scores;
  for (const auto& [nodes, shared] : paths_)
    for (size_t i = 0; i + 1 < nodes.size(); ++i) {
      std::string to = name(nodes[i + 1]);
      scores[name(nodes[i])] += shared.flow;
      if (nodes[i + 1].kind == Kind::kHead) to += "<v>";
      edges[{name(nodes[i]), to}] += shared.flow;
    }
  scores["logits"] = 0;
  for (const auto& [node, score] : scores) c.nodes.push_back({node, true, score});
  for (const auto& [ends, score] : edges) c.edges.push_back({ends.first, ends.second, true, score});
  return c;
}

AnalysisResult CircuitSummary::result(const FrozenModel& frozen, int64_t features, const std::vector<std::vector<bool>>& heads) const {
  AnalysisResult out;
  const auto add = [&](const char* name, const std::vector<double>& v, const char* help) { out.summary.push_back(engine::summarise(name, v, "logits", help, input_.seed)); };
  add("metric", metric_, "logit difference, without the unembedding's bias");
  add("from_features", in_features_, "what features add to it, over all paths that pass no other feature");
  add("from_tokens", tokens_, "what token embeddings add to it past all MLPs");
  add("from_errors", errors_, "what the transcoders' errors add to it");

  const auto top = strongest(features);
  out.artifacts.push_back(feature_table(top));
  std::vector<std::pair<std::vector<PathNode>, Shared>> shared(paths_.begin(), paths_.end());
  std::stable_sort(shared.begin(), shared.end(), [](const auto& a, const auto& b) { return std::fabs(a.second.flow) > std::fabs(b.second.flow); });
  Table paths{"paths", "Strongest paths",
              {{"part of the metric", "logits", "mean over prompts"}, {"prompts", "", "in which it was followed"}, {"path", "", "m2.f5@-1: feature 5 of MLP 2 at the last token; a1.h0 from -3: head 0 of layer 1 reads three from the end"}},
              {}};
  const auto text = [&](const std::vector<PathNode>& nodes) {
    std::string s;
    for (const PathNode& n : nodes) s += (s.empty() ? "" : " → ") + node_text(n);
    return s;
  };
  for (size_t i = 0; i < std::min(kShownPaths, shared.size()); ++i) paths.rows.push_back({shared[i].second.flow, shared[i].second.prompts, text(shared[i].first)});
  out.artifacts.push_back(std::move(paths));
  out.artifacts.push_back(connection_table(frozen, top, heads));
  out.artifacts.push_back(circuit());
  TensorMap map;
  map.name = "parts";
  map.title = "What the metric is made of";
  std::vector<double> numbers;
  for (size_t p = 0; p < metric_.size(); ++p) numbers.insert(numbers.end(), {tokens_[p], in_features_[p], errors_[p]});
  map.arrays.push_back({"effect", {"prompt", "kind"}, {static_cast<int64_t>(metric_.size()), 3}, std::move(numbers), "logits", "what tokens, features and errors add to the metric, over all paths"});
  map.axis_labels["kind"] = {"tokens", "features", "errors"};
  map.axis_labels["prompt"] = engine::number_labels("prompt ", static_cast<int64_t>(metric_.size()));
  map.looks["effect"] = "diverging";
  out.artifacts.push_back(std::move(map));

  const auto mean = [](const std::vector<double>& v) {
    double s = 0;
    for (double x : v) s += x;
    return s / static_cast<double>(v.size());
  };
  out.findings.push_back("Of a mean logit difference of " + short_number(mean(metric_)) + ", features add " + short_number(mean(in_features_)) + ", token embeddings " +
                         short_number(mean(tokens_)) + " and the transcoders' errors " + short_number(mean(errors_)) + ".");
  if (!top.empty()) {
    const auto& [key, f] = top[0];
    out.findings.push_back("Feature " + std::to_string(key.second) + " of MLP " + std::to_string(key.first) + " adds most (" + short_number(f.effect) + " logits, active in " +
                           std::to_string(f.prompts) + " of " + std::to_string(prompts_) + " prompts); it raises " + raises(key) + ".");
  }
  const auto said = [&](const char* begin, const auto& path) { out.findings.push_back(begin + text(path.first) + " (" + short_number(path.second.flow) + " logits on average)."); };
  if (!shared.empty()) said("The strongest path is ", shared[0]);
  const auto through = std::find_if(shared.begin(), shared.end(), [](const auto& p) {
    return p.first[0].kind == Kind::kToken && std::any_of(p.first.begin(), p.first.end(), [](const PathNode& n) { return n.kind == Kind::kFeature; });
  });
  if (through != shared.end()) said("The strongest through features, from a token on, is ", *through);
  return out;
}

}  // namespace microtome::analyses
