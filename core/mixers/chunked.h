// chunked.h — the parts that chunked forms are made of. A run is cut into chunks of C tokens; what happens inside a
// chunk is a few large matrix products over all chunks at once, and only the state at the chunk borders is passed on in
// a loop.
//
// Within a chunk b_t is the sum of the log decays from the chunk's first token to t. Decays between two tokens are
// always formed as exp(b_t - b_s), never as exp(b_t) exp(-b_s), which overflows; b is kept in float64, since b_t - b_s
// cancels.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/mixers/recurrence.h"

namespace microtome::mixers {

// N = batch * state heads; n chunks of C tokens (a power of two, at most 64); G query heads a state head. The last
// chunk is filled up with tokens that change nothing: k = v = q = 0, no decay, beta = 0.
struct Chunks {
  explicit Chunks(const RecurrenceInput& in);

  int64_t C, n, N, G;
  double scale;
  at::Tensor q;         // [N, n, G*C, K], one query head after the other
  at::Tensor k, v;      // [N, n, C, K], [N, n, C, V]
  at::Tensor beta;      // [N, n, C, 1] or undefined
  at::Tensor b;         // float64 [N, n, C, K or 1] or undefined

  at::Tensor from_start() const;                        // exp(b_t)          [N, n, C, K or 1]
  at::Tensor to_end() const;                            // exp(b_C - b_s)    [N, n, C, K or 1]
  at::Tensor whole() const;                             // exp(b_C)          [N, n, K or 1, 1]
  at::Tensor q_from_start() const;                      // q_t exp(b_t), as q

  // tril(q k^T ∘ exp(b_t - b_s)): [N, n, G*C, C], for no decay, one decay a head, or one a channel. queries: as q or k.
  // keys: as k (the default).
  at::Tensor scores(const at::Tensor& queries) const { return scores(queries, k); }
  at::Tensor scores(const at::Tensor& queries, const at::Tensor& keys) const;
  // The same of readers that see the state before their own token: exp(b_{t-1} - b_s) for s < t, 0 elsewhere.
  at::Tensor scores_before(const at::Tensor& queries, const at::Tensor& keys) const;
  at::Tensor before_from_start(const at::Tensor& queries) const;   // queries_t exp(b_{t-1})
  at::Tensor part(const at::Tensor& x) const;           // [batch, pos, head, d] → [N, n, C, d]

  at::Tensor state(const at::Tensor& S) const;          // [batch, head, K, V] → [N, K, V]
  at::Tensor unstate(const at::Tensor& S) const;        // and back
  at::Tensor join(const at::Tensor& o) const;           // [N, n, G*C, V] → [batch, pos, head, V], padding dropped

 private:
  at::Tensor scores_by_channel(const at::Tensor& queries, const at::Tensor& keys) const;
  int64_t batch_, heads_, pos_;
};

// States at the chunk borders.
struct Border {
  at::Tensor starts;    // before each chunk [N, n, K, V]
  at::Tensor last;      // after the last one [N, K, V]
};

// S_{c+1} = whole_c S_c + writes_c. whole undefined: 1. writes [N, n, K, V].
Border pass_states(const at::Tensor& whole, const at::Tensor& writes, const at::Tensor& S);

// Delta rules: the values that are really written are new_c = U_c - W_c S_c, and S_{c+1} = whole_c S_c + Kend_c^T
// new_c. U [N, n, C, V], W [N, n, C, K], k_end [N, n, C, K].
struct DeltaBorder {
  at::Tensor starts, last, values;                      // values: new_c [N, n, C, V]
};
DeltaBorder pass_delta_states(const at::Tensor& whole, const at::Tensor& U, const at::Tensor& W,
                              const at::Tensor& k_end, const at::Tensor& S, bool keep);

// (I + L)^-1 right, L the part of l below the diagonal: [N, n, C, C], [N, n, C, M] → [N, n, C, M].
at::Tensor solve_unit_lower(const at::Tensor& l, const at::Tensor& right);

}  // namespace microtome::mixers
