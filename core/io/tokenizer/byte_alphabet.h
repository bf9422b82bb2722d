// byte_alphabet.h — GPT-2's printable spelling of the 256 bytes, in which byte-level vocabularies are written.
#pragma once

#include <string>
#include <string_view>

#include "core/io/tokenizer/aligned_text.h"

namespace microtome::tok {

// U+0021…, with the unprintable ones moved to U+0100 and up: the space is 'Ġ' (U+0120).
char32_t byte_to_char(unsigned char byte);
// The byte a character spells, or -1.
int char_to_byte(char32_t c);
// Writes each byte of the text as its character.
void to_byte_alphabet(Rewrite& pass);
// Appends the bytes that a piece spells; a piece with a character outside the alphabet stands for its own UTF-8 bytes.
void append_piece_bytes(std::string& out, std::string_view piece);

}  // namespace microtome::tok
