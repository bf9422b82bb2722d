#include <ATen/ATen.h>

#include "core/mixers/case_list.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/linear_attn/forms.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "flow_attention";
constexpr double kEps = 1e-6;
// Plain linear attention, once q and k carry what the flow through each position leaves them.
constexpr LinearRecurrence::Kind kRecurrence = {"flow_attention", linear_attn_naive, linear_attn_chunk};

// Sums over the positions so far; undefined: none yet.
struct FlowSums {
  at::Tensor q, k, out, in, source;    // [batch, 1, head, d_k], source [batch, 1, head, 1]
};

at::Tensor running(const at::Tensor& x, at::Tensor& sum) {
  at::Tensor y = x.cumsum(1);
  if (sum.defined()) y = y + sum;
  sum = y.slice(1, y.size(1) - 1);
  return y;
}

at::Tensor flow_between(const at::Tensor& a, const at::Tensor& b) { return ((a + kEps) * (b + kEps)).sum(-1, true); }

// Causal: q, k [batch, pos, head, d_k] after the sigmoid → q', k' with A[t, s] = q'_t . k'_s. sums is carried on.
void flow_causal(at::Tensor& q, at::Tensor& k, FlowSums& sums, int64_t first_pos) {
  at::Tensor n = at::arange(first_pos + 1, first_pos + q.size(1) + 1, q.options()).view({1, -1, 1, 1});
  at::Tensor incoming = n / flow_between(q, running(k, sums.k)), outgoing = n / flow_between(k, running(q, sums.q));
  at::Tensor sink = flow_between(q, running(k * outgoing, sums.out)) / n;
  at::Tensor source = (flow_between(k, running(q * incoming, sums.in)) / n).clamp(-1, 1).exp();
  q = q * (incoming / n) * sink.sigmoid();
  k = k * (source / running(source, sums.source) * n);
}

// All positions: q, k [batch, head, pos, d_k] likewise.
void flow_whole(at::Tensor& q, at::Tensor& k) {
  at::Tensor incoming = 1 / flow_between(q, k.sum(2, true)), outgoing = 1 / flow_between(k, q.sum(2, true));
  at::Tensor sink = flow_between(q, (k * outgoing).sum(2, true));
  at::Tensor source = flow_between(k, (q * incoming).sum(2, true)).clamp(-1, 1);
  q = q * incoming * sink.sigmoid();
  k = k * source.softmax(2) * static_cast<double>(k.size(2));
}

bool causal(const Params& p) { return p.get_bool("causal", true); }

RecurrentLayerConfig read_config(const Params& p, int64_t d_model) {
  RecurrentLayerConfig c = read_layer_params(p, d_model, kKind, false, false);
  if (c.k_heads != c.heads)
    throw Error(StatusCode::kUnsupported, "num_kv_heads differs from num_heads", "mixer flow_attention", "leave it out");
  return c;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  return causal(p) ? layer_info(read_config(p, d_model)) : pattern_info(read_pattern_params(p, d_model, kKind));
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  return causal(p) ? layer_weights(read_config(p, d_model)) : pattern_weights(read_pattern_params(p, d_model, kKind));
}

class FlowCausal : public RecurrentLayer {
 public:
  FlowCausal(const Params& p, int64_t d_model, WeightMap w)
      : RecurrentLayer(read_config(p, d_model), kRecurrence, std::move(w), weight_specs(p, d_model)) {}

 protected:
  at::Tensor map_q(const at::Tensor& q) const override { return at_least_float32(q).sigmoid(); }
  at::Tensor map_k(const at::Tensor& k) const override { return at_least_float32(k).sigmoid(); }
  at::Tensor mix(RecurrenceInput& r, RecurrentState& s, MixerState* kept, HookScope& hooks,
                 const MixerRun& run) const override {
    FlowSums sums;
    const std::pair<const char*, at::Tensor*> names[] = {{"flow_q", &sums.q}, {"flow_k", &sums.k}, {"flow_out", &sums.out},
                                                         {"flow_in", &sums.in}, {"flow_source", &sums.source}};
    const int64_t B = r.q.size(0), H = r.q.size(2), d = r.q.size(3);
    for (auto [name, t] : names) *t = kept_tensor(kept, name, {B, 1, H, t == &sums.source ? 1 : d}, r.q.options(), kKind);
    flow_causal(r.q, r.k, sums, hooks.first_pos());
    for (auto [name, t] : names)
      if (kept) kept->tensors[name] = *t;
    r.scale = 1;
    return driver().run(r, s, hooks, run);
  }
};

class FlowWhole : public PatternLayer {
 public:
  FlowWhole(const Params& p, int64_t d_model, WeightMap w)
      : PatternLayer(read_pattern_params(p, d_model, kKind), std::move(w), weight_specs(p, d_model)) {}

 protected:
  at::Tensor pattern(const at::Tensor& q, const at::Tensor& k) const override {
    at::Tensor a = q.sigmoid(), b = k.sigmoid();
    flow_whole(a, b);
    return at::matmul(a, b.transpose(2, 3));
  }
  at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const override {
    at::Tensor a = q.sigmoid(), b = k.sigmoid();
    flow_whole(a, b);
    return at::matmul(a, at::matmul(b.transpose(2, 3), v));
  }
};

MixerOpResult op(const MixerOpRequest& request) {
  const PatternOpInputs in = pattern_op_inputs(request);
  at::Tensor q = in.q.sigmoid(), k = in.k.sigmoid();
  if (request.scalars.get_bool("causal", true)) {
    q = heads_first(q);
    k = heads_first(k);
    FlowSums sums;
    flow_causal(q, k, sums, 0);
    MixerOpRequest plain = request;
    plain.inputs["q"] = q;
    plain.inputs["k"] = k;
    plain.scalars.set("scale", 1.0);
    return run_recurrence_op({kRecurrence, "", false}, plain);
  }
  flow_whole(q, k);
  MixerOpResult out;
  at::Tensor a = at::matmul(q, k.transpose(2, 3));
  const bool naive = request.form == MixerForm::kNaive;
  out["o"] = heads_first(naive ? at::matmul(a, in.v) : at::matmul(q, at::matmul(k.transpose(2, 3), in.v)));
  if (request.implied) out["A"] = a;
  return out;
}

}  // namespace

void register_flow_attention(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"flowformer"};
  k.paper = "arXiv 2202.06258";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    if (!causal(p)) return std::make_unique<FlowWhole>(p, d_model, std::move(w));
    return std::make_unique<FlowCausal>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 16_n}}),
             make_case("short_conv", 67, {{"num_heads", 4_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"use_short_conv", true}}),
             make_case("both_ways", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"causal", false}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
