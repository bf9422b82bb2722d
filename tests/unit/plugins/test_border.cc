// What crosses the border to a plug-in: everything it may do wrong becomes one sentence that names it, and what a
// forward gives it is what the model gives.
#include <ATen/ATen.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "analysis/runner.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/hooks/intervention_json.h"
#include "tests/golden_path.h"
#include "tests/run_whole.h"
#include "tests/unit/plugins/plugin_fixture.h"

namespace microtome {
namespace {

class PluginBorder : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = load_model(testing::golden_path("models/zoo-llama"), c10::Device(c10::kCPU), at::kFloat);
    known_ = new app::AnalysisCatalogue(
        testing::load({testing::test_plugin("misbehaves"), testing::test_plugin("forward_probe")}));
  }
  static void TearDownTestSuite() {
    model_.reset();
    delete known_;
  }
  static RunOutcome misbehave(const std::string& how, Progress* given = nullptr) {
    RunSettings s;
    s.analysis = "misbehaves";
    s.params["how"] = how;
    Progress own;
    return run_analysis(known_->registry, *model_, Dataset{}, s, nullptr, given ? *given : own);
  }
  static int64_t runs_alive() {
    void* library = dlopen((testing::test_plugin("misbehaves") + "/misbehaves.so").c_str(), RTLD_NOW | RTLD_NOLOAD);
    int64_t n = reinterpret_cast<int64_t (*)()>(dlsym(library, "runs_alive"))();
    dlclose(library);
    return n;
  }
  static Dataset pair() {
    Dataset d;
    d.name = "pair";
    PromptPair p;
    for (int64_t t = 0; t < 9; ++t) {
      p.clean_ids.push_back((t * 37 + 3) % 900);
      p.corrupted_ids.push_back(t < 4 ? p.clean_ids.back() : (t * 91 + 1) % 900);
    }
    p.answer_ids = {5};
    p.wrong_ids = {6, 7};
    p.positions = {{"subject", 4}};
    p.labels = {{"template", "\"quoted\""}};
    d.pairs.push_back(p);
    return d;
  }
  static std::map<std::string, at::Tensor> probe(const std::map<std::string, std::string>& params, uint64_t seed = 0) {
    Dataset d = pair();
    const AnalysisKind& kind = known_->registry.get("forward_probe", "test");
    AnalysisInput input{*model_->model, model_->tokenizer.get(), d, resolve_params(kind.schema, params).value(),
                        seed,           MixerForm::kAuto};
    auto run = kind.start(input);
    Progress progress;
    std::map<std::string, at::Tensor> out;
    for (const NamedArray& a : run->run_item(0, progress)) out[a.name] = engine::to_tensor(a);
    return out;
  }
  static std::shared_ptr<const LoadedModel> model_;
  static app::AnalysisCatalogue* known_;
};
std::shared_ptr<const LoadedModel> PluginBorder::model_;
app::AnalysisCatalogue* PluginBorder::known_ = nullptr;

TEST_F(PluginBorder, WhatBehavesIsCopiedWhole) {
  ASSERT_TRUE(known_->problems.empty()) << known_->problems[0];
  AnalysisResult r = misbehave("").result;
  ASSERT_EQ(r.artifacts.size(), 4u);
  const auto& map = std::get<TensorMap>(r.artifacts[0]);
  EXPECT_EQ(map.looks.at("numbers"), "diverging");
  EXPECT_EQ(map.axis_labels.at("b"), (std::vector<std::string>{"one", "two", "three"}));
  EXPECT_EQ(map.arrays[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::get<std::vector<double>>(map.arrays[0].data)[4], 4.0);
  EXPECT_EQ(map.arrays[0].help, "six numbers");
  const auto& table = std::get<Table>(r.artifacts[1]);
  EXPECT_EQ(std::get<std::string>(table.rows[0][1]), "four");
  EXPECT_EQ(table.rows[1][1].index(), 0u);
  EXPECT_EQ(std::get<Series>(r.artifacts[2]).lines[0].y[0], 2.0);
  EXPECT_EQ(std::get<Text>(r.artifacts[3]).markdown, "**bold**");
  ASSERT_EQ(r.summary.size(), 2u);
  EXPECT_EQ(r.summary[1].n, 3);  // NaN is left out
  EXPECT_EQ(r.summary[1].value, 2.0);
  EXPECT_EQ(r.findings, (std::vector<std::string>{"It behaved."}));
  EXPECT_EQ(r.warnings, (std::vector<std::string>{"It is a test."}));
  EXPECT_EQ(runs_alive(), 0);
}

TEST_F(PluginBorder, EveryWrongIsOneSentenceThatNamesThePlugin) {
  const std::pair<const char*, const char*> cases[] = {
      {"create_throws", "create is broken"},
      {"create_fails", "the moon is in the wrong phase"},
      {"unknown_param", "'height', which its params.json does not have"},
      {"wrong_param_type", "asked for as an integer"},
      {"array_in_create", "add_array belongs into run_item"},
      {"model_without_size", "version or size of microtome_model"},
      {"negative_items", "-1 items"},
      {"endless_items", "items, which cannot be"},
      {"throws", "run_item is broken"},
      {"throws_int", "no std::exception"},
      {"throws_bad_alloc", "out of memory"},
      {"title_throws", "item_title of 'misbehaves'"},
      {"fails_silently", "failed with code 4"},
      {"odd_code", "failed with code -12345"},
      {"false_cancel", "which nobody did"},
      {"fills_error", "yyyy"},
      {"null_array", "the array is null"},
      {"null_data", "the numbers of array 'numbers' are null"},
      {"null_name", "the name of an array is null"},
      {"null_axes", "the axes of array 'numbers' are null"},
      {"negative_shape", "has -3 along axis 'b'"},
      {"huge_shape", "1099511627776 along axis 'a'"},
      {"many_axes", "said to be 1000"},
      {"unknown_type", "unknown type 9"},
      {"result_in_item", "belongs into finish"},
      {"frees_twice", "is freed that is none"},
      {"two_arrays", "two arrays 'numbers'"},
      {"wrong_item", "no item 99 among 3"},
      {"short_labels", "3 places and 2 labels"},
      {"label_without_axis", "labels axis 'z'"},
      {"null_label", "a label of axis 'b' is null"},
      {"look_without_array", "a look for 'other'"},
      {"bad_look", "look 'pretty'"},
      {"two_maps", "two artifacts 'map'"},
      {"null_cell", "a cell of table 'table' is null"},
      {"bad_cell", "unknown kind 12"},
      {"negative_rows", "said to be -1"},
      {"null_y", "the y values of line 'line' are null"},
      {"null_title", "the title of series 'series' is null"},
      {"half_interval", "interval of 'number'"},
      {"null_finding", "a finding is null"},
      {"finish_throws", "finish is broken"}};
  for (const auto& [how, says] : cases) {
    try {
      misbehave(how);
      ADD_FAILURE() << how << " went through";
    } catch (const Error& e) {
      std::string text = e.what();
      EXPECT_NE(text.find(says), std::string::npos) << how << ": " << text;
      EXPECT_NE(text.find("misbehaves.so"), std::string::npos) << how << ": " << text;
      EXPECT_NE(e.status().code(), StatusCode::kCancelled) << how;
    }
    EXPECT_EQ(runs_alive(), 0) << how;
  }
  EXPECT_NO_THROW(misbehave("null_run"));
}

TEST_F(PluginBorder, ACancelHoldsEvenWhereThePluginGoesOn) {
  for (const char* how : {"", "ignores_cancel"}) {
    Progress progress;
    progress.on_step([&](const Progress::Snapshot& s) {
      if (s.what == "stepping") progress.cancel();
    });
    try {
      misbehave(how, &progress);
      ADD_FAILURE() << "not cancelled";
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kCancelled) << e.what();
    }
    EXPECT_EQ(runs_alive(), 0);
  }
}

TEST_F(PluginBorder, LackOfMemoryIsMetWithSmallerBatches) {
  RunOutcome o = misbehave("needs_small_batch");
  EXPECT_FALSE(o.events.empty());
  EXPECT_EQ(o.result.findings.size(), 1u);
}

TEST_F(PluginBorder, ForwardGivesWhatTheModelGives) {
  at::NoGradGuard no_grad;
  const Model& model = *model_->model;
  at::Tensor clean = at::tensor(pair().pairs[0].clean_ids, at::kLong).unsqueeze(0);
  HookPlan plan;
  plan.capture("blocks.*.attn.hook_z");
  ForwardResult want = model.forward(clean, plan);
  auto got = probe({{"capture", "blocks.*.attn.hook_z"}});
  EXPECT_TRUE(at::equal(got.at("logits"), want.logits));
  for (const std::string& n : want.cache.names()) EXPECT_TRUE(at::equal(got.at(n), want.cache.get(n))) << n;
  // One position of a point that is a transposed view inside.
  auto one = probe({{"capture", "blocks.1.attn.hook_q"}, {"at", "-2"}});
  HookPlan at_one;
  at_one.capture("blocks.1.attn.hook_q", {-2});
  at_one.logit_positions = std::vector<int64_t>{-2};
  ForwardResult w = model.forward(clean, at_one);
  EXPECT_EQ(one.at("logits").size(1), 1);
  EXPECT_TRUE(testing::close(one.at("logits"), w.logits, 1e-5, 1e-5));
  EXPECT_TRUE(at::equal(one.at("blocks.1.attn.hook_q"), w.cache.get("blocks.1.attn.hook_q")));
  // Facts.
  const int64_t* facts = got.at("facts").const_data_ptr<int64_t>();
  EXPECT_EQ(facts[0], static_cast<int64_t>(model.config().layers.size()));
  EXPECT_EQ(facts[2], model.config().vocab_size);
  EXPECT_EQ(facts[3], int64_t{MICROTOME_CPU});
  EXPECT_EQ(facts[4], model_->tokenizer->single_token(" Mary").value_or(-1));
  EXPECT_EQ(facts[6], 1);
  EXPECT_EQ(facts[7], 2);
  at::Tensor bytes = got.at("text");
  std::string text(static_cast<size_t>(bytes.numel()), ' ');
  for (int64_t i = 0; i < bytes.numel(); ++i)
    text[static_cast<size_t>(i)] = static_cast<char>(bytes.const_data_ptr<int64_t>()[i]);
  EXPECT_NE(text.find("\"hooks\""), std::string::npos);
  EXPECT_NE(text.find("\"positions\":{\"subject\":4}"), std::string::npos);
  EXPECT_NE(text.find("\\\"quoted\\\""), std::string::npos);
  EXPECT_EQ(text.substr(text.size() - 3), "#-4");
  EXPECT_EQ(probe({}, 7).at("facts")[5].item<int64_t>(), static_cast<int64_t>(item_seed(7, 3) >> 1));
}

TEST_F(PluginBorder, InterventionsAreTheCommandLines) {
  at::NoGradGuard no_grad;
  const Model& model = *model_->model;
  Dataset d = pair();
  at::Tensor clean = at::tensor(d.pairs[0].clean_ids, at::kLong).unsqueeze(0),
             corrupted = at::tensor(d.pairs[0].corrupted_ids, at::kLong).unsqueeze(0);
  std::string zero =
      R"([{"hook": "blocks.1.attn.hook_z", "where": {"head": [0], "pos": [-1]}, "operation": "set", "source": {"zero": true}}])";
  HookPlan plan;
  for (Intervention& i : parse_interventions(parse_json(zero, "test").value(), "test", {}))
    plan.intervene(std::move(i));
  EXPECT_TRUE(at::equal(probe({{"interventions", zero}}).at("logits"), model.forward(clean, plan).logits));
  EXPECT_FALSE(at::equal(probe({}).at("logits"), model.forward(clean, plan).logits));
  // The clean run put where it is already changes nothing; the corrupted residual makes the run the corrupted one.
  auto set = [](const char* run) {
    return R"([{"hook": "blocks.2.hook_resid_pre", "operation": "set", "source": {"run": ")" + std::string(run) +
           "\"}}]";
  };
  EXPECT_TRUE(
      testing::close(probe({{"interventions", set("clean")}}).at("logits"), model.forward(clean).logits, 1e-6, 0));
  EXPECT_TRUE(
      testing::close(probe({{"interventions", set("other")}, {"source_hook", "blocks.2.hook_resid_pre"}}).at("logits"),
                     model.forward(corrupted).logits, 1e-5, 1e-5));
  const std::pair<std::map<std::string, std::string>, const char*> bad[] = {
      {{{"interventions", set("elsewhere")}}, "neither 'clean' nor a source"},
      {{{"interventions", "[{"}}, "interventions"},
      {{{"interventions", "{}"}}, "not a list"},
      {{{"capture", "blocks.99.nothing"}}, "blocks.99.nothing"},
      {{{"capture", "blocks.0.attn.hook_z"}, {"at", "55"}}, "55"},
      {{{"forget_size", "true"}}, "version or size"},
      {{{"interventions", set("other")}, {"source_hook", "blocks.2.attn.hook_z"}}, "blocks.2.hook_resid_pre"}};
  for (const auto& [params, says] : bad) {
    try {
      probe(params);
      ADD_FAILURE() << says;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(says), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("forward_probe"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace microtome
