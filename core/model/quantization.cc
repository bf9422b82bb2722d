#include "core/model/quantization.h"

#include <ATen/ATen.h>

#include "core/base/quote.h"

namespace microtome {
namespace {

constexpr char kKey[] = "quantization_config";

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? "," : "") + std::to_string(shape[i]);
  return out + "]";
}

int64_t blocks(int64_t size, int64_t block) { return size / block + (size % block != 0); }

// W_scale_inv comes in blocks, W_scale in one piece or a row each.
bool fits(const TensorEntry& scale, const TensorEntry& weight, const Quantization& q, bool inverse) {
  if (scale.count() == 1 && (!inverse || q.block.empty())) return true;
  if (weight.shape.size() != 2) return false;
  if (!inverse) return scale.shape == std::vector<int64_t>{weight.shape[0], 1};
  if (q.block.empty()) return false;
  return scale.shape == std::vector<int64_t>{blocks(weight.shape[0], q.block[0]), blocks(weight.shape[1], q.block[1])};
}

}  // namespace

bool is_fp8(DType d) { return d == DType::kF8E4M3 || d == DType::kF8E5M2; }

Quantization read_quantization(const Json& config, const std::string& where) {
  Quantization out;
  const auto it = config.find(kKey);
  if (it == config.end() || it->is_null()) return out;
  if (!it->is_object()) throw Error(StatusCode::kBadInput, std::string("field '") + kKey + "' is not an object", where);
  const std::string here = where + ": " + kKey;
  const std::string method = json_string(*it, "quant_method", "", here);
  if (method != "fp8")
    throw Error(StatusCode::kUnsupported, "field 'quant_method' is " + in_quotes(method) + ", allowed is 'fp8' or a model "
                "without quantization", here, "use the model's unquantized weights");
  out.fp8 = true;
  const auto block = it->find("weight_block_size");
  if (block == it->end() || block->is_null()) return out;
  const bool pair = block->is_array() && block->size() == 2;
  for (size_t i = 0; pair && i < 2; ++i)
    if ((*block)[i].is_number_integer() && (*block)[i] > 0 && (*block)[i] <= (int64_t{1} << 31))
      out.block.push_back((*block)[i].get<int64_t>());
  if (out.block.size() != 2)
    throw Error(StatusCode::kBadInput, "field 'weight_block_size' is " + in_quotes(block->dump(), 60) +
                ", allowed is a list of two positive integers", here);
  return out;
}

const TensorEntry* scale_of(const Checkpoint& checkpoint, const TensorEntry& weight, const Quantization& quantization) {
  if (!is_fp8(weight.dtype)) return nullptr;
  const std::string where = checkpoint.folder() + ", tensor " + in_quotes(weight.name);
  const TensorEntry* inverse = checkpoint.find(weight.name + "_scale_inv");
  const TensorEntry* scale = inverse ? inverse : checkpoint.find(weight.name + "_scale");
  if (!scale) {
    if (!quantization.fp8) return nullptr;
    throw Error(StatusCode::kBadInput, std::string("it is ") + dtype_name(weight.dtype) +
                ", and neither its '…_scale_inv' nor its '…_scale' is in the checkpoint", where, "the checkpoint does not fit its config.json; save it again");
  }
  if (is_fp8(scale->dtype) || (scale->dtype != DType::kF64 && scale->dtype != DType::kF32 && scale->dtype != DType::kF16 &&
                               scale->dtype != DType::kBF16))
    throw Error(StatusCode::kBadInput, "its scale is stored as " + std::string(dtype_name(scale->dtype)), where,
                "scales must be F64, F32, F16 or BF16");
  if (!fits(*scale, weight, quantization, inverse != nullptr))
    throw Error(StatusCode::kBadInput, "its scale " + in_quotes(scale->name) + " has shape " + shape_text(scale->shape) +
                ", which does not fit shape " + shape_text(weight.shape) + " in blocks of " +
                (quantization.block.empty() ? "no size given" : shape_text(quantization.block)), where,
                "the checkpoint does not fit its config.json's quantization_config");
  return scale;
}

at::Tensor scaled_weight(const at::Tensor& weight, const at::Tensor& scale, const Quantization& quantization, bool wide) {
  const at::ScalarType type = wide ? at::kDouble : at::kFloat;
  const at::Tensor w = weight.to(type);
  at::Tensor s = scale.to(weight.device(), type);
  if (s.numel() == 1) return w * s.reshape({});
  if (s.size(0) == w.size(0) && s.size(1) == 1) return w * s;
  // The last block of a row or column may be cut.
  s = s.repeat_interleave(quantization.block[0], 0).narrow(0, 0, w.size(0));
  s = s.repeat_interleave(quantization.block[1], 1).narrow(1, 0, w.size(1));
  return w * s;
}

}  // namespace microtome
