// Edge scores against the public EAP-IG code's (golden/analyses/README_hf.md: 5e-4 of the largest magnitude).
#include <gtest/gtest.h>

#include "analysis/circuit/edge_run.h"
#include "analysis/circuit/graph.h"
#include "analysis/circuit/scores.h"
#include "analysis/engine/arrays.h"
#include "analysis/registry.h"
#include "core/base/json.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

using testing::close;
using testing::golden_path;

struct Case {
  std::unique_ptr<Model> model;
  Dataset data;
  std::map<std::string, at::Tensor> expected;
  Json inputs;
};

std::vector<int64_t> ints(const Json& j) {
  std::vector<int64_t> out;
  for (const Json& v : j) out.push_back(v.get<int64_t>());
  return out;
}

Case load_case(const std::string& name) {
  Case c;
  const std::string folder = golden_path("golden/analyses/" + name);
  c.inputs = read_json_file(folder + "/inputs.json").value();
  c.model = testing::load_test_model(golden_path(c.inputs["model"].get<std::string>()));
  c.expected = testing::load_tensors(folder + "/expected.safetensors");
  c.data.name = name;
  for (size_t i = 0; i < c.inputs["clean_tokens"].size(); ++i) {
    PromptPair p;
    p.clean_ids = ints(c.inputs["clean_tokens"][i]);
    p.corrupted_ids = ints(c.inputs["corrupt_tokens"][i]);
    p.answer_ids = {c.inputs["answers"][i][0].get<int64_t>()};
    p.wrong_ids = {c.inputs["answers"][i][1].get<int64_t>()};
    c.data.pairs.push_back(p);
  }
  return c;
}

AnalysisResult run(const Case& c, const std::string& analysis, std::map<std::string, std::string> params) {
  const AnalysisKind& kind = analyses::builtin().get(analysis, "test");
  params["metric"] = "logit_diff";
  AnalysisInput input{*c.model, nullptr, c.data, resolve_params(kind.schema, params).value(), 0, MixerForm::kAuto};
  auto r = kind.start(input);
  Progress progress;
  std::vector<std::vector<NamedArray>> items;
  for (int64_t i = 0; i < r->item_count(); ++i) items.push_back(r->run_item(i, progress));
  return r->finish(items);
}

at::Tensor array(const AnalysisResult& r, const std::string& name) {
  for (const Artifact& a : r.artifacts)
    if (const auto* m = std::get_if<TensorMap>(&a))
      for (const NamedArray& n : m->arrays)
        if (n.name == name) return engine::to_tensor(n);
  throw Error(StatusCode::kInternal, "no array " + name);
}

class GoldenCircuits : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenCircuits, EdgeScores) {
  Case c = load_case(std::string(GetParam()) + "-eap");
  circuit::Graph graph(*c.model);
  ASSERT_EQ(graph.source_names(), c.inputs["sources"].get<std::vector<std::string>>());
  ASSERT_EQ(graph.input_names(), c.inputs["destinations"].get<std::vector<std::string>>());
  EXPECT_TRUE(at::equal(graph.possible(), c.expected.at("mask").to(at::kBool)));
  EXPECT_EQ(graph.edge_count(), c.expected.at("mask").to(at::kLong).sum().item<int64_t>());
  const std::tuple<const char*, std::map<std::string, std::string>, const char*> runs[] = {
      {"eap", {}, "eap"},
      {"eap", {{"batch_size", "1"}}, "eap"},
      {"eap_ig", {{"steps", "5"}}, "eap_ig5_k0to4"},
      {"eap_ig", {{"steps", "5"}, {"ig_range", "to_clean"}}, "eap_ig5_k1to5"},
      {"eap_ig", {{"mode", "clean_corrupted"}}, "eap_clean_corrupted"}};
  for (const auto& [analysis, params, name] : runs) {
    SCOPED_TRACE(name);
    AnalysisResult r = run(c, analysis, params);
    const at::Tensor& want = c.expected.at(name);
    EXPECT_TRUE(close(array(r, "edge_scores"), want, 5e-4 * want.abs().max().item<double>(), 0));
    EXPECT_NEAR(r.summary[0].value, c.expected.at("metric.clean").item<double>(), 1e-4);
    EXPECT_NEAR(r.summary[1].value, c.expected.at("metric.corrupt").item<double>(), 1e-4);
  }
  // The 40 largest, in the reference's order.
  at::Tensor scores = array(run(c, "eap", {}), "edge_scores"), top = c.expected.at("eap_top40_flat_index");
  at::Tensor best = circuit::best_edges(graph, scores, 40, true);
  double smallest = 1e300;
  for (int64_t i = 0; i < 40; ++i) smallest = std::min(smallest, std::abs(c.expected.at("eap").flatten()[top[i].item<int64_t>()].item<double>()));
  for (int64_t i = 0; i < 40; ++i) {
    const int64_t e = top[i].item<int64_t>();
    // Edges that tie with the last one may stand in either list.
    if (std::abs(c.expected.at("eap").flatten()[e].item<double>()) > smallest * (1 + 1e-3)) EXPECT_TRUE(best.flatten()[e].item<bool>()) << i;
  }
}

// Everything inside is the clean run, nothing inside the corrupted one; one cut edge equals path patching by hand: the
// source's difference added to the one input that reads it.
TEST_P(GoldenCircuits, CutEdges) {
  Case c = load_case(std::string(GetParam()) + "-eap");
  circuit::Graph graph(*c.model);
  AnalysisInput input{*c.model, nullptr, c.data, {}, 0, MixerForm::kAuto};
  for (const engine::PromptGroup& g : engine::group_prompts(input, true)) {
    circuit::EdgeRunner runner(graph, input, g, "logit_diff", circuit::Outside::kCorrupted);
    at::Tensor all = graph.possible(), none = at::zeros_like(all);
    at::Tensor value = runner.run(at::stack({all, none, all}));
    EXPECT_NEAR(value[0].mean().item<double>(), c.expected.at("metric.clean").item<double>(), 2e-4);
    EXPECT_NEAR(value[1].mean().item<double>(), c.expected.at("metric.corrupt").item<double>(), 2e-4);
    EXPECT_TRUE(close(value[0], value[2], 1e-5, 1e-5));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenCircuits, ::testing::Values("hf-gpt2", "stories260K"), [](const auto& i) {
  std::string name = i.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace microtome
