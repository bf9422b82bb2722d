#include "kernels/chunk_delta/backward.cuh"

namespace microtome::kernels::delta {
const char* walk_back_tf32(const Segment& s, const ChunkGradient& g, cudaStream_t stream) { return back_of<Single<false>>(s, g, stream); }
const char* finish_tf32(const Segment& s, const ChunkGradient& g, cudaStream_t stream) { return finish_case<Single<false>>(s, g, stream); }
}  // namespace microtome::kernels::delta
