#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "core/base/status.h"
#include "core/cache/activation_cache.h"

namespace microtome {
namespace {

constexpr int64_t kLarge = int64_t{1} << 30;

CachedTensor about(int64_t first_pos = 0) { return {{"batch", "pos", "d_model"}, {}, first_pos}; }
at::Tensor numbers(double from, at::ScalarType type = at::kFloat) {
  return (at::arange(24, at::TensorOptions().dtype(at::kDouble)) + from).to(type).reshape({2, 3, 4});
}

TEST(ActivationCache, KeepsWhatItWasGiven) {
  ActivationCache cache;
  cache.put("b", numbers(1), about(7));
  cache.put("a", numbers(2), {{"batch", "pos", "d_model"}, {0, 2, 5}, 0});
  EXPECT_TRUE(cache.has("a"));
  EXPECT_FALSE(cache.has("c"));
  EXPECT_EQ(cache.names(), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(cache.about("b").first_pos, 7);
  EXPECT_EQ(cache.about("a").positions, (std::vector<int64_t>{0, 2, 5}));
  EXPECT_TRUE(cache.get("b").equal(numbers(1)));
  EXPECT_EQ(cache.host_bytes(), 2 * 24 * 4);
  EXPECT_EQ(cache.disk_bytes(), 0);
  EXPECT_EQ(cache.device_bytes(), 0);
}

TEST(ActivationCache, KeepsInTheTypeAskedFor) {
  ActivationCache cache;
  cache.keep_as(at::kHalf);
  const at::Tensor on_graph = numbers(1).requires_grad_(true);
  cache.put("float", numbers(0.125), about());
  cache.put("long", numbers(1, at::kLong), about());
  cache.put("on a graph", on_graph, about());
  EXPECT_TRUE(cache.get("float").equal(numbers(0.125).to(at::kHalf)));
  EXPECT_EQ(cache.get("long").scalar_type(), at::kLong);
  EXPECT_TRUE(cache.get("on a graph").is_same(on_graph));
  cache.keep_as(std::nullopt);
  cache.put("float", numbers(0.125), about());
  EXPECT_TRUE(cache.get("float").equal(numbers(0.125)));
}

TEST(ActivationCache, NamesWhatIsMissing) {
  ActivationCache cache;
  try {
    cache.get("blocks.9.attn.hook_z");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.status().code(), StatusCode::kNotFound);
    EXPECT_NE(e.status().text().find("blocks.9.attn.hook_z"), std::string::npos);
  }
  EXPECT_THROW(cache.about("x"), Error);
  EXPECT_THROW(cache.put("x", at::Tensor(), about()), Error);
}

TEST(ActivationCache, OldestGoesToDiskAndComesBackEqual) {
  ActivationCache cache(kLarge, 24 * 4 + 10);            // room for one
  for (int i = 0; i < 5; ++i) cache.put("t" + std::to_string(i), numbers(100 * i), about(i));
  EXPECT_EQ(cache.host_bytes(), 24 * 4);
  EXPECT_EQ(cache.disk_bytes(), 4 * 24 * 4);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(cache.get("t" + std::to_string(i)).equal(numbers(100 * i))) << i;
    EXPECT_EQ(cache.about("t" + std::to_string(i)).first_pos, i);
  }
  EXPECT_EQ(cache.names().size(), 5u);
}

TEST(ActivationCache, EveryTypeAndLayoutSurvivesTheDisk) {
  ActivationCache cache(kLarge, 0);
  std::map<std::string, at::Tensor> kept = {
      {"double", numbers(0.125, at::kDouble)}, {"bfloat16", numbers(3, at::kBFloat16)}, {"half", numbers(3, at::kHalf)},
      {"long", numbers(-5, at::kLong)},        {"bool", numbers(0).gt(7)},              {"scalar", at::full({}, 2.5)},
      {"transposed", numbers(9).transpose(0, 2)}, {"sliced", numbers(9).narrow(1, 1, 2)},
      {"expanded", numbers(9).narrow(0, 0, 1).expand({5, 3, 4})}, {"empty", at::empty({0, 4})}};
  for (const auto& [name, t] : kept) cache.put(name, t, {});
  EXPECT_EQ(cache.host_bytes(), 0);
  for (const auto& [name, t] : kept) {
    at::Tensor got = cache.get(name);
    EXPECT_EQ(got.scalar_type(), t.scalar_type()) << name;
    EXPECT_TRUE(got.equal(t)) << name;
  }
}

TEST(ActivationCache, SpaceOfErasedTensorsIsUsedAgain) {
  ActivationCache cache(kLarge, 0);
  for (int i = 0; i < 6; ++i) cache.put("t" + std::to_string(i), numbers(i), {});
  for (int i : {1, 2, 4}) cache.erase("t" + std::to_string(i));
  cache.erase("t1");                                     // a second time: nothing happens
  EXPECT_EQ(cache.disk_bytes(), 3 * 24 * 4);
  cache.put("wide", at::cat({numbers(50), numbers(60)}), {});
  cache.put("small", numbers(70), {});
  cache.put("t3", numbers(80), {});                      // replaces
  for (int i : {0, 5}) EXPECT_TRUE(cache.get("t" + std::to_string(i)).equal(numbers(i))) << i;
  EXPECT_TRUE(cache.get("wide").equal(at::cat({numbers(50), numbers(60)})));
  EXPECT_TRUE(cache.get("small").equal(numbers(70)));
  EXPECT_TRUE(cache.get("t3").equal(numbers(80)));
  EXPECT_EQ(cache.disk_bytes(), 6 * 24 * 4);
  EXPECT_EQ(cache.names(), (std::vector<std::string>{"t0", "t5", "wide", "small", "t3"}));
  for (const std::string& n : cache.names()) cache.erase(n);
  EXPECT_EQ(cache.disk_bytes(), 0);
}

TEST(ActivationCache, TensorsOnAGraphStay) {
  ActivationCache cache(kLarge, 0);
  at::Tensor leaf = numbers(1).requires_grad_(true);
  at::Tensor inner = leaf * 2;
  cache.put("leaf", leaf, {});
  cache.put("inner", inner, {});
  cache.put("plain", numbers(3), {});
  EXPECT_EQ(cache.host_bytes(), 2 * 24 * 4);
  EXPECT_EQ(cache.disk_bytes(), 24 * 4);
  EXPECT_TRUE(cache.get("leaf").is_same(leaf));
  EXPECT_TRUE(cache.get("inner").is_same(inner));
  cache.get("inner").sum().backward();
  EXPECT_TRUE(leaf.grad().equal(at::full({2, 3, 4}, 2.0)));
}

TEST(ActivationCache, AViewDoesNotKeepWhatItWasCutFrom) {
  ActivationCache cache;
  at::Tensor large = at::zeros({1000, 4});
  cache.put("row", large.narrow(0, 3, 1), {});
  EXPECT_LE(cache.get("row").storage().nbytes(), 2u * 16u);
  EXPECT_EQ(cache.host_bytes(), 16);
}

TEST(ActivationCache, Moves) {
  ActivationCache a(kLarge, 0);
  a.put("t", numbers(4), {});
  ActivationCache b = std::move(a);
  EXPECT_TRUE(b.get("t").equal(numbers(4)));
  ActivationCache c;
  c = std::move(b);
  EXPECT_TRUE(c.get("t").equal(numbers(4)));
}

TEST(ActivationCache, LeavesNoFileBehindAndSaysWhereItCouldNotWrite) {
  namespace fs = std::filesystem;
  const char* before = std::getenv("TMPDIR");
  const std::string old = before ? before : "";
  const fs::path folder = fs::path(MICROTOME_BINARY_DIR) / "activation_cache_test";
  fs::remove_all(folder);
  fs::create_directories(folder);
  setenv("TMPDIR", folder.c_str(), 1);
  {
    ActivationCache cache(kLarge, 0);
    cache.put("t", numbers(4), {});
    EXPECT_EQ(cache.disk_bytes(), 24 * 4);
    EXPECT_TRUE(fs::is_empty(folder));                   // unlinked while open
    EXPECT_TRUE(cache.get("t").equal(numbers(4)));
  }
  fs::remove_all(folder);
  ActivationCache cache(kLarge, 0);
  EXPECT_THROW(cache.put("t", numbers(4), {}), Error);
  EXPECT_TRUE(cache.get("t").equal(numbers(4)));         // what could not be moved is still there
  before ? setenv("TMPDIR", old.c_str(), 1) : unsetenv("TMPDIR");
}

}  // namespace
}  // namespace microtome
