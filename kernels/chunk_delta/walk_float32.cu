#include "kernels/chunk_delta/walk.cuh"

namespace microtome::kernels::delta {
const char* walk_float32(const Segment& s, cudaStream_t stream) { return walk_of<Single<true>>(s, stream); }
}  // namespace microtome::kernels::delta
