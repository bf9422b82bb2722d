// pre_tokenizers.h — the "pre_tokenizer" of tokenizer.json: cuts the normalised text into the words that the model
// then cuts into tokens.
#pragma once

#include <memory>
#include <string>

#include "core/base/json.h"
#include "core/io/tokenizer/aligned_text.h"

namespace microtome::tok {

// Immutable; thread-safe. Splits that are added tokens are left alone.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(PreTokenized& text, const Budget& budget) const = 0;
};

// Sequence, ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Punctuation, Metaspace, BertPreTokenizer. Null gives
// null. Throws Error(kUnsupported) naming any other type, Error(kBadInput) for a wrong field.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& spec, const std::string& where);

}  // namespace microtome::tok
