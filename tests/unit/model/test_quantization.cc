// Checkpoints in 8-bit floats: the weights are what the formula makes of the stored bytes, computed here by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/families/registry.h"
#include "core/model/quantization.h"
#include "core/model/weights.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/unit/base/temp_folder.h"

namespace microtome {
namespace {

using Bytes = std::vector<uint8_t>;
using Shape = std::vector<int64_t>;

constexpr char kGate[] = "model.layers.0.mlp.gate_proj.weight";        // [128, 64]

// S.EEEE.MMM, bias 7, no infinity; S.EEEEE.MM, bias 15.
double decoded(uint8_t byte, DType type) {
  const int mantissa_bits = type == DType::kF8E4M3 ? 3 : 2, bias = type == DType::kF8E4M3 ? 7 : 15;
  const int mantissa = byte & ((1 << mantissa_bits) - 1), exponent = (byte & 0x7f) >> mantissa_bits;
  const double scale = std::ldexp(1.0, -mantissa_bits);
  const double fraction = mantissa * scale;
  const double size = exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return byte & 0x80 ? -size : size;
}

// Finite bytes of both types.
Bytes pattern(int64_t n) {
  Bytes out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<uint8_t>((i * 37 + i / 64) % 120 + (i % 3 == 0 ? 128 : 0)));
  return out;
}

Bytes bytes_of(const std::vector<float>& v) {
  Bytes out(v.size() * sizeof(float));
  std::memcpy(out.data(), v.data(), out.size());
  return out;
}

// The reference Llama with its first gate projection as `weight`, and whatever else is added.
class Fp8 : public ::testing::Test {
 protected:
  void write(DType type, const Bytes& data, const std::vector<TensorToWrite>& more, const Json& quantization) {
    const std::string from = testing::golden_path("golden/models/hf-llama");
    const SafetensorsFile file = SafetensorsFile::open(from + "/model.safetensors").value();
    std::vector<TensorToWrite> all = more;
    for (const TensorEntry& t : file.tensors())
      if (t.name == kGate) all.push_back({t.name, type, t.shape, data});
      else all.push_back({t.name, t.dtype, t.shape, {t.data, t.bytes}});
    ASSERT_TRUE(write_safetensors(folder_ / "model.safetensors", all));
    Json config = read_json_file(from + "/config.json").value();
    if (!quantization.is_null()) config["quantization_config"] = quantization;
    folder_.put("config.json", config.dump());
  }
  std::shared_ptr<const ModelWeights> load(at::ScalarType dtype = at::kFloat) {
    const Checkpoint c = Checkpoint::open(folder_.str()).value();
    auto [family, config] = families::read_model_config(c.config(), "config.json");
    return load_weights(c, *family, config, at::Device(at::kCPU), dtype);
  }
  at::Tensor gate(at::ScalarType dtype = at::kFloat) {
    auto weights = load(dtype);
    for (const std::string& w : weights->warnings) ADD_FAILURE() << w;
    return weights->get("blocks.0.mlp.gate.weight");
  }
  std::string refusal(StatusCode code = StatusCode::kBadInput) {
    try {
      load();
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), code);
      return e.status().text();
    }
    return "accepted";
  }
  testing::TempFolder folder_;
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

Json blocks_of(int64_t rows, int64_t columns) {
  return {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}, {"weight_block_size", {rows, columns}}};
}

TEST_F(Fp8, BlocksTimesTheirScales) {
  // 128 × 64 in blocks of 48 × 40: 3 × 2 of them, the last ones cut.
  const std::vector<float> scales = {0.5f, 0.003f, 1.7f, 2, 0.25f, 1e-3f};
  const Bytes stored = bytes_of(scales), data = pattern(128 * 64);
  for (const DType type : {DType::kF8E4M3, DType::kF8E5M2}) {
    write(type, data, {{std::string(kGate) + "_scale_inv", DType::kF32, {3, 2}, stored}}, blocks_of(48, 40));
    at::Tensor want = at::empty({128, 64}, at::kDouble);
    for (int64_t i = 0; i < 128; ++i)
      for (int64_t j = 0; j < 64; ++j)
        want[i][j] = decoded(data[static_cast<size_t>(i * 64 + j)], type) *
                     double{scales[static_cast<size_t>(i / 48 * 2 + j / 40)]};
    const at::Tensor got = gate();
    EXPECT_EQ(got.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(got, want.to(at::kFloat)));
    EXPECT_TRUE(at::equal(gate(at::kDouble), want));
    EXPECT_TRUE(at::equal(gate(at::kBFloat16), want.to(at::kFloat).to(at::kBFloat16)));
  }
  write(DType::kF8E4M3, data, {{std::string(kGate) + "_scale_inv", DType::kF32, {2, 3}, stored}}, blocks_of(48, 40));
  const std::string text = refusal();
  EXPECT_HAS(text, "[2,3]");
  EXPECT_HAS(text, "[128,64] in blocks of [48,40]");
}

TEST_F(Fp8, OneScaleATensorOrARow) {
  const Bytes data = pattern(128 * 64), one = bytes_of({0.37f}), input = bytes_of({3});
  const auto want = [&](const std::function<double(int64_t)>& scale) {
    at::Tensor w = at::empty({128, 64}, at::kDouble);
    for (int64_t i = 0; i < 128 * 64; ++i)
      w.data_ptr<double>()[i] = decoded(data[static_cast<size_t>(i)], DType::kF8E4M3) * scale(i / 64);
    return w.to(at::kFloat);
  };
  const std::string name = std::string(kGate) + "_scale";
  const Json plain = {{"quant_method", "fp8"}, {"activation_scheme", "static"}};
  // The scale of the activations is known and not used.
  const TensorToWrite scale_of_inputs{"model.layers.0.mlp.gate_proj.input_scale", DType::kF32, {}, input};
  write(DType::kF8E4M3, data, {{name, DType::kF32, {}, one}, scale_of_inputs}, plain);
  EXPECT_TRUE(at::equal(gate(), want([](int64_t) { return double{0.37f}; })));
  std::vector<float> rows;
  for (int i = 0; i < 128; ++i) rows.push_back(1.0f / static_cast<float>(i + 1));
  const Bytes stored = bytes_of(rows);
  write(DType::kF8E4M3, data, {{name, DType::kF32, {128, 1}, stored}}, plain);
  EXPECT_TRUE(at::equal(gate(), want([&](int64_t i) { return double{rows[static_cast<size_t>(i)]}; })));
  write(DType::kF8E4M3, data, {{name, DType::kF32, {1, 128}, stored}}, plain);
  EXPECT_HAS(refusal(), "[1,128]");
  // Without quantization_config the bytes stand for themselves.
  write(DType::kF8E4M3, data, {}, nullptr);
  EXPECT_TRUE(at::equal(gate(), want([](int64_t) { return 1.0; })));
  write(DType::kF8E4M3, data, {}, plain);
  EXPECT_HAS(refusal(), "_scale_inv");
  write(DType::kF8E4M3, data, {{name, DType::kI32, {}, one}}, plain);
  EXPECT_HAS(refusal(), "I32");
}

TEST_F(Fp8, NaNIsTold) {
  Bytes data = pattern(128 * 64);
  data[100] = 0x7f;
  write(DType::kF8E4M3, data, {}, nullptr);
  ASSERT_EQ(load()->warnings.size(), 1u);
  EXPECT_HAS(load()->warnings[0], "NaN");
}

TEST_F(Fp8, OtherMethodsAreRefusedByName) {
  const Bytes data = pattern(128 * 64);
  for (const char* method : {"gptq", "awq", "bitsandbytes", "compressed-tensors"}) {
    write(DType::kF8E4M3, data, {}, {{"quant_method", method}, {"bits", 4}});
    const std::string text = refusal(StatusCode::kUnsupported);
    EXPECT_HAS(text, "'quant_method'");
    EXPECT_HAS(text, std::string("'") + method + "'");
    EXPECT_HAS(text, "allowed is 'fp8'");
    EXPECT_HAS(text, "quantization_config");
  }
  write(DType::kF8E4M3, data, {}, {{"load_in_4bit", true}});
  EXPECT_HAS(refusal(StatusCode::kUnsupported), "''");
  write(DType::kF8E4M3, data, {}, Json::array({1}));
  EXPECT_HAS(refusal(), "not an object");
  for (const Json& block : {Json(128), Json{128}, Json{128, 0}, Json{128, -1}, Json{128, 1.5}, Json{1, 2, 3}, Json("128")}) {
    write(DType::kF8E4M3, data, {}, {{"quant_method", "fp8"}, {"weight_block_size", block}});
    EXPECT_HAS(refusal(), "two positive integers");
  }
}

}  // namespace
}  // namespace microtome
