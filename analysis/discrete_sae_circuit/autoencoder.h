// autoencoder.h — a small sparse autoencoder whose strongest feature is an example's code (arXiv 2405.12522). Everything in
// float64 on the CPU, with gradients written out, so that the same seed gives the same bits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/base/progress.h"

namespace microtome::analyses {

// f = relu(W_enc x + b_enc), x̂ = W_decᵀ f + b_dec; rows of W_dec have norm 1.
struct DiscreteAutoencoder {
  at::Tensor encoder, encoder_bias;    // [codes, d], [codes]
  at::Tensor decoder, decoder_bias;    // [codes, d], [d]
  at::Tensor mean;                     // of the training inputs [d], taken off first
  double scale = 1;                    // and what is left is divided by this: the root mean squared norm

  at::Tensor normalise(const at::Tensor& x) const;
  at::Tensor features(const at::Tensor& normalised) const;      // [n, codes]
  // The strongest feature before the ReLU, so that an example without an active one has a code too. x [n, d] → [n] int64
  at::Tensor codes(const at::Tensor& x) const;
};

struct AutoencoderLoss {
  double loss = 0;                     // mean over examples of |x̂ - x|² + l1 Σ f
  at::Tensor encoder, encoder_bias, decoder, decoder_bias;      // its gradient, shaped like the parameters
};
AutoencoderLoss loss_and_gradient(const DiscreteAutoencoder& sae, const at::Tensor& normalised, double l1);

struct AutoencoderOptions {
  int64_t codes = 64, steps = 400, batch = 256;
  double l1 = 0.05, learning_rate = 3e-3;
  uint64_t seed = 0;
};
// x [n, d], n > 0. Adam; batches drawn with the seed where n exceeds them.
DiscreteAutoencoder train(const at::Tensor& x, const AutoencoderOptions& options, Progress& progress);
// Share of the variance that is not explained, and the mean number of active features.
double unexplained(const DiscreteAutoencoder& sae, const at::Tensor& x);
double active(const DiscreteAutoencoder& sae, const at::Tensor& x);

}  // namespace microtome::analyses
