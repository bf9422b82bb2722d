// activations.h — a model's activations on a corpus as shuffled rows, made while training goes on, or read from a folder where an
// earlier run kept them.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "core/hooks/hook_plan.h"
#include "core/training/corpus.h"

namespace microtome {

class Model;

// Values of points on sequences of one length: [sequences · positions, width] each, float32, positions from `from` on; axes behind
// pos are flattened ([head, d_head] → head · d_head). Runs no further than the last point.
std::vector<at::Tensor> run_points(const Model& model, const std::vector<std::vector<int64_t>>& sequences,
                                   const std::vector<std::string>& hooks, int64_t from, MixerForm form);

struct ActivationOptions {
  std::vector<std::string> hooks;            // exact names, no two alike
  int64_t block_tokens = 1 << 17;            // rows a block has at least: what is shuffled together
  int64_t batch_tokens = 8192;               // tokens that run together; halved where memory does not suffice
  int64_t held_out = 0;                      // sequences that are kept for evaluation
  int64_t from = 0;                          // positions before this one are left out
  uint64_t seed = 0;
  MixerForm form = MixerForm::kAuto;
  std::string cache;                         // folder; empty: nothing is kept
  std::string key;                           // what the cached numbers depend on beside the above: weights, corpus, type
};

// The order of sequences is shuffled once; the last `held_out` are not trained on. Block n of the training holds the rows of
// block n mod blocks() of the corpus, shuffled anew by (seed, n): a block depends on n alone, so a training that goes on
// from any step reads what it would have read. While one block is in use the next is made by another thread.
class ActivationBlocks {
 public:
  // Throws Error(kBadInput) where the corpus has no sequence to train on, or where the cache is of other activations.
  ActivationBlocks(const Model& model, const Corpus& corpus, ActivationOptions options);
  ~ActivationBlocks();
  ActivationBlocks(const ActivationBlocks&) = delete;

  int64_t blocks() const { return static_cast<int64_t>(first_.size()) - 1; }
  int64_t rows(int64_t block) const;         // of a block of the corpus
  int64_t rows_of_all() const;
  std::vector<std::vector<int64_t>> held_out() const;
  // One tensor a hook [rows, width], on the model's device. Errors of the model are thrown; a full disk ends the caching only and
  // is told by `problem()`.
  const std::vector<at::Tensor>& block(int64_t n);
  std::string problem() const;

 private:
  struct Cache;
  std::vector<at::Tensor> make(int64_t corpus_block) const;
  std::vector<at::Tensor> shuffled(int64_t n) const;

  const Model& model_;
  const Corpus& corpus_;
  ActivationOptions options_;
  mutable std::atomic<int64_t> at_once_{0};  // tokens that run together
  std::vector<int64_t> order_;               // sequences, those for training first
  std::vector<int64_t> first_;               // of each block, into order_, and the end
  std::unique_ptr<Cache> cache_;
  int64_t here_ = -1, next_ = -1;
  std::vector<at::Tensor> current_;
  std::future<std::vector<at::Tensor>> coming_;
};

}  // namespace microtome
