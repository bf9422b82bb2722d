// Whole layers of mixers that no family uses yet, against the reference models' hidden states and states: one block at a
// time, from the reference's own input, with the rest of the block written out here.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/mixers/projections.h"
#include "core/mixers/registry.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

Tensors below(const Tensors& all, const std::string& prefix) {
  Tensors out;
  for (const auto& [name, t] : all)
    if (name.rfind(prefix, 0) == 0) out[name.substr(prefix.size())] = t;
  return out;
}

std::unique_ptr<TokenMixer> layer(const std::string& kind, const Params& params, const Tensors& all, const std::string& prefix) {
  const MixerKind* k = mixers::builtin().find(kind);
  return k->create(params, 64, below(all, prefix));
}

at::Tensor run(const TokenMixer& mixer, const at::Tensor& x, MixerForm form, MixerState& state) {
  HookScope nothing;
  MixerInput in;
  in.x = x;
  MixerRun how;
  how.form = form;
  return mixer.forward(in, &state, nothing, how);
}

bool fits(const std::string& folder, Tensors& weights, Tensors& expected) {
  const std::string path = testing::golden_path("golden/models/" + folder + "/model.safetensors");
  if (path.empty() && !std::getenv("MICROTOME_GOLDEN")) return false;
  weights = testing::load_tensors(path);
  expected = testing::load_tensors(testing::golden_path("golden/models/" + folder + "/expected.safetensors"));
  return true;
}

TEST(MixerLayerGolden, RecurrentGemmaBlocks) {
  Tensors w, want;
  if (!fits("hf-recurrent_gemma", w, want)) GTEST_SKIP() << "too large for the repository";
  Params params;
  params.set("width", int64_t{64});
  params.set("num_heads", int64_t{4});
  for (int64_t l : {0, 1}) {
    const std::string from = "model.layers." + std::to_string(l) + ".";
    auto mixer = layer("rg_lru", params, w, from + "temporal_block.");
    for (const char* c : {"a.", "b."})
      for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto}) {
        SCOPED_TRACE(from + c + form_name(form));
        auto norm = [&](const at::Tensor& x, const char* name) {
          return mixers::rms_norm(x, 1 + w.at(from + name + ".weight"), 1e-6);
        };
        auto mlp = [&](const at::Tensor& x, const char* name) {
          const std::string at = from + "mlp_block." + name;
          return at::linear(x, w.at(at + ".weight"), w.at(at + ".bias"));
        };
        at::Tensor x = want.at(std::string(c) + "hidden_states." + std::to_string(l));
        MixerState state;
        at::Tensor y = x + run(*mixer, norm(x, "temporal_pre_norm"), form, state);
        at::Tensor n = norm(y, "channel_pre_norm");
        y = y + mlp(at::gelu(mlp(n, "gate_proj"), "tanh") * mlp(n, "up_proj"), "down_proj");
        EXPECT_TRUE(testing::close(y, want.at(std::string(c) + "hidden_states." + std::to_string(l + 1)), 1e-4, 1e-4));
        const std::string module = std::string(c) + "module." + from + "temporal_block.";
        const at::Tensor& h = want.at(module + "rg_lru.recurrent_states");
        EXPECT_TRUE(testing::close(state.tensors.at("S").view(h.sizes()), h, 1e-5, 1e-4));
        EXPECT_TRUE(testing::close(state.tensors.at("conv_v").transpose(1, 2), want.at(module + "conv1d_state"), 1e-5, 1e-4));
      }
  }
}

TEST(MixerLayerGolden, MiniMaxLightningBlocks) {
  Tensors w, want;
  if (!fits("hf-minimax", w, want)) GTEST_SKIP() << "too large for the repository";
  for (int64_t l : {0, 1}) {
    const std::string from = "model.layers." + std::to_string(l) + ".";
    Params params;
    params.set("num_heads", int64_t{4});
    params.set("head_k", int64_t{16});
    params.set("norm_eps", 1e-6);
    params.set("layer_idx", l);
    params.set("num_layers", int64_t{3});
    auto mixer = layer("lightning_attn", params, w, from + "self_attn.");
    for (const char* c : {"a.", "b."})
      for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto}) {
        SCOPED_TRACE(from + c + form_name(form));
        auto norm = [&](const at::Tensor& x, const char* name) { return mixers::rms_norm(x, w.at(from + name + ".weight"), 1e-5); };
        // The residual is what the norm gives.
        at::Tensor x = norm(want.at(std::string(c) + "hidden_states." + std::to_string(l)), "input_layernorm");
        MixerState state;
        at::Tensor y = norm(x + run(*mixer, x, form, state), "post_attention_layernorm");
        at::Tensor scores = at::softmax(at::linear(y, w.at(from + "block_sparse_moe.gate.weight")), -1);
        auto [best, which] = at::topk(scores, 2, -1);
        at::Tensor weights = at::zeros_like(scores).scatter(-1, which, best / best.sum(-1, true)), out = y;
        for (int64_t e = 0; e < 3; ++e) {
          auto part = [&](const char* name) {
            return w.at(from + "block_sparse_moe.experts." + std::to_string(e) + "." + name + ".weight");
          };
          at::Tensor hidden = at::silu(at::linear(y, part("w1"))) * at::linear(y, part("w3"));
          out = out + weights.slice(-1, e, e + 1) * at::linear(hidden, part("w2"));
        }
        EXPECT_TRUE(testing::close(out, want.at(std::string(c) + "hidden_states." + std::to_string(l + 1)), 1e-4, 1e-4));
        const at::Tensor& S = want.at(std::string(c) + "cache.linear_cache." + std::to_string(l));
        EXPECT_TRUE(testing::close(state.tensors.at("S"), S, 1e-4 * S.abs().max().item<double>(), 0));
      }
  }
}

}  // namespace
}  // namespace microtome
