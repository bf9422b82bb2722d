// path_patching on recurrent, hybrid, post-normed and parallel models: against two whole runs with every head frozen by its
// own z, written out here; and what it refuses.
#include <gtest/gtest.h>

#include "analysis/engine/layers.h"
#include "analysis/engine/node_names.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using engine::block_point;
using testing::array_of;
using testing::close;
using testing::run_whole;

std::unique_ptr<Model> load(const std::string& name) {
  return testing::load_test_model(testing::golden_path("golden/models/" + name), at::kDouble);
}

Dataset pairs(const Model& model) {
  int64_t vocab = model.config().vocab_size;
  Dataset d = testing::dataset_of(testing::random_ids(2, 9, vocab, 5)), other = testing::dataset_of(testing::random_ids(2, 9, vocab, 8));
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    PromptPair& p = d.pairs[i];
    p.corrupted_ids = other.pairs[i].clean_ids;
    for (size_t t = 0; t < 4; ++t) p.corrupted_ids[t] = p.clean_ids[t];
    p.answer_ids = {static_cast<int64_t>(i + 1)};
    p.wrong_ids = {static_cast<int64_t>(i + 9)};
  }
  return d;
}

at::Tensor ids(const std::vector<int64_t>& v) { return at::tensor(v, at::kLong).unsqueeze(0); }

double difference(const PromptPair& p, const at::Tensor& logits) {
  at::Tensor last = logits[0][logits.size(1) - 1];
  return (last[p.answer_ids[0]] - last[p.wrong_ids[0]]).item<double>();
}

HookPlan capture_of(const std::vector<std::string>& names) {
  HookPlan plan;
  for (const std::string& n : names) plan.capture(n);
  return plan;
}

Edit put(const at::Tensor& value) {
  return [value](const at::Tensor&, int64_t) { return value; };
}

// Both runs whole, a prompt: the sender is a head (or, head < 0, the MLP) of a layer; the receiver is a point, at some
// entries of its head axis (or, without any, whole).
double slow(const Model& model, const PromptPair& p, int64_t layer, int64_t head, const std::string& receiver,
            const std::vector<int64_t>& entries, bool freeze) {
  int64_t layers = engine::layer_count(model);
  auto z = [](int64_t l) { return block_point(l, "attn.hook_z"); };
  auto mlp = [](int64_t l) { return block_point(l, "hook_mlp_out"); };
  // A later head's output is its z through its gate, so both are frozen.
  auto gate = [](int64_t l) { return block_point(l, "attn.hook_gate"); };
  std::vector<std::string> points;
  for (int64_t l = 0; l < layers; ++l) {
    points.push_back(z(l));
    if (engine::has_point(model, l, "attn.hook_gate")) points.push_back(gate(l));
    if (engine::has_point(model, l, "hook_mlp_out")) points.push_back(mlp(l));
  }
  ActivationCache clean = model.forward(ids(p.clean_ids), capture_of(points)).cache;
  ActivationCache corrupted = model.forward(ids(p.corrupted_ids), capture_of(points)).cache;
  HookPlan first = capture_of({receiver});
  for (int64_t l = 0; l < layers; ++l) {
    at::Tensor heads = clean.get(z(l)).clone();
    if (l == layer && head >= 0) heads.select(2, head).copy_(corrupted.get(z(l)).select(2, head));
    first.edit(z(l), put(heads));
    if (clean.has(gate(l))) first.edit(gate(l), put(clean.get(gate(l))));
    if (!clean.has(mlp(l))) continue;
    if (l == layer && head < 0) first.edit(mlp(l), put(corrupted.get(mlp(l))));
    else if (freeze) first.edit(mlp(l), put(clean.get(mlp(l))));
  }
  at::Tensor read = model.forward(ids(p.clean_ids), first).cache.get(receiver);
  HookPlan second;
  second.edit(receiver, [read, entries](const at::Tensor& v, int64_t) {
    at::Tensor out = entries.empty() ? read : v.clone();
    for (int64_t e : entries) out.select(2, e).copy_(read.select(2, e));
    return out;
  });
  return difference(p, model.forward(ids(p.clean_ids), second).logits);
}

class PathPatching : public ::testing::TestWithParam<const char*> {};

TEST_P(PathPatching, IsTheTwoRunsWrittenOut) {
  std::unique_ptr<Model> model = load(GetParam());
  Dataset d = pairs(*model);
  int64_t last = engine::layer_count(*model) - 1, heads = engine::most_heads(*model);
  const MixerInfo& info = model->mixer_info(last);
  int64_t head = info.heads - 1;
  std::string name = std::to_string(last) + "." + std::to_string(head);
  bool parallel = model->config().layers[0].wiring == Wiring::kParallel;
  for (bool freeze : {false, true}) {
    AnalysisResult r = run_whole("path_patching", *model, d,
                                 {{"receiver", "logits," + name + "<q>," + name + "<v>,m" + std::to_string(last)}, {"metric", "logit_diff"},
                                  {"mlps", freeze ? "freeze" : "recompute"}}, 5);
    at::Tensor value = array_of(r, "value_prompts"), mlps = array_of(r, "value_mlps_prompts");
    ASSERT_EQ(value.sizes(), (std::vector<int64_t>{last + 1, heads, 4, 2}));
    struct To { std::string point; std::vector<int64_t> entries; };
    auto entry = [&](const std::string& role) {
      int64_t n = model->catalogue().find(block_point(last, "attn.hook_" + role))->sizes[2];
      return std::vector<int64_t>{head * n / info.heads};
    };
    std::vector<To> to = {{block_point(last, "hook_resid_post"), {}}, {block_point(last, "attn.hook_q"), entry("q")},
                          {block_point(last, "attn.hook_v"), entry("v")}, {block_point(last, "hook_mlp_in"), {}}};
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t l = 0; l <= last; ++l)
        for (int64_t c = 0; c < 4; ++c)
          for (int64_t s : {int64_t{0}, model->mixer_info(l).heads - 1, int64_t{-1}}) {
            SCOPED_TRACE("prompt " + std::to_string(i) + " sender " + std::to_string(l) + "." + std::to_string(s) + " receiver " +
                         std::to_string(c) + (freeze ? " frozen" : ""));
            double got = (s < 0 ? mlps[l][c][i] : value[l][s][c][i]).item<double>();
            bool path = c == 0 || l < last || (c == 3 && s >= 0 && !parallel);
            if (!path) {
              EXPECT_TRUE(std::isnan(got));
              continue;
            }
            const PromptPair& p = d.pairs[static_cast<size_t>(i)];
            const To& t = to[static_cast<size_t>(c)];
            EXPECT_NEAR(got, slow(*model, p, l, s, t.point, t.entries, freeze), 2e-6);
          }
  }
}
INSTANTIATE_TEST_SUITE_P(Models, PathPatching, ::testing::Values("hf-llama", "fla-hybrid-gla-attn", "fla-gated_deltanet-gva-negeig",
                                                                 "fla-gla-shortconv-gqa", "tiny-gemma2", "tiny-stablelm-parallel",
                                                                 "tiny-opt-postnorm"),
                         [](const auto& i) {
                           std::string n = i.param;
                           std::replace(n.begin(), n.end(), '-', '_');
                           return n;
                         });

TEST(PathPatchingTogether, OneColumnForAllReceivers) {
  std::unique_ptr<Model> model = load("hf-llama");
  Dataset d = pairs(*model);
  AnalysisResult r = run_whole("path_patching", *model, d, {{"receiver", "1.0<q>,1.1<q>"}, {"together", "true"}});
  at::Tensor both = array_of(r, "value_prompts");
  ASSERT_EQ(both.size(2), 1);
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t h = 0; h < both.size(1); ++h)
      EXPECT_NEAR(both[0][h][0][i].item<double>(), slow(*model, d.pairs[static_cast<size_t>(i)], 0, h, block_point(1, "attn.hook_q"), {0, 1}, false), 2e-6);
}

TEST(PathPatchingInput, BadReceiversAreNamed) {
  std::unique_ptr<Model> model = load("hf-llama");
  Dataset d = pairs(*model);
  const std::pair<const char*, const char*> cases[] = {
      {"", "no receiver"}, {"head", "not the name of a node"}, {"99.0<q>", "layer 99"}, {"1.99<q>", "head 99"}, {"1.0", "several inputs"},
      {"1.0<beta>", "no input 'beta'"}, {"logits,logits", "twice"}, {"input", "cannot receive"}, {"m1x", "not the name"}, {"1.0<q", "not the name"},
      {"99999999999999999999.0<q>", "not the name"}};
  for (auto [receiver, says] : cases) {
    try {
      run_whole("path_patching", *model, d, {{"receiver", receiver}});
      ADD_FAILURE() << receiver << " was taken";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(says), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace microtome
