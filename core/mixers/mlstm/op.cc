#include "core/mixers/mlstm/op.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/recurrence_op.h"

namespace microtome::mixers {

namespace {

// Fewer tokens are taken one by one.
constexpr int64_t kShort = 8;

void expect(const at::Tensor& t, const char* name, at::IntArrayRef shape) {
  if (t.sizes() != shape)
    throw Error(StatusCode::kBadInput, std::string("input '") + name + "' has shape " + c10::str(t.sizes()) +
                                           ", expected " + c10::str(shape));
}

}  // namespace

at::Tensor mlstm_span(const MlstmInput& in, MlstmState& state, MixerForm form) {
  if (form == MixerForm::kAuto) form = in.positions() < kShort ? MixerForm::kNaive : MixerForm::kChunk;
  if (form == MixerForm::kNaive) return mlstm_naive(in, state);
  if (form == MixerForm::kChunk) return mlstm_chunk(in, state);
  throw Error(StatusCode::kUnsupported, std::string("mixer mlstm has no form '") + form_name(form) + "'", "",
              "use auto, naive or chunk");
}

MixerOpResult mlstm_op(const MixerOpRequest& request) {
  MlstmInput in;
  in.q = op_input(request, "q", 4);
  in.k = op_input(request, "k", 4);
  in.v = op_input(request, "v", 4);
  in.i = op_input(request, "i", 3);
  const int64_t B = in.k.size(0), T = in.k.size(1), H = in.k.size(2), K = in.k.size(3), V = in.v.size(3);
  expect(in.q, "q", {B, T, H, K});
  expect(in.v, "v", {B, T, H, V});
  expect(in.i, "i", {B, T, H});
  expect(op_input(request, "f", 3), "f", {B, T, H});
  in.g = at::log_sigmoid(request.inputs.at("f"));
  in.scale = request.scalars.get_float("scale", 1 / std::sqrt(static_cast<double>(K)));
  in.eps = request.scalars.get_float("eps", 1e-6);
  if (!std::isfinite(in.scale) || !std::isfinite(in.eps))
    throw Error(StatusCode::kBadInput, "scale or eps is not a finite number");
  MlstmState before = MlstmState::empty(in);
  if (request.inputs.count("initial_state"))
    expect(before.C = op_input(request, "initial_state", 4), "initial_state", {B, H, K, V});
  if (request.inputs.count("n0")) expect(before.n = op_input(request, "n0", 3), "n0", {B, H, K});
  if (request.inputs.count("m0")) {
    expect(op_input(request, "m0", 3), "m0", {B, H, 1});
    before.max = request.inputs.at("m0").squeeze(2);
  }
  MixerOpResult out;
  MlstmState after = before;
  out["o"] = mlstm_span(in, after, request.form);
  out["final_state"] = after.C;
  out["n_final"] = after.n;
  out["m_final"] = after.max.unsqueeze(2);
  if (request.states) {
    std::vector<at::Tensor> C, n, m;
    MlstmState s = before;
    for (int64_t t = 0; t < T; ++t) {
      mlstm_naive(in.slice(t, t + 1), s);
      C.push_back(s.C);
      n.push_back(s.n);
      m.push_back(s.max);
    }
    out["states"] = at::stack(C, 1);
    out["n_states"] = at::stack(n, 1);
    out["m_states"] = at::stack(m, 1);
  }
  if (request.implied) out["A"] = mlstm_pattern(in, before).a;
  return out;
}

}  // namespace microtome::mixers
