// feature_pack.h — what a feature's dashboard shows, as the bytes that the project file keeps: small, and read in one go;
// private to core/store. Index, label, density, max and mean are columns and not in it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/feature_set.h"

namespace microtome {

// Layout, version 1: a byte 1; histogram; top logits, bottom logits; neighbours, coactive; examples. A list is its length and
// its parts; whole numbers are LEB128, with the sign in the lowest bit where they may be negative; doubles and floats are
// IEEE 754, little-endian. Of an example's activations only those whose bits are not all 0 are written, behind a bit a token.
// Throws Error(kInternal) for an example whose activations are not as many as its tokens.
std::vector<uint8_t> pack_feature(const FeatureSet::Feature& feature, const std::string& where);
// Fills the lists of `feature`. Bounded by the bytes given; throws Error(kBadInput).
void unpack_feature(std::span<const uint8_t> bytes, FeatureSet::Feature& feature, const std::string& where);

}  // namespace microtome
