// state_lens against readings made by hand from the state, the query, the norm's, gate's and projection's own weights.
#include <gtest/gtest.h>

#include <cmath>

#include "analysis/engine/layers.h"
#include "core/model/weights.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using engine::block_point;
using testing::array_of;
using testing::close;
using testing::run_whole;

std::unique_ptr<Model> model_of(const std::string& name) {
  std::string folder = testing::golden_path("golden/models/" + name);
  return testing::load_test_model(folder.empty() ? testing::golden_path("models/" + name) : folder);
}

Dataset prompts(const Model& model) {
  Dataset d = testing::dataset_of(testing::random_ids(2, 12, model.config().vocab_size, 7));
  d.pairs.push_back(testing::dataset_of(testing::random_ids(1, 9, model.config().vocab_size, 8)).pairs[0]);
  d.pairs[0].answer_ids = {4};
  return d;
}

const Table& table_named(const AnalysisResult& r, const std::string& name) {
  for (const Artifact& a : r.artifacts)
    if (artifact_name(a) == name) return std::get<Table>(a);
  throw Error(StatusCode::kNotFound, "no table '" + name + "'");
}

class StateLens : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { model_ = model_of(GetParam()); }

  struct Layer {
    at::Tensor state, q, gate, normalizer, result, scale;
  };
  Layer layer_of(int64_t l, const std::vector<int64_t>& ids) const {
    HookPlan plan;
    auto has = [&](const char* p) { return engine::has_point(*model_, l, std::string("attn.") + p); };
    for (const char* p : {"hook_state", "hook_q", "hook_rot_q", "hook_q_solved", "hook_slot_read", "hook_gate", "hook_state_normalizer",
                          "hook_result"})
      if (has(p)) plan.capture(block_point(l, std::string("attn.") + p));
    plan.capture("ln_final.hook_scale");
    ForwardResult run = model_->forward(at::tensor(ids, at::kLong).unsqueeze(0), plan);
    auto get = [&](const char* p) { return has(p) ? run.cache.get(block_point(l, std::string("attn.") + p))[0] : at::Tensor(); };
    Layer out;
    out.state = get("hook_state");
    out.q = get(has("hook_q_solved") ? "hook_q_solved" : has("hook_slot_read") ? "hook_slot_read" : has("hook_rot_q") ? "hook_rot_q" : "hook_q");
    out.gate = get("hook_gate");
    out.normalizer = get("hook_state_normalizer");
    out.result = get("hook_result");
    out.scale = run.cache.get("ln_final.hook_scale")[0];
    return out;
  }
  // S [head, d_k, d_v], q [head, d_k], gate [head, d_v], n [head, d_k] → [head, d_model], float64.
  at::Tensor written(int64_t l, at::Tensor S, at::Tensor q, at::Tensor gate, at::Tensor n) const {
    const MixerInfo& info = model_->mixer_info(l);
    auto wide = [&](const at::Tensor& t) { return t.repeat_interleave(info.heads / t.size(0), 0).to(at::kDouble); };
    // MesaNet's solved query is not scaled, nor are slots' weights.
    bool solved = engine::has_point(*model_, l, "attn.hook_q_solved") || engine::has_point(*model_, l, "attn.hook_slot_read");
    double scale = solved ? 1 : 1 / std::sqrt(static_cast<double>(info.d_k));
    at::Tensor z = at::matmul(wide(q).unsqueeze(1), wide(S)).squeeze(1) * scale;
    if (n.defined()) z = z / ((wide(q) * wide(n)).sum(-1, true) * scale + 1e-10);
    WeightMap w = model_->weights().below("blocks." + std::to_string(l) + ".attn.");
    double eps = model_->config().layers[static_cast<size_t>(l)].mixer_params.get_float("norm_eps", 1e-5);
    if (info.kind == "gsa") z = at::silu(z);
    for (const char* name : {"o_norm.weight", "g_norm_swish_gate.weight", "g_norm.weight", "norm.weight"}) {
      if (!w.count(name)) continue;
      bool whole = w.at(name).numel() > info.d_v;            // one norm over all heads
      at::Tensor gain = w.at(name).to(at::kDouble).view({whole ? info.heads : 1, info.d_v});
      z = z / (whole ? z.square().mean() + eps : z.square().mean(-1, true) + eps).sqrt() * gain;
    }
    if (gate.defined()) z = z * gate.to(at::kDouble);
    at::Tensor o = w.at("o_proj.weight").to(at::kDouble).view({-1, info.heads, info.d_v});
    return at::einsum("hv,dhv->hd", {z, o});
  }
  at::Tensor logits(const at::Tensor& write, const at::Tensor& scale) const {
    const ModelConfig& c = model_->config();
    at::Tensor gain = model_->weights().get("ln_final.weight").to(at::kDouble);
    at::Tensor u = model_->weights().get(c.tied_unembedding ? "embed.weight" : "unembed.weight").to(at::kDouble);
    return at::matmul(write.to(at::kDouble) * gain, u.t()) / scale.to(at::kDouble);
  }
  void expect_cell(const AnalysisResult& r, int64_t l, int64_t h, int64_t prompt, int64_t cell, const at::Tensor& want,
                   int64_t target) const {
    double top = array_of(r, "top_logit")[l][h][prompt][cell].item<double>();
    int64_t id = static_cast<int64_t>(array_of(r, "top_id")[l][h][prompt][cell].item<double>());
    double size = 1e-4 * std::max(1.0, std::fabs(top));
    EXPECT_NEAR(top, want.max().item<double>(), size);
    EXPECT_NEAR(want[id].item<double>(), want.max().item<double>(), size);
    if (target < -1) return;
    double rank = array_of(r, "next_rank")[l][h][prompt][cell].item<double>();
    if (target < 0) {
      EXPECT_TRUE(std::isnan(rank));
      return;
    }
    // Tokens within rounding of the target may fall to either side.
    double lower = (want > want[target] + size).sum().item<double>();
    double upper = (want > want[target] - size).sum().item<double>();
    EXPECT_GE(rank, lower);
    EXPECT_LE(rank, upper);
  }

  std::unique_ptr<Model> model_;
};

TEST_P(StateLens, OwnQueryIsWhatTheHeadWrites) {
  at::NoGradGuard no_grad;
  Dataset d = prompts(*model_);
  AnalysisResult r = run_whole("state_lens", *model_, d);
  for (int64_t l = 0; l < engine::layer_count(*model_); ++l) {
    if (!model_->mixer_info(l).recurrent) {
      EXPECT_TRUE(array_of(r, "top_id")[l].isnan().all().item<bool>());
      continue;
    }
    for (int64_t i : {0, 2}) {
      const std::vector<int64_t>& ids = d.pairs[static_cast<size_t>(i)].clean_ids;
      Layer y = layer_of(l, ids);
      int64_t length = static_cast<int64_t>(ids.size()), shift = 12 - length;
      for (int64_t t : {int64_t{0}, int64_t{4}, length - 1}) {
        auto at_t = [&](const at::Tensor& x) { return x.defined() ? x[t] : x; };
        at::Tensor by_hand = written(l, y.state[t], y.q[t], at_t(y.gate), at_t(y.normalizer));
        EXPECT_TRUE(close(by_hand, y.result[t], 1e-4, 1e-3)) << "the hand reading differs from hook_result";
        int64_t target = t + 1 < length ? ids[static_cast<size_t>(t + 1)] : i == 0 ? 4 : -1;
        for (int64_t h = 0; h < model_->mixer_info(l).heads; ++h)
          expect_cell(r, l, h, i, t + shift, logits(y.result[t][h], y.scale[t]), target);
      }
      if (shift > 0) {
        EXPECT_TRUE(array_of(r, "top_id")[l][0][i].narrow(0, 0, shift).isnan().all().item<bool>());
      }
    }
  }
}

TEST_P(StateLens, NextQueryAndKeysReadTheSameStates) {
  at::NoGradGuard no_grad;
  Dataset d = prompts(*model_);
  AnalysisResult next = run_whole("state_lens", *model_, d, {{"query", "next"}}, 2),
                 keys = run_whole("state_lens", *model_, d, {{"query", "keys"}}, 1);
  for (int64_t l = 0; l < engine::layer_count(*model_); ++l) {
    const MixerInfo& info = model_->mixer_info(l);
    if (!info.recurrent) continue;
    const std::vector<int64_t>& ids = d.pairs[1].clean_ids;
    Layer y = layer_of(l, ids);
    for (int64_t t : {0, 5, 10}) {
      auto reader = [&](const at::Tensor& x) { return x.defined() ? x[t + 1] : x; };
      // A normaliser belongs to the state: it is the one of position t.
      at::Tensor n = y.normalizer.defined() ? y.normalizer[t] : at::Tensor();
      at::Tensor w = written(l, y.state[t], y.q[t + 1], reader(y.gate), n);
      for (int64_t h = 0; h < info.heads; ++h)
        expect_cell(next, l, h, 1, t, logits(w[h], y.scale[t + 1]), t + 2 < 12 ? ids[static_cast<size_t>(t + 2)] : -1);
    }
    EXPECT_TRUE(array_of(next, "top_id")[l].select(2, 11).isnan().all().item<bool>());
    auto last = [&](const at::Tensor& x) { return x.defined() ? x[11] : x; };
    for (int64_t i : {int64_t{0}, info.d_k - 1}) {
      at::Tensor e = at::zeros({info.heads, info.d_k}, y.state.options().dtype(at::kDouble));
      e.select(1, i).fill_(1);
      at::Tensor w = written(l, y.state[11], e, last(y.gate), last(y.normalizer));
      for (int64_t h = 0; h < info.heads; ++h) {
        expect_cell(keys, l, h, 1, i, logits(w[h], y.scale[11]), -2);
        double norm = y.state[11][h * info.kv_heads / info.heads][i].to(at::kDouble).norm().item<double>();
        EXPECT_NEAR(array_of(keys, "row_norm")[l][h][1][i].item<double>(), norm, 1e-5 * std::max(1.0, norm));
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Models, StateLens,
                         ::testing::Values("zoo-gated_deltanet", "fla-gla", "fla-gla-shortconv-gqa", "fla-linear_attn-elu-norm", "fla-retnet",
                                           "fla-delta_net-negeig-gate", "fla-gated_deltanet-gva-negeig", "fla-hybrid-gla-attn",
                                           "fla-mesa_net", "fla-hgrn2", "fla-gsa", "fla-abc"),
                         [](const auto& i) {
                           std::string s = i.param;
                           std::replace(s.begin(), s.end(), '-', '_');
                           return s;
                         });

TEST(StateLensRun, TablesChoicesAndRefusals) {
  auto model = model_of("zoo-gated_deltanet");
  Dataset d = prompts(*model);
  AnalysisResult all = run_whole("state_lens", *model, d),
                 some = run_whole("state_lens", *model, d, {{"heads", "2"}, {"last_positions", "3"}, {"top", "2"}}, 1);
  const Table& table = table_named(all, "state_lens_tokens");
  std::vector<std::string> columns;
  for (const Column& c : table.columns) columns.push_back(c.name);
  EXPECT_EQ(columns, (std::vector<std::string>{"layer", "head", "pos", "token", "top1", "top2", "top3", "top4", "top5", "logit1", "logit2",
                                               "logit3", "logit4", "logit5"}));
  ASSERT_EQ(table.rows.size(), 4u * 4 * 12);
  for (const auto& row : table.rows) {
    int64_t l = std::get<int64_t>(row[0]), h = std::get<int64_t>(row[1]), t = std::get<int64_t>(row[2]);
    EXPECT_EQ(std::get<std::string>(row[4]), "#" + std::to_string(array_of(all, "top_id")[l][h][0][t].to(at::kLong).item<int64_t>()));
    EXPECT_EQ(std::get<std::string>(row[3]), "#" + std::to_string(d.pairs[0].clean_ids[static_cast<size_t>(t)]));
    EXPECT_GE(std::get<double>(row[9]), std::get<double>(row[10]));
    EXPECT_EQ(std::get<double>(row[9]), array_of(all, "top_logit")[l][h][0][t].item<double>());
  }
  EXPECT_EQ(table_named(some, "state_lens_tokens").rows.size(), 4u * 3);
  at::Tensor few = array_of(some, "top_logit"), many = array_of(all, "top_logit");
  EXPECT_TRUE(close(few.select(1, 2).slice(2, 9), many.select(1, 2).slice(2, 9), 1e-4, 1e-4));
  EXPECT_TRUE(few.select(1, 1).isnan().all().item<bool>());
  EXPECT_TRUE(few.select(1, 2).slice(2, 0, 9).isnan().all().item<bool>());
  AnalysisResult keys = run_whole("state_lens", *model, d, {{"query", "keys"}, {"heads", "1"}});
  EXPECT_EQ(table_named(keys, "state_lens_keys").rows.size(), 4u * 32);
  EXPECT_THROW(run_whole("state_lens", *model, d, {{"heads", "4"}}), Error);
  auto soft = model_of("hf-llama");
  try {
    run_whole("state_lens", *soft, prompts(*soft));
    FAIL() << "a model without states was accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("no recurrent layer"), std::string::npos) << e.what();
  }
  // One token: nothing comes after it and there is no prefix.
  Dataset one = testing::dataset_of(testing::random_ids(2, 1, model->config().vocab_size, 2));
  EXPECT_EQ(table_named(run_whole("state_lens", *model, one), "state_lens_tokens").rows.size(), 16u);
  EXPECT_EQ(table_named(run_whole("state_lens", *model, one, {{"query", "next"}}), "state_lens_tokens").rows.size(), 0u);
  EXPECT_EQ(table_named(run_whole("state_lens", *model, one, {{"query", "keys"}}), "state_lens_keys").rows.size(), 4u * 4 * 32);
}

}  // namespace
}  // namespace microtome
