#include "core/training/sparse_loss.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/dictionary/kinds/parts.h"
#include "core/training/sparse_product.h"

namespace microtome {
namespace {

using dictionary_kinds::product;

// Entries that the k strongest of every row, or of the batch, give: flat places and values, negative ones 0.
std::pair<at::Tensor, at::Tensor> choose(const DictionaryConfig& c, const at::Tensor& scaled) {
  const int64_t n = scaled.size(0), width = scaled.size(1);
  if (c.kind == "topk") {
    auto [values, columns] = scaled.topk(std::min(c.k, width), 1, true, false);
    at::Tensor rows = at::arange(n, columns.options()).unsqueeze(1) * width;
    return {(columns + rows).flatten(), values.relu().flatten()};
  }
  auto [values, flat] = scaled.flatten().topk(std::min(c.k * n, scaled.numel()), 0, true, false);
  return {flat, values.relu()};
}

struct Sums {
  const Dictionary& d;
  const at::Tensor& encoder;
  at::Tensor centred;                        // what the encoder read
  SparseLoss& out;

  // Codes by gradient `at_pre` of their pre-activations.
  void add_encoder(const SparseBatch& codes, const at::Tensor& at_pre) {
    sparse_scatter(codes, at_pre, centred, out.gradients["W_enc_t"]);
    out.gradients["b_enc"].add_(sparse_column_sums(codes, at_pre));
  }
};

// The dead features' part: see dictionary_kinds::auxiliary_loss. Adds to the gradients and gives the loss.
at::Tensor add_auxiliary(Sums& sums, const at::Tensor& scaled, const at::Tensor& norms, const at::Tensor& out, const at::Tensor& target, const LossSettings& s) {
  const int64_t dead = s.dead.defined() && s.aux != 0 ? s.dead.sum().item<int64_t>() : 0;
  if (dead == 0) return {};
  const Dictionary& d = sums.d;
  const int64_t n = target.size(0), wanted = std::max<int64_t>(1, target.size(1) / 2), used = std::min(wanted, dead);
  const double weight = s.aux * std::min(static_cast<double>(dead) / static_cast<double>(wanted), 1.0);
  at::Tensor places = s.dead.nonzero().flatten();
  auto [values, which] = scaled.index_select(1, places).topk(used, 1, true, false);
  at::Tensor columns = places.index_select(0, which.flatten());
  at::Tensor flat = columns + (at::arange(n, columns.options()) * d.config.d_sae).repeat_interleave(used);
  const SparseBatch codes = sparse_batch(flat, values.flatten(), n, d.config.d_sae);
  at::Tensor error = sparse_decode(codes, d.weight("W_dec")) - (target - out);
  at::Tensor at_out = error * (2 * weight / static_cast<double>(n));
  at::Tensor at_codes = sparse_dot(codes, at_out, d.weight("W_dec"));
  sparse_scatter(codes, codes.value, at_out, sums.out.gradients["W_dec"]);
  if (norms.defined()) {
    // Codes are pre · ‖W_dec‖: part of their gradient is the norm's.
    at::Tensor of_entry = norms.index_select(0, codes.column);
    at::Tensor at_norm = sparse_column_sums(codes, at_codes * codes.value / of_entry);
    sums.out.gradients["W_dec"].add_(d.weight("W_dec") * (at_norm / norms.clamp_min(1e-12)).unsqueeze(1));
    at_codes = at_codes * of_entry;
  }
  sums.add_encoder(codes, at_codes);
  return weight * error.square().sum(1).mean();
}

}  // namespace

bool has_sparse_loss(const DictionaryConfig& c) { return c.kind == "topk" || c.kind == "batchtopk" || c.kind == "matryoshka"; }

SparseLoss sparse_loss(const Dictionary& d, const at::Tensor& encoder, const at::Tensor& x, const at::Tensor& target, const LossSettings& s) {
  const DictionaryConfig& c = d.config;
  const int64_t n = x.size(0);
  SparseLoss r;
  const at::Tensor& decoder = d.weight("W_dec");
  Sums sums{d, encoder, dictionary_kinds::centred(d, x), r};
  at::Tensor pre = product(sums.centred, encoder.t(), s).add_(d.weight("b_enc"));
  at::Tensor norms = c.rescale_acts_by_decoder_norm ? dictionary_kinds::decoder_norms(d) : at::Tensor();
  at::Tensor scaled = norms.defined() ? pre * norms : pre;
  auto [flat, values] = choose(c, scaled);
  SparseBatch codes = sparse_batch(flat, values, n, c.d_sae);
  at::Tensor active = codes.value.gt(0);
  r.smallest = at::where(active, codes.value, at::full({}, std::numeric_limits<float>::infinity(), codes.value.options())).amin();
  r.l0 = active.sum().to(at::kFloat) / static_cast<double>(n);
  r.fired = sparse_column_sums(codes, active.to(at::kFloat)).gt(0.5);
  // From here on in W_dec's own units. Scaling and unscaling cancel in the gradient too: the norm only chooses.
  if (norms.defined()) codes.value = (codes.value / norms.index_select(0, codes.column).clamp_min(1e-12)).contiguous();

  for (const char* name : {"W_dec", "b_enc"}) r.gradients[name] = at::zeros_like(d.weight(name));
  r.gradients["W_enc_t"] = at::zeros_like(encoder);
  at::Tensor rest = c.skip ? product(x, d.weight("W_skip").t(), s) : at::Tensor(), partial = rest.defined() ? rest + d.weight("b_dec") : d.weight("b_dec").expand({n, c.d_out});
  // The whole is the last of the nested dictionaries, and the only one of the other kinds.
  std::vector<int64_t> sizes = c.kind == "matryoshka" ? c.nested : std::vector<int64_t>();
  sizes.push_back(c.d_sae);
  std::vector<at::Tensor> values_of, errors;
  int64_t from = 0;
  for (int64_t size : sizes) {
    SparseBatch part = codes;
    if (sizes.size() > 1) part.value = codes.value * codes.column.ge(from).logical_and(codes.column.lt(size));
    values_of.push_back(part.value);
    partial = partial + sparse_decode(part, decoder);
    errors.push_back(partial - target);
    from = size;
  }
  const at::Tensor& out = partial;
  r.mse = errors.back().square().sum(1).mean();
  r.loss = r.mse;
  for (size_t i = 0; i + 1 < errors.size(); ++i) r.loss = r.loss + errors[i].square().sum(1).mean();
  // A stretch of features is part of its own dictionary and of all larger ones.
  at::Tensor at_codes = at::zeros_like(codes.value), at_out;
  for (size_t i = errors.size(); i-- > 0;) {
    at::Tensor here = errors[i] * (2.0 / static_cast<double>(n));
    at_out = at_out.defined() ? at_out + here : here;
    at::Tensor dot = sparse_dot(codes, at_out, decoder);
    if (errors.size() > 1) dot = dot * values_of[i].ne(0);
    at_codes = at_codes + dot;
    sparse_scatter(codes, values_of[i], at_out, r.gradients["W_dec"]);
  }
  sums.add_encoder(codes, at_codes * active);
  if (at::Tensor aux = add_auxiliary(sums, scaled, norms, out, target, s); aux.defined()) r.loss = r.loss + aux;
  r.gradients["b_dec"] = at_out.sum(0);
  if (c.apply_b_dec_to_input) r.gradients["b_dec"] = r.gradients["b_dec"] - r.gradients["b_enc"].unsqueeze(0).matmul(encoder).squeeze(0);
  if (c.skip) r.gradients["W_skip"] = product(at_out.t(), x, s);
  return r;
}

}  // namespace microtome
