// sha256.h — content hashes (FIPS 180-4) for weights, datasets and run keys.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace microtome {

// Not thread-safe; one object a stream.
class Sha256 {
 public:
  Sha256();
  void update(const void* data, size_t size);
  void update(std::string_view text) { update(text.data(), text.size()); }
  // Ends the stream; the object may not be used afterwards. 64 lower-case hex digits.
  std::string hex();

 private:
  void block(const uint8_t* p);
  std::array<uint32_t, 8> h_;
  std::array<uint8_t, 64> buffer_{};
  size_t fill_ = 0;
  uint64_t total_ = 0;
};

std::string sha256_hex(std::string_view text);

}  // namespace microtome
