#include "kernels/chunk_delta/backward.cuh"

namespace microtome::kernels::delta {
const char* walk_back_bfloat16(const Segment& s, const ChunkGradient& g, cudaStream_t stream) { return back_of<Half<__nv_bfloat16>>(s, g, stream); }
const char* finish_bfloat16(const Segment& s, const ChunkGradient& g, cudaStream_t stream) { return finish_case<Half<__nv_bfloat16>>(s, g, stream); }
}  // namespace microtome::kernels::delta
