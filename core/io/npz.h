// npz.h — the arrays of a file that numpy.savez wrote: a zip archive of .npy members. Format: numpy.lib.format, versions 1
// to 3. The header of a member is Python text; it is read by hand, never evaluated.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/io/safetensors.h"

namespace microtome {

struct NpzArrays {
  // By name, without ".npy". Data point into the bytes that were parsed, aligned only to the file's own offsets; matrices in
  // Fortran's order are transposed into `copies`, which the file's size pays for.
  std::vector<TensorEntry> tensors;
  std::shared_ptr<const void> copies;
};

// The bytes must outlive the result. Errors: kBadInput for a damaged file, naming the member; kUnsupported for compressed
// members (numpy.savez_compressed), big-endian numbers, and types that are no plain number (objects, which are pickles).
Result<NpzArrays> parse_npz(std::span<const uint8_t> bytes, const std::string& where);

}  // namespace microtome
