#include "core/base/sha256.h"

#include <algorithm>
#include <cstring>

#include "core/base/sha256_block.h"

namespace microtome {

Sha256::Sha256()
    : h_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::block(const uint8_t* p) { sha256_blocks(h_.data(), p, 1); }

void Sha256::update(const void* data, size_t size) {
  if (size == 0) return;
  const uint8_t* p = static_cast<const uint8_t*>(data);
  total_ += size;
  if (fill_ > 0) {
    const size_t n = std::min(size, buffer_.size() - fill_);
    std::memcpy(buffer_.data() + fill_, p, n);
    fill_ += n;
    p += n;
    size -= n;
    if (fill_ < buffer_.size()) return;
    block(buffer_.data());
    fill_ = 0;
  }
  const size_t blocks = size / buffer_.size();
  sha256_blocks(h_.data(), p, blocks);
  p += blocks * buffer_.size();
  fill_ = size % buffer_.size();
  if (fill_ > 0) std::memcpy(buffer_.data(), p, fill_);
}

std::string Sha256::hex() {
  const uint64_t bits = total_ * 8;
  static constexpr uint8_t kPad[64] = {0x80};
  update(kPad, fill_ < 56 ? 56 - fill_ : 120 - fill_);
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  update(length, 8);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (uint32_t word : h_)
    for (int shift = 28; shift >= 0; shift -= 4) out += kHex[(word >> shift) & 15];
  return out;
}

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.hex();
}

}  // namespace microtome
