// The linear mixers' ops against the reference files: every case of a file, in every form, in float32 and float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "core/base/json.h"
#include "core/io/safetensors.h"
#include "core/mixers/feature_maps.h"
#include "core/mixers/registry.h"
#include "tests/golden_path.h"

namespace microtome {
namespace {

at::Tensor to_tensor(const TensorEntry& e) {
  const auto type = e.dtype == DType::kF64 ? at::kDouble : at::kFloat;
  EXPECT_TRUE(e.dtype == DType::kF64 || e.dtype == DType::kF32) << e.name;
  at::Tensor t = at::empty(e.shape, at::TensorOptions().dtype(type));
  std::memcpy(t.data_ptr(), e.data, e.bytes);
  return t;
}

struct GoldenFile {
  std::map<std::string, at::Tensor> tensors;
  Json cases;
};

GoldenFile open_golden(const std::string& name) {
  const std::string path = testing::golden_path("golden/mixers/" + name + ".safetensors");
  EXPECT_FALSE(path.empty()) << name;
  SafetensorsFile file = SafetensorsFile::open(path).value();
  GoldenFile g;
  for (const TensorEntry& e : file.tensors()) g.tensors[e.name] = to_tensor(e);
  g.cases = parse_json(file.metadata().at("cases"), path).value();
  return g;
}

double max_diff(const at::Tensor& a, const at::Tensor& b) { return (a.to(at::kDouble) - b).abs().max().item<double>(); }

MixerOpRequest request_of(const GoldenFile& g, const std::string& name, at::ScalarType type) {
  const Json& about = g.cases.at(name);
  MixerOpRequest r;
  for (const Json& input : about.at("inputs")) {
    const std::string key = input.get<std::string>();
    r.inputs[key] = g.tensors.at(name + "." + key).to(type);
  }
  r.scalars.set("scale", about.at("scale").get<double>());
  if (about.contains("kind")) r.scalars.set("kind", about.at("kind").get<std::string>());
  if (about.contains("log_gamma")) r.log_gamma = about.at("log_gamma").get<std::vector<double>>();
  return r;
}

class LinearMixerGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(LinearMixerGolden, EveryCaseInEveryForm) {
  GoldenFile g = open_golden(GetParam());
  const MixerKind* kind = mixers::builtin().find(GetParam());
  ASSERT_NE(kind, nullptr);
  ASSERT_GE(g.cases.size(), 4u);
  for (const auto& [name, about] : g.cases.items()) {
    std::set<std::string> expected;
    for (const Json& o : about.at("outputs")) expected.insert(o.get<std::string>());
    ASSERT_TRUE(expected.count("o") && expected.count("final_state"));
    for (at::ScalarType type : {at::kDouble, at::kFloat}) {
      for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto}) {
        MixerOpRequest r = request_of(g, name, type);
        r.form = form;
        r.states = expected.count("states") != 0;
        r.implied = expected.count("A") != 0;
        MixerOpResult result = kind->op(r);
        for (const std::string& output : expected) {
          ASSERT_TRUE(result.count(output)) << name << " " << output;
          const at::Tensor& want = g.tensors.at(name + "." + output);
          ASSERT_EQ(result[output].sizes(), want.sizes()) << name << " " << output;
          EXPECT_EQ(result[output].scalar_type(), type);
          const double size = want.abs().max().item<double>();
          const double allowed = type == at::kDouble ? 1e-12 * std::max(1.0, size) : 1e-6 + 2e-6 * size;
          EXPECT_LE(max_diff(result[output], want), allowed)
              << name << " " << output << ", form " << form_name(form) << ", " << c10::toString(type);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, LinearMixerGolden,
                         ::testing::Values("linear_attn", "retention", "simple_gla", "gla", "delta_rule",
                                           "gated_delta_rule"),
                         [](const auto& info) { return std::string(info.param); });

// Without log_gamma in the request the op takes RetNet's own gammas, which are the file's.
TEST(LinearMixerGoldenOp, RetentionKnowsItsGammas) {
  GoldenFile g = open_golden("retention");
  MixerOpRequest r = request_of(g, "c2", at::kDouble);
  r.log_gamma.clear();
  MixerOpResult result = mixers::builtin().find("retnet")->op(r);
  EXPECT_LE(max_diff(result.at("o"), g.tensors.at("c2.o")), 1e-12);
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
