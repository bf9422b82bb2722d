#include "core/dictionary/kinds/batch_choice.h"

#include <ATen/ATen.h>

#include "core/dictionary/kinds/parts.h"

namespace microtome::dictionary_kinds {

at::Tensor BatchChoice::encode(const Dictionary& d, const at::Tensor& x, at::Tensor* pre) const {
  at::Tensor p = x.matmul(d.weight("W_enc")) + d.weight("b_enc");
  if (d.config.rescale_acts_by_decoder_norm) p = p * decoder_norms(d);
  if (pre) *pre = p;
  return top_of_batch(p, d.config.k);
}

at::Tensor BatchChoice::activate(const Dictionary& d, const at::Tensor& x, const LossSettings& s, LossResult& r) const {
  r.pre = pre_activation(d, x, s);
  const bool rescale = d.config.rescale_acts_by_decoder_norm;
  at::Tensor norms = rescale ? decoder_norms(d) : at::Tensor();
  if (rescale) r.pre = r.pre * norms;
  r.codes = top_of_batch(r.pre, d.config.k);
  return rescale ? r.codes / norms : r.codes;
}

Dictionary BatchChoice::inference_form(const Dictionary& d, double threshold) const {
  Dictionary out = d;
  out.config.kind = "jumprelu";
  out.config.rescale_acts_by_decoder_norm = false;
  if (d.config.rescale_acts_by_decoder_norm) {
    at::Tensor norms = decoder_norms(d).clamp_min(1e-12);
    out.weights["W_enc"] = d.weight("W_enc") * norms;
    out.weights["b_enc"] = d.weight("b_enc") * norms;
    out.weights["W_dec"] = d.weight("W_dec") / norms.unsqueeze(1);
    if (d.has("W_dec_later")) out.weights["W_dec_later"] = d.weight("W_dec_later") / norms.unsqueeze(1);
  }
  out.weights["threshold"] = at::full_like(d.weight("b_enc"), threshold);
  return out;
}

}  // namespace microtome::dictionary_kinds
