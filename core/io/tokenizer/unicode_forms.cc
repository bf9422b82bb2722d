#include <unicode/uchar.h>
#include <unicode/unorm2.h>

#include <algorithm>
#include <vector>

#include "core/base/status.h"
#include "core/io/tokenizer/normalizers.h"
#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

// A character on its way, and what it does to the text: 1 new, 0 in place of one, -n and n more are gone.
struct Unit {
  char32_t c;
  int64_t change;
  uint8_t ccc;
};

const UNormalizer2* instance(bool compatible) {
  UErrorCode code = U_ZERO_ERROR;
  const UNormalizer2* n = compatible ? unorm2_getNFKDInstance(&code) : unorm2_getNFDInstance(&code);
  if (U_FAILURE(code) || n == nullptr) {
    throw Error(StatusCode::kFailed, std::string("Unicode normalization data cannot be opened: ") + u_errorName(code),
                "ICU", "check the installation of ICU");
  }
  return n;
}

// One character, fully decomposed, behind `out`.
void decompose(const UNormalizer2* form, char32_t c, std::vector<Unit>& out) {
  UChar buffer[32];
  UErrorCode code = U_ZERO_ERROR;
  const int32_t n =
      c < 0xA0 ? -1 : unorm2_getDecomposition(form, static_cast<UChar32>(c), buffer, 32, &code);
  if (n < 0 || U_FAILURE(code)) {
    out.push_back({c, 0, u_getCombiningClass(static_cast<UChar32>(c))});
    return;
  }
  int64_t change = 0;
  for (int32_t i = 0; i < n;) {
    UChar32 d;
    U16_NEXT(buffer, i, n, d);
    out.push_back({static_cast<char32_t>(d), change, u_getCombiningClass(d)});
    change = 1;
  }
}

// Canonical order, then (for NFC and NFKC) composition, over one run that nothing outside can combine with. The change
// counts travel with their characters, as in the reference.
class Composer {
 public:
  Composer(const UNormalizer2* form, std::vector<Unit>& out) : form_(form), out_(out) {}

  void push(const Unit& u) {
    if (!open_) {
      if (u.ccc != 0) {
        out_.push_back(u);
      } else {
        starter_ = u;
        open_ = true;
      }
      return;
    }
    const bool blocked = has_last_ && last_ >= u.ccc;
    const UChar32 both = blocked ? -1 : unorm2_composePair(form_, static_cast<UChar32>(starter_.c),
                                                           static_cast<UChar32>(u.c));
    if (both >= 0) {
      starter_.c = static_cast<char32_t>(both);
      starter_.change += u.change - 1;
      return;
    }
    if (u.ccc == 0) {
      flush();
      starter_ = u;
      open_ = true;
      return;
    }
    waiting_.push_back(u);
    has_last_ = true;
    last_ = u.ccc;
  }
  void flush() {
    if (open_) out_.push_back(starter_);
    out_.insert(out_.end(), waiting_.begin(), waiting_.end());
    waiting_.clear();
    open_ = has_last_ = false;
  }

 private:
  const UNormalizer2* form_;
  std::vector<Unit>& out_;
  Unit starter_{};
  bool open_ = false, has_last_ = false;
  uint8_t last_ = 0;
  std::vector<Unit> waiting_;
};

}  // namespace

void normalize_unicode(AlignedText& text, UnicodeForm form, const Budget& budget) {
  const bool ascii = std::all_of(text.text.begin(), text.text.end(), [](char c) { return (c & 0x80) == 0; });
  if (ascii) return;
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  const UNormalizer2* normalizer = instance(compatible);
  std::vector<Unit> units;
  units.reserve(text.text.size());
  for (size_t i = 0; i < text.text.size(); i += utf8_width(text.text[i])) {
    decompose(normalizer, code_point_at(text.text.data() + i), units);
    budget.check_size(units.size());
  }
  for (size_t i = 0; i < units.size();) {
    if (units[i].ccc == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < units.size() && units[end].ccc != 0) ++end;
    std::stable_sort(units.begin() + static_cast<ptrdiff_t>(i), units.begin() + static_cast<ptrdiff_t>(end),
                     [](const Unit& a, const Unit& b) { return a.ccc < b.ccc; });
    i = end;
  }
  if (compose) {
    std::vector<Unit> composed;
    composed.reserve(units.size());
    Composer composer(normalizer, composed);
    for (const Unit& u : units) composer.push(u);
    composer.flush();
    units = std::move(composed);
  }
  rewrite(text, budget, [&](Rewrite& pass) {
    for (const Unit& u : units) pass.apply(u.c, u.change);
  });
}

}  // namespace microtome::tok
