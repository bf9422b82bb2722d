// charsmap.h — the "Precompiled" normalizer of files that come from SentencePiece: a table from stretches of text to what
// replaces them, found through a double array (the format of Darts-clone).
#pragma once

#include <memory>
#include <string>

#include "core/io/tokenizer/normalizers.h"

namespace microtome::tok {

// encoded: base64 of a little-endian 32-bit length, so many bytes of 32-bit units, then the replacements, each ended by a
// zero byte. As in the reference, a grapheme cluster below six bytes is looked up as a whole first, and what the shortest
// entry that it begins with says stands for all of it; other text is looked up by characters. Throws Error(kBadInput) for
// a damaged table, here or when text meets the damage.
std::unique_ptr<Normalizer> make_charsmap(const std::string& encoded, const std::string& where);

}  // namespace microtome::tok
