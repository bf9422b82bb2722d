#include "core/mixers/gsa/op.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/gsa/forms.h"
#include "core/mixers/recurrence_op.h"

namespace microtome::mixers {

namespace {

at::Tensor state_of(const MixerOpRequest& request, const char* name, std::vector<int64_t> shape) {
  if (!request.inputs.count(name)) return {};
  const at::Tensor& t = op_input(request, name, 4);
  if (t.sizes() != at::IntArrayRef(shape))
    throw Error(StatusCode::kBadInput, std::string("input '") + name + "' has shape " + c10::str(t.sizes()) +
                                           ", expected " + c10::str(at::IntArrayRef(shape)));
  return t;
}

}  // namespace

RecurrenceInput slot_op_input(const MixerOpRequest& request) {
  RecurrenceInput in;
  in.q = op_input(request, "q", 4);
  in.k = op_input(request, "k", 4);
  in.v = op_input(request, "s", 4);
  const at::Tensor& v = op_input(request, "v", 4);
  const auto all = in.k.sizes().slice(0, 3);
  if (in.q.sizes().slice(0, 2) != all.slice(0, 2) || in.q.size(3) != in.k.size(3) || in.q.size(2) % in.k.size(2) != 0 ||
      in.v.sizes().slice(0, 3) != all || v.sizes().slice(0, 3) != all)
    throw Error(StatusCode::kBadInput, "the inputs do not fit k's shape " + c10::str(in.k.sizes()) + ": q has its batch, "
                                           "positions and width and a multiple of its heads, v and s its first three axes");
  in.scale = request.scalars.get_float("scale", 1.0 / std::sqrt(static_cast<double>(in.k.size(3))));
  if (!std::isfinite(in.scale)) throw Error(StatusCode::kBadInput, "scale is not a finite number");
  return in;
}

MixerOpResult run_slot_op(const LinearRecurrence::Kind& kind, const RecurrenceInput& keys, const at::Tensor& values,
                          const MixerOpRequest& request, const char* hk_name, const char* hv_name) {
  const int64_t B = keys.k.size(0), H = keys.k.size(2), K = keys.k.size(3), M = keys.v.size(3);
  const at::Tensor hk0 = state_of(request, "hk0", {B, H, K, M}), hv0 = state_of(request, "hv0", {B, H, M, values.size(3)});
  at::Tensor hk = hk0;
  RecurrenceInput r = keys;
  r.q = read_slots(keys, hk, nullptr, request.form, kind.name);
  r.k = keys.v;
  r.v = values;
  r.scale = 1;
  RecurrentState s{hv0, {}};
  LinearRecurrence recurrence(kind);
  HookScope nothing;
  MixerRun run;
  run.form = request.form;
  MixerOpResult out;
  out["o"] = recurrence.run(r, s, nothing, run);
  out["p"] = r.q;
  out["final_hk"] = hk;
  out["final_hv"] = s.S;
  if (request.implied) out["A"] = recurrence.pattern(r, {}, request.form);
  if (request.states) {
    RecurrentState part{hk0.defined() ? hk0 : keys.k.new_zeros({B, H, K, M}), {}};
    std::vector<at::Tensor> all;
    for (int64_t t = 0; t < keys.positions(); ++t) {
      slot_scores_naive(keys.slice(t, t + 1), part, false);
      all.push_back(part.S);
    }
    out[hk_name] = at::stack(all, 1);
    out[hv_name] = recurrence.all_states(r, {hv0, {}}, request.form);
  }
  return out;
}

}  // namespace microtome::mixers
