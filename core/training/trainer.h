// trainer.h — trains one dictionary, or the layers of a cross-layer transcoder together: loss, gradients, Adam, what keeps
// features alive. Batches come from outside; two trainers given the same batches do the same whatever else happens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/artifact.h"
#include "core/dictionary/kinds/kind.h"

namespace microtome {

struct TrainerSettings {
  LossSettings loss;                         // coefficients at full strength; `dead` is the trainer's own
  double lr = 3e-4, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;   // Adam (arXiv 1412.6980)
  int64_t steps = 1;                         // of the whole training: schedules end here
  int64_t warmup = 0, decay = 0;             // steps over which lr rises from 0, and falls to 0 at the end; both linear
  int64_t sparsity_warmup = 0;               // steps over which l1, l0 rise from 0
  double clip = 1;                           // largest norm of the whole gradient; 0: none
  bool unit_decoder = false;                 // rows of W_dec are kept at norm 1, and their gradient across them
  int64_t dead_tokens = 100000;              // a feature that has not fired for so many tokens is dead
  double threshold_lr = 0.01;                // of the running threshold of a batch-wise choice
  int64_t resample_every = 0;                // steps; 0: never. Dead features start anew at inputs that are badly explained
  enum class Form { kAuto, kDense, kSparse } form = Form::kAuto;   // of the loss; kAuto: sparse where the kind has one
  uint64_t seed = 0;
};

// What a step found. Tensors are on the device: reading them waits for it.
struct StepReport {
  at::Tensor loss, mse, l0;                  // scalars: the loss, its first part, mean number of active features
  at::Tensor norm;                           // of the gradient before clipping
};

// W_enc is kept as its transpose: gradients touch whole features.
class Trainer {
 public:
  // members: dictionaries on one device in float32, in training form; several: a cross-layer transcoder, ascending.
  Trainer(std::vector<Dictionary> members, TrainerSettings settings);
  ~Trainer();
  Trainer(Trainer&&) noexcept;

  // Fresh weights: rows of W_dec of norm `decoder_norm` in random directions, W_enc its transpose where d_in is d_out and it is an
  // autoencoder, else directions of its own; b_dec the mean of the targets; thresholds as given.
  static Dictionary initial(const DictionaryConfig& c, const at::Tensor& mean_target, double decoder_norm, double threshold, int64_t later, uint64_t seed);

  // x, target: a tensor [n, d_in] and [n, d_out] a member; for autoencoders target is x.
  StepReport step(const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& target);
  int64_t steps_done() const;
  bool sparse() const;                       // which form of the loss runs
  int64_t dead(size_t member) const;         // features, now

  // Copies of the weights: as they are trained, and in the form in which they are used.
  Dictionary trained(size_t member) const;
  Dictionary finished(size_t member) const;
  size_t members() const;

  // Everything a training that goes on needs, names beginning with `prefix`; set_state throws Error(kBadInput) where it does not fit.
  std::vector<NamedArray> state(const std::string& prefix) const;
  void set_state(const std::vector<NamedArray>& arrays, const std::string& prefix);

  // The gradient of the loss at the current weights, by SAELens's names of the weights ("W_enc" as [d_in, d_sae]), in the form
  // that step() uses: for tests.
  std::vector<std::pair<std::string, at::Tensor>> gradients(const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& target, at::Tensor* loss);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome
