// Softmax attention against the reference file: every case, both forms, float32 and float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/base/json.h"
#include "core/io/safetensors.h"
#include "core/mixers/registry.h"
#include "tests/golden_path.h"

namespace microtome::testing {
namespace {

at::Tensor tensor_of(const SafetensorsFile& file, const std::string& name) {
  const TensorEntry* entry = file.find(name);
  if (!entry || (entry->dtype != DType::kF32 && entry->dtype != DType::kF64)) throw Error(StatusCode::kNotFound, name);
  at::Tensor out = at::empty(entry->shape, entry->dtype == DType::kF32 ? at::kFloat : at::kDouble);
  std::memcpy(out.mutable_data_ptr(), entry->data, entry->bytes);
  return out;
}

// A case's scalars as the command line reads them from the header; the case's name is the variant.
Params scalars_of(const std::string& name, const Json& attributes) {
  Params out;
  out.set("variant", name);
  for (const auto& [key, value] : attributes.items()) {
    if (value.is_boolean()) out.set(key, value.get<bool>());
    else if (value.is_number_integer()) out.set(key, value.get<int64_t>());
    else if (value.is_number()) out.set(key, value.get<double>());
    else if (value.is_string()) out.set(key, value.get<std::string>());
  }
  return out;
}

class SoftmaxGolden : public ::testing::TestWithParam<MixerForm> {};

TEST_P(SoftmaxGolden, EveryCase) {
  const std::string path = golden_path("golden/mixers/softmax_attention.safetensors");
  ASSERT_FALSE(path.empty());
  SafetensorsFile file = SafetensorsFile::open(path).value();
  const Json cases = parse_json(file.metadata().at("cases"), path).value();
  EXPECT_EQ(cases.size(), 14u);
  const MixerKind* kind = mixers::builtin().find("softmax_attention");
  ASSERT_NE(kind, nullptr);
  for (const auto& [name, attributes] : cases.items()) {
    for (auto type : {at::kFloat, at::kDouble}) {
      MixerOpRequest request;
      request.form = GetParam();
      request.scalars = scalars_of(name, attributes);
      for (const auto& input : attributes.at("inputs"))
        request.inputs[input.get<std::string>()] = tensor_of(file, name + "." + input.get<std::string>()).to(type);
      for (const auto& output : attributes.at("outputs")) request.implied = request.implied || output == "A";
      const MixerOpResult got = kind->op(request);
      for (const auto& output : attributes.at("outputs")) {
        const std::string key = output.get<std::string>();
        at::Tensor want = tensor_of(file, name + "." + key);
        ASSERT_TRUE(got.count(key)) << name << "." << key;
        ASSERT_EQ(got.at(key).sizes(), want.sizes()) << name << "." << key;
        EXPECT_EQ(got.at(key).scalar_type(), type) << name << "." << key;
        const double difference = (got.at(key).to(at::kDouble) - want).abs().max().item<double>();
        const double allowed = type == at::kDouble ? 1e-13 : 1e-6 + 2e-6 * want.abs().max().item<double>();
        EXPECT_LE(difference, allowed) << name << "." << key << " " << form_name(GetParam());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, SoftmaxGolden,
                         ::testing::Values(MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto),
                         [](const auto& info) { return std::string(form_name(info.param)); });

TEST(SoftmaxOp, RefusesWhatDoesNotFit) {
  const MixerKind* kind = mixers::builtin().find("softmax_attention");
  MixerOpRequest request;
  request.inputs = {{"q", at::zeros({1, 4, 2, 8})}, {"k", at::zeros({1, 4, 2, 8})}};
  EXPECT_THROW(kind->op(request), Error);                       // no v
  request.inputs["v"] = at::zeros({1, 5, 2, 8});
  EXPECT_THROW(kind->op(request), Error);                       // another length
  request.inputs["v"] = at::zeros({1, 4, 2, 8});
  EXPECT_NO_THROW(kind->op(request));
  request.inputs["k"] = request.inputs["v"] = at::zeros({1, 4, 3, 8});
  EXPECT_THROW(kind->op(request), Error);                       // 3 does not divide 2
  request.inputs["k"] = request.inputs["v"] = at::zeros({1, 4, 2, 8});
  request.inputs["sinks"] = at::zeros({3});
  EXPECT_THROW(kind->op(request), Error);
}

}  // namespace
}  // namespace microtome::testing
