// The model_type "microtome": every registered mixer inside a model, looped stacks, attention-only layers, saving and
// loading, and what is refused.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "core/families/registry.h"
#include "core/mixers/registry.h"
#include "core/model/model.h"
#include "core/model/weights.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

using testing::close;

Json mixer_json(const std::string& kind, const Params& params) {
  Json out = {{"kind", kind}};
  for (const auto& [key, v] : params.values()) std::visit([&, k = key](const auto& x) { out[k] = x; }, v);
  return out;
}

Json model_json(const Json& mixer, int64_t d_model, int64_t n_layers) {
  return Json{{"model_type", "microtome"}, {"vocab_size", 31}, {"d_model", d_model}, {"n_layers", n_layers},
              {"defaults", {{"mixer", mixer}, {"channel", {{"d_mlp", 24}}}}}};
}

Json softmax_json() {
  return model_json(Json{{"kind", "softmax_attention"}, {"num_heads", 2}, {"head_dim", 8}}, 16, 2);
}

ModelConfig config_of(const Json& json) { return families::read_model_config(json, "config.json").config; }

// Matrices of a size that keeps what passes through them.
std::shared_ptr<ModelWeights> weights_of(const ModelConfig& c, at::ScalarType type = at::kFloat) {
  const Family* family = families::builtin().find("microtome");
  auto out = std::make_shared<ModelWeights>(*random_weights(*family, c, at::kCPU, type, 5));
  for (auto& [name, t] : out->tensors)
    if (t.dim() > 1) t = t * 8;
  return out;
}

at::Tensor ids(int64_t length) { return (at::arange(2 * length, at::kLong) * 7 % 31).view({2, length}); }

at::Tensor logits(const Model& model, MixerForm form = MixerForm::kAuto, int64_t length = 21) {
  at::NoGradGuard no_grad;
  HookPlan plan;
  plan.form = form;
  return model.forward(ids(length), plan).logits;
}

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() /
                               ("microtome_test_" + std::to_string(reinterpret_cast<uintptr_t>(this)));
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }

  // Every stored tensor once, under its name in the checkpoint.
  void save(const Json& json, const ModelConfig& c, const ModelWeights& w) {
    std::ofstream(path / "config.json") << json.dump();
    std::vector<TensorToWrite> out;
    std::vector<at::Tensor> kept;
    std::set<std::string> seen;
    for (const TensorBinding& b : families::builtin().find("microtome")->bind(c, Stored())) {
      if (!seen.insert(b.source).second) continue;
      kept.push_back(w.get(b.canonical).contiguous());
      const at::Tensor& t = kept.back();
      out.push_back({b.source, DType::kF32, t.sizes().vec(),
                     {static_cast<const uint8_t*>(t.const_data_ptr()), static_cast<size_t>(t.nbytes())}});
    }
    ASSERT_TRUE(write_safetensors((path / "model.safetensors").string(), out).is_ok());
  }
};

class EveryMixer : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryMixer, RunsDecodesSavesAndLoads) {
  at::NoGradGuard no_grad;
  const MixerKind* kind = mixers::builtin().find(GetParam());
  const MixerCase& first = kind->cases.front();
  // What leaves something for later layers is a first layer; a second one of it is refused.
  const int64_t n = kind->info(first.params, first.d_model).leaves.empty() ? 2 : 1;
  const Json json = model_json(mixer_json(kind->name, first.params), first.d_model, n);
  const ModelConfig c = config_of(json);
  auto weights = weights_of(c);
  Model model(c, weights);
  const at::Tensor want = logits(model, MixerForm::kNaive);
  ASSERT_TRUE(want.isfinite().all().item<bool>());
  for (MixerForm form : model.mixer_info(0).forms)
    EXPECT_TRUE(close(logits(model, form), want, 1e-5, 1e-4)) << form_name(form);
  if (c.causal()) {
    RunState state;
    std::vector<at::Tensor> parts;
    for (auto [from, to] : {std::pair{0, 9}, {9, 10}, {10, 11}, {11, 21}})
      parts.push_back(model.forward(ids(21).slice(1, from, to), {}, &state).logits);
    EXPECT_TRUE(close(at::cat(parts, 1), want, 1e-5, 1e-4));
    at::Tensor changed = ids(21);
    changed.select(1, 20).fill_(3);
    EXPECT_TRUE(close(model.forward(changed).logits.narrow(1, 0, 20), want.narrow(1, 0, 20), 1e-5, 1e-4));
  } else {
    RunState state;
    EXPECT_THROW(model.forward(ids(21), {}, &state), Error);
  }
  Folder folder;
  folder.save(json, c, *weights);
  auto loaded = testing::load_test_model(folder.path.string());
  EXPECT_TRUE(loaded->weights().warnings.empty());
  EXPECT_TRUE(logits(*loaded, MixerForm::kNaive).equal(want));
}

std::vector<std::string> all_kinds() {
  std::vector<std::string> out;
  for (const MixerKind* k : mixers::builtin().all()) out.push_back(k->name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(Kinds, EveryMixer, ::testing::ValuesIn(all_kinds()), [](const auto& i) { return i.param; });

TEST(Microtome, LoopedStackEqualsTheUnrolledOne) {
  Json json = softmax_json();
  const Json gla = {{"kind", "gla"}, {"num_heads", 2}, {"head_k", 4}, {"head_v", 8}};
  json["layers"] = Json::array({Json::object(), {{"mixer", gla}}});
  const int64_t once = parameter_count(config_of(json));
  json["loops"] = 3;
  const ModelConfig looped = config_of(json);
  ASSERT_EQ(looped.layers.size(), 6u);
  EXPECT_EQ(parameter_count(looped), once);
  auto weights = weights_of(looped);
  Model model(looped, weights);
  EXPECT_TRUE(weights->get("blocks.5.attn.q_proj.weight").equal(weights->get("blocks.1.attn.q_proj.weight")));
  EXPECT_FALSE(weights->get("blocks.0.mlp.up.weight").equal(weights->get("blocks.1.mlp.up.weight")));

  Json flat = json;
  flat.erase("loops");
  flat.erase("n_layers");
  flat["layers"] = Json::array();
  for (int i = 0; i < 6; ++i) flat["layers"].push_back(json["layers"][static_cast<size_t>(i % 2)]);
  const ModelConfig unrolled = config_of(flat);
  EXPECT_GT(parameter_count(unrolled), once);
  EXPECT_TRUE(logits(Model(unrolled, weights)).equal(logits(model)));

  Folder folder;
  folder.save(json, looped, *weights);
  EXPECT_EQ(testing::load_tensors((folder.path / "model.safetensors").string()).count("blocks.2.ln1.weight"), 0u);
  EXPECT_TRUE(logits(*testing::load_test_model(folder.path.string())).equal(logits(model)));
}

// Reference models under the canonical names and in our own config give the reference's logits.
TEST(Microtome, RewrittenModelsGiveTheReferenceLogits) {
  at::NoGradGuard no_grad;
  const Json softmax = {{"kind", "softmax_attention"}, {"num_heads", 4}, {"head_dim", 32}, {"rotary_dim", 32},
                        {"rope_theta", 10000.0}};
  const Json delta = {{"kind", "gated_delta_rule"}, {"num_heads", 4}, {"head_k", 32}, {"head_v", 32}, {"use_short_conv", true},
                      {"use_output_gate", true}, {"norm_eps", 1e-6}};
  for (auto [name, mixer, eps] : {std::tuple{"zoo-llama", softmax, 1e-5}, {"zoo-gated_deltanet", delta, 1e-6}}) {
    const std::string folder = std::string(MICROTOME_SOURCE_DIR) + "/resources/models/" + name;
    const Json json = {{"model_type", "microtome"}, {"vocab_size", 2048}, {"d_model", 128}, {"n_layers", 4},
                       {"tied_unembedding", true}, {"norm", {{"kind", "rms"}, {"eps", eps}}},
                       {"defaults", {{"mixer", mixer}, {"channel", {{"d_mlp", 512}}}}}};
    const ModelConfig c = config_of(json);
    Folder own;
    own.save(json, c, testing::load_test_model(folder)->weights());
    auto expected = testing::load_tensors(folder + "/expected.safetensors");
    auto model = testing::load_test_model(own.path.string());
    EXPECT_TRUE(close(model->forward(expected.at("input_ids")).logits, expected.at("logits"), 1e-4, 1e-4)) << name;
  }
}

// Two layers without channel mixers, norms or positions, computed here from the weights.
TEST(Microtome, AttentionOnlyIsTheFormula) {
  at::NoGradGuard no_grad;
  Json json = softmax_json();
  json["norm"] = {{"kind", "none"}};
  json["defaults"]["channel"] = nullptr;
  json["embed_scale"] = 3.0;
  json["tied_unembedding"] = true;
  const ModelConfig c = config_of(json);
  auto w = weights_of(c, at::kDouble);
  Model model(c, w);
  at::Tensor x = at::embedding(w->get("embed.weight"), ids(9)) * 3.0;
  const at::Tensor masked = at::ones({9, 9}, at::kBool).triu(1);
  for (const std::string at : {"blocks.0.attn.", "blocks.1.attn."}) {
    auto heads = [&](const char* name) {
      return at::linear(x, w->get(at + name + "_proj.weight")).view({2, 9, 2, 8}).transpose(1, 2);
    };
    at::Tensor scores = at::matmul(heads("q"), heads("k").transpose(2, 3)) / std::sqrt(8.0);
    at::Tensor z = at::matmul(scores.masked_fill(masked, -INFINITY).softmax(-1), heads("v"));
    x = x + at::linear(z.transpose(1, 2).flatten(2), w->get(at + "o_proj.weight"));
  }
  EXPECT_TRUE(close(logits(model, MixerForm::kNaive, 9), at::linear(x, w->get("embed.weight")), 1e-12, 1e-12));
  EXPECT_EQ(parameter_count(c), 31 * 16 + 2 * 4 * 16 * 16);
}

TEST(Microtome, BindsWhatEveryPartNeeds) {
  Json json = softmax_json();
  json["embed_norm"] = Json::object();
  json["learned_positions"] = 40;
  json["unembedding_bias"] = true;
  json["layers"] = Json::array(
      {{{"channel", {{"gated", false}, {"bias", true}, {"activation", "relu"}}}, {"wiring", "parallel"}},
       {{"channel", {{"d_mlp", 24}, {"shift", "to_earlier"}, {"receptance", true}}}, {"post1", Json::object()},
        {"post2", {{"kind", "layer"}}}, {"norm1", {{"offset", 1.0}}}},
       {{"channel", {{"d_mlp", nullptr}, {"experts", {{"count", 4}, {"per_token", 2}, {"d_expert", 8}, {"correction", true},
         {"d_shared", 6}, {"shared_gate", true}, {"scores", "sigmoid"}, {"renormalize", true}}}}}, {"wiring", "post_norm"}}});
  json.erase("n_layers");
  const ModelConfig c = config_of(json);
  EXPECT_EQ(c.layers[1].post2->bias, true);
  auto weights = weights_of(c);
  Model model(c, weights);
  EXPECT_TRUE(logits(model).isfinite().all().item<bool>());
  for (const char* name : {"blocks.0.mlp.up.bias", "blocks.1.mlp.shift.receptance", "blocks.1.ln2_post.bias",
                           "pos_embed.weight", "blocks.2.mlp.experts.3.down.weight", "blocks.2.mlp.shared_gate.weight", "embed.ln.weight",
                           "blocks.2.mlp.router.correction", "unembed.bias"})
    EXPECT_TRUE(weights->find(name).defined()) << name;
  // Each of them is read: with any tensor changed, the logits change.
  const at::Tensor want = logits(model);
  for (const auto& [name, t] : weights->tensors) {
    auto other = std::make_shared<ModelWeights>(*weights);
    other->tensors[name] = t + 0.5 * at::sin(at::arange(t.numel(), at::kFloat)).view_as(t) + 0.3;
    EXPECT_FALSE(logits(Model(c, other)).equal(want)) << name;
  }
}

std::string refusal(const Json& json) {
  try {
    config_of(json);
  } catch (const Error& e) {
    EXPECT_NE(e.status().code(), StatusCode::kInternal) << e.status().text();
    return e.status().text();
  }
  return "not refused";
}

void expect_refusal(const std::function<void(Json&)>& change, std::initializer_list<const char*> words) {
  Json json = softmax_json();
  change(json);
  const std::string text = refusal(json);
  for (const char* w : words) EXPECT_NE(text.find(w), std::string::npos) << w << ": " << text;
}

TEST(Microtome, RefusesByName) {
  auto mixer = [](const char* key, Json v) { return [=](Json& j) { j["defaults"]["mixer"][key] = v; }; };
  auto layer = [](const char* key, Json v) { return [=](Json& j) { j["defaults"][key] = v; }; };
  auto channel = [](const char* key, Json v) { return [=](Json& j) { j["defaults"]["channel"][key] = v; }; };
  auto top = [](const char* key, Json v) { return [=](Json& j) { j[key] = v; }; };
  expect_refusal(top("d_modle", 3), {"'d_modle' is unknown", "allowed are", "d_model"});
  expect_refusal(top("d_model", -3), {"'d_model' is -3"});
  expect_refusal(top("loops", 0), {"'loops' is 0"});
  expect_refusal(top("loops", 9000), {"'loops' is 9000", "10000"});
  expect_refusal(top("layers", Json::array({Json::object()})), {"'n_layers' is 2", "1 entries"});
  expect_refusal(top("layers", 3), {"'layers'", "list"});
  expect_refusal(top("layers", Json::array({3, 4})), {"layers[0]", "object"});
  expect_refusal(top("defaults", 3), {"'defaults' is not an object"});
  expect_refusal(top("norm", Json{{"kind", "batch"}}), {"'kind' is 'batch'", "rms, layer, none", "norm"});
  expect_refusal(top("norm", Json{{"epsilon", 1}}), {"'epsilon' is unknown", "eps"});
  expect_refusal([](Json& j) { j["learned_positions"] = 8, j["context_length"] = 9; }, {"'context_length' is 9", "8"});
  expect_refusal(layer("mixer", nullptr), {"'mixer' is missing"});
  expect_refusal(layer("mixer", Json{{"kind", "attention"}}),
                 {"'attention' is unknown", "softmax_attention", "layers[0], mixer"});
  expect_refusal(layer("wiring", "serial"), {"'wiring' is 'serial'", "sequential, parallel, post_norm"});
  expect_refusal(layer("norms", 1), {"'norms' is unknown", "norm1"});
  expect_refusal([](Json& j) { j["defaults"]["channel"] = nullptr, j["defaults"]["wiring"] = "parallel"; },
                 {"'wiring' is 'parallel'", "channel"});
  expect_refusal(mixer("num_head", 3), {"softmax_attention", "no parameter 'num_head'", "num_heads"});
  expect_refusal(mixer("num_heads", "two"), {"num_heads", "two", "integer"});
  expect_refusal(mixer("num_heads", 0), {"num_heads"});
  expect_refusal(mixer("num_heads", Json::array()), {"num_heads", "[]"});
  expect_refusal(channel("activation", "sine"), {"'activation' is 'sine'", "gelu"});
  expect_refusal(channel("d_mlp", 0), {"'d_mlp' is 0"});
  expect_refusal(channel("receptance", true), {"'receptance'", "shift"});
  expect_refusal(channel("experts", Json{{"count", 4}, {"d_expert", 8}}), {"'d_mlp' is 24", "width 8"});
  expect_refusal(channel("experts", Json{{"count", 4}, {"d_expert", 24}, {"per_token", 5}}), {"experts a token", "5"});
  expect_refusal(channel("experts", Json{{"counts", 4}}), {"'counts' is unknown", "count"});
}

// What a mixer's README lists and its folder asks for is taken. (The lists also name values: those nobody asks for.)
TEST(Microtome, TakesTheParametersOfEveryReadme) {
  const std::filesystem::path root = std::filesystem::path(MICROTOME_SOURCE_DIR) / "core/mixers";
  size_t seen = 0;
  for (const MixerKind* kind : mixers::builtin().all()) {
    const std::string readme = read_text_file((root / kind->name / "README.md").string()).value();
    const size_t at = readme.rfind("Parameters");
    ASSERT_NE(at, std::string::npos) << kind->name;
    std::string code;
    for (const auto& file : std::filesystem::directory_iterator(root / kind->name))
      if (file.path().extension() == ".cc") code += read_text_file(file.path().string()).value();
    const MixerCase& c = kind->cases.front();
    const std::regex quoted("`([a-z_]+)`");
    const std::string list = readme.substr(at);
    for (auto it = std::sregex_iterator(list.begin(), list.end(), quoted); it != std::sregex_iterator(); ++it) {
      Json mixer = mixer_json(kind->name, c.params);
      const std::string key = (*it)[1];
      if (mixer.contains(key) || !std::regex_search(code, std::regex("(get_\\w+|has)\\(\"" + key + "\""))) continue;
      ++seen;
      mixer[key] = 1;
      const std::string text = refusal(model_json(mixer, c.d_model, 1));
      EXPECT_EQ(text.find("no parameter"), std::string::npos) << text.substr(0, 120);
    }
  }
  EXPECT_GT(seen, 20u);
}

TEST(Microtome, ReadmeExampleLoads) {
  const std::string readme = read_text_file(std::string(MICROTOME_SOURCE_DIR) + "/core/families/microtome/README.md").value();
  const size_t from = readme.find("```json\n") + 8, to = readme.find("```", from);
  const ModelConfig c = config_of(parse_json(readme.substr(from, to - from), "README.md").value());
  ASSERT_EQ(c.layers.size(), 6u);
  EXPECT_EQ(c.layers[4].mixer, "gla");
  EXPECT_EQ(c.layers[4].channel.activation, "gelu");
  EXPECT_EQ(c.layers[5].channel.d_mlp, 0);
  EXPECT_TRUE(logits(Model(c, weights_of(c))).isfinite().all().item<bool>());
}

}  // namespace
}  // namespace microtome
