// The ops of gated vector recurrences, slot memories and fixed decays against the reference files: every case of a file,
// in every form, in float32 and float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "core/base/json.h"
#include "core/io/safetensors.h"
#include "core/mixers/registry.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

class GatedMixerGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(GatedMixerGolden, EveryCaseInEveryForm) {
  const std::string path = testing::golden_path(std::string("golden/mixers/") + GetParam() + ".safetensors");
  if (path.empty() && !std::getenv("MICROTOME_GOLDEN")) GTEST_SKIP() << "too large for the repository";
  ASSERT_FALSE(path.empty());
  std::map<std::string, at::Tensor> tensors = testing::load_tensors(path);
  const Json cases = parse_json(SafetensorsFile::open(path).value().metadata().at("cases"), path).value();
  const MixerKind* kind = mixers::builtin().find(GetParam());
  ASSERT_NE(kind, nullptr);
  ASSERT_GE(cases.size(), 2u);
  for (const auto& [name, about] : cases.items()) {
    for (at::ScalarType type : {at::kDouble, at::kFloat}) {
      for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto}) {
        MixerOpRequest r;
        for (const Json& input : about.at("inputs")) {
          const std::string key = input.get<std::string>();
          r.inputs[key] = tensors.at(name + "." + key).to(type);
        }
        for (const auto& [key, value] : about.items()) {
          if (value.is_number_float()) r.scalars.set(key, value.get<double>());
          if (value.is_number_integer()) r.scalars.set(key, value.get<int64_t>());
        }
        r.form = form;
        std::set<std::string> expected;
        for (const Json& o : about.at("outputs")) expected.insert(o.get<std::string>());
        ASSERT_TRUE(expected.count("o"));
        for (const char* states : {"states", "states_hk", "slots_k"}) r.states = r.states || expected.count(states);
        r.implied = expected.count("A") != 0;
        MixerOpResult result = kind->op(r);
        for (const std::string& output : expected) {
          SCOPED_TRACE(name + " " + output + ", form " + form_name(form) + ", " + c10::toString(type));
          ASSERT_TRUE(result.count(output));
          const at::Tensor& want = tensors.at(name + "." + output);
          ASSERT_EQ(result[output].sizes(), want.sizes());
          EXPECT_EQ(result[output].scalar_type(), type);
          const double size = want.abs().max().item<double>();
          const double allowed = type == at::kDouble ? 1e-12 * std::max(1.0, size) : 1e-6 + 2e-6 * size;
          EXPECT_LE((result[output].to(at::kDouble) - want).abs().max().item<double>(), allowed);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, GatedMixerGolden,
                         ::testing::Values("hgrn", "hgrn2", "gsa", "abc", "lightning_attn", "rg_lru", "mlstm"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace microtome
