#include <ATen/ATen.h>

#include <algorithm>

#include "core/mixers/case_list.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "icl_linear_self_attention";

// The last position is the query, and no key. [pos, 1], over the number of the others.
at::Tensor key_weight(const at::Tensor& x, int64_t positions) {
  at::Tensor w = at::full({positions, 1}, 1.0 / static_cast<double>(std::max<int64_t>(positions - 1, 1)), x.options());
  w[positions - 1] = 0;
  return w;
}

PatternLayerConfig read_config(const Params& p, int64_t d_model) {
  require_not_causal(p, kKind);
  PatternLayerConfig c;
  c.kind = kKind;
  c.d_model = c.head_k = c.head_v = d_model;
  c.heads = 1;
  c.keys = PatternLayerConfig::Keys::kInput;
  c.project_out = false;
  return c;
}

class IclAttention : public PatternLayer {
 public:
  IclAttention(const Params& p, int64_t d_model, WeightMap w)
      : PatternLayer(read_config(p, d_model), std::move(w), pattern_weights(read_config(p, d_model))) {}

 protected:
  at::Tensor pattern(const at::Tensor& q, const at::Tensor& k) const override {
    return at::matmul(q, (k * key_weight(k, k.size(2))).transpose(2, 3));
  }
  at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const override {
    return at::matmul(q, at::matmul((k * key_weight(k, k.size(2))).transpose(2, 3), v));
  }
};

// Z [D, n+1], P and Q [layer, D, D] → out and every layer's result; A[i, j] is what column j takes from column i.
MixerOpResult op(const MixerOpRequest& request) {
  at::Tensor Z = op_input(request, "Z", 2), P = op_input(request, "P", 3), Q = op_input(request, "Q", 3);
  if (P.size(1) != Z.size(0) || P.size(2) != Z.size(0) || P.sizes() != Q.sizes())
    throw Error(StatusCode::kBadInput, "Z " + c10::str(Z.sizes()) + ", P " + c10::str(P.sizes()) + " and Q " +
                                           c10::str(Q.sizes()) + " do not fit together");
  std::vector<at::Tensor> layers, patterns;
  for (int64_t l = 0; l < P.size(0); ++l) {
    at::Tensor keys = key_weight(Z, Z.size(1)) * Z.t(), q = at::matmul(Q[l], Z), v = at::matmul(P[l], Z);
    if (request.implied || request.form == MixerForm::kNaive) patterns.push_back(at::matmul(keys, q));
    Z = Z + (request.form == MixerForm::kNaive ? at::matmul(v, patterns.back()) : at::matmul(at::matmul(v, keys), q));
    layers.push_back(Z);
  }
  MixerOpResult out = {{"out", Z}, {"layers", at::stack(layers)}};
  if (request.implied) out["A"] = at::stack(patterns);
  return out;
}

}  // namespace

void register_icl_linear_self_attention(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2306.00297";
  k.info = [](const Params& p, int64_t d_model) {
    return pattern_info(read_config(p, d_model), "the last position is the query: its column is 0");
  };
  k.weights = [](const Params& p, int64_t d_model) { return pattern_weights(read_config(p, d_model)); };
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<IclAttention>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"causal", false}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
