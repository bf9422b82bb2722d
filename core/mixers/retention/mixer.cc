#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/constants.h"
#include "core/mixers/registry.h"
#include "core/mixers/retention/cases.h"
#include "core/mixers/retention/forms.h"

namespace microtome::mixers {

namespace {

constexpr LinearRecurrence::Kind kRecurrence = {"retention", retention_naive, retention_chunk};

// log gamma_h = log(1 - 2^(-5-h)), as [head, 1].
at::Tensor log_gamma(int64_t heads) {
  at::Tensor h = at::arange(heads, at::TensorOptions().dtype(at::kDouble));
  return at::log1p(-at::exp2(-5 - h)).unsqueeze(-1);
}

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "retention", true, false);
  c.state_heads = c.heads;   // gamma belongs to the query head, so grouped keys still have a state for each of them
  c.rotary = true;
  c.rope_theta = p.get_float("rope_theta", 10000);
  c.decay_width = 1;
  c.decay_heads = c.heads;
  // fla keeps one fused weight for norm and gate where both are there.
  const bool fused = c.gate == "swish" && p.get_bool("fuse_norm", true);
  c.norm = !p.get_bool("use_output_norm", true) ? "" : fused ? "g_norm_swish_gate.weight" : "g_norm.weight";
  check_activation(c.kind, "feature_map", p.get_string("feature_map", "identity"));
  return c;
}

class Retention : public RecurrentLayer {
 public:
  Retention(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights),
                       layer_weights(read_config(p, d_model))),
        feature_map_(p.get_string("feature_map", "identity")),
        log_gamma_(log_gamma(config().heads)) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return activate(feature_map_, q); }
  at::Tensor map_k(const at::Tensor& k) const override { return activate(feature_map_, k); }
  at::Tensor decay(const MixerInput& in) const override {
    const auto type = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    return on_device(log_gamma_, in.x.device(), type).expand({in.x.size(0), in.x.size(1), config().heads, 1});
  }

 private:
  std::string feature_map_;
  at::Tensor log_gamma_;
};

MixerOpResult op(const MixerOpRequest& request) {
  RecurrenceOp alone{kRecurrence, "g", false};
  const at::Tensor& q = op_input(request, "q", 4);
  const int64_t heads = std::max(q.size(2), op_input(request, "v", 4).size(2));
  at::Tensor gamma = log_gamma(heads).squeeze(-1);
  if (!request.log_gamma.empty()) {
    if (static_cast<int64_t>(request.log_gamma.size()) != heads)
      throw Error(StatusCode::kBadInput, "log_gamma has " + std::to_string(request.log_gamma.size()) +
                                             " numbers, expected one a head (" + std::to_string(heads) + ")");
    gamma = at::tensor(request.log_gamma, at::TensorOptions().dtype(at::kDouble));
  }
  const auto type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  MixerOpRequest with_decay = request;
  with_decay.inputs["g"] = gamma.to(q.device(), type).expand({q.size(0), q.size(1), heads});
  return run_recurrence_op(alone, with_decay);
}

}  // namespace

void register_retention(Registry& registry) {
  MixerKind k;
  k.name = "retention";
  k.aliases = {"retnet"};
  k.paper = "arXiv 2307.08621";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(p, d_model)); };
  k.weights = [](const Params& p, int64_t d_model) { return layer_weights(read_config(p, d_model)); };
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Retention>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = retention_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
