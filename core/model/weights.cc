#include "core/model/weights.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/DeviceAccelerator.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <set>

#include "core/base/log.h"
#include "core/families/family.h"
#include "core/model/device.h"
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

// A stored weight's values on the device, in the file's type, or float32 (float64 when `wide`) for 8-bit floats.
at::Tensor plain_values(const at::Tensor& raw, const at::Tensor& scale, const Quantization& q, c10::Device device, bool wide) {
  if (raw.scalar_type() != at::kFloat8_e4m3fn && raw.scalar_type() != at::kFloat8_e5m2) return raw;
  at::Tensor t = raw.to(device);
  return scale.defined() ? scaled_weight(t, scale, q, wide) : t.to(wide ? at::kDouble : at::kFloat);
}

at::Tensor scale_tensor(const Checkpoint& c, const TensorEntry& e, const Quantization& q) {
  const TensorEntry* scale = scale_of(c, e, q);
  return scale ? tensor_of_entry(*scale, c.keep_alive()) : at::Tensor();
}

// The binding's part of a source, whatever its type and device.
at::Tensor bound(const at::Tensor& source, const TensorBinding& b) {
  at::Tensor t = source;
  if (!b.view.empty()) t = t.view(b.view);
  if (b.transpose) t = t.transpose(-2, -1);
  if (b.groups > 1) t = t.unflatten(0, {b.groups, t.size(0) / b.groups}).narrow(1, b.begin, b.length).flatten(0, 1);
  else if (b.length >= 0) t = t.narrow(0, b.begin, b.length);
  return b.shape.empty() ? t : t.reshape(b.shape);
}

at::Tensor realise(const StoredWeight& w, c10::Device device, at::ScalarType dtype) {
  at::Tensor out;
  for (const StoredWeight::Part& p : w.parts) {
    const bool fp8 = p.scale.defined() || p.raw.scalar_type() == at::kFloat8_e4m3fn || p.raw.scalar_type() == at::kFloat8_e5m2;
    // Scales belong to whole matrices, so 8-bit floats are cut after they are multiplied.
    at::Tensor t = fp8 ? bound(plain_values(p.raw, p.scale, w.quantization, device, dtype == at::kDouble), p.binding)
                       : bound(p.raw, p.binding);
    t = t.to(device, dtype);
    out = out.defined() ? at::cat({out, t}) : t;
  }
  return out;
}

// In one pass and without a tensor of answers: NaN is the largest and the smallest of what holds one.
bool all_finite(const at::Tensor& t) {
  auto [least, most] = at::aminmax(t);
  return std::isfinite(least.item<double>()) && std::isfinite(most.item<double>());
}

int64_t free_bytes(c10::Device device) {
  if (!device.is_cpu()) return static_cast<int64_t>(at::accelerator::getMemoryInfo(device.index()).first);
  std::ifstream in("/proc/meminfo");
  for (std::string key; in >> key;) {
    int64_t kib = 0;
    if (key == "MemAvailable:" && in >> kib) return kib * 1024;
    in.ignore(1 << 10, '\n');
  }
  return INT64_MAX;                    // not known: as before, everything is loaded
}

std::string gib(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

Stored holder(const Checkpoint& c) {
  return Stored([&c](const std::string& name) {
    const TensorEntry* e = c.find(name);
    return e ? &e->shape : nullptr;
  });
}

}  // namespace

WeightKeep parse_weight_keep(const std::string& text) {
  for (WeightKeep k : {WeightKeep::kAuto, WeightKeep::kResident, WeightKeep::kStored, WeightKeep::kStream})
    if (text == weight_keep_text(k)) return k;
  throw Error(StatusCode::kBadInput, "weights cannot be kept '" + text + "'", "--weights", "use auto, resident, stored or stream");
}

const char* weight_keep_text(WeightKeep keep) {
  switch (keep) {
    case WeightKeep::kResident: return "resident";
    case WeightKeep::kStored: return "stored";
    case WeightKeep::kStream: return "stream";
    default: return "auto";
  }
}

at::Tensor ModelWeights::get(const std::string& name) const {
  at::Tensor t = find(name);
  if (!t.defined()) throw Error(StatusCode::kInternal, "weight '" + name + "' was not loaded");
  return t;
}

at::Tensor ModelWeights::find(const std::string& name) const {
  if (auto it = tensors.find(name); it != tensors.end()) return it->second;
  auto it = stored.find(name);
  if (it == stored.end()) return {};
  at::NoGradGuard no_grad;
  return realise(it->second, device, dtype);
}

WeightMap ModelWeights::below(const std::string& prefix) const {
  WeightMap out;
  auto is_below = [&](const std::string& name) { return name.rfind(prefix, 0) == 0; };
  for (auto it = tensors.lower_bound(prefix); it != tensors.end() && is_below(it->first); ++it)
    out.emplace(it->first.substr(prefix.size()), it->second);
  for (auto it = stored.lower_bound(prefix); it != stored.end() && is_below(it->first); ++it)
    out.emplace(it->first.substr(prefix.size()), find(it->first));
  return out;
}

std::vector<std::string> ModelWeights::names() const {
  std::set<std::string> out;
  for (const auto& [name, _] : tensors) out.insert(name);
  for (const auto& [name, _] : stored) out.insert(name);
  return {out.begin(), out.end()};
}

int64_t resident_bytes(const Checkpoint& checkpoint, const Family& family, const ModelConfig& config, c10::Device device,
                       at::ScalarType dtype) {
  std::set<std::string> seen;
  int64_t total = 0;
  for (const TensorBinding& b : family.bind(config, holder(checkpoint))) {
    const TensorEntry* e = checkpoint.find(b.source);
    if (!e) continue;
    const int64_t one = static_cast<int64_t>(at::elementSize(dtype));
    const bool moved = !device.is_cpu() || scalar_type(e->dtype) != dtype;
    if (moved && seen.insert(b.source).second) total += e->count() * one;
    // Rows that are gathered from bundles are a copy beside the source that they come from.
    if (b.groups > 1 || b.append) {
      int64_t n = one;
      for (int64_t size : b.canonical_shape()) n *= size;
      total += n;
    }
  }
  return total;
}

WeightKeep choose_keep(int64_t resident, int64_t stored, int64_t free, c10::Device device) {
  const int64_t usable = free / 10 * 9;
  if (resident <= usable) return WeightKeep::kResident;
  return !device.is_cpu() && stored <= usable ? WeightKeep::kStored : WeightKeep::kStream;
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
                                                 bool check_values, WeightKeep keep) {
  at::NoGradGuard no_grad;
  auto out = std::make_shared<ModelWeights>();
  out->device = device;
  out->dtype = dtype;
  out->warnings = check_weights(checkpoint, family, config);
  out->keep = keep;
  if (keep == WeightKeep::kAuto) {
    const int64_t resident = resident_bytes(checkpoint, family, config, device, dtype);
    const int64_t in_file = static_cast<int64_t>(checkpoint.weight_bytes()), free = free_bytes(device);
    out->keep = choose_keep(resident, in_file, free, device);
    if (out->keep != WeightKeep::kResident)
      out->warnings.push_back("the weights take " + gib(resident) + " as " + dtype_text(dtype) + " and " + gib(free) + " is free on " +
                              device.str() + ": " + (out->keep == WeightKeep::kStored
                                  ? "they are kept in the file's type and made into the other block by block"
                                  : "every run takes each block's from the file as it comes to it") +
                              ", which is slower; --dtype bfloat16 may fit");
  }
  const Quantization quantization = read_quantization(checkpoint.config(), checkpoint.folder() + "/config.json");
  std::map<std::string, at::Tensor> whole;             // sources that several bindings slice are moved once
  for (const TensorBinding& b : family.bind(config, holder(checkpoint))) {
    const TensorEntry* e = checkpoint.find(b.source);
    if (!e) continue;
    const bool later = out->keep != WeightKeep::kResident && b.canonical.rfind("blocks.", 0) == 0;
    auto [it, fresh] = whole.try_emplace(b.source);
    if (fresh) {
      at::Tensor raw = tensor_of_entry(*e, checkpoint.keep_alive());
      at::Tensor t = later ? raw : plain_values(raw, scale_tensor(checkpoint, *e, quantization), quantization, device, dtype == at::kDouble);
      if (!later) t = t.to(device);
      if (check_values && !later && t.numel() && !all_finite(t)) {
        bool nan = at::isnan(t).any().item<bool>();
        out->warnings.push_back("tensor '" + b.source + "' holds " + (nan ? "NaN" : "infinite") + " values (" +
                                checkpoint.folder() + "): logits will not be usable");
      }
      it->second = !later ? t.to(dtype) : out->keep == WeightKeep::kStored ? t.to(device) : t;
    }
    if (later) {
      StoredWeight& w = out->stored[b.canonical];
      w.quantization = quantization;
      w.parts.push_back({it->second, scale_tensor(checkpoint, *e, quantization), b});
      continue;
    }
    at::Tensor t = bound(it->second, b);
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
