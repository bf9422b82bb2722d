// Activation patching, ablation and attribution patching against TransformerLens' numbers (golden/analyses/README_hf.md:
// activations 1e-4, attributions 5e-4 of the largest magnitude; zoo 1e-3).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "analysis/engine/arrays.h"
#include "analysis/engine/patch_grid.h"
#include "analysis/registry.h"
#include "core/base/json.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

using testing::close;
using testing::golden_path;

std::vector<int64_t> ints(const Json& j) {
  std::vector<int64_t> out;
  for (const Json& v : j) out.push_back(v.get<int64_t>());
  return out;
}

struct Case {
  std::unique_ptr<Model> model;
  Dataset data;
  std::map<std::string, at::Tensor> expected;
};

Case load_case(const std::string& name) {
  Case c;
  std::string folder = golden_path("golden/analyses/" + name);
  Json in = read_json_file(folder + "/inputs.json").value();
  c.model = testing::load_test_model(golden_path(in["model"].get<std::string>()));
  c.expected = testing::load_tensors(folder + "/expected.safetensors");
  c.data.name = name;
  for (size_t i = 0; i < in["clean_tokens"].size(); ++i) {
    PromptPair p;
    p.clean_ids = ints(in["clean_tokens"][i]);
    p.corrupted_ids = ints(in["corrupt_tokens"][i]);
    p.answer_ids = {in["answers"][i][0].get<int64_t>()};
    p.wrong_ids = {in["answers"][i][1].get<int64_t>()};
    c.data.pairs.push_back(p);
  }
  return c;
}

// Runs an analysis with default seed and gives its arrays by name.
std::map<std::string, at::Tensor> run(const Case& c, const std::string& analysis, std::map<std::string, std::string> params) {
  const AnalysisKind& kind = analyses::builtin().get(analysis, "test");
  AnalysisInput input{*c.model, nullptr, c.data, resolve_params(kind.schema, params).value(), 0, MixerForm::kAuto};
  auto r = kind.start(input);
  r->set_batch(7);                                     // odd, so that batches cut through cells and prompts
  Progress progress;
  std::vector<std::vector<NamedArray>> items;
  for (int64_t i = 0; i < r->item_count(); ++i) items.push_back(r->run_item(i, progress));
  std::map<std::string, at::Tensor> out;
  for (const Artifact& a : r->finish(items).artifacts)
    if (const auto* m = std::get_if<TensorMap>(&a))
      for (const NamedArray& n : m->arrays) out[n.name] = engine::to_tensor(n);
  return out;
}

const char* const kModels[] = {"hf-gpt2", "stories260K"};

TEST(GoldenActing, ActivationPatchingOfEverySite) {
  for (const char* m : kModels) {
    Case c = load_case(std::string(m) + "-actpatch");
    double clean = c.expected["metric.clean"].item<double>(), corrupt = c.expected["metric.corrupt"].item<double>();
    const std::pair<const char*, const char*> sites[] = {{"resid_pre", "resid_pre"}, {"resid_mid", "resid_mid"}, {"attn_out", "attn_out"},
        {"mlp_out", "mlp_out"}, {"z", "z_all_pos"}, {"q", "q_all_pos"}, {"k", "k_all_pos"}, {"v", "v_all_pos"}, {"pattern", "pattern_all_pos"}};
    for (auto [site, tensor] : sites) {
      SCOPED_TRACE(std::string(m) + " " + site);
      auto got = run(c, "activation_patching", {{"site", site}, {"metric", "logit_diff"}});
      EXPECT_TRUE(close(got.at("value"), c.expected.at(tensor), 1e-4, 1e-4));
      EXPECT_TRUE(close(got.at("effect"), c.expected.at("normalised." + std::string(tensor)), 1e-3, 1e-3));
      EXPECT_NEAR(got.at("clean").mean().item<double>(), clean, 1e-4);
      EXPECT_NEAR(got.at("corrupted").mean().item<double>(), corrupt, 1e-4);
    }
    auto by_pos = run(c, "activation_patching", {{"site", "z"}, {"by_position", "true"}, {"metric", "logit_diff"}});
    EXPECT_TRUE(close(by_pos.at("value"), c.expected.at("z_by_pos"), 1e-4, 1e-4)) << m;
    auto noise = run(c, "activation_patching", {{"site", "z"}, {"direction", "noise"}, {"metric", "logit_diff"}});
    EXPECT_TRUE(close(noise.at("value"), c.expected.at("noising.z_all_pos"), 1e-4, 1e-4)) << m;
    EXPECT_TRUE(close(noise.at("effect"), (c.expected.at("noising.z_all_pos") - corrupt) / (clean - corrupt), 1e-3, 1e-3)) << m;
  }
}

TEST(GoldenActing, Ablation) {
  for (const char* m : kModels) {
    Case c = load_case(std::string(m) + "-ablate");
    for (const char* kind : {"zero", "mean", "resample"}) {
      SCOPED_TRACE(std::string(m) + " " + kind);
      // The reference's mean is over token sequences of their own.
      std::string ids = read_json_file(golden_path("golden/analyses/" + std::string(m) + "-ablate") + "/inputs.json").value()["reference_tokens"].dump();
      for (const char* part : {"heads", "mlps"}) {
        std::map<std::string, std::string> params{{"kind", kind}, {"metric", "logit_diff"}, {"reference_ids", ids}};
        params["site"] = std::string(part) == "heads" ? "z" : "mlp_out";
        if (std::string(part) == "mlps") params["all_positions"] = "true";
        auto got = run(c, "ablation", params);
        const at::Tensor& want = c.expected.at(std::string(part) + "." + kind);
        EXPECT_TRUE(close(got.at("value"), want.select(-1, 0), 1e-4, 1e-4)) << part;
        EXPECT_TRUE(close(got.at("kl"), want.select(-1, 1), 1e-4, 1e-4)) << part;
        EXPECT_TRUE(close(got.at("loss"), want.select(-1, 2), 1e-4, 1e-4)) << part;
      }
    }
  }
}

TEST(GoldenActing, AttributionPatching) {
  for (const char* m : kModels) {
    Case c = load_case(std::string(m) + "-attribpatch");
    for (const char* site : {"resid_pre", "attn_out", "mlp_out", "z", "q", "k", "v", "pattern"}) {
      SCOPED_TRACE(std::string(m) + " " + site);
      auto got = run(c, "attribution_patching", {{"site", site}, {"metric", "logit_diff"}});
      const at::Tensor& want = c.expected.at(site);
      EXPECT_TRUE(close(got.at("effect"), want, 5e-4 * want.abs().max().item<double>(), 0));
    }
    auto by_pos = run(c, "attribution_patching", {{"site", "z"}, {"by_position", "true"}, {"metric", "logit_diff"}});
    const at::Tensor& want = c.expected.at("z_by_pos");
    EXPECT_TRUE(close(by_pos.at("effect"), want, 5e-4 * want.abs().max().item<double>(), 0)) << m;
    auto noise = run(c, "attribution_patching", {{"site", "z"}, {"direction", "noise"}, {"metric", "logit_diff"}});
    const at::Tensor& nz = c.expected.at("noising.z");
    EXPECT_TRUE(close(noise.at("effect"), nz, 5e-4 * nz.abs().max().item<double>(), 0)) << m;
  }
}

TEST(GoldenActing, PathPatching) {
  for (const char* m : kModels) {
    SCOPED_TRACE(m);
    Case c = load_case(std::string(m) + "-pathpatch");
    double clean = c.expected["metric.clean"].item<double>(), corrupt = c.expected["metric.corrupt"].item<double>();
    int64_t last = static_cast<int64_t>(c.model->config().layers.size()) - 1;
    std::string head = std::to_string(last) + ".0";
    auto got = run(c, "path_patching", {{"receiver", "logits, " + head + "<q>,a" + std::to_string(last) + ".h0<k>," + head + "<v>"}});
    at::Tensor direct = c.expected.at("to_final_resid.heads_frozen_mlps_recomputed");
    EXPECT_TRUE(close(got.at("value").select(2, 0), direct, 1e-4, 1e-4));
    EXPECT_TRUE(close(got.at("effect").select(2, 0), (clean - direct) / (clean - corrupt), 1e-3, 1e-3));
    EXPECT_NEAR(got.at("clean").mean().item<double>(), clean, 1e-4);
    EXPECT_NEAR(got.at("corrupted").mean().item<double>(), corrupt, 1e-4);
    for (auto [column, role] : {std::pair{1, "q"}, {2, "k"}, {3, "v"}}) {
      SCOPED_TRACE(role);
      at::Tensor value = got.at("value").select(2, column);
      EXPECT_TRUE(close(value.narrow(0, 0, last), c.expected.at(std::string("to_last_layer_head0_") + role + ".mlps_recomputed"), 1e-4, 1e-4));
      EXPECT_TRUE(at::isnan(value[last]).all().item<bool>());
    }
    auto frozen = run(c, "path_patching", {{"receiver", "logits"}, {"mlps", "freeze"}});
    EXPECT_TRUE(close(frozen.at("value").select(2, 0), c.expected.at("to_final_resid.heads_and_mlps_frozen"), 1e-4, 1e-4));
  }
}

// The gradients themselves, at three points a layer.
TEST(GoldenActing, GradientsOfHookPoints) {
  for (const char* m : kModels) {
    Case c = load_case(std::string(m) + "-attribpatch");
    at::Tensor tokens, answers, wrong;
    std::vector<at::Tensor> rows;
    for (const PromptPair& p : c.data.pairs) rows.push_back(at::tensor(p.corrupted_ids, at::kLong));
    std::vector<std::string> names;
    HookPlan plan;
    for (const auto& [name, _] : c.expected)
      if (name.rfind("grad.", 0) == 0) {
        names.push_back(name.substr(5));
        plan.capture(names.back(), {}, true);
      }
    ASSERT_FALSE(names.empty());
    at::Tensor logits = c.model->forward(at::stack(rows, 0), plan).logits;   // a first run, to see that plans are reusable
    ForwardResult r = c.model->forward(at::stack(rows, 0), plan);
    at::Tensor last = r.logits.select(1, r.logits.size(1) - 1), metric = at::zeros({});
    for (size_t i = 0; i < rows.size(); ++i) {
      const PromptPair& p = c.data.pairs[i];
      metric = metric + last[static_cast<int64_t>(i)][p.answer_ids[0]] - last[static_cast<int64_t>(i)][p.wrong_ids[0]];
    }
    auto grads = hook_gradients(metric / static_cast<double>(rows.size()), r.cache, names);
    for (const std::string& n : names) {
      const at::Tensor& want = c.expected.at("grad." + n);
      EXPECT_TRUE(close(grads.at(n), want, 5e-4 * want.abs().max().item<double>() + 1e-7, 0)) << m << " " << n;
    }
  }
}

TEST(GoldenActing, TrainedModelsOnIoi) {
  for (const char* m : {"zoo-llama", "zoo-gpt2"}) {
    std::string model = golden_path(std::string("models/") + m), analyses = golden_path(std::string("golden/analyses/") + m);
    std::string prompts = golden_path("data/tasks/ioi/test.jsonl");
    if (model.empty() || analyses.empty()) continue;   // the subset holds zoo-llama
    Case c;
    c.model = testing::load_test_model(model);
    c.expected = testing::load_tensors(analyses + "/analyses.safetensors");
    c.data = read_dataset(prompts).value();
    size_t n = std::min<size_t>(50, c.data.pairs.size());
    c.data.pairs.resize(n);
    for (PromptPair& p : c.data.pairs) p.wrong_ids.resize(1);
    auto got = run(c, "activation_patching", {{"site", "z"}, {"metric", "logit_diff"}});
    at::Tensor value = got.at("value_prompts").permute({2, 0, 1});
    EXPECT_TRUE(close(value, c.expected.at("patch_denoise_ld_all").slice(0, 0, static_cast<int64_t>(n)), 1e-3, 1e-3)) << m;
    EXPECT_TRUE(close(got.at("clean"), c.expected.at("ioi_ld_clean").slice(0, 0, static_cast<int64_t>(n)), 1e-3, 1e-3)) << m;
    auto noise = run(c, "activation_patching", {{"site", "z"}, {"direction", "noise"}, {"metric", "logit_diff"}});
    EXPECT_TRUE(close(noise.at("value_prompts").permute({2, 0, 1}), c.expected.at("patch_noise_ld_all").slice(0, 0, static_cast<int64_t>(n)), 1e-3, 1e-3)) << m;
  }
}

// The grid against one whole forward a cell, on a recurrent, a softmax and a hybrid model, at every site they have.
TEST(GoldenActing, GridEqualsTheReferenceLoop) {
  for (const char* folder : {"golden/models/fla-gated_deltanet", "golden/models/fla-gla-shortconv-gqa", "golden/models/fla-hybrid-gla-attn",
                             "golden/models/fla-hybrid-gated_deltanet-swa", "golden/models/fla-retnet", "golden/models/fla-delta_net-negeig-gate",
                             "golden/models/fla-linear_attn-elu-norm", "golden/models/hf-llama"}) {
    auto model = testing::load_test_model(golden_path(folder));
    Dataset data;
    for (int64_t i = 0; i < 3; ++i) {
      PromptPair p;
      for (int64_t t = 0; t < (i == 2 ? 7 : 9); ++t) {
        p.clean_ids.push_back((t * 7 + i * 13 + 3) % 97);
        p.corrupted_ids.push_back(t < 3 ? p.clean_ids.back() : (t * 11 + i * 5 + 1) % 97);
      }
      p.answer_ids = {5};
      p.wrong_ids = {6};
      data.pairs.push_back(p);
    }
    AnalysisInput input{*model, nullptr, data, Params(), 0, MixerForm::kAuto};
    for (const engine::Site& site : engine::patch_sites()) {
      for (bool by_position : {false, true}) {
        if (by_position && site.shape != engine::Site::Shape::kHead) continue;
        std::vector<engine::GridGroup> groups;
        for (engine::PromptGroup& p : engine::group_prompts(input, true)) {
          engine::GridGroup g;
          g.base_tokens = p.corrupted;
          g.source_tokens = p.clean;
          g.first_changed = p.first_difference;
          g.metric = std::make_unique<engine::Metric>("logit_diff", input, p);
          g.prompts = std::move(p);
          groups.push_back(std::move(g));
        }
        engine::PatchGrid::Options o;
        o.site = site;
        o.by_position = by_position;
        o.kl = o.loss = true;
        engine::PatchGrid grid(input, o, std::move(groups), nullptr);
        Progress progress;
        for (int64_t l = 0; l < 2; ++l) {
          if (!grid.has_site(l)) continue;
          auto fast = grid.run_layer(l, 5, progress), slow = grid.run_layer_reference(l, progress);
          for (const auto& [name, t] : slow) {
            SCOPED_TRACE(std::string(folder) + " " + site.name + " " + name + " layer " + std::to_string(l));
            // The reference leaves out cells before the first difference; the grid fills them with the base's value.
            at::Tensor want = at::where(at::isnan(t), fast.at(name), t);
            at::Tensor both = at::isfinite(t);
            EXPECT_GT(both.sum().item<int64_t>(), 0);
            EXPECT_TRUE(close(at::nan_to_num(fast.at(name)), at::nan_to_num(want), 2e-4, 2e-4));
            EXPECT_TRUE(at::isfinite(fast.at(name)).masked_select(both).all().item<bool>());
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace microtome
