#include "core/io/tokenizer/charsmap.h"

#include <unicode/ubrk.h>
#include <unicode/utext.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

constexpr size_t kWholeGraphemeBytes = 6;      // clusters shorter than this are looked up as a whole

[[noreturn]] void bad(const std::string& what, const std::string& where) {
  throw Error(StatusCode::kBadInput, "field 'precompiled_charsmap' " + what, where, "the file is damaged");
}

std::string from_base64(const std::string& text, const std::string& where) {
  const auto digit = [](char c) -> int {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  };
  size_t end = text.size();
  while (end > 0 && text.size() - end < 2 && text[end - 1] == '=') --end;
  if (text.size() % 4 != 0) bad("is not base64", where);
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  int held = 0;
  for (size_t i = 0; i < end; ++i) {
    const int d = digit(text[i]);
    if (d < 0) bad("is not base64", where);
    bits = bits << 6 | static_cast<uint32_t>(d);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out += static_cast<char>(bits >> held & 0xFF);
  }
  return out;
}

// Grapheme clusters of a text, in order, as ends in bytes.
std::vector<size_t> cluster_ends(std::string_view text) {
  UErrorCode code = U_ZERO_ERROR;
  const std::unique_ptr<UBreakIterator, decltype(&ubrk_close)> breaks(ubrk_open(UBRK_CHARACTER, "", nullptr, 0, &code),
                                                                      ubrk_close);
  const std::unique_ptr<UText, decltype(&utext_close)> source(
      U_SUCCESS(code) ? utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &code) : nullptr,
      utext_close);
  if (U_SUCCESS(code)) ubrk_setUText(breaks.get(), source.get(), &code);
  if (U_FAILURE(code)) {
    throw Error(StatusCode::kFailed, std::string("Unicode break data cannot be opened: ") + u_errorName(code), "ICU",
                "check the installation of ICU");
  }
  std::vector<size_t> out;
  for (int32_t at = ubrk_next(breaks.get()); at != UBRK_DONE; at = ubrk_next(breaks.get()))
    out.push_back(static_cast<size_t>(at));
  return out;
}

class CharsmapNormalizer : public Normalizer {
 public:
  CharsmapNormalizer(const std::string& encoded, const std::string& where) : where_(where) {
    const std::string bytes = from_base64(encoded, where);
    if (bytes.size() < 4) bad("is too short", where);
    const uint64_t size = unit_at(bytes, 0);
    if (size % 4 != 0 || size > bytes.size() - 4) bad("says a length that it does not have", where);
    for (size_t i = 0; i < size; i += 4) units_.push_back(unit_at(bytes, 4 + i));
    texts_ = bytes.substr(4 + static_cast<size_t>(size));
    if (find_invalid_utf8(texts_) != std::string::npos) bad("holds replacements that are not UTF-8", where);
  }

  void apply(AlignedText& text, const Budget& budget) const override {
    const std::string_view all = text.text;
    Changes out;
    bool modified = false;
    size_t begin = 0;
    for (const size_t end : cluster_ends(all)) {
      const std::string_view cluster = all.substr(begin, end - begin);
      begin = end;
      const auto whole = cluster.size() < kWholeGraphemeBytes ? replacement(cluster) : std::nullopt;
      if (whole) {
        replace(cluster, *whole, out);
        modified = true;
      }
      for (size_t i = 0; !whole && i < cluster.size(); i += utf8_width(cluster[i])) {
        const std::string_view c = cluster.substr(i, utf8_width(cluster[i]));
        if (const auto by = replacement(c)) {
          replace(c, *by, out);
          modified = true;
        } else {
          out.emplace_back(code_point_at(c.data()), 0);
        }
      }
      budget.check_size(out.size());
    }
    if (!modified) return;
    rewrite(text, budget, [&](Rewrite& pass) {
      for (const auto& [c, change] : out) pass.apply(c, change);
    });
  }

 private:
  // Characters with what each does to the text: see Rewrite::apply.
  using Changes = std::vector<std::pair<char32_t, int64_t>>;

  static uint32_t unit_at(const std::string& bytes, size_t at) {
    uint32_t v = 0;
    for (size_t i = 4; i-- > 0;) v = v << 8 | static_cast<uint8_t>(bytes[at + i]);
    return v;
  }
  static int64_t count_chars(std::string_view text) {
    return std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); });
  }

  // What the shortest entry that `text` begins with is replaced by.
  std::optional<std::string_view> replacement(std::string_view text) const {
    const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); };
    if (units_.empty()) return std::nullopt;
    size_t at = offset(units_[0]);
    for (const char ch : text) {
      const uint32_t c = static_cast<uint8_t>(ch);
      at ^= c;
      if (c == 0 || at >= units_.size() || (units_[at] & 0x800000FF) != c) return std::nullopt;
      const uint32_t unit = units_[at];
      at ^= offset(unit);
      if ((unit & 0x100) == 0) continue;
      const size_t begin = at < units_.size() ? units_[at] & 0x7FFFFFFF : texts_.size();
      if (begin >= texts_.size() || is_continuation(texts_[begin])) bad("points outside its replacements", where_);
      return std::string_view(texts_).substr(begin, texts_.find('\0', begin) - begin);
    }
    return std::nullopt;
  }

  static void replace(std::string_view old, std::string_view by, Changes& out) {
    for (size_t i = 0; i < by.size(); i += utf8_width(by[i])) out.emplace_back(code_point_at(by.data() + i), 0);
    const int64_t more = count_chars(by) - count_chars(old);
    for (int64_t i = 0; i < more; ++i) out[out.size() - 1 - static_cast<size_t>(i)].second = 1;
    // What is taken away counts with the character before it; at the start of a text, as in the reference, with none.
    if (more < 0 && !out.empty()) out.back().second += more;
  }

  std::string where_;
  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace

std::unique_ptr<Normalizer> make_charsmap(const std::string& encoded, const std::string& where) {
  return std::make_unique<CharsmapNormalizer>(encoded, where);
}

}  // namespace microtome::tok
