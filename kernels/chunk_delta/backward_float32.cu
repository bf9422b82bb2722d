#include "kernels/chunk_delta/backward.cuh"

namespace microtome::kernels::delta {
const char* walk_back_float32(const Segment& s, const ChunkGradient& g, cudaStream_t stream) { return back_of<Single<true>>(s, g, stream); }
const char* finish_float32(const Segment& s, const ChunkGradient& g, cudaStream_t stream) { return finish_case<Single<true>>(s, g, stream); }
}  // namespace microtome::kernels::delta
