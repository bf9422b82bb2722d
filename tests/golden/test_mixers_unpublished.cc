// Mixers without a public checkpoint format against their reference files: every case of a file, in every form, in
// float32 and float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/base/json.h"
#include "core/io/safetensors.h"
#include "core/mixers/registry.h"
#include "tests/golden_path.h"

namespace microtome {
namespace {

at::Tensor tensor_of(const SafetensorsFile& file, const std::string& name) {
  const TensorEntry* entry = file.find(name);
  if (!entry || (entry->dtype != DType::kF32 && entry->dtype != DType::kF64)) throw Error(StatusCode::kNotFound, name);
  at::Tensor out = at::empty(entry->shape, entry->dtype == DType::kF32 ? at::kFloat : at::kDouble);
  std::memcpy(out.mutable_data_ptr(), entry->data, entry->bytes);
  return out;
}

Params scalars_of(const Json& attributes) {
  Params out;
  for (const auto& [key, value] : attributes.items()) {
    if (value.is_boolean()) out.set(key, value.get<bool>());
    else if (value.is_number_integer()) out.set(key, value.get<int64_t>());
    else if (value.is_number()) out.set(key, value.get<double>());
    else if (value.is_string()) out.set(key, value.get<std::string>());
  }
  return out;
}

class UnpublishedMixers : public ::testing::TestWithParam<const char*> {};

TEST_P(UnpublishedMixers, EveryCaseInEveryForm) {
  const std::string path = testing::golden_path(std::string("golden/mixers/") + GetParam() + ".safetensors");
  if (path.empty()) GTEST_SKIP() << "too large for the repository; set MICROTOME_GOLDEN";
  SafetensorsFile file = SafetensorsFile::open(path).value();
  const Json cases = parse_json(file.metadata().at("cases"), path).value();
  ASSERT_GE(cases.size(), 2u);
  const MixerKind* kind = mixers::builtin().find(GetParam());
  ASSERT_NE(kind, nullptr);
  for (const auto& [name, attributes] : cases.items()) {
    for (auto type : {at::kFloat, at::kDouble}) {
      for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto}) {
        MixerOpRequest request;
        request.form = form;
        request.scalars = scalars_of(attributes);
        // Files that hold both directions say which in the case's name.
        if (name.find("_bidir") != std::string::npos) request.scalars.set("causal", false);
        for (const auto& input : attributes.at("inputs"))
          request.inputs[input.get<std::string>()] = tensor_of(file, name + "." + input.get<std::string>()).to(type);
        request.states = request.implied = true;
        const MixerOpResult got = kind->op(request);
        for (const auto& output : attributes.at("outputs")) {
          const std::string key = output.get<std::string>();
          at::Tensor want = tensor_of(file, name + "." + key);
          ASSERT_TRUE(got.count(key)) << name << "." << key;
          ASSERT_EQ(got.at(key).sizes(), want.sizes()) << name << "." << key;
          EXPECT_EQ(got.at(key).scalar_type(), type) << name << "." << key;
          const double size = want.abs().max().item<double>();
          const double difference = (got.at(key).to(at::kDouble) - want).abs().max().item<double>();
          double allowed = type == at::kDouble ? 1e-12 * std::max(1.0, size) : 1e-6 + 4e-6 * size;
          // x^2 is the sum of d^2 products that nearly cancel where x is near 0, and an early row may have no other key.
          if (type == at::kFloat && name.find("rebased") != std::string::npos) allowed *= 4;
          EXPECT_LE(difference, allowed) << name << "." << key << " " << form_name(form) << " " << c10::toString(type)
                                         << ", size " << size;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, UnpublishedMixers,
                         ::testing::Values("cosine_attention", "icl_linear_self_attention", "based", "ttt_linear",
                                           "titans_linear", "srwm", "latte", "aaren", "agalite", "flow_attention",
                                           "linformer", "agent_attention", "soft", "lion"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace microtome
