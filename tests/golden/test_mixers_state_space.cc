// The ops of state-space kinds against the reference files: every case of a file, in every form, in float32 and float64.
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

class StateSpaceGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(StateSpaceGolden, EveryCaseInEveryForm) {
  const std::string path = testing::golden_path(std::string("golden/mixers/") + GetParam() + ".safetensors");
  ASSERT_FALSE(path.empty());
  std::map<std::string, at::Tensor> tensors = testing::load_tensors(path);
  const Json cases = parse_json(SafetensorsFile::open(path).value().metadata().at("cases"), path).value();
  const MixerKind* kind = mixers::builtin().find(GetParam());
  ASSERT_NE(kind, nullptr);
  ASSERT_GE(cases.size(), 2u);
  for (const auto& [name, about] : cases.items()) {
    std::set<std::string> expected;
    for (const Json& o : about.at("outputs")) expected.insert(o.get<std::string>());
    for (at::ScalarType type : {at::kDouble, at::kFloat}) {
      for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto}) {
        MixerOpRequest r;
        for (const Json& input : about.at("inputs")) {
          const std::string key = input.get<std::string>();
          r.inputs[key] = tensors.at(name + "." + key).to(type);
        }
        if (about.contains("scale")) r.scalars.set("scale", about.at("scale").get<double>());
        r.form = form;
        r.states = expected.count("states") != 0;
        r.implied = expected.count("A") != 0 || expected.count("attn") != 0;
        MixerOpResult result = kind->op(r);
        for (const std::string& output : expected) {
          SCOPED_TRACE(name + " " + output + ", form " + form_name(form) + ", " + c10::toString(type));
          ASSERT_TRUE(result.count(output));
          const at::Tensor& want = tensors.at(name + "." + output);
          ASSERT_EQ(result[output].sizes(), want.sizes());
          if (want.scalar_type() == at::kLong) {
            EXPECT_TRUE(result[output].equal(want));
            continue;
          }
          EXPECT_EQ(result[output].scalar_type(), type);
          const double size = want.abs().max().item<double>();
          const double allowed = type == at::kDouble ? 1e-12 * std::max(1.0, size) : 1e-6 + 2e-6 * size;
          EXPECT_LE((result[output].to(at::kDouble) - want).abs().max().item<double>(), allowed);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, StateSpaceGolden, ::testing::Values("mamba1", "mamba2", "log_linear_attn"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace microtome
