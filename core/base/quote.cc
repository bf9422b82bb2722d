#include "core/base/quote.h"

#include <cstdint>

namespace microtome {

size_t utf8_char_bytes(std::string_view text) {
  if (text.empty()) return 0;
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  auto tail = [&](size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const uint8_t a = byte(0);
  if (a < 0x80) return 1;
  if (a < 0xC2 || a > 0xF4 || !tail(1)) return 0;
  if (a < 0xE0) return 2;
  const uint8_t b = byte(1);
  if (!tail(2)) return 0;
  if (a < 0xF0) return (a == 0xE0 && b < 0xA0) || (a == 0xED && b > 0x9F) ? 0 : 3;
  if (!tail(3)) return 0;
  return (a == 0xF0 && b < 0x90) || (a == 0xF4 && b > 0x8F) ? 0 : 4;
}

std::string in_quotes(std::string_view text, size_t max_bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "'";
  size_t i = 0;
  while (i < text.size() && out.size() <= max_bytes) {
    const size_t n = utf8_char_bytes(text.substr(i, 4));
    const uint8_t c = static_cast<uint8_t>(text[i]);
    // U+0080…U+009F are control characters too, spelt C2 80…9F.
    const bool c1 = n == 2 && c == 0xC2 && static_cast<uint8_t>(text[i + 1]) < 0xA0;
    const bool control = n == 0 || c < 0x20 || c == 0x7F || c1;
    if (!control) {
      out.append(text.substr(i, n));
      i += n;
      continue;
    }
    for (size_t k = 0; k < (n ? n : 1); ++k, ++i) {
      const uint8_t b = static_cast<uint8_t>(text[i]);
      out += {'\\', 'x', kHex[b >> 4], kHex[b & 15]};
    }
  }
  if (i < text.size()) out += "…";
  return out + "'";
}

}  // namespace microtome
