#include "core/mixers/recurrence_op.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace microtome::mixers {

namespace {

std::string shape_text(at::IntArrayRef sizes) {
  std::string out = "[";
  for (size_t i = 0; i < sizes.size(); ++i) out += (i ? ", " : "") + std::to_string(sizes[i]);
  return out + "]";
}

// want: -1 for any size.
void check_shape(const char* name, const at::Tensor& t, std::vector<int64_t> want) {
  bool good = t.dim() == static_cast<int64_t>(want.size());
  for (int64_t i = 0; good && i < t.dim(); ++i) good = want[i] < 0 || t.size(i) == want[i];
  if (!good)
    throw Error(StatusCode::kBadInput, std::string("input '") + name + "' has shape " + shape_text(t.sizes()) +
                                           ", expected " + shape_text(want));
}

at::Tensor over_query_heads(const at::Tensor& t, int64_t axis, int64_t heads) {
  return t.size(axis) < heads ? t.repeat_interleave(heads / t.size(axis), axis) : t;
}

}  // namespace

const at::Tensor& op_input(const MixerOpRequest& request, const std::string& name, int64_t rank) {
  auto it = request.inputs.find(name);
  if (it == request.inputs.end() || !it->second.defined())
    throw Error(StatusCode::kBadInput, "input '" + name + "' is missing");
  const at::Tensor& t = it->second;
  if (t.dim() != rank || t.numel() == 0)
    throw Error(StatusCode::kBadInput, "input '" + name + "' has shape " + shape_text(t.sizes()) + ", expected " +
                                           std::to_string(rank) + " axes, none of them empty");
  if (!at::isFloatingType(t.scalar_type()))
    throw Error(StatusCode::kBadInput, "input '" + name + "' is not of a floating type");
  return t;
}

MixerOpResult run_recurrence_op(const RecurrenceOp& op, const MixerOpRequest& request) {
  RecurrenceInput in;
  in.q = op_input(request, "q", 4);
  in.k = op_input(request, "k", 4);
  in.v = op_input(request, "v", 4);
  const int64_t B = in.q.size(0), T = in.q.size(1), K = in.q.size(3), V = in.v.size(3);
  if (op.steps) {
    if (in.k.size(1) % T != 0)
      throw Error(StatusCode::kBadInput, "input 'k' has " + std::to_string(in.k.size(1)) +
                                             " entries, no multiple of q's " + std::to_string(T) + " positions");
    in.steps = in.k.size(1) / T;
  }
  const int64_t writes = T * in.steps;
  check_shape("k", in.k, {B, writes, -1, K});
  check_shape("v", in.v, {B, writes, -1, -1});
  if (!op.decay.empty() && (!op.decay_optional || request.inputs.count(op.decay))) {
    in.g = op_input(request, op.decay, op.decay_by_channel ? 4 : 3);
    if (!op.decay_by_channel) in.g = in.g.unsqueeze(-1);
    check_shape(op.decay.c_str(), in.g, {B, T, -1, op.decay_by_channel ? K : 1});
  }
  if (op.kind.delta) {
    in.beta = op_input(request, "beta", 3);
    check_shape("beta", in.beta, {B, writes, -1});
  }
  for (auto [name, part] : {std::pair{&op.a, &in.a}, {&op.b, &in.b}}) {
    if (name->empty()) continue;
    *part = op_input(request, *name, 4);
    check_shape(name->c_str(), *part, {B, T, -1, K});
  }
  if (!op.u.empty()) {
    in.u = op_input(request, op.u, 2);
    check_shape(op.u.c_str(), in.u, {-1, K});
  }
  in.scale = request.scalars.get_float("scale", 1.0 / std::sqrt(static_cast<double>(K)));
  if (!std::isfinite(in.scale)) throw Error(StatusCode::kBadInput, "scale is not a finite number");

  RecurrentState before;
  if (request.inputs.count("initial_state")) {
    before.S = op_input(request, "initial_state", 4);
    check_shape("initial_state", before.S, {B, -1, K, V});
  }
  if (op.kind.normalized && request.inputs.count("z0")) {
    const at::Tensor& z0 = op_input(request, "z0", 4);
    check_shape("z0", z0, {B, 1, -1, K});
    before.z = z0.squeeze(1);
  }

  LinearRecurrence recurrence(op.kind);
  HookScope nothing;
  MixerRun run;
  run.form = request.form;
  RecurrentState after = before;
  MixerOpResult result;
  at::Tensor states;
  result["o"] = request.states ? recurrence.run_with_states(in, after, run, states) : recurrence.run(in, after, nothing, run);
  const int64_t heads = result["o"].size(2);
  result["final_state"] = over_query_heads(after.S, 1, heads);
  if (after.z.defined()) result["z_final"] = over_query_heads(after.z, 1, heads).unsqueeze(1);
  if (request.states) result["states"] = over_query_heads(states, 2, heads);
  if (request.implied) {
    RecurrentState zero = before;
    zero.S = at::Tensor();
    result["A"] = recurrence.pattern(in, zero, request.form);
  }
  return result;
}

}  // namespace microtome::mixers
