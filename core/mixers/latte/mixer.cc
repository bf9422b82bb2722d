#include <ATen/ATen.h>

#include "core/mixers/abc/forms.h"
#include "core/mixers/case_list.h"
#include "core/mixers/gla/forms.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

// A latent is a running mean of values weighted by exp(k): the recurrence of gated linear attention with the write
// strength and decay that abc derives from logits.
constexpr LinearRecurrence::Kind kRecurrence = {"latte", gla_naive, gla_chunk};

AbcGates gates(const at::Tensor& logits, at::Tensor& lse, MixerForm form) {
  return form == MixerForm::kNaive ? abc_gates_naive(logits, lse) : abc_gates_chunk(logits, lse);
}

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, "latte", false, false);
  c.head_k = c.d_k = p.get_int("num_latents");
  check_size(c.kind, "num_latents", c.d_k, 1 << 20);
  if (c.k_heads != c.heads)
    throw Error(StatusCode::kUnsupported, "num_kv_heads differs from num_heads", "mixer latte", "leave it out");
  return c;
}

// head_k is the number of latents, so it is asked for under that name alone.
Params with_latents(const Params& p) {
  Params out = p;
  out.set("head_k", p.get_int("num_latents"));
  return out;
}

class Latte : public RecurrentLayer {
 public:
  Latte(const Params& p, int64_t d_model, WeightMap weights)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(weights), layer_weights(read_config(p, d_model))) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return at_least_float32(q).softmax(-1); }
  at::Tensor map_k(const at::Tensor& k) const override { return at_least_float32(k); }
  at::Tensor mix(RecurrenceInput& r, RecurrentState& s, MixerState* kept, HookScope& hooks,
                 const MixerRun& run) const override {
    at::Tensor lse = kept_tensor(kept, "lse", {r.k.size(0), r.k.size(2), r.k.size(3)}, r.k.options(), "latte");
    AbcGates a = gates(r.k, lse, run.form);
    if (kept) kept->tensors["lse"] = lse;
    r.k = a.s;
    r.g = a.g;
    r.scale = 1;
    return driver().run(r, s, hooks, run);
  }
};

MixerOpResult op(const MixerOpRequest& request) {
  MixerOpRequest mapped = request;
  at::Tensor lse;
  AbcGates a = gates(op_input(request, "k", 4), lse, request.form);
  mapped.inputs["q"] = op_input(request, "q", 4).softmax(-1);
  mapped.inputs["k"] = a.s;
  mapped.inputs["gk"] = a.g;
  mapped.scalars.set("scale", 1.0);
  MixerOpResult out = run_recurrence_op({kRecurrence, "gk", true}, mapped);
  if (out.count("states")) out["mean_v"] = out["states"];
  return out;
}

}  // namespace

void register_latte(Registry& registry) {
  MixerKind k;
  k.name = "latte";
  k.paper = "arXiv 2402.17512";
  k.info = [](const Params& p, int64_t d_model) { return layer_info(read_config(with_latents(p), d_model)); };
  k.weights = [](const Params& p, int64_t d_model) { return layer_weights(read_config(with_latents(p), d_model)); };
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Latte>(with_latents(p), d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"num_latents", 6_n}, {"head_v", 16_n}}),
             make_case("short_conv", 67, {{"num_heads", 4_n}, {"num_latents", 8_n}, {"head_v", 8_n},
                  {"use_short_conv", true}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
