// kind.h — a kind of dictionary: how it chooses active features, and its loss in training. A kind is a folder of
// core/dictionary/kinds that defines register_<folder>(Registry&) and has a README.md with definition and paper.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/dictionary/dictionary.h"

namespace microtome {

// Everything a loss may depend on beside weights and data. Coefficients are those of this step, warm-up included.
struct LossSettings {
  double l1 = 0;                             // standard, gated: of the decoder-norm-weighted L1
  double l0 = 0;                             // jumprelu: of the sparsity loss
  std::string sparsity = "step";             // jumprelu: "step" counts active features, "tanh" sums tanh(scale · f · ‖W_dec‖)
  double tanh_scale = 4, bandwidth = 0.001;
  double pre_act = 0;                        // jumprelu: of Σ relu(θ - pre) over dead features
  at::ScalarType products = at::kFloat;      // type of matrix products; sums, losses and masters stay as they are
  double aux = 1;                            // topk, batchtopk, matryoshka: of the loss that dead features take the residual with
  at::Tensor dead;                           // [d_sae] bool; undefined: none
};

struct LossResult {
  at::Tensor loss;                           // scalar: the sum of the parts
  std::vector<std::pair<std::string, at::Tensor>> parts;   // "mse_loss", "l1_loss" …: SAELens's names
  at::Tensor pre, codes, out;                // [n, d_sae], [n, d_sae], [n, d_out]
  at::Tensor opened;                         // gated: relu of the gates' pre-activations [n, d_sae]
};

class DictionaryKind {
 public:
  virtual ~DictionaryKind() = default;
  virtual std::string name() const = 0;      // the folder
  virtual std::string title() const = 0;
  virtual std::string source() const = 0;    // paper
  // Names and shapes of the weights beyond W_enc, W_dec, b_dec, W_skip.
  virtual std::vector<std::pair<std::string, std::vector<int64_t>>> own_weights(const DictionaryConfig& c) const = 0;
  // Inference: x as the encoder reads it (normalised, b_dec taken off) → codes. pre: see Dictionary::encode.
  virtual at::Tensor encode(const Dictionary& d, const at::Tensor& x, at::Tensor* pre) const = 0;
  // Training, the naive form: the definition, differentiable through autograd. x [n, d_in] is normalised already, target
  // [n, d_out]: for an SAE the same. Loss = mean squared error (summed over width, mean over tokens) and what the kind adds.
  LossResult loss(const Dictionary& d, const at::Tensor& x, const at::Tensor& target, const LossSettings& s) const;
  // Its two parts, for losses over several dictionaries. activate: fills pre and codes, and gives the codes in W_dec's own
  // units; penalise: appends parts, with r.out there.
  virtual at::Tensor activate(const Dictionary& d, const at::Tensor& x, const LossSettings& s, LossResult& r) const = 0;
  virtual void penalise(const Dictionary& d, const at::Tensor& x, const at::Tensor& target, const at::Tensor& codes, const LossSettings& s, LossResult& r) const = 0;
  // The form in which it is used: thresholds of a batch-wise choice made fixed, and the like. threshold: the running mean of
  // the smallest active value (batchtopk, matryoshka).
  virtual Dictionary inference_form(const Dictionary& d, double threshold) const { return d; }
  virtual bool batch_wise() const { return false; }   // the choice looks over the whole batch: it has a running threshold
};

namespace dictionary_kinds {

class Registry {
 public:
  void add(std::unique_ptr<DictionaryKind> kind);
  const DictionaryKind& get(const std::string& name) const;   // Error(kBadInput) lists the known names
  std::string names() const;

 private:
  std::map<std::string, std::unique_ptr<DictionaryKind>> kinds_;
};

void register_all(Registry& registry);       // generated
const Registry& builtin();

}  // namespace dictionary_kinds

}  // namespace microtome
