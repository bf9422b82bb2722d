#include "core/store/feature_query.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "core/base/quote.h"
#include "core/base/status.h"

namespace microtome {
namespace {

using Field = FeatureQuery::Field;
constexpr size_t kMostParts = 64;
constexpr std::pair<const char*, Field> kFields[] = {{"index", Field::kIndex}, {"density", Field::kDensity}, {"max", Field::kMax}, {"mean", Field::kMean}};

std::optional<Field> field_of(std::string_view name) {
  for (const auto& [text, field] : kFields)
    if (name == text) return field;
  return std::nullopt;
}

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}

  FeatureQuery parse() {
    FeatureQuery q;
    for (skip(); at_ < text_.size(); skip()) {
      if (++parts_ > kMostParts) bad("the query has more than " + std::to_string(kMostParts) + " parts", "ask for less at a time");
      if (std::string_view rest = std::string_view(text_).substr(at_); rest.rfind("token:", 0) == 0) {
        at_ += 6;
        bool exact = peek() == '"';
        q.tokens.push_back({value("token:"), exact});
      } else if (rest.rfind("label:", 0) == 0) {
        at_ += 6;
        q.labels.push_back(value("label:"));
      } else if (rest.rfind("sort:", 0) == 0) {
        at_ += 5;
        set_sort(q, value("sort:"));
      } else if (!bound(q)) {
        std::string word = peek() == '"' ? quoted() : bare();
        if (!word.empty()) q.texts.push_back(std::move(word));
      }
    }
    return q;
  }

 private:
  [[noreturn]] void bad(const std::string& what, const std::string& todo) const {
    throw Error(StatusCode::kBadInput, what, "query " + in_quotes(text_), todo);
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip() { while (at_ < text_.size() && blank(text_[at_])) ++at_; }

  std::string bare() {
    size_t from = at_;
    while (at_ < text_.size() && !blank(text_[at_])) ++at_;
    return text_.substr(from, at_ - from);
  }

  std::string quoted() {
    std::string out;
    const size_t from = at_++;
    for (; at_ < text_.size(); ++at_) {
      char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c == '\\' && at_ + 1 < text_.size()) {
        c = text_[++at_];
        c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
      }
      out += c;
    }
    bad("the quotation mark at place " + std::to_string(from + 1) + " is not closed", "close it with a second one");
  }

  std::string value(const char* key) {
    if (peek() == '"') return quoted();
    std::string word = bare();
    if (word.empty()) bad(std::string(key) + " has nothing behind it", std::string("write ") + key + "word or " + key + "\"words\"");
    return word;
  }

  // density > 0.01; false where no comparison stands here.
  bool bound(FeatureQuery& q) {
    size_t end = at_;
    while (end < text_.size() && text_[end] >= 'a' && text_[end] <= 'z') ++end;
    std::optional<Field> field = field_of(std::string_view(text_).substr(at_, end - at_));
    if (!field) return false;
    while (end < text_.size() && blank(text_[end])) ++end;
    if (end >= text_.size() || (text_[end] != '<' && text_[end] != '>' && text_[end] != '=')) return false;
    const char first = text_[end++];
    const bool equal = first == '=' || (end < text_.size() && text_[end] == '=' && ++end);
    at_ = end;
    skip();
    std::string number = bare();
    FeatureQuery::Bound b{*field, {}, NAN};
    const char* last = number.data() + number.size();
    auto [next, error] = std::from_chars(number.data(), last, b.value);
    if (error != std::errc() || next != last || !std::isfinite(b.value))
      bad(in_quotes(number) + " behind " + field_name(*field) + " is not a number", std::string("write ") + field_name(*field) + ">0.01");
    using C = FeatureQuery::Compare;
    b.compare = first == '=' ? C::kEqual : first == '<' ? (equal ? C::kLessEqual : C::kLess) : (equal ? C::kMoreEqual : C::kMore);
    q.bounds.push_back(b);
    return true;
  }

  const std::string& text_;
  size_t at_ = 0, parts_ = 0;
};

}  // namespace

const char* field_name(FeatureQuery::Field field) {
  for (const auto& [text, f] : kFields)
    if (f == field) return text;
  return "index";
}

void set_sort(FeatureQuery& query, const std::string& text) {
  const bool turned = !text.empty() && text[0] == '-';
  std::optional<Field> field = field_of(std::string_view(text).substr(turned ? 1 : 0));
  if (!field) throw Error(StatusCode::kBadInput, "features cannot be sorted by " + in_quotes(text), "sort", "known are density, max, mean, index, with - in front for the other way round");
  query.sort = *field;
  query.descending = (*field != Field::kIndex) != turned;
}

FeatureQuery parse_feature_query(const std::string& text) { return Parser(text).parse(); }

}  // namespace microtome
