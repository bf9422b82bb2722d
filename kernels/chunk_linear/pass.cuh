// The kernel, and how it is started for a type of operands.
#pragma once

#include "kernels/chunk_linear/chunk.cuh"
#include "kernels/chunk_linear/tokens.cuh"

namespace microtome::kernels::chunk_linear {

template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
__global__ void __launch_bounds__(128 * kHalves, kKeys == 64 ? 2 : 1) pass_kernel(const __grid_constant__ Pass p, int stages, int states) {
  extern __shared__ __align__(16) char memory[];
  Block<E, kKeys, kHalves, kTiles, kDecay> block(p, memory, stages, states);
  block.run();
}

template <class E, int kKeys, int kHalves, int kTiles, int kDecay>
cudaError_t launch(const Pass& p, const Layout& at, cudaStream_t stream) {
  using Place = Shared<E, kKeys, kHalves, kTiles, kDecay>;
  const int bytes = Place::bytes(at.stages, at.states);
  if (bytes != at.bytes) return cudaErrorAssert;                 // layout_of and Shared have grown apart
  if (const cudaError_t e = cudaFuncSetAttribute(pass_kernel<E, kKeys, kHalves, kTiles, kDecay>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)) return e;
  const int64_t blocks = static_cast<int64_t>(at.parts) * p.heads * p.group * p.batch * p.segments;
  pass_kernel<E, kKeys, kHalves, kTiles, kDecay><<<static_cast<unsigned>(blocks), 128 * kHalves, static_cast<size_t>(bytes), stream>>>(p, at.stages, at.states);
  return cudaGetLastError();
}

template <class E, int kKeys, int kHalves, int kTiles>
cudaError_t launch(const Pass& p, const Layout& at, cudaStream_t stream) {
  switch (p.decay) {
    case kNone: return launch<E, kKeys, kHalves, kTiles, kNone>(p, at, stream);
    case kAll: return launch<E, kKeys, kHalves, kTiles, kAll>(p, at, stream);
    default: break;
  }
  if constexpr (!std::is_same_v<E, Float16> && !(E::kWide && kKeys == 256)) {
    if (p.decay == kRows) return launch<E, kKeys, kHalves, kTiles, kRows>(p, at, stream);
  }
  if constexpr (!std::is_same_v<E, Float16>) {
    if (p.decay == kColumns) return launch<E, kKeys, kHalves, kTiles, kColumns>(p, at, stream);
  }
  return cudaErrorNotSupported;
}

template <class E>
cudaError_t start(const Pass& p, cudaStream_t stream) {
  int device = 0, most = 0;
  cudaGetDevice(&device);
  if (const cudaError_t e = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device)) return e;
  const Layout at = layout_of(E::kWide, p.d_k, p.d_v, p.decay, most);
  if (at.bytes < 0) return cudaErrorNotSupported;
  if (at.keys == 64) return launch<E, 64, 2, 4>(p, at, stream);
  if (at.keys == 256) return launch<E, 256, 2, 4>(p, at, stream);
  if constexpr (!E::kWide) {
    if (at.columns == 128) return launch<E, 128, 2, 8>(p, at, stream);
  }
  return launch<E, 128, 2, 4>(p, at, stream);
}

}  // namespace microtome::kernels::chunk_linear
