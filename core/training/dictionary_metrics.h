// dictionary_metrics.h — how good a dictionary is: sums over a stream of tokens, a dictionary put into the model's place of the
// hook it was trained on, and what that costs the model. One definition for training's live numbers and for evaluation.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/progress.h"
#include "core/dictionary/dictionary.h"
#include "core/hooks/hook_plan.h"

namespace microtome {

class Model;

// All over the same tokens; NaN where there are none or where the divisor is 0.
struct DictionaryMetrics {
  double l0 = 0;                     // mean number of active features a token
  double fvu = 0;                    // Σ‖x − x̂‖² / Σ‖x − mean of x‖²: the mean is over all tokens, not a batch's
  double explained_variance = 0;     // 1 − fvu
  double cosine = 0;                 // mean over tokens of cos(x, x̂); a token whose x or x̂ is 0 counts as 0
  double mse = 0;                    // mean over tokens of ‖x − x̂‖²
  double bias = 0;                   // relative reconstruction bias γ = argmin E‖x̂/γ − x‖² = Σ‖x̂‖² / Σ x·x̂; below 1: shrinkage
                                     // (Rajamanoharan et al., arXiv 2404.16014, eq. 10)
  double dead = 0, dense = 0;        // shares of features that never fired, and that fired on more than kDense of the tokens
  int64_t tokens = 0;
};

// Not thread-safe. Sums are kept in float64 on `device`; nothing is brought to the host before result() or fired().
class MetricsAccumulator {
 public:
  static constexpr double kDense = 0.1;
  MetricsAccumulator(int64_t d_out, int64_t d_sae, c10::Device device);
  // target, out [n, d_out]; codes [n, d_sae], a feature fires where its code is above 0.
  void add(const at::Tensor& target, const at::Tensor& out, const at::Tensor& codes);
  void add(const at::Tensor& target, const at::Tensor& out, const SparseCodes& codes);
  DictionaryMetrics result() const;
  at::Tensor fired() const { return fired_; }          // [d_sae] int64 counts of tokens
  int64_t tokens() const { return tokens_; }
  at::Tensor mean() const;                             // [d_out] of x so far, float64; NaN before the first token
  // The same as if `other` had seen its tokens here.
  void merge(const MetricsAccumulator& other);
  // For keeping: shift [d_out], sum [d_out], sums, fired [d_sae], tokens [1], on the CPU.
  std::vector<at::Tensor> state() const;
  void set_state(const std::vector<at::Tensor>& state);

 private:
  void add_outputs(const at::Tensor& target, const at::Tensor& out);
  at::Tensor shift_;                                   // [d_out]: mean of the first batch; sums about it do not cancel
  at::Tensor sum_;                                     // [d_out] Σ (x − shift)
  at::Tensor sums_;                                    // Σ‖x − shift‖², Σ‖x − x̂‖², Σ cos, Σ‖x̂‖², Σ x·x̂
  at::Tensor fired_;
  int64_t tokens_ = 0;
};

// ---- a dictionary in the model ----

struct SpliceOptions {
  // The error x − x̂ is put back: alone nothing changes, with `change` only what was done to the codes acts.
  bool keep_error = false;
  bool watch_only = false;           // the model goes on with its own value; codes and outputs are made for `watch` alone
  int64_t from = 0;                  // positions before this one are left as they are and are not watched
  // The tokens that rows belong to; rows run over batch, then position. Edits may come a part of the sequence at a time.
  struct Place { size_t member = 0; int64_t batch = 0, first_pos = 0, positions = 0; };
  // The codes [n, d_sae] of a member (its index in the set) → those that are decoded. Null: as they are. Differentiable.
  std::function<at::Tensor(const at::Tensor& codes, const Place&)> change;
  // Every member's codes (changed), the model's own value and the dictionary's output [n, width]. Null: nobody watches.
  std::function<void(const Place&, const at::Tensor& target, const at::Tensor& out, const at::Tensor& codes)> watch;
};

// Adds edits that replace hook_out by the dictionary's output on hook_in, which for transcoders is read on the way. A point
// [batch, pos, …] is flattened behind pos ([…, head, d_head] to head · d_head; states to head · d_k · d_v, one position at a
// time). The dictionary may be of another type or device: it is converted once, at its first use. The edits throw
// Error(kBadInput) where the widths do not fit. A plan with them is for one run at a time.
void splice(HookPlan& plan, std::shared_ptr<const Dictionary> d, bool keep_error);
// The same for the hook_outs of members of a set, all at once (empty: all). In a cross-layer set a hook_out gets the sum of what all
// members of its own and of earlier layers write there, chosen or not.
void splice(HookPlan& plan, std::shared_ptr<const DictionarySet> set, const SpliceOptions& options, const std::vector<size_t>& members = {});
// Replaces a point by a value [width] (flattened as above) at positions from `from` on: zeros, or a mean. Undefined: zeros.
void ablate_point(HookPlan& plan, const std::string& hook, const at::Tensor& value, int64_t from = 0);

// Numbers a token of a point, all axes behind pos. Throws Error(kBadInput) for points that are not [batch, pos, fixed sizes…]
// (patterns), Error(kNotFound) for unknown ones.
int64_t point_width(const Model& model, const std::string& hook);
// That every member's hooks exist and have its widths; throws Error(kBadInput) naming dictionary and point.
void check_points(const DictionarySet& set, const Model& model);

// Next-token cross entropy and KL(clean ‖ changed), nats, means over tokens (KL: over all positions from `from` on; CE: over those
// that have a next token). recovered = (zero − spliced) / (zero − clean); recovered_mean with the mean ablation in its place;
// kl_recovered = 1 − kl_spliced / kl_zero. NaN where the ablation changes nothing.
struct CrossEntropy {
  double clean = 0, spliced = 0, zero = 0, mean = 0, recovered = 0, recovered_mean = 0;
  double kl_spliced = 0, kl_zero = 0, kl_mean = 0, kl_recovered = 0, kl_recovered_mean = 0;
  int64_t tokens = 0;                // positions that CE is over
};
// A sequence's means, for intervals: [rows] float64 on the CPU; rows in the order of the batches. NaN: a sequence of one token.
struct SequenceLosses {
  at::Tensor ce, kl;
};

struct LossOptions {
  int64_t from = 0;                  // as in SpliceOptions
  MixerForm form = MixerForm::kAuto;
  bool means = true;                 // mean ablation too
  std::map<std::string, at::Tensor> given_means;       // of each hook_out [width]; empty: one more run over the text finds them
  std::vector<size_t> members;       // of the set, together; empty: all
};
struct LossRows {
  SequenceLosses clean, spliced, zero, mean;           // clean.kl is undefined; mean undefined where not asked for
  at::Tensor ce_tokens, kl_tokens;                     // [rows] int64: how many tokens each mean is over
  CrossEntropy total() const;
};
// batches: [rows, pos] int64 each, any length. Runs at most the batch's rows together.
LossRows splice_losses(const Model& model, std::shared_ptr<const DictionarySet> set, const std::vector<at::Tensor>& batches,
                       const LossOptions& options, Progress& progress);
CrossEntropy cross_entropy_recovered(const Model& model, const Dictionary& d, const std::vector<at::Tensor>& batches, Progress& progress);

}  // namespace microtome
