#include "kernels/chunk_linear/pass.cuh"

namespace microtome::kernels::chunk_linear {

cudaError_t start_tf32(const Pass& p, cudaStream_t stream) { return start<Tf32>(p, stream); }

}  // namespace microtome::kernels::chunk_linear
