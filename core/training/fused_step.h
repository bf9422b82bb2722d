// fused_step.h — the losses of topk, batchtopk and matryoshka with their gradients by the kernels of kernels/top_choice and
// kernels/sparse_step, on a GPU: encoder products in blocks of rows, of which only the chosen entries are kept; products of matrices
// and the vectors that gradients are summed of in float32 or bfloat16 (LossSettings::products), sums and masters in float32. The
// definition is the kinds' own loss; private to core/training.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>

#include "core/dictionary/kinds/kind.h"
#include "core/training/adam.h"

namespace microtome {

struct FusedLoss {
  at::Tensor loss, mse, l0;                  // scalars
  at::Tensor smallest;                       // scalar, batch-wise kinds: the smallest active value, in units of the choice
  std::map<std::string, at::Tensor> gradients;   // as SparseLoss's; rows of features that took no part are not written, unless asked for
  at::Tensor touched;                        // [d_sae] uint8: 1 for the other rows of "W_enc_t" and "W_dec"
  at::Tensor squares;                        // [2, d_sae]: of the gradients of W_dec; of W_enc_t and b_enc
};

struct FusedOptions {
  bool unit_decoder = false;                 // the gradient of W_dec across its rows alone
  bool whole = false;                        // write every row of the gradients
  at::Tensor silent;                         // [d_sae] int64, where defined: 0 for features that fired, rows added for others
};

class FusedStep {
 public:
  // Null where the kernels are not there or do not cover it: other kinds, other devices, odd widths. d: float32, W_enc the
  // transpose of a contiguous [d_sae, d_in].
  static std::unique_ptr<FusedStep> make(const Dictionary& d, at::ScalarType products);
  ~FusedStep();

  // encoder: W_encᵀ. False: not covered (a batch of more than 65,535 rows, or one that chooses together from 2³¹ numbers or more; a stream
  // of its own), and nothing is done.
  bool loss(const Dictionary& d, const at::Tensor& encoder, const at::Tensor& x, const at::Tensor& target, const LossSettings& s, const FusedOptions& o, FusedLoss& out);
  // Adds to W_enc_t's and W_dec's parameters what the next step needs of them.
  void prepare(const std::string& name, AdamParameter& p) const;
  void stale();                              // the weights were changed by something else

 private:
  FusedStep();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome
