// feature_fixture.h — a random dictionary in SAELens's layout and a corpus of random ids, in a folder of their own.
#pragma once

#include <ATen/ATen.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/io/safetensors.h"

namespace microtome::testing {

class FeatureFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "microtome-features-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  static at::Tensor draw(std::vector<int64_t> shape, uint64_t seed, double scale, double shift = 0) {
    Rng rng(seed);
    at::Tensor out = at::empty(shape, at::kFloat);
    for (int64_t i = 0; i < out.numel(); ++i) out.mutable_data_ptr<float>()[i] = static_cast<float>(shift + scale * rng.normal());
    return out;
  }

  // A standard (ReLU) SAE; `shift` below 0 makes it sparse. more: other fields of cfg.json. Keeps the tensors in weights_.
  std::string write_sae(const std::string& name, int64_t d_in, int64_t d_sae, const std::string& hook, double scale, double shift, const Json& more = {}, int64_t d_out = 0) {
    const std::string path = folder_ + "/" + name;
    std::filesystem::create_directories(path);
    weights_ = {{"W_enc", draw({d_in, d_sae}, 1, scale)}, {"b_enc", draw({d_sae}, 2, 0.1, shift)}, {"W_dec", draw({d_sae, d_out ? d_out : d_in}, 3, 1)}, {"b_dec", draw({d_out ? d_out : d_in}, 4, 0.05)}};
    Json cfg = {{"architecture", "standard"}, {"d_in", d_in}, {"d_sae", d_sae}, {"dtype", "float32"}, {"apply_b_dec_to_input", true}, {"normalize_activations", "none"}, {"reshape_activations", "none"},
                {"metadata", {{"hook_name", hook}, {"sae_lens_version", "6.54.12"}}}};
    if (more.is_object()) cfg.update(more);
    std::ofstream(path + "/cfg.json") << cfg.dump();
    std::vector<TensorToWrite> out;
    for (const auto& [n, t] : weights_) {
      TensorToWrite w;
      w.name = n;
      w.dtype = DType::kF32;
      w.shape = t.sizes().vec();
      w.data = {static_cast<const uint8_t*>(t.const_data_ptr()), static_cast<size_t>(t.nbytes())};
      out.push_back(std::move(w));
    }
    EXPECT_TRUE(write_safetensors(path + "/sae_weights.safetensors", out).is_ok());
    return path;
  }

  // Rows of random ids below vocab; kept in rows_.
  std::string write_corpus(int64_t rows, int64_t length, int64_t vocab, uint64_t seed = 9) {
    Rng rng(seed);
    rows_.assign(static_cast<size_t>(rows), {});
    Json all = Json::array();
    for (auto& r : rows_) {
      for (int64_t i = 0; i < length; ++i) r.push_back(static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocab))));
      all.push_back(r);
    }
    const std::string path = folder_ + "/corpus.json";
    std::ofstream(path) << all.dump();
    return path;
  }

  std::string folder_;
  std::map<std::string, at::Tensor> weights_;
  std::vector<std::vector<int64_t>> rows_;
};

}  // namespace microtome::testing
