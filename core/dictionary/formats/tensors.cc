// Tensors of files, by name and shape.
#include <ATen/ATen.h>

#include <algorithm>

#include "core/base/quote.h"
#include "core/dictionary/formats/files.h"
#include "core/dictionary/kinds/parts.h"
#include "core/io/mapped_file.h"
#include "core/io/npz.h"
#include "core/io/torch_file.h"
#include "core/model/weights.h"

namespace microtome::dictionary_formats {
namespace {

std::string shape_text(at::IntArrayRef shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? "," : "") + std::to_string(shape[i]);
  return out + "]";
}

DType dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kDouble: return DType::kF64;
    case at::kFloat: return DType::kF32;
    case at::kHalf: return DType::kF16;
    case at::kBFloat16: return DType::kBF16;
    case at::kLong: return DType::kI64;
    default: throw Error(StatusCode::kInternal, "weights of this type are not written");
  }
}

bool plain_float(at::ScalarType t) { return t == at::kDouble || t == at::kFloat || t == at::kHalf || t == at::kBFloat16; }

}  // namespace

TensorSource TensorSource::safetensors(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path).value();
  TensorSource out;
  out.where_ = path;
  for (const TensorEntry& e : file.tensors()) out.tensors_[e.name] = tensor_of_entry(e, file.keep_alive());
  return out;
}

namespace {

// Mapping and copies live as long as any tensor over them.
struct Kept {
  MappedFile file;
  std::shared_ptr<const void> copies;
};

template <class Parsed>
std::map<std::string, at::Tensor> kept_tensors(const MappedFile& file, const Parsed& parsed) {
  auto keep = std::make_shared<Kept>(Kept{file, parsed.copies});
  std::map<std::string, at::Tensor> out;
  for (const TensorEntry& e : parsed.tensors) out[e.name] = tensor_of_entry(e, keep);
  return out;
}

}  // namespace

TensorSource TensorSource::npz(const std::string& path) {
  const MappedFile file = MappedFile::open(path).value();
  TensorSource out;
  out.where_ = path;
  out.tensors_ = kept_tensors(file, parse_npz({file.data(), file.size()}, path).value());
  return out;
}

TensorSource TensorSource::torch(const std::string& path) {
  const MappedFile file = MappedFile::open(path).value();
  TensorSource out;
  out.where_ = path;
  out.tensors_ = kept_tensors(file, parse_torch_file({file.data(), file.size()}, path).value());
  return out;
}

const at::Tensor& TensorSource::find(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it != tensors_.end()) return it->second;
  std::string names;
  for (const auto& [n, t] : tensors_)
    if (names.size() < 300) names += (names.empty() ? "" : ", ") + in_quotes(n, 60);
  throw Error(StatusCode::kBadInput, "tensor '" + name + "' is missing", where_, names.empty() ? "the file holds none" : "the file holds " + names);
}

int64_t TensorSource::size(const std::string& name, int64_t dim, int64_t dims) const {
  const at::Tensor& t = find(name);
  if (t.dim() != dims)
    throw Error(StatusCode::kBadInput, "tensor '" + name + "' has shape " + shape_text(t.sizes()) + ", expected " + std::to_string(dims) + " dimensions", where_);
  return t.size(dim);
}

at::Tensor TensorSource::take(const std::string& name, std::initializer_list<int64_t> shape) {
  at::Tensor t = find(name);
  if (t.sizes() != at::IntArrayRef(shape.begin(), shape.size()))
    throw Error(StatusCode::kBadInput, "tensor '" + name + "' has shape " + shape_text(t.sizes()) + ", expected " + shape_text({shape.begin(), shape.size()}), where_,
                "its other tensors or its configuration say so; check that the files belong together");
  if (!plain_float(t.scalar_type()))
    throw Error(StatusCode::kBadInput, "tensor '" + name + "' is of type " + std::string(c10::toString(t.scalar_type())), where_, "weights are float64, float32, float16 or bfloat16");
  tensors_.erase(name);
  return t;
}

double TensorSource::number(const std::string& name) {
  const at::Tensor t = find(name);
  if (t.numel() != 1 || t.dim() > 1)
    throw Error(StatusCode::kBadInput, "tensor '" + name + "' has shape " + shape_text(t.sizes()) + ", expected one number", where_);
  const double v = t.to(at::kDouble).item<double>();
  tensors_.erase(name);
  return v;
}

std::vector<int64_t> TensorSource::integers(const std::string& name) {
  const at::Tensor t = find(name);
  if (t.dim() != 1 || t.size(0) > 4096 || !at::isIntegralType(t.scalar_type(), false))
    throw Error(StatusCode::kBadInput, "tensor '" + name + "' is no list of at most 4096 whole numbers", where_);
  const at::Tensor wide = t.to(at::kLong).contiguous();
  std::vector<int64_t> out(wide.const_data_ptr<int64_t>(), wide.const_data_ptr<int64_t>() + wide.numel());
  tensors_.erase(name);
  return out;
}

void TensorSource::done(const std::string& what) const {
  if (tensors_.empty()) return;
  std::string names;
  for (const auto& [n, t] : tensors_)
    if (names.size() < 300) names += (names.empty() ? "" : ", ") + in_quotes(n, 60);
  throw Error(StatusCode::kUnsupported, "the file holds " + names + ", which " + what + " has no use for", where_, "leaving it out would change the numbers");
}

std::string dtype_text(at::ScalarType type) {
  switch (type) {
    case at::kDouble: return "float64";
    case at::kHalf: return "float16";
    case at::kBFloat16: return "bfloat16";
    default: return "float32";
  }
}

void finish(Dictionary& d, const std::string& where) {
  at::ScalarType type = d.weights.at("W_enc").scalar_type();
  for (const auto& [name, w] : d.weights) type = c10::promoteTypes(type, w.scalar_type());
  for (auto& [name, w] : d.weights) w = w.to(type).contiguous();
  d.config.dtype = dtype_text(type);
  d.config.d_in = d.weights.at("W_enc").size(0);
  d.config.d_sae = d.weights.at("W_enc").size(1);
  d.config.d_out = d.weights.at("W_dec").size(1);
  if (d.config.k < 0 || d.config.k > d.config.d_sae)
    throw Error(StatusCode::kBadInput, "k is " + std::to_string(d.config.k) + " of " + std::to_string(d.config.d_sae) + " features", where);
  check_dictionary(d, where);
}

void write_tensors(const std::filesystem::path& file, const NamedTensors& tensors) {
  std::vector<at::Tensor> kept;
  std::vector<TensorToWrite> out;
  kept.reserve(tensors.size());
  for (const auto& [name, t] : tensors) {
    kept.push_back(t.detach().to(at::kCPU).contiguous());
    const at::Tensor& c = kept.back();
    out.push_back({name, dtype_of(c.scalar_type()), c.sizes().vec(), {static_cast<const uint8_t*>(c.const_data_ptr()), c.nbytes()}});
  }
  if (Status s = write_safetensors(file.string(), out, {{"format", "pt"}}); !s) throw Error(std::move(s));
}

Dictionary in_file_type(const Dictionary& d) {
  Dictionary out = d;
  at::ScalarType want = d.weights.at("W_enc").scalar_type();
  if (d.config.dtype == "bfloat16") want = at::kBFloat16;
  if (d.config.dtype == "float16") want = at::kHalf;
  if (d.config.dtype == "float32") want = at::kFloat;
  if (d.config.dtype == "float64") want = at::kDouble;
  bool exact = true;
  for (const auto& [name, w] : d.weights)
    if (w.scalar_type() != want) exact = exact && at::equal(w.to(want).to(w.scalar_type()), w);
  at::ScalarType type = exact ? want : d.weights.at("W_enc").scalar_type();
  if (!plain_float(type)) type = at::kFloat;
  for (auto& [name, w] : out.weights) w = w.detach().to(at::kCPU, type).contiguous();
  out.config.dtype = dtype_text(type);
  return out;
}

Dictionary without_norm_factor(const Dictionary& d) {
  if (d.config.normalize != "expected_average_only_in") return d;
  const double f = d.config.norm_factor;
  Dictionary out = f == 1 ? d : without_rescaling(d);   // norms of decoders that are about to change
  out.config.normalize = "none";
  out.config.norm_factor = 1;
  if (f == 1) return out;
  out.weights["W_enc"] = out.weights.at("W_enc") * f;
  if (d.config.transcoder) {               // its output has units of its own
    if (d.config.skip) out.weights["W_skip"] = d.weights.at("W_skip") * f;
  } else {
    for (const char* name : {"W_dec", "b_dec"}) out.weights[name] = out.weights.at(name) / f;
  }
  return out;
}

Dictionary without_rescaling(const Dictionary& d) {
  if (!d.config.rescale_acts_by_decoder_norm) return d;
  Dictionary out = d;
  out.config.rescale_acts_by_decoder_norm = false;
  const at::Tensor norms = dictionary_kinds::decoder_norms(d);
  out.weights["W_enc"] = d.weights.at("W_enc") * norms;
  out.weights["b_enc"] = d.weights.at("b_enc") * norms;
  for (const char* name : {"W_dec", "W_dec_later"})
    if (d.has(name)) out.weights[name] = d.weights.at(name) / norms.clamp_min(1e-12).unsqueeze(1);
  return out;
}

}  // namespace microtome::dictionary_formats
