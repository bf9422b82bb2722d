// Any bytes as a file of torch.save: what is accepted lies within the bytes or in copies that they pay for.
#include "core/io/torch_file.h"
#include "tests/fuzz/fuzz_target.h"

namespace microtome::fuzz {

void repair(std::vector<uint8_t>&, Rng&) {}

}  // namespace microtome::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace microtome;
  const Result<TorchTensors> file = parse_torch_file({data, size}, "input");
  if (!file) {
    fuzz::require_input_error(file.status());
    return 0;
  }
  fuzz::require(!file.value().tensors.empty(), "a file without tensors is accepted");
  volatile uint8_t sink = 0;
  size_t copied = 0, looked = 0;
  for (const TensorEntry& t : file.value().tensors) {
    const bool inside = t.bytes == 0 || (t.data >= data && t.data < data + size);
    if (!inside) copied += t.bytes;
    const bool fits = !inside || t.bytes == 0 || t.bytes <= static_cast<size_t>(data + size - t.data);
    fuzz::require(fits, "a tensor leaves the file");
    int64_t count = 1;
    for (const int64_t dim : t.shape) count = dim == 0 ? 0 : count * dim;
    fuzz::require(count == t.count(), "shape and bytes differ");
    // Many tensors may share one storage; a few of them are looked at whole.
    looked += t.bytes;
    for (size_t i = 0; i < t.bytes && looked < (size_t{64} << 20); ++i) sink = static_cast<uint8_t>(sink + t.data[i]);
  }
  fuzz::require(copied <= 2 * size, "the copies are larger than the file pays for");
  return 0;
}
