#include "core/io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>

#include "core/base/json.h"
#include "core/base/quote.h"
#include "core/io/look_alikes.h"

namespace microtome {
namespace {

struct DTypeInfo {
  const char* name;
  size_t size;
};
// In the order of DType.
constexpr DTypeInfo kDTypes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1},
                                 {"F8_E5M2", 1}, {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
                                 {"U8", 1}, {"BOOL", 1}, {"U16", 2}, {"U32", 4}, {"U64", 8}};
static_assert(std::size(kDTypes) == static_cast<size_t>(DType::kU64) + 1);

constexpr size_t kMaxHeader = 100'000'000;      // the format's own limit
constexpr size_t kMaxRank = 64;                 // LibTorch's

[[noreturn]] void bad(const std::string& what, const std::string& where, const std::string& todo = {}) {
  throw Error(StatusCode::kBadInput, what, where, todo);
}

uint64_t read_le64(const uint8_t* p) {
  uint64_t v = 0;
  for (int i = 7; i >= 0; --i) v = v << 8 | p[i];
  return v;
}

void refuse_others(std::span<const uint8_t> bytes, const std::string& where) {
  // A header length that the file can hold is taken at its word: 640 begins like a pickle.
  if (bytes.size() >= 8 && read_le64(bytes.data()) <= bytes.size() - 8) return;
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 512));
  refuse_look_alikes(head, "safetensors", where);
  if (head.starts_with("PK\x03\x04") || head.starts_with("\x80\x02"))
    bad("the file is a PyTorch pickle, not safetensors", where,
        "name the model's folder, where pytorch_model.bin is read, or save the model again as safetensors");
}

DType read_dtype(const std::string& word, const std::string& where) {
  for (size_t i = 0; i < std::size(kDTypes); ++i)
    if (word == kDTypes[i].name) return static_cast<DType>(i);
  for (const char* known : {"F8_E8M0", "F4", "F6_E2M3", "F6_E3M2", "C64", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
    if (word == known)
      throw Error(StatusCode::kUnsupported, "dtype " + word + " is not supported", where,
                  "save the model again in float32 or bfloat16");
  std::string all;
  for (const auto& d : kDTypes) all += std::string(all.empty() ? "" : ", ") + d.name;
  bad("field 'dtype' is " + in_quotes(word, 30) + ", expected one of " + all, where);
}

// A list entry that must be an integer from 0 to 2^63 - 1.
int64_t read_size(const Json& value, const char* field, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    bad(std::string("field '") + field + "' holds something else than an integer from 0 on", where);
  return value.get<int64_t>();
}

const Json& read_list(const Json& entry, const char* field, const std::string& where) {
  const auto it = entry.find(field);
  if (it == entry.end()) bad(std::string("field '") + field + "' is missing", where);
  if (!it->is_array()) bad(std::string("field '") + field + "' is not a list", where);
  return *it;
}

// Bytes of a tensor. The product over the dimensions that are not 0 must fit as well: strides are made of it.
uint64_t checked_bytes(const std::vector<int64_t>& shape, DType dtype, const std::string& where) {
  uint64_t bytes = dtype_size(dtype);
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes) ||
               bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      bad("field 'shape' has a product of dimensions that overflows 64 bits", where);
    }
  }
  return empty ? 0 : bytes;
}

struct Pending {
  TensorEntry tensor;
  uint64_t begin = 0, end = 0;
};

Pending read_entry(const std::string& name, const Json& entry, uint64_t data_bytes, const std::string& file) {
  const std::string where = file + ", tensor " + in_quotes(name);
  if (!entry.is_object()) bad("the header's entry is not an object", where);
  Pending p;
  p.tensor.name = name;
  p.tensor.dtype = read_dtype(json_string(entry, "dtype", where), where);
  const Json& shape = read_list(entry, "shape", where);
  if (shape.size() > kMaxRank)
    bad("field 'shape' has " + std::to_string(shape.size()) + " dimensions, at most " + std::to_string(kMaxRank) +
        " are read", where);
  for (const Json& dim : shape) p.tensor.shape.push_back(read_size(dim, "shape", where));
  const Json& offsets = read_list(entry, "data_offsets", where);
  if (offsets.size() != 2) bad("field 'data_offsets' is not [begin, end]", where);
  p.begin = static_cast<uint64_t>(read_size(offsets[0], "data_offsets", where));
  p.end = static_cast<uint64_t>(read_size(offsets[1], "data_offsets", where));
  if (p.begin > p.end) bad("field 'data_offsets' begins after its end", where);
  if (p.end > data_bytes)
    bad("field 'data_offsets' ends at byte " + std::to_string(p.end) + ", the file holds " +
        std::to_string(data_bytes) + " bytes of data", where, "the file may be cut short; download it again");
  const uint64_t expected = checked_bytes(p.tensor.shape, p.tensor.dtype, where);
  if (expected != p.end - p.begin)
    bad("shape and dtype make " + std::to_string(expected) + " bytes, data_offsets hold " +
        std::to_string(p.end - p.begin), where);
  p.tensor.bytes = static_cast<size_t>(expected);
  return p;
}

// The ranges, sorted, must tile the data: the format allows no hole, no overlap and nothing behind the last tensor.
void check_tiling(const std::vector<Pending>& sorted, uint64_t data_bytes, const std::string& file) {
  uint64_t at = 0;
  for (const Pending& p : sorted) {
    const std::string where = file + ", tensor " + in_quotes(p.tensor.name);
    if (p.begin < at) bad("its data overlaps another tensor's", where);
    if (p.begin > at) bad(std::to_string(p.begin - at) + " bytes before its data belong to no tensor", where);
    at = p.end;
  }
  if (at != data_bytes)
    bad(std::to_string(data_bytes - at) + " bytes at the end of the file belong to no tensor", file);
}

std::map<std::string, std::string> read_metadata(const Json& value, const std::string& where) {
  if (!value.is_object()) bad("field '__metadata__' is not an object", where);
  std::map<std::string, std::string> out;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) bad("field '__metadata__', key " + in_quotes(key) + ": the value is not a text", where);
    out[key] = text.get_ref<const std::string&>();
  }
  return out;
}

struct Parsed {
  std::vector<TensorEntry> tensors;
  std::map<std::string, std::string> metadata;
};

Parsed parse_container(std::span<const uint8_t> bytes, const std::string& where) {
  if (bytes.empty()) bad("the file is empty", where);
  refuse_others(bytes, where);
  if (bytes.size() < 8)
    bad("the file is too short to be safetensors (" + std::to_string(bytes.size()) + " bytes)", where);
  const uint64_t length = read_le64(bytes.data());
  const uint64_t rest = bytes.size() - 8;
  if (length == 0) bad("the header length is 0", where);
  if (length > rest)
    bad("the header length is " + std::to_string(length) + ", the file holds only " + std::to_string(rest) +
        " bytes behind it", where, "the file is cut short or is not safetensors");
  if (length > kMaxHeader)
    bad("the header length is " + std::to_string(length) + ", the format allows " + std::to_string(kMaxHeader), where);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, static_cast<size_t>(length));
  if (text[0] != '{') bad("the header is not a JSON object", where);
  // An honest header is three levels deep; metadata is text, so nothing in it nests.
  const Json header = parse_json(text, where + ", header", {.max_bytes = kMaxHeader, .max_depth = 8}).value();

  Parsed out;
  const uint64_t data_bytes = rest - length;
  std::vector<Pending> pending;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") out.metadata = read_metadata(entry, where);
    else pending.push_back(read_entry(name, entry, data_bytes, where));
  }
  std::stable_sort(pending.begin(), pending.end(), [](const Pending& a, const Pending& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  check_tiling(pending, data_bytes, where);
  out.tensors.reserve(pending.size());
  for (Pending& p : pending) {
    p.tensor.data = bytes.data() + 8 + length + p.begin;
    out.tensors.push_back(std::move(p.tensor));
  }
  return out;
}

}  // namespace

const char* dtype_name(DType d) { return kDTypes[static_cast<size_t>(d)].name; }
size_t dtype_size(DType d) { return kDTypes[static_cast<size_t>(d)].size; }

int64_t TensorEntry::count() const { return static_cast<int64_t>(bytes / dtype_size(dtype)); }

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  Result<MappedFile> mapping = MappedFile::open(path);
  if (!mapping) return mapping.status();
  Result<SafetensorsFile> file = parse({mapping->data(), mapping->size()}, path);
  if (file) file->keep_ = mapping->keep_alive();
  return file;
}

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const uint8_t> bytes, const std::string& where) {
  try {
    Parsed parsed = parse_container(bytes, where);
    SafetensorsFile file;
    file.path_ = where;
    file.tensors_ = std::move(parsed.tensors);
    file.metadata_ = std::move(parsed.metadata);
    for (size_t i = 0; i < file.tensors_.size(); ++i) file.index_[file.tensors_[i].name] = i;
    return file;
  } catch (...) {
    return status_of_current_exception();
  }
}

const TensorEntry* SafetensorsFile::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

}  // namespace microtome
