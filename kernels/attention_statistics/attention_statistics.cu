// Every lane keeps a sum of its own over the scores it sees, against its own maximum; the four lanes of a query are joined at
// the end. So the lanes never wait for one another, and a query's numbers do not depend on what else runs.
#include "kernels/attention_statistics/tiles.cuh"

namespace microtome::kernels {

bool read_scores(const AttentionScores& f, Scores& s, Products& products, const char*& why) {
  const int64_t most = int64_t{1} << 30;
  if (f.d < 1 || f.d > kAttentionMostWidth) return why = "not covered: heads wider than 256", false;
  if (f.batch * f.heads > 65535) return why = "not covered: more than 65,535 heads times rows of the batch", false;
  if (f.count > most || f.keys > most || f.past > most || f.window > most) return why = "not covered: more than 2^30 positions", false;
  products = f.type == AttentionType::kFloat32 ? (f.tf32 ? Products::kTf32 : Products::kSplit)
             : f.type == AttentionType::kBFloat16 ? Products::kBFloat16 : Products::kFloat16;
  const int64_t item = bytes_of(products);
  s.q = static_cast<const char*>(f.q);
  s.k = static_cast<const char*>(f.k);
  s.q_batch = f.q_stride[0] * item, s.q_pos = f.q_stride[1] * item, s.q_head = f.q_stride[2] * item;
  s.k_batch = f.k_stride[0] * item, s.k_pos = f.k_stride[1] * item, s.k_head = f.k_stride[2] * item;
  s.count = static_cast<int>(f.count);
  s.keys = static_cast<int>(f.keys);
  s.heads = static_cast<int>(f.heads);
  s.all_heads = static_cast<int>(f.batch * f.heads);
  s.group = static_cast<int>(f.heads / f.kv_heads);
  s.d = static_cast<int>(f.d);
  s.window = static_cast<int>(f.window);
  s.steps = static_cast<int>((f.d * item + 31) / 32);
  s.pitch = s.steps * 32 + 16;         // an odd number of 16-byte pieces: eight rows lie in eight different groups of banks
  s.causal = f.causal;
  const int64_t all = reinterpret_cast<int64_t>(f.q) | reinterpret_cast<int64_t>(f.k) | s.q_batch | s.q_pos | s.q_head | s.k_batch | s.k_pos | s.k_head | (f.d * item);
  s.pieces = all % 16 == 0;
  s.scale = static_cast<float>(f.scale);
  s.factor = static_cast<float>(f.scale * 1.4426950408889634);
  s.softcap = static_cast<float>(f.softcap);
  s.per_softcap = f.softcap > 0 ? static_cast<float>(2 * 1.4426950408889634 / f.softcap) : 0.0f;
  s.slopes = f.slopes;
  s.sinks = f.sinks;
  s.past = f.past;
  s.own = f.own;
  return true;
}

unsigned blocks_of(const Scores& s, int rows) {
  const int64_t blocks = static_cast<int64_t>((s.count + rows - 1) / rows) * s.all_heads;
  return blocks < (int64_t{1} << 31) ? static_cast<unsigned>(blocks) : 0u;
}

const char* sentence_of(cudaError_t e) {
  if (e == cudaSuccess) return nullptr;
  if (e != cudaErrorInvalidConfiguration) return cudaGetErrorString(e);
  cudaGetLastError();                  // or the next call of this thread would find it
  return "not covered: a grid or a block's memory beyond this device's";
}

cudaError_t most_shared_memory(int device, int& bytes) {
  return cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}

namespace {

// Of the scores seen so far, in units of ln 2: Σ 2^(x - top), Σ 2^(x - top) (x - top), Σ 2^(x - top) (own - key).
// `product` is the score at `key` before it was multiplied and rounded to `top`.
struct Sums {
  float top = kNone, sum = 0, weighted = 0, distance = 0, product = kNone;
  int key = 0;
};

__device__ __forceinline__ void raise_to(Sums& s, float top) {
  const float by = s.top == top || s.top == kNone ? 0.0f : s.top - top, f = s.top == kNone ? 0.0f : power_of_two(by);
  s.weighted = s.top == kNone ? 0.0f : (s.weighted + s.sum * by) * f;
  s.sum *= f;
  s.distance *= f;
  s.top = top;
}

__device__ __forceinline__ void join(Sums& s, int lane_distance) {
  Sums o;
  o.top = __shfl_xor_sync(0xffffffffu, s.top, lane_distance);
  o.sum = __shfl_xor_sync(0xffffffffu, s.sum, lane_distance);
  o.weighted = __shfl_xor_sync(0xffffffffu, s.weighted, lane_distance);
  o.distance = __shfl_xor_sync(0xffffffffu, s.distance, lane_distance);
  o.product = __shfl_xor_sync(0xffffffffu, s.product, lane_distance);
  o.key = __shfl_xor_sync(0xffffffffu, s.key, lane_distance);
  const float top = fmaxf(s.top, o.top);
  s.key = s.product > o.product ? s.key : o.product > s.product ? o.key : min(s.key, o.key);
  s.product = fmaxf(s.product, o.product);
  if (s.top != top) raise_to(s, top);
  if (o.top != top) raise_to(o, top);
  s.sum += o.sum;
  s.weighted += o.weighted;
  s.distance += o.distance;
}

template <Products P>
__device__ __forceinline__ float item_at(const char* p, int i) {
  if constexpr (P == Products::kBFloat16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(p)[i]);
  else if constexpr (P == Products::kFloat16) return __half2float(reinterpret_cast<const __half*>(p)[i]);
  else return reinterpret_cast<const float*>(p)[i];
}

// q · k by four lanes, 16-byte pieces in turn; all of them get the sum.
template <Products P>
__device__ __forceinline__ float dot(const char* q, const char* k, const Scores& s, int part) {
  constexpr int kItems = 16 / bytes_of(P);
  float sum = 0;
  if (s.pieces) {
    for (int c = part * kItems; c < s.d; c += 4 * kItems) {
      const uint4 a = *reinterpret_cast<const uint4*>(q + c * bytes_of(P)), b = *reinterpret_cast<const uint4*>(k + c * bytes_of(P));
#pragma unroll
      for (int i = 0; i < kItems; ++i) sum += item_at<P>(reinterpret_cast<const char*>(&a), i) * item_at<P>(reinterpret_cast<const char*>(&b), i);
    }
  } else {
    for (int i = part; i < s.d; i += 4) sum += item_at<P>(q, i) * item_at<P>(k, i);
  }
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
}

// kMore: softcap, ALiBi or a scale that is not above 0.
template <Products P, int MT, bool kMore>
__global__ void __launch_bounds__(kThreads) statistics_kernel(const Scores s, const AttentionStatistics work) {
  extern __shared__ __align__(16) char memory[];
  constexpr int kRows = kWarps * 16 * MT;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = lane % 4;
  const BlockPlace place_of(s.all_heads, kRows);
  const int b = place_of.head / s.heads, h = place_of.head % s.heads, row0 = place_of.row0;
  const char* q = s.q + b * s.q_batch + h * s.q_head;
  const char* k = s.k + b * s.k_batch + h / s.group * s.k_head;
  char* queries = memory;
  char* keys = memory + kRows * s.pitch;
  const TileRange range(s, row0, min(row0 + kRows, s.count) - 1);
  const float slope = kMore && s.slopes ? static_cast<float>(s.slopes[h]) : 0.0f;
  const float factor = kMore ? 1.0f : s.factor;

  int own[MT][2];
  Sums sums[MT][2];
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      own[m][r] = s.own_of(min(row0 + (warp * MT + m) * 16 + r * 8 + lane / 4, s.count - 1));
      sums[m][r] = Sums();             // nvcc 13.0 begins all but the first row of such an array with zeros, not with what Sums says
    }

  fetch_rows(queries, q, s.q_pos, row0, s.count, kRows, s, bytes_of(P));
  fetch_rows(keys, k, s.k_pos, range.begin * kTileKeys, s.keys, kTileKeys, s, bytes_of(P));
  const uint32_t my_queries = query_address(queries, warp * MT * 16, s);
  for (int tile = range.begin, turn = 0; tile < range.end; ++tile, turn ^= 1) {
    copies_done();
    __syncthreads();
    if (tile + 1 < range.end)
      fetch_rows(keys + (turn ^ 1) * kTileKeys * s.pitch, k, s.k_pos, (tile + 1) * kTileKeys, s.keys, kTileKeys, s, bytes_of(P));
    float acc[MT][8][4];
    score_tile<P, MT>(acc, my_queries, key_address(keys + turn * kTileKeys * s.pitch, s), s);
    const int key0 = tile * kTileKeys + 2 * part;
    const bool whole = range.whole(s, tile);
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int o = own[m][r];
        if constexpr (kMore)
#pragma unroll
          for (int n = 0; n < 8; ++n)
#pragma unroll
            for (int c = 0; c < 2; ++c) acc[m][n][2 * r + c] = finished(acc[m][n][2 * r + c], s, slope, key0 + 8 * n + c - o);
        if (!whole) {
          const int begin = s.begin_of(o) - key0, end = s.end_of(o) - key0;
#pragma unroll
          for (int n = 0; n < 8; ++n)
#pragma unroll
            for (int c = 0; c < 2; ++c)
              if (8 * n + c < begin || 8 * n + c >= end) acc[m][n][2 * r + c] = kNone;
        }
        float top = kNone;
#pragma unroll
        for (int n = 0; n < 8; ++n) top = fmaxf(top, fmaxf(acc[m][n][2 * r], acc[m][n][2 * r + 1]));
        Sums& mine = sums[m][r];
        if (top > mine.product) {
          int where = 0;
#pragma unroll
          for (int n = 7; n >= 0; --n)
#pragma unroll
            for (int c = 1; c >= 0; --c)
              if (acc[m][n][2 * r + c] == top) where = 8 * n + c;
          mine.key = key0 + where;
          mine.product = top;
          raise_to(mine, top * factor);
        }
        const float from = mine.top == kNone ? 0.0f : mine.top;
        float sum = 0, weighted = 0, place = 0;
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            const float y = fmaf(acc[m][n][2 * r + c], factor, -from), p = power_of_two(y);
            sum += p;
            weighted = fmaf(p, fmaxf(y, -1000.0f), weighted);        // an unseen key's -inf would make 0 · inf of it
            place = fmaf(p, static_cast<float>(8 * n + c), place);
          }
        mine.sum += sum;
        mine.weighted += weighted;
        mine.distance += static_cast<float>(o - key0) * sum - place;
      }
  }

  // The tile of keys is not needed any more; queries are, by the warp that has them.
  copies_done();
  __syncthreads();
  const float sink = s.sinks ? static_cast<float>(s.sinks[h] * 1.4426950408889634) : kNone;
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      Sums& x = sums[m][r];
      join(x, 1);
      join(x, 2);
      const int in_block = (warp * MT + m) * 16 + r * 8 + lane / 4, row = row0 + in_block;
      if (sink > x.top) raise_to(x, sink);
      float total = x.sum + (sink == kNone ? 0.0f : power_of_two(sink - x.top));
      if (total == 0) total = __int_as_float(0x7fc00000);            // nothing seen at all
      const float log_total = log2f(total), inverse = 1 / total;
      auto p_at = [&](int64_t key) {
        const bool seen = row < s.count && key >= s.begin_of(own[m][r]) && key < s.end_of(own[m][r]);
        const char* at = k + (seen ? key : 0) * s.k_pos;
        float product = dot<P>(queries + in_block * s.pitch, at, s, part), score;
        if constexpr (kMore) score = finished(product, s, slope, static_cast<int>(key) - own[m][r]);
        else score = product;
        const float p = power_of_two(fmaf(score, factor, -x.top)) * inverse;
        return seen ? p : 0.0f;
      };
      const float first = p_at(work.first);
      const int64_t place = (static_cast<int64_t>(b) * s.heads + h) * s.count + row;
      if (part == 0 && row < s.count) {
        float* out = work.out + place * kAttentionNumbers;
        out[0] = (x.top + log_total) * kLn2;
        out[1] = power_of_two(fmaf(x.product, factor, -x.top)) * inverse;
        out[2] = static_cast<float>(x.key);
        out[3] = (log_total * x.sum - x.weighted) * kLn2 * inverse;
        out[4] = first;
        out[5] = x.distance * inverse;
        out[6] = s.sinks || total != total ? x.sum * inverse : 1.0f;
      }
      for (int64_t n = 0; n < work.targets_count; ++n) {
        const int64_t key = row < s.count ? work.targets[(static_cast<int64_t>(b) * s.count + row) * work.targets_count + n] : -1;
        const float p = p_at(key);
        if (part == 0 && row < s.count) work.out_targets[place * work.targets_count + n] = p;
      }
    }
}

template <Products P, int MT, bool kMore>
cudaError_t start(const Scores& s, const AttentionStatistics& work, int most, cudaStream_t stream) {
  constexpr int kRows = kWarps * 16 * MT;
  const int bytes = (kRows + 2 * kTileKeys) * s.pitch;
  if (bytes > most) {
    if constexpr (MT > 1) return start<P, 1, kMore>(s, work, most, stream);
    return cudaErrorInvalidConfiguration;
  }
  cudaError_t e = cudaFuncSetAttribute(statistics_kernel<P, MT, kMore>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (e != cudaSuccess) return e;
  const unsigned grid = blocks_of(s, kRows);
  statistics_kernel<P, MT, kMore><<<grid, kThreads, bytes, stream>>>(s, work);
  return cudaGetLastError();
}

template <Products P>
cudaError_t start_products(const Scores& s, const AttentionStatistics& work, int most, int multiprocessors, cudaStream_t stream) {
  const bool more = s.softcap > 0 || s.slopes || !(s.scale > 0);
  // Twice the queries a warp halve what it reads of shared memory, where there are blocks enough to fill the device.
  if (!more && blocks_of(s, 2 * kWarps * 16) >= static_cast<unsigned>(3 * multiprocessors)) return start<P, 2, false>(s, work, most, stream);
  return more ? start<P, 1, true>(s, work, most, stream) : start<P, 1, false>(s, work, most, stream);
}

}  // namespace
}  // namespace microtome::kernels

extern "C" const char* microtome_attention_statistics_cuda(const microtome::kernels::AttentionStatistics& work, int device, void* stream) {
  using namespace microtome::kernels;
  if (work.scores.batch * work.scores.heads * work.scores.count == 0) return nullptr;
  Scores s;
  Products products;
  const char* why = nullptr;
  if (!read_scores(work.scores, s, products, why)) return why;
  int most = 0, multiprocessors = 0;
  cudaError_t e = cudaSetDevice(device);
  if (e == cudaSuccess) e = most_shared_memory(device, most);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (e == cudaSuccess) switch (products) {
      case Products::kSplit: e = start_products<Products::kSplit>(s, work, most, multiprocessors, on); break;
      case Products::kTf32: e = start_products<Products::kTf32>(s, work, most, multiprocessors, on); break;
      case Products::kBFloat16: e = start_products<Products::kBFloat16>(s, work, most, multiprocessors, on); break;
      case Products::kFloat16: e = start_products<Products::kFloat16>(s, work, most, multiprocessors, on); break;
    }
  return sentence_of(e);
}
