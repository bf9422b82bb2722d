// run_whole.h — an analysis from start to finish without store or runner, as tests want it.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "analysis/engine/arrays.h"
#include "analysis/registry.h"
#include "tests/load_model.h"

namespace microtome::testing {

inline AnalysisResult run_whole(const std::string& name, const Model& model, const Dataset& dataset,
                                const std::map<std::string, std::string>& params = {}, int64_t batch = 64,
                                uint64_t seed = 0) {
  at::NoGradGuard no_grad;
  const AnalysisKind* kind = analyses::builtin().find(name);
  if (!kind) throw Error(StatusCode::kInternal, "analysis '" + name + "' is not registered");
  AnalysisInput input{model, nullptr,         dataset, resolve_params(kind->schema, params).value(),
                      seed,  MixerForm::kAuto};
  std::unique_ptr<AnalysisRun> run = kind->start(input);
  run->set_batch(batch);
  Progress progress;
  std::vector<std::vector<NamedArray>> items;
  for (int64_t i = 0; i < run->item_count(); ++i) {
    run->before_item(i, items);
    items.push_back(run->run_item(i, progress));
  }
  return run->finish(items);
}

// The array of this name in any tensors artifact.
inline at::Tensor array_of(const AnalysisResult& result, const std::string& name) {
  for (const Artifact& a : result.artifacts)
    if (const TensorMap* map = std::get_if<TensorMap>(&a))
      for (const NamedArray& array : map->arrays)
        if (array.name == name) return engine::to_tensor(array);
  throw Error(StatusCode::kNotFound, "the result has no array '" + name + "'");
}

inline Dataset dataset_of(const at::Tensor& clean) {
  Dataset out;
  out.name = "test";
  at::Tensor ids = clean.to(at::kLong).contiguous();
  for (int64_t r = 0; r < ids.size(0); ++r) {
    PromptPair p;
    p.clean_ids.assign(ids.const_data_ptr<int64_t>() + r * ids.size(1),
                       ids.const_data_ptr<int64_t>() + (r + 1) * ids.size(1));
    p.line = r + 1;
    out.pairs.push_back(p);
  }
  return out;
}

inline at::Tensor random_ids(int64_t rows, int64_t length, int64_t vocab, uint64_t seed) {
  at::Tensor out = at::empty({rows, length}, at::TensorOptions().dtype(at::kLong));
  uint64_t x = seed * 2654435761u + 12345;
  for (int64_t i = 0; i < out.numel(); ++i) {
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    out.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>((x >> 33) % static_cast<uint64_t>(vocab));
  }
  return out;
}

}  // namespace microtome::testing
