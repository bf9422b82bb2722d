#include "core/mixers/scan.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "core/mixers/comba/forms.h"
#include "core/mixers/gated_delta_product/forms.h"
#include "core/mixers/positions.h"
#include "core/mixers/rwkv7/forms.h"
#include "core/model/kernel_library.h"
#include "kernels/scan/scan.h"

namespace microtome::mixers {
namespace {

struct CudaScan {
  kernels::ScanCuda start = nullptr;
  std::string why_not;
};

const CudaScan& cuda_scan() {
  static const CudaScan found = [] {
    CudaScan out;
    out.start = reinterpret_cast<kernels::ScanCuda>(kernel_function(kernels::kScanCudaSymbol, &out.why_not));
    return out;
  }();
  return found;
}

bool differentiated(const RecurrenceInput& in, const RecurrentState& state) {
  if (!at::GradMode::is_enabled()) return false;
  for (const at::Tensor* t : {&in.q, &in.k, &in.v, &in.g, &in.beta, &in.a, &in.b, &in.u, &state.S, &state.z})
    if (t->defined() && t->requires_grad()) return true;
  return false;
}

// S^T q of the running sum of keys: what a normalised read-out is divided by. [batch, pos, head of q]
at::Tensor normalizer(const RecurrenceInput& in, RecurrentState& state, ScanNotes* notes) {
  at::Tensor sums = in.k.cumsum(1) + state.z.unsqueeze(1);                       // [batch, pos, head, d_k]
  const int64_t B = in.q.size(0), T = in.q.size(1), H = in.k.size(2), G = in.q.size(2) / H;
  state.z = sums.select(1, T - 1);
  if (notes) notes->normalizer = sums;
  return (in.q.reshape({B, T, H, G, -1}) * sums.unsqueeze(3)).sum(-1).reshape({B, T, H * G});
}

}  // namespace

const std::string& scan_missing() { return cuda_scan().why_not; }

namespace {

// What the kernels know of writes and reads that are neither plain nor the delta rule's.
enum class Kin { kNone, kOwnKey, kLowRank, kBefore, kOther };

Kin kin_of(const LinearRecurrence::Kind& kind) {
  if (kind.write == comba_write) return Kin::kOwnKey;
  if (kind.write == dplr_write) return Kin::kLowRank;
  if (kind.write == gated_delta_product_write || !kind.write) return kind.reads_before ? Kin::kBefore : Kin::kNone;   // its steps are delta rules
  return Kin::kOther;
}

// Several writes a token are as many tokens, of which the first decays and the last reads.
RecurrenceInput one_by_one(const RecurrenceInput& in) {
  const int64_t n = in.steps;
  RecurrenceInput out = in;
  out.steps = 1;
  auto stretched = [&](const at::Tensor& t, int64_t at_step) {
    at::Tensor wide = at::zeros({t.size(0), t.size(1), n, t.size(2), t.size(3)}, t.options());
    wide.select(2, at_step).copy_(t);
    return wide.flatten(1, 2);
  };
  out.q = stretched(in.q, n - 1);
  if (in.g.defined()) out.g = stretched(in.g, 0);
  return out;
}

}  // namespace

bool scan_covers(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, const RecurrentState& state, bool write_wanted) {
  const Kin kin = kin_of(kind);
  if (kin == Kin::kOther || differentiated(in, state) || in.positions() == 0 || in.beta.defined() != kind.delta) return false;
  if (in.a.defined() != (kin == Kin::kOwnKey || kin == Kin::kLowRank) || in.b.defined() != (kin == Kin::kLowRank) || in.u.defined() != (kin == Kin::kBefore)) return false;
  if (in.steps != 1 && kind.write != gated_delta_product_write) return false;
  const int64_t width = in.g.defined() ? in.g.size(3) : 0;
  if (kin == Kin::kOwnKey && width != 1) return false;
  if ((kin == Kin::kLowRank || kin == Kin::kBefore) && (width <= 1 || (kin == Kin::kBefore && in.q.size(2) != in.k.size(2)))) return false;
  // What is not one product of two vectors is not written down.
  if (write_wanted && (in.steps != 1 || kin == Kin::kLowRank)) return false;
  if (in.q.is_cpu()) return in.q.scalar_type() == at::kFloat || in.q.scalar_type() == at::kDouble;
  return in.q.is_cuda() && in.q.scalar_type() == at::kFloat && in.k.size(3) <= kernels::kScanMostKeys && cuda_scan().start;
}

at::Tensor scan(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, RecurrentState& state, bool read_out, ScanNotes* notes) {
  at::NoGradGuard no_grad;
  if (in.steps > 1) {
    const int64_t n = in.steps;
    if (notes)
      for (int64_t& t : notes->keep) t = t * n + n - 1;
    at::Tensor every = scan(kind, one_by_one(in), state, read_out, notes);
    if (notes)
      for (int64_t& t : notes->keep) t /= n;
    return read_out ? every.unflatten(1, {in.positions(), n}).select(2, n - 1) : every;
  }
  const int64_t B = in.k.size(0), T = in.positions(), H = in.k.size(2), K = in.k.size(3), V = in.v.size(3);
  const at::Tensor q = in.q.contiguous(), k = in.k.contiguous(), v = in.v.contiguous();
  const at::Tensor g = in.g.defined() ? in.g.contiguous() : at::Tensor(), beta = kind.delta ? in.beta.contiguous() : at::Tensor();
  const at::Tensor a = in.a.defined() ? in.a.contiguous() : at::Tensor(), b = in.b.defined() ? in.b.contiguous() : at::Tensor(), u = in.u.defined() ? in.u.contiguous() : at::Tensor();
  at::Tensor S = state.S.clone(at::MemoryFormat::Contiguous), z, slots;          // the incoming state may be kept elsewhere
  kernels::Scan s;
  s.batch = B;
  s.positions = T;
  s.heads = H;
  s.group = q.size(2) / H;
  s.d_k = K;
  s.d_v = V;
  s.q = q.const_data_ptr();
  s.k = k.const_data_ptr();
  s.v = v.const_data_ptr();
  if (g.defined()) {
    s.g = g.const_data_ptr();
    s.g_width = g.size(3);
  }
  if (beta.defined()) s.beta = beta.const_data_ptr();
  if (a.defined()) s.a = a.const_data_ptr();
  if (b.defined()) s.b = b.const_data_ptr();
  if (u.defined()) s.u = u.const_data_ptr();
  s.scale = in.scale;
  s.state = S.mutable_data_ptr();
  if (read_out) {
    z = at::empty({B, T, q.size(2), V}, q.options());
    s.z = z.mutable_data_ptr();
  }
  if (notes && notes->want_written) {
    notes->written = at::empty({B, T, H, V}, q.options());
    s.written = notes->written.mutable_data_ptr();
  }
  if (notes && !notes->keep.empty()) {
    s.kept_count = static_cast<int64_t>(notes->keep.size());
    notes->kept = at::empty({B, s.kept_count, H, K, V}, q.options());
    s.kept = notes->kept.mutable_data_ptr();
    slots = places_of(notes->keep, T, q.device());
    s.slots = slots.const_data_ptr<int64_t>();
  }
  if (q.is_cpu()) {
    at::parallel_for(0, B * H, 1, [&](int64_t from, int64_t to) { kernels::scan_cpu(s, q.scalar_type() == at::kDouble, from, to); });
  } else if (const char* error = cuda_scan().start(s, q.device().index(), current_stream(q.device()))) {
    throw Error(StatusCode::kFailed, std::string("the GPU refuses the scan: ") + error, std::string("mixer ") + kind.name, "use --form naive");
  }
  state.S = S;
  if (!kind.normalized) return z;
  const at::Tensor below = normalizer(in, state, notes);
  return read_out ? z / (below * in.scale + kNormalizerEps).unsqueeze(-1) : z;
}

}  // namespace microtome::mixers
