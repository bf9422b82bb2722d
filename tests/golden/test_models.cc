// Whole models against the reference implementations' logits, hidden states, attention and states (golden/README.md,
// README_hf.md: logits and hidden states 1e-4 absolute plus 1e-4 relative, attention 2e-5, states 1e-4 of the largest).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <regex>
#include <set>

#include "core/families/registry.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

using testing::close;
using testing::golden_path;
using testing::load_tensors;
using testing::load_test_model;

// Reference checkpoints that are not compared here, each with its reason. Everything else is.
const std::map<std::string, const char*> kNotHere = {
    {"rwkv7-reverse", "in its authors' own layout; test_mixers_rwkv7.cc compares it block by block"},
    {"fla-mom", "made with each memory's tokens out of time order, by an unstable sort; tiny-mom is compared (make_mom_model.py)"},
};

// Cases whose reference is itself less exact than the tolerances, by folder and case: what is allowed instead, absolute
// and relative to the largest entry of a state.
struct Inexact {
  double values, states;
  const char* why;
};
const std::map<std::string, Inexact> kInexact = {
    {"fla-rwkv7 b.", {1e-3, 5e-4,
     "the chunk kernel factors decays as exp(b_t) exp(-b_s): a float64 recomputation differs from it by 5e-4, from case a by 2e-6"}},
    {"fla-mesa_net a.", {5e-2, 2e-3, "30 steps of conjugate gradients in place of the exact solve (golden/README.md)"}},
    {"fla-mesa_net b.", {5e-2, 2e-3, "30 steps of conjugate gradients in place of the exact solve (golden/README.md)"}},
};

// Mixers with Mamba-2 in them.
const std::set<std::string> kMamba2 = {"mamba2", "attention_and_mamba2", "shared_attention_mamba2"};

// What a reference computes otherwise than its checkpoints are meant; a model is given the same before it is compared.
void as_the_reference(const std::string& folder, ModelConfig& config) {
  // Made without kernels, by a fallback that deals the groups of B and C out to the heads in turn (golden/README.md).
  if (std::filesystem::path(folder).filename() == "fla-mamba2-groups")
    for (LayerConfig& l : config.layers) l.mixer_params.set("group_order", std::string("tiled"));
}

std::string label(const std::string& folder) {
  std::string out = std::filesystem::path(folder).filename().string();
  for (char& c : out)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return out;
}

std::string model_type(const std::string& folder) {
  auto config = read_json_file(folder + "/config.json");
  return config && config->is_object() && config->contains("model_type") && (*config)["model_type"].is_string() ? (*config)["model_type"].get<std::string>() : "";
}

// Every reference checkpoint, wherever golden_path() finds it: one of a family that is not there any more fails.
std::vector<std::string> present() {
  namespace fs = std::filesystem;
  std::map<std::string, std::string> found;            // by name: a folder may lie in two places
  std::vector<fs::path> roots = {fs::path(MICROTOME_SOURCE_DIR) / "tests", fs::path(MICROTOME_SOURCE_DIR) / "resources"};
  if (const char* given = std::getenv("MICROTOME_GOLDEN"); given && *given) roots.push_back(given);
  for (const fs::path& root : roots)
    for (const char* below : {"golden/models", "models"}) {
      std::error_code none;
      for (const auto& e : fs::directory_iterator(root / below, none)) {
        std::string name = e.path().filename().string();
        if (!fs::exists(e.path() / "expected.safetensors") || kNotHere.count(name)) continue;
        found.emplace(name, std::string(below) + "/" + name);
      }
    }
  std::vector<std::string> out;
  for (const auto& [_, folder] : found) out.push_back(folder);
  return out;
}

class GoldenModel : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(golden_path(GetParam() + "/expected.safetensors")).parent_path().string();
    model_ = load_test_model(folder_, at::kFloat, [&](ModelConfig& c) { as_the_reference(folder_, c); });
    expected_ = load_tensors(folder_ + "/expected.safetensors");
    about_ = SafetensorsFile::open(folder_ + "/expected.safetensors").value().metadata();
  }
  // The point that the reference's hidden_states.i is.
  std::string hidden_point(int64_t i) const {
    const int64_t n = static_cast<int64_t>(model_->config().layers.size());
    auto about = about_.find("hidden_states");
    const bool normed = about == about_.end() || about->second.find(std::to_string(n) + ": output of block") == std::string::npos;
    if (i == n) return normed ? "unembed.hook_in" : "blocks." + std::to_string(n - 1) + ".hook_resid_post";
    auto said = [&](const char* key, const char* start) {
      auto it = about_.find(key);
      return it != about_.end() && it->second.rfind(start, 0) == 0;
    };
    if (said("hidden_states", "0: output of block 0")) return "blocks." + std::to_string(i) + ".hook_resid_post";
    // transformers' Mamba classes list what leaves each block (README_hf.md), whatever the file's note says of others.
    const std::string& family = model_->config().family;
    if ((family == "mamba" || family == "mamba2") && said("reference", "transformers"))
      return "blocks." + std::to_string(i) + ".hook_resid_post";
    // flash-linear-attention lists the bare embeddings; the residual stream begins after their norm.
    if (i == 0 && model_->config().embed_norm && said("reference", "flash-linear-attention")) return "hook_embed";
    return "blocks." + std::to_string(i) + ".hook_resid_pre";
  }
  const at::Tensor* find(const std::string& name) const {
    auto it = expected_.find(name);
    if (it == expected_.end()) return nullptr;
    looked_at()[GetParam()].insert(name);
    return &it->second;
  }
  // By folder: which reference tensors the tests asked for.
  static std::map<std::string, std::set<std::string>>& looked_at() {
    static std::map<std::string, std::set<std::string>> names;
    return names;
  }
  std::vector<std::string> cases() const {
    std::vector<std::string> out;
    for (const char* p : {"", "a.", "b."})
      if (find_ids(p)) out.push_back(p);
    return out;
  }
  // The transformer_lens files call them tokens.
  const at::Tensor* find_ids(const std::string& c) const {
    const at::Tensor* ids = find(c + "input_ids");
    return ids ? ids : find(c + "tokens");
  }
  // What earlier tokens gave depends on later ones: no run goes on from a kept state.
  void refuses_to_continue() {
    RunState state;
    try {
      model_->forward(*find_ids(cases().front()), {}, &state);
      ADD_FAILURE() << "a state was kept";
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kUnsupported) << e.what();
    }
  }
  const Inexact* inexact(const std::string& c) const {
    auto it = kInexact.find(std::filesystem::path(folder_).filename().string() + " " + c);
    return it == kInexact.end() ? nullptr : &it->second;
  }
  void TearDown() override { ++runs()[GetParam()]; }
  static std::map<std::string, int>& runs() {
    static std::map<std::string, int> counts;
    return counts;
  }
  friend class EveryTensorIsCompared;
  std::string folder_;
  std::unique_ptr<Model> model_;
  std::map<std::string, at::Tensor> expected_;
  std::map<std::string, std::string> about_;
};

TEST_P(GoldenModel, LogitsHiddenStatesAttention) {
  ASSERT_FALSE(cases().empty());
  int64_t n = static_cast<int64_t>(model_->config().layers.size());
  for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk}) {
    for (const std::string& c : cases()) {
      SCOPED_TRACE(c + form_name(form));
      HookPlan plan;
      plan.form = form;
      plan.capture("blocks.*.hook_resid_pre").capture("unembed.hook_in").capture("blocks.*.hook_resid_post");
      plan.capture("hook_embed");
      const std::string pattern = find(c + "pattern.0") ? c + "pattern." : c + "attentions.";
      bool attention = false;                          // hybrids list that of a few layers
      for (int64_t i = 0; i < n; ++i) attention = attention || find(pattern + std::to_string(i));
      if (attention) plan.capture("blocks.*.attn.hook_pattern");
      ForwardResult r = model_->forward(*find_ids(c), plan);
      const double allowed = inexact(c) ? inexact(c)->values : 1e-4;
      EXPECT_TRUE(close(r.logits, *find(c + "logits"), allowed, 1e-4));
      for (int64_t i = 0; i <= n; ++i) {
        const at::Tensor* h = find(c + "hidden_states." + std::to_string(i));
        if (!h) continue;
        std::string point = hidden_point(i);
        EXPECT_TRUE(close(r.cache.get(point), *h, allowed, 1e-4)) << point;
      }
      if (const at::Tensor* h = find(c + "final_prenorm")) {
        EXPECT_TRUE(close(r.cache.get("blocks." + std::to_string(n - 1) + ".hook_resid_post"), *h, 1e-4, 1e-4));
      }
      for (int64_t i = 0; attention && i < n; ++i)
        if (const at::Tensor* a = find(pattern + std::to_string(i))) {
          EXPECT_TRUE(close(r.cache.get("blocks." + std::to_string(i) + ".attn.hook_pattern"), *a, 2e-5, 0));
        }
      for (int64_t i = 0; i < n; ++i)
        if (const at::Tensor* h = find(c + "resid_post." + std::to_string(i))) {
          EXPECT_TRUE(close(r.cache.get("blocks." + std::to_string(i) + ".hook_resid_post"), *h, 1e-4, 1e-4));
        }
    }
  }
}

TEST_P(GoldenModel, StatesAfterThePrompt) {
  if (!model_->config().causal()) return refuses_to_continue();
  for (const std::string& c : cases()) {
    const at::Tensor& ids = *find_ids(c);
    RunState state;
    HookPlan plan;
    plan.logits = false;
    plan.capture("blocks.*.hook_resid_post", {-1});
    model_->forward(ids, plan, &state);
    ASSERT_EQ(state.position, ids.size(1));
    if (const at::Tensor* offset = find(c + "cache.seqlen_offset")) {
      EXPECT_EQ(state.position, offset->max().item<int64_t>());
    }
    for (int64_t i = 0; i < static_cast<int64_t>(model_->config().layers.size()); ++i) {
      SCOPED_TRACE(c + "layer " + std::to_string(i));
      const MixerInfo& info = model_->mixer_info(i);
      auto& tensors = state.layers[static_cast<size_t>(i)].tensors;
      auto check = [&](const at::Tensor& got, const at::Tensor& want) {
        const double size = want.abs().max().item<double>();
        EXPECT_TRUE(close(got, want, inexact(c) ? inexact(c)->states * size : 1e-4 + 1e-5 * size, 1e-5));
      };
      std::string fla = c + "layer" + std::to_string(i) + ".", hf = c + "layer." + std::to_string(i) + ".";
      const at::Tensor* s = find(fla + "recurrent_state");
      if (!s) s = find(fla + "recurrent_state.0");
      const bool transformers = !s;
      if (!s) s = find(hf + "recurrent_states.0");
      if (!s) s = find(c + "cache.linear_cache." + std::to_string(i));                     // MiniMax
      const std::string griffin = c + "module.model.layers." + std::to_string(i) + ".temporal_block.";
      if (!s) s = find(griffin + "rg_lru.recurrent_states");
      if (s) {
        at::Tensor want = *s;
        // fla 0.6.0 caches these as [B, H, V, K], both libraries Mamba-2's; ours is always d_k × d_v.
        const std::set<std::string> by_fla = {"gla", "gated_delta_rule", "kda", "hgrn2", "mamba2"};
        const std::set<std::string> transposed = transformers ? kMamba2 : by_fla;
        if (transposed.count(info.kind)) want = want.transpose(-1, -2);
        if (info.kind == "mamba1") want = want.unsqueeze(-1);
        // MesaNet lists the keys' covariance first, slot memories the keys' slots.
        const char* first = tensors.count("Hkk") ? "Hkk" : tensors.count("Hk") ? "Hk" : "S";
        at::Tensor got = tensors.at(first);
        if (want.dim() == 2) got = got.reshape_as(want);         // a number a channel
        // ABC's reference keeps sums over tokens, ours means and the logarithm of what they are divided by.
        if (tensors.count("lse")) got = got * tensors.at("lse").exp().unsqueeze(2);
        if (got.size(1) != want.size(1)) got = got.repeat_interleave(want.size(1) / got.size(1), 1);
        check(got, want);
        // MiniMax returns the state once more, as that layer's attention.
        if (const at::Tensor* again = find(c + "nonsoftmax_attention_output." + std::to_string(i))) check(got, *again);
      }
      if (const at::Tensor* z = find(fla + "recurrent_state.1")) {
        if (tensors.count("z")) check(tensors.at("z").reshape_as(*z), *z);
        else if (tensors.count("lse")) check(tensors.at("S") * tensors.at("lse").exp().unsqueeze(3), *z);
        else check(tensors.at("S"), *z);
      }
      // RecurrentGemma's module keeps what the next token can see, as ours does.
      if (const at::Tensor* w = find(griffin + "conv1d_state")) check(tensors.at("conv_v"), w->transpose(1, 2));
      const char* memory[] = {"S", "n", "max"};                                            // xLSTM
      for (int p = 0; p < 3; ++p)
        if (const at::Tensor* w = find(c + "cache.rnn_state." + std::to_string(i) + "." + std::to_string(p)))
          check(tensors.at(memory[p]).reshape(w->sizes()), *w);
      // Token shift keeps one input of each mixer.
      const at::Tensor* conv = find(fla + "conv_state");
      if (!conv) conv = find(hf + "conv_states.0");
      if (conv && tensors.count("conv_v")) {
        // One convolution over x, B, C, or q, k, v; the reference keeps width inputs, ours the width - 1 that the next
        // token can see.
        at::Tensor got = tensors.at("conv_v");
        if (tensors.count("conv_k")) {
          const bool mamba = kMamba2.count(info.kind) || info.kind == "log_linear_attn";
          got = mamba ? at::cat({got, tensors.at("conv_k"), tensors.at("conv_q")}, 2)
                      : at::cat({tensors.at("conv_q"), tensors.at("conv_k"), got}, 2);
        }
        check(got, conv->transpose(1, 2).slice(1, 1));
      } else if (conv && tensors.count("shift")) {
        check(tensors.at("shift").squeeze(1), *conv);
      }
      if (const at::Tensor* w = find(fla + "ffn_state")) check(tensors.at("mlp_shift").squeeze(1), *w);
      // transformers' RWKV-4: one tensor a part, [batch, width, layer].
      const char* kept[] = {"mlp_shift", "shift", "S", "n", "max"};
      for (int p = 0; p < 5; ++p)
        if (const at::Tensor* w = find(c + "state." + std::to_string(p)))
          check(tensors.at(kept[p]).reshape({w->size(0), w->size(1)}), w->select(2, i));
      const char* parts[] = {"q", "k", "v"};
      for (int p = 0; p < 3; ++p) {
        const at::Tensor* w = find(fla + "conv_state." + std::to_string(p));
        // The reference keeps width inputs, [B, channel, width]; ours the width - 1 that the next token can see.
        if (w) check(tensors.at(std::string("conv_") + parts[p]), w->transpose(1, 2).slice(1, 1));
      }
      const at::Tensor* k = find(hf + "keys");
      if (k && tensors.count("latent")) {
        check(tensors.at("latent"), k->squeeze(1));
        check(tensors.at("k_shared"), find(hf + "values")->squeeze(1));
      } else if (k) {
        // Some libraries keep all keys of a layer with a window; ours only those that the next token can see.
        const int64_t have = tensors.at("k").size(1);
        auto last = [&](const at::Tensor& x) { return x.slice(2, x.size(2) - have); };
        ASSERT_LE(have, k->size(2));
        check(tensors.at("k").transpose(1, 2), last(*k));
        check(tensors.at("v").transpose(1, 2), last(*find(hf + "values")));
      }
      if (const at::Tensor* k = find(fla + "attn_state.0")) {
        at::Tensor got = tensors.at("k").flatten(2), got_v = tensors.at("v").flatten(2);
        int64_t have = std::min(got.size(1), k->size(1));
        check(got.slice(1, got.size(1) - have), k->slice(1, k->size(1) - have));
        check(got_v.slice(1, got.size(1) - have), find(fla + "attn_state.1")->slice(1, k->size(1) - have));
        if (const at::Tensor* g = find(fla + "attn_state.2")) check(tensors.at("g").squeeze(3), *g);
      }
    }
  }
}

TEST_P(GoldenModel, DecodingGivesTheLogitsOfTheFullRun) {
  if (!model_->config().causal()) return refuses_to_continue();
  std::string c = cases().front();
  at::Tensor ids = *find_ids(c), want = *find(c + "logits");
  const double allowed = inexact(c) ? inexact(c)->values : 1e-4;
  int64_t split = ids.size(1) - 5;
  RunState state;
  state.length = ids.size(1);                          // rotary angles that depend on it are then those of the full run
  at::Tensor head = model_->forward(ids.slice(1, 0, split), {}, &state).logits;
  EXPECT_TRUE(close(head, want.slice(1, 0, split), allowed, 1e-4));
  for (int64_t t = split; t < ids.size(1); ++t) {
    at::Tensor step = model_->forward(ids.slice(1, t, t + 1), {}, &state).logits;
    EXPECT_TRUE(close(step, want.slice(1, t, t + 1), allowed, 1e-4)) << "token " << t;
  }
}

TEST_P(GoldenModel, GreedyContinuation) {
  const at::Tensor* ids = find("g.greedy_ids");
  if (!ids) return;                                    // only the transformers fixtures hold a continuation
  at::Tensor prompt = *find("g.prompt"), margins = *find("g.margins");
  RunState state;
  at::Tensor next = prompt;
  for (int64_t s = 0; s < margins.numel() && margins[s].item<double>() >= 1e-3; ++s) {
    at::Tensor logits = model_->forward(next, {}, &state).logits;
    next = logits.select(1, logits.size(1) - 1).argmax(-1, true);
    EXPECT_EQ(next.item<int64_t>(), (*ids)[0][prompt.size(1) + s].item<int64_t>()) << "step " << s;
  }
}

// In the type the file is stored in, where the reference ran it so (README_hf.md: 5e-2 of the largest logit).
TEST_P(GoldenModel, NativeType) {
  for (const std::string& c : cases()) {
    const at::Tensor* want = find(c + "native_logits");
    if (!want) continue;
    const at::ScalarType type = model_->config().stored_dtype == "bfloat16" ? at::kBFloat16 : at::kHalf;
    at::Tensor got = load_test_model(folder_, type)->forward(*find_ids(c)).logits;
    EXPECT_EQ(got.scalar_type(), type);
    EXPECT_TRUE(close(got, want->to(at::kFloat), 5e-2 * want->abs().max().item<double>(), 0));
  }
}

TEST_P(GoldenModel, ResumingInsideTheStackChangesNothing) {
  if (!model_->config().causal()) return refuses_to_continue();
  at::Tensor ids = *find_ids(cases().front());
  HookPlan plan;
  plan.capture("blocks.*.hook_resid_pre");
  ForwardResult full = model_->forward(ids, plan);
  int64_t layer = static_cast<int64_t>(model_->config().layers.size()) - 1, pos = 7;
  RunState prefix;
  prefix.length = ids.size(1);
  HookPlan quiet;
  quiet.logits = false;
  quiet.capture("blocks.*.hook_resid_post", {-1});
  model_->forward(ids.slice(1, 0, pos), quiet, &prefix);
  prefix.keep = false;
  prefix.first_layer = layer;
  prefix.residual = full.cache.get("blocks." + std::to_string(layer) + ".hook_resid_pre").slice(1, pos);
  HookPlan last;
  last.logit_positions = std::vector<int64_t>{-1};
  at::Tensor got = model_->forward(ids.slice(1, pos), last, &prefix).logits;
  EXPECT_TRUE(close(got, full.logits.slice(1, ids.size(1) - 1), 1e-4, 1e-4));

  // The same from a prefix that was itself run from that layer on.
  at::Tensor entry = full.cache.get("blocks." + std::to_string(layer) + ".hook_resid_pre");
  RunState inside;
  inside.length = ids.size(1);
  inside.first_layer = layer;
  inside.residual = entry.slice(1, 0, pos);
  model_->forward(ids.slice(1, 0, pos), quiet, &inside);
  inside.keep = false;
  inside.first_layer = layer;
  inside.residual = entry.slice(1, pos);
  got = model_->forward(ids.slice(1, pos), last, &inside).logits;
  EXPECT_TRUE(close(got, full.logits.slice(1, ids.size(1) - 1), 1e-4, 1e-4));
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, ::testing::ValuesIn(present()),
                         [](const auto& info) { return label(info.param); });

// What the files hold and no test here reads, with the reason.
const std::pair<const char*, const char*> kNotRead[] = {
    {R"(.*recurrent_state\.(q_prev|k_prev|v_prev|g_prev|level_scales_prev|ht|offsets))",
     "log-linear attention's states lie by chunk there; logits and decoding hold ours"},
    {R"((K|Q|V)_composition|previous_token_score_layer0|attention_of_last_position_to_induction_target|expected_next)",
     "scores of an analysis, not of the model"},
};

// At the end of a whole run: a reference tensor that no test asked for is one that nothing is compared with.
class EveryTensorIsCompared : public ::testing::Environment {
 public:
  void TearDown() override {
    for (const auto& [folder, runs] : GoldenModel::runs()) {
      if (runs < kTestsAModel) continue;               // filtered: not all of them looked
      SafetensorsFile file = SafetensorsFile::open(golden_path(folder + "/expected.safetensors")).value();
      for (const TensorEntry& e : file.tensors()) {
        bool known = GoldenModel::looked_at()[folder].count(e.name) != 0;
        for (const auto& [pattern, reason] : kNotRead) known = known || std::regex_match(e.name, std::regex(pattern));
        EXPECT_TRUE(known) << folder << ": " << e.name << " is compared with nothing";
      }
    }
  }

 private:
  static constexpr int kTestsAModel = 6;
};
const auto* const kComparedAtTheEnd = ::testing::AddGlobalTestEnvironment(new EveryTensorIsCompared);

TEST(GoldenModels, EveryFamilyHasAReference) {
  std::set<std::string> covered;
  for (const std::string& f : present()) covered.insert(model_type(std::filesystem::path(golden_path(f + "/expected.safetensors")).parent_path().string()));
  const std::vector<std::string> types = families::builtin().model_types();
  // Our own format has no other implementation; unit_model holds it to the references of models rewritten in it.
  covered.insert("microtome");
  for (const std::string& type : types) EXPECT_TRUE(covered.count(type)) << type;
}

}  // namespace
}  // namespace microtome
