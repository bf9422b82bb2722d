#include "kernels/chunk_delta/prepare_channel.cuh"

namespace microtome::kernels::delta {
namespace {

template <class N>
const char* prepare_of(const Segment& s, cudaStream_t stream) {
  return s.in.g && s.in.g_width > 1 ? prepare_channel_case<N>(s, stream) : prepare_case<N>(s, stream);
}

}  // namespace

const char* prepare(const Segment& s, cudaStream_t stream) {
  switch (s.in.element) {
    case Element::kBFloat16: return prepare_of<Half<__nv_bfloat16>>(s, stream);
    case Element::kFloat16: return prepare_of<Half<__half>>(s, stream);
    default: return s.in.tf32 ? prepare_of<Single<false>>(s, stream) : prepare_of<Single<true>>(s, stream);
  }
}

}  // namespace microtome::kernels::delta
