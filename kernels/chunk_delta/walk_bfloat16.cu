#include "kernels/chunk_delta/walk.cuh"

namespace microtome::kernels::delta {
const char* walk_bfloat16(const Segment& s, cudaStream_t stream) { return walk_of<Half<__nv_bfloat16>>(s, stream); }
}  // namespace microtome::kernels::delta
