// sparse_loss.h — the losses of topk, batchtopk and matryoshka with their gradients written out, without autograd and with nothing as
// wide as the dictionary but the pre-activations. The definition is the kinds' own loss; private to core/training.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "core/dictionary/kinds/kind.h"

namespace microtome {

struct SparseLoss {
  at::Tensor loss, mse, l0;                  // scalars
  at::Tensor fired;                          // [d_sae] bool
  at::Tensor smallest;                       // scalar: the smallest active value, in units of the choice
  std::map<std::string, at::Tensor> gradients;   // "W_enc_t" [d_sae, d_in], W_dec, b_enc, b_dec, W_skip
};

bool has_sparse_loss(const DictionaryConfig& c);
// encoder: W_encᵀ [d_sae, d_in], contiguous; d's W_enc is its transpose.
SparseLoss sparse_loss(const Dictionary& d, const at::Tensor& encoder, const at::Tensor& x, const at::Tensor& target, const LossSettings& s);

}  // namespace microtome
