// The RWKV-7 mixer on trained weights in their authors' own layout (models/rwkv7-reverse), block by block, against a plain
// float64 recurrence.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/mixers/projections.h"
#include "core/mixers/registry.h"
#include "core/mixers/token_mixer.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

std::unique_ptr<TokenMixer> mixer_of(const Tensors& w, int block) {
  const std::string from = "rwkv" + std::to_string(block) + ".";
  auto get = [&](const std::string& name) { return w.at(from + name).to(at::kDouble); };
  Params p;
  p.set("num_heads", int64_t{2});
  p.set("head_k", int64_t{16});
  for (const char* rank : {"decay_rank", "rate_rank", "value_rank", "gate_rank"}) p.set(rank, int64_t{8});
  p.set("first", block == 1);
  p.set("norm_eps", 0.00064);
  p.set("unit", std::string("clamped"));
  WeightMap m;
  m["r_proj.weight"] = get("receptance.weight");
  m["k_proj.weight"] = get("key.weight");
  m["v_proj.weight"] = get("value.weight");
  m["o_proj.weight"] = get("output.weight");
  m["g_norm.weight"] = get("ln_x.weight");
  m["g_norm.bias"] = get("ln_x.bias");
  for (const char* x : {"x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "r_k"}) m[x] = get(x);
  m["k_k"] = get("k_k").flatten();
  m["k_a"] = get("k_a").flatten();
  for (const char* role : {"w", "a", "v", "g"}) {
    const std::string lora = std::string(role) + "_lora.lora.";
    m[lora + "0.weight"] = get(std::string(role) + "1").t();
    m[lora + "2.weight"] = get(std::string(role) + "2").t();
    if (*role != 'g') m[lora + "2.bias"] = get(std::string(role) + "0").flatten();
  }
  return mixers::builtin().find("rwkv7")->create(p, 32, std::move(m));
}

at::Tensor norm(const Tensors& w, const std::string& name, const at::Tensor& x) {
  return at::layer_norm(x, {32}, w.at(name + ".weight").to(at::kDouble), w.at(name + ".bias").to(at::kDouble), 1e-5);
}

TEST(Rwkv7Golden, TrainedBlocks) {
  const std::string weights_at = testing::golden_path("models/rwkv7-reverse/model.safetensors");
  if (weights_at.empty()) GTEST_SKIP() << "the reference weights are not at hand";
  Tensors w = testing::load_tensors(weights_at);
  Tensors want = testing::load_tensors(testing::golden_path("models/rwkv7-reverse/expected.safetensors"));
  for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk}) {
    SCOPED_TRACE(form_name(form));
    at::Tensor x = w.at("e.weight").to(at::kDouble).index_select(0, want.at("input_ids").flatten());
    x = x.view({want.at("input_ids").size(0), -1, 32});
    SharedValues shared;
    for (int block : {1, 2}) {
      const std::string n = std::to_string(block);
      MixerState state;
      HookScope nothing;
      MixerInput in{norm(w, "ln" + n + "a", x), {}, &shared};
      x = x + mixer_of(w, block)->forward(in, &state, nothing, {form, {}}) + w.at("rosa" + n + ".o.bias").to(at::kDouble);
      at::Tensor h = norm(w, "ln" + n + "b", x);
      h = h + (mixers::one_earlier(h, {}) - h) * w.at("ffn" + n + ".x_k").to(at::kDouble);
      h = at::relu(at::linear(h, w.at("ffn" + n + ".key.weight").to(at::kDouble))).square();
      x = x + at::linear(h, w.at("ffn" + n + ".value.weight").to(at::kDouble));
      EXPECT_TRUE(testing::close(x, want.at("block" + n), 2e-6, 2e-6)) << "block " << n;
      EXPECT_TRUE(testing::close(state.tensors.at("S").transpose(2, 3), want.at("state" + n), 2e-6, 2e-6)) << n;
    }
    at::Tensor logits = at::linear(norm(w, "lno", x), w.at("o.weight").to(at::kDouble), w.at("o.bias").to(at::kDouble));
    EXPECT_TRUE(testing::close(logits, want.at("logits"), 1e-5, 1e-5));
  }
}

}  // namespace
}  // namespace microtome
