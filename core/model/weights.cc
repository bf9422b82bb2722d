#include "core/model/weights.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/CPUGeneratorImpl.h>

#include <set>

#include "core/base/log.h"
#include "core/families/family.h"
#include "core/model/quantization.h"

namespace microtome {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? "," : "") + std::to_string(shape[i]);
  return out + "]";
}

at::ScalarType scalar_type(DType d) {
  switch (d) {
    case DType::kF64: return at::kDouble;
    case DType::kF32: return at::kFloat;
    case DType::kF16: return at::kHalf;
    case DType::kBF16: return at::kBFloat16;
    case DType::kF8E4M3: return at::kFloat8_e4m3fn;
    case DType::kF8E5M2: return at::kFloat8_e5m2;
    case DType::kI64: return at::kLong;
    case DType::kI32: return at::kInt;
    case DType::kI16: return at::kShort;
    case DType::kI8: return at::kChar;
    case DType::kU8: return at::kByte;
    case DType::kBool: return at::kBool;
    default: throw Error(StatusCode::kUnsupported, std::string("tensors of type ") + dtype_name(d) + " cannot be used");
  }
}

bool is_float(DType d) {
  return d == DType::kF64 || d == DType::kF32 || d == DType::kF16 || d == DType::kBF16 || is_fp8(d);
}

// A stored weight's values, on the device; 8-bit floats times their scales.
at::Tensor stored_values(const Checkpoint& c, const TensorEntry& e, const Quantization& q, c10::Device device, bool wide) {
  at::Tensor t = tensor_of_entry(e, c.keep_alive());
  if (!is_fp8(e.dtype)) return t;
  const TensorEntry* scale = scale_of(c, e, q);
  t = t.to(device);
  return scale ? scaled_weight(t, tensor_of_entry(*scale, c.keep_alive()), q, wide) : t.to(wide ? at::kDouble : at::kFloat);
}

Stored holder(const Checkpoint& c) {
  return Stored([&c](const std::string& name) {
    const TensorEntry* e = c.find(name);
    return e ? &e->shape : nullptr;
  });
}

}  // namespace

const at::Tensor& ModelWeights::get(const std::string& name) const {
  auto it = tensors.find(name);
  if (it == tensors.end()) throw Error(StatusCode::kInternal, "weight '" + name + "' was not loaded");
  return it->second;
}

at::Tensor ModelWeights::find(const std::string& name) const {
  auto it = tensors.find(name);
  return it == tensors.end() ? at::Tensor() : it->second;
}

WeightMap ModelWeights::below(const std::string& prefix) const {
  WeightMap out;
  for (auto it = tensors.lower_bound(prefix); it != tensors.end() && it->first.rfind(prefix, 0) == 0; ++it)
    out.emplace(it->first.substr(prefix.size()), it->second);
  return out;
}

at::Tensor tensor_of_entry(const TensorEntry& entry, const std::shared_ptr<const void>& keep_alive) {
  at::TensorOptions options = at::TensorOptions().dtype(scalar_type(entry.dtype));
  if (entry.count() == 0) return at::empty(entry.shape, options);
  // A header length that is no multiple of the element size leaves the data unaligned: legal, but it must be copied.
  if (reinterpret_cast<uintptr_t>(entry.data) % dtype_size(entry.dtype)) {
    at::Tensor copy = at::empty(entry.shape, options);
    std::memcpy(copy.mutable_data_ptr(), entry.data, entry.bytes);
    return copy;
  }
  auto* keep = new std::shared_ptr<const void>(keep_alive);
  return at::from_blob(const_cast<uint8_t*>(entry.data), entry.shape, [keep](void*) { delete keep; }, options);
}

std::vector<std::string> check_weights(const Checkpoint& checkpoint, const Family& family, const ModelConfig& config) {
  const std::string& where = checkpoint.folder();
  const Quantization quantization = read_quantization(checkpoint.config(), where + "/config.json");
  std::set<std::string> used;
  for (const TensorBinding& b : family.bind(config, holder(checkpoint))) {
    const TensorEntry* e = checkpoint.find(b.source);
    if (!e) {
      if (b.optional) continue;
      throw Error(StatusCode::kBadInput, "tensor '" + b.source + "' of shape " + shape_text(b.source_shape) + " is missing",
                  where, "the checkpoint does not fit its config.json; save it again");
    }
    used.insert(b.source);
    if (e->shape != b.source_shape)
      throw Error(StatusCode::kBadInput, "tensor '" + b.source + "' has shape " + shape_text(e->shape) +
                  ", expected " + shape_text(b.source_shape), where, "the checkpoint does not fit its config.json");
    if (!is_float(e->dtype))
      throw Error(StatusCode::kBadInput, "tensor '" + b.source + "' is stored as " + dtype_name(e->dtype), where,
                  "weights must be F64, F32, F16, BF16, F8_E4M3 or F8_E5M2");
    if (const TensorEntry* scale = scale_of(checkpoint, *e, quantization)) {
      used.insert(scale->name);
      // Made for kernels that round activations too; these stay as they are.
      if (b.source.ends_with("weight")) used.insert(b.source.substr(0, b.source.size() - 6) + "input_scale");
    }
  }
  std::vector<std::string> unused;
  for (const std::string& name : checkpoint.names())
    if (!used.count(name) && !family.ignorable(name)) unused.push_back(name);
  std::vector<std::string> warnings;
  if (!unused.empty()) {
    std::string text = std::to_string(unused.size()) + " tensor(s) in " + where + " belong to no part of the model: ";
    for (size_t i = 0; i < std::min<size_t>(unused.size(), 5); ++i) text += (i ? ", " : "") + unused[i].substr(0, 200);
    if (unused.size() > 5) text += ", …";
    warnings.push_back(text);
  }
  return warnings;
}

std::shared_ptr<const ModelWeights> load_weights(const Checkpoint& checkpoint, const Family& family,
                                                 const ModelConfig& config, c10::Device device, at::ScalarType dtype,
                                                 bool check_values) {
  at::NoGradGuard no_grad;
  auto out = std::make_shared<ModelWeights>();
  out->device = device;
  out->dtype = dtype;
  out->warnings = check_weights(checkpoint, family, config);
  const Quantization quantization = read_quantization(checkpoint.config(), checkpoint.folder() + "/config.json");
  std::map<std::string, at::Tensor> whole;             // sources that several bindings slice are moved once
  for (const TensorBinding& b : family.bind(config, holder(checkpoint))) {
    const TensorEntry* e = checkpoint.find(b.source);
    if (!e) continue;
    auto [it, fresh] = whole.try_emplace(b.source);
    if (fresh) {
      at::Tensor t = stored_values(checkpoint, *e, quantization, device, dtype == at::kDouble);
      if (check_values && t.numel() && !at::isfinite(t).all().item<bool>()) {
        bool nan = at::isnan(t).any().item<bool>();
        out->warnings.push_back("tensor '" + b.source + "' holds " + (nan ? "NaN" : "infinite") + " values (" +
                                checkpoint.folder() + "): logits will not be usable");
      }
      it->second = t.to(device, dtype);
    }
    at::Tensor t = it->second;
    if (!b.view.empty()) t = t.view(b.view);
    if (b.transpose) t = t.transpose(-2, -1);
    if (b.groups > 1) t = t.unflatten(0, {b.groups, t.size(0) / b.groups}).narrow(1, b.begin, b.length).flatten(0, 1);
    else if (b.length >= 0) t = t.narrow(0, b.begin, b.length);
    if (!b.shape.empty()) t = t.reshape(b.shape);
    at::Tensor& place = out->tensors[b.canonical];
    place = b.append ? at::cat({place, t}) : t;
  }
  for (const std::string& w : out->warnings) log_warning(w);
  return out;
}

std::shared_ptr<const ModelWeights> random_weights(const Family& family, const ModelConfig& config, c10::Device device,
                                                   at::ScalarType dtype, uint64_t seed) {
  at::NoGradGuard no_grad;
  auto out = std::make_shared<ModelWeights>();
  out->device = device;
  out->dtype = dtype;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  std::map<std::pair<std::string, int64_t>, at::Tensor> drawn;   // a looped stack names its weights once a round
  for (const TensorBinding& b : family.bind(config, Stored())) {
    std::vector<int64_t> shape = b.canonical_shape();
    at::Tensor& once = drawn[{b.source, b.begin}];
    if (once.defined() && once.sizes() == shape) {
      out->tensors[b.canonical] = once;
      continue;
    }
    at::Tensor t = b.canonical.find("ln") != std::string::npos && shape.size() == 1 && b.canonical.ends_with("weight")
                       ? at::ones(shape)
                       : at::randn(shape, generator, at::TensorOptions().dtype(at::kFloat)) * 0.02;
    out->tensors[b.canonical] = once = t.to(device, dtype);
  }
  return out;
}

}  // namespace microtome
