// What is particular to softmax attention; that it agrees with itself in every form is the conformance test's part.
#include <ATen/core/grad_mode.h>

#include "core/mixers/softmax_attention/attention.h"
#include "tests/conformance/mixer_harness.h"

namespace microtome::testing {
namespace {

const MixerKind& kind() { return *mixers::builtin().find("softmax_attention"); }

MixerCase make_case(std::vector<std::pair<std::string, ParamValue>> params) {
  MixerCase c;
  c.d_model = 12;
  c.pos = 11;
  c.params.set("num_heads", int64_t{4});
  c.params.set("num_kv_heads", int64_t{2});
  c.params.set("head_dim", int64_t{6});
  for (auto& [name, value] : params) c.params.set(name, value);
  return c;
}

at::Tensor read(const TokenMixer& mixer, const at::Tensor& x, const std::string& point) {
  HookPlan plan;
  plan.capture(kPrefix + "." + point);
  ActivationCache cache;
  run_mixer(mixer, x, {MixerForm::kAuto, nullptr, 0, &plan, &cache});
  return cache.get(kPrefix + "." + point);
}

TEST(SoftmaxAttention, PatternRowsAreProbabilitiesOfThePast) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor a = read(*mixer, random_input(c, c.pos, at::kDouble), "hook_pattern");
  EXPECT_TRUE(close(a.sum(-1), at::ones({2, 4, 11}, at::kDouble), 1e-14, 0));
  EXPECT_EQ(max_abs(a.triu(1)), 0.0);
  EXPECT_GE(a.min().item<double>(), 0.0);
}

TEST(SoftmaxAttention, SinksTakeTheirShare) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"sinks", true}});
  WeightMap w = random_weights(kind(), c.params, c.d_model, at::kDouble, 1);
  w["sinks"] = at::tensor({-100.0, 0.0, 3.0, 100.0}, at::kDouble);
  auto mixer = kind().create(c.params, c.d_model, w);
  at::Tensor rows = read(*mixer, random_input(c, c.pos, at::kDouble), "hook_pattern").sum(-1);
  EXPECT_TRUE(close(rows.select(1, 0), at::ones({2, 11}, at::kDouble), 1e-14, 0));
  EXPECT_LT(rows.select(1, 1).max().item<double>(), 1.0);
  EXPECT_LT(max_abs(rows.select(1, 3)), 1e-30);
}

TEST(SoftmaxAttention, ScoresAreMaskedBeforeTheSoftmax) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"window", int64_t{3}}});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor x = random_input(c, c.pos, at::kDouble);
  at::Tensor scores = read(*mixer, x, "hook_attn_scores");
  at::Tensor seen = at::ones({11, 11}, at::kBool).tril().logical_and(at::ones({11, 11}, at::kBool).triu(-2));
  EXPECT_TRUE(scores.isneginf().equal(seen.logical_not().expand_as(scores)));
  EXPECT_TRUE(close(at::softmax(scores, -1), read(*mixer, x, "hook_pattern"), 1e-15, 0));
}

TEST(SoftmaxAttention, AWindowOfOneCopiesTheValue) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"window", int64_t{1}}});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor x = random_input(c, c.pos, at::kDouble), z = read(*mixer, x, "hook_z"), v = read(*mixer, x, "hook_v");
  EXPECT_TRUE(close(z, v.repeat_interleave(2, 2), 1e-14, 0));
  MixerState state;
  run_mixer(*mixer, x.narrow(1, 0, 6), {MixerForm::kAuto, &state});
  EXPECT_EQ(state.tensors.at("k").size(1), 0);             // nothing of the past can be seen
  at::Tensor rest = run_mixer(*mixer, x.narrow(1, 6, 5), {MixerForm::kAuto, &state, 6});
  EXPECT_TRUE(close(rest, run_mixer(*mixer, x).narrow(1, 6, 5), 1e-13, 0));
}

TEST(SoftmaxAttention, AWindowKeepsOnlyWhatCanBeSeen) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"window", int64_t{4}}, {"rotary_dim", int64_t{6}}});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor x = random_input(c, c.pos, at::kDouble), want = run_mixer(*mixer, x);
  MixerState state;
  run_mixer(*mixer, x.narrow(1, 0, 8), {MixerForm::kAuto, &state});
  EXPECT_EQ(state.tensors.at("k").sizes(), (at::IntArrayRef{2, 3, 2, 6}));
  EXPECT_EQ(state.tensors.at("v").sizes(), (at::IntArrayRef{2, 3, 2, 6}));
  HookPlan plan;
  plan.capture(kPrefix + ".hook_pattern").capture(kPrefix + ".hook_attn_scores");
  ActivationCache cache;
  at::Tensor got = run_mixer(*mixer, x.narrow(1, 8, 3), {MixerForm::kAuto, &state, 8, &plan, &cache});
  EXPECT_TRUE(close(got, want.narrow(1, 8, 3), 1e-13, 0));
  // Keys are counted from the start of the sequence although five of them are gone.
  at::Tensor whole = read(*mixer, x, "hook_pattern").narrow(2, 8, 3);
  EXPECT_TRUE(close(cache.get(kPrefix + ".hook_pattern"), whole, 1e-13, 0));
  at::Tensor whole_scores = read(*mixer, x, "hook_attn_scores").narrow(2, 8, 3);
  EXPECT_TRUE(close(cache.get(kPrefix + ".hook_attn_scores"), whole_scores, 1e-13, 0));
}

TEST(SoftmaxAttention, AChangedPatternIsWhatMixesTheValues) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"o_bias", true}});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor x = random_input(c, c.pos, at::kDouble), v = read(*mixer, x, "hook_v");
  HookPlan plan;
  Intervention own;                                        // every query attends to position 2 alone, in head 1
  own.hook = kPrefix + ".hook_pattern";
  own.where = {{"head", {1}}};
  own.tensor = at::zeros({11, 11}, at::kDouble);
  own.tensor.select(1, 2).fill_(1.0);
  plan.intervene(own).capture(kPrefix + ".hook_z");
  ActivationCache cache;
  run_mixer(*mixer, x, {MixerForm::kChunk, nullptr, 0, &plan, &cache});
  at::Tensor z = cache.get(kPrefix + ".hook_z");
  EXPECT_TRUE(close(z.select(2, 1), v.select(2, 0).narrow(1, 2, 1).expand({2, 11, 6}), 1e-14, 0));
  EXPECT_TRUE(close(z.select(2, 2), read(*mixer, x, "hook_z").select(2, 2), 1e-14, 0));
}

TEST(SoftmaxAttention, ChangedScoresAreSoftmaxed) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor x = random_input(c, c.pos, at::kDouble);
  HookPlan plan;
  Intervention twice;
  twice.hook = kPrefix + ".hook_attn_scores";
  twice.operation = Intervention::Operation::kScale;
  twice.value = 2;
  plan.intervene(twice).capture(kPrefix + ".hook_pattern");
  ActivationCache cache;
  run_mixer(*mixer, x, {MixerForm::kAuto, nullptr, 0, &plan, &cache});
  at::Tensor want = at::softmax(2 * read(*mixer, x, "hook_attn_scores"), -1);
  EXPECT_TRUE(close(cache.get(kPrefix + ".hook_pattern"), want, 1e-14, 0));
}

TEST(SoftmaxAttention, HeadResultsSumToTheOutputLessTheBias) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"o_bias", true}});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  WeightMap w = random_weights(kind(), c.params, c.d_model, at::kDouble, 1);
  at::Tensor x = random_input(c, c.pos, at::kDouble), y = run_mixer(*mixer, x);
  EXPECT_TRUE(close(read(*mixer, x, "hook_result").sum(2) + w.at("o_proj.bias"), y, 1e-13, 0));
  HookPlan plan;
  Intervention off;
  off.hook = kPrefix + ".hook_result";
  off.where = {{"head", {0, 1, 2, 3}}};
  plan.intervene(off);
  at::Tensor bias_alone = run_mixer(*mixer, x, {MixerForm::kAuto, nullptr, 0, &plan});
  EXPECT_TRUE(close(bias_alone, w.at("o_proj.bias").expand_as(y), 1e-15, 0));
}

TEST(SoftmaxAttention, RotaryTurnsByAbsolutePosition) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"rotary_dim", int64_t{4}}, {"rope_theta", 100.0}});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor x = random_input(c, 1, at::kDouble);
  HookPlan plan;
  plan.capture(kPrefix + ".hook_q").capture(kPrefix + ".hook_rot_q");
  ActivationCache cache;
  run_mixer(*mixer, x, {MixerForm::kAuto, nullptr, 5, &plan, &cache});
  at::Tensor q = cache.get(kPrefix + ".hook_q"), r = cache.get(kPrefix + ".hook_rot_q");
  // Channels (0, 2) turn by 5, (1, 3) by 5 * 100^(-1/2) = 0.5; the rest stays.
  at::Tensor cos = at::tensor({std::cos(5.0), std::cos(0.5)}, at::kDouble);
  at::Tensor sin = at::tensor({std::sin(5.0), std::sin(0.5)}, at::kDouble);
  at::Tensor a = q.narrow(3, 0, 2), b = q.narrow(3, 2, 2);
  EXPECT_TRUE(close(r, at::cat({a * cos - b * sin, b * cos + a * sin, q.narrow(3, 4, 2)}, 3), 1e-13, 0));
}

TEST(SoftmaxAttention, DecodesWithoutAPlan) {
  // Without a plan there is no absolute position; the keys kept so far tell it.
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"rotary_dim", int64_t{6}}});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor x = random_input(c, c.pos, at::kDouble);
  HookScope none;
  MixerState state;
  mixer->forward({x.narrow(1, 0, 10), {}}, &state, none, {});
  at::Tensor last = mixer->forward({x.narrow(1, 10, 1), {}}, &state, none, {});
  EXPECT_TRUE(close(last, run_mixer(*mixer, x).narrow(1, 10, 1), 1e-13, 0));
}

TEST(SoftmaxAttention, ASplitInputContinuesAGroupedState) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"rotary_dim", int64_t{6}}});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor x = random_input(c, c.pos, at::kDouble), want = run_mixer(*mixer, x);
  for (const char* role : {"k", "v"}) {
    MixerState state;
    run_mixer(*mixer, x.narrow(1, 0, 5), {MixerForm::kAuto, &state});
    at::Tensor rest = x.narrow(1, 5, 3);
    RunArgs args{MixerForm::kAuto, &state, 5};
    args.split[role] = rest.unsqueeze(2).expand({2, 3, 4, 12});
    EXPECT_TRUE(close(run_mixer(*mixer, rest, args), want.narrow(1, 5, 3), 1e-13, 0)) << role;
    // And back to grouped keys after it.
    at::Tensor grouped = run_mixer(*mixer, x.narrow(1, 8, 3), {MixerForm::kAuto, &state, 8});
    EXPECT_TRUE(close(grouped, want.narrow(1, 8, 3), 1e-13, 0)) << role;
  }
}

TEST(SoftmaxAttention, SeesBothWaysWhenNotCausal) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({{"causal", false}, {"window", int64_t{3}}});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  at::Tensor a = read(*mixer, random_input(c, c.pos, at::kDouble), "hook_pattern");
  EXPECT_EQ(max_abs(a.triu(3)), 0.0);
  EXPECT_EQ(max_abs(a.tril(-3)), 0.0);
  EXPECT_GT(a.diagonal(2, -2, -1).min().item<double>(), 0.0);
  EXPECT_GT(a.diagonal(-2, -2, -1).min().item<double>(), 0.0);
  MixerState state;
  EXPECT_THROW(run_mixer(*mixer, random_input(c, c.pos, at::kDouble), {MixerForm::kAuto, &state}), Error);
}

TEST(SoftmaxAttention, AlibiSlopes) {
  EXPECT_EQ(mixers::alibi_slopes(4), (std::vector<double>{0.25, 0.0625, 0.015625, 0.00390625}));
  // Six heads: the four of above, then every other one of eight.
  EXPECT_EQ(mixers::alibi_slopes(6), (std::vector<double>{0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125}));
  EXPECT_EQ(mixers::alibi_slopes(1), (std::vector<double>{1.0 / 256}));
}

TEST(SoftmaxAttention, RefusesSenselessParameters) {
  auto refused = [](std::vector<std::pair<std::string, ParamValue>> params) {
    EXPECT_THROW(kind().info(make_case(params).params, 12), Error) << params[0].first;
  };
  refused({{"num_heads", int64_t{0}}});
  refused({{"num_kv_heads", int64_t{3}}});
  refused({{"num_kv_heads", int64_t{-2}}});
  refused({{"head_dim", int64_t{-6}}});
  refused({{"head_dim", int64_t{1} << 40}});
  refused({{"rotary_dim", int64_t{8}}});
  refused({{"rotary_dim", int64_t{3}}});
  refused({{"rope_theta", 0.0}});
  refused({{"window", int64_t{-1}}});
  refused({{"softcap", -1.0}});
}

TEST(SoftmaxAttention, RefusesAStateThatDoesNotFit) {
  at::NoGradGuard no_grad;
  const MixerCase c = make_case({});
  auto mixer = make_mixer(kind(), c, at::kDouble);
  MixerState state;
  state.tensors["k"] = state.tensors["v"] = at::zeros({3, 4, 2, 6}, at::kDouble);
  EXPECT_THROW(run_mixer(*mixer, random_input(c, 2, at::kDouble), {MixerForm::kAuto, &state, 4}), Error);
  RunArgs args;
  args.read = {2};
  EXPECT_THROW(run_mixer(*mixer, random_input(c, 2, at::kDouble), args), Error);
}

}  // namespace
}  // namespace microtome::testing
