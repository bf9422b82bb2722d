#include "analysis/circuit_eval/plan.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/circuit/scores.h"
#include "core/base/rng.h"

namespace microtome::analyses {

const std::vector<double>& edge_shares() {
  static const std::vector<double> shares = {0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100};
  return shares;
}

namespace {

template <class F>
double trapezoid(const std::vector<double>& shares, const std::vector<double>& f, const F& of) {
  double area = 0;
  for (size_t i = 1; i < shares.size(); ++i) area += (of(f[i - 1]) + of(f[i])) / 2 * (shares[i] - shares[i - 1]) / 100;
  return area;
}

}  // namespace

double area_under(const std::vector<double>& shares, const std::vector<double>& f) {
  return trapezoid(shares, f, [](double x) { return x; });
}

double area_from_one(const std::vector<double>& shares, const std::vector<double>& f) {
  return trapezoid(shares, f, [](double x) { return std::fabs(1 - x); });
}

EvalPlan plan_evaluation(const circuit::Graph& graph, const at::Tensor& scores, const at::Tensor& given, double share, bool by_size,
                         const at::Tensor& resampled, int64_t subsets, uint64_t seed) {
  EvalPlan out;
  std::vector<at::Tensor> all;
  auto add = [&](at::Tensor t) {
    all.push_back(std::move(t));
    return static_cast<int64_t>(all.size()) - 1;
  };
  const at::Tensor possible = graph.possible();
  auto best = [&](const at::Tensor& s, double percent) { return without_dead_ends(graph, best_edges(graph, s, edges_of_share(graph, percent), by_size)); };
  out.whole = add(possible);
  out.empty = add(at::zeros_like(possible));
  out.sizes = static_cast<int64_t>(all.size());
  for (double percent : edge_shares()) add(percent == 100 ? possible : best(scores, percent));
  const at::Tensor chosen = given.defined() ? given : best(scores, share);
  out.chosen = add(chosen);
  std::vector<bool> nodes = nodes_inside(graph, chosen);
  std::vector<int64_t> members;
  for (size_t k = 1; k < nodes.size(); ++k)
    if (nodes[k]) members.push_back(static_cast<int64_t>(k));
  for (int64_t k : members) {
    out.nodes.push_back(k);
    out.without.push_back(add(circuit::without_node(graph, chosen, k)));
  }
  for (int64_t s = 0; s < subsets && !members.empty(); ++s) {
    // Each node of the circuit with probability one half, at least one.
    Rng rng(item_seed(seed, static_cast<uint64_t>(1'000'000 + s)));
    at::Tensor c = chosen, m = possible;
    bool any = false;
    for (int64_t k : members)
      if (rng.below(2)) {
        c = circuit::without_node(graph, c, k);
        m = circuit::without_node(graph, m, k);
        any = true;
      }
    if (!any) {
      const int64_t k = rng.pick(members);
      c = circuit::without_node(graph, c, k);
      m = circuit::without_node(graph, m, k);
    }
    const int64_t first = add(c);
    out.subsets.push_back({first, add(m)});
  }
  if (resampled.defined())
    for (int64_t r = 0; r < resampled.size(0); ++r) out.resampled.push_back(add(best(resampled[r], share)));
  out.circuits = at::stack(all);
  return out;
}

}  // namespace microtome::analyses
