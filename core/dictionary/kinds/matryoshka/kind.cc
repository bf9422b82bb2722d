// matryoshka — BatchTopK whose first features must do alone; definition in README.md.
#include <ATen/ATen.h>

#include "core/dictionary/kinds/batch_choice.h"
#include "core/dictionary/kinds/parts.h"

namespace microtome::dictionary_kinds {
namespace {

class Matryoshka : public BatchChoice {
 public:
  std::string name() const override { return "matryoshka"; }
  std::string title() const override { return "Matryoshka BatchTopK"; }
  std::string source() const override { return "arXiv 2503.17547"; }
  void penalise(const Dictionary& d, const at::Tensor& x, const at::Tensor& target, const at::Tensor& codes, const LossSettings& s, LossResult& r) const override {
    // Each inner dictionary adds its own stretch of features to what the smaller one gave.
    at::Tensor partial = d.weight("b_dec");
    if (d.config.skip) partial = partial + product(x, d.weight("W_skip").t(), s);
    int64_t from = 0;
    for (int64_t size : d.config.nested) {
      partial = partial + product(codes.slice(1, from, size), d.weight("W_dec").slice(0, from, size), s);
      from = size;
      r.parts.emplace_back("inner_mse_loss_" + std::to_string(size), squared_error(partial, target));
    }
    r.parts.emplace_back("auxiliary_reconstruction_loss", auxiliary_loss(d, r.pre, r.out, target, s));
  }
};

}  // namespace

void register_matryoshka(Registry& registry) { registry.add(std::make_unique<Matryoshka>()); }

}  // namespace microtome::dictionary_kinds
