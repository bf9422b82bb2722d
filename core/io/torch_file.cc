#include "core/io/torch_file.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <set>
#include <string_view>

#include "core/base/quote.h"
#include "core/io/look_alikes.h"
#include "core/io/pickle.h"
#include "core/io/stored_zip.h"

namespace microtome {
namespace {

using pickle::Kind;
using pickle::StorageRef;
using pickle::Stream;
using pickle::TensorRef;
using pickle::Value;
using Bytes = std::span<const uint8_t>;
using Storages = std::map<std::string, Bytes, std::less<>>;

// What a plain stream begins with: the integer 0x1950a86a20f9469cfc6c, then the protocol version of torch.save.
constexpr std::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr int64_t kProtocol = 1001;
constexpr size_t kMaxPickleBytes = size_t{256} << 20;

[[noreturn]] void bad(const std::string& what, const std::string& where) {
  throw Error(StatusCode::kBadInput, what, where, "the file may be cut short; download it again");
}
[[noreturn]] void unsupported(const std::string& what, const std::string& where) {
  throw Error(StatusCode::kUnsupported, what, where, "re-save the model as safetensors");
}

std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t n = utf8_char_bytes(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

// dtype_size × count, or nothing when that is beyond 64 bits.
std::optional<uint64_t> storage_bytes(const StorageRef& s) {
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(s.count, s.element_size(), &bytes)) return std::nullopt;
  return bytes;
}

// Turns what the pickle says of tensors into ranges of bytes, each checked.
class Builder {
 public:
  Builder(const Stream& stream, const Storages& storages, size_t file_bytes, const std::string& where)
      : stream_(stream), storages_(storages), copy_budget_(2 * file_bytes), where_(where) {}

  TorchTensors build() {
    const Value& top = stream_.result();
    if (top.kind != Kind::kDict) unsupported("the file holds something else than a dictionary of tensors", where_);
    auto copies = std::make_shared<std::vector<std::vector<uint8_t>>>();
    copies_ = copies.get();
    TorchTensors out;
    std::set<std::string_view> names;
    for (size_t i = 0; i + 1 < top.items.size(); i += 2) {
      const Value& value = stream_.values[top.items[i + 1]];
      if (value.kind != Kind::kTensor) continue;
      const Value& key = stream_.values[top.items[i]];
      if (key.kind != Kind::kText || !is_utf8(key.text)) bad("a tensor has no name that is text", where_);
      if (!names.insert(key.text).second) bad("tensor " + in_quotes(key.text) + " is there twice", where_);
      out.tensors.push_back(entry(key.text, stream_.tensors[static_cast<size_t>(value.number)]));
    }
    if (out.tensors.empty())
      unsupported("the file's dictionary holds no tensor at its first level" + first_key(top), where_);
    out.copies = std::move(copies);
    return out;
  }

 private:
  std::string first_key(const Value& top) const {
    if (top.items.empty() || stream_.values[top.items[0]].kind != Kind::kText) return "";
    return ", its first key is " + in_quotes(stream_.values[top.items[0]].text);
  }

  Bytes storage_of(const StorageRef& s, const std::string& where) const {
    const auto it = storages_.find(s.key);
    if (it == storages_.end()) bad("its storage " + in_quotes(s.key) + " is not in the file", where);
    const std::optional<uint64_t> bytes = storage_bytes(s);
    if (!bytes || *bytes != it->second.size())
      bad("its storage " + in_quotes(s.key) + " has " + std::to_string(it->second.size()) + " bytes in the file, not " +
          std::to_string(s.count) + " elements of " + std::to_string(s.element_size()), where);
    const uint64_t element = s.element_size();
    return it->second.subspan(static_cast<size_t>(s.first * element), static_cast<size_t>(s.used * element));
  }

  TensorEntry entry(std::string_view name, const TensorRef& t) {
    const std::string where = where_ + ", tensor " + in_quotes(name);
    const StorageRef& s = stream_.storages[t.storage];
    const Bytes storage = storage_of(s, where);
    const uint64_t element = dtype_size(t.dtype);
    TensorEntry out;
    out.name = std::string(name);
    out.dtype = t.dtype;
    out.shape = t.shape;
    // The elements, and how far the last one lies from the first. As in safetensors.cc, the dimensions of an empty
    // tensor must multiply within 64 bits too.
    uint64_t count = element, reach = 0;
    bool empty = false, row_major = true, overflow = false;
    for (size_t i = t.shape.size(); i-- > 0;) {
      const auto dim = static_cast<uint64_t>(t.shape[i]), stride = static_cast<uint64_t>(t.strides[i]);
      if (dim == 0) {
        empty = true;
        continue;
      }
      if (dim > 1 && stride != count / element) row_major = false;
      uint64_t step = 0;
      overflow = overflow || __builtin_mul_overflow(dim - 1, stride, &step) || __builtin_add_overflow(reach, step, &reach) ||
                 __builtin_mul_overflow(count, dim, &count) ||
                 count > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
      if (overflow) bad("its shape overflows 64 bits", where);
    }
    if (empty) {
      out.data = storage.data();
      return out;
    }
    const uint64_t held = storage.size() / element;
    if (t.offset >= held || reach >= held - t.offset)
      bad("its shape and strides reach beyond the " + std::to_string(held) + " elements of its storage", where);
    if (count > storage.size())
      unsupported("it is larger than its storage (an expanded tensor)", where);
    out.bytes = static_cast<size_t>(count);
    out.data = storage.data() + t.offset * element;
    if (!row_major) out.data = row_major_copy(t, out, where);
    return out;
  }

  // The elements in order, gathered by their strides.
  const uint8_t* row_major_copy(const TensorRef& t, const TensorEntry& e, const std::string& where) {
    if (e.bytes > copy_budget_)
      unsupported("the tensors that are not stored row by row need more memory than twice the file's size", where);
    copy_budget_ -= e.bytes;
    std::vector<uint8_t>& copy = copies_->emplace_back(e.bytes);
    const size_t element = dtype_size(t.dtype), rank = t.shape.size();
    std::vector<int64_t> index(rank, 0);
    uint64_t from = 0;
    for (size_t to = 0; to < e.bytes; to += element) {
      std::memcpy(copy.data() + to, e.data + from * element, element);
      for (size_t d = rank; d-- > 0;) {
        from += static_cast<uint64_t>(t.strides[d]);
        if (++index[d] < t.shape[d]) break;
        from -= static_cast<uint64_t>(t.shape[d]) * static_cast<uint64_t>(t.strides[d]);
        index[d] = 0;
      }
    }
    return copy.data();
  }

  const Stream& stream_;
  const Storages& storages_;
  size_t copy_budget_;
  const std::string& where_;
  std::vector<std::vector<uint8_t>>* copies_ = nullptr;
};

// PREFIX/data.pkl, PREFIX/data/KEY for each storage, PREFIX/byteorder.
TorchTensors parse_zip(Bytes bytes, const std::string& where) {
  constexpr std::string_view kPickle = "/data.pkl";
  const auto members = read_stored_zip(bytes, where);
  std::string prefix;
  Bytes data;
  size_t found = 0;
  for (const auto& [name, content] : members) {
    if (!name.ends_with(kPickle)) continue;
    prefix = name.substr(0, name.size() - kPickle.size());
    data = content;
    ++found;
  }
  if (found != 1)
    unsupported("the zip archive has " + std::to_string(found) + " members data.pkl, a file of torch.save has one", where);
  if (data.size() > kMaxPickleBytes)
    unsupported("its pickle has " + std::to_string(data.size()) + " bytes, at most " + std::to_string(kMaxPickleBytes) +
                " are read", where);
  if (const auto order = members.find(prefix + "/byteorder"); order != members.end() && text_of(order->second) != "little")
    unsupported("the file's byte order is " + in_quotes(text_of(order->second), 20) + ", only 'little' is read", where);
  const std::string inside = where + ", " + in_quotes(prefix + std::string(kPickle));
  const Stream stream = pickle::read_stream(data, inside);
  if (stream.end != data.size()) bad("bytes follow the end of the pickle", inside);
  Storages storages;
  const std::string folder = prefix + "/data/";
  for (const auto& [name, content] : members)
    if (name.starts_with(folder)) storages.emplace(name.substr(folder.size()), content);
  return Builder(stream, storages, bytes.size(), where).build();
}

// Five pickles (magic number, protocol, facts about the machine, the dictionary, the keys of the storages), then each
// storage: its number of elements in 8 bytes, and they.
TorchTensors parse_plain(Bytes bytes, const std::string& where) {
  size_t at = 0;
  const auto next = [&] {
    Stream s = pickle::read_stream(bytes.subspan(at, std::min(bytes.size() - at, kMaxPickleBytes)), where);
    at += s.end;
    return s;
  };
  const Stream magic = next();
  if (magic.result().kind != Kind::kBig || magic.result().text != kMagic)
    unsupported("the file is a Python pickle, but none that torch.save wrote", where);
  const Stream protocol = next();
  if (protocol.result().kind != Kind::kInt || protocol.result().number != kProtocol)
    unsupported("the file is of another protocol of torch.save than " + std::to_string(kProtocol), where);
  const Stream system = next();
  const Value& facts = system.result();
  for (size_t i = 0; facts.kind == Kind::kDict && i + 1 < facts.items.size(); i += 2)
    if (system.values[facts.items[i]].text == "little_endian" && system.values[facts.items[i + 1]].number != 1)
      unsupported("the file's byte order is big-endian, only little-endian is read", where);
  const Stream main = next();
  const Stream keys = next();
  if (keys.result().kind != Kind::kList) bad("the list of storages is none", where);

  std::map<std::string_view, const StorageRef*> refs;
  for (const StorageRef& s : main.storages)
    if (const auto [it, fresh] = refs.emplace(s.key, &s);
        !fresh && (it->second->element_size() != s.element_size() || it->second->count != s.count))
      bad("storage " + in_quotes(s.key) + " is described in two ways", where);
  Storages storages;
  for (const uint32_t i : keys.result().items) {
    const Value& key = keys.values[i];
    const auto ref = refs.find(key.text);
    if (key.kind != Kind::kText || ref == refs.end())
      bad("the list of storages names " + in_quotes(key.text) + ", which no tensor uses", where);
    uint64_t count = 0;
    if (bytes.size() - at < 8) bad("the file ends before storage " + in_quotes(key.text), where);
    for (int b = 7; b >= 0; --b) count = count << 8 | bytes[at + static_cast<size_t>(b)];
    at += 8;
    const std::optional<uint64_t> size = storage_bytes(*ref->second);
    if (count != ref->second->count || !size) bad("storage " + in_quotes(key.text) + " has two sizes", where);
    if (*size > bytes.size() - at) bad("the file ends within storage " + in_quotes(key.text), where);
    if (!storages.emplace(std::string(key.text), bytes.subspan(at, static_cast<size_t>(*size))).second)
      bad("storage " + in_quotes(key.text) + " is listed twice", where);
    at += static_cast<size_t>(*size);
  }
  if (at != bytes.size())
    bad(std::to_string(bytes.size() - at) + " bytes at the end of the file belong to no storage", where);
  return Builder(main, storages, bytes.size(), where).build();
}

TorchTensors parse(Bytes bytes, const std::string& where) {
  if (bytes.empty()) bad("the file is empty", where);
  refuse_look_alikes(text_of(bytes), "a PyTorch file", where);
  if (text_of(bytes).starts_with("PK\x03\x04")) return parse_zip(bytes, where);
  if (bytes[0] == 0x80) return parse_plain(bytes, where);
  throw Error(StatusCode::kBadInput, "the file is none that torch.save writes (neither a zip archive nor a pickle)", where,
              "check what the file is");
}

}  // namespace

Result<TorchTensors> parse_torch_file(std::span<const uint8_t> bytes, const std::string& where) {
  try {
    return parse(bytes, where);
  } catch (...) {
    return status_of_current_exception();
  }
}

}  // namespace microtome
