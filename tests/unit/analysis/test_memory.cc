// Memory that does not suffice: with an allocator that refuses what is larger than a part of the largest tensor of an
// undisturbed run, every analysis goes on with less at a time and finds the same numbers.
#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/base/memory.h"
#include "analysis/registry.h"
#include "analysis/runner.h"
#include "core/model/loaded_model.h"
#include "core/training/activations.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/unit/analysis/feature_fixture.h"

namespace microtome {
namespace {

// LibTorch's allocator with a bound for a single tensor.
class Bounded : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t n) override {
    if (bound > 0 && n > bound) {
      ++refused;
      TORCH_CHECK(false, "[enforce fail at test] . DefaultCPUAllocator: not enough memory: you tried to allocate ", n, " bytes.");
    }
    size_t before = largest;
    while (n > before && !largest.compare_exchange_weak(before, n)) {}
    return own_->allocate(n);
  }
  c10::DeleterFnPtr raw_deleter() const override { return own_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t n) const override { own_->copy_data(to, from, n); }
  std::atomic<size_t> largest{0}, bound{0}, refused{0};

 private:
  c10::Allocator* own_ = c10::GetDefaultCPUAllocator();
};

Bounded& allocator() {
  static Bounded* one = [] {
    auto* b = new Bounded;             // tensors of other tests may outlive this one
    c10::SetCPUAllocator(b, 1);
    return b;
  }();
  return *one;
}

Dataset pairs(int64_t vocab, int64_t count) {
  Dataset d;
  d.name = "pairs";
  for (int64_t i = 0; i < count; ++i) {
    PromptPair p;
    for (int64_t t = 0; t < 14; ++t) {
      p.clean_ids.push_back((t * 7 + i * 13 + 3) % vocab);
      p.corrupted_ids.push_back(t < 2 ? p.clean_ids.back() : (t * 11 + i * 5 + 1) % vocab);
    }
    p.answer_ids = {5 + i};
    p.wrong_ids = {60 - i};
    d.pairs.push_back(p);
  }
  return d;
}

struct Case {
  std::string analysis;
  std::map<std::string, std::string> params;
  double share = 0.6;                  // of the largest tensor that is allowed
};

class ShortMemory : public ::testing::TestWithParam<Case> {};

void expect_same(const AnalysisResult& a, const AnalysisResult& b) {
  auto near = [](double x, double y) { return (std::isnan(x) && std::isnan(y)) || std::fabs(x - y) <= 2e-4 + 1e-3 * std::fabs(y); };
  ASSERT_EQ(a.summary.size(), b.summary.size());
  for (size_t i = 0; i < a.summary.size(); ++i)
    if (a.summary[i].name != "runs")   // what it costs is another matter
      EXPECT_TRUE(near(a.summary[i].value, b.summary[i].value)) << a.summary[i].name << ": " << a.summary[i].value << " against " << b.summary[i].value;
  ASSERT_EQ(a.artifacts.size(), b.artifacts.size());
  for (size_t i = 0; i < a.artifacts.size(); ++i) {
    const auto *x = std::get_if<TensorMap>(&a.artifacts[i]), *y = std::get_if<TensorMap>(&b.artifacts[i]);
    if (!x) continue;
    ASSERT_TRUE(y);
    ASSERT_EQ(x->arrays.size(), y->arrays.size());
    for (size_t k = 0; k < x->arrays.size(); ++k) {
      ASSERT_EQ(x->arrays[k].shape, y->arrays[k].shape) << x->arrays[k].name;
      int64_t wrong = 0;
      for (int64_t e = 0; e < x->arrays[k].size(); ++e) wrong += !near(x->arrays[k].at(e), y->arrays[k].at(e));
      EXPECT_EQ(wrong, 0) << x->arrays[k].name;
    }
  }
}

const LoadedModel& the_model() {
  static const auto model = load_model(testing::golden_path("golden/models/fla-hybrid-gated_deltanet-swa"), c10::Device(c10::kCPU), at::kFloat);
  return *model;
}

void less_at_a_time(const Case& c) {
  Bounded& memory = allocator();
  const LoadedModel* model = &the_model();
  const Dataset d = pairs(model->model->config().vocab_size, 24);
  RunSettings s;
  s.analysis = c.analysis;
  s.params = c.params;
  s.seed = 3;
  Progress progress;
  memory.bound = 0;
  memory.largest = 0;
  const RunOutcome plenty = run_analysis(analyses::builtin(), *model, d, s, nullptr, progress);
  EXPECT_TRUE(plenty.events.empty());
  memory.refused = 0;
  memory.bound = static_cast<size_t>(static_cast<double>(memory.largest) * c.share);
  RunOutcome little;
  try {
    little = run_analysis(analyses::builtin(), *model, d, s, nullptr, progress);
  } catch (const std::exception& e) {
    memory.bound = 0;
    FAIL() << e.what();
  }
  memory.bound = 0;
  EXPECT_GT(memory.refused, 0u) << "the bound was never met";
  expect_same(little.result, plenty.result);
}

TEST_P(ShortMemory, LessAtATime) { less_at_a_time(GetParam()); }

class ShortMemoryOfFeatures : public testing::FeatureFixture {};

TEST_F(ShortMemoryOfFeatures, LessAtATime) {
  const std::string hook = "blocks.1.hook_resid_post";
  const std::string sae = write_sae("sae", the_model().model->config().d_model, 640, hook, 0.3, -0.2);
  less_at_a_time({"dictionary_eval", {{"dictionary", sae}}});
  less_at_a_time({"dictionary_eval", {{"dictionary", sae}, {"batch_size", "8"}}});
  less_at_a_time({"feature_ablation", {{"dictionary", sae}, {"n", "3"}}});
}

TEST(ShortMemoryOfTraining, LessAtATime) {
  const Model& model = *the_model().model;
  Corpus corpus;
  corpus.name = "corpus";
  for (int64_t i = 0; i < 24; ++i) {
    corpus.sequences.emplace_back();
    for (int64_t t = 0; t < 12; ++t) corpus.sequences.back().push_back((t * 7 + i * 13 + 3) % model.config().vocab_size);
  }
  ActivationOptions options;
  options.hooks = {"blocks.1.attn.hook_z"};
  Bounded& memory = allocator();
  memory.bound = 0;
  at::Tensor plenty;
  for (int i = 0; i < 2; ++i) {         // the first one makes what is kept for later
    memory.largest = 0;
    plenty = ActivationBlocks(model, corpus, options).block(0).at(0).clone();
  }
  memory.refused = 0;
  // What is left of it must fit, and what a run's intermediates take must be more.
  memory.bound = std::max(static_cast<size_t>(plenty.nbytes()), memory.largest * 2 / 3);
  ASSERT_LT(memory.bound, memory.largest);
  at::Tensor little;
  try {
    little = ActivationBlocks(model, corpus, options).block(0).at(0).clone();
  } catch (const std::exception& e) {
    memory.bound = 0;
    FAIL() << e.what();
  }
  memory.bound = 0;
  EXPECT_GT(memory.refused, 0u) << "the bound was never met";
  EXPECT_TRUE(at::allclose(little, plenty, 1e-4, 1e-5));
}

INSTANTIATE_TEST_SUITE_P(Analyses, ShortMemory,
                         ::testing::Values(Case{"activation_patching", {}}, Case{"activation_patching", {{"site", "resid_pre"}}},
                                           Case{"activation_patching", {{"site", "state"}}}, Case{"ablation", {}},
                                           Case{"path_patching", {}}, Case{"attribution_patching", {}}, Case{"eap", {}}, Case{"eap_ig", {}},
                                           Case{"acdc", {{"threshold", "0.05"}}}, Case{"circuit_eval", {{"method", "eap"}, {"resamples", "0"}}},
                                           Case{"cd_t", {}}, Case{"attention", {}}, Case{"dla", {}}, Case{"logit_lens", {}}, Case{"states", {}},
                                           Case{"state_lens", {}}, Case{"steering", {{"max_new", "2"}, {"texts", "2"}}},
                                           Case{"discrete_sae_circuit", {{"steps", "20"}, {"codes", "8"}}, 0.8}),
                         [](const auto& i) { return i.param.analysis + std::to_string(i.index); });

TEST(InParts, HalvesAndGoesOn) {
  std::vector<std::pair<int64_t, int64_t>> seen;
  int64_t at_once = 8;
  in_parts(13, at_once, [&](int64_t from, int64_t n) {
    if (n > 3) throw std::bad_alloc();
    seen.push_back({from, n});
  });
  EXPECT_EQ(seen, (std::vector<std::pair<int64_t, int64_t>>{{0, 2}, {2, 2}, {4, 2}, {6, 2}, {8, 2}, {10, 2}, {12, 1}}));
  EXPECT_EQ(at_once, 2);
  EXPECT_THROW(in_parts(4, at_once, [](int64_t, int64_t) { throw std::bad_alloc(); }), std::bad_alloc);
  at_once = 4;
  EXPECT_THROW(in_parts(4, at_once, [](int64_t, int64_t) { throw std::runtime_error("another fault"); }), std::runtime_error);
  EXPECT_EQ(at_once, 4);
}

}  // namespace
}  // namespace microtome
