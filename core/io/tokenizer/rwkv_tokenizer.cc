#include "core/io/tokenizer/rwkv_tokenizer.h"

#include <algorithm>
#include <charconv>

#include "core/base/sha256.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

constexpr int64_t kMostIds = int64_t{1} << 20;         // a table of them is made before the entries are known
constexpr const char* kEndOfText = "<|endoftext|>";

[[noreturn]] void bad(const std::string& where, size_t line, const std::string& what) {
  throw Error(StatusCode::kBadInput, "line " + std::to_string(line) + ": " + what, where,
              "each line is an id, a Python string or bytes literal and the number of its bytes");
}

// A whole number that fills `text`.
bool read_number(std::string_view text, int64_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// The bytes that a Python literal stands for; false when it is none.
bool read_literal(std::string_view text, std::string& out) {
  out.clear();
  const bool raw = text.starts_with("b");
  if (raw) text.remove_prefix(1);
  if (text.size() < 2 || (text.front() != '\'' && text.front() != '"') || text.back() != text.front()) return false;
  const char quote = text.front();
  text = text.substr(1, text.size() - 2);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == quote) return false;
    if (text[i] != '\\') {
      if (raw && static_cast<unsigned char>(text[i]) >= 0x80) return false;
      out += text[i];
      continue;
    }
    if (++i >= text.size()) return false;
    size_t digits = 0;
    switch (text[i]) {
      case 'n': out += '\n'; continue;
      case 'r': out += '\r'; continue;
      case 't': out += '\t'; continue;
      case 'a': out += '\a'; continue;
      case 'b': out += '\b'; continue;
      case 'f': out += '\f'; continue;
      case 'v': out += '\v'; continue;
      case '\\': case '\'': case '"': out += text[i]; continue;
      case 'x': digits = 2; break;
      case 'u': digits = raw ? 0 : 4; break;
      case 'U': digits = raw ? 0 : 8; break;
      default: break;
    }
    if (digits == 0 || i + digits >= text.size()) return false;
    uint32_t code = 0;
    auto [end, error] = std::from_chars(text.data() + i + 1, text.data() + i + 1 + digits, code, 16);
    if (error != std::errc() || end != text.data() + i + 1 + digits) return false;
    i += digits;
    if (raw) {
      out += static_cast<char>(code);
    } else {
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
      append_utf8(out, static_cast<char32_t>(code));
    }
  }
  return raw || find_invalid_utf8(out) == out.npos;
}

}  // namespace

RwkvTokenizer::RwkvTokenizer(std::string_view vocabulary, const std::string& where) : where_(where) {
  Sha256 sha;
  sha.update(vocabulary);
  hash_ = sha.hex();
  bytes_.resize(1);
  by_piece_[kEndOfText] = 0;
  std::string bytes;
  for (size_t line = 1; !vocabulary.empty(); ++line) {
    const size_t end = std::min(vocabulary.find('\n'), vocabulary.size());
    std::string_view text = vocabulary.substr(0, end);
    vocabulary.remove_prefix(std::min(end + 1, vocabulary.size()));
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.empty()) continue;
    const size_t first = text.find(' '), last = text.rfind(' ');
    int64_t id = 0, length = 0;
    if (first == text.npos || last <= first || !read_number(text.substr(0, first), id) ||
        !read_number(text.substr(last + 1), length))
      bad(where, line, "this is no vocabulary entry");
    if (id < 1 || id >= kMostIds) bad(where, line, "the id " + std::to_string(id) + " is out of range");
    const std::string_view literal = text.substr(first + 1, last - first - 1);
    if (!read_literal(literal, bytes)) bad(where, line, "the literal is malformed");
    if (bytes.empty() || length != static_cast<int64_t>(bytes.size()))
      bad(where, line, "the entry has " + std::to_string(bytes.size()) + " bytes, the line says " + std::to_string(length));
    if (id >= static_cast<int64_t>(bytes_.size())) bytes_.resize(static_cast<size_t>(id) + 1);
    if (!bytes_[static_cast<size_t>(id)].empty()) bad(where, line, "the id " + std::to_string(id) + " is there twice");
    bytes_[static_cast<size_t>(id)] = bytes;
    const bool is_text = find_invalid_utf8(bytes) == std::string::npos;
    if (!is_text) literals_[id] = std::string(literal);
    if (!by_piece_.emplace(is_text ? bytes : std::string(literal), id).second)
      bad(where, line, "the entry is there twice");
    sorted_.push_back(id);
  }
  if (sorted_.empty()) throw Error(StatusCode::kBadInput, "the vocabulary is empty", where, "give one entry a line");
  std::sort(sorted_.begin(), sorted_.end(), [&](int64_t a, int64_t b) {
    return bytes_[static_cast<size_t>(a)] < bytes_[static_cast<size_t>(b)];
  });
  // Literals of one entry may be spelled in two ways, so that only the bytes tell.
  const auto twin = std::adjacent_find(sorted_.begin(), sorted_.end(), [&](int64_t a, int64_t b) {
    return bytes_[static_cast<size_t>(a)] == bytes_[static_cast<size_t>(b)];
  });
  if (twin != sorted_.end())
    throw Error(StatusCode::kBadInput, "the ids " + std::to_string(twin[0]) + " and " + std::to_string(twin[1]) +
                " have the same bytes", where, "each entry belongs there once");
}

// Entries that agree with `rest` in their first `depth` bytes are neighbours, and the one of just these bytes comes first.
int64_t RwkvTokenizer::longest(std::string_view rest) const {
  auto low = sorted_.begin(), high = sorted_.end();
  int64_t best = 0;
  for (size_t depth = 0; depth < rest.size() && low != high; ++depth) {
    const int next = static_cast<unsigned char>(rest[depth]);
    auto byte_of = [&](int64_t id) -> int {            // -1: the entry ends before
      const std::string& b = bytes_[static_cast<size_t>(id)];
      return depth < b.size() ? static_cast<unsigned char>(b[depth]) : -1;
    };
    low = std::partition_point(low, high, [&](int64_t id) { return byte_of(id) < next; });
    high = std::partition_point(low, high, [&](int64_t id) { return byte_of(id) == next; });
    if (low != high && bytes_[static_cast<size_t>(*low)].size() == depth + 1) best = *low;
  }
  return best;
}

std::vector<int64_t> RwkvTokenizer::encode_bytes(std::string_view bytes) const {
  std::vector<int64_t> out;
  for (size_t at = 0; at < bytes.size();) {
    const int64_t id = longest(bytes.substr(at));
    if (id == 0)
      throw Error(StatusCode::kBadInput, "no entry of the vocabulary begins with the byte " +
                  std::to_string(static_cast<unsigned char>(bytes[at])) + " at " + std::to_string(at), where_,
                  "a whole vocabulary has an entry for every byte");
    out.push_back(id);
    at += bytes_[static_cast<size_t>(id)].size();
  }
  return out;
}

const std::string& RwkvTokenizer::entry(int64_t id) const {
  if (id < 0 || id >= vocab_size())
    throw Error(StatusCode::kBadInput, "the token id " + std::to_string(id) + " is outside the vocabulary of " +
                std::to_string(vocab_size()), where_, "ids run from 0 to " + std::to_string(vocab_size() - 1));
  return bytes_[static_cast<size_t>(id)];
}

std::string RwkvTokenizer::decode_bytes(const std::vector<int64_t>& ids) const {
  std::string out;
  for (int64_t id : ids) out += entry(id);
  return out;
}

Encoding RwkvTokenizer::encode(std::string_view text, bool add_special) const {
  check_text(text);
  Encoding out;
  out.ids = encode_bytes(text);
  size_t at = 0;
  int64_t begun = 0;                                   // characters that begin before `at`
  for (int64_t id : out.ids) {
    out.pieces.push_back(piece(id));
    const size_t end = at + bytes_[static_cast<size_t>(id)].size();
    // A token may begin or end inside a character, and then counts it as its own.
    const int64_t first = is_continuation(text[at]) ? begun - 1 : begun;
    begun += std::count_if(text.begin() + static_cast<ptrdiff_t>(at), text.begin() + static_cast<ptrdiff_t>(end),
                           [](char c) { return !is_continuation(c); });
    out.offsets.emplace_back(first, begun);
    at = end;
  }
  return out;
}

std::string RwkvTokenizer::decode(const std::vector<int64_t>& ids, bool skip_special) const {
  std::string out, bytes;
  // An end of text stands between two texts: bytes do not join across it.
  for (int64_t id : ids) {
    if (id != 0) {
      bytes += entry(id);
      continue;
    }
    out += utf8_lossy(bytes);
    bytes.clear();
    if (!skip_special) out += kEndOfText;
  }
  return out + utf8_lossy(bytes);
}

std::string RwkvTokenizer::piece(int64_t id) const {
  if (id == 0) return kEndOfText;
  auto literal = literals_.find(id);
  return literal == literals_.end() ? entry(id) : literal->second;
}

std::string RwkvTokenizer::display(int64_t id) const { return id == 0 ? kEndOfText : utf8_lossy(entry(id)); }

std::optional<int64_t> RwkvTokenizer::id_of(std::string_view piece) const {
  auto it = by_piece_.find(std::string(piece));
  return it == by_piece_.end() ? std::nullopt : std::optional(it->second);
}

}  // namespace microtome::tok
