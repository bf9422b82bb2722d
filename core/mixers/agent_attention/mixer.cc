#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/case_list.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "agent_attention";

int64_t agent_count(const Params& p) {
  const int64_t n = p.get_int("num_agents");
  check_size(kKind, "num_agents", n, 1 << 20);
  return n;
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, double scale) {
  return (at::matmul(q, k.transpose(2, 3)) * scale).softmax(-1);
}

class AgentAttention : public PatternLayer {
 public:
  AgentAttention(const Params& p, int64_t d_model, WeightMap w)
      : PatternLayer(read_pattern_params(p, d_model, kKind), std::move(w),
                     pattern_weights(read_pattern_params(p, d_model, kKind))),
        agents_(agent_count(p)), scale_(1.0 / std::sqrt(static_cast<double>(config().head_k))) {}

 protected:
  at::Tensor pattern(const at::Tensor& q, const at::Tensor& k) const override {
    at::Tensor a = agents(q);
    return at::matmul(attend(q, a, scale_), attend(a, k, scale_));
  }
  at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const override {
    at::Tensor a = agents(q);
    return at::matmul(attend(q, a, scale_), at::matmul(attend(a, k, scale_), v));
  }

 private:
  // Means of equal stretches of the sequence.
  at::Tensor agents(const at::Tensor& q) const {
    at::Tensor means = at::adaptive_avg_pool1d(q.flatten(0, 1).transpose(1, 2), {agents_});
    return means.transpose(1, 2).unflatten(0, {q.size(0), q.size(1)});
  }
  int64_t agents_;
  double scale_;
};

// As the authors' image model has it: token 0 stands apart, the others are a grid of `grid` by `grid`, and the agents are
// the means of its four quarters.
MixerOpResult op(const MixerOpRequest& request) {
  const PatternOpInputs in = pattern_op_inputs(request);
  const int64_t B = in.q.size(0), H = in.q.size(1), K = in.q.size(3), s = request.scalars.get_int("grid");
  if (s < 2 || s > 1 << 15 || in.q.size(2) != s * s + 1)
    throw Error(StatusCode::kBadInput,
                "grid is " + std::to_string(s) + " with " + std::to_string(in.q.size(2)) + " positions",
                "mixer agent_attention", "there must be grid * grid + 1");
  at::Tensor image = in.q.slice(2, 1).transpose(2, 3).reshape({B, H * K, s, s});
  at::Tensor agents = at::adaptive_avg_pool2d(image, {2, 2}).view({B, H, K, 4}).transpose(2, 3);
  const double scale = op_scale(request, K);
  at::Tensor from = attend(in.q, agents, scale), to = attend(agents, in.k, scale);
  MixerOpResult out = {{"agents", agents}};
  out["o"] = heads_first(request.form == MixerForm::kNaive ? at::matmul(at::matmul(from, to), in.v)
                                                           : at::matmul(from, at::matmul(to, in.v)));
  if (request.implied) out["A"] = at::matmul(from, to);
  return out;
}

}  // namespace

void register_agent_attention(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2312.08874";
  k.info = [](const Params& p, int64_t d_model) {
    agent_count(p);
    return pattern_info(read_pattern_params(p, d_model, kKind));
  };
  k.weights = [](const Params& p, int64_t d_model) { return pattern_weights(read_pattern_params(p, d_model, kKind)); };
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<AgentAttention>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 12_n}, {"num_agents", 4_n},
                                     {"causal", false}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
