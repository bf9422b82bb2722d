// Previews: a grid that fills while it runs, cell by cell what it will be, and the same bits whether or not it is watched.
#include <gtest/gtest.h>

#include <cstring>

#include "analysis/registry.h"
#include "analysis/runner.h"
#include "core/model/loaded_model.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using Items = std::vector<std::vector<NamedArray>>;

Dataset pairs(int64_t vocab) {
  Dataset d;
  d.name = "pairs";
  for (int64_t i = 0; i < 5; ++i) {
    PromptPair p;
    for (int64_t t = 0; t < (i < 3 ? 9 : 7); ++t) {
      p.clean_ids.push_back((t * 7 + i * 13 + 3) % vocab);
      p.corrupted_ids.push_back(t < 2 ? p.clean_ids.back() : (t * 11 + i * 5 + 1) % vocab);
    }
    p.answer_ids = {5 + i};
    p.wrong_ids = {60 - i};
    d.pairs.push_back(p);
  }
  return d;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         std::memcmp(a.contiguous().const_data_ptr(), b.contiguous().const_data_ptr(), a.nbytes()) == 0;
}

bool same_items(const Items& a, const Items& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size()) return false;
    for (size_t k = 0; k < a[i].size(); ++k)
      if (!same_bits(engine::to_tensor(a[i][k]), engine::to_tensor(b[i][k]))) return false;
  }
  return true;
}

const TensorMap& first_map(const AnalysisResult& r) { return std::get<TensorMap>(r.artifacts.at(0)); }

bool same_map(const TensorMap& a, const TensorMap& b) {
  if (a.name != b.name || a.title != b.title || a.axis_labels != b.axis_labels || a.looks != b.looks || a.arrays.size() != b.arrays.size())
    return false;
  for (size_t i = 0; i < a.arrays.size(); ++i)
    if (a.arrays[i].name != b.arrays[i].name || a.arrays[i].unit != b.arrays[i].unit || a.arrays[i].help != b.arrays[i].help ||
        a.arrays[i].axes != b.arrays[i].axes || !same_bits(engine::to_tensor(a.arrays[i]), engine::to_tensor(b.arrays[i])))
      return false;
  return true;
}

struct Case {
  std::string analysis;
  std::map<std::string, std::string> params;
};

class Previews : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    model_ = testing::load_test_model(testing::golden_path("golden/models/fla-hybrid-gated_deltanet-swa"));
    data_ = pairs(model_->config().vocab_size);
  }
  std::unique_ptr<AnalysisRun> start() const {
    const AnalysisKind* kind = analyses::builtin().find(GetParam().analysis);
    AnalysisInput input{*model_, nullptr, data_, resolve_params(kind->schema, GetParam().params).value(), 3, MixerForm::kAuto};
    std::unique_ptr<AnalysisRun> run = kind->start(input);
    run->set_batch(4);
    return run;
  }
  std::unique_ptr<Model> model_;
  Dataset data_;
};

TEST_P(Previews, FillUpToTheResult) {
  at::NoGradGuard no_grad;
  Progress progress;
  std::unique_ptr<AnalysisRun> quiet = start(), watched = start();
  Items alone, items(static_cast<size_t>(watched->item_count()));
  for (int64_t i = 0; i < quiet->item_count(); ++i) alone.push_back(quiet->run_item(i, progress));

  int64_t partial = 0, known = 0;
  at::Tensor final_values;
  std::vector<at::Tensor> seen;
  bool by_layer = GetParam().analysis != "attribution_patching";
  std::string name = first_map(quiet->finish(alone)).arrays.at(0).name;
  auto look = [&] {
    std::optional<AnalysisResult> p = watched->preview(items);
    if (!p) return;
    seen.push_back(engine::to_tensor(engine::find_array(first_map(*p).arrays, name)));
    int64_t now = seen.back().isfinite().sum().item<int64_t>();
    EXPECT_GE(now, known) << "a cell became unknown again";
    known = now;
  };
  watched->on_partial([&](int64_t item, const std::function<std::vector<NamedArray>()>& so_far) {
    ++partial;
    items[static_cast<size_t>(item)] = so_far();
    look();
  });
  for (int64_t i = 0; i < watched->item_count(); ++i) {
    items[static_cast<size_t>(i)] = watched->run_item(i, progress);
    look();
  }
  EXPECT_TRUE(same_items(items, alone)) << "watching changed numbers";
  if (by_layer) {
    EXPECT_GT(partial, watched->item_count()) << "a layer is filled in several batches of 4 rows";
  } else {
    EXPECT_EQ(partial, 0);
  }
  ASSERT_FALSE(seen.empty());

  AnalysisResult result = watched->finish(items), reference = quiet->finish(alone);
  std::optional<AnalysisResult> whole = watched->preview(items);
  ASSERT_TRUE(whole.has_value());
  EXPECT_TRUE(same_map(first_map(*whole), first_map(result)));
  EXPECT_TRUE(same_map(first_map(reference), first_map(result)));

  at::Tensor last = engine::to_tensor(engine::find_array(first_map(result).arrays, name));
  EXPECT_EQ(known, last.isfinite().sum().item<int64_t>());
  if (!by_layer) return;
  EXPECT_LT(seen.front().isfinite().sum().item<int64_t>(), known);
  // A cell is a mean over prompts, whose groups are filled one after the other: with the whole first layer in, it is final.
  Items one(items.size());
  one[0] = items[0];
  at::Tensor early = engine::to_tensor(engine::find_array(first_map(*watched->preview(one)).arrays, name));
  EXPECT_TRUE(same_bits(early[0], last[0]));
  EXPECT_TRUE(early.slice(0, 1).isnan().all().item<bool>());
}
INSTANTIATE_TEST_SUITE_P(Grids, Previews,
                         ::testing::Values(
                             Case{"activation_patching", {}},
                             Case{"activation_patching", {{"site", "resid_pre"}, {"direction", "noise"}}},
                             Case{"activation_patching", {{"site", "z"}, {"by_position", "true"}, {"metric", "kl"}}},
                             Case{"ablation", {}},
                             Case{"ablation", {{"site", "resid_pre"}, {"kind", "resample"}, {"metric", "loss"}}},
                             Case{"attribution_patching", {}},
                             Case{"attribution_patching", {{"site", "resid_pre"}, {"direction", "noise"}}}),
                         [](const auto& i) { return i.param.analysis + std::to_string(i.index); });

TEST(PreviewRuns, TheRunnerShowsThemAndTheirFaultsStayTheirs) {
  auto model = load_model(testing::golden_path("golden/models/fla-hybrid-gated_deltanet-swa"), c10::Device(c10::kCPU), at::kFloat);
  Dataset d = pairs(model->model->config().vocab_size);
  RunSettings s;
  Progress progress;
  for (const char* name : {"activation_patching", "ablation", "attribution_patching", "states"}) {
    s.analysis = name;
    s.params = {{"batch_size", "4"}};
    RunOutcome plain = run_analysis(analyses::builtin(), *model, d, s, nullptr, progress);
    int64_t shown = 0;
    TensorMap last;
    RunOutcome watched = run_analysis(analyses::builtin(), *model, d, s, nullptr, progress, [&](const AnalysisResult& r) {
      ++shown;
      last = first_map(r);
    });
    RunOutcome failing = run_analysis(analyses::builtin(), *model, d, s, nullptr, progress, [&](const AnalysisResult&) {
      throw Error(StatusCode::kFailed, "the window is gone");
    });
    for (const RunOutcome* o : {&watched, &failing}) {
      ASSERT_EQ(o->result.artifacts.size(), plain.result.artifacts.size());
      EXPECT_EQ(o->result.findings, plain.result.findings);
      EXPECT_TRUE(same_map(first_map(o->result), first_map(plain.result))) << name;
      EXPECT_EQ(o->key.hash, plain.key.hash);
    }
    if (std::string(name) == "states") {
      EXPECT_EQ(shown, 0);
    } else {
      ASSERT_GT(shown, 0) << name;
      EXPECT_TRUE(same_map(last, first_map(plain.result))) << name;
    }
  }
}

TEST(PreviewRuns, AMetricWithoutADifferenceHasNoPictureAndKeepsItsError) {
  auto model = load_model(testing::golden_path("golden/models/fla-gla"), c10::Device(c10::kCPU), at::kFloat);
  Dataset d = pairs(model->model->config().vocab_size);
  for (PromptPair& p : d.pairs) p.corrupted_ids = p.clean_ids;
  RunSettings s;
  s.analysis = "activation_patching";
  Progress progress;
  int64_t shown = 0;
  try {
    run_analysis(analyses::builtin(), *model, d, s, nullptr, progress, [&](const AnalysisResult&) { ++shown; });
    FAIL() << "equal prompts were accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("the same on clean and corrupted"), std::string::npos) << e.what();
  }
  EXPECT_EQ(shown, 0);
}

}  // namespace
}  // namespace microtome
