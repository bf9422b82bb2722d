// pattern.h — what Split and Replace look for: a string, or a regular expression written for Oniguruma (as the
// `tokenizers` library uses it) and run by PCRE2.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/io/tokenizer/aligned_text.h"

namespace microtome::tok {

struct Match {
  size_t begin = 0, end = 0;   // bytes; may be empty
};

// Oniguruma's Ruby syntax in PCRE2's words: \s, \w and \d by Unicode properties, (?m) is PCRE's (?s), nested character
// classes flattened, \p{Han} by script and not by script extension, {n,m}+ not possessive. Throws Error(kBadInput) or,
// for what has no counterpart (class intersection, callouts, absent operator), Error(kUnsupported).
std::string translate_regex(std::string_view pattern, const std::string& where);

// Immutable; thread-safe.
class Pattern {
 public:
  static Pattern literal(std::string text);
  // Throws Error naming the pattern and where it stands.
  static Pattern regex(std::string_view pattern, const std::string& where);
  // {"String": "…"} or {"Regex": "…"}, or a bare string.
  static Pattern from_json(const Json& object, const char* key, const std::string& where);

  // All matches from left to right, not overlapping; an empty match never directly follows another match.
  // `subject` must be valid UTF-8. Throws Error when the pattern runs into its step limit or the budget's time.
  void find_all(std::string_view subject, const Budget& budget, std::vector<Match>& out) const;

 private:
  struct Compiled;
  std::string text_;
  std::shared_ptr<const Compiled> compiled_;   // null: literal
};

}  // namespace microtome::tok
