// Steps in place and recorded steps against Model::forward over one token, for every mixer and what may be in a layer; on the
// device that MICROTOME_TEST_DEVICE names. Nothing is recorded on the CPU.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "core/families/registry.h"
#include "core/mixers/registry.h"
#include "core/model/generation.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

using testing::close;

c10::Device device() {
  const char* d = std::getenv("MICROTOME_TEST_DEVICE");
  return parse_device(d && *d ? d : "cpu");
}

Json model_json(const Json& mixer, int64_t d_model, int64_t layers) {
  return Json{{"model_type", "microtome"}, {"vocab_size", 31}, {"d_model", d_model}, {"n_layers", layers},
              {"defaults", {{"mixer", mixer}, {"channel", {{"d_mlp", 24}}}}}};
}

Json with_params(const std::string& kind, const Params& params) {
  Json out = {{"kind", kind}};
  for (const auto& [key, v] : params.values()) std::visit([&, k = key](const auto& x) { out[k] = x; }, v);
  return out;
}

Json softmax_model() {
  return model_json(Json{{"kind", "softmax_attention"}, {"num_heads", 4}, {"num_kv_heads", 2}, {"head_dim", 8}, {"rotary_dim", 8}}, 16, 2);
}

std::unique_ptr<Model> make_model(const Json& json) {
  const ModelConfig c = families::read_model_config(json, "config.json").config;
  auto weights = std::make_shared<ModelWeights>(*random_weights(*families::builtin().find("microtome"), c, device(), at::kFloat, 5));
  for (auto& [name, t] : weights->tensors)
    if (t.dim() > 1) t = t * 8;
  return std::make_unique<Model>(c, weights);
}

struct Continued {
  at::Tensor logits;                   // [step, batch, vocab] on the CPU
  bool recorded = false;
  std::string why_not;
};

Continued go_on(const Model& model, Generation::Steps steps, int64_t prompt, int64_t count) {
  at::NoGradGuard no_grad;
  Generation g(model, MixerForm::kAuto, steps);
  std::vector<at::Tensor> out{g.start((at::arange(2 * prompt, at::kLong) * 7 % 31).view({2, prompt}).to(device())).cpu()};
  for (int64_t i = 0; i < count; ++i) out.push_back(g.step(at::tensor({(5 * i + 3) % 31, (11 * i + 2) % 31}, at::kLong)).cpu());
  EXPECT_EQ(g.position(), prompt + count);
  return {at::stack(out), g.recorded(), g.why_not()};
}

void expect_same_steps(const Model& model, int64_t prompt, int64_t count, const std::string& what) {
  const at::Tensor plain = go_on(model, Generation::Steps::kPlain, prompt, count).logits;
  ASSERT_TRUE(plain.isfinite().all().item<bool>()) << what;
  const at::Tensor in_place = go_on(model, Generation::Steps::kInPlace, prompt, count).logits;
  EXPECT_TRUE(close(in_place, plain, 1e-4, 1e-4)) << what;
  if (!GpuGraph::missing(device()).empty()) return;
  const Continued recorded = go_on(model, Generation::Steps::kRecorded, prompt, count);
  EXPECT_TRUE(recorded.recorded) << what << ": " << recorded.why_not;
  EXPECT_TRUE(recorded.logits.equal(in_place)) << what;
}

class EveryStep : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryStep, InPlaceIsThePlainOne) {
  const MixerKind* kind = mixers::builtin().find(GetParam());
  int64_t tried = 0;
  for (const MixerCase& c : kind->cases) {
    const int64_t layers = kind->info(c.params, c.d_model).leaves.empty() ? 2 : 1;
    std::unique_ptr<Model> model;
    try {
      model = make_model(model_json(with_params(kind->name, c.params), c.d_model, layers));
    } catch (const Error&) {
      continue;                        // a case that a family of ours does not allow
    }
    if (!not_in_place(*model).empty()) continue;
    ++tried;
    expect_same_steps(*model, 7, 9, kind->name + ", " + c.name);
    expect_same_steps(*model, 1, 3, kind->name + ", one token, " + c.name);
  }
  if (!tried) GTEST_SKIP() << "no step in place";
}

std::vector<std::string> all_kinds() {
  std::vector<std::string> out;
  for (const MixerKind* k : mixers::builtin().all()) out.push_back(k->name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(Kinds, EveryStep, ::testing::ValuesIn(all_kinds()), [](const auto& i) { return i.param; });

TEST(Generation, RoomGrows) {
  auto model = make_model(softmax_model());
  expect_same_steps(*model, 121, 150, "128 and 256 tokens");
  Json windowed = softmax_model();
  windowed["defaults"]["mixer"]["window"] = 20;
  expect_same_steps(*make_model(windowed), 50, 220, "a window that was dropped before");
}

TEST(Generation, LearnedPositionsAndTheirEnd) {
  Json json = softmax_model();
  json["learned_positions"] = 12;
  json["context_length"] = 12;
  auto model = make_model(json);
  expect_same_steps(*model, 4, 8, "learned positions");
  for (auto steps : {Generation::Steps::kPlain, Generation::Steps::kInPlace, Generation::Steps::kRecorded}) EXPECT_THROW(go_on(*model, steps, 4, 9), Error);
}

TEST(Generation, UnknownIdsAreRefused) {
  auto model = make_model(softmax_model());
  for (auto steps : {Generation::Steps::kPlain, Generation::Steps::kInPlace, Generation::Steps::kRecorded}) {
    Generation g(*model, MixerForm::kAuto, steps);
    g.start(at::zeros({1, 3}, at::kLong).to(device()));
    EXPECT_THROW(g.step(at::tensor({31}, at::kLong)), Error);
    EXPECT_THROW(g.step(at::tensor({-1}, at::kLong)), Error);
    EXPECT_NO_THROW(g.step(at::tensor({30}, at::kLong)));
  }
}

TEST(Generation, WhatCannotStayInPlaceSaysWhy) {
  Json json = softmax_model();
  json["defaults"]["mixer"]["alibi"] = true;
  json["defaults"]["mixer"].erase("rotary_dim");
  auto model = make_model(json);
  EXPECT_NE(not_in_place(*model).find("ALiBi"), std::string::npos);
  const Continued plain = go_on(*model, Generation::Steps::kPlain, 5, 4), asked = go_on(*model, Generation::Steps::kRecorded, 5, 4);
  EXPECT_FALSE(asked.recorded);
  EXPECT_FALSE(asked.why_not.empty());
  EXPECT_TRUE(asked.logits.equal(plain.logits));
}

}  // namespace
}  // namespace microtome
