// What the linear mixers' files hold beside the ops: RetNet's own decays, aliases, feature maps.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "core/base/json.h"
#include "core/io/safetensors.h"
#include "core/mixers/feature_maps.h"
#include "core/mixers/registry.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

struct GoldenFile {
  std::map<std::string, at::Tensor> tensors;
  Json cases;
};

GoldenFile open_golden(const std::string& name) {
  const std::string path = testing::golden_path("golden/mixers/" + name + ".safetensors");
  EXPECT_FALSE(path.empty()) << name;
  return {testing::load_tensors(path), parse_json(SafetensorsFile::open(path).value().metadata().at("cases"), path).value()};
}

double max_diff(const at::Tensor& a, const at::Tensor& b) { return (a.to(at::kDouble) - b).abs().max().item<double>(); }

// Without log_gamma in the request the op takes RetNet's own gammas, which are the file's.
TEST(LinearMixerGoldenOp, RetentionKnowsItsGammas) {
  GoldenFile g = open_golden("retention");
  MixerOpRequest r;
  for (const char* input : {"q", "k", "v"}) r.inputs[input] = g.tensors.at(std::string("c0.") + input).to(at::kDouble);
  r.scalars.set("scale", g.cases.at("c0").at("scale").get<double>());
  MixerOpResult result = mixers::builtin().find("retnet")->op(r);
  EXPECT_LE(max_diff(result.at("o"), g.tensors.at("c0.o")), 1e-12);
}

TEST(LinearMixerGoldenOp, AliasesAreFound) {
  for (auto [alias, name] : {std::pair{"retnet", "retention"}, {"delta_net", "delta_rule"},
                             {"gated_deltanet", "gated_delta_rule"}, {"simple_gla", "simple_gla"},
                             {"linear_attn", "linear_attn"}, {"gla", "gla"}}) {
    const MixerKind* kind = mixers::builtin().find(alias);
    ASSERT_NE(kind, nullptr) << alias;
    EXPECT_EQ(kind->name, name);
  }
}

TEST(LinearMixerGoldenOp, FeatureMaps) {
  GoldenFile g = open_golden("feature_maps");
  const std::set<std::string> known = {"elu1", "hedgehog", "t2r", "dpfp", "hadamard", "taylor"};
  size_t seen = 0;
  for (at::ScalarType type : {at::kDouble, at::kFloat}) {
    for (const auto& [name, about] : g.cases.items()) {
      auto in = [&](const char* key) { return g.tensors.at(name + "." + key).to(type); };
      at::Tensor y;
      if (name == "elu1") y = mixers::elu1(in("x"));
      if (name == "hedgehog") y = mixers::hedgehog_map(in("x"), in("weight"), in("bias"));
      if (name == "t2r") y = mixers::t2r_map(in("x"), in("weight"), {});
      if (name == "dpfp") y = mixers::dpfp_map(in("x"));
      if (name == "hadamard")
        y = mixers::hadamard_map(in("x"), in("a_weight"), in("a_bias"), in("b_weight"), in("b_bias"));
      if (name == "taylor") y = mixers::taylor_map(in("x"));
      ASSERT_TRUE(y.defined()) << "no function for " << name;
      const at::Tensor& want = g.tensors.at(name + ".y");
      ASSERT_EQ(y.sizes(), want.sizes()) << name;
      const double size = want.abs().max().item<double>();
      EXPECT_LE(max_diff(y, want), type == at::kDouble ? 1e-14 * std::max(1.0, size) : 1e-6 + 2e-6 * size) << name;
      seen += known.count(name);
    }
  }
  EXPECT_EQ(seen, 2 * known.size());
}

}  // namespace
}  // namespace microtome
