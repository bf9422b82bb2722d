#include "analysis/discrete_sae_circuit/autoencoder.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

at::Tensor normals(Rng& rng, int64_t rows, int64_t columns) {
  at::Tensor out = at::empty({rows, columns}, at::kDouble);
  for (int64_t i = 0; i < out.numel(); ++i) out.mutable_data_ptr<double>()[i] = rng.normal();
  return out;
}

at::Tensor unit_rows(const at::Tensor& t) { return t / t.norm(2, {1}, true).clamp_min(1e-12); }

class Adam {
 public:
  Adam(const at::Tensor& like, double rate) : rate_(rate), first_(at::zeros_like(like)), second_(at::zeros_like(like)) {}
  at::Tensor step(const at::Tensor& value, const at::Tensor& gradient) {
    ++count_;
    first_ = 0.9 * first_ + 0.1 * gradient;
    second_ = 0.999 * second_ + 0.001 * gradient.square();
    at::Tensor m = first_ / (1 - std::pow(0.9, count_)), v = second_ / (1 - std::pow(0.999, count_));
    return value - rate_ * m / (v.sqrt() + 1e-8);
  }

 private:
  double rate_;
  int count_ = 0;
  at::Tensor first_, second_;
};

}  // namespace

at::Tensor DiscreteAutoencoder::normalise(const at::Tensor& x) const { return (x.to(at::kCPU, at::kDouble) - mean) / scale; }

at::Tensor DiscreteAutoencoder::features(const at::Tensor& x) const { return at::relu(at::addmm(encoder_bias, x, encoder.t())); }

at::Tensor DiscreteAutoencoder::codes(const at::Tensor& x) const {
  return at::addmm(encoder_bias, normalise(x), encoder.t()).argmax(1);
}

AutoencoderLoss loss_and_gradient(const DiscreteAutoencoder& sae, const at::Tensor& x, double l1) {
  const double n = static_cast<double>(x.size(0));
  at::Tensor f = sae.features(x), wrong = at::addmm(sae.decoder_bias, f, sae.decoder) - x;
  AutoencoderLoss out;
  out.loss = (wrong.square().sum() + l1 * f.sum()).item<double>() / n;
  at::Tensor to_output = 2 * wrong / n;
  at::Tensor to_pre = (at::matmul(to_output, sae.decoder.t()) + l1 / n) * (f > 0).to(at::kDouble);
  out.decoder = at::matmul(f.t(), to_output);
  out.decoder_bias = to_output.sum(0);
  out.encoder = at::matmul(to_pre.t(), x);
  out.encoder_bias = to_pre.sum(0);
  return out;
}

DiscreteAutoencoder train(const at::Tensor& given, const AutoencoderOptions& o, Progress& progress) {
  at::Tensor x = given.to(at::kCPU, at::kDouble);
  Rng rng(o.seed);
  DiscreteAutoencoder sae;
  sae.mean = x.mean(0);
  double spread = std::sqrt((x - sae.mean).square().sum(1).mean().item<double>());
  sae.scale = spread > 1e-12 ? spread : 1;             // all examples alike: there is nothing to tell apart
  x = sae.normalise(x);
  sae.decoder = unit_rows(normals(rng, o.codes, x.size(1)));
  sae.encoder = sae.decoder.clone();
  sae.encoder_bias = at::zeros({o.codes}, at::kDouble);
  sae.decoder_bias = at::zeros({x.size(1)}, at::kDouble);
  Adam encoder(sae.encoder, o.learning_rate), encoder_bias(sae.encoder_bias, o.learning_rate), decoder(sae.decoder, o.learning_rate),
      decoder_bias(sae.decoder_bias, o.learning_rate);
  for (int64_t step = 0; step < o.steps; ++step) {
    if (step % 32 == 0) progress.step(step, o.steps, "training the autoencoder");
    at::Tensor batch = x;
    if (x.size(0) > o.batch) {
      std::vector<int64_t> rows(static_cast<size_t>(o.batch));
      for (int64_t& r : rows) r = static_cast<int64_t>(rng.below(static_cast<uint64_t>(x.size(0))));
      batch = x.index_select(0, at::tensor(rows, at::kLong));
    }
    AutoencoderLoss g = loss_and_gradient(sae, batch, o.l1);
    sae.encoder = encoder.step(sae.encoder, g.encoder);
    sae.encoder_bias = encoder_bias.step(sae.encoder_bias, g.encoder_bias);
    sae.decoder = unit_rows(decoder.step(sae.decoder, g.decoder));
    sae.decoder_bias = decoder_bias.step(sae.decoder_bias, g.decoder_bias);
  }
  return sae;
}

double unexplained(const DiscreteAutoencoder& sae, const at::Tensor& given) {
  at::Tensor x = sae.normalise(given), wrong = at::addmm(sae.decoder_bias, sae.features(x), sae.decoder) - x;
  double size = (x - x.mean(0)).square().sum().item<double>();
  return size > 0 ? wrong.square().sum().item<double>() / size : 0;
}

double active(const DiscreteAutoencoder& sae, const at::Tensor& x) {
  return (sae.features(sae.normalise(x)) > 0).to(at::kDouble).sum(1).mean().item<double>();
}

}  // namespace microtome::analyses
