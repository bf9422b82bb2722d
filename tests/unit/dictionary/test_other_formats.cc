// Files as other programs write them, made by hand: transposed storage, names, hooks; and what is refused.
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <filesystem>

#include "core/base/json.h"
#include "core/dictionary/formats/format.h"
#include "core/io/safetensors.h"
#include "tests/load_model.h"
#include "tests/unit/base/temp_folder.h"
#include "tests/unit/dictionary/made.h"
#include "tests/unit/io/torch_bytes.h"

namespace microtome {
namespace {

using namespace testing;
using Named = std::vector<std::pair<std::string, at::Tensor>>;

std::string raw(const at::Tensor& t) {
  const at::Tensor c = t.contiguous();
  return {static_cast<const char*>(c.const_data_ptr()), c.nbytes()};
}

void put_safetensors(const TempFolder& temp, const std::string& name, const Named& tensors) {
  std::vector<at::Tensor> kept;
  std::vector<TensorToWrite> out;
  kept.reserve(tensors.size());
  for (const auto& [n, t] : tensors) {
    kept.push_back(t.contiguous());
    out.push_back({n, DType::kF32, kept.back().sizes().vec(), {static_cast<const uint8_t*>(kept.back().const_data_ptr()), kept.back().nbytes()}});
  }
  const std::vector<uint8_t> bytes = safetensors_bytes(out);
  temp.put(name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// As torch.save writes a state dictionary of float32 tensors and one int64 number or list.
std::string state_dict(const Named& tensors, const std::vector<std::pair<std::string, std::vector<int64_t>>>& whole = {}) {
  Pairs items, storages;
  const auto row_major = [](const std::vector<int64_t>& shape) {
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
    return strides;
  };
  for (const auto& [name, t] : tensors) {
    const std::string key = std::to_string(storages.size());
    items.push_back({name, tensor(storage("FloatStorage", key, t.numel()), 0, t.sizes().vec(), row_major(t.sizes().vec()))});
    storages.push_back({key, raw(t)});
  }
  for (const auto& [name, values] : whole) {
    const std::string key = std::to_string(storages.size());
    const std::vector<int64_t> shape = values.size() == 1 ? std::vector<int64_t>{} : std::vector<int64_t>{static_cast<int64_t>(values.size())};
    items.push_back({name, tensor(storage("LongStorage", key, static_cast<int64_t>(values.size())), 0, shape, row_major(shape))});
    std::string data;
    for (const int64_t v : values) data += le(static_cast<uint64_t>(v), 8);
    storages.push_back({key, data});
  }
  return torch_zip(dictionary(items), storages);
}

std::string npy(const at::Tensor& t, bool fortran = false) {
  std::string shape;
  for (const int64_t d : t.sizes()) shape += std::to_string(d) + ", ";
  const std::string header = "{'descr': '<f4', 'fortran_order': " + std::string(fortran ? "True" : "False") + ", 'shape': (" + shape + "), }\n";
  return "\x93NUMPY\x01" + std::string(1, '\0') + le(header.size(), 2) + header + raw(fortran ? t.t() : t);
}

// Read, held against the numbers of the dictionary it was made from.
Dictionary expect_reads(const TempFolder& temp, const std::string& path, const std::string& format, const Dictionary& want) {
  const DictionarySet set = read_dictionaries(temp / path);
  EXPECT_EQ(set.format, format);
  EXPECT_EQ(set.members.size(), 1u);
  const Dictionary& d = set.members.at(0);
  EXPECT_EQ(d.config.kind, want.config.kind);
  EXPECT_EQ(d.config.transcoder, want.config.transcoder);
  EXPECT_EQ(d.config.apply_b_dec_to_input, want.config.apply_b_dec_to_input);
  const at::Tensor x = some_inputs(want.config.d_in);
  const Naive numbers = naive(want, x);
  const at::Tensor codes = d.encode(x);
  EXPECT_TRUE(close(codes, numbers.codes, 1e-5, 1e-5));
  EXPECT_TRUE(close(d.decode(codes, x), numbers.out, 1e-5, 1e-5));
  return d;
}

template <class F>
void expect_error(F&& f, const std::string& part) {
  try {
    f();
    ADD_FAILURE() << "accepted: " << part;
  } catch (const Error& e) {
    EXPECT_TRUE(e.status().code() == StatusCode::kBadInput || e.status().code() == StatusCode::kUnsupported) << e.what();
    EXPECT_NE(e.status().text().find(part), std::string::npos) << e.what();
    EXPECT_LT(e.status().text().size(), 1200u);
  }
}
void expect_unreadable(const std::string& path, const std::string& part) {
  expect_error([&] { read_dictionaries(path); }, part);
}

std::string trainer(const std::string& dict_class, const std::string& more = "") {
  return R"({"trainer": {"dict_class": ")" + dict_class + R"(", "lm_name": "EleutherAI/pythia-70m", "layer": 3, "submodule_name": "resid_post_layer_3")" + more + R"(}, "buffer": {"ctx_len": 128}})";
}

TEST(DictionaryLearning, EveryClassIsReadFromItsPickle) {
  const auto linear = [](const Dictionary& d) { return Named{{"encoder.weight", d.weight("W_enc").t()}, {"decoder.weight", d.weight("W_dec").t()}}; };
  const auto with = [](Named a, const Named& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  TempFolder temp;
  const auto put = [&](const std::string& name, const std::string& config, const std::string& pickle) {
    temp.put(name + "/config.json", config);
    temp.put(name + "/ae.pt", pickle);
  };
  Dictionary d = made("standard");
  put("standard", trainer("AutoEncoder"), state_dict(with(linear(d), {{"bias", d.weight("b_dec")}, {"encoder.bias", d.weight("b_enc")}})));
  const Dictionary read = expect_reads(temp, "standard", "dictionary_learning", d);
  EXPECT_EQ(read.config.hook_in, "blocks.3.hook_resid_post");
  EXPECT_EQ(read.config.model, "EleutherAI/pythia-70m");
  EXPECT_TRUE(at::equal(read.weight("W_enc"), d.weight("W_enc")));
  d.config.apply_b_dec_to_input = false;
  put("new", trainer("AutoEncoderNew"), state_dict(with(linear(d), {{"decoder.bias", d.weight("b_dec")}, {"encoder.bias", d.weight("b_enc")}})));
  expect_reads(temp, "new", "dictionary_learning", d);
  d = made("gated");
  put("gated", trainer("GatedAutoEncoder"),
      state_dict(with(linear(d), {{"decoder_bias", d.weight("b_dec")}, {"gate_bias", d.weight("b_gate")}, {"mag_bias", d.weight("b_mag")}, {"r_mag", d.weight("r_mag")}})));
  expect_reads(temp, "gated", "dictionary_learning", d);
  d = made("topk");
  const Named biases = {{"encoder.bias", d.weight("b_enc")}, {"b_dec", d.weight("b_dec")}, {"threshold", at::full({}, -1.f)}};
  put("topk", trainer("AutoEncoderTopK"), state_dict(with(linear(d), biases), {{"k", {3}}}));
  EXPECT_EQ(expect_reads(temp, "topk", "dictionary_learning", d).config.k, 3);
  d = made("jumprelu");
  d.weights["threshold"] = at::full({10}, 0.25, at::kFloat);
  put("batch", trainer("BatchTopKSAE", R"(, "k": 3)"), state_dict(with(linear(d), {{"encoder.bias", d.weight("b_enc")}, {"b_dec", d.weight("b_dec")}, {"threshold", at::full({}, 0.25f)}})));
  EXPECT_EQ(expect_reads(temp, "batch", "dictionary_learning", d).config.k, 3);
  const Named parameters = {{"W_enc", d.weight("W_enc")}, {"W_dec", d.weight("W_dec")}, {"b_enc", d.weight("b_enc")}, {"b_dec", d.weight("b_dec")}};
  put("nested", trainer("MatryoshkaBatchTopKSAE"), state_dict(with(parameters, {{"threshold", at::full({}, 0.25f)}}), {{"k", {3}}, {"group_sizes", {4, 3, 3}}}));
  EXPECT_EQ(expect_reads(temp, "nested", "dictionary_learning", d).config.nested, (std::vector<int64_t>{4, 7}));
  d = made("jumprelu");
  d.config.apply_b_dec_to_input = false;
  put("jump", trainer("JumpReluAutoEncoder"),
      state_dict({{"W_enc", d.weight("W_enc")}, {"W_dec", d.weight("W_dec")}, {"b_enc", d.weight("b_enc")}, {"b_dec", d.weight("b_dec")}, {"threshold", d.weight("threshold")}}));
  expect_reads(temp, "jump", "dictionary_learning", d);
  EXPECT_EQ(read_dictionaries(temp.str()).members.size(), 7u);

  // From there into another format: the transposed matrices come out right.
  write_dictionaries(read_dictionaries(temp / "gated"), "saelens", temp / "converted");
  expect_reads(temp, "converted", "saelens", made("gated"));
}

TEST(DictionaryLearning, PicklesAreReadNotRun) {
  TempFolder temp;
  temp.put("d/config.json", trainer("AutoEncoder"));
  temp.put("d/ae.pt", torch_zip(global("os", "system") + "(" + text("touch " + (temp / "pwned")) + "tR", {}));
  expect_unreadable(temp / "d", "system");
  EXPECT_FALSE(std::filesystem::exists(temp / "pwned"));
  const Dictionary d = made("topk");
  const Named good = {{"encoder.weight", d.weight("W_enc").t()}, {"decoder.weight", d.weight("W_dec").t()}, {"encoder.bias", d.weight("b_enc")}, {"b_dec", d.weight("b_dec")}};
  temp.put("d/ae.pt", state_dict(good, {{"k", {3}}}));
  expect_unreadable(temp / "d", "tensor 'bias' is missing");
  temp.put("d/config.json", trainer("AutoEncoderTopK"));
  EXPECT_EQ(read_dictionaries(temp / "d").members[0].config.k, 3);
  temp.put("d/ae.pt", state_dict(good, {{"k", {30}}}));
  expect_unreadable(temp / "d", "k is 30 of 10 features");
  temp.put("d/ae.pt", state_dict(good, {{"k", {3}}, {"extra", {1}}}));
  expect_unreadable(temp / "d", "'extra', which a 'AutoEncoderTopK' of dictionary_learning has no use for");
  temp.put("d/config.json", trainer("CrossCoder"));
  expect_unreadable(temp / "d", "'dict_class' is 'CrossCoder'");
  temp.put("d/config.json", "{}");
  expect_unreadable(temp / "d", "field 'trainer' is missing");
  temp.put("d/config.json", trainer("BatchTopKSAE"));
  Named untrained = good;
  untrained.push_back({"threshold", at::full({}, -1.f)});
  temp.put("d/ae.pt", state_dict(untrained, {{"k", {3}}}));
  expect_unreadable(temp / "d", "before it was estimated");
}

TEST(Sparsify, FoldersAreNamedAfterModules) {
  TempFolder temp;
  const Dictionary sae = made("topk"), transcoder = made("topk", true, true);
  const auto put = [&](const std::string& folder, const Dictionary& d, const std::string& cfg) {
    Named tensors = {{"encoder.weight", d.weight("W_enc").t()}, {"encoder.bias", d.weight("b_enc")}, {"W_dec", d.weight("W_dec")}, {"b_dec", d.weight("b_dec")}};
    if (d.config.skip) tensors.push_back({"W_skip", d.weight("W_skip")});
    put_safetensors(temp, folder + "/sae.safetensors", tensors);
    temp.put(folder + "/cfg.json", cfg);
  };
  const std::string common = R"("expansion_factor": 32, "normalize_decoder": true, "num_latents": 10, "k": 3, "multi_topk": false, "d_in": 6)";
  put("sae/layers.7", sae, R"({"activation": "topk", "skip_connection": false, "transcode": false, )" + common + "}");
  EXPECT_EQ(expect_reads(temp, "sae/layers.7", "sparsify", sae).config.hook_in, "blocks.7.hook_resid_post");
  put("tr/h.11.mlp", transcoder, R"({"activation": "topk", "skip_connection": true, "transcode": true, )" + common + "}");
  const Dictionary read = expect_reads(temp, "tr", "sparsify", transcoder);
  EXPECT_EQ(read.config.hook_in, "blocks.11.mlp.hook_in");
  EXPECT_EQ(read.config.hook_out, "blocks.11.hook_mlp_out");
  // A set that was read is written with the folders' names and no field of ours.
  put("tr/h.2.mlp", transcoder, R"({"activation": "topk", "skip_connection": true, "transcode": true, )" + common + "}");
  write_dictionaries(read_dictionaries(temp / "tr"), "sparsify", temp / "again");
  EXPECT_TRUE(std::filesystem::exists(temp / "again/layers.2.mlp/sae.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(temp / "again/layers.11.mlp/sae.safetensors"));
  EXPECT_EQ(read_json_file(temp / "again/layers.2.mlp/cfg.json").value(), read_json_file(temp / "tr/h.2.mlp/cfg.json").value());

  put("bad", sae, R"({"activation": "groupmax", "transcode": false, )" + common + "}");
  expect_unreadable(temp / "bad", "'groupmax'");
  put("bad", sae, R"({"signed": true, )" + common + "}");
  expect_unreadable(temp / "bad", "'signed'");
  put("bad", sae, R"({"num_latents": 12, "k": 3, "d_in": 6})");
  expect_unreadable(temp / "bad", "give 12 features, and encoder.weight has 10");
  put("bad", sae, R"({"num_latents": 10, "k": 3, "d_in": 7})");
  expect_unreadable(temp / "bad", "expected [10,7]");
  put("bad", sae, R"({"k": 3, "d_in": 9223372036854775807})");
  expect_unreadable(temp / "bad", "features, and encoder.weight has 10");
  put("bad", sae, R"({"num_latents": 10, "k": 0, "d_in": 6})");
  expect_unreadable(temp / "bad", "field 'k' is 0");
}

TEST(GemmaScope, ReadsParametersOfNumpy) {
  TempFolder temp;
  Dictionary d = made("jumprelu");
  d.config.apply_b_dec_to_input = false;
  const auto npz = [&](const Dictionary& x, bool fortran) {
    return zip({{"W_dec.npy", npy(x.weight("W_dec"))}, {"W_enc.npy", npy(x.weight("W_enc"), fortran)}, {"b_dec.npy", npy(x.weight("b_dec"))}, {"b_enc.npy", npy(x.weight("b_enc"))},
                {"threshold.npy", npy(x.weight("threshold"))}});
  };
  temp.put("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz", npz(d, false));
  EXPECT_EQ(expect_reads(temp, "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71", "gemma_scope", d).config.hook_in, "blocks.20.hook_resid_post");
  temp.put("plain/params.npz", npz(d, true));
  const Dictionary plain = expect_reads(temp, "plain/params.npz", "gemma_scope", d);
  EXPECT_EQ(plain.config.hook_in, "");
  EXPECT_TRUE(at::equal(plain.weight("W_enc"), d.weight("W_enc")));
  Dictionary t = made("jumprelu", true);
  temp.put("gemma-scope-2b-pt-transcoders/layer_3/params.npz", npz(t, false));
  const Dictionary read = expect_reads(temp, "gemma-scope-2b-pt-transcoders", "gemma_scope", t);
  EXPECT_EQ(read.config.hook_in, "blocks.3.ln2.hook_normalized");
  EXPECT_EQ(read.config.hook_out, "blocks.3.hook_mlp_out");
  // Gemma Scope 2: small letters, the skip connection transposed.
  t = made("jumprelu", true, true);
  put_safetensors(temp, "transcoder_all/layer_4_width_16k/params.safetensors",
                  {{"w_enc", t.weight("W_enc")}, {"w_dec", t.weight("W_dec")}, {"b_enc", t.weight("b_enc")}, {"b_dec", t.weight("b_dec")}, {"threshold", t.weight("threshold")},
                   {"affine_skip_connection", t.weight("W_skip").t()}});
  temp.put("transcoder_all/layer_4_width_16k/config.json", R"({"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt"})");
  EXPECT_EQ(expect_reads(temp, "transcoder_all/layer_4_width_16k", "gemma_scope", t).config.hook_in, "blocks.4.mlp.hook_in");
  temp.put("bad/params.npz", zip({{"W_enc.npy", npy(d.weight("W_enc"))}}));
  expect_unreadable(temp / "bad", "'W_dec' is missing");
  temp.put("bad/params.npz", zip({{"W_dec.npy", npy(d.weight("W_dec"))}, {"W_enc.npy", npy(d.weight("W_enc")), 8}}));
  expect_unreadable(temp / "bad", "compressed member 'W_enc.npy'");
}

TEST(CircuitTracer, TakesTheFormsItsLoadersTake) {
  TempFolder temp;
  const Dictionary own = made("standard", true, false, 0), second = made("jumprelu", true, true, 20), first = made("jumprelu", true, false, 30);
  put_safetensors(temp, "set/a/layer_0.safetensors",
                  {{"W_enc", own.weight("W_enc").t()}, {"W_dec", own.weight("W_dec")}, {"b_enc", own.weight("b_enc")}, {"b_dec", own.weight("b_dec")}});
  put_safetensors(temp, "set/b/params.safetensors",
                  {{"w_enc", second.weight("W_enc")}, {"w_dec", second.weight("W_dec")}, {"b_enc", second.weight("b_enc")}, {"b_dec", second.weight("b_dec")},
                   {"threshold", second.weight("threshold")}, {"affine_skip_connection", second.weight("W_skip").t()}});
  temp.put("set/c.npz", zip({{"W_dec.npy", npy(first.weight("W_dec"))}, {"W_enc.npy", npy(first.weight("W_enc"))}, {"b_dec.npy", npy(first.weight("b_dec"))},
                             {"b_enc.npy", npy(first.weight("b_enc"))}, {"threshold.npy", npy(first.weight("threshold"))}}));
  const std::string head = "model_name: \"google/gemma-2-2b\"\nmodel_kind: transcoder_set\nfeature_input_hook: ln2.hook_normalized\nfeature_output_hook: hook_mlp_out\nscan: gemma\ntranscoders:\n";
  temp.put("set/config.yaml", head + "  - a/layer_0.safetensors\n  - \"hf://mwhanna/x/b/params.safetensors?revision=main\"\n  - c.npz\n");
  const DictionarySet set = read_dictionaries(temp / "set");
  ASSERT_EQ(set.members.size(), 3u);
  const Dictionary* want[] = {&own, &second, &first};
  const at::Tensor x = some_inputs();
  for (size_t i = 0; i < 3; ++i) {
    const Dictionary& d = set.members[i];
    EXPECT_EQ(d.config.hook_in, "blocks." + std::to_string(i) + ".ln2.hook_normalized");
    EXPECT_EQ(d.config.model, "google/gemma-2-2b");
    const Naive numbers = naive(*want[i], x);
    EXPECT_TRUE(close(d.encode(x), numbers.codes, 1e-5, 1e-5));
    EXPECT_TRUE(close(d.forward(x), numbers.out, 1e-5, 1e-5));
  }
  for (const char* bad : {"../outside.safetensors", "/etc/passwd", "a/../../outside.safetensors", "hf://mwhanna/x/../../../outside.safetensors", "hf://x", "\"\""}) {
    temp.put("outside.safetensors", "x");
    temp.put("set/config.yaml", head + "  - " + bad + "\n");
    expect_unreadable(temp / "set", "which is not in the folder");
  }
  temp.put("set/config.yaml", head + "  - hf://mwhanna/x/layer_9.safetensors\n");
  expect_unreadable(temp / "set", "download it there");
  temp.put("set/config.yaml", head + "  - [1, 2]\n");
  expect_unreadable(temp / "set", "no list of files");
  temp.put("set/config.yaml", "model_kind: transcoder_set\nfeature_input_hook: [1\n");
  expect_unreadable(temp / "set", "without ']'");
  temp.put("set/config.yaml", "model_kind: !!python/object/apply:os.system [true]\n");
  expect_unreadable(temp / "set", "a tag");
  temp.put("set/config.yaml", "model_kind: something\nfeature_input_hook: a\nfeature_output_hook: b\n");
  expect_unreadable(temp / "set", "'model_kind' is 'something'");
  temp.put("set/config.yaml", "model_kind: cross_layer_transcoder\nfeature_input_hook: hook_resid_mid\nfeature_output_hook: hook_mlp_out\n");
  expect_unreadable(temp / "set", "no W_enc_0.safetensors");
}

}  // namespace
}  // namespace microtome
