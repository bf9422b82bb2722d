// sha256_block.h — the compression function alone, over `count` blocks of 64 bytes. Uses the processor's SHA
// instructions where it has them (five to eight times faster, which counts for checkpoints of many gigabytes).
#pragma once

#include <cstddef>
#include <cstdint>

namespace microtome {

void sha256_blocks(uint32_t state[8], const uint8_t* data, size_t count);
// The portable form, which judges the other.
void sha256_blocks_portable(uint32_t state[8], const uint8_t* data, size_t count);

}  // namespace microtome
