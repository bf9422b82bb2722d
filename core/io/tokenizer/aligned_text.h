// aligned_text.h — text that is rewritten step by step while each of its bytes remembers which bytes of the input it
// stands for, and the list of splits that pre-tokenizers make of it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace microtome::tok {

// A byte range of the original input.
struct Align {
  uint32_t begin = 0, end = 0;
};

// What one encode or decode may cost: a hostile tokenizer file can make its patterns slow and its replacements grow
// without end, so both are bounded by the size of the text that came in. Time is the thread's own processor time, so
// that a busy machine changes no answer; a Budget stays on the thread that made it.
class Budget {
 public:
  // `least`: time that even a short text gets; more is given for each byte.
  explicit Budget(size_t input_bytes, std::chrono::milliseconds least = std::chrono::seconds(10));
  // Throw Error(kUnsupported) once the time is used up, or when `bytes` of text would be too many.
  void check_time() const;
  void check_size(size_t bytes) const {
    if (bytes > max_bytes_) too_large();
  }

 private:
  [[noreturn]] void too_large() const;
  std::chrono::nanoseconds deadline_;
  size_t max_bytes_;
};

struct AlignedText {
  std::string text;
  std::vector<Align> align;   // one for each byte of text
  uint32_t origin = 0;        // where in the input this part begins

  AlignedText() = default;
  // A part of the input as it stands, beginning at byte `origin` of it.
  AlignedText(std::string_view part, uint32_t origin);
};

// One forward pass over a part of an aligned text, writing the new text behind `out_text`. The alignment rules are
// those of the reference: what replaces a character stands for what that character stood for; what is inserted stands
// for the same as the character before it. Not thread-safe.
class Rewrite {
 public:
  Rewrite(std::string_view text, const Align* align, uint32_t origin, std::string& out_text,
          std::vector<Align>& out_align, const Budget& budget)
      : text_(text), align_(align), origin_(origin), out_text_(out_text), out_align_(out_align), budget_(budget) {}

  bool done() const { return at_ >= text_.size(); }
  size_t at() const { return at_; }
  uint32_t origin() const { return origin_; }
  char32_t peek() const;
  void replace(char32_t c);
  void insert(char32_t c);
  void skip(size_t chars = 1);
  void keep_until(size_t byte);   // copies as it is up to this byte
  void keep_rest() { keep_until(text_.size()); }
  // change > 0: c is new; 0: c replaces one character; -n: and n further ones are removed.
  void apply(char32_t c, int64_t change);

 private:
  void put(char32_t c, Align a);
  std::string_view text_;
  const Align* align_;
  uint32_t origin_;
  std::string& out_text_;
  std::vector<Align>& out_align_;
  const Budget& budget_;
  size_t at_ = 0;
};

// Runs f(Rewrite&) over the whole of t and puts the result in its place.
template <class F>
void rewrite(AlignedText& t, const Budget& budget, F&& f) {
  std::string text;
  std::vector<Align> align;
  text.reserve(t.text.size());
  align.reserve(t.align.size());
  Rewrite pass(t.text, t.align.data(), t.origin, text, align, budget);
  f(pass);
  t.text = std::move(text);
  t.align = std::move(align);
}

// Puts `s` in front of text that is not empty; it stands for what the first character stands for.
void prepend(Rewrite& pass, std::u32string_view s);

struct Split {
  size_t begin = 0, end = 0;   // bytes of PreTokenized::text
  uint32_t origin = 0;         // first byte of the input it stands for
  int64_t token = -1;          // id of the added token that it is, or -1
};

struct PreTokenized {
  std::string text;
  std::vector<Align> align;
  std::vector<Split> splits;   // never empty ones

  std::string_view view(const Split& s) const { return std::string_view(text).substr(s.begin, s.end - s.begin); }
  void append(const AlignedText& part, size_t begin, size_t end, int64_t token);
  // Rewrites each split that is no added token with f(Rewrite&); splits that end up empty are dropped.
  template <class F>
  void rewrite_splits(const Budget& budget, F&& f) {
    std::string new_text;
    std::vector<Align> new_align;
    new_text.reserve(text.size() + text.size() / 4);
    new_align.reserve(text.size() + text.size() / 4);
    size_t kept = 0;
    for (Split s : splits) {
      const size_t begin = new_text.size();
      Rewrite pass(view(s), align.data() + s.begin, s.origin, new_text, new_align, budget);
      if (s.token >= 0) {
        pass.keep_rest();
      } else {
        f(pass);
      }
      s.begin = begin;
      s.end = new_text.size();
      if (s.end > s.begin) splits[kept++] = s;
    }
    splits.resize(kept);
    text = std::move(new_text);
    align = std::move(new_align);
  }
};

}  // namespace microtome::tok
