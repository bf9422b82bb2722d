#include "analysis/feature_circuit/nodes.h"

#include <tuple>

#include "core/base/status.h"

namespace microtome::feature_circuit {

NodeIndex::NodeIndex(int64_t layers, int64_t positions, std::vector<ActiveFeature> features, int64_t logits, bool causal)
    : layers_(layers), positions_(positions), logits_(logits), causal_(causal), features_(std::move(features)) {
  begin_.assign(static_cast<size_t>(layers * (positions + 1)), 0);
  size_t next = 0;
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t p = 0; p <= positions; ++p) {
      while (next < features_.size() && (features_[next].layer < l || (features_[next].layer == l && features_[next].position < p))) ++next;
      begin_[static_cast<size_t>(l * (positions + 1) + p)] = static_cast<int64_t>(next);
    }
  for (size_t i = 1; i < features_.size(); ++i) {
    const ActiveFeature &a = features_[i - 1], &b = features_[i];
    if (std::tuple(a.layer, a.position, a.feature) >= std::tuple(b.layer, b.position, b.feature))
      throw Error(StatusCode::kInternal, "active features are not in order");
  }
}

int64_t NodeIndex::layer_of(int64_t node) const {
  if (is_feature(node)) return feature(node).layer;
  if (is_error(node)) return (node - feature_count()) / positions_;
  return is_token(node) ? -1 : layers_;
}

int64_t NodeIndex::position_of(int64_t node) const {
  if (is_feature(node)) return feature(node).position;
  return is_logit(node) ? positions_ - 1 : (node - feature_count()) % positions_;
}

std::pair<int64_t, int64_t> NodeIndex::features_of(int64_t layer, int64_t below) const {
  const size_t row = static_cast<size_t>(layer * (positions_ + 1));
  return {begin_[row], begin_[row + static_cast<size_t>(below)] - begin_[row]};
}

std::vector<std::pair<int64_t, int64_t>> NodeIndex::runs(int64_t target) const {
  const int64_t layer = layer_of(target), below = causal_ ? position_of(target) + 1 : positions_;
  std::vector<std::pair<int64_t, int64_t>> out;
  for (int64_t l = 0; l < layer; ++l)
    if (auto run = features_of(l, below); run.second > 0) out.push_back(run);
  for (int64_t l = 0; l < layer; ++l) out.emplace_back(error(l, 0), below);
  out.emplace_back(token(0), below);
  return out;
}

int64_t NodeIndex::row_length(int64_t target) const {
  int64_t n = 0;
  for (const auto& [first, count] : runs(target)) n += count;
  return n;
}

}  // namespace microtome::feature_circuit
