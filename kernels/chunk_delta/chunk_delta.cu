// Cuts a run into segments of chunks whose intermediates fit in the workspace, and sends each through the kernels.
#include <algorithm>
#include <mutex>

#include "kernels/chunk_delta/steps.h"

namespace microtome::kernels::delta {

const char* walk_bfloat16(const Segment& s, cudaStream_t stream);
const char* walk_float16(const Segment& s, cudaStream_t stream);
const char* walk_float32(const Segment& s, cudaStream_t stream);
const char* walk_tf32(const Segment& s, cudaStream_t stream);
const char* walk_back_bfloat16(const Segment& s, const ChunkGradient& g, cudaStream_t stream);
const char* walk_back_float16(const Segment& s, const ChunkGradient& g, cudaStream_t stream);
const char* walk_back_float32(const Segment& s, const ChunkGradient& g, cudaStream_t stream);
const char* walk_back_tf32(const Segment& s, const ChunkGradient& g, cudaStream_t stream);
const char* finish_bfloat16(const Segment& s, const ChunkGradient& g, cudaStream_t stream);
const char* finish_float16(const Segment& s, const ChunkGradient& g, cudaStream_t stream);
const char* finish_float32(const Segment& s, const ChunkGradient& g, cudaStream_t stream);
const char* finish_tf32(const Segment& s, const ChunkGradient& g, cudaStream_t stream);

const char* walk(const Segment& s, cudaStream_t stream) {
  switch (s.in.element) {
    case Element::kBFloat16: return walk_bfloat16(s, stream);
    case Element::kFloat16: return walk_float16(s, stream);
    default: return s.in.tf32 ? walk_tf32(s, stream) : walk_float32(s, stream);
  }
}

const char* walk_back(const Segment& s, const ChunkGradient& g, cudaStream_t stream) {
  switch (s.in.element) {
    case Element::kBFloat16: return walk_back_bfloat16(s, g, stream);
    case Element::kFloat16: return walk_back_float16(s, g, stream);
    default: return s.in.tf32 ? walk_back_tf32(s, g, stream) : walk_back_float32(s, g, stream);
  }
}

const char* finish_gradients(const Segment& s, const ChunkGradient& g, cudaStream_t stream) {
  if (s.in.g_width > 1) return finish_channel_gradients(s, g, stream);
  switch (s.in.element) {
    case Element::kBFloat16: return finish_bfloat16(s, g, stream);
    case Element::kFloat16: return finish_float16(s, g, stream);
    default: return s.in.tf32 ? finish_tf32(s, g, stream) : finish_float32(s, g, stream);
  }
}

namespace {

constexpr int64_t kMostWorkspace = int64_t{1} << 30, kFewestChunks = 4, kAlign = 256;

// Shared memory a block may have on the current device.
int64_t shared_memory() {
  int device = 0, most = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess) return 0;
  return most;
}

bool covered(const Chunk& in, bool backward) {
  const int e = element_bytes(in), keys = padded_keys(in);
  const int64_t most = shared_memory();
  if (walk_shape(e, keys, 1, 1, in.g_width > 1, in.group > 1, true).bytes() > most) return false;
  if (2 * kChunkTokens * (72 * 4 + (round_up(in.d_k, 16) + 8) * e) + 768 > most) return false;   // prepare
  if (backward) {
    const bool by_channel = in.g_width > 1;
    const int finish = by_channel ? finish_channel_bytes(e) : 38400 + 8 * 64 * 72 * e;
    if (in.group != 1 || (e == 4 && keys > 128) || back_shape(e, keys, 1, 1, by_channel).stage_bytes > most || finish > most) return false;
  }
  return in.beta && in.batch > 0 && in.heads > 0 && in.group > 0 && in.d_k > 0 && in.d_k <= 256 && in.d_v > 0 && in.d_v <= 32768 &&
         (in.g_width == 0 || in.g_width == 1 || in.g_width == in.d_k) && in.batch * in.heads <= 65535;
}

// Takes arrays one after the other; without a place it only counts.
struct Room {
  char* at;
  int64_t used = 0;
  template <class T>
  void take(T*& p, int64_t bytes) {
    p = at ? reinterpret_cast<T*>(at + used) : nullptr;
    used += round_up(bytes, kAlign);
  }
};

int64_t lay_out(Segment& s, void* workspace) {
  const Chunk& in = s.in;
  const int64_t each = in.batch * in.heads * s.chunks, e = element_bytes(in), tokens = each * kChunkTokens;
  const int64_t triangle = 10 * 256 * e;
  const bool by_channel = in.g_width > 1;
  Room room{static_cast<char*>(workspace)};
  room.take(s.solve, each * triangle);
  room.take(s.scores, each * in.group * triangle);
  if (in.g_width) room.take(s.decays, each * (by_channel ? in.d_k : 2 * kChunkTokens) * 4);
  if (by_channel) {
    room.take(s.k_from, tokens * in.d_k * e);
    room.take(s.k_to, tokens * in.d_k * e);
    room.take(s.q_from, tokens * in.group * in.d_k * e);
  }
  if (in.kept_count > 0 || in.kept || s.backward) room.take(s.starts, each * in.d_k * in.d_v * 4);
  if ((in.kept_count > 0 || in.kept) && !in.written) room.take(s.values, tokens * in.d_v * 4);
  if (s.backward) {
    room.take(s.bare, each * triangle);
    for (void** p : {&s.inputs, &s.writes, &s.answers}) room.take(*p, tokens * in.d_v * e);
    room.take(s.ends, each * in.d_k * in.d_v * 4);
  }
  s.parts = (in.d_v + 15) / 16;
  if (in.write_norm) room.take(s.write_parts, s.parts * tokens * 4);
  if (in.read_norm) room.take(s.read_parts, s.parts * tokens * in.group * 4);
  return room.used;
}

// As many chunks as the workspace may hold.
int64_t chunks_a_segment(const Chunk& in, bool backward = false) {
  Segment one;
  one.in = in;
  one.chunks = 1;
  one.backward = backward;
  const int64_t each = lay_out(one, nullptr), all = std::max<int64_t>(chunks_of(in), 1);
  return std::min(all, std::max(kFewestChunks, kMostWorkspace / each));
}

// Where nearly all states are kept, writing them takes about as long as the walk, which has few blocks where there are few heads: the
// run is cut into kBeside segments, each with its own place in the workspace, and the states of one are written beside the walk of
// the next.
constexpr int64_t kBeside = 4;

bool writes_beside(const Chunk& in) {
  const int64_t all = chunks_of(in), step = (all + kBeside - 1) / kBeside;
  if (!(in.kept_count > 0 || in.kept) || 2 * in.kept_count < in.positions || all < 4 * kBeside) return false;
  Segment s;
  s.in = in;
  s.chunks = step;
  return in.batch * in.heads <= 64 && kBeside * lay_out(s, nullptr) <= kMostWorkspace;
}

// One a device, made on first use.
cudaError_t stream_beside(int device, cudaStream_t& stream) {
  static std::mutex lock;
  static cudaStream_t streams[64] = {};
  if (device < 0 || device >= 64) return cudaErrorInvalidDevice;
  std::lock_guard<std::mutex> guard(lock);
  if (!streams[device])
    if (const cudaError_t e = cudaStreamCreateWithFlags(&streams[device], cudaStreamNonBlocking); e != cudaSuccess) return e;
  stream = streams[device];
  return cudaSuccess;
}

// `later` waits for what `first` has been given so far.
const char* then(cudaStream_t first, cudaStream_t later) {
  cudaEvent_t event;
  cudaError_t e = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  if (e != cudaSuccess) return sentence(e);
  e = cudaEventRecord(event, first);
  if (e == cudaSuccess) e = cudaStreamWaitEvent(later, event, 0);
  cudaEventDestroy(event);                              // once it is through
  return sentence(e);
}

const char* forward_beside(const Chunk& in, int device, cudaStream_t on) {
  cudaStream_t side = nullptr;
  if (const char* error = sentence(stream_beside(device, side))) return error;
  const int64_t all = chunks_of(in), step = (all + kBeside - 1) / kBeside;
  char* place = static_cast<char*>(in.workspace);
  Segment segments[kBeside];
  int count = 0;
  const char* error = nullptr;
  for (int64_t first = 0; first < all; first += step) {
    Segment& s = segments[count++];
    s.in = in;
    s.first = first;
    s.chunks = std::min(step, all - first);
    s.beside = true;
    place += lay_out(s, place);
  }
  // The first one's preparation is waited for, the others' runs beside the walks.
  error = prepare(segments[0], on);
  if (!error) error = then(on, side);
  cudaEvent_t prepared[kBeside] = {};
  for (int i = 1; i < count && !error; ++i) {
    error = prepare(segments[i], side);
    cudaError_t e = cudaEventCreateWithFlags(&prepared[i], cudaEventDisableTiming);
    if (e == cudaSuccess) e = cudaEventRecord(prepared[i], side);
    if (!error) error = sentence(e);
  }
  for (int i = 0; i < count && !error; ++i) {
    if (i) error = sentence(cudaStreamWaitEvent(on, prepared[i], 0));
    if (!error) error = walk(segments[i], on);
    if (!error) error = then(on, side);
    if (!error) error = expand(segments[i], side);
  }
  // Whatever happened, the caller's stream goes on after the other one.
  const char* joined = then(side, on);
  for (cudaEvent_t e : prepared)
    if (e) cudaEventDestroy(e);
  return error ? error : joined;
}

// What the backward pass asks of the forward one: nothing but the states.
Chunk only_states(const Chunk& in) {
  Chunk out = in;
  out.z = nullptr;
  out.kept = nullptr;
  out.kept_count = 0;
  out.written = out.write_norm = out.read_norm = out.pattern = nullptr;
  return out;
}

int64_t state_bytes(const Chunk& in) { return round_up(in.batch * in.heads * in.d_k * in.d_v * 4, kAlign); }

}  // namespace
}  // namespace microtome::kernels::delta

extern "C" int64_t microtome_chunk_delta_workspace(const microtome::kernels::Chunk& in, bool backward) {
  using namespace microtome::kernels::delta;
  if (!covered(in, backward)) return -1;
  Segment s;
  s.in = backward ? only_states(in) : in;
  s.backward = backward;
  if (!backward && writes_beside(in)) {
    s.chunks = (chunks_of(in) + kBeside - 1) / kBeside;
    return kBeside * lay_out(s, nullptr);
  }
  s.chunks = chunks_a_segment(s.in, backward);
  if (s.chunks == 0) return 0;
  const int64_t segments = (chunks_of(in) + s.chunks - 1) / s.chunks;
  // Backward: the state before each segment, the one that is walked, and its gradient.
  return lay_out(s, nullptr) + (backward ? (segments + 2) * state_bytes(in) : 0);
}

extern "C" const char* microtome_chunk_delta_forward(const microtome::kernels::Chunk& in, int device, void* stream) {
  using namespace microtome::kernels::delta;
  if (!covered(in, false)) return "sizes that the chunked kernel of the delta rules does not cover";
  if (in.positions == 0) return nullptr;
  if (const char* error = sentence(cudaSetDevice(device))) return error;
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (writes_beside(in)) return forward_beside(in, device, on);
  const int64_t step = chunks_a_segment(in), all = chunks_of(in);
  for (int64_t first = 0; first < all; first += step) {
    Segment s;
    s.in = in;
    s.first = first;
    s.chunks = std::min(step, all - first);
    lay_out(s, in.workspace);
    if (const char* error = prepare(s, on)) return error;
    if (const char* error = walk(s, on)) return error;
    if (const char* error = expand(s, on)) return error;
  }
  return nullptr;
}
extern "C" const char* microtome_chunk_delta_backward(const microtome::kernels::ChunkGradient& gradient, int device, void* stream) {
  using namespace microtome::kernels::delta;
  if (const char* error = sentence(cudaSetDevice(device))) return error;
  const auto in = only_states(gradient.in);
  if (!covered(in, true)) return "sizes of which the chunked kernel of the delta rules has no gradients";
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  const int64_t step = chunks_a_segment(in, true), all = chunks_of(in), each = state_bytes(in), bytes = in.batch * in.heads * in.d_k * in.d_v * 4;
  char* const states = static_cast<char*>(in.workspace);
  const int64_t segments = all ? (all + step - 1) / step : 0;
  float *const state = reinterpret_cast<float*>(states + segments * each), *const adjoint = reinterpret_cast<float*>(states + (segments + 1) * each);
  auto copy = [&](void* to, const void* from) { return sentence(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, on)); };
  auto segment = [&](int64_t i, bool backward) {
    Segment s;
    s.in = in;
    s.in.state = state;
    s.first = i * step;
    s.chunks = std::min(step, all - s.first);
    s.backward = backward;
    s.adjoint = adjoint;
    lay_out(s, states + (segments + 2) * each);
    return s;
  };
  const char* error = copy(state, in.state);
  for (int64_t i = 0; i < segments && !error; ++i) {
    error = copy(states + i * each, state);
    if (error || i + 1 == segments) break;
    const Segment s = segment(i, false);
    if (!(error = prepare(s, on))) error = walk(s, on);
  }
  if (!error) error = gradient.dstate ? copy(adjoint, gradient.dstate) : sentence(cudaMemsetAsync(adjoint, 0, static_cast<size_t>(bytes), on));
  for (int64_t i = segments - 1; i >= 0 && !error; --i) {
    error = copy(state, states + i * each);
    const Segment s = segment(i, true);
    if (!error) error = prepare(s, on);
    if (!error) error = walk(s, on);
    if (!error) error = walk_back(s, gradient, on);
    if (!error) error = finish_gradients(s, gradient, on);
  }
  if (!error && gradient.dstate_in) error = copy(gradient.dstate_in, adjoint);
  return error;
}
