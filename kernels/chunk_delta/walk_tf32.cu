#include "kernels/chunk_delta/walk.cuh"

namespace microtome::kernels::delta {
const char* walk_tf32(const Segment& s, cudaStream_t stream) { return walk_of<Single<false>>(s, stream); }
}  // namespace microtome::kernels::delta
