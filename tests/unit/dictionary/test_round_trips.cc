// What is written and read again: the same bytes where a format can hold them, the same function where a form is folded.
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <filesystem>

#include "core/base/json.h"
#include "core/dictionary/formats/format.h"
#include "core/io/safetensors.h"
#include "tests/load_model.h"
#include "tests/unit/base/temp_folder.h"
#include "tests/unit/dictionary/made.h"

namespace microtome {
namespace {

using namespace testing;

DictionarySet one(Dictionary d) {
  DictionarySet set;
  set.name = "made";
  set.layers = {layer_of_hook(d.config.hook_in)};
  set.members.push_back(std::move(d));
  return set;
}

// A transcoder for each layer from 0, reading and writing the same points of their blocks.
DictionarySet layers_of(const std::string& kind, bool skip, int64_t n) {
  DictionarySet set;
  set.name = "made";
  for (int64_t i = 0; i < n; ++i) {
    Dictionary d = made(kind, true, skip, static_cast<double>(10 * i));
    d.config.hook_in = "blocks." + std::to_string(i) + ".mlp.hook_in";
    d.config.hook_out = "blocks." + std::to_string(i) + ".hook_mlp_out";
    d.config.name = "layer_" + std::to_string(i);
    set.members.push_back(std::move(d));
    set.layers.push_back(i);
  }
  return set;
}

void expect_same_weights(const Dictionary& a, const Dictionary& b) {
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (const auto& [name, t] : a.weights) {
    ASSERT_TRUE(b.has(name)) << name;
    EXPECT_EQ(b.weight(name).scalar_type(), t.scalar_type()) << name;
    EXPECT_TRUE(at::equal(b.weight(name), t)) << name;
  }
}

void expect_same_config(const DictionaryConfig& a, const DictionaryConfig& b) {
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.k, b.k);
  EXPECT_EQ(a.nested, b.nested);
  EXPECT_EQ(a.transcoder, b.transcoder);
  EXPECT_EQ(a.skip, b.skip);
  EXPECT_EQ(a.apply_b_dec_to_input, b.apply_b_dec_to_input);
  EXPECT_EQ(a.hook_in, b.hook_in);
  EXPECT_EQ(a.hook_out, b.hook_out);
  EXPECT_EQ(a.model, b.model);
  EXPECT_EQ(a.weights_hash, b.weights_hash);
  EXPECT_EQ(a.dtype, b.dtype);
}

DictionarySet there_and_back(const DictionarySet& set, const std::string& format) {
  TempFolder temp;
  write_dictionaries(set, format, temp / "d");
  DictionarySet back = read_dictionaries(temp / "d");
  EXPECT_EQ(back.format, format);
  EXPECT_EQ(temp.entries(), 1u) << "something is left beside the folder";
  return back;
}

// Against numbers made from the definition, not from the code under test.
void expect_function(const Dictionary& is, const Dictionary& was, double tolerance = 1e-5) {
  const at::Tensor x = some_inputs(was.config.d_in);
  const Naive want = naive(was, x), got = naive(is, x);
  EXPECT_TRUE(close(got.codes, want.codes, tolerance, tolerance));
  EXPECT_TRUE(close(got.out, want.out, tolerance, tolerance));
  EXPECT_GT((want.codes > 0).sum().item<int64_t>(), 0);
}

struct Case {
  const char* kind;
  bool transcoder, skip;
};

TEST(RoundTrip, SaeLensHoldsEveryKindInEveryType) {
  for (const Case& c : {Case{"standard", false, false}, {"gated", false, false}, {"topk", false, false}, {"jumprelu", false, false},
                        {"standard", true, false}, {"standard", true, true}, {"jumprelu", true, false}, {"jumprelu", true, true}})
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
      SCOPED_TRACE(std::string(c.kind) + (c.transcoder ? " transcoder " : " ") + c10::toString(type));
      Dictionary d = made(c.kind, c.transcoder, c.skip, 0, {6, 10, c.transcoder ? int64_t{4} : int64_t{6}});
      for (auto& [name, w] : d.weights) w = w.to(type);
      d.config.dtype = type == at::kFloat ? "float32" : type == at::kDouble ? "float64" : type == at::kHalf ? "float16" : "bfloat16";
      d.config.weights_hash = "sha256:0123";
      if (std::string(c.kind) == "jumprelu") d.config.k = 4, d.config.nested = {3, 7};   // what a batch-wise choice leaves behind
      const DictionarySet back = there_and_back(one(d), "saelens");
      ASSERT_EQ(back.members.size(), 1u);
      expect_same_weights(d, back.members[0]);
      expect_same_config(d.config, back.members[0].config);
      EXPECT_EQ(back.layers[0], 0);
      // and once more, now with the fields of a file that was read
      const DictionarySet again = there_and_back(back, "saelens");
      expect_same_weights(d, again.members[0]);
      expect_same_config(d.config, again.members[0].config);
    }
}

TEST(RoundTrip, WeightsThatWereReadNarrowAreWrittenNarrow) {
  Dictionary d = made("standard");
  for (auto& [name, w] : d.weights) w = w.to(at::kBFloat16);
  Dictionary wide = d;                       // as a run holds it: float32, read from bfloat16
  for (auto& [name, w] : wide.weights) w = w.to(at::kFloat);
  wide.config.dtype = "bfloat16";
  expect_same_weights(d, there_and_back(one(wide), "saelens").members[0]);
  wide.weights["W_enc"] = wide.weights["W_enc"] + 1e-4;   // no bfloat16 any more: nothing is rounded away
  const Dictionary back = there_and_back(one(wide), "saelens").members[0];
  expect_same_weights(wide, back);
  EXPECT_EQ(back.config.dtype, "float32");
}

TEST(RoundTrip, FieldsThatNobodyKnowsHereAreKept) {
  TempFolder temp;
  write_dictionaries(one(made("topk")), "saelens", temp / "a");
  Json cfg = read_json_file(temp / "a/cfg.json").value();
  cfg["some_field"] = {1, 2};
  cfg["metadata"]["prepend_bos"] = true;
  cfg["metadata"]["neuronpedia_id"] = "tiny/0-res";
  temp.put("a/cfg.json", cfg.dump());
  DictionarySet set = read_dictionaries(temp / "a");
  write_dictionaries(set, "saelens", temp / "b");
  EXPECT_EQ(read_json_file(temp / "b/cfg.json").value(), cfg);
  set.members[0].config.k = 2;               // changed: known fields anew, the others still there
  write_dictionaries(set, "saelens", temp / "c");
  const Json changed = read_json_file(temp / "c/cfg.json").value();
  EXPECT_EQ(changed["k"], 2);
  EXPECT_EQ(changed["some_field"], cfg["some_field"]);
  EXPECT_EQ(changed["metadata"]["neuronpedia_id"], "tiny/0-res");
  EXPECT_EQ(read_dictionaries(temp / "c").members[0].config.k, 2);
}

TEST(RoundTrip, SaeLensBeforeVersion6IsReadAndKept) {
  const Dictionary d = made("topk");
  TempFolder temp;
  write_dictionaries(one(d), "saelens", temp / "a");
  const Json old = Json::parse(R"({"model_name": "gpt2-small", "hook_point": "blocks.3.hook_resid_pre", "hook_point_layer": 3, "d_in": 6, "d_sae": 10, "dtype": "torch.float32",
      "device": "cpu", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}, "apply_b_dec_to_input": true, "normalize_activations": false, "context_size": 128, "l1_coefficient": 0.1})");
  temp.put("a/cfg.json", old.dump());
  DictionarySet set = read_dictionaries(temp / "a");
  const DictionaryConfig& c = set.members[0].config;
  EXPECT_EQ(c.kind, "topk");
  EXPECT_EQ(c.k, 2);
  EXPECT_EQ(c.hook_in, "blocks.3.hook_resid_pre");
  EXPECT_EQ(c.model, "gpt2-small");
  EXPECT_EQ(c.normalize, "none");
  EXPECT_EQ(set.layers[0], 3);
  write_dictionaries(set, "saelens", temp / "b");
  EXPECT_EQ(read_json_file(temp / "b/cfg.json").value(), old);
  set.members[0].config.model = "gpt2";
  write_dictionaries(set, "saelens", temp / "c");        // changed: as version 6 has it
  const Json now = read_json_file(temp / "c/cfg.json").value();
  EXPECT_EQ(now["architecture"], "topk");
  EXPECT_EQ(now["metadata"]["hook_name"], "blocks.3.hook_resid_pre");
  EXPECT_EQ(now["metadata"]["model_name"], "gpt2");
  EXPECT_EQ(now["metadata"]["context_size"], 128);
  EXPECT_EQ(now["l1_coefficient"], 0.1);
  Json strange = old;
  strange["activation_fn_str"] = "tanh-relu";
  temp.put("a/cfg.json", strange.dump());
  EXPECT_THROW(read_dictionaries(temp / "a"), Error);
}

TEST(RoundTrip, CircuitTracerHoldsATranscoderALayer) {
  for (const char* kind : {"standard", "jumprelu"})
    for (const bool skip : {false, true})
      for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
        DictionarySet set = layers_of(kind, skip, 3);
        for (Dictionary& d : set.members) {
          d.config.dtype = type == at::kFloat ? "float32" : "bfloat16";
          d.config.weights_hash = "sha256:77";
          for (auto& [name, w] : d.weights) w = w.to(type);
        }
        const DictionarySet back = there_and_back(set, "circuit_tracer");
        ASSERT_EQ(back.members.size(), 3u);
        EXPECT_EQ(back.layers, set.layers);
        for (size_t i = 0; i < 3; ++i) {
          expect_same_weights(set.members[i], back.members[i]);
          expect_same_config(set.members[i].config, back.members[i].config);
        }
      }
}

TEST(RoundTrip, CircuitTracerHoldsCrossLayerTranscoders) {
  for (const bool thresholds : {false, true}) {
    const DictionarySet set = made_cross_layer(3, thresholds), back = there_and_back(set, "circuit_tracer");
    EXPECT_TRUE(back.cross_layer());
    ASSERT_EQ(back.members.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      expect_same_weights(set.members[i], back.members[i]);
      expect_same_config(set.members[i].config, back.members[i].config);
    }
  }
}

TEST(RoundTrip, SparsifyHoldsTopK) {
  const Dictionary sae = made("topk"), transcoder = made("topk", true, true);
  for (const Dictionary& d : {sae, transcoder}) {
    const DictionarySet back = there_and_back(one(d), "sparsify");
    expect_same_weights(d, back.members[0]);
    expect_same_config(d.config, back.members[0].config);
    expect_same_weights(d, there_and_back(back, "sparsify").members[0]);
  }
  const DictionarySet both = there_and_back(layers_of("topk", false, 12), "sparsify");
  ASSERT_EQ(both.members.size(), 12u);
  for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(both.layers[static_cast<size_t>(i)], i);
}

TEST(RoundTrip, FormsAreFoldedWhereAFormatLacksThem) {
  Dictionary rescaled = made("topk");
  rescaled.config.rescale_acts_by_decoder_norm = true;
  const Dictionary kept = there_and_back(one(rescaled), "saelens").members[0];
  EXPECT_TRUE(kept.config.rescale_acts_by_decoder_norm);
  expect_same_weights(rescaled, kept);
  const Dictionary folded = there_and_back(one(rescaled), "sparsify").members[0];
  EXPECT_FALSE(folded.config.rescale_acts_by_decoder_norm);
  expect_function(folded, rescaled);
  // An input factor f: codes of f x, output divided by f.
  Dictionary scaled = made("gated");
  scaled.config.normalize = "expected_average_only_in";
  scaled.config.norm_factor = 2.5;
  const Dictionary plain = there_and_back(one(scaled), "saelens").members[0];
  EXPECT_EQ(plain.config.normalize, "none");
  const at::Tensor x = some_inputs();
  const Naive want = naive(scaled, x * 2.5), got = naive(plain, x);
  EXPECT_TRUE(close(got.codes, want.codes, 1e-5, 1e-5));
  EXPECT_TRUE(close(got.out, want.out / 2.5, 1e-5, 1e-5));
  scaled = made("jumprelu", true, true);   // a transcoder's output has units of its own
  scaled.config.normalize = "expected_average_only_in";
  scaled.config.norm_factor = 2.5;
  for (const Dictionary& d : there_and_back(one(scaled), "circuit_tracer").members) {
    const Naive t = naive(scaled, x * 2.5), u = naive(d, x);
    EXPECT_TRUE(close(u.codes, t.codes, 1e-5, 1e-5));
    EXPECT_TRUE(close(u.out, t.out, 1e-5, 1e-5));
  }
}

TEST(RoundTrip, TrainingCheckpointsOfSaeLensAreReadAsTheyAreUsed) {
  // One threshold for all, pre-activations times the decoder norms; kept by SAELens while it trains.
  Dictionary d = made("jumprelu");
  d.weights["threshold"] = at::full({10}, 0.75, at::kFloat);
  TempFolder temp;
  write_dictionaries(one(d), "saelens", temp / "a");
  Json cfg = read_json_file(temp / "a/cfg.json").value();
  cfg["architecture"] = "matryoshka_batchtopk";
  cfg["k"] = 3.0;
  cfg["rescale_acts_by_decoder_norm"] = true;
  cfg["matryoshka_widths"] = {4, 7, 10};
  cfg["metadata"].erase("microtome");
  temp.put("a/cfg.json", cfg.dump());
  auto tensors = load_tensors(temp / "a/sae_weights.safetensors");
  tensors.erase("threshold");
  tensors["topk_threshold"] = at::full({}, 0.75, at::kDouble);
  std::vector<TensorToWrite> out;
  for (const auto& [name, t] : tensors)
    out.push_back({name, t.scalar_type() == at::kDouble ? DType::kF64 : DType::kF32, t.sizes().vec(), {static_cast<const uint8_t*>(t.const_data_ptr()), t.nbytes()}});
  ASSERT_TRUE(write_safetensors(temp / "a/sae_weights.safetensors", out));
  const DictionarySet set = read_dictionaries(temp / "a");
  const Dictionary& read = set.members.at(0);
  EXPECT_EQ(read.config.kind, "jumprelu");
  EXPECT_EQ(read.config.k, 3);
  EXPECT_EQ(read.config.nested, (std::vector<int64_t>{4, 7}));
  Dictionary rescaled = d;
  rescaled.config.rescale_acts_by_decoder_norm = true;
  expect_function(read, rescaled);
  const Dictionary back = there_and_back(set, "saelens").members.at(0);
  expect_same_weights(read, back);
  expect_same_config(read.config, back.config);
}

void expect_refused(const DictionarySet& set, const std::string& format, const std::string& part) {
  TempFolder temp;
  try {
    write_dictionaries(set, format, temp / "d");
    ADD_FAILURE() << format << " took it: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.status().code(), StatusCode::kUnsupported) << e.what();
    EXPECT_NE(e.status().text().find(part), std::string::npos) << e.what();
  }
  EXPECT_EQ(temp.entries(), 0u);
}

TEST(RoundTrip, WhatAFormatCannotHoldIsRefusedWithTheReason) {
  expect_refused(made_cross_layer(2, false), "saelens", "no cross-layer transcoders");
  expect_refused(one(made("topk", true)), "saelens", "'topk' transcoder");
  Dictionary open = made("topk");
  open.config.kind = "batchtopk";
  expect_refused(one(open), "saelens", "no thresholds yet");
  Dictionary scaled = made("standard", true, true);
  scaled.config.normalize = "layer_norm";
  expect_refused(one(scaled), "saelens", "normalises what its skip connection reads");

  expect_refused(one(made("gated")), "circuit_tracer", "no transcoder");
  expect_refused(layers_of("gated", false, 2), "circuit_tracer", "'gated' transcoder");
  expect_refused(layers_of("topk", false, 2), "circuit_tracer", "ReLU and JumpReLU only");
  DictionarySet gap = layers_of("standard", false, 3);
  gap.members.erase(gap.members.begin() + 1);
  gap.layers.erase(gap.layers.begin() + 1);
  expect_refused(gap, "circuit_tracer", "layer 1 has none of its own");
  DictionarySet mixed = layers_of("standard", false, 2);
  mixed.members[1].config.hook_in = "blocks.1.hook_resid_mid";
  expect_refused(mixed, "circuit_tracer", "different points");
  DictionarySet below = layers_of("jumprelu", false, 2);
  below.members[1].weights["threshold"][3] = -0.1;
  expect_refused(below, "circuit_tracer", "thresholds below 0");
  DictionarySet uneven = layers_of("standard", false, 1);
  uneven.members.push_back(made("standard", true, false, 0, {6, 11, 6}));
  uneven.members[1].config.hook_in = "blocks.1.mlp.hook_in";
  uneven.members[1].config.hook_out = "blocks.1.hook_mlp_out";
  uneven.layers.push_back(1);
  expect_refused(uneven, "circuit_tracer", "different numbers of features");
  expect_refused(one(made("standard", true, false, 0, {6, 10, 4})), "circuit_tracer", "one width for both");

  expect_refused(one(made("jumprelu")), "sparsify", "TopK only");
  Dictionary raw = made("topk");
  raw.config.apply_b_dec_to_input = false;
  expect_refused(one(raw), "sparsify", "does not take b_dec off");
  expect_refused(one(made("standard")), "dictionary_learning", "only read");
  expect_refused(one(made("standard")), "gemma_scope", "only read");
}

TEST(RoundTrip, OutputIsWholeOrAbsent) {
  TempFolder temp;
  temp.put("full/other.txt", "mine");
  EXPECT_THROW(write_dictionaries(one(made("standard")), "saelens", temp / "full"), Error);
  temp.put("file", "mine");
  EXPECT_THROW(write_dictionaries(one(made("standard")), "saelens", temp / "file"), Error);
  EXPECT_EQ(temp.entries(), 2u);
  std::filesystem::create_directory(temp / "empty");
  write_dictionaries(one(made("standard")), "saelens", temp / "empty");
  EXPECT_EQ(read_dictionaries(temp / "empty").members.size(), 1u);
  EXPECT_EQ(temp.entries(), 3u);
}

}  // namespace
}  // namespace microtome
