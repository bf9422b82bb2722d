// The ops of delta-rule kinds, RWKV and their kin against the reference files: every case of a file, in every form, in
// float32 and float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "core/base/json.h"
#include "core/io/safetensors.h"
#include "core/mixers/registry.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

class DeltaMixerGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(DeltaMixerGolden, EveryCaseInEveryForm) {
  const std::string path = testing::golden_path(std::string("golden/mixers/") + GetParam() + ".safetensors");
  ASSERT_FALSE(path.empty());
  std::map<std::string, at::Tensor> tensors = testing::load_tensors(path);
  const Json cases = parse_json(SafetensorsFile::open(path).value().metadata().at("cases"), path).value();
  const MixerKind* kind = mixers::builtin().find(GetParam());
  ASSERT_NE(kind, nullptr);
  ASSERT_GE(cases.size(), 1u);
  for (const auto& [name, about] : cases.items()) {
    for (at::ScalarType type : {at::kDouble, at::kFloat}) {
      for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto}) {
        MixerOpRequest r;
        for (const Json& input : about.at("inputs")) {
          const std::string key = input.get<std::string>();
          r.inputs[key] = tensors.at(name + "." + key).to(type);
        }
        for (const auto& [key, value] : about.items())
          if (value.is_number_float()) r.scalars.set(key, value.get<double>());
        r.form = form;
        std::set<std::string> expected;
        for (const Json& o : about.at("outputs")) expected.insert(o.get<std::string>());
        r.states = expected.count("states") != 0;
        r.implied = expected.count("A") != 0;
        MixerOpResult result = kind->op(r);
        for (const std::string& output : expected) {
          SCOPED_TRACE(name + " " + output + ", form " + form_name(form) + ", " + c10::toString(type));
          ASSERT_TRUE(result.count(output));
          const at::Tensor& want = tensors.at(name + "." + output);
          ASSERT_EQ(result[output].sizes(), want.sizes());
          EXPECT_EQ(result[output].scalar_type(), type);
          const double size = want.abs().max().item<double>();
          double allowed = type == at::kDouble ? 1e-12 * std::max(1.0, size) : 1e-6 + 2e-6 * size;
          EXPECT_LE((result[output].to(at::kDouble) - want).abs().max().item<double>(), allowed);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, DeltaMixerGolden,
                         ::testing::Values("gated_delta_product", "kda", "comba", "rwkv7", "dplr_delta_rule",
                                           "rwkv6", "forgetting_attn", "mesa_net", "rwkv4"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace microtome
