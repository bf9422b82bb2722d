#include "core/training/fused_step.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/dictionary/kinds/parts.h"
#include "core/training/gpu_call.h"
#include "core/training/sparse_loss.h"
#include "kernels/sparse_step/sparse_step.h"
#include "kernels/top_choice/top_choice.h"

namespace microtome {
namespace {

using dictionary_kinds::product;

// Rows whose pre-activations are there at a time where rows choose for themselves: cuBLAS is fastest with about 2,000 (H200).
constexpr int64_t kBlockRows = 2048;

template <class T>
T* pointer(const at::Tensor& t) {
  return t.defined() ? t.mutable_data_ptr<T>() : nullptr;
}
void* raw(const at::Tensor& t) { return t.defined() ? t.mutable_data_ptr() : nullptr; }

struct Kernels {
  kernels::TopRowsCuda top_rows = kernel_of<kernels::TopRowsCuda>(kernels::kTopRowsCudaSymbol);
  kernels::TopBatchCuda top_batch = kernel_of<kernels::TopBatchCuda>(kernels::kTopBatchCudaSymbol);
  kernels::DecodeStepCuda decode = kernel_of<kernels::DecodeStepCuda>(kernels::kDecodeStepCudaSymbol);
  kernels::GroupStepCuda group = kernel_of<kernels::GroupStepCuda>(kernels::kGroupStepCudaSymbol);
  kernels::GradientStepCuda gradient = kernel_of<kernels::GradientStepCuda>(kernels::kGradientStepCudaSymbol);
  kernels::BiasStepCuda bias = kernel_of<kernels::BiasStepCuda>(kernels::kBiasStepCudaSymbol);
  bool all() const { return top_rows && top_batch && decode && group && gradient && bias; }
  static const Kernels& get() {
    static const Kernels k;
    return k;
  }
};

void must(const char* error, const char* what) {
  if (!did(error, what)) throw Error(StatusCode::kInternal, std::string("the kernels do not cover ") + what, "training", "use form=dense");
}

// The entries of a batch, and what holds them.
struct Chosen {
  at::Tensor column, value, row, row_from;   // int32, float, int32, int32
  int64_t per_row = 0;
};

}  // namespace

struct FusedStep::Impl {
  bool bfloat16 = false;
  at::Tensor encoder_copy, decoder_copy, norms;
  bool fresh = false;

  void refresh(const Dictionary& d, const at::Tensor& encoder) {
    const bool rescale = d.config.rescale_acts_by_decoder_norm;
    const at::Tensor& decoder = d.weight("W_dec");
    if (bfloat16 && !encoder_copy.defined()) {
      encoder_copy = at::empty(encoder.sizes(), encoder.options().dtype(at::kBFloat16));
      decoder_copy = at::empty(decoder.sizes(), decoder.options().dtype(at::kBFloat16));
    }
    if (rescale && !norms.defined()) norms = at::empty({d.config.d_sae}, decoder.options());
    if (bfloat16) adam_refresh({encoder, {}, {}, {}, false, encoder_copy, {}, {}, {}, false});
    if (bfloat16 || rescale) adam_refresh({decoder, {}, {}, {}, false, decoder_copy, norms, {}, {}, false});
    fresh = true;
  }

  kernels::TopRows top_rows(const Dictionary& d, const at::Tensor& pre, int64_t k, const at::Tensor& column, const at::Tensor& value) const {
    kernels::TopRows t;
    t.rows = pre.size(0);
    t.columns = pre.size(1);
    t.k = k;
    t.pre = raw(pre);
    t.bfloat16 = bfloat16;
    t.bias = pointer<float>(d.weight("b_enc"));
    t.scale = pointer<float>(norms);
    t.column = pointer<int32_t>(column);
    t.value = pointer<float>(value);
    return t;
  }

  // read: what the encoder reads, in the type of products.
  Chosen choose(const Dictionary& d, const at::Tensor& encoder, const at::Tensor& read) {
    const DictionaryConfig& c = d.config;
    const int64_t n = read.size(0), k = std::min(c.k, c.d_sae);
    const at::Tensor weights = (bfloat16 ? encoder_copy : encoder).t();
    const at::TensorOptions ints = read.options().dtype(at::kInt), floats = read.options().dtype(at::kFloat);
    Chosen out;
    if (c.kind == "topk") {
      out.per_row = k;
      out.column = at::empty({n, k}, ints);
      out.value = at::empty({n, k}, floats);
      const int64_t block = std::min(n, kBlockRows);
      at::Tensor pre = at::empty({block, c.d_sae}, read.options());
      for (int64_t r = 0; r < n; r += block) {
        const int64_t rows = std::min(block, n - r);
        at::Tensor part = pre.slice(0, 0, rows);
        at::mm_out(part, read.slice(0, r, r + rows), weights);
        const kernels::TopRows t = top_rows(d, part, k, out.column.slice(0, r, r + rows), out.value.slice(0, r, r + rows));
        must(Kernels::get().top_rows(t, read.device().index(), nullptr), "the choice of features");
      }
      return out;
    }
    at::Tensor pre = read.mm(weights);
    const int64_t most = k * n;
    out.column = at::empty({most}, ints);
    out.value = at::empty({most}, floats);
    out.row = at::empty({most}, ints);
    out.row_from = at::empty({n + 1}, ints);
    at::Tensor counts = at::empty({kernels::kTopBatchCounts}, ints), largest = at::empty({n, kernels::kTopBatchParts}, floats), of_rows = at::empty({3, n}, ints);
    at::Tensor candidates = at::empty({n, kernels::kTopBatchRoom}, ints.dtype(at::kLong));
    kernels::TopBatch t;
    t.rows = top_rows(d, pre, k, out.column, out.value);
    t.row_from = pointer<int32_t>(out.row_from);
    t.row = pointer<int32_t>(out.row);
    t.counts = pointer<int32_t>(counts);
    t.largest = pointer<float>(largest);
    t.candidates = pointer<int64_t>(candidates);
    t.of_rows = pointer<int32_t>(of_rows);
    must(Kernels::get().top_batch(t, read.device().index(), nullptr), "the choice of features");
    return out;
  }

  // The dead features' part, as dictionary_kinds::auxiliary_loss, over the dead features alone.
  struct Extra { at::Tensor loss, slot, dec, enc, bias; };
  Extra auxiliary(const Dictionary& d, const at::Tensor& encoder, const at::Tensor& centred, const at::Tensor& residual, const LossSettings& s) {
    Extra e;
    if (!s.dead.defined() || s.aux == 0) return e;
    at::Tensor places = s.dead.nonzero().flatten();
    const int64_t dead = places.size(0), n = centred.size(0), wanted = std::max<int64_t>(1, residual.size(1) / 2), used = std::min(wanted, dead);
    if (dead == 0) return e;
    const double weight = s.aux * std::min(static_cast<double>(dead) / static_cast<double>(wanted), 1.0);
    at::Tensor decoder = d.weight("W_dec").index_select(0, places), reading = encoder.index_select(0, places);
    at::Tensor codes = product(centred, reading.t(), s).add_(d.weight("b_enc").index_select(0, places)), own_norms, open;
    if (norms.defined()) codes = codes * (own_norms = norms.index_select(0, places));
    if (used < dead) {
      auto [values, which] = codes.topk(used, 1, true, false);
      open = at::zeros_like(codes).scatter_(1, which, 1.0);
      codes = codes * open;
    }
    at::Tensor error = product(codes, decoder, s) - residual;
    at::Tensor at_out = error * (2 * weight / static_cast<double>(n));
    at::Tensor at_codes = product(at_out, decoder.t(), s);
    if (open.defined()) at_codes = at_codes * open;
    e.dec = product(codes.t(), at_out, s);
    if (own_norms.defined()) {
      // Codes are pre · ‖W_dec‖: part of their gradient is the norm's.
      at::Tensor at_norm = (at_codes * codes).sum(0) / own_norms.clamp_min(1e-12);
      e.dec = e.dec + decoder * (at_norm / own_norms.clamp_min(1e-12)).unsqueeze(1);
      at_codes = at_codes * own_norms;
    }
    e.enc = product(at_codes.t(), centred, s).contiguous();
    e.dec = e.dec.contiguous();
    e.bias = at_codes.sum(0);
    e.loss = weight * error.square().sum(1).mean();
    e.slot = at::full({d.config.d_sae}, -1, places.options().dtype(at::kInt)).index_copy_(0, places, at::arange(dead, places.options().dtype(at::kInt)));
    return e;
  }
};

FusedStep::FusedStep() : impl_(std::make_unique<Impl>()) {}
FusedStep::~FusedStep() = default;

std::unique_ptr<FusedStep> FusedStep::make(const Dictionary& d, at::ScalarType products) {
  const DictionaryConfig& c = d.config;
  const at::Tensor& decoder = d.weight("W_dec");
  if (!has_sparse_loss(c) || !decoder.is_cuda() || decoder.scalar_type() != at::kFloat || (products != at::kFloat && products != at::kBFloat16)) return nullptr;
  if (!Kernels::get().all() || !has_adam_kernels(decoder)) return nullptr;
  if (c.d_sae % 8 != 0 || c.d_sae > (int64_t{1} << 20) || c.d_in % 4 != 0 || c.d_out % 4 != 0 || c.d_in > 16384 || c.d_out > 16384) return nullptr;
  // Rows of bfloat16 are read four numbers, and by cuBLAS eight, at a time.
  if (products == at::kBFloat16 && (c.d_in % 8 != 0 || c.d_out % 8 != 0)) return nullptr;
  const size_t levels = c.kind == "matryoshka" ? c.nested.size() + 1 : 1;
  if (levels > static_cast<size_t>(kernels::kMostLevels) || static_cast<int64_t>(levels) * c.d_out * 4 > 160 * 1024) return nullptr;
  std::unique_ptr<FusedStep> out(new FusedStep);
  out->impl_->bfloat16 = products == at::kBFloat16;
  return out;
}

void FusedStep::stale() { impl_->fresh = false; }

void FusedStep::prepare(const std::string& name, AdamParameter& p) const {
  if (name == "W_enc_t") p.copy = impl_->encoder_copy;
  if (name == "W_dec") {
    p.copy = impl_->decoder_copy;
    p.norms = impl_->norms;
  }
}

bool FusedStep::loss(const Dictionary& d, const at::Tensor& encoder, const at::Tensor& x, const at::Tensor& target, const LossSettings& s, const FusedOptions& o, FusedLoss& r) {
  Impl& own = *impl_;
  const DictionaryConfig& c = d.config;
  const int64_t n = x.size(0);
  if (n == 0 || n > 65535 || (c.kind != "topk" && n * c.d_sae > 0x7fffffff) || !on_default_stream(x)) return false;
  const Kernels& call = Kernels::get();
  const int device = x.device().index();
  if (!own.fresh) own.refresh(d, encoder);
  const at::Tensor centred = dictionary_kinds::centred(d, x).to(at::kFloat).contiguous(), wanted = target.to(at::kFloat).contiguous();
  const at::Tensor read = own.bfloat16 ? centred.to(at::kBFloat16) : centred;
  const at::TensorOptions floats = encoder.options(), ints = floats.dtype(at::kInt);
  const Chosen chosen = own.choose(d, encoder, read);

  kernels::DecodeStep step;
  kernels::ChosenCodes& codes = step.codes;
  codes.rows = n;
  codes.features = c.d_sae;
  codes.entries = chosen.column.numel();
  codes.per_row = chosen.per_row;
  codes.row_from = pointer<int32_t>(chosen.row_from);
  codes.row = pointer<int32_t>(chosen.row);
  codes.column = pointer<int32_t>(chosen.column);
  codes.value = pointer<float>(chosen.value);
  codes.norms = pointer<float>(own.norms);
  // The whole is the last of the nested dictionaries, and the only one of the other kinds.
  std::vector<int64_t> ends = c.kind == "matryoshka" ? c.nested : std::vector<int64_t>();
  ends.push_back(c.d_sae);
  codes.levels = static_cast<int>(ends.size());
  std::copy(ends.begin(), ends.end(), codes.ends);

  const at::Tensor base = c.skip ? product(x, d.weight("W_skip").t(), s).contiguous() : at::Tensor();
  at::Tensor at_out = at::empty({codes.levels, n, c.d_out}, floats), at_out_copy, at_code = at::empty({codes.entries}, floats), sums = at::empty({3, n}, floats);
  if (own.bfloat16) at_out_copy = at::empty(at_out.sizes(), at_out.options().dtype(at::kBFloat16));
  step.width = c.d_out;
  step.w = raw(own.bfloat16 ? own.decoder_copy : d.weight("W_dec"));
  step.bfloat16 = own.bfloat16;
  step.bias = pointer<float>(d.weight("b_dec"));
  step.base = pointer<float>(base);
  step.target = pointer<float>(wanted);
  step.factor = static_cast<float>(2.0 / static_cast<double>(n));
  step.at_out = pointer<float>(at_out);
  step.at_out_bfloat16 = raw(at_out_copy);
  step.at_code = pointer<float>(at_code);
  step.sums = pointer<float>(sums);
  must(call.decode(step, device, nullptr), "the decoder of chosen features");
  at::Tensor means = sums.mean(1);
  r.loss = means.select(0, 0);
  r.mse = means.select(0, 1);
  r.l0 = means.select(0, 2);
  if (c.kind != "topk")
    r.smallest = at::where(chosen.column.ge(0), chosen.value, at::full({}, std::numeric_limits<float>::infinity(), floats)).amin();

  at::Tensor counts = at::empty({std::max<int64_t>(1, kernels::group_parts(codes.entries)) * c.d_sae}, floats.dtype(at::kShort)), local = at::empty({c.d_sae}, ints);
  at::Tensor blocks = at::empty({c.d_sae / 256 + 1}, ints), from = at::empty({c.d_sae + 1}, ints), grouped = at::empty({std::max<int64_t>(1, codes.entries), 4}, ints);
  kernels::GroupStep group;
  group.codes = codes;
  group.at_code = pointer<float>(at_code);
  group.counts = static_cast<uint16_t*>(raw(counts));
  group.local = pointer<int32_t>(local);
  group.blocks = pointer<int32_t>(blocks);
  group.from = pointer<int32_t>(from);
  group.grouped = static_cast<kernels::GroupedEntry*>(raw(grouped));
  must(call.group(group, device, nullptr), "the order of chosen features");

  const at::Tensor last = at_out.select(0, codes.levels - 1);
  const Impl::Extra extra = own.auxiliary(d, encoder, centred, s.dead.defined() ? last * (-0.5 * static_cast<double>(n)) : last, s);
  if (extra.loss.defined()) r.loss = r.loss + extra.loss;

  at::Tensor of_dec = at::empty_like(d.weight("W_dec")), of_enc = at::empty_like(encoder), of_bias = at::empty({c.d_sae}, floats), longest = at::empty({c.d_sae + 1}, ints);
  r.squares = at::empty({2, c.d_sae}, floats);
  r.touched = at::empty({c.d_sae}, floats.dtype(at::kByte));
  kernels::GradientStep gradient;
  gradient.rows = n;
  gradient.features = c.d_sae;
  gradient.entries = codes.entries;
  gradient.levels = codes.levels;
  std::copy(ends.begin(), ends.end(), gradient.ends);
  gradient.from = group.from;
  gradient.grouped = group.grouped;
  gradient.width_out = c.d_out;
  gradient.width_in = c.d_in;
  gradient.bfloat16 = own.bfloat16;
  gradient.at_out = raw(own.bfloat16 ? at_out_copy : at_out);
  gradient.x = raw(read);
  gradient.slot = pointer<int32_t>(extra.slot);
  gradient.extra_dec = pointer<float>(extra.dec);
  gradient.extra_enc = pointer<float>(extra.enc);
  gradient.extra_bias = pointer<float>(extra.bias);
  gradient.across = o.unit_decoder ? pointer<float>(d.weight("W_dec")) : nullptr;
  gradient.zero_rows = o.whole;
  gradient.longest = pointer<int32_t>(longest);
  gradient.of_dec = pointer<float>(of_dec);
  gradient.of_enc = pointer<float>(of_enc);
  gradient.of_bias = pointer<float>(of_bias);
  gradient.squares = pointer<float>(r.squares);
  gradient.touched = pointer<uint8_t>(r.touched);
  gradient.silent = pointer<int64_t>(o.silent);
  must(call.gradient(gradient, device, nullptr), "the gradients of chosen features");

  at::Tensor parts = at::empty({kernels::kBiasParts, c.d_out}, floats), of_b_dec = at::empty({c.d_out}, floats);
  kernels::BiasStep bias;
  bias.rows = n;
  bias.features = c.d_sae;
  bias.width = c.d_out;
  bias.at_out = pointer<float>(at_out);
  bias.of_enc_bias = gradient.of_bias;
  bias.w_enc = c.apply_b_dec_to_input ? raw(own.bfloat16 ? own.encoder_copy : encoder) : nullptr;
  bias.bfloat16 = own.bfloat16;
  bias.parts = pointer<float>(parts);
  bias.out = pointer<float>(of_b_dec);
  must(call.bias(bias, device, nullptr), "the gradient of b_dec");
  r.gradients = {{"W_enc_t", of_enc}, {"W_dec", of_dec}, {"b_enc", of_bias}, {"b_dec", of_b_dec}};
  if (c.skip) r.gradients["W_skip"] = product(at_out.select(0, 0).t(), x, s);
  return true;
}

}  // namespace microtome
