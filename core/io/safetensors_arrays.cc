#include <bit>
#include <cstring>
#include <limits>
#include <set>

#include "core/base/json.h"
#include "core/base/quote.h"
#include "core/io/safetensors.h"

namespace microtome {
namespace {

constexpr char kArraysKey[] = "arrays";

float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t exponent = (h >> 10) & 0x1F, fraction = h & 0x3FF;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1.0p-24f;      // subnormal or zero, exact
  return sign ? -magnitude : magnitude;
}

// Data in a file is aligned to the file's own offsets only, so elements are copied out.
template <class T>
T load(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class From, class To, class F>
std::vector<To> converted(const TensorEntry& t, F&& convert) {
  std::vector<To> out(static_cast<size_t>(t.count()));
  for (size_t i = 0; i < out.size(); ++i) out[i] = convert(load<From>(t.data + i * sizeof(From)));
  return out;
}

template <class From>
std::vector<int64_t> widened(const TensorEntry& t) {
  return converted<From, int64_t>(t, [](From v) { return static_cast<int64_t>(v); });
}

void fill(NamedArray& array, const TensorEntry& t, const std::string& where) {
  auto same = [](auto v) { return v; };
  switch (t.dtype) {
    case DType::kF64: array.data = converted<double, double>(t, same); return;
    case DType::kF32: array.data = converted<float, float>(t, same); return;
    case DType::kF16: array.data = converted<uint16_t, float>(t, half_to_float); return;
    case DType::kBF16:
      array.data = converted<uint16_t, float>(
          t, [](uint16_t v) { return std::bit_cast<float>(static_cast<uint32_t>(v) << 16); });
      return;
    case DType::kI64: array.data = widened<int64_t>(t); return;
    case DType::kI32: array.data = widened<int32_t>(t); return;
    case DType::kI16: array.data = widened<int16_t>(t); return;
    case DType::kI8: array.data = widened<int8_t>(t); return;
    case DType::kU8:
    case DType::kBool: array.data = widened<uint8_t>(t); return;
    case DType::kU16: array.data = widened<uint16_t>(t); return;
    case DType::kU32: array.data = widened<uint32_t>(t); return;
    case DType::kU64:
      array.data = converted<uint64_t, int64_t>(t, [&](uint64_t v) {
        if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
          throw Error(StatusCode::kUnsupported, "tensor " + in_quotes(t.name) + " holds a number over 2^63", where);
        return static_cast<int64_t>(v);
      });
      return;
    case DType::kF8E4M3:
    case DType::kF8E5M2:
      throw Error(StatusCode::kUnsupported,
                  "tensor " + in_quotes(t.name) + " is " + dtype_name(t.dtype) + ", which is not read as an array",
                  where, "save it in float32 or bfloat16");
  }
}

NamedArray plain_array(const TensorEntry& t, const std::string& where) {
  NamedArray array;
  array.name = t.name;
  array.shape = t.shape;
  for (size_t i = 0; i < t.shape.size(); ++i) array.axes.push_back("dim" + std::to_string(i));
  fill(array, t, where);
  return array;
}

// One entry of our own metadata: {"name", "axes", "unit", "help"}.
NamedArray described_array(const SafetensorsFile& file, const Json& entry, const std::string& where) {
  const std::string name = json_string(entry, "name", where);
  const TensorEntry* t = file.find(name);
  if (!t)
    throw Error(StatusCode::kBadInput, "metadata 'arrays' names " + in_quotes(name) + ", which the file lacks", where);
  NamedArray array = plain_array(*t, where);
  array.unit = json_string(entry, "unit", "", where);
  array.help = json_string(entry, "help", "", where);
  const auto axes = entry.find("axes");
  if (axes == entry.end() || !axes->is_array() || axes->size() != t->shape.size())
    throw Error(StatusCode::kBadInput, "field 'axes' of array " + in_quotes(name) + " does not name " +
                std::to_string(t->shape.size()) + " axes", where);
  for (size_t i = 0; i < axes->size(); ++i) {
    if (!(*axes)[i].is_string())
      throw Error(StatusCode::kBadInput, "field 'axes' of array " + in_quotes(name) + " is not a list of texts", where);
    array.axes[i] = (*axes)[i].get<std::string>();
  }
  return array;
}

std::vector<NamedArray> arrays_of(const SafetensorsFile& file) {
  const std::string& where = file.path();
  std::vector<NamedArray> out;
  std::set<std::string> seen;
  if (const auto text = file.metadata().find(kArraysKey); text != file.metadata().end()) {
    const Json list = parse_json(text->second, where + ", metadata 'arrays'").value();
    if (!list.is_array()) throw Error(StatusCode::kBadInput, "metadata 'arrays' is not a list", where);
    for (const Json& entry : list) {
      out.push_back(described_array(file, entry, where));
      if (!seen.insert(out.back().name).second)
        throw Error(StatusCode::kBadInput, "metadata 'arrays' names " + in_quotes(out.back().name) + " twice", where);
    }
  }
  for (const TensorEntry& t : file.tensors())
    if (!seen.count(t.name)) out.push_back(plain_array(t, where));
  return out;
}

struct ToWrite {
  std::vector<TensorToWrite> tensors;
  std::map<std::string, std::string> metadata;
};

ToWrite to_write(const std::vector<NamedArray>& arrays) {
  ToWrite out;
  Json list = Json::array();
  for (const NamedArray& a : arrays) {
    if (a.axes.size() != a.shape.size())
      throw Error(StatusCode::kInternal, "array " + in_quotes(a.name) + " has " + std::to_string(a.shape.size()) +
                  " dimensions and " + std::to_string(a.axes.size()) + " axis names");
    TensorToWrite t{a.name, DType::kF32, a.shape, {}};
    std::visit(
        [&](const auto& v) {
          using T = typename std::decay_t<decltype(v)>::value_type;
          t.dtype = std::is_same_v<T, float> ? DType::kF32 : std::is_same_v<T, double> ? DType::kF64 : DType::kI64;
          t.data = {reinterpret_cast<const uint8_t*>(v.data()), v.size() * sizeof(T)};
        },
        a.data);
    out.tensors.push_back(std::move(t));
    list.push_back({{"name", a.name}, {"axes", a.axes}, {"unit", a.unit}, {"help", a.help}});
  }
  try {
    out.metadata[kArraysKey] = list.dump();
  } catch (const Json::exception&) {
    throw Error(StatusCode::kBadInput, "the name, unit or help of an array to be written is not UTF-8");
  }
  return out;
}

}  // namespace

std::vector<uint8_t> arrays_to_bytes(const std::vector<NamedArray>& arrays) {
  const ToWrite w = to_write(arrays);
  return safetensors_bytes(w.tensors, w.metadata);
}

Result<std::vector<NamedArray>> arrays_from_bytes(std::span<const uint8_t> bytes, const std::string& where) {
  try {
    return arrays_of(SafetensorsFile::parse(bytes, where).value());
  } catch (...) {
    return status_of_current_exception();
  }
}

Status write_arrays(const std::string& path, const std::vector<NamedArray>& arrays) {
  return catch_status([&] {
    const ToWrite w = to_write(arrays);
    if (Status s = write_safetensors(path, w.tensors, w.metadata); !s) throw Error(std::move(s));
  });
}

Result<std::vector<NamedArray>> read_arrays(const std::string& path) {
  try {
    return arrays_of(SafetensorsFile::open(path).value());
  } catch (...) {
    return status_of_current_exception();
  }
}

}  // namespace microtome
