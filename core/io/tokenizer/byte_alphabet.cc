#include "core/io/tokenizer/byte_alphabet.h"

#include <array>

#include "core/io/tokenizer/unicode_text.h"

namespace microtome::tok {
namespace {

struct Alphabet {
  std::array<char32_t, 256> forward{};
  std::array<int, 512> backward{};
};

constexpr Alphabet make_alphabet() {
  Alphabet a;
  for (int& b : a.backward) b = -1;
  char32_t moved = 256;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE);
    const char32_t c = printable ? static_cast<char32_t>(b) : moved++;
    a.forward[static_cast<size_t>(b)] = c;
    a.backward[c] = b;
  }
  return a;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

char32_t byte_to_char(unsigned char byte) { return kAlphabet.forward[byte]; }

int char_to_byte(char32_t c) { return c < kAlphabet.backward.size() ? kAlphabet.backward[c] : -1; }

void to_byte_alphabet(Rewrite& pass) {
  while (!pass.done()) {
    std::string bytes;
    append_utf8(bytes, pass.peek());
    pass.replace(byte_to_char(static_cast<unsigned char>(bytes[0])));
    for (size_t i = 1; i < bytes.size(); ++i) pass.insert(byte_to_char(static_cast<unsigned char>(bytes[i])));
  }
}

void append_piece_bytes(std::string& out, std::string_view piece) {
  const size_t before = out.size();
  for (size_t i = 0; i < piece.size(); i += utf8_width(piece[i])) {
    const int b = char_to_byte(code_point_at(piece.data() + i));
    if (b < 0) {
      out.resize(before);
      out += piece;
      return;
    }
    out.push_back(static_cast<char>(b));
  }
}

}  // namespace microtome::tok
