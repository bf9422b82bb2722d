#include "core/io/npz.h"

#include <cstring>
#include <optional>
#include <string_view>

#include "core/base/quote.h"
#include "core/io/look_alikes.h"
#include "core/io/stored_zip.h"

namespace microtome {
namespace {

using Bytes = std::span<const uint8_t>;
constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxHeader = 64 << 10, kMaxDims = 32;

struct Header {
  std::string_view descr;
  bool fortran = false;
  std::vector<int64_t> shape;
};

// The text between the braces: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Header read() {
    Header h;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      bool* seen = key == "descr" ? &descr : key == "fortran_order" ? &order : key == "shape" ? &shape : nullptr;
      if (!seen || *seen) bad("its header has the key " + in_quotes(key) + (seen ? " twice" : ""));
      *seen = true;
      if (seen == &descr) h.descr = type();
      else if (seen == &order) h.fortran = boolean();
      else h.shape = tuple();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip();
    if (at_ != text_.size()) bad("its header goes on after the end");
    if (!descr || !order || !shape) bad("its header lacks descr, fortran_order or shape");
    return h;
  }

 private:
  [[noreturn]] void bad(const std::string& what) const { throw Error(StatusCode::kBadInput, what, where_, "the file may be damaged; download it again"); }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) bad(std::string("its header is no numpy header: '") + c + "' is missing at byte " + std::to_string(at_));
  }
  std::string_view quoted() {
    skip();
    const char mark = at_ < text_.size() ? text_[at_] : ' ';
    if (mark != '\'' && mark != '"') bad("its header is no numpy header: a text is missing at byte " + std::to_string(at_));
    const size_t end = text_.find(mark, at_ + 1);
    if (end == std::string_view::npos || end - at_ > 64) bad("its header has a text without end");
    const std::string_view out = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return out;
  }
  // A list here is a structured type: several numbers an element.
  std::string_view type() {
    skip();
    if (at_ < text_.size() && text_[at_] == '[')
      throw Error(StatusCode::kUnsupported, "its elements are records of several numbers", where_, "save plain arrays of numbers");
    return quoted();
  }
  bool boolean() {
    skip();
    for (const auto& [word, value] : {std::pair(std::string_view("True"), true), {std::string_view("False"), false}})
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return value;
      }
    bad("its header's fortran_order is neither True nor False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> out;
    expect('(');
    while (!accept(')')) {
      if (out.size() == kMaxDims) bad("it has more than " + std::to_string(kMaxDims) + " dimensions");
      out.push_back(integer());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return out;
  }
  int64_t integer() {
    skip();
    int64_t v = 0;
    const size_t begin = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, text_[at_] - '0', &v)) bad("a size in its header overflows");
    if (at_ == begin) bad("its header's shape has no integer from 0 on at byte " + std::to_string(at_));
    return v;
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
};

DType dtype_of(std::string_view descr, const std::string& where) {
  const auto refuse = [&](const std::string& what, const char* todo) { throw Error(StatusCode::kUnsupported, what, where, todo); };
  if (descr.size() < 2) refuse("its type " + in_quotes(descr) + " is not read", "save it as float32");
  const char order = descr[0];
  if (order == '>') refuse("its numbers are big-endian", "save it on a little-endian machine");
  const std::string_view kind = order == '<' || order == '|' || order == '=' ? descr.substr(1) : descr;
  const std::pair<std::string_view, DType> known[] = {
      {"f4", DType::kF32}, {"f8", DType::kF64}, {"f2", DType::kF16}, {"b1", DType::kBool}, {"i1", DType::kI8}, {"i2", DType::kI16},
      {"i4", DType::kI32}, {"i8", DType::kI64}, {"u1", DType::kU8},  {"u2", DType::kU16},  {"u4", DType::kU32}, {"u8", DType::kU64}};
  for (const auto& [name, dtype] : known)
    if (kind == name) return dtype;
  if (!kind.empty() && kind[0] == 'O') refuse("its elements are Python objects, which are pickles", "save plain arrays of numbers");
  refuse("its type " + in_quotes(descr) + " is not read", "save it as float32");
  return DType::kF32;
}

// rows × columns, stored column by column, as rows.
void transpose(const uint8_t* from, uint8_t* to, int64_t rows, int64_t columns, size_t element) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::memcpy(to + static_cast<size_t>(r * columns + c) * element, from + static_cast<size_t>(c * rows + r) * element, element);
}

TensorEntry parse_npy(Bytes bytes, const std::string& name, const std::string& where, std::vector<std::vector<uint8_t>>& copies) {
  const auto bad = [&](const std::string& what) { throw Error(StatusCode::kBadInput, what, where, "the file may be cut short; download it again"); };
  if (bytes.size() < 10 || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) bad("it is no .npy array");
  const int major = bytes[6];
  if (major < 1 || major > 3) throw Error(StatusCode::kUnsupported, "its .npy version is " + std::to_string(major), where, "save it with numpy 1 or 2");
  size_t header = bytes[8] | static_cast<size_t>(bytes[9]) << 8, begin = 10;
  if (major > 1) {
    if (bytes.size() < 12) bad("its header is cut short");
    header |= static_cast<size_t>(bytes[10]) << 16 | static_cast<size_t>(bytes[11]) << 24;
    begin = 12;
  }
  if (header > kMaxHeader) bad("its header says it has " + std::to_string(header) + " bytes");
  if (header > bytes.size() - begin) bad("its header is cut short");
  const Header h = HeaderText({reinterpret_cast<const char*>(bytes.data()) + begin, header}, where).read();
  TensorEntry t;
  t.name = name;
  t.dtype = dtype_of(h.descr, where);
  t.shape = h.shape;
  const Bytes data = bytes.subspan(begin + header);
  int64_t wanted = static_cast<int64_t>(dtype_size(t.dtype));
  bool empty = false;
  for (const int64_t d : t.shape) {
    empty = empty || d == 0;
    if (d > 0 && __builtin_mul_overflow(wanted, d, &wanted)) bad("its shape overflows");
  }
  if (empty) wanted = 0;
  if (static_cast<uint64_t>(wanted) != data.size())
    bad("its shape needs " + std::to_string(wanted) + " bytes, and it has " + std::to_string(data.size()));
  t.data = data.data();
  t.bytes = data.size();
  if (h.fortran && t.shape.size() > 1 && t.bytes > 0) {
    if (t.shape.size() > 2) throw Error(StatusCode::kUnsupported, "it has more than two dimensions in Fortran's order", where, "save it in C's order");
    copies.emplace_back(t.bytes);
    transpose(t.data, copies.back().data(), t.shape[0], t.shape[1], dtype_size(t.dtype));
    t.data = copies.back().data();
  }
  return t;
}

}  // namespace

Result<NpzArrays> parse_npz(std::span<const uint8_t> bytes, const std::string& where) {
  try {
    refuse_look_alikes({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "a file of numpy.savez", where);
    NpzArrays out;
    auto copies = std::make_shared<std::vector<std::vector<uint8_t>>>();
    for (const auto& [member, data] : read_stored_zip(bytes, where, "save it with numpy.savez, not savez_compressed")) {
      if (member.size() <= 4 || member.substr(member.size() - 4) != ".npy")
        throw Error(StatusCode::kBadInput, "member " + in_quotes(member) + " is no .npy array", where, "give a file of numpy.savez");
      const std::string name = member.substr(0, member.size() - 4);
      out.tensors.push_back(parse_npy(data, name, where + ", array " + in_quotes(name, 60), *copies));
    }
    if (out.tensors.empty()) throw Error(StatusCode::kBadInput, "the file holds no array", where, "give a file of numpy.savez");
    out.copies = copies;
    return out;
  } catch (...) {
    return status_of_current_exception();
  }
}

}  // namespace microtome
