#include <unicode/uchar.h>

#include <cctype>

#include "core/io/tokenizer/pattern.h"

namespace microtome::tok {
namespace {

// What \w, \s, \d and \h stand for inside a character class.
constexpr const char* kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr const char* kHex = "0-9A-Fa-f";

// One pass over the pattern. Not recursive: groups and classes are kept on explicit stacks.
class Translator {
 public:
  Translator(std::string_view in, const std::string& where) : in_(in), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        start_atom();
        escape(false);
      } else if (c == '[') {
        start_atom();
        character_class();
      } else if (c == '(') {
        open_group();
      } else if (c == ')') {
        if (groups_.empty()) fail("has a ')' without '('");
        atom_ = groups_.back();
        groups_.pop_back();
        put();
      } else if (c == '{' && interval()) {
        // done by interval()
      } else if (c == '*' || c == '+' || c == '?') {
        put();   // a quantifier belongs to the atom before it
      } else {
        start_atom();
        put();
        while (at_ < in_.size() && (static_cast<unsigned char>(in_[at_]) & 0xC0) == 0x80) put();
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(StatusCode::kBadInput, "the regular expression " + what + " at byte " + std::to_string(at_), where_,
                "correct the pattern");
  }
  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(StatusCode::kUnsupported,
                "the regular expression uses " + what + " at byte " + std::to_string(at_) + ", which is not supported",
                where_, "rewrite the pattern without it");
  }
  char next(size_t ahead) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  void put() { out_ += in_[at_++]; }
  void start_atom() { atom_ = out_.size(); }

  void open_group() {
    const size_t begin = out_.size();
    if (next(1) == '*') unsupported("'(*'");
    if (next(1) != '?') {
      groups_.push_back(begin);
      put();
      return;
    }
    const char kind = next(2);
    if (kind == '#') {   // a comment
      while (at_ < in_.size() && in_[at_] != ')') ++at_;
      if (at_ == in_.size()) fail("has an open comment");
      ++at_;
      return;
    }
    if (kind == ':' || kind == '=' || kind == '!' || kind == '>' || kind == '<') {
      groups_.push_back(begin);
      out_ += "(?";
      at_ += 2;
      put();
      return;
    }
    // Options: i and x are the same, Ruby's m lets '.' match a newline.
    out_ += "(?";
    at_ += 2;
    while (at_ < in_.size() && in_[at_] != ':' && in_[at_] != ')') {
      const char c = in_[at_];
      if (c == 'i' || c == 'x' || c == '-') {
        put();
      } else if (c == 'm') {
        out_ += 's';
        ++at_;
      } else {
        unsupported(std::string("'(?") + c + "'");
      }
    }
    if (at_ == in_.size()) fail("has an open group");
    if (in_[at_] == ':') groups_.push_back(begin);
    put();
  }

  // {n}, {n,}, {,m}, {n,m}: true when the brace is one of these.
  bool interval() {
    size_t i = at_ + 1;
    std::string low, high;
    while (i < in_.size() && std::isdigit(static_cast<unsigned char>(in_[i]))) low += in_[i++];
    const bool comma = i < in_.size() && in_[i] == ',';
    if (comma) {
      ++i;
      while (i < in_.size() && std::isdigit(static_cast<unsigned char>(in_[i]))) high += in_[i++];
    }
    if (i >= in_.size() || in_[i] != '}' || (low.empty() && high.empty())) return false;
    const char after = i + 1 < in_.size() ? in_[i + 1] : '\0';
    // PCRE2 reads X{n,m}+ as possessive and X{n}? as lazy; Ruby repeats the repetition.
    const bool wrap = after == '+' || (after == '?' && !comma);
    if (wrap) out_.insert(atom_, "(?:");
    out_ += "{" + (low.empty() ? "0" : low);
    if (comma) out_ += "," + high;
    out_ += "}";
    if (wrap) out_ += ")";
    at_ = i + 1;
    return true;
  }

  // At a backslash.
  void escape(bool in_class) {
    const char c = next(1);
    if (c == '\0') fail("ends with a backslash");
    const auto both = [&](const char* inside, const char* outside) {
      out_ += in_class ? inside : outside;
      at_ += 2;
    };
    switch (c) {
      case 's': return both("\\p{White_Space}", "\\p{White_Space}");
      case 'S': return both("\\P{White_Space}", "\\P{White_Space}");
      case 'd': return both("\\p{Nd}", "\\p{Nd}");
      case 'D': return both("\\P{Nd}", "\\P{Nd}");
      case 'w': return both(kWord, (std::string("[") + kWord + "]").c_str());
      case 'h': return both(kHex, (std::string("[") + kHex + "]").c_str());
      case 'W':
      case 'H':
        if (in_class) unsupported(std::string("'\\") + c + "' inside a character class");
        return both("", (std::string("[^") + (c == 'W' ? kWord : kHex) + "]").c_str());
      case 'v': return both("\\x0b", "\\x0b");
      case 'p':
      case 'P': return property();
      case 'u': return unicode_escape();
      default: break;
    }
    static constexpr std::string_view kSameInClass = "nrtfaebx", kSameOutside = "nrtfaexbBAzZGkRX";
    if (std::isalpha(static_cast<unsigned char>(c)) &&
        (in_class ? kSameInClass : kSameOutside).find(c) == std::string_view::npos) {
      unsupported(std::string("'\\") + c + "'");
    }
    put();
    put();
  }

  void property() {
    const size_t begin = at_;
    if (next(2) != '{') fail("has \\p without a name in braces");
    const size_t close = in_.find('}', at_);
    if (close == in_.npos || close - begin > 64) fail("has a property name without end");
    std::string name(in_.substr(begin + 3, close - begin - 3));
    bool negated = in_[begin + 1] == 'P';
    if (!name.empty() && name[0] == '^') {
      negated = !negated;
      name.erase(0, 1);
    }
    // A bare script name means script extensions to PCRE2.
    if (name.size() > 2 && u_getPropertyValueEnum(UCHAR_SCRIPT, name.c_str()) != UCHAR_INVALID_CODE) {
      name = "sc:" + name;
    }
    out_ += (negated ? "\\P{" : "\\p{") + name + "}";
    at_ = close + 1;
  }

  void unicode_escape() {
    const std::string_view digits = in_.substr(at_ + 2, 4);
    for (char d : digits) {
      if (!std::isxdigit(static_cast<unsigned char>(d))) fail("has \\u without four hexadecimal digits");
    }
    if (digits.size() != 4) fail("has \\u without four hexadecimal digits");
    out_ += "\\x{" + std::string(digits) + "}";
    at_ += 6;
  }

  // At '['. A class within a class is a union: its members are written into the outer one.
  void character_class() {
    int depth = 1;
    put();
    if (at_ < in_.size() && in_[at_] == '^') put();
    if (at_ < in_.size() && in_[at_] == ']') {   // a leading ']' is a member
      out_ += "\\]";
      ++at_;
    }
    while (true) {
      if (at_ >= in_.size()) fail("has a character class without end");
      const char c = in_[at_];
      if (c == '\\') {
        escape(true);
      } else if (c == '[' && next(1) == ':') {
        const size_t close = in_.find(":]", at_ + 2);
        if (close == in_.npos || close - at_ > 32) fail("has a POSIX class without end");
        out_ += in_.substr(at_, close + 2 - at_);
        at_ = close + 2;
      } else if (c == '[') {
        if (next(1) == '^') unsupported("a negated character class inside another");
        if (!out_.empty() && out_.back() == '-') unsupported("a character class after '-'");
        ++depth;
        ++at_;
        escape_hyphen();
      } else if (c == ']') {
        if (--depth == 0) {
          put();
          return;
        }
        ++at_;
        escape_hyphen();
      } else if (c == '&' && next(1) == '&') {
        unsupported("the class intersection '&&'");
      } else if (c == '-' && next(1) == ']' && depth > 1) {
        escape_hyphen();
      } else {
        put();
      }
    }
  }
  // A '-' at the edge of a nested class is itself, not a range.
  void escape_hyphen() {
    if (at_ < in_.size() && in_[at_] == '-') {
      out_ += "\\-";
      ++at_;
    }
  }

  std::string_view in_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
  size_t atom_ = 0;               // where the last atom begins in out_
  std::vector<size_t> groups_;    // where the open groups begin in out_
};

}  // namespace

std::string translate_regex(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace microtome::tok
