// Weights that are not resident: a run that takes them block by block gives what one with all of them in memory gives, and
// what is chosen for how much memory.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/model/loaded_model.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

class KeptElsewhere : public ::testing::TestWithParam<const char*> {};

TEST_P(KeptElsewhere, GivesTheSameRun) {
  const std::string folder = testing::golden_path(std::string("golden/models/") + GetParam());
  const c10::Device cpu(c10::kCPU);
  auto resident = load_model(folder, cpu, at::kFloat, WeightKeep::kResident);
  at::Tensor ids = at::arange(24, at::kLong).mul(17).add(5).remainder(resident->model->config().vocab_size).view({2, 12});
  HookPlan plan;
  plan.capture("blocks.*.hook_resid_post");
  ForwardResult want = resident->model->forward(ids, plan);
  for (WeightKeep keep : {WeightKeep::kStored, WeightKeep::kStream}) {
    SCOPED_TRACE(weight_keep_text(keep));
    auto other = load_model(folder, cpu, at::kFloat, keep);
    EXPECT_EQ(other->model->weights().keep, keep);
    // Nothing of a block is held, whatever is outside of them is.
    for (const auto& [name, t] : other->model->weights().tensors) EXPECT_NE(name.rfind("blocks.", 0), 0u) << name;
    EXPECT_EQ(other->model->weights().names(), resident->model->weights().names());
    ForwardResult got = other->model->forward(ids, plan);
    EXPECT_TRUE(got.logits.equal(want.logits));
    for (const std::string& name : want.cache.names()) EXPECT_TRUE(got.cache.get(name).equal(want.cache.get(name))) << name;
    // In two parts with a kept state, and from the middle of the stack.
    RunState state;
    at::Tensor head = other->model->forward(ids.slice(1, 0, 7), {}, &state).logits;
    at::Tensor tail = other->model->forward(ids.slice(1, 7), {}, &state).logits;
    EXPECT_TRUE(testing::close(at::cat({head, tail}, 1), want.logits, 1e-4, 1e-4));
    RunState inside;
    inside.keep = false;
    inside.first_layer = 1;
    inside.residual = want.cache.get("blocks.0.hook_resid_post");
    EXPECT_TRUE(testing::close(other->model->forward(ids, {}, &inside).logits, want.logits, 1e-4, 1e-4));
  }
}

// Half types (converted), fused rows (gathered), Conv1D (transposed), experts, a value left by the first layer.
INSTANTIATE_TEST_SUITE_P(Models, KeptElsewhere,
                         ::testing::Values("hf-gpt2-bf16", "hf-gpt2", "tiny-neox-sequential", "tiny-qwen3_next-moe", "fla-rwkv7",
                                           "tiny-olmo_hybrid"),
                         [](const auto& i) {
                           std::string n = i.param;
                           std::replace(n.begin(), n.end(), '-', '_');
                           return n;
                         });

TEST(WeightKeep, IsChosenByWhatFits) {
  const c10::Device cpu(c10::kCPU), gpu(c10::kCUDA, 0);
  constexpr int64_t kGib = int64_t{1} << 30;
  EXPECT_EQ(choose_keep(14 * kGib, 14 * kGib, 20 * kGib, cpu), WeightKeep::kResident);
  // Seven billion BF16 weights as float32 on a machine of 24 GiB.
  EXPECT_EQ(choose_keep(28 * kGib, 14 * kGib, 22 * kGib, cpu), WeightKeep::kStream);
  EXPECT_EQ(choose_keep(28 * kGib, 14 * kGib, 22 * kGib, gpu), WeightKeep::kStored);
  EXPECT_EQ(choose_keep(28 * kGib, 14 * kGib, 8 * kGib, gpu), WeightKeep::kStream);
  for (const char* text : {"auto", "resident", "stored", "stream"}) EXPECT_STREQ(weight_keep_text(parse_weight_keep(text)), text);
  EXPECT_THROW(parse_weight_keep("disk"), Error);
}

TEST(WeightKeep, CountsWhatIsCopied) {
  auto bytes = [](const char* name, at::ScalarType dtype) {
    InspectedModel m = inspect_model(testing::golden_path(std::string("golden/models/") + name));
    return resident_bytes(*m.checkpoint, *m.family, m.config, c10::Device(c10::kCPU), dtype);
  };
  EXPECT_EQ(bytes("hf-gpt2", at::kFloat), 0);          // stays in the mapped file
  EXPECT_EQ(bytes("hf-gpt2-bf16", at::kBFloat16), 0);
  InspectedModel half = inspect_model(testing::golden_path("golden/models/hf-gpt2-bf16"));
  EXPECT_EQ(bytes("hf-gpt2-bf16", at::kFloat), 2 * static_cast<int64_t>(half.checkpoint->weight_bytes()));
  EXPECT_GT(bytes("tiny-neox-sequential", at::kFloat), 0);   // rows of q, k and v are gathered
}

}  // namespace
}  // namespace microtome
