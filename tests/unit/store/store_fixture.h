// store_fixture.h — a folder of its own for each test, and runs and results to put into a project.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "core/store/result_store.h"

namespace microtome {

inline std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline void write_all(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline RunSpec sample_spec(uint64_t seed = 7) {
  RunSpec s;
  s.analysis = "activation_patching";
  s.analysis_version = 2;
  s.answer_params = {{"direction", "denoise"}, {"site", "resid_pre"}};
  s.cost_params = {{"batch", "16"}};
  s.model_path = "models/tiny";
  s.model_name = "tiny";
  s.family = "gpt2";
  s.weights_hash = std::string(64, 'a');
  s.tokenizer_hash = std::string(64, 'b');
  s.dataset_name = "ioi";
  s.dataset_hash = std::string(64, 'c');
  s.seed = seed;
  s.command = "microtome run activation_patching --model models/tiny --task ioi";
  s.device = "cpu";
  return s;
}

template <class T>
NamedArray array_of(const std::string& name, std::vector<int64_t> shape, std::vector<T> data) {
  NamedArray a;
  a.name = name;
  for (size_t i = 0; i < shape.size(); ++i) a.axes.push_back("axis" + std::to_string(i));
  a.shape = std::move(shape);
  a.data = std::move(data);
  a.unit = "logits";
  a.help = "what \"" + name + "\" is";
  return a;
}

// By default large enough to be kept as a file.
inline NamedArray big_array(const std::string& name, float first, int64_t n = 20000) {
  std::vector<float> data(static_cast<size_t>(n));
  for (size_t i = 0; i < data.size(); ++i) data[i] = first + static_cast<float>(i);
  return array_of<float>(name, {n}, std::move(data));
}

// Equal to the last bit, NaN payloads and negative zeros included.
inline bool same_bits(const NamedArray& a, const NamedArray& b) {
  if (a.name != b.name || a.axes != b.axes || a.shape != b.shape || a.unit != b.unit || a.help != b.help) return false;
  if (a.data.index() != b.data.index()) return false;
  return std::visit(
      [&](const auto& x) {
        const auto& y = std::get<std::decay_t<decltype(x)>>(b.data);
        return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof x[0]) == 0);
      },
      a.data);
}

inline bool same_bits(const std::vector<NamedArray>& a, const std::vector<NamedArray>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!same_bits(a[i], b[i])) return false;
  }
  return true;
}

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "microtome-store-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    project_ = folder_ + "/work.microtome";
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::shared_ptr<ResultStore> open(ResultStore::Mode mode = ResultStore::Mode::kReadWrite) {
    auto store = ResultStore::open(project_, mode);
    EXPECT_TRUE(store.is_ok()) << store.status().text();
    return store.is_ok() ? *store : nullptr;
  }
  int64_t new_run(ResultStore& store, uint64_t seed = 7) {
    RunSpec spec = sample_spec(seed);
    auto run = store.begin_run(spec, make_run_key(spec), "Patching");
    EXPECT_TRUE(run.is_ok()) << run.status().text();
    return run.is_ok() ? run->id : -1;
  }
  std::vector<std::string> tensor_files() const {
    std::vector<std::string> out;
    std::error_code error;
    for (const auto& e : std::filesystem::directory_iterator(project_ + "-tensors", error)) {
      out.push_back(e.path().string());
    }
    return out;
  }

  std::string folder_, project_;
};

}  // namespace microtome
