// Circuits one or two at a time find what many at a time find. On the GPU that MICROTOME_TEST_DEVICE names the former are started as a
// CUDA graph, which was recorded with another circuit.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "analysis/circuit/edge_run.h"
#include "core/model/gpu_graph.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

class RecordedCircuits : public ::testing::TestWithParam<const char*> {};

TEST_P(RecordedCircuits, AreThePlainOnes) {
  at::NoGradGuard no_grad;
  at::manual_seed(5);
  auto m = testing::load_test_model(testing::golden_path(std::string("golden/models/") + GetParam()));
  const int64_t vocab = m->config().vocab_size;
  Dataset d = testing::dataset_of(testing::random_ids(3, 9, vocab, 2)), other = testing::dataset_of(testing::random_ids(3, 9, vocab, 4));
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    d.pairs[i].corrupted_ids = other.pairs[i].clean_ids;
    d.pairs[i].corrupted_ids[0] = d.pairs[i].clean_ids[0];       // a token of the prefix
    d.pairs[i].answer_ids = {static_cast<int64_t>(i + 1)};
    d.pairs[i].wrong_ids = {static_cast<int64_t>(i + 9)};
  }
  const circuit::Graph graph(*m);
  const AnalysisInput input{*m, nullptr, d, {}, 0, MixerForm::kAuto};
  const engine::PromptGroup group = engine::group_prompts(input, true).at(0);
  circuit::EdgeRunner plain(graph, input, group, "logit_diff", circuit::Outside::kCorrupted), runner(graph, input, group, "logit_diff", circuit::Outside::kCorrupted);
  constexpr int64_t kMany = 12;        // too many at once to be recorded
  for (int64_t layer : {1, 0}) {
    at::Tensor inside = graph.possible().unsqueeze(0).repeat({kMany, 1, 1}).logical_and(at::rand({kMany, graph.source_count(), graph.input_count()}) < 0.9);
    for (const circuit::Readers& r : graph.readers())
      if (r.layer < layer) inside.narrow(2, r.first, r.count).copy_(graph.possible().narrow(1, r.first, r.count).expand({kMany, -1, -1}));
    const at::Tensor want = plain.run(inside, layer);
    EXPECT_GT((want - want.mean(0, true)).abs().max().item<double>(), 1e-4) << "circuits that do not differ tell nothing";
    for (int64_t n : {1, 2})
      for (int64_t from = 0; from + n <= kMany; from += n)
        EXPECT_TRUE(testing::close(runner.run(inside.narrow(0, from, n), layer), want.narrow(0, from, n), 2e-4, 1e-3)) << "layer " << layer << ", " << n << " at once, from " << from;
    if (m->device().is_cuda() && GpuGraph::missing(m->device()).empty()) EXPECT_TRUE(runner.recorded()) << runner.why_not_recorded();
  }
  EXPECT_FALSE(plain.recorded());
  circuit::EdgeRunner told(graph, input, group, "logit_diff", circuit::Outside::kCorrupted);
  told.record(false);
  for (int i = 0; i < 5; ++i) told.run(graph.possible().unsqueeze(0));
  EXPECT_FALSE(told.recorded());
}

INSTANTIATE_TEST_SUITE_P(Models, RecordedCircuits, ::testing::Values("hf-gpt2", "fla-gated_deltanet", "fla-hybrid-gated_deltanet-swa"), [](const auto& i) {
  std::string name = i.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace microtome
