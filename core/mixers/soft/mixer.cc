#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/case_list.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "soft";

PatternLayerConfig read_config(const Params& p, int64_t d_model) {
  PatternLayerConfig c = read_pattern_params(p, d_model, kKind);
  c.keys = PatternLayerConfig::Keys::kQueries;
  return c;
}

int64_t landmark_count(const Params& p) {
  const int64_t n = p.get_int("num_landmarks");
  check_size(kKind, "num_landmarks", n, 1 << 16);
  return n;
}

// exp(-|a_i - b_j|^2 / 2).
at::Tensor gaussian(const at::Tensor& a, const at::Tensor& b) {
  return (-0.5 * (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)).exp();
}

at::Tensor kernel_inverse(const at::Tensor& l) { return at::linalg_pinv(gaussian(l, l)); }

// In float64, as all that follows: landmarks that lie close make their kernel nearly singular, and what its large inverse
// is multiplied with must cancel.
at::Tensor shrunk(const at::Tensor& q) { return q.to(at::kDouble) / std::pow(static_cast<double>(q.size(-1)), 0.25); }

class Soft : public PatternLayer {
 public:
  Soft(const Params& p, int64_t d_model, WeightMap w)
      : PatternLayer(read_config(p, d_model), std::move(w), pattern_weights(read_config(p, d_model))),
        landmarks_(landmark_count(p)) {}

 protected:
  at::Tensor pattern(const at::Tensor& q, const at::Tensor&) const override {
    at::Tensor x = shrunk(q), l = landmarks(x), k = gaussian(x, l);
    return at::matmul(at::matmul(k, kernel_inverse(l)), k.transpose(2, 3)).to(q.scalar_type());
  }
  at::Tensor mix(const at::Tensor& q, const at::Tensor&, const at::Tensor& v) const override {
    at::Tensor x = shrunk(q), l = landmarks(x), k = gaussian(x, l);
    at::Tensor summed = at::matmul(k.transpose(2, 3), v.to(at::kDouble));
    return at::matmul(k, at::matmul(kernel_inverse(l), summed)).to(v.scalar_type());
  }

 private:
  // Means of equal stretches; a sequence shorter than their number is its own landmarks.
  at::Tensor landmarks(const at::Tensor& q) const {
    if (q.size(2) <= landmarks_) return q;
    at::Tensor means = at::adaptive_avg_pool1d(q.flatten(0, 1).transpose(1, 2), {landmarks_});
    return means.transpose(1, 2).unflatten(0, {q.size(0), q.size(1)});
  }
  int64_t landmarks_;
};

// q, v, landmarks [batch, head, m, d_k], which are in the shrunk space already → o, and o_full without landmarks.
MixerOpResult op(const MixerOpRequest& request) {
  const PatternOpInputs in = pattern_op_inputs(request, false);
  at::Tensor l = op_input(request, "landmarks", 4), q = shrunk(in.q);
  if (l.size(0) != q.size(0) || l.size(1) != q.size(1) || l.size(3) != q.size(3))
    throw Error(StatusCode::kBadInput, "input 'landmarks' " + c10::str(l.sizes()) + " does not fit q " + c10::str(q.sizes()));
  l = l.to(at::kDouble);
  at::Tensor k = gaussian(q, l), inv = kernel_inverse(l), full = gaussian(q, q), v = in.v.to(at::kDouble);
  at::Tensor a = at::matmul(at::matmul(k, inv), k.transpose(2, 3));
  MixerOpResult out;
  const bool naive = request.form == MixerForm::kNaive;
  out["o"] = heads_first(naive ? at::matmul(a, v) : at::matmul(k, at::matmul(inv, at::matmul(k.transpose(2, 3), v))));
  out["o_full"] = heads_first(at::matmul(full, v));
  if (request.implied) {
    out["A"] = a;
    out["A_full"] = full;
  }
  for (auto& [name, t] : out) t = t.to(in.q.scalar_type());
  return out;
}

}  // namespace

void register_soft(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2110.11945";
  k.info = [](const Params& p, int64_t d_model) {
    landmark_count(p);
    return pattern_info(read_config(p, d_model), "rows need not sum to 1");
  };
  k.weights = [](const Params& p, int64_t d_model) { return pattern_weights(read_config(p, d_model)); };
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Soft>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 12_n}, {"num_landmarks", 4_n},
                                     {"causal", false}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
