// parts.h — what the losses of several kinds share. Shapes as in dictionary.h; everything is differentiable.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/dictionary/kinds/kind.h"

namespace microtome::dictionary_kinds {

// ‖W_dec_i‖₂ of every feature [d_sae].
at::Tensor decoder_norms(const Dictionary& d);
// x W_enc + b_enc, x less b_dec where the kind's configuration says so.
at::Tensor centred(const Dictionary& d, const at::Tensor& x);
at::Tensor pre_activation(const Dictionary& d, const at::Tensor& x, const LossSettings& s);
// a b in the type of products, given in a's.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, const LossSettings& s);
// codes W_dec + b_dec (+ x W_skipᵀ), codes in W_dec's own units.
at::Tensor reconstruct(const Dictionary& d, const at::Tensor& codes, const at::Tensor& x, const LossSettings& s);
// Sum over width of the squared difference, mean over tokens.
at::Tensor squared_error(const at::Tensor& out, const at::Tensor& target);
// The k largest of each row, negative ones set to 0, all else 0.
at::Tensor top_of_rows(const at::Tensor& pre, int64_t k);
// The k·n largest of the n rows together, negative ones 0.
at::Tensor top_of_batch(const at::Tensor& pre, int64_t k);
// The part that dead features take: the residual modelled by the d_in/2 (at most the number of dead) strongest dead
// pre-activations of each row, weighted by min(dead / (d_in/2), 1) (arXiv 2406.04093 with SAELens's weights). A zero scalar
// without dead features.
at::Tensor auxiliary_loss(const Dictionary& d, const at::Tensor& pre, const at::Tensor& out, const at::Tensor& target, const LossSettings& s);
// parts' sum.
at::Tensor total(const LossResult& r);

}  // namespace microtome::dictionary_kinds
