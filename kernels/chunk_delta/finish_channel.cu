#include "kernels/chunk_delta/finish_channel.cuh"

namespace microtome::kernels::delta {
namespace {

template <class N>
const char* finish_case(const Segment& s, const ChunkGradient& gradient, cudaStream_t stream) {
  constexpr size_t kBytes = ChannelRoom<typename N::Element>::kBytes;
  static_assert(kBytes == finish_channel_bytes(sizeof(typename N::Element)));
  const cudaError_t e = cudaFuncSetAttribute(finish_channel<N>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes));
  if (e != cudaSuccess) return sentence(e);
  finish_channel<N><<<dim3(static_cast<unsigned>(s.chunks), static_cast<unsigned>(s.in.batch * s.in.heads)), kChannelThreads, kBytes, stream>>>(s, gradient);
  return sentence(cudaGetLastError());
}

}  // namespace

const char* finish_channel_gradients(const Segment& s, const ChunkGradient& gradient, cudaStream_t stream) {
  switch (s.in.element) {
    case Element::kBFloat16: return finish_case<Half<__nv_bfloat16>>(s, gradient, stream);
    case Element::kFloat16: return finish_case<Half<__half>>(s, gradient, stream);
    default: return s.in.tf32 ? finish_case<Single<false>>(s, gradient, stream) : finish_case<Single<true>>(s, gradient, stream);
  }
}

}  // namespace microtome::kernels::delta
