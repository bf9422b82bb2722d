// topk — the k strongest features of a token; definition in README.md.
#include <ATen/ATen.h>

#include "core/dictionary/kinds/parts.h"

namespace microtome::dictionary_kinds {
namespace {

class TopK : public DictionaryKind {
 public:
  std::string name() const override { return "topk"; }
  std::string title() const override { return "TopK"; }
  std::string source() const override { return "arXiv 2406.04093"; }
  std::vector<std::pair<std::string, std::vector<int64_t>>> own_weights(const DictionaryConfig& c) const override { return {{"b_enc", {c.d_sae}}}; }
  at::Tensor encode(const Dictionary& d, const at::Tensor& x, at::Tensor* pre) const override {
    at::Tensor p = x.matmul(d.weight("W_enc")) + d.weight("b_enc");
    if (d.config.rescale_acts_by_decoder_norm) p = p * decoder_norms(d);
    if (pre) *pre = p;
    return top_of_rows(p, d.config.k);
  }
  at::Tensor activate(const Dictionary& d, const at::Tensor& x, const LossSettings& s, LossResult& r) const override {
    r.pre = pre_activation(d, x, s);
    const bool rescale = d.config.rescale_acts_by_decoder_norm;
    at::Tensor norms = rescale ? decoder_norms(d) : at::Tensor();
    if (rescale) r.pre = r.pre * norms;
    r.codes = top_of_rows(r.pre, d.config.k);
    return rescale ? r.codes / norms : r.codes;
  }
  void penalise(const Dictionary& d, const at::Tensor& x, const at::Tensor& target, const at::Tensor& codes, const LossSettings& s, LossResult& r) const override {
    r.parts.emplace_back("auxiliary_reconstruction_loss", auxiliary_loss(d, r.pre, r.out, target, s));
  }
};

}  // namespace

void register_topk(Registry& registry) { registry.add(std::make_unique<TopK>()); }

}  // namespace microtome::dictionary_kinds
