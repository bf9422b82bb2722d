// feature_circuit_samples.h — random transcoders for small models, and random graphs without one.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "analysis/feature_circuit/row_store.h"
#include "core/base/rng.h"
#include "core/dictionary/dictionary.h"
#include "core/model/model.h"

namespace microtome::testing {

struct TranscoderSample {
  std::string point = "mlp.hook_in";           // "hook_resid_mid", "ln2.hook_normalized"
  int64_t d_sae = 40;
  bool skip = false, cross_layer = false;
  std::vector<int64_t> layers;                 // empty: all that have an MLP
  uint64_t seed = 1;
};

inline at::Tensor normal(at::IntArrayRef shape, Rng& rng, double scale) {
  at::Tensor out = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < out.numel(); ++i) out.mutable_data_ptr<double>()[i] = scale * rng.normal();
  return out.to(at::kFloat);
}

inline DictionarySet random_transcoders(const Model& model, const TranscoderSample& s) {
  const int64_t d = model.config().d_model, layers = static_cast<int64_t>(model.config().layers.size());
  Rng rng(s.seed);
  DictionarySet set;
  set.name = "random";
  for (int64_t l = 0; l < layers; ++l) {
    const std::string block = "blocks." + std::to_string(l) + ".";
    if (!model.config().layers[static_cast<size_t>(l)].channel.d_mlp) continue;
    if (!s.layers.empty() && std::find(s.layers.begin(), s.layers.end(), l) == s.layers.end()) continue;
    Dictionary t;
    t.config.kind = "standard";
    t.config.transcoder = true;
    t.config.skip = s.skip;
    t.config.apply_b_dec_to_input = false;
    t.config.d_in = t.config.d_out = d;
    t.config.d_sae = s.d_sae;
    t.config.hook_in = block + s.point;
    t.config.hook_out = block + "hook_mlp_out";
    const double enc = 1 / std::sqrt(static_cast<double>(d));
    t.weights["W_enc"] = normal({d, s.d_sae}, rng, enc);
    t.weights["b_enc"] = normal({s.d_sae}, rng, 0.2);
    t.weights["W_dec"] = normal({s.d_sae, d}, rng, 0.2 * enc);
    t.weights["b_dec"] = normal({d}, rng, 0.1 * enc);
    if (s.skip) t.weights["W_skip"] = normal({d, d}, rng, 0.3 * enc);
    if (s.cross_layer && l + 1 < layers) t.weights["W_dec_later"] = normal({layers - 1 - l, s.d_sae, d}, rng, 0.1 * enc);
    set.members.push_back(t);
    set.layers.push_back(l);
  }
  return set;
}

// A graph with rows of random numbers, a fifth of them 0.
struct GraphSample {
  feature_circuit::NodeIndex nodes;
  std::map<int64_t, std::vector<float>> rows;
  std::vector<double> logit_p;
  at::Tensor dense;                            // [node, node] float64: target, source

  GraphSample(int64_t layers, int64_t positions, int64_t features, int64_t logits, uint64_t seed) : nodes(make(layers, positions, features, logits, seed)) {
    Rng rng(seed + 1);
    dense = at::zeros({nodes.size(), nodes.size()}, at::kDouble);
    double left = 0.9;
    for (int64_t i = 0; i < logits; ++i) logit_p.push_back(left *= 0.6);
    for (int64_t t = 0; t < nodes.size(); ++t) {
      if (!nodes.is_feature(t) && !nodes.is_logit(t)) continue;
      std::vector<float> row;
      for (const auto& [first, count] : nodes.runs(t))
        for (int64_t k = 0; k < count; ++k) {
          const double v = rng.uniform() < 0.2 ? 0 : rng.normal() * (nodes.is_error(first + k) ? 0.3 : 1);
          row.push_back(static_cast<float>(v));
          dense.mutable_data_ptr<double>()[t * nodes.size() + first + k] = static_cast<double>(row.back());
        }
      rows[t] = std::move(row);
    }
  }
  void fill(feature_circuit::RowStore& store) const {
    for (const auto& [t, row] : rows) store.append(t, row.data(), static_cast<int64_t>(row.size()));
  }

 private:
  static feature_circuit::NodeIndex make(int64_t layers, int64_t positions, int64_t features, int64_t logits, uint64_t seed) {
    Rng rng(seed);
    std::map<std::tuple<int64_t, int64_t, int64_t>, float> chosen;
    while (static_cast<int64_t>(chosen.size()) < features)
      chosen[{static_cast<int64_t>(rng.below(static_cast<uint64_t>(layers))), static_cast<int64_t>(rng.below(static_cast<uint64_t>(positions))), static_cast<int64_t>(rng.below(50))}] =
          static_cast<float>(rng.uniform() + 0.1);
    std::vector<feature_circuit::ActiveFeature> all;
    for (const auto& [key, activation] : chosen) all.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), activation});
    return feature_circuit::NodeIndex(layers, positions, std::move(all), logits);
  }
};

}  // namespace microtome::testing
