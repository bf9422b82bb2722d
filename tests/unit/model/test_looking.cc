// Every hook point of a run at once, on the device that MICROTOME_TEST_DEVICE names, against the same model in float64 on the CPU:
// what kernels give that compute several points in one pass, whatever the norm, the mask, the widths and the tokens before.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "core/families/registry.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

using testing::close;

c10::Device device() {
  const char* d = std::getenv("MICROTOME_TEST_DEVICE");
  return parse_device(d && *d ? d : "cpu");
}

struct Pair {
  std::unique_ptr<Model> here, judge;  // float32 on the device; float64 on the CPU
};

Pair make(const Json& norm, const Json& mixer, int64_t d_model) {
  const Json json = {{"model_type", "microtome"}, {"vocab_size", 31}, {"d_model", d_model}, {"n_layers", 2}, {"norm", norm},
                     {"defaults", {{"mixer", mixer}, {"channel", {{"d_mlp", 24}}}}}};
  const ModelConfig c = families::read_model_config(json, "config.json").config;
  const Family* family = families::builtin().find("microtome");
  auto wide = std::make_shared<ModelWeights>(*random_weights(*family, c, c10::Device(c10::kCPU), at::kDouble, 5));
  for (auto& [name, t] : wide->tensors) t = t.dim() > 1 ? t * (d_model > 100 ? 2 : 8) : t + at::sin(at::arange(t.numel(), t.options())) * 0.3;
  auto narrow = std::make_shared<ModelWeights>(*wide);
  narrow->device = device();
  narrow->dtype = at::kFloat;
  for (auto& [name, t] : narrow->tensors) t = t.to(device(), at::kFloat);
  return {std::make_unique<Model>(c, narrow), std::make_unique<Model>(c, wide)};
}

HookPlan everything(const Model& m) {
  HookPlan plan;
  for (const HookPoint& p : m.catalogue().points())
    if (!p.on_request || p.name.ends_with("hook_pattern") || p.name.ends_with("hook_attn_scores")) plan.capture(p.name);
  return plan;
}

void expect_every_point(const Pair& m, int64_t length, const std::string& what, int64_t before = 0) {
  at::NoGradGuard no_grad;
  const at::Tensor ids = (at::arange(2 * (before + length), at::kLong) * 7 % 31).view({2, before + length});
  RunState mine, theirs;
  if (before > 0) {
    m.here->forward(ids.narrow(1, 0, before).to(device()), {}, &mine);
    m.judge->forward(ids.narrow(1, 0, before), {}, &theirs);
  }
  const HookPlan plan = everything(*m.judge);
  ForwardResult got = m.here->forward(ids.narrow(1, before, length).to(device()), plan, before ? &mine : nullptr);
  ForwardResult want = m.judge->forward(ids.narrow(1, before, length), plan, before ? &theirs : nullptr);
  EXPECT_TRUE(close(got.logits, want.logits, 2e-4, 2e-4)) << what;
  ASSERT_EQ(got.cache.names(), want.cache.names()) << what;
  EXPECT_GT(got.cache.names().size(), 30u);
  for (const std::string& name : want.cache.names()) EXPECT_TRUE(close(got.cache.get(name), want.cache.get(name), 2e-4, 2e-4)) << what << ", " << name;
}

TEST(Looking, EveryPointOfEveryNorm) {
  const Json plain = {{"kind", "softmax_attention"}, {"num_heads", 4}, {"head_dim", 8}};
  for (int64_t d_model : {16, 18, 300})
    for (const Json& norm : {Json{{"kind", "layer"}, {"eps", 1e-5}}, Json{{"kind", "layer"}, {"eps", 1e-5}, {"weight", false}, {"bias", false}}, Json{{"kind", "rms"}, {"eps", 1e-6}}})
      expect_every_point(make(norm, plain, d_model), 5, norm.dump() + std::to_string(d_model));
}

TEST(Looking, EveryPointOfEveryMask) {
  const Json norm = {{"kind", "rms"}, {"eps", 1e-6}};
  Json grouped = {{"kind", "softmax_attention"}, {"num_heads", 4}, {"num_kv_heads", 2}, {"head_dim", 8}, {"rotary_dim", 8}};
  for (int64_t length : {1, 31, 70}) expect_every_point(make(norm, grouped, 16), length, "causal " + std::to_string(length));
  expect_every_point(make(norm, grouped, 16), 9, "after other tokens", 6);
  expect_every_point(make(norm, grouped, 16), 1, "one after other tokens", 6);
  Json capped = grouped;
  capped["softcap"] = 2.5;
  expect_every_point(make(norm, capped, 16), 40, "softcap");
  Json window = grouped;
  window["window"] = 5;
  expect_every_point(make(norm, window, 16), 40, "window");
  expect_every_point(make(norm, window, 16), 12, "window after other tokens", 9);
  Json both = grouped;
  both["causal"] = false;
  expect_every_point(make(norm, both, 16), 40, "both directions");
  Json slopes = grouped;
  slopes["alibi"] = true;
  slopes.erase("rotary_dim");
  expect_every_point(make(norm, slopes, 16), 20, "what the kernel does not cover");
}

TEST(Looking, ChangedPointsAreHeeded) {
  at::NoGradGuard no_grad;
  const Pair m = make(Json{{"kind", "layer"}, {"eps", 1e-5}}, Json{{"kind", "softmax_attention"}, {"num_heads", 4}, {"head_dim", 8}}, 16);
  const at::Tensor ids = (at::arange(14, at::kLong) * 7 % 31).view({2, 7});
  for (const char* point : {"blocks.0.ln1.hook_scale", "blocks.0.ln1.hook_normalized", "blocks.1.attn.hook_attn_scores", "blocks.1.attn.hook_pattern"}) {
    auto run = [&](const Model& model) {
      HookPlan plan = everything(model);
      plan.edit(point, [](const at::Tensor& v, int64_t) { return v * 1.7; });
      return model.forward(ids.to(model.device()), plan).logits;
    };
    EXPECT_TRUE(close(run(*m.here), run(*m.judge), 2e-4, 2e-4)) << point;
    EXPECT_FALSE(close(run(*m.judge), m.judge->forward(ids).logits, 1e-4, 1e-4)) << point;
  }
}

}  // namespace
}  // namespace microtome
