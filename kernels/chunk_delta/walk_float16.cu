#include "kernels/chunk_delta/walk.cuh"

namespace microtome::kernels::delta {
const char* walk_float16(const Segment& s, cudaStream_t stream) { return walk_of<Half<__half>>(s, stream); }
}  // namespace microtome::kernels::delta
