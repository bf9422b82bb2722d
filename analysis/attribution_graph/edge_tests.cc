#include "analysis/attribution_graph/edge_tests.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>

#include "analysis/engine/layers.h"

namespace microtome::analyses {
namespace {

using namespace feature_circuit;
using engine::block_point;

// The model itself without a feature's writes; reads what the target reads.
double change_in_model(const FrozenModel& frozen, const std::vector<int64_t>& tokens, const KeptEdge& edge, bool freeze_attention, MixerForm form) {
  const Model& model = frozen.model();
  const NodeIndex& nodes = frozen.nodes();
  const ActiveFeature& source = nodes.feature(edge.from);
  HookPlan plan;
  plan.form = form;
  for (int64_t l = source.layer; l < nodes.layers(); ++l) {
    if (!frozen.transcoders().writes(source.layer, l)) continue;
    at::Tensor away = frozen.write(edge.from, l);
    plan.edit(block_point(l, "hook_mlp_out"), [away, at_ = source.position](const at::Tensor& v, int64_t first) {
      at::Tensor out = v.clone();
      out.select(1, at_ - first).sub_(away.to(v.scalar_type()));
      return out;
    });
  }
  for (const auto& [point, scale] : frozen.norm_scales())
    if (freeze_attention) plan.edit(point, [scale](const at::Tensor& v, int64_t) { return scale.unsqueeze(0).to(v.scalar_type()).expand(v.sizes()); });
  for (int64_t l = 0; freeze_attention && l < nodes.layers(); ++l)
    plan.edit(block_point(l, "attn.hook_pattern"), [pattern = frozen.mixers()[static_cast<size_t>(l)].pattern](const at::Tensor& v, int64_t) {
      return pattern.unsqueeze(0).expand(v.sizes()).to(v.scalar_type());
    });
  const bool logit = nodes.is_logit(edge.to);
  const std::string hook = logit ? "unembed.hook_in" : frozen.transcoders().read_hook(nodes.layer_of(edge.to));
  plan.capture(hook);
  plan.logits = false;
  if (!logit) plan.stop_before_layer = nodes.layer_of(edge.to) + 1;
  at::Tensor ids = at::tensor(tokens, at::TensorOptions().dtype(at::kLong)).unsqueeze(0).to(model.device());
  FrozenModel::Values seen;
  seen.read.resize(static_cast<size_t>(nodes.layers()));
  at::Tensor value = model.forward(ids, plan).cache.get(hook).select(0, 0);
  if (value.scalar_type() != at::kDouble) value = value.to(at::kFloat);
  (logit ? seen.last : seen.read[static_cast<size_t>(nodes.layer_of(edge.to))]) = value;
  return frozen.value(edge.to, seen) - frozen.value(edge.to, frozen.model_values());
}

}  // namespace

std::vector<KeptEdge> edges_to_test(GraphBuild& build, int64_t count) {
  std::vector<KeptEdge> parts[2], out;         // to features, to logits
  for (const KeptEdge& e : build.outcome().pruned.edges)
    if (auto& part = parts[build.nodes().is_logit(e.to)]; build.nodes().is_feature(e.from) && static_cast<int64_t>(part.size()) < count) part.push_back(e);
  const size_t most = static_cast<size_t>(count), half = (most + 1) / 2;
  const size_t features = std::min(parts[0].size(), std::max(half, most - std::min(most, parts[1].size())));
  out.assign(parts[0].begin(), parts[0].begin() + static_cast<std::ptrdiff_t>(features));
  out.insert(out.end(), parts[1].begin(), parts[1].begin() + static_cast<std::ptrdiff_t>(std::min(parts[1].size(), most - features)));
  std::stable_sort(out.begin(), out.end(), [](const KeptEdge& a, const KeptEdge& b) { return a.score > b.score; });
  return out;
}

std::vector<EdgeName> read_edge_names(const std::string& text, const std::string& param) {
  std::vector<EdgeName> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    EdgeName e;
    e.text = text.substr(begin, end - begin);
    begin = end + 1;
    e.text.erase(std::remove(e.text.begin(), e.text.end(), ' '), e.text.end());
    const size_t arrow = e.text.find('>');
    // "3.109@12", or a token's id.
    auto whole = [](std::string_view s, int64_t& value) {
      const auto [stop, error] = std::from_chars(s.data(), s.data() + s.size(), value);
      return error == std::errc() && stop == s.data() + s.size() && !s.empty() && value >= 0;
    };
    auto feature = [&](std::string_view s, int64_t& layer, int64_t& index, int64_t& position) {
      const size_t dot = s.find('.'), at = s.find('@');
      return dot != s.npos && at != s.npos && dot < at && whole(s.substr(0, dot), layer) && whole(s.substr(dot + 1, at - dot - 1), index) && whole(s.substr(at + 1), position);
    };
    const std::string_view from = std::string_view(e.text).substr(0, arrow), to = arrow == std::string::npos ? std::string_view() : std::string_view(e.text).substr(arrow + 1);
    if (arrow == std::string::npos || !feature(from, e.layer, e.feature, e.position) || !(feature(to, e.to_layer, e.to_feature, e.to_position) || (e.to_layer = -1, whole(to, e.to_feature))))
      throw Error(StatusCode::kBadInput, "'" + e.text.substr(0, 80) + "' is no edge", "param " + param, "write SOURCE>TARGET, a feature as LAYER.FEATURE@POSITION, a logit as its token's id: 0.213@12>3.232@12");
    out.push_back(std::move(e));
  }
  return out;
}

std::optional<KeptEdge> find_edge(GraphBuild& build, const EdgeName& name) {
  const NodeIndex& nodes = build.nodes();
  auto is = [&](int64_t node, int64_t layer, int64_t feature, int64_t position) {
    return nodes.is_feature(node) && nodes.layer_of(node) == layer && nodes.feature(node).feature == feature && nodes.position_of(node) == position;
  };
  for (const KeptEdge& e : build.outcome().pruned.edges) {
    if (!is(e.from, name.layer, name.feature, name.position)) continue;
    const bool there = name.to_layer >= 0 ? is(e.to, name.to_layer, name.to_feature, name.to_position)
                                          : nodes.is_logit(e.to) && build.frozen().logit_ids()[static_cast<size_t>(e.to - nodes.logit(0))] == name.to_feature;
    if (there) return e;
  }
  return std::nullopt;
}

double predicted_total(const GraphBuild& build, int64_t from, int64_t to) {
  const NodeIndex& nodes = build.nodes();
  std::vector<double> share(static_cast<size_t>(nodes.feature_count()), 0);   // change of an activation over the activation
  share[static_cast<size_t>(from)] = -1;
  std::vector<int64_t> up = build.rows().downward();
  std::reverse(up.begin(), up.end());
  double out = 0;
  for (int64_t r : up) {
    const int64_t t = build.rows().target(r);
    if (t != to && (nodes.layer_of(t) <= nodes.layer_of(from) || nodes.layer_of(t) >= nodes.layer_of(to))) continue;
    if (nodes.position_of(t) < nodes.position_of(from)) continue;
    double change = 0;
    build.rows().each(r, [&](int64_t s, float a) { if (nodes.is_feature(s)) change += share[static_cast<size_t>(s)] * a; });
    if (t == to) out = change;
    else if (nodes.is_feature(t)) share[static_cast<size_t>(t)] = change / static_cast<double>(nodes.feature(t).activation);
  }
  return out;
}

EdgeTest test_edge(GraphBuild& build, const std::vector<int64_t>& tokens, const KeptEdge& edge, MixerForm form) {
  at::NoGradGuard no_grad;
  const FrozenModel& frozen = build.frozen();
  EdgeTest t;
  t.from = edge.from;
  t.to = edge.to;
  t.predicted = -static_cast<double>(edge.weight);
  t.predicted_total = predicted_total(build, edge.from, edge.to);
  FrozenModel::Change change;
  change.activations[edge.from] = 0;
  t.frozen = frozen.value(edge.to, frozen.run(change)) - frozen.value(edge.to, frozen.run());
  t.attention_frozen = change_in_model(frozen, tokens, edge, true, form);
  t.recomputed = change_in_model(frozen, tokens, edge, false, form);
  return t;
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const double n = static_cast<double>(a.size());
  if (a.size() < 3) return std::numeric_limits<double>::quiet_NaN();
  double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ma += a[i] / n;
    mb += b[i] / n;
  }
  for (size_t i = 0; i < a.size(); ++i) {
    aa += (a[i] - ma) * (a[i] - ma);
    bb += (b[i] - mb) * (b[i] - mb);
    ab += (a[i] - ma) * (b[i] - mb);
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace microtome::analyses
