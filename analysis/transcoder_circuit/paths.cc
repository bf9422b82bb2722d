#include "analysis/transcoder_circuit/paths.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/engine/layers.h"

namespace microtome::analyses {

using namespace feature_circuit;

std::vector<Contribution> contributions(const FrozenModel& frozen, int64_t layer, bool before_attention, int64_t position, const at::Tensor& direction,
                                        const std::vector<std::vector<bool>>& heads) {
  const NodeIndex& nodes = frozen.nodes();
  const ModelConfig& config = frozen.model().config();
  std::vector<Contribution> out;
  const auto number = [](const at::Tensor& a, const at::Tensor& b) { return (a * b).sum().item<double>(); };
  // What joins the stream from the mixer of layer l, whose reader has gradient u.
  const auto through_heads = [&](int64_t l, const at::Tensor& u) {
    const auto& allowed = heads[static_cast<size_t>(l)];
    if (std::find(allowed.begin(), allowed.end(), true) == allowed.end()) return;
    at::Tensor back = frozen.back_heads(l, u, position);
    at::Tensor sums = (back * frozen.model_values().stream[static_cast<size_t>(l)].narrow(0, 0, position + 1)).sum(-1).to(at::kCPU, at::kDouble).contiguous();
    for (int64_t h = 0; h < back.size(0); ++h)
      for (int64_t s = 0; s <= position && allowed[static_cast<size_t>(h)]; ++s)
        out.push_back({{PathNode::Kind::kHead, l, h, s}, sums.const_data_ptr<double>()[h * (position + 1) + s], back[h][s], -1});
  };
  at::Tensor u = direction;                    // gradient of the stream, walking down
  bool behind = !before_attention && layer < nodes.layers();
  for (int64_t l = layer; l >= 0; --l) {
    if (l < nodes.layers()) {
      const LayerConfig& c = config.layers[static_cast<size_t>(l)];
      const bool parallel = c.wiring == Wiring::kParallel, mlp = engine::has_point(frozen.model(), l, "hook_mlp_out");
      if (l < layer) {                         // through the MLP of a lower layer
        at::Tensor skip;
        if (mlp) {
          out.push_back({{PathNode::Kind::kError, l, -1, position}, number(u, frozen.errors(l).select(0, position)), {}, -1});
          for (int64_t from = 0; from <= l; ++from) {
            if (!frozen.transcoders().writes(from, l)) continue;
            const auto [first, below] = nodes.features_of(from, position + 1);
            const int64_t before = nodes.features_of(from, position).second;
            for (int64_t n = first + before; n < first + below; ++n)
              out.push_back({{PathNode::Kind::kFeature, from, nodes.feature(n).feature, position}, number(u, frozen.write(n, l)), {}, n});
          }
          skip = frozen.back_skip(l, u.unsqueeze(0), position);
        }
        if (parallel) through_heads(l, u);
        if (mlp && !parallel) u = u * c.keep2;
        if (skip.defined()) u = u + skip.squeeze(0);
        behind = !parallel;
      }
      if (behind) {
        through_heads(l, u);
        if (!parallel) u = u * c.keep1;
      }
      behind = true;
    }
  }
  at::Tensor embed = frozen.back_embed(u.unsqueeze(0), position).squeeze(0);
  out.push_back({{PathNode::Kind::kToken, -1, -1, position}, number(embed, frozen.embeddings().select(0, position)), {}, -1});
  // A feature that writes into several layers is one source.
  std::stable_sort(out.begin(), out.end(), [](const Contribution& a, const Contribution& b) { return a.from < b.from; });
  std::vector<Contribution> merged;
  for (Contribution& c : out) {
    if (!merged.empty() && merged.back().from == c.from) merged.back().value += c.value;
    else merged.push_back(std::move(c));
  }
  return merged;
}

std::vector<FeaturePath> greedy_paths(const FrozenModel& frozen, const at::Tensor& direction, const PathOptions& o, const std::vector<std::vector<bool>>& heads) {
  const NodeIndex& nodes = frozen.nodes();
  const int64_t last = nodes.positions() - 1;
  struct Open {
    std::vector<PathNode> nodes;               // from the metric on
    double flow, unit;                         // the metric's change a unit of the end's contribution
    int64_t layer, position;
    bool before;
    at::Tensor direction;
  };
  std::vector<FeaturePath> done;
  std::vector<Open> frontier = {{{PathNode{PathNode::Kind::kMetric, nodes.layers(), -1, last}}, 0, 1, nodes.layers(), last, false,
                                 frozen.back_final(direction.unsqueeze(0), last).squeeze(0)}};
  const auto finish = [&](const Open& path) { done.push_back({{path.nodes.rbegin(), path.nodes.rend()}, path.flow}); };
  for (int64_t step = 0; step < o.depth && !frontier.empty(); ++step) {
    std::vector<Open> next;
    for (const Open& path : frontier) {
      std::vector<Contribution> all = contributions(frozen, path.layer, path.before, path.position, path.direction, heads);
      std::stable_sort(all.begin(), all.end(), [](const Contribution& a, const Contribution& b) { return std::fabs(a.value) > std::fabs(b.value); });
      if (static_cast<int64_t>(all.size()) > o.branches) all.resize(static_cast<size_t>(o.branches));
      for (Contribution& c : all) {
        Open further = path;
        further.nodes.push_back(c.from);
        further.flow = path.unit * c.value;
        further.position = c.from.position;
        if (c.from.kind == PathNode::Kind::kHead) {
          further.layer = c.from.layer;
          further.before = true;
          further.direction = c.reading;
        } else if (c.from.kind == PathNode::Kind::kFeature) {
          const ActiveFeature& f = nodes.feature(c.feature_node);
          further.unit = further.flow / static_cast<double>(f.activation);
          further.layer = f.layer;
          // In a parallel block the MLP reads what the attention reads.
          further.before = frozen.model().config().layers[static_cast<size_t>(f.layer)].wiring == Wiring::kParallel;
          further.direction = frozen.back_read(f.layer, frozen.reading(c.feature_node).unsqueeze(0), f.position).squeeze(0);
        } else {
          finish(further);
          continue;
        }
        next.push_back(std::move(further));
      }
    }
    std::stable_sort(next.begin(), next.end(), [](const Open& a, const Open& b) { return std::fabs(a.flow) > std::fabs(b.flow); });
    if (static_cast<int64_t>(next.size()) > o.beam) next.resize(static_cast<size_t>(o.beam));
    if (step + 1 == o.depth)
      for (const Open& path : next) finish(path);
    frontier = std::move(next);
  }
  std::stable_sort(done.begin(), done.end(), [](const FeaturePath& a, const FeaturePath& b) { return std::fabs(a.flow) > std::fabs(b.flow); });
  return done;
}

}  // namespace microtome::analyses
