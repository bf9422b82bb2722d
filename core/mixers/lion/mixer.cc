#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/case_list.h"
#include "core/mixers/feature_maps.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/simple_gla/forms.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "lion";
constexpr double kEps = 1e-6;

bool decays(const std::string& mask) {
  if (mask != "none" && mask != "decay")
    throw Error(StatusCode::kUnsupported, "mask is '" + mask + "'", "mixer lion", "use none or decay");
  return mask == "decay";
}
bool decays(const Params& p) { return decays(p.get_string("mask", "decay")); }

at::Tensor features(const at::Tensor& x, bool decay) {
  if (!decay) return elu1(x);
  at::Tensor y = at::silu(x) + 0.5;
  return y / y.norm(2, -1, true);
}

// q, k [batch, head, pos, d] after the map; log_a [head] or undefined.
at::Tensor lion_pattern(const at::Tensor& q, const at::Tensor& k, const at::Tensor& log_a, double scale) {
  at::Tensor a = at::matmul(q, k.transpose(2, 3)) * scale;
  if (log_a.defined()) {
    at::Tensor t = at::arange(q.size(2), log_a.options());
    a = a * ((t.unsqueeze(1) - t).abs() * log_a.view({-1, 1, 1})).exp();
  }
  return a / (a.sum(-1, true) + kEps);
}

// Without a mask two sums over all positions; with one, a recurrence forwards and one backwards, which both hold the
// position itself.
at::Tensor lion_mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& log_a, double scale) {
  at::Tensor with = at::cat({v, at::ones_like(v.slice(-1, 0, 1))}, -1), both;
  if (!log_a.defined()) {
    both = at::matmul(q, at::matmul(k.transpose(2, 3), with)) * scale;
  } else {
    auto pass = [&](bool back) {
      auto turned = [&](const at::Tensor& x) { return heads_first(back ? x.flip(2) : x); };
      RecurrenceInput r;
      r.q = turned(q);
      r.k = turned(k);
      r.v = turned(with);
      r.g = log_a.view({1, 1, -1, 1}).expand({q.size(0), q.size(2), q.size(1), 1});
      r.scale = scale;
      RecurrentState s{q.new_zeros({q.size(0), q.size(1), q.size(3), with.size(3)}), {}};
      at::Tensor z = heads_first(simple_gla_chunk(r, s, true));
      return back ? z.flip(2) : z;
    };
    both = pass(false) + pass(true) - (q * k).sum(-1, true) * with * scale;
  }
  return both.slice(-1, 0, v.size(3)) / (both.slice(-1, v.size(3)) + kEps);
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const PatternLayerConfig c = read_pattern_params(p, d_model, kKind);
  std::vector<WeightSpec> w = pattern_weights(c);
  if (decays(p)) w.push_back({"a_param", {c.heads}});
  return w;
}

class Lion : public PatternLayer {
 public:
  Lion(const Params& p, int64_t d_model, WeightMap w)
      : PatternLayer(read_pattern_params(p, d_model, kKind), std::move(w), weight_specs(p, d_model)), decay_(decays(p)),
        scale_(1.0 / std::sqrt(static_cast<double>(config().head_k))) {}

 protected:
  at::Tensor pattern(const at::Tensor& q, const at::Tensor& k) const override {
    return lion_pattern(features(q, decay_), features(k, decay_), log_a(q), scale_);
  }
  at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const override {
    return lion_mix(features(q, decay_), features(k, decay_), v, log_a(q), scale_);
  }

 private:
  at::Tensor log_a(const at::Tensor& like) const {
    return decay_ ? at::log_sigmoid(weights().at("a_param").to(like.scalar_type())) : at::Tensor();
  }
  bool decay_;
  double scale_;
};

MixerOpResult op(const MixerOpRequest& request) {
  const PatternOpInputs in = pattern_op_inputs(request);
  at::Tensor log_a;
  if (auto it = request.inputs.find("a_param"); it != request.inputs.end()) {
    if (it->second.dim() != 1 || it->second.size(0) != in.q.size(1))
      throw Error(StatusCode::kBadInput, "input 'a_param' must be [head]");
    log_a = at::log_sigmoid(it->second);
  }
  const double scale = op_scale(request, in.q.size(3));
  at::Tensor q = features(in.q, log_a.defined()), k = features(in.k, log_a.defined());
  MixerOpResult out;
  const bool naive = request.form == MixerForm::kNaive;
  at::Tensor a = naive || request.implied ? lion_pattern(q, k, log_a, scale) : at::Tensor();
  out["o"] = heads_first(naive ? at::matmul(a, in.v) : lion_mix(q, k, in.v, log_a, scale));
  if (request.implied) out["A"] = a;
  return out;
}

}  // namespace

void register_lion(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2502.16249";
  k.info = [](const Params& p, int64_t d_model) {
    decays(p);
    return pattern_info(read_pattern_params(p, d_model, kKind));
  };
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Lion>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("decay", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 12_n}, {"causal", false}}),
             make_case("no_mask", 67, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 8_n}, {"causal", false},
                                       {"mask", std::string("none")}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
