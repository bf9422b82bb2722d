// gated — one path chooses, another measures; definition in README.md.
#include <ATen/ATen.h>

#include "core/dictionary/kinds/parts.h"

namespace microtome::dictionary_kinds {
namespace {

class Gated : public DictionaryKind {
 public:
  std::string name() const override { return "gated"; }
  std::string title() const override { return "Gated"; }
  std::string source() const override { return "arXiv 2404.16014"; }
  std::vector<std::pair<std::string, std::vector<int64_t>>> own_weights(const DictionaryConfig& c) const override {
    return {{"b_gate", {c.d_sae}}, {"r_mag", {c.d_sae}}, {"b_mag", {c.d_sae}}};
  }
  at::Tensor encode(const Dictionary& d, const at::Tensor& x, at::Tensor* pre) const override {
    at::Tensor product = x.matmul(d.weight("W_enc"));
    at::Tensor magnitude = product * d.weight("r_mag").exp() + d.weight("b_mag");
    if (pre) *pre = magnitude;
    return magnitude.relu() * (product + d.weight("b_gate")).gt(0);
  }
  at::Tensor activate(const Dictionary& d, const at::Tensor& x, const LossSettings& s, LossResult& r) const override {
    at::Tensor along = product(centred(d, x), d.weight("W_enc"), s);
    at::Tensor gate = along + d.weight("b_gate");
    r.opened = gate.relu();
    r.pre = along * d.weight("r_mag").exp() + d.weight("b_mag");
    return r.codes = r.pre.relu() * gate.gt(0);
  }
  void penalise(const Dictionary& d, const at::Tensor& x, const at::Tensor& target, const at::Tensor& codes, const LossSettings& s, LossResult& r) const override {
    r.parts.emplace_back("l1_loss", s.l1 * (r.opened * decoder_norms(d)).sum(-1).mean());
    // The paper detaches the decoder here; the numbers of SAELens 6.54, which the tests hold, need it attached.
    r.parts.emplace_back("auxiliary_reconstruction_loss", squared_error(reconstruct(d, r.opened, x, s), target));
  }
};

}  // namespace

void register_gated(Registry& registry) { registry.add(std::make_unique<Gated>()); }

}  // namespace microtome::dictionary_kinds
