#include "core/base/json.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <limits>
#include <locale>
#include <sstream>
#include <utility>
#include <vector>

#include "core/base/atomic_file.h"
#include "core/base/quote.h"

namespace microtome {
namespace {

// nlohmann's own reader takes the last of duplicate keys, looks each key of an ordered object up among all before it
// (quadratic in the length of a vocabulary), and knows no Infinity; hence a reader of ours over the same value type.
// Depth lives in stack_, not in C++ frames.
class Reader {
 public:
  Reader(std::string_view text, const std::string& where, const JsonLimits& limits)
      : text_(text), where_(where), limits_(limits) {}

  Json read() {
    if (text_.substr(0, 3) == "\xEF\xBB\xBF") fail("it begins with a byte-order mark, which JSON does not allow", 0);
    skip_space();
    if (at_end()) fail("it is empty", pos_);
    for (;;) {
      Json value;
      if (begins_container(value)) continue;
      for (;;) {
        if (stack_.empty()) {
          skip_space();
          if (!at_end()) fail("there is text after the value", pos_);
          return value;
        }
        add(std::move(value));
        skip_space();
        const bool object = stack_.back().object;
        if (take(',')) {
          skip_space();
          if (object) read_key();
          break;
        }
        if (!take(object ? '}' : ']')) fail(object ? "expected ',' or '}'" : "expected ',' or ']'", pos_);
        value = close();
      }
    }
  }

 private:
  struct Frame {
    bool object = false;
    size_t start = 0;
    std::string key;
    std::vector<std::pair<std::string, Json>> members;
    Json::array_t items;
  };

  [[noreturn]] void fail(const std::string& what, size_t at) const {
    throw Error(StatusCode::kBadInput, "this is not valid JSON: " + what + " at byte " + std::to_string(at), where_);
  }

  bool at_end() const { return pos_ == text_.size(); }
  bool take(char c) {
    if (at_end() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }
  void skip_space() {
    pos_ = std::min(text_.find_first_not_of(" \n\r\t", pos_), text_.size());
  }

  // Reads one value into `value`, or opens a container that is not empty and returns true.
  bool begins_container(Json& value) {
    if (++values_ > limits_.max_values)
      fail("it holds more than " + std::to_string(limits_.max_values) + " values", pos_);
    if (at_end()) fail("it ends where a value is expected", pos_);
    const size_t start = pos_;
    const bool object = text_[pos_] == '{';
    if (!object && text_[pos_] != '[') {
      value = scalar();
      return false;
    }
    ++pos_;
    if (stack_.size() >= static_cast<size_t>(std::max(limits_.max_depth, 0)))
      fail("it is nested deeper than " + std::to_string(limits_.max_depth) + " levels", start);
    skip_space();
    if (take(object ? '}' : ']')) {
      value = object ? Json::object() : Json::array();
      return false;
    }
    stack_.push_back({.object = object, .start = start, .key = {}, .members = {}, .items = {}});
    if (object) read_key();
    return true;
  }

  void read_key() {
    if (at_end() || text_[pos_] != '"') fail("expected a key in double quotes", pos_);
    stack_.back().key = string();
    skip_space();
    if (!take(':')) fail("expected ':'", pos_);
    skip_space();
  }

  void add(Json value) {
    Frame& frame = stack_.back();
    if (frame.object) frame.members.emplace_back(std::move(frame.key), std::move(value));
    else frame.items.push_back(std::move(value));
  }

  Json close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    if (!frame.object) return Json(std::move(frame.items));
    refuse_duplicates(frame);
    Json::object_t members;
    members.reserve(frame.members.size());
    // Straight into the vector below: emplace() of the ordered map would search it each time.
    std::vector<std::pair<const std::string, Json>>& plain = members;
    for (auto& [key, value] : frame.members) plain.emplace_back(std::move(key), std::move(value));
    return Json(std::move(members));
  }

  void refuse_duplicates(const Frame& frame) const {
    if (frame.members.size() < 2) return;
    std::vector<std::string_view> keys;
    keys.reserve(frame.members.size());
    for (const auto& member : frame.members) keys.push_back(member.first);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) fail("the key " + in_quotes(*twice) + " occurs twice in the object", frame.start);
  }

  Json scalar() {
    const char c = text_[pos_];
    if (c == '"') return Json(string());
    if (c == 't' && word("true")) return Json(true);
    if (c == 'f' && word("false")) return Json(false);
    if (c == 'n' && word("null")) return Json(nullptr);
    if (word("NaN") || word("-NaN")) fail("NaN is not a JSON number", pos_);
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const size_t start = pos_;
    const bool positive = word("Infinity");
    if (positive || word("-Infinity")) {
      if (!limits_.allow_infinity) fail("Infinity is not a JSON number", start);
      return Json(positive ? kInfinity : -kInfinity);
    }
    if (c == '-' || digit()) return number();
    fail("expected a value", pos_);
  }

  bool word(std::string_view w) {
    if (text_.substr(pos_, w.size()) != w) return false;
    pos_ += w.size();
    return true;
  }

  bool digit() const { return !at_end() && text_[pos_] >= '0' && text_[pos_] <= '9'; }
  void digits() {
    if (!digit()) fail("expected a digit", pos_);
    while (digit()) ++pos_;
  }

  Json number() {
    const size_t start = pos_;
    const bool negative = take('-');
    if (!take('0')) digits();
    else if (digit()) fail("a number has a leading zero", start);
    bool whole = true;
    if (take('.')) {
      whole = false;
      digits();
    }
    if (take('e') || take('E')) {
      whole = false;
      if (!take('+')) take('-');
      digits();
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + pos_;
    if (whole) {
      int64_t i = 0;
      uint64_t u = 0;
      if (negative && std::from_chars(first, last, i).ec == std::errc()) return Json(i);
      if (!negative && std::from_chars(first, last, u).ec == std::errc()) return Json(u);
    }
    double d = 0;
    if (std::from_chars(first, last, d).ec != std::errc()) {
      // Out of range: too small is zero, as everywhere; too large has no value.
      std::istringstream in(std::string(first, last));
      in.imbue(std::locale::classic());
      if (!(in >> d)) d = std::numeric_limits<double>::infinity();
      if (!std::isfinite(d) || std::abs(d) >= 1) fail("a number is too large for 64-bit floating point", start);
    }
    return Json(d);
  }

  std::string string() {
    const size_t start = pos_++;
    std::string out;
    for (;;) {
      const size_t run = pos_;
      while (!at_end() && text_[pos_] != '"' && text_[pos_] != '\\' && static_cast<uint8_t>(text_[pos_]) >= 0x20) {
        const size_t n = utf8_char_bytes(text_.substr(pos_, 4));
        if (n == 0) fail("a string is not UTF-8", pos_);
        pos_ += n;
      }
      out.append(text_.substr(run, pos_ - run));
      if (at_end()) fail("a string is not closed", start);
      if (take('"')) return out;
      if (!take('\\')) fail("a string holds a control character", pos_);
      escape(out);
    }
  }

  void escape(std::string& out) {
    const size_t start = pos_ - 1;
    if (at_end()) fail("a string is not closed", start);
    const char c = text_[pos_++];
    switch (c) {
      case '"': case '\\': case '/': out += c; return;
      case 'b': out += '\b'; return;
      case 'f': out += '\f'; return;
      case 'n': out += '\n'; return;
      case 'r': out += '\r'; return;
      case 't': out += '\t'; return;
      case 'u': break;
      default: fail("a string holds an unknown escape", start);
    }
    uint32_t code = hex4(start);
    if (code >= 0xD800 && code < 0xE000) {
      const bool high = code < 0xDC00 && take('\\') && take('u');
      const uint32_t low = high ? hex4(start) : 0;
      if (low < 0xDC00 || low > 0xDFFF) fail("a string holds half a surrogate pair", start);
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    auto put = [&](uint32_t byte) { out += static_cast<char>(static_cast<uint8_t>(byte)); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xC0 | (code >> 6));
      put(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      put(0xE0 | (code >> 12));
      put(0x80 | ((code >> 6) & 0x3F));
      put(0x80 | (code & 0x3F));
    } else {
      put(0xF0 | (code >> 18));
      put(0x80 | ((code >> 12) & 0x3F));
      put(0x80 | ((code >> 6) & 0x3F));
      put(0x80 | (code & 0x3F));
    }
  }

  uint32_t hex4(size_t start) {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = at_end() ? '\0' : text_[pos_++];
      const char l = static_cast<char>(c | 0x20);
      if (c >= '0' && c <= '9') code = code * 16 + static_cast<uint32_t>(c - '0');
      else if (l >= 'a' && l <= 'f') code = code * 16 + static_cast<uint32_t>(l - 'a' + 10);
      else fail("a string holds a malformed \\u escape", start);
    }
    return code;
  }

  std::string_view text_;
  const std::string& where_;
  const JsonLimits& limits_;
  size_t pos_ = 0, values_ = 0;
  std::vector<Frame> stack_;
};

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& where, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    return Status(StatusCode::kBadInput, "the text has " + std::to_string(text.size()) + " bytes, more than the " +
                  std::to_string(limits.max_bytes) + " that are read", where);
  try {
    return Reader(text, where, limits).read();
  } catch (...) {
    return status_of_current_exception();
  }
}

Result<Json> read_json_file(const std::string& path, const JsonLimits& limits) {
  Result<std::string> text = read_text_file(path, limits.max_bytes);
  if (!text) return text.status();
  return parse_json(*text, path, limits);
}

Status write_text_file(const std::string& path, std::string_view text) {
  Result<AtomicFile> file = AtomicFile::create(path);
  if (!file) return file.status();
  if (Status s = file->write(text.data(), text.size()); !s) return s;
  return file->commit();
}

Result<std::string> read_text_file(const std::string& path, size_t max_bytes) {
  auto too_large = [&] {
    return Status(StatusCode::kBadInput, "'" + path + "' has more than the " + std::to_string(max_bytes) +
                  " bytes that are read");
  };
  struct stat info {};
  // Asked before opening: opening some devices acts on them. O_NONBLOCK: a pipe put there in between must not block.
  if (::stat(path.c_str(), &info) != 0) return file_error("read", path, errno);
  if (!S_ISREG(info.st_mode)) return Status(StatusCode::kBadInput, "'" + path + "' is not a regular file");
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return file_error("read", path, errno);
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  if (::fstat(fd, &info) != 0) return file_error("read", path, errno);
  if (!S_ISREG(info.st_mode)) return Status(StatusCode::kBadInput, "'" + path + "' is not a regular file");
  if (info.st_size > 0 && static_cast<uint64_t>(info.st_size) > max_bytes) return too_large();
  std::string text;
  text.resize(static_cast<size_t>(info.st_size));
  size_t used = 0;
  for (;;) {
    // One byte of room shows the end of a file that did not grow without a second buffer.
    if (used == text.size()) text.resize(used + std::max<size_t>(4096, used / 8));
    const ssize_t n = ::read(fd, text.data() + used, text.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error("read", path, errno);
    if (n == 0) break;
    used += static_cast<size_t>(n);
    if (used > max_bytes) return too_large();
  }
  text.resize(used);
  return text;
}

}  // namespace microtome
