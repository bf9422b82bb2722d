#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/io/tokenizer/pattern.h"

#include <pcre2.h>

#include <algorithm>

#include "core/base/quote.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
constexpr uint32_t kMatchLimit = 10'000'000;        // backtracking steps from one start position
constexpr uint32_t kHeapLimitKib = 256 << 10;       // of the interpreter, when the compiled form's stack is too small
// Start positions tried in one call. PCRE2 counts steps from each start anew, so a pattern that scans far from every
// start would hang within its limits; between calls the clock is looked at, and the window follows how fast they were.
constexpr size_t kFirstWindow = 8, kLargestWindow = 4096;
constexpr auto kSlowCall = std::chrono::milliseconds(20);

std::string pcre_message(int code) {
  PCRE2_UCHAR buffer[256];
  const int n = pcre2_get_error_message(code, buffer, sizeof buffer);
  return n < 0 ? "error " + std::to_string(code) : std::string(reinterpret_cast<char*>(buffer));
}

struct FreeCode { void operator()(pcre2_code* p) const { pcre2_code_free(p); } };
struct FreeMatch { void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); } };
struct FreeMatchContext { void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); } };
struct FreeCompileContext { void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); } };

template <class P>
P* required(P* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

struct Pattern::Compiled {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::string where;
};

Pattern Pattern::literal(std::string text) {
  Pattern p;
  p.text_ = std::move(text);
  return p;
}

Pattern Pattern::regex(std::string_view pattern, const std::string& where) {
  if (pattern.size() > kMaxPatternBytes) {
    throw Error(StatusCode::kBadInput, "the pattern is " + std::to_string(pattern.size()) + " bytes long", where,
                "at most " + std::to_string(kMaxPatternBytes) + " are read");
  }
  const std::string translated = translate_regex(pattern, where);
  std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(required(pcre2_compile_context_create(nullptr)));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE offset = 0;
  // MULTILINE: in Ruby's syntax ^ and $ always match at line ends.
  pcre2_code* compiled = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT | PCRE2_NEVER_BACKSLASH_C, &code, &offset,
      context.get());
  if (compiled == nullptr) {
    throw Error(StatusCode::kBadInput,
                "the regular expression " + in_quotes(pattern) + " does not compile: " + pcre_message(code), where,
                "correct the pattern");
  }
  auto c = std::make_shared<Compiled>();
  c->code.reset(compiled);
  c->where = where;
  // Where there is no just-in-time compiler the interpreter gives the same matches.
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  Pattern p;
  p.text_ = std::string(pattern);
  p.compiled_ = std::move(c);
  return p;
}

Pattern Pattern::from_json(const Json& object, const char* key, const std::string& where) {
  const std::string here = where + "." + key;
  const auto it = object.find(key);
  if (it == object.end()) throw Error(StatusCode::kBadInput, std::string("field '") + key + "' is missing", where);
  if (it->is_string()) return literal(it->get<std::string>());
  if (it->is_object() && it->size() == 1) {
    const std::string& name = it->begin().key();
    const Json& value = it->begin().value();
    if (value.is_string() && name == "String") return literal(value.get<std::string>());
    if (value.is_string() && name == "Regex") return regex(value.get_ref<const std::string&>(), here);
  }
  throw Error(StatusCode::kBadInput, std::string("field '") + key + "' must be {\"String\": …} or {\"Regex\": …}",
              where);
}

void Pattern::find_all(std::string_view subject, const Budget& budget, std::vector<Match>& out) const {
  out.clear();
  if (!compiled_) {
    if (text_.empty()) {   // the empty pattern matches at every boundary
      for (size_t i = 0; i < subject.size(); i += utf8_width(subject[i])) out.push_back({i, i});
      out.push_back({subject.size(), subject.size()});
      return;
    }
    for (size_t at = subject.find(text_); at != subject.npos; at = subject.find(text_, at + text_.size())) {
      out.push_back({at, at + text_.size()});
    }
    return;
  }
  std::unique_ptr<pcre2_match_data, FreeMatch> data(required(pcre2_match_data_create(1, nullptr)));
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context(required(pcre2_match_context_create(nullptr)));
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimitKib);
  const auto* text = reinterpret_cast<PCRE2_SPTR>(subject.data());
  size_t from = 0, last_end = subject.npos, calls = 0, window = kFirstWindow;
  while (from <= subject.size()) {
    if (++calls % 8 == 0) budget.check_time();
    size_t window_end = std::min(subject.size(), from + window);
    while (window_end < subject.size() && is_continuation(subject[window_end])) ++window_end;
    pcre2_set_offset_limit(context.get(), window_end);
    const auto start = std::chrono::steady_clock::now();
    int rc = pcre2_match(compiled_->code.get(), text, subject.size(), from, PCRE2_NO_UTF_CHECK, data.get(),
                         context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {   // deep nesting: the interpreter keeps its frames on the heap
      rc = pcre2_match(compiled_->code.get(), text, subject.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(),
                       context.get());
    }
    if (rc == PCRE2_ERROR_NOMATCH) {
      if (window_end >= subject.size()) return;
      from = window_end + utf8_width(subject[window_end]);
      window = std::chrono::steady_clock::now() - start > kSlowCall ? 1 : std::min(2 * window, kLargestWindow);
      budget.check_time();
      continue;
    }
    if (rc < 0) {
      throw Error(StatusCode::kUnsupported,
                  "the regular expression " + in_quotes(text_) + " takes too many steps on this text (" +
                      pcre_message(rc) + ")",
                  compiled_->where, "simplify the pattern");
    }
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
    const size_t begin = span[0], end = span[1];
    if (begin == end && end == last_end) {
      if (end >= subject.size()) return;
      from = end + utf8_width(subject[end]);
      continue;
    }
    out.push_back({begin, end});
    from = last_end = end;
  }
}

}  // namespace microtome::tok
