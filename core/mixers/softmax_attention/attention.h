// attention.h — the arithmetic of softmax attention, apart from weights and hooks: the definition in three steps
// (naive.cc) and the fused form (fused.cc). Pure functions; thread-safe; differentiable in q, k, v and the sinks.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace microtome::mixers {

// How scores become weights. All but the first are ops without a model family.
enum class Weighting { kSoftmax, kSigmoid, kClippedSoftmax, kSoftplusL1 };

struct AttentionOptions {
  double scale = 1;
  double softcap = 0;                  // c tanh(x / c) on scaled scores; 0: none
  int64_t window = 0;                  // keys seen, the own one included; 0: all
  bool causal = true;
  bool alibi = false;                  // adds slope_h (key - query)
  at::Tensor sinks;                    // [head]: a logit that joins the softmax and is then dropped; undefined: none
  Weighting weighting = Weighting::kSoftmax;
  double sigmoid_bias = 0;
  double clip_gamma = 0, clip_zeta = 1;
  // Scores are q k^T and a mask, nothing else.
  bool plain() const;
  // The fused form exists: scores are q k^T and what is added to it. A softcap is no sum, and the library's kernel has none; nor
  // has it weights that are no softmax.
  bool fused() const;
};

// Which queries a call has. Keys are counted from the first one given: `past` of them come before this run's tokens.
struct QueryRows {
  int64_t past = 0, tokens = 0;
  std::optional<std::vector<int64_t>> read;   // relative to this run; unset: all tokens
  int64_t keys() const { return past + tokens; }
  int64_t count() const { return read ? static_cast<int64_t>(read->size()) : tokens; }
  // Index of each query's own key, int64 [count].
  at::Tensor own_keys(at::Device device) const;
};

// Every query sees every key.
bool sees_all(const QueryRows& rows, const AttentionOptions& options);
// bool [count, keys], true where the query sees the key; undefined when every query sees every key.
at::Tensor visible(const QueryRows& rows, const AttentionOptions& options, at::Device device);

// 2^(-8(h+1)/H); for H no power of two the slopes of the next lower one, then every other slope of the next higher.
std::vector<double> alibi_slopes(int64_t heads);

// Scores before the softmax, after the mask. q [batch, count, head, d], k [batch, keys, kv head, d]; the result
// [batch, head, count, keys] is float32, or float64 where q is.
at::Tensor attention_scores(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options,
                            const QueryRows& rows);
// The weights A in z = A v, same shape.
at::Tensor attention_pattern(const at::Tensor& scores, const AttentionOptions& options);
// z [batch, count, head, d_v]; v [batch, keys, kv head, d_v].
at::Tensor attention_mix(const at::Tensor& pattern, const at::Tensor& v);

// z by the library's fused kernel; options must be fused(). In q's type. Memory does not grow with queries × keys.
at::Tensor attention_fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionOptions& options, const QueryRows& rows);
// The definition a block of queries at a time, for what is not fused(): the same numbers, a block's pattern held at a time.
at::Tensor attention_blocked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const AttentionOptions& options, const QueryRows& rows);

// [batch, pos, kv head, d] → as many heads as asked, each repeated in place (head h uses kv head h / group). A view
// where possible.
at::Tensor repeat_heads(const at::Tensor& x, int64_t heads);

}  // namespace microtome::mixers
