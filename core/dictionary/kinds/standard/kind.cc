// standard — ReLU with an L1 that is weighted by decoder norms; definition in README.md.
#include <ATen/ATen.h>

#include "core/dictionary/kinds/parts.h"

namespace microtome::dictionary_kinds {
namespace {

class Standard : public DictionaryKind {
 public:
  std::string name() const override { return "standard"; }
  std::string title() const override { return "ReLU + L1"; }
  std::string source() const override { return "arXiv 2309.08600; norm-weighted: Anthropic, April 2024 update"; }
  std::vector<std::pair<std::string, std::vector<int64_t>>> own_weights(const DictionaryConfig& c) const override { return {{"b_enc", {c.d_sae}}}; }
  at::Tensor encode(const Dictionary& d, const at::Tensor& x, at::Tensor* pre) const override {
    at::Tensor p = x.matmul(d.weight("W_enc")) + d.weight("b_enc");
    if (pre) *pre = p;
    return p.relu();
  }
  at::Tensor activate(const Dictionary& d, const at::Tensor& x, const LossSettings& s, LossResult& r) const override {
    r.pre = pre_activation(d, x, s);
    return r.codes = r.pre.relu();
  }
  void penalise(const Dictionary& d, const at::Tensor& x, const at::Tensor& target, const at::Tensor& codes, const LossSettings& s, LossResult& r) const override {
    r.parts.emplace_back("l1_loss", s.l1 * (codes * decoder_norms(d)).sum(-1).mean());
  }
};

}  // namespace

void register_standard(Registry& registry) { registry.add(std::make_unique<Standard>()); }

}  // namespace microtome::dictionary_kinds
