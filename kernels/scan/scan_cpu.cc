#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/scan/scan.h"

namespace microtome::kernels {
namespace {

template <class T>
void scan_head(const Scan& s, int64_t b, int64_t h, std::vector<T>& answer, std::vector<T>& write, std::vector<T>& erased) {
  const int64_t K = s.d_k, V = s.d_v, H = s.heads, G = s.group;
  T* const S = static_cast<T*>(s.state) + (b * H + h) * K * V;
  const T scale = static_cast<T>(s.scale);
  for (int64_t t = 0; t < s.positions; ++t) {
    const int64_t row = (b * s.positions + t) * H + h;
    const T *k = static_cast<const T*>(s.k) + row * K, *v = static_cast<const T*>(s.v) + row * V;
    // S^T with, of the state as it is then.
    auto ask = [&](const T* with, std::vector<T>& out) {
      std::fill(out.begin(), out.end(), T(0));
      for (int64_t i = 0; i < K; ++i)
        for (int64_t j = 0; j < V; ++j) out[static_cast<size_t>(j)] += S[i * V + j] * with[i];
    };
    if (s.a) ask(static_cast<const T*>(s.a) + row * K, erased);
    if (s.u && s.z) {
      const T *q = static_cast<const T*>(s.q) + row * K, *u = static_cast<const T*>(s.u) + h * K;
      T* z = static_cast<T*>(s.z) + row * V;
      ask(q, answer);
      T own = 0;
      for (int64_t i = 0; i < K; ++i) own += u[i] * q[i] * k[i];
      for (int64_t j = 0; j < V; ++j) z[j] = scale * (answer[static_cast<size_t>(j)] + own * v[j]);
    }
    if (s.g) {
      const T* g = static_cast<const T*>(s.g) + row * s.g_width;
      T decay = std::exp(g[0]);
      for (int64_t i = 0; i < K; ++i) {
        if (s.g_width > 1) decay = std::exp(g[i]);
        for (int64_t j = 0; j < V; ++j) S[i * V + j] *= decay;
      }
    }
    if (s.beta) {
      if (s.a) std::copy(erased.begin(), erased.end(), answer.begin());
      else ask(k, answer);
      const T beta = static_cast<const T*>(s.beta)[row];
      for (int64_t j = 0; j < V; ++j) write[static_cast<size_t>(j)] = beta * (v[j] - answer[static_cast<size_t>(j)]);
    } else {
      std::copy(v, v + V, write.begin());
    }
    for (int64_t i = 0; i < K; ++i)
      for (int64_t j = 0; j < V; ++j) S[i * V + j] += k[i] * write[static_cast<size_t>(j)];
    if (s.b) {
      const T* put = static_cast<const T*>(s.b) + row * K;
      for (int64_t i = 0; i < K; ++i)
        for (int64_t j = 0; j < V; ++j) S[i * V + j] += put[i] * erased[static_cast<size_t>(j)];
    }
    if (s.written) std::copy(write.begin(), write.end(), static_cast<T*>(s.written) + row * V);
    if (s.z && !s.u)
      for (int64_t n = 0; n < G; ++n) {
        const T* q = static_cast<const T*>(s.q) + (row * G + n) * K;
        T* z = static_cast<T*>(s.z) + (row * G + n) * V;
        ask(q, answer);
        for (int64_t j = 0; j < V; ++j) z[j] = scale * answer[static_cast<size_t>(j)];
      }
    if (s.kept && s.slots[t] >= 0) std::copy(S, S + K * V, static_cast<T*>(s.kept) + ((b * s.kept_count + s.slots[t]) * H + h) * K * V);
  }
}

template <class T>
void scan_heads(const Scan& s, int64_t from, int64_t to) {
  std::vector<T> answer(static_cast<size_t>(s.d_v)), write(static_cast<size_t>(s.d_v)), erased(static_cast<size_t>(s.a ? s.d_v : 0));
  for (int64_t i = from; i < to; ++i) scan_head<T>(s, i / s.heads, i % s.heads, answer, write, erased);
}

}  // namespace

void scan_cpu(const Scan& scan, bool is_double, int64_t from, int64_t to) {
  if (is_double) scan_heads<double>(scan, from, to);
  else scan_heads<float>(scan, from, to);
}

}  // namespace microtome::kernels
