#include <ATen/ATen.h>

#include "core/mixers/mamba2/forms.h"
#include "core/mixers/mamba2/parts.h"
#include "core/mixers/recurrence_op.h"

namespace microtome::mixers {

LinearRecurrence::Kind mamba2_recurrence() { return {"mamba2", mamba2_naive, mamba2_chunk}; }

namespace {

void check(const char* name, const at::Tensor& t, std::vector<int64_t> want) {
  if (t.sizes() != at::IntArrayRef(want))
    throw Error(StatusCode::kBadInput, std::string("input '") + name + "' has shape " + c10::str(t.sizes()) +
                                           ", expected " + c10::str(at::IntArrayRef(want)));
}

}  // namespace

MixerOpResult mamba2_op(const MixerOpRequest& request) {
  const at::Tensor x = op_input(request, "x", 4), raw = op_input(request, "dt_raw", 3), A = op_input(request, "A_h", 1),
                   B = op_input(request, "Bm", 4), C = op_input(request, "Cm", 4);
  const int64_t batch = x.size(0), T = x.size(1), H = x.size(2), P = x.size(3), G = B.size(2), N = B.size(3);
  check("dt_raw", raw, {batch, T, H});
  check("A_h", A, {H});
  check("Bm", B, {batch, T, G, N});
  check("Cm", C, {batch, T, G, N});
  if (H % G != 0)
    throw Error(StatusCode::kBadInput, "input 'Bm' has " + std::to_string(G) + " groups, which do not divide the " +
                                           std::to_string(H) + " heads of x");
  at::Tensor biased = raw;
  if (request.inputs.count("dt_bias")) {
    const at::Tensor bias = op_input(request, "dt_bias", 1);
    check("dt_bias", bias, {H});
    biased = raw + bias;
  }
  at::Tensor dt = at::softplus(biased);

  RecurrenceInput in;
  in.q = C.repeat_interleave(H / G, 2);
  in.k = B.repeat_interleave(H / G, 2) * dt.unsqueeze(3);
  in.v = x;
  in.g = (dt * A).unsqueeze(3);
  if (request.inputs.count("D")) {
    in.skip = op_input(request, "D", 1);
    check("D", in.skip, {H});
  }
  RecurrentState before;
  if (request.inputs.count("initial_state")) {
    const at::Tensor given = op_input(request, "initial_state", 4);
    check("initial_state", given, {batch, H, P, N});
    before.S = given.transpose(2, 3);
  }
  const LinearRecurrence recurrence(mamba2_recurrence());
  HookScope nothing;
  MixerRun run;
  run.form = request.form;
  RecurrentState after = before;
  MixerOpResult out;
  out["o"] = recurrence.run(in, after, nothing, run);
  out["final_state"] = after.S.transpose(2, 3);
  if (request.states) out["states"] = recurrence.all_states(in, before, request.form).transpose(3, 4);
  if (request.implied) out["A"] = recurrence.pattern(in, {}, request.form);
  return out;
}

}  // namespace microtome::mixers
