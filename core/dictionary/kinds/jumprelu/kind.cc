// jumprelu — a learned threshold a feature; definition in README.md.
#include <ATen/ATen.h>

#include "core/dictionary/kinds/parts.h"

namespace microtome::dictionary_kinds {
namespace {

class JumpRelu : public DictionaryKind {
 public:
  std::string name() const override { return "jumprelu"; }
  std::string title() const override { return "JumpReLU"; }
  std::string source() const override { return "arXiv 2407.14435; tanh form: Anthropic, January 2025 update"; }
  std::vector<std::pair<std::string, std::vector<int64_t>>> own_weights(const DictionaryConfig& c) const override {
    return {{"b_enc", {c.d_sae}}, {"threshold", {c.d_sae}}};
  }
  at::Tensor encode(const Dictionary& d, const at::Tensor& x, at::Tensor* pre) const override {
    at::Tensor p = x.matmul(d.weight("W_enc")) + d.weight("b_enc");
    if (pre) *pre = p;
    return p.relu() * p.gt(d.weight("threshold"));
  }
  at::Tensor activate(const Dictionary& d, const at::Tensor& x, const LossSettings& s, LossResult& r) const override {
    const at::Tensor& threshold = d.weight("threshold");
    r.pre = pre_activation(d, x, s);
    Step step = open_and_near(r.pre, threshold, s);
    at::Tensor slope = step.near * threshold.detach(), moved = threshold - threshold.detach();
    // Straight-through estimators: terms that are 0 and carry a gradient. The rectangle of width `bandwidth` stands for the
    // step's derivative; with the tanh loss it reaches the pre-activations too.
    r.codes = r.pre * step.open - slope * moved;
    if (s.sparsity != "step") r.codes = r.codes + slope * (r.pre - r.pre.detach());
    return r.codes;
  }
  void penalise(const Dictionary& d, const at::Tensor& x, const at::Tensor& target, const at::Tensor& codes, const LossSettings& s, LossResult& r) const override {
    const at::Tensor& threshold = d.weight("threshold");
    at::Tensor active;
    if (s.sparsity == "step") {
      Step step = open_and_near(r.pre, threshold, s);
      active = (step.open - step.near * (threshold - threshold.detach())).sum(-1);
    } else {
      active = at::tanh(s.tanh_scale * codes * decoder_norms(d)).sum(-1);
    }
    r.parts.emplace_back("l0_loss", s.l0 * active.mean());
    if (s.pre_act != 0 && s.dead.defined())
      r.parts.emplace_back("pre_act_loss", s.pre_act * ((threshold - r.pre).relu() * s.dead * decoder_norms(d)).sum(-1).mean());
  }

 private:
  struct Step { at::Tensor open, near; };              // 1 above the threshold; 1/ε within ε/2 of it. Not differentiated
  static Step open_and_near(const at::Tensor& pre, const at::Tensor& threshold, const LossSettings& s) {
    at::NoGradGuard no_grad;
    return {pre.gt(threshold).to(pre.scalar_type()), ((pre - threshold) / s.bandwidth).abs().lt(0.5).to(pre.scalar_type()) / s.bandwidth};
  }
};

}  // namespace

void register_jumprelu(Registry& registry) { registry.add(std::make_unique<JumpRelu>()); }

}  // namespace microtome::dictionary_kinds
