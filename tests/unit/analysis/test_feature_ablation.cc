// feature_ablation against runs with edits by hand; its prediction against small changes; steering by a feature.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/dictionary/formats/format.h"
#include "core/training/dictionary_metrics.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"
#include "tests/unit/base/temp_folder.h"
#include "tests/unit/dictionary/made.h"

namespace microtome {
namespace {

using testing::array_of;
using testing::close;
using testing::made;
using testing::naive;
using testing::run_whole;

const Model& model_of(const std::string& name) {
  static auto& models = *new std::map<std::string, std::unique_ptr<Model>>;
  std::unique_ptr<Model>& m = models[name];
  if (!m) m = testing::load_test_model(testing::golden_path("golden/models/" + name), at::kDouble);
  return *m;
}

struct Setup {
  const char *model, *in, *out;
};

Dictionary made_for(const Model& m, const std::string& in, const std::string& out) {
  const int64_t d_in = point_width(m, in), d_out = point_width(m, out);
  Dictionary d = made("standard", in != out, false, 0.3, {d_in, 24, d_out});
  d.config.hook_in = in;
  d.config.hook_out = out;
  return d;
}

Dataset prompts(const Model& m) {
  Dataset d = testing::dataset_of(testing::random_ids(3, 8, m.config().vocab_size, 2));
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    d.pairs[i].answer_ids = {static_cast<int64_t>(i + 1)};
    d.pairs[i].wrong_ids = {static_cast<int64_t>(i + 9)};
    d.pairs[i].positions = {{"subject", 2 + static_cast<int64_t>(i)}};
  }
  return d;
}

std::string store(const testing::TempFolder& folder, const std::vector<Dictionary>& members) {
  DictionarySet set;
  for (const Dictionary& d : members) {
    set.members.push_back(d);
    set.layers.push_back(layer_of_hook(d.config.hook_in));
  }
  write_dictionaries(set, "saelens", folder / "dictionary");
  return folder / "dictionary";
}

// Logits of a prompt with features of one dictionary multiplied by `factor` at the given positions: x + Δf · W_dec.
at::Tensor changed(const Model& m, const Dictionary& d, const std::vector<int64_t>& ids, const std::vector<int64_t>& features, const std::vector<int64_t>& positions, double factor) {
  HookPlan plan;
  at::Tensor read;
  plan.edit(d.config.hook_in, [&](const at::Tensor& v, int64_t) { return read = v; });
  plan.edit(d.config.hook_out, [&](const at::Tensor& v, int64_t) {
    at::Tensor codes = naive(d, read.flatten(2)[0].to(at::kCPU)).codes, out = v.flatten(2).clone();
    for (int64_t t : positions)
      for (int64_t f : features) out[0][t] += ((factor - 1) * codes[t][f] * d.weights.at("W_dec")[f].to(at::kDouble)).to(v.device());
    return out.view_as(v);
  });
  return m.forward(at::tensor(ids, at::kLong).unsqueeze(0).to(m.device()), plan).logits[0].to(at::kCPU);
}

double difference(const PromptPair& p, const at::Tensor& logits) {
  at::Tensor last = logits[logits.size(0) - 1];
  return (last[p.answer_ids[0]] - last[p.wrong_ids[0]]).item<double>();
}

class FeatureAblation : public ::testing::TestWithParam<Setup> {};

TEST_P(FeatureAblation, IsWhatEditsByHandGive) {
  const Model& m = model_of(GetParam().model);
  at::NoGradGuard no_grad;
  testing::TempFolder folder;
  const std::string path = store(folder, {made_for(m, GetParam().in, GetParam().out)});
  Dictionary d = read_dictionaries(path).members[0];
  Dataset data = prompts(m);
  std::vector<int64_t> all = {0, 1, 2, 3, 4, 5, 6, 7};
  for (std::string positions : {"all", "last", "1,-3", "subject"})
    for (double factor : {0.0, 2.5}) {
      AnalysisResult r = run_whole("feature_ablation", m, data, {{"dictionary", path}, {"features", "3, 17"}, {"positions", positions}, {"factor", std::to_string(factor)}, {"metric", "logit_diff"}});
      at::Tensor effect = array_of(r, "effect_prompts");
      double together = 0, kl = 0;
      for (int64_t i = 0; i < 3; ++i) {
        const PromptPair& p = data.pairs[static_cast<size_t>(i)];
        std::vector<int64_t> where = positions == "all" ? all : positions == "last" ? std::vector<int64_t>{7} : positions == "subject" ? std::vector<int64_t>{2 + i} : std::vector<int64_t>{1, 5};
        at::Tensor clean = changed(m, d, p.clean_ids, {}, {}, 1);
        for (int64_t k = 0; k < 2; ++k)
          EXPECT_NEAR(effect[k][i].item<double>(), difference(p, changed(m, d, p.clean_ids, {k ? 17 : 3}, where, factor)) - difference(p, clean), 1e-7) << positions << " " << k;
        at::Tensor both = changed(m, d, p.clean_ids, {3, 17}, where, factor);
        together += (difference(p, both) - difference(p, clean)) / 3;
        at::Tensor a = at::log_softmax(clean[7], 0), b = at::log_softmax(changed(m, d, p.clean_ids, {3}, where, factor)[7], 0);
        kl += (a.exp() * (a - b)).sum().item<double>() / 3;
      }
      for (const SummaryItem& s : r.summary)
        if (s.name == "together") {
          EXPECT_NEAR(s.value, together, 1e-7);
        }
      EXPECT_NEAR(array_of(r, "kl")[0].item<double>(), kl, 1e-7);
    }
}

TEST_P(FeatureAblation, PredictsWhatSmallChangesDo) {
  const Model& m = model_of(GetParam().model);
  at::NoGradGuard no_grad;
  testing::TempFolder folder;
  const std::string path = store(folder, {made_for(m, GetParam().in, GetParam().out)});
  Dictionary d = read_dictionaries(path).members[0];
  Dataset data = prompts(m);
  std::vector<int64_t> all = {0, 1, 2, 3, 4, 5, 6, 7};
  // Attribution of every feature by central differences of its activation's factor.
  at::Tensor slope = at::zeros({24, 3}, at::kDouble);
  const double h = 1e-6;
  for (int64_t f = 0; f < 24; ++f)
    for (int64_t i = 0; i < 3; ++i) {
      const PromptPair& p = data.pairs[static_cast<size_t>(i)];
      slope[f][i] = (difference(p, changed(m, d, p.clean_ids, {f}, all, 1 + h)) - difference(p, changed(m, d, p.clean_ids, {f}, all, 1 - h))) / (2 * h);
    }
  AnalysisResult r = run_whole("feature_ablation", m, data, {{"dictionary", path}, {"n", "6"}, {"factor", "0"}, {"metric", "logit_diff"}, {"together", "false"}});
  at::Tensor order = at::argsort(slope.mean(1).abs(), true, 0, true), predicted = array_of(r, "predicted_prompts");
  const Table& table = std::get<Table>(r.artifacts[0]);
  ASSERT_EQ(table.rows.size(), 6u);
  for (const Artifact& a : r.artifacts)
    if (const TensorMap* map = std::get_if<TensorMap>(&a))
      for (int64_t k = 0; k < 6; ++k) {
        EXPECT_EQ(map->axis_labels.at("feature")[static_cast<size_t>(k)], std::to_string(order[k].item<int64_t>()));
        EXPECT_TRUE(close(predicted[k], -slope[order[k].item<int64_t>()], 1e-4, 1e-4));
      }
}
INSTANTIATE_TEST_SUITE_P(Points, FeatureAblation,
                         ::testing::Values(Setup{"hf-llama", "blocks.1.hook_resid_post", "blocks.1.hook_resid_post"}, Setup{"hf-gpt2", "blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out"},
                                           Setup{"fla-hybrid-gated_deltanet-swa", "blocks.0.attn.hook_z", "blocks.0.attn.hook_z"}),
                         [](const auto& i) { return "n" + std::to_string(i.index); });

TEST(FeatureAblationSets, OtherFeaturesReactThroughTheModel) {
  // Ablating a feature of layer 0 changes the codes of layer 1's transcoder; the error term lets the true MLP act.
  const Model& m = model_of("hf-llama");
  at::NoGradGuard no_grad;
  testing::TempFolder folder;
  std::vector<Dictionary> members;
  for (int64_t l = 0; l < 2; ++l) {
    const std::string b = "blocks." + std::to_string(l) + ".";
    members.push_back(made_for(m, b + "mlp.hook_in", b + "hook_mlp_out"));
    members.back().config.name = "layer_" + std::to_string(l);
  }
  const std::string path = store(folder, members);
  DictionarySet set = read_dictionaries(path);
  Dataset data = prompts(m);
  AnalysisResult r = run_whole("feature_ablation", m, data, {{"dictionary", path}, {"features", "0/3,1/5"}, {"metric", "logit_diff"}});
  std::vector<int64_t> all = {0, 1, 2, 3, 4, 5, 6, 7};
  for (int64_t i = 0; i < 3; ++i) {
    const PromptPair& p = data.pairs[static_cast<size_t>(i)];
    double clean = difference(p, changed(m, set.members[0], p.clean_ids, {}, {}, 1));
    EXPECT_NEAR(array_of(r, "effect_prompts")[0][i].item<double>(), difference(p, changed(m, set.members[0], p.clean_ids, {3}, all, 0)) - clean, 1e-7);
    EXPECT_NEAR(array_of(r, "effect_prompts")[1][i].item<double>(), difference(p, changed(m, set.members[1], p.clean_ids, {5}, all, 0)) - clean, 1e-7);
  }
}

TEST(FeatureAblationInput, BadParametersAreNamed) {
  const Model& m = model_of("hf-llama");
  testing::TempFolder folder;
  const std::string path = store(folder, {made_for(m, "blocks.1.hook_resid_post", "blocks.1.hook_resid_post")});
  Dataset data = prompts(m), no_answers = data;
  no_answers.pairs[1].answer_ids.clear();
  auto error = [&](const Dataset& d, std::map<std::string, std::string> params) {
    params.try_emplace("dictionary", path);
    try {
      run_whole("feature_ablation", m, d, params);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(error(data, {{"features", "24"}}).find("from 0 to 23"), std::string::npos);
  EXPECT_NE(error(data, {{"features", "3,,4"}}).find("not the number"), std::string::npos);
  EXPECT_NE(error(data, {{"features", "3,3"}}).find("twice"), std::string::npos);
  EXPECT_NE(error(data, {{"features", "7/3"}}).find("no layer"), std::string::npos);
  EXPECT_NE(error(data, {{"positions", "object"}}).find("no position 'object'"), std::string::npos);
  EXPECT_NE(error(data, {{"positions", "8"}}).find("outside"), std::string::npos);
  EXPECT_NE(error(data, {{"dictionary", ""}}).find("no dictionary"), std::string::npos);
  EXPECT_NE(error(no_answers, {}).find("no answer"), std::string::npos);
  EXPECT_NE(error(Dataset{}, {}).find("needs prompts"), std::string::npos);
}

TEST(SteeringByFeature, AddsTheDecoderRowAtTheDictionarysPoint) {
  const Model& m = model_of("hf-llama");
  at::NoGradGuard no_grad;
  testing::TempFolder folder;
  const std::string path = store(folder, {made_for(m, "blocks.0.hook_resid_post", "blocks.0.hook_resid_post")});
  Dictionary d = read_dictionaries(path).members[0];
  Dataset data = prompts(m);
  at::Tensor row = d.weights.at("W_dec")[5].to(at::kDouble);
  auto run = [&](std::map<std::string, std::string> more) {
    more.insert({{"direction", "feature"}, {"dictionary", path}, {"feature", "5"}, {"coefficients", "1.5"}, {"max_new", "0"}, {"metric", "logit_diff"}});
    return run_whole("steering", m, data, more);
  };
  AnalysisResult plain = run({});
  EXPECT_TRUE(close(array_of(plain, "direction")[0], row, 1e-6, 1e-6));
  double most = 0;
  for (size_t i = 0; i < 3; ++i) {
    HookPlan plan, look;
    at::Tensor ids = at::tensor(data.pairs[i].clean_ids, at::kLong).unsqueeze(0).to(m.device());
    plan.edit("blocks.0.hook_resid_post", [&](const at::Tensor& v, int64_t) { return v + 1.5 * row.to(v.device()); });
    EXPECT_NEAR(array_of(plain, "metric_prompts")[0][static_cast<int64_t>(i)].item<double>(), difference(data.pairs[i], m.forward(ids, plan).logits[0].to(at::kCPU)), 1e-7);
    look.capture("blocks.0.hook_resid_post");
    most = std::max(most, naive(d, m.forward(ids, look).cache.get("blocks.0.hook_resid_post")[0].to(at::kCPU)).codes.select(1, 5).max().item<double>());
  }
  ASSERT_GT(most, 0);
  EXPECT_TRUE(close(array_of(run({{"scale", "max_activation"}}), "direction")[0], row * most, 1e-5, 1e-5));
  EXPECT_THROW(run({{"point", "blocks.1.hook_resid_post"}}), Error);
  EXPECT_THROW(run_whole("steering", m, data, {{"direction", "feature"}, {"dictionary", path}, {"feature", "24"}}), Error);
  EXPECT_THROW(run_whole("steering", m, data, {{"direction", "feature"}}), Error);
  EXPECT_THROW(run_whole("steering", m, data, {{"direction", "unembedding"}, {"scale", "max_activation"}}), Error);
}

}  // namespace
}  // namespace microtome
