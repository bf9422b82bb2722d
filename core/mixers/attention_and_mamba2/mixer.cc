// Softmax attention and Mamba-2 side by side: both read the same normalised input, and their outputs are added.
#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/composite.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {
namespace {

constexpr const char* kKind = "attention_and_mamba2";

double multiplier_of(const Params& p) {
  const double m = p.get_float("multiplier_in", 1.0);
  if (!std::isfinite(m))
    throw Error(StatusCode::kBadInput, "multiplier_in is not a finite number", std::string("mixer ") + kKind);
  return m;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  multiplier_of(p);
  return join_infos(kKind, part_info("softmax_attention", p, d_model, {}),
                    part_info("mamba2", params_below(p, kSsmPrefix), d_model, ssm_names()));
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  std::vector<WeightSpec> out = part_weights("softmax_attention", p, d_model, "");
  for (WeightSpec& s : part_weights("mamba2", params_below(p, kSsmPrefix), d_model, kSsmPrefix)) out.push_back(std::move(s));
  return out;
}

class AttentionAndMamba2 : public TokenMixer {
 public:
  AttentionAndMamba2(const Params& p, int64_t d_model, const WeightMap& w)
      : info_(make_info(p, d_model)), multiplier_in_(multiplier_of(p)), attention_("softmax_attention", p, d_model, w, {}),
        ssm_("mamba2", params_below(p, kSsmPrefix), d_model, weights_below(w, kSsmPrefix), ssm_names()) {}

  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    MixerInput unsplit = in, scaled = in;
    unsplit.split.clear();
    if (multiplier_in_ != 1) {
      scaled.x = in.x * multiplier_in_;
      for (auto& [role, x] : scaled.split) x = x * multiplier_in_;
    }
    // Both keep what they keep under names of their own.
    const at::Tensor recurrent = ssm_.forward(unsplit, state, hooks, run);
    return only_read(attention_.forward(scaled, state, hooks, run), run) + only_read(recurrent, run);
  }

 private:
  MixerInfo info_;
  double multiplier_in_;
  MixerPart attention_, ssm_;
};

MixerOpResult no_op(const MixerOpRequest&) {
  throw Error(StatusCode::kUnsupported, "attention beside Mamba-2 has no op of its own", kKind,
              "use softmax_attention or mamba2 on a part's inputs");
}

std::vector<MixerCase> cases() {
  auto n = [](int64_t v) { return v; };
  MixerCase plain, scaled;
  plain.name = "plain";
  for (auto [name, value] : {std::pair{"num_heads", 4}, {"num_kv_heads", 2}, {"head_dim", 8}, {"rotary_dim", 4},
                             {"ssm.num_heads", 3}, {"ssm.head_dim", 8}, {"ssm.state_size", 6}, {"ssm.n_groups", 1}})
    plain.params.set(name, n(value));
  scaled = plain;
  scaled.name = "multipliers_norm_before_gate";
  scaled.pos = 67;
  scaled.params.set("ssm.num_heads", n(4));
  scaled.params.set("ssm.n_groups", n(2));
  scaled.params.set("ssm.norm_groups", n(2));
  scaled.params.set("ssm.norm_before_gate", true);
  for (auto [name, value] : {std::pair{"multiplier_in", 0.9}, {"multiplier_k", 0.7}, {"multiplier_out", 1.2},
                             {"ssm.multiplier_in", 1.1}, {"ssm.multiplier_b", 0.8}, {"ssm.multiplier_out", 0.8}})
    scaled.params.set(name, value);
  return {plain, scaled};
}

}  // namespace

void register_attention_and_mamba2(Registry& registry) {
  MixerKind kind;
  kind.name = kKind;
  kind.paper = "arXiv 2507.22448";
  kind.info = make_info;
  kind.weights = weight_specs;
  kind.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<AttentionAndMamba2>(p, d_model, w);
  };
  kind.op = no_op;
  kind.cases = cases();
  registry.add(std::move(kind));
}

}  // namespace microtome::mixers
