// batch_choice.h — what BatchTopK and its nested form share: the choice over a batch, and the form with fixed thresholds.
#pragma once

#include "core/dictionary/kinds/kind.h"

namespace microtome::dictionary_kinds {

class BatchChoice : public DictionaryKind {
 public:
  std::vector<std::pair<std::string, std::vector<int64_t>>> own_weights(const DictionaryConfig& c) const override { return {{"b_enc", {c.d_sae}}}; }
  // The batch at hand chooses, as in training.
  at::Tensor encode(const Dictionary& d, const at::Tensor& x, at::Tensor* pre) const override;
  // A JumpReLU with the running threshold; where pre-activations are scaled by decoder norms, these are folded in, so that
  // rows of W_dec have norm 1.
  Dictionary inference_form(const Dictionary& d, double threshold) const override;
  bool batch_wise() const override { return true; }
  at::Tensor activate(const Dictionary& d, const at::Tensor& x, const LossSettings& s, LossResult& r) const override;
};

}  // namespace microtome::dictionary_kinds
