#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/case_list.h"
#include "core/mixers/pattern_layer.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "linformer";

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  std::vector<WeightSpec> w = pattern_weights(read_pattern_params(p, d_model, kKind));
  const int64_t length = p.get_int("length"), rank = p.get_int("rank");
  check_size(kKind, "length", length, int64_t{1} << 31);
  check_size(kKind, "rank", rank, 1 << 20);
  w.push_back({"proj_k", {length, rank}});
  w.push_back({"proj_v", {length, rank}});
  return w;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  weight_specs(p, d_model);
  return pattern_info(read_pattern_params(p, d_model, kKind), "rows need not sum to 1");
}

// softmax(scale q (E^T k)^T) [batch, head, pos, rank]; E [pos, rank].
at::Tensor over_rank(const at::Tensor& q, const at::Tensor& k, const at::Tensor& E, double scale) {
  return (at::matmul(q, at::matmul(E.t(), k).transpose(2, 3)) * scale).softmax(-1);
}

class Linformer : public PatternLayer {
 public:
  Linformer(const Params& p, int64_t d_model, WeightMap w)
      : PatternLayer(read_pattern_params(p, d_model, kKind), std::move(w), weight_specs(p, d_model)),
        scale_(1.0 / std::sqrt(static_cast<double>(config().head_k))) {}

 protected:
  at::Tensor pattern(const at::Tensor& q, const at::Tensor& k) const override {
    return at::matmul(over_rank(q, k, rows("proj_k", k), scale_), rows("proj_v", k).t());
  }
  at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const override {
    return at::matmul(over_rank(q, k, rows("proj_k", k), scale_), at::matmul(rows("proj_v", k).t(), v));
  }

 private:
  // A shorter sequence takes the first rows, as the public code does.
  at::Tensor rows(const char* name, const at::Tensor& like) const {
    const at::Tensor& w = weights().at(name);
    if (like.size(2) > w.size(0))
      throw Error(StatusCode::kBadInput, "the sequence has " + std::to_string(like.size(2)) +
                  " positions, the mixer's length is " + std::to_string(w.size(0)), "mixer linformer", "shorten the prompt");
    return w.slice(0, 0, like.size(2)).to(like.scalar_type());
  }
  double scale_;
};

MixerOpResult op(const MixerOpRequest& request) {
  const PatternOpInputs in = pattern_op_inputs(request);
  at::Tensor E = op_input(request, "E", 2), F = op_input(request, "F", 2);
  if (E.size(0) != in.q.size(2) || E.sizes() != F.sizes())
    throw Error(StatusCode::kBadInput, "E " + c10::str(E.sizes()) + " and F " + c10::str(F.sizes()) + " do not fit " +
                                           std::to_string(in.q.size(2)) + " positions");
  MixerOpResult out;
  at::Tensor P = over_rank(in.q, in.k, E, op_scale(request, in.q.size(3))), a = at::matmul(P, F.t());
  out["P"] = P;
  out["o"] = heads_first(request.form == MixerForm::kNaive ? at::matmul(a, in.v) : at::matmul(P, at::matmul(F.t(), in.v)));
  if (request.implied) out["A"] = a;
  return out;
}

}  // namespace

void register_linformer(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.paper = "arXiv 2006.04768";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<Linformer>(p, d_model, std::move(w));
  };
  k.op = op;
  k.cases = {make_case("plain", 19, {{"num_heads", 2_n}, {"head_k", 8_n}, {"head_v", 12_n}, {"length", 70_n}, {"rank", 6_n},
                                     {"causal", false}})};
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
