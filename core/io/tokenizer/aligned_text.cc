#include "core/io/tokenizer/aligned_text.h"

#include <ctime>

#include "core/base/status.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

std::chrono::nanoseconds thread_time() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

}  // namespace

Budget::Budget(size_t input_bytes, std::chrono::milliseconds least)
    : deadline_(thread_time() + least +
                std::chrono::microseconds(10 * static_cast<int64_t>(input_bytes))),
      max_bytes_((size_t{16} << 20) + 16 * input_bytes) {}

void Budget::check_time() const {
  if (thread_time() > deadline_) {
    throw Error(StatusCode::kUnsupported, "a pattern of the tokenizer takes too long on this text", "tokenizer.json",
                "simplify the pattern or shorten the text");
  }
}

void Budget::too_large() const {
  throw Error(StatusCode::kUnsupported,
              "the tokenizer's replacements make the text grow beyond " + std::to_string(max_bytes_) + " bytes",
              "tokenizer.json", "shorten the text or the replacements");
}

AlignedText::AlignedText(std::string_view part, uint32_t first) : text(part), origin(first) {
  align.resize(part.size());
  for (size_t i = 0; i < part.size();) {
    const size_t n = utf8_width(part[i]);
    const Align a{first + static_cast<uint32_t>(i), first + static_cast<uint32_t>(i + n)};
    for (size_t k = 0; k < n; ++k) align[i + k] = a;
    i += n;
  }
}

char32_t Rewrite::peek() const { return code_point_at(text_.data() + at_); }

void Rewrite::put(char32_t c, Align a) {
  const size_t before = out_text_.size();
  append_utf8(out_text_, c);
  out_align_.insert(out_align_.end(), out_text_.size() - before, a);
  budget_.check_size(out_text_.size());
}

void Rewrite::replace(char32_t c) {
  if (done()) return insert(c);
  put(c, align_[at_]);
  at_ += utf8_width(text_[at_]);
}

void Rewrite::insert(char32_t c) { put(c, at_ == 0 ? Align{origin_, origin_} : align_[at_ - 1]); }

void Rewrite::skip(size_t chars) {
  for (; chars > 0 && !done(); --chars) at_ += utf8_width(text_[at_]);
}

void Rewrite::keep_until(size_t byte) {
  out_text_.append(text_.substr(at_, byte - at_));
  out_align_.insert(out_align_.end(), align_ + at_, align_ + byte);
  at_ = byte;
  budget_.check_size(out_text_.size());
}

void Rewrite::apply(char32_t c, int64_t change) {
  if (change > 0) {
    insert(c);
  } else {
    replace(c);
    skip(static_cast<size_t>(-change));
  }
}

void prepend(Rewrite& pass, std::u32string_view s) {
  if (pass.done() || s.empty()) return pass.keep_rest();
  const char32_t first = pass.peek();
  pass.replace(s[0]);
  for (char32_t c : s.substr(1)) pass.insert(c);
  pass.insert(first);
  pass.keep_rest();
}

void PreTokenized::append(const AlignedText& part, size_t begin, size_t end, int64_t token) {
  if (begin >= end) return;
  Split s;
  s.begin = text.size();
  s.end = s.begin + (end - begin);
  s.origin = part.align[begin].begin;
  s.token = token;
  text.append(part.text, begin, end - begin);
  align.insert(align.end(), part.align.begin() + static_cast<ptrdiff_t>(begin),
               part.align.begin() + static_cast<ptrdiff_t>(end));
  splits.push_back(s);
}

}  // namespace microtome::tok
