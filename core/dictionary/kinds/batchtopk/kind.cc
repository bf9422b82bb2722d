// batchtopk — the k·n strongest features of n tokens together; definition in README.md.
#include <ATen/ATen.h>

#include "core/dictionary/kinds/batch_choice.h"
#include "core/dictionary/kinds/parts.h"

namespace microtome::dictionary_kinds {
namespace {

class BatchTopK : public BatchChoice {
 public:
  std::string name() const override { return "batchtopk"; }
  std::string title() const override { return "BatchTopK"; }
  std::string source() const override { return "arXiv 2412.06410"; }
  void penalise(const Dictionary& d, const at::Tensor& x, const at::Tensor& target, const at::Tensor& codes, const LossSettings& s, LossResult& r) const override {
    r.parts.emplace_back("auxiliary_reconstruction_loss", auxiliary_loss(d, r.pre, r.out, target, s));
  }
};

}  // namespace

void register_batchtopk(Registry& registry) { registry.add(std::make_unique<BatchTopK>()); }

}  // namespace microtome::dictionary_kinds
