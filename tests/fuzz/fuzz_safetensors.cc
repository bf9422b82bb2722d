// Any bytes as a safetensors file: what is accepted lies within the bytes, and can be written and read again.
#include <algorithm>

#include "core/io/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

namespace microtome::fuzz {

// Sets the header length to where the last brace stands, three times out of four.
void repair(std::vector<uint8_t>& bytes, Rng& rng) {
  if (bytes.size() < 10 || rng.below(4) == 0) return;
  const auto brace = std::find(bytes.rbegin(), bytes.rend() - 8, uint8_t{'}'});
  if (brace == bytes.rend() - 8) return;
  const uint64_t length = static_cast<uint64_t>(bytes.rend() - brace) - 8;
  for (int i = 0; i < 8; ++i) bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(length >> (8 * i));
}

}  // namespace microtome::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace microtome;
  const std::span<const uint8_t> bytes(data, size);
  const Result<SafetensorsFile> file = SafetensorsFile::parse(bytes, "input");
  if (!file) {
    fuzz::require_input_error(file.status());
    return 0;
  }
  size_t total = 0;
  volatile uint8_t sink = 0;
  std::vector<TensorToWrite> again;
  for (const TensorEntry& t : file.value().tensors()) {
    const bool inside = t.data >= data && t.data <= data + size && t.bytes <= static_cast<size_t>(data + size - t.data);
    fuzz::require(inside, "a tensor lies outside the file");
    int64_t count = 1;
    for (const int64_t dim : t.shape) count = dim == 0 ? 0 : count * dim;
    fuzz::require(count == t.count(), "shape and bytes differ");
    fuzz::require(file.value().find(t.name) == &t, "find() gives another tensor");
    for (size_t i = 0; i < t.bytes; ++i) sink = static_cast<uint8_t>(sink + t.data[i]);
    total += t.bytes;
    again.push_back({t.name, t.dtype, t.shape, {t.data, t.bytes}});
  }
  fuzz::require(total + 8 <= size, "the tensors hold more than the file");
  const std::vector<uint8_t> written = safetensors_bytes(again, file.value().metadata());
  const Result<SafetensorsFile> back = SafetensorsFile::parse(written, "written");
  fuzz::require(back.is_ok(), "what was written cannot be read: " + back.status().text());
  fuzz::require(back.value().metadata() == file.value().metadata(), "the metadata changed");
  fuzz::require(back.value().tensors().size() == file.value().tensors().size(), "the number of tensors changed");
  if (const auto arrays = arrays_from_bytes(bytes, "input"); !arrays) fuzz::require_input_error(arrays.status());
  return 0;
}
