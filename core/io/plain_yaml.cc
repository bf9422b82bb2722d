#include "core/io/plain_yaml.h"

#include <charconv>
#include <cmath>
#include <vector>

#include "core/base/quote.h"

namespace microtome {
namespace {

constexpr size_t kMaxBytes = 1 << 20, kMaxLines = 10'000;
constexpr int kMaxDepth = 16;

struct Line {
  size_t number = 0, indent = 0;
  std::string_view text;                // without indent, comment and blanks at its end
};

// Where a comment begins: '#' at the start or after a blank, outside quotes.
std::string_view without_comment(std::string_view s) {
  char quote = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    const char c = s[i];
    const bool opens = i == 0 || s[i - 1] == ' ' || s[i - 1] == '[' || s[i - 1] == ',' || s[i - 1] == ':';
    if (quote) {
      if (c == '\\' && quote == '"') ++i;
      else if (c == quote) quote = 0;
    } else if ((c == '\'' || c == '"') && opens) {
      quote = c;
    } else if (c == '#' && (i == 0 || s[i - 1] == ' ' || s[i - 1] == '\t')) {
      s = s.substr(0, i);
    }
  }
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r')) s.remove_suffix(1);
  return s;
}

// A plain scalar's value.
Json plain_value(std::string_view s) {
  if (s.empty() || s == "~" || s == "null" || s == "Null" || s == "NULL") return nullptr;
  if (s == "true" || s == "True" || s == "TRUE") return true;
  if (s == "false" || s == "False" || s == "FALSE") return false;
  const char* end = s.data() + s.size();
  int64_t i = 0;
  const char* begin = s[0] == '+' && s.size() > 1 && s[1] != '-' ? s.data() + 1 : s.data();
  if (auto [p, e] = std::from_chars(begin, end, i); e == std::errc() && p == end) return i;
  double d = 0;
  if (s.find_first_not_of("0123456789+-.eE") == std::string_view::npos)
    if (auto [p, e] = std::from_chars(begin, end, d); e == std::errc() && p == end && std::isfinite(d)) return d;
  return std::string(s);
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& where) : where_(where) { split(text); }

  Json read() {
    if (lines_.empty()) return Json::object();
    Json out = block(lines_[0].indent, 0);
    if (at_ < lines_.size()) bad(lines_[at_], "is indented less than what it belongs to");
    if (!out.is_object()) bad(lines_[0], "begins a list where keys are needed");
    return out;
  }

 private:
  [[noreturn]] void bad(const Line& l, const std::string& what) const {
    throw Error(StatusCode::kBadInput, "line " + std::to_string(l.number) + " " + what, where_, "correct the file");
  }
  [[noreturn]] void unsupported(const Line& l, const std::string& what) const {
    throw Error(StatusCode::kUnsupported, "line " + std::to_string(l.number) + " has " + what + ", which is not read", where_, "write it out in full");
  }

  void split(std::string_view text) {
    size_t number = 0;
    while (!text.empty()) {
      ++number;
      const size_t end = std::min(text.find('\n'), text.size());
      std::string_view s = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      const size_t indent = std::min(s.find_first_not_of(' '), s.size());
      Line l{number, indent, without_comment(s.substr(indent))};
      if (l.text.empty()) continue;
      if (l.text[0] == '\t') bad(l, "is indented with a tab");
      if (indent == 0 && l.text == "---" && lines_.empty()) continue;
      if (indent == 0 && (l.text == "---" || l.text == "..." || l.text[0] == '%')) unsupported(l, "a second document or a directive");
      for (std::string_view rest = l.text; !rest.empty();) {
        const size_t n = utf8_char_bytes(rest);
        if (n == 0) bad(l, "is not UTF-8");
        rest.remove_prefix(n);
      }
      if (lines_.size() == kMaxLines) bad(l, "is one of too many for a configuration");
      lines_.push_back(l);
    }
  }

  static bool is_item(std::string_view s) { return s == "-" || s.starts_with("- "); }

  // The colon that ends a key, outside quotes; npos: none.
  static size_t key_end(std::string_view s) {
    size_t i = 0;
    if (s[0] == '"' || s[0] == '\'') {
      for (i = 1; i < s.size() && s[i] != s[0]; ++i)
        if (s[i] == '\\' && s[0] == '"') ++i;
      ++i;
      return i < s.size() && s[i] == ':' && (i + 1 == s.size() || s[i + 1] == ' ') ? i : std::string_view::npos;
    }
    for (; i < s.size(); ++i)
      if (s[i] == ':' && (i + 1 == s.size() || s[i + 1] == ' ' || s[i + 1] == '\t')) return i;
    return std::string_view::npos;
  }

  Json block(size_t indent, int depth) {
    if (depth > kMaxDepth) bad(lines_[at_], "is nested too deeply");
    return is_item(lines_[at_].text) ? list(indent, depth) : mapping(indent, depth);
  }

  Json mapping(size_t indent, int depth) {
    Json out = Json::object();
    while (at_ < lines_.size() && lines_[at_].indent == indent && !is_item(lines_[at_].text)) {
      const Line l = lines_[at_];
      const size_t colon = key_end(l.text);
      if (colon == std::string_view::npos) bad(l, "has no 'key: value'");
      const Json key = scalar(l, l.text.substr(0, colon));
      const std::string name = key.is_string() ? key.get<std::string>() : std::string(l.text.substr(0, colon));
      if (out.contains(name)) bad(l, "gives the key " + in_quotes(name) + " twice");
      out[name] = value(l, l.text.substr(colon + 1), indent, depth, true);
    }
    if (at_ < lines_.size() && lines_[at_].indent > indent) bad(lines_[at_], "is indented more than its neighbours");
    return out;
  }

  Json list(size_t indent, int depth) {
    Json out = Json::array();
    while (at_ < lines_.size() && lines_[at_].indent == indent && is_item(lines_[at_].text)) {
      Line& l = lines_[at_];
      size_t skip = 1;
      while (skip < l.text.size() && l.text[skip] == ' ') ++skip;
      const std::string_view rest = l.text.substr(skip);
      const bool nested = !rest.empty() && (is_item(rest) || (rest[0] != '[' && rest[0] != '{' && key_end(rest) != std::string_view::npos));
      if (nested) {               // "- key: value": a mapping that begins on the item's own line
        l.indent += skip;
        l.text = rest;
        out.push_back(block(l.indent, depth + 1));
      } else {
        out.push_back(value(Line(l), rest, indent, depth, false));
      }
    }
    if (at_ < lines_.size() && lines_[at_].indent > indent) bad(lines_[at_], "is indented more than its neighbours");
    return out;
  }

  // What stands behind "key:" or "-", or in the lines below it.
  Json value(const Line& l, std::string_view text, size_t indent, int depth, bool of_key) {
    while (!text.empty() && (text[0] == ' ' || text[0] == '\t')) text.remove_prefix(1);
    ++at_;
    if (text.empty()) {
      if (at_ >= lines_.size()) return nullptr;
      const Line& next = lines_[at_];
      if (next.indent > indent) return block(next.indent, depth + 1);
      if (of_key && next.indent == indent && is_item(next.text)) return list(indent, depth + 1);
      return nullptr;
    }
    if (text[0] == '[') {
      size_t at = 0;
      Json out = flow_list(l, text, at, depth + 1);
      if (at != text.size()) bad(l, "goes on after ']'");
      return out;
    }
    if (text == "{}") return Json::object();
    return scalar(l, text);
  }

  Json flow_list(const Line& l, std::string_view s, size_t& at, int depth) {
    if (depth > kMaxDepth) bad(l, "is nested too deeply");
    Json out = Json::array();
    ++at;
    const auto skip = [&] {
      while (at < s.size() && s[at] == ' ') ++at;
    };
    for (skip(); at < s.size() && s[at] != ']'; skip()) {
      if (s[at] == '[') {
        out.push_back(flow_list(l, s, at, depth + 1));
      } else {
        const size_t begin = at;
        if (s[at] == '"' || s[at] == '\'') {
          for (++at; at < s.size() && s[at] != s[begin]; ++at)
            if (s[at] == '\\' && s[begin] == '"') ++at;
          at = std::min(at + 1, s.size());
        } else {
          while (at < s.size() && s[at] != ',' && s[at] != ']') ++at;
        }
        std::string_view item = s.substr(begin, at - begin);
        while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
        if (item.empty()) bad(l, "has an empty place in a list");
        out.push_back(scalar(l, item));
      }
      skip();
      if (at < s.size() && s[at] == ',') ++at;
      else if (at < s.size() && s[at] != ']') bad(l, "has no ',' between items of a list");
    }
    if (at >= s.size()) bad(l, "has a list without ']' on the same line");
    ++at;
    return out;
  }

  Json scalar(const Line& l, std::string_view s) const {
    if (s.empty()) return nullptr;
    switch (s[0]) {
      case '&': case '*': unsupported(l, "an anchor or alias");
      case '!': unsupported(l, "a tag");
      case '|': case '>': unsupported(l, "a block of text");
      case '{': case '}': unsupported(l, "a mapping in braces");
      case '[': case ']': case ',': case '%': case '@': case '`': case '?': bad(l, "has a value that begins with " + in_quotes(s.substr(0, 1)));
      case '\'': return single(l, s);
      case '"': return doubled(l, s);
      default: break;
    }
    if (s.find(": ") != std::string_view::npos) bad(l, "has two ': '");
    return plain_value(s);
  }
  Json single(const Line& l, std::string_view s) const {
    std::string out;
    size_t i = 1;
    for (; i < s.size(); ++i) {
      if (s[i] == '\'' && (i + 1 >= s.size() || s[i + 1] != '\'')) break;
      out += s[i];
      if (s[i] == '\'') ++i;
    }
    if (i + 1 != s.size()) bad(l, "has a quoted text without end, or something after it");
    return out;
  }
  // JSON's escapes are those of YAML that are read.
  Json doubled(const Line& l, std::string_view s) const {
    const Result<Json> r = parse_json(s, where_);
    if (!r || !r.value().is_string()) bad(l, "has a quoted text that is not read");
    return r.value();
  }

  std::vector<Line> lines_;
  size_t at_ = 0;
  const std::string& where_;
};

bool is_plain_text(const std::string& s) {
  if (s.empty() || s.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-") != std::string::npos) return false;
  return s[0] != '-' && plain_value(s).is_string();
}

std::string scalar_text(const Json& v) {
  if (v.is_string() && is_plain_text(v.get<std::string>())) return v.get<std::string>();
  return v.dump();
}

void emit(const Json& v, size_t indent, std::string& out) {
  const std::string pad(indent, ' ');
  if (v.is_object()) {
    for (const auto& [key, item] : v.items()) {
      out += pad + scalar_text(key) + ":";
      if (item.is_structured() && !item.empty()) {
        out += "\n";
        emit(item, indent + 2, out);
      } else {
        out += " " + scalar_text(item) + "\n";
      }
    }
    return;
  }
  for (const Json& item : v) {
    if (item.is_structured() && !item.empty()) {
      out += pad + "-\n";
      emit(item, indent + 2, out);
    } else {
      out += pad + "- " + scalar_text(item) + "\n";
    }
  }
}

}  // namespace

Result<Json> parse_plain_yaml(std::string_view text, const std::string& where) {
  try {
    if (text.size() > kMaxBytes) throw Error(StatusCode::kBadInput, "the file has " + std::to_string(text.size()) + " bytes", where, "a configuration has at most 1 MiB");
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    return Parser(text, where).read();
  } catch (...) {
    return status_of_current_exception();
  }
}

std::string plain_yaml(const Json& mapping) {
  std::string out;
  emit(mapping, 0, out);
  return out;
}

}  // namespace microtome
