// normalizers.h — the "normalizer" of tokenizer.json: text to text, keeping track of what each byte stands for.
#pragma once

#include <memory>
#include <string>

#include "core/base/json.h"
#include "core/io/tokenizer/aligned_text.h"

namespace microtome::tok {

// Immutable; thread-safe.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(AlignedText& text, const Budget& budget) const = 0;
};

// Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, ByteLevel, BertNormalizer, Precompiled.
// Null or an absent field gives null. Throws Error(kUnsupported) naming any other type, Error(kBadInput) for a wrong field.
std::unique_ptr<Normalizer> make_normalizer(const Json& spec, const std::string& where);

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
// unicode_forms.cc. Alignments follow the reference's streaming form, character by character.
void normalize_unicode(AlignedText& text, UnicodeForm form, const Budget& budget);

// Sequences may nest this deep and hold this many steps.
constexpr int kMaxSequenceDepth = 8;
constexpr size_t kMaxSequenceSteps = 256;

// The list `key` of a Sequence, checked against both limits; names the field in its errors.
const Json& sequence_steps(const Json& spec, const char* key, int depth, const std::string& where);
// "type" of a step. Throws Error(kBadInput) when spec is no object.
std::string step_type(const Json& spec, const std::string& where);

}  // namespace microtome::tok
