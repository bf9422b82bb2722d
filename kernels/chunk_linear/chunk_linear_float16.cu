#include "kernels/chunk_linear/pass.cuh"

namespace microtome::kernels::chunk_linear {

cudaError_t start_float16(const Pass& p, cudaStream_t stream) { return start<Float16>(p, stream); }

}  // namespace microtome::kernels::chunk_linear
