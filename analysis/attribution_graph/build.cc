#include "analysis/attribution_graph/build.h"

#include <algorithm>
#include <numeric>

namespace microtome::analyses {

using namespace feature_circuit;

GraphBuild::GraphBuild(const Model& model, const std::vector<int64_t>& tokens, const TranscoderLayers& transcoders, const GraphOptions& options)
    : options_(options), frozen_(std::make_unique<FrozenModel>(model, tokens, transcoders, options.frozen)),
      rows_(std::make_unique<RowStore>(frozen_->nodes())) {}

std::vector<int64_t> GraphBuild::block(int64_t number) const {
  std::vector<int64_t> out;
  if (number == 0) {
    for (int64_t i = 0; i < nodes().logit_count(); ++i) out.push_back(nodes().logit(i));
    return out;
  }
  const int64_t begin = (number - 1) * kRowsPerItem, count = std::min(kRowsPerItem, feature_rows() - begin);
  if (count <= 0) return out;
  if (!ranked()) {
    out.resize(static_cast<size_t>(count));
    std::iota(out.begin(), out.end(), begin);
    return out;
  }
  const Influence now = influence(*rows_, frozen_->logit_p());
  for (int64_t n = 0; n < nodes().feature_count(); ++n)
    if (!rows_->has(n)) out.push_back(n);
  std::stable_sort(out.begin(), out.end(), [&](int64_t a, int64_t b) { return now.nodes[static_cast<size_t>(a)] > now.nodes[static_cast<size_t>(b)]; });
  out.resize(static_cast<size_t>(count));
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<float> GraphBuild::compute(const std::vector<int64_t>& targets, int64_t batch, Progress& progress) {
  // Targets of one position run together: a pass reaches only as far as the last of its targets.
  std::vector<size_t> order(targets.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return nodes().position_of(targets[a]) < nodes().position_of(targets[b]); });
  std::vector<std::vector<float>> rows(targets.size());
  for (size_t from = 0; from < order.size(); from += static_cast<size_t>(batch)) {
    progress.step(static_cast<int64_t>(from), static_cast<int64_t>(order.size()), "attributing");
    const size_t to = std::min(order.size(), from + static_cast<size_t>(batch));
    std::vector<int64_t> part;
    for (size_t i = from; i < to; ++i) part.push_back(targets[order[i]]);
    std::vector<std::vector<float>> got = frozen_->attribute(part);
    for (size_t i = from; i < to; ++i) rows[order[i]] = std::move(got[i - from]);
  }
  std::vector<float> out;
  for (const std::vector<float>& r : rows) out.insert(out.end(), r.begin(), r.end());
  add(targets, out);
  return out;
}

void GraphBuild::add(const std::vector<int64_t>& targets, const std::vector<float>& values) {
  size_t at = 0;
  for (int64_t t : targets) {
    const int64_t n = nodes().row_length(t);
    if (at + static_cast<size_t>(n) > values.size()) throw Error(StatusCode::kInternal, "stored rows do not fit the graph");
    rows_->append(t, values.data() + at, n);
    at += static_cast<size_t>(n);
  }
}

const GraphBuild::Outcome& GraphBuild::outcome() {
  if (outcome_) return *outcome_;
  outcome_ = std::make_unique<Outcome>();
  Outcome& o = *outcome_;
  o.selected.assign(static_cast<size_t>(nodes().size()), 1);
  for (int64_t n = 0; n < nodes().feature_count(); ++n) o.selected[static_cast<size_t>(n)] = rows_->has(n);
  o.influence = influence(*rows_, frozen_->logit_p(), o.selected);
  o.scores = graph_scores(nodes(), o.influence, frozen_->logit_p());
  o.pruned = prune(*rows_, o.influence, frozen_->logit_p(), o.selected, options_.prune);
  return o;
}

}  // namespace microtome::analyses
