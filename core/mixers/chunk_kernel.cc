#include "core/mixers/chunk_kernel.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "core/mixers/positions.h"
#include "core/model/kernel_library.h"
#include "kernels/chunk/chunk.h"

namespace microtome::mixers {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

struct Functions {
  kernels::ChunkWorkspace workspace = nullptr;
  kernels::ChunkForward forward = nullptr;
  kernels::ChunkBackward backward = nullptr;
  std::string why_not;
};

Functions find(const char* workspace, const char* forward, const char* backward) {
  Functions out;
  out.workspace = reinterpret_cast<kernels::ChunkWorkspace>(kernel_function(workspace, &out.why_not));
  out.forward = reinterpret_cast<kernels::ChunkForward>(kernel_function(forward, &out.why_not));
  out.backward = reinterpret_cast<kernels::ChunkBackward>(kernel_function(backward));
  return out;
}

const Functions& functions(bool delta) {
  static const Functions linear = find(kernels::kChunkLinearWorkspace, kernels::kChunkLinearForward, kernels::kChunkLinearBackward);
  static const Functions deltas = find(kernels::kChunkDeltaWorkspace, kernels::kChunkDeltaForward, kernels::kChunkDeltaBackward);
  return delta ? deltas : linear;
}

// The arguments of a call, dense; `in` points into them.
struct Call {
  at::Tensor q, k, v, g, beta, state;
  kernels::Chunk in;
};

kernels::Element element_of(at::ScalarType type) {
  return type == at::kBFloat16 ? kernels::Element::kBFloat16 : type == at::kHalf ? kernels::Element::kFloat16 : kernels::Element::kFloat32;
}

kernels::Chunk shape_of(const RecurrenceInput& r) {
  kernels::Chunk in;
  in.element = element_of(r.q.scalar_type());
  in.tf32 = in.element == kernels::Element::kFloat32 && at::globalContext().allowTF32CuBLAS();
  in.batch = r.k.size(0);
  in.positions = r.positions();
  in.heads = r.k.size(2);
  in.group = r.q.size(2) / in.heads;
  in.d_k = r.k.size(3);
  in.d_v = r.v.size(3);
  in.g_width = r.g.defined() ? r.g.size(3) : 0;
  in.scale = r.scale;
  // Whether there is one, not which: enough to ask what is covered.
  if (r.beta.defined()) in.beta = reinterpret_cast<const float*>(alignof(float));
  return in;
}

// state is replaced by the call.
Call make_call(const RecurrenceInput& r, const at::Tensor& state) {
  Call c{r.q.contiguous(), r.k.contiguous(), r.v.contiguous(), {}, {}, state, shape_of(r)};
  if (r.g.defined()) c.g = r.g.contiguous();
  if (r.beta.defined()) c.beta = r.beta.contiguous();
  c.in.q = c.q.const_data_ptr();
  c.in.k = c.k.const_data_ptr();
  c.in.v = c.v.const_data_ptr();
  c.in.g = c.g.defined() ? c.g.const_data_ptr<float>() : nullptr;
  c.in.beta = c.beta.defined() ? c.beta.const_data_ptr<float>() : nullptr;
  c.in.state = c.state.mutable_data_ptr<float>();
  return c;
}

[[noreturn]] void refused(const char* name, const char* error) {
  throw Error(StatusCode::kFailed, std::string("the GPU refuses the chunk kernel: ") + error, std::string("mixer ") + name, "use --form naive");
}

at::Tensor launch(const LinearRecurrence::Kind& kind, const RecurrenceInput& r, at::Tensor& state, bool read_out, ChunkNotes* notes) {
  state = state.clone(at::MemoryFormat::Contiguous);             // the incoming one may be kept elsewhere
  Call c = make_call(r, state);
  const at::TensorOptions wide = c.q.options().dtype(at::kFloat);
  const int64_t B = c.in.batch, T = c.in.positions, H = c.in.heads, Q = H * c.in.group;
  at::Tensor z, slots, workspace;
  if (read_out) {
    z = at::empty({B, T, Q, c.in.d_v}, c.q.options());
    c.in.z = z.mutable_data_ptr();
  }
  if (notes && !notes->keep.empty()) {
    c.in.kept_count = static_cast<int64_t>(notes->keep.size());
    notes->kept = at::empty({B, c.in.kept_count, H, c.in.d_k, c.in.d_v}, wide);
    c.in.kept = notes->kept.mutable_data_ptr<float>();
    slots = places_of(notes->keep, T, c.q.device());
    c.in.slots = slots.const_data_ptr<int64_t>();
  }
  if (notes && notes->want_written) {
    notes->written = at::empty({B, T, H, c.in.d_v}, wide);
    c.in.written = notes->written.mutable_data_ptr<float>();
  }
  if (notes && notes->want_norms) {
    notes->write_norm = at::empty({B, T, H}, wide);
    notes->read_norm = at::empty({B, T, Q}, wide);
    c.in.write_norm = notes->write_norm.mutable_data_ptr<float>();
    if (read_out) c.in.read_norm = notes->read_norm.mutable_data_ptr<float>();
  }
  if (notes && notes->want_pattern && read_out) {
    const int64_t C = kernels::kChunkTokens;
    notes->pattern = at::empty({B, Q, (T + C - 1) / C, C, C}, wide);
    c.in.pattern = notes->pattern.mutable_data_ptr<float>();
  }
  const Functions& f = functions(kind.delta);
  workspace = at::empty({std::max<int64_t>(f.workspace(c.in, false), 0)}, c.q.options().dtype(at::kByte));
  c.in.workspace = workspace.mutable_data_ptr();
  if (const char* error = f.forward(c.in, c.q.device().index(), current_stream(c.q.device()))) refused(kind.name, error);
  return z;
}

// Gradients through the chunk form in tensor operations, which is run again.
variable_list gradients_of_form(SpanForm form, const RecurrenceInput& r, const at::Tensor& S, bool read_out, const at::Tensor& dz, const at::Tensor& dS) {
  at::AutoGradMode grad(true);
  variable_list leaves;
  auto leaf = [&](const at::Tensor& t) {
    if (!t.defined()) return at::Tensor();
    at::Tensor own = t.detach().to(at::kFloat);
    own.requires_grad_(true);
    leaves.push_back(own);
    return own;
  };
  RecurrenceInput in = r;
  in.q = leaf(r.q);
  in.k = leaf(r.k);
  in.v = leaf(r.v);
  in.g = leaf(r.g);
  in.beta = leaf(r.beta);
  RecurrentState state{leaf(S), {}};
  variable_list outputs, gradients;
  const at::Tensor z = form(in, state, read_out);
  if (dz.defined() && z.defined()) {
    outputs.push_back(z);
    gradients.push_back(dz.to(at::kFloat));
  }
  if (dS.defined()) {
    outputs.push_back(state.S);
    gradients.push_back(dS);
  }
  if (outputs.empty()) return variable_list(leaves.size());
  return torch::autograd::grad(outputs, leaves, gradients, false, false, /*allow_unused=*/true);
}

bool gradients_of_kernel(bool delta, const RecurrenceInput& r, const at::Tensor& S, bool read_out, at::Tensor dz, const at::Tensor& dS, variable_list& out);

// Where query heads share a state: as if each had its own, and what they share gets the sum.
bool gradients_by_query_head(bool delta, const RecurrenceInput& r, const at::Tensor& S, const at::Tensor& dz, const at::Tensor& dS, variable_list& out) {
  const int64_t heads = r.k.size(2), group = r.q.size(2) / heads;
  auto each = [&](const at::Tensor& t, int64_t axis) { return t.defined() ? t.repeat_interleave(group, axis) : t; };
  RecurrenceInput in = r;
  in.k = each(r.k, 2);
  in.v = each(r.v, 2);
  in.g = each(r.g, 2);
  in.beta = each(r.beta, 2);
  at::Tensor last;
  if (dS.defined()) {                  // there is one last state
    last = at::zeros({S.size(0), heads * group, S.size(2), S.size(3)}, dS.options());
    last.slice(1, 0, heads * group, group).copy_(dS);
  }
  if (!gradients_of_kernel(delta, in, each(S, 1), true, dz, last, out)) return false;
  for (size_t i = 1; i < out.size(); ++i) {
    const int64_t axis = i + 1 == out.size() ? 1 : 2;                                  // the state's
    out[i] = out[i].unflatten(axis, at::IntArrayRef({heads, group})).sum(axis + 1);
  }
  return true;
}

bool gradients_of_kernel(bool delta, const RecurrenceInput& r, const at::Tensor& S, bool read_out, at::Tensor dz, const at::Tensor& dS, variable_list& out) {
  const Functions& f = functions(delta);
  if (!f.backward || !read_out) return false;
  Call c = make_call(r, S.contiguous());
  const int64_t bytes = f.workspace(c.in, true);
  if (bytes < 0) return c.in.group > 1 && gradients_by_query_head(delta, r, S, dz, dS, out);
  kernels::ChunkGradient gradient;
  const at::Tensor workspace = at::empty({bytes}, c.q.options().dtype(at::kByte));
  c.in.workspace = workspace.mutable_data_ptr();
  gradient.in = c.in;
  dz = dz.defined() ? dz.to(c.q.scalar_type()).contiguous() : at::zeros({c.in.batch, c.in.positions, c.in.heads * c.in.group, c.in.d_v}, c.q.options());
  const at::Tensor last = dS.defined() ? dS.contiguous() : at::Tensor();
  gradient.dz = dz.const_data_ptr();
  if (last.defined()) gradient.dstate = last.const_data_ptr<float>();
  at::Tensor dq = at::empty_like(c.q), dk = at::empty_like(c.k), dv = at::empty_like(c.v), dstate = at::empty_like(c.state), dg, dbeta;
  gradient.dq = dq.mutable_data_ptr();
  gradient.dk = dk.mutable_data_ptr();
  gradient.dv = dv.mutable_data_ptr();
  gradient.dstate_in = dstate.mutable_data_ptr<float>();
  if (c.g.defined()) gradient.dg = (dg = at::empty_like(c.g)).mutable_data_ptr<float>();
  if (c.beta.defined()) gradient.dbeta = (dbeta = at::empty_like(c.beta)).mutable_data_ptr<float>();
  if (const char* error = f.backward(gradient, c.q.device().index(), current_stream(c.q.device()))) refused("", error);
  out = {dq, dk, dv};
  if (dg.defined()) out.push_back(dg);
  if (dbeta.defined()) out.push_back(dbeta);
  out.push_back(dstate);
  return true;
}

class ThroughKernel : public torch::autograd::Function<ThroughKernel> {
 public:
  // What is not there is not passed as an undefined tensor, which has no device to ask for.
  static variable_list forward(AutogradContext* ctx, const Variable& q, const Variable& k, const Variable& v, const std::optional<at::Tensor>& g,
                               const std::optional<at::Tensor>& beta, const Variable& S, double scale, const LinearRecurrence::Kind* kind, bool read_out) {
    RecurrenceInput in;
    in.q = q;
    in.k = k;
    in.v = v;
    in.g = g.value_or(at::Tensor());
    in.beta = beta.value_or(at::Tensor());
    in.scale = scale;
    at::Tensor state = S;
    const at::Tensor z = launch(*kind, in, state, read_out, nullptr);
    ctx->save_for_backward({q, k, v, in.g, in.beta, S});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["delta"] = kind->delta;
    ctx->saved_data["form"] = static_cast<int64_t>(reinterpret_cast<intptr_t>(kind->chunk));
    ctx->saved_data["read_out"] = read_out;
    ctx->set_materialize_grads(false);
    if (!read_out) return {state};
    return {state, z};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    RecurrenceInput in;
    in.q = saved[0];
    in.k = saved[1];
    in.v = saved[2];
    in.g = saved[3];
    in.beta = saved[4];
    in.scale = ctx->saved_data["scale"].toDouble();
    const bool read_out = ctx->saved_data["read_out"].toBool(), delta = ctx->saved_data["delta"].toBool();
    const at::Tensor dz = read_out ? grads[1] : at::Tensor();
    variable_list found;
    if (!gradients_of_kernel(delta, in, saved[5], read_out, dz, grads[0], found)) {
      const auto form = reinterpret_cast<SpanForm>(static_cast<intptr_t>(ctx->saved_data["form"].toInt()));
      found = gradients_of_form(form, in, saved[5], read_out, dz, grads[0]);
    }
    variable_list out(9);
    size_t next = 0;
    for (size_t i = 0; i < 6; ++i) {
      if (!saved[i].defined()) continue;
      at::Tensor d = found[next++];
      if (d.defined()) out[i] = d.to(saved[i].scalar_type());
    }
    return out;
  }
};

at::Tensor mix(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, at::Tensor& S, bool read_out, ChunkNotes* notes) {
  if (!chunk_kernel_differentiated(in, {S, {}})) {
    at::NoGradGuard no_grad;
    return launch(kind, in, S, read_out, notes);
  }
  auto given = [](const at::Tensor& t) { return t.defined() ? std::optional<at::Tensor>(t) : std::nullopt; };
  variable_list out = ThroughKernel::apply(in.q, in.k, in.v, given(in.g), given(in.beta), S, in.scale, &kind, read_out);
  S = out[0];
  return read_out ? out[1] : at::Tensor();
}

}  // namespace

const std::string& chunk_kernel_missing(bool delta) { return functions(delta).why_not; }

bool chunk_kernel_differentiated(const RecurrenceInput& in, const RecurrentState& state) {
  if (!at::GradMode::is_enabled()) return false;
  for (const at::Tensor* t : {&in.q, &in.k, &in.v, &in.g, &in.beta, &state.S, &state.z})
    if (t->defined() && t->requires_grad()) return true;
  return false;
}

const char* chunk_kernel_refuses(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, const RecurrentState& state) {
  if (!in.q.is_cuda()) return "the tensors are not on a GPU";
  if (kind.write || kind.reads_before || in.steps != 1 || in.a.defined() || in.b.defined() || in.u.defined())
    return "the kernels know one write a token, of a value or by a delta rule, read out after it";
  if (in.beta.defined() != kind.delta || in.positions() == 0) return "a write strength without a delta rule, or no tokens";
  const auto type = in.q.scalar_type();
  if (type != in.k.scalar_type() || type != in.v.scalar_type() || (type != at::kFloat && type != at::kBFloat16 && type != at::kHalf))
    return "q, k and v are not of one type among float32, bfloat16 and half";
  for (const at::Tensor* t : {&in.g, &in.beta, &state.S, &state.z})
    if (t->defined() && t->scalar_type() != at::kFloat) return "decay, write strength and state are not float32";
  if (!functions(kind.delta).forward || !functions(kind.delta).workspace) return "this build has no such kernels";
  if (functions(kind.delta).workspace(shape_of(in), false) < 0) return "the kernels do not cover these head sizes in this type";
  return nullptr;
}

at::Tensor chunk_kernel(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, RecurrentState& state, bool read_out, ChunkNotes* notes) {
  if (!kind.normalized) return mix(kind, in, state.S, read_out, notes);
  // The normaliser is the state of values that are all 1. A quotient is taken of float32.
  RecurrenceInput wide = in, ones;
  wide.q = in.q.to(at::kFloat);
  wide.k = in.k.to(at::kFloat);
  wide.v = in.v.to(at::kFloat);
  ones = wide;
  ones.v = at::ones({wide.v.size(0), wide.v.size(1), wide.v.size(2), 1}, wide.v.options());
  ChunkNotes below_notes;
  if (notes) below_notes.keep = notes->keep_normalizer;
  const at::Tensor z = mix(kind, wide, state.S, read_out, notes);
  at::Tensor n = state.z.unsqueeze(-1);
  const at::Tensor below = mix(kind, ones, n, read_out, notes ? &below_notes : nullptr);
  state.z = n.squeeze(-1);
  if (notes && below_notes.kept.defined()) notes->kept_normalizer = below_notes.kept.squeeze(-1);
  return read_out ? z / (below + kNormalizerEps) : z;
}

}  // namespace microtome::mixers
