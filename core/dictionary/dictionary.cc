#include "core/dictionary/dictionary.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/base/quote.h"
#include "core/dictionary/kinds/parts.h"

namespace microtome {
namespace {

std::string shape_text(c10::IntArrayRef shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

}  // namespace

const at::Tensor& Dictionary::weight(const std::string& name) const {
  auto it = weights.find(name);
  if (it == weights.end()) throw Error(StatusCode::kInternal, "the dictionary has no tensor '" + name + "'", config.name);
  return it->second;
}

c10::Device Dictionary::device() const { return weight("W_enc").device(); }

Dictionary Dictionary::to(c10::Device device, at::ScalarType dtype) const {
  Dictionary out;
  out.config = config;
  for (const auto& [name, w] : weights) out.weights[name] = w.to(device, dtype);
  return out;
}

Dictionary::Normalised Dictionary::normalise(const at::Tensor& x) const {
  Normalised n;
  n.x = x;
  if (config.normalize == "layer_norm") {
    n.mean = x.mean(-1, true);
    at::Tensor centred = x - n.mean;
    n.scale = at::std(centred, {-1}, true, true);
    n.x = centred / (n.scale + 1e-5);
  } else if (config.normalize == "constant_norm_rescale") {
    n.scale = x.norm(2, -1, true) / std::sqrt(static_cast<double>(config.d_in));
    n.x = x / n.scale;
  } else if (config.normalize == "expected_average_only_in") {
    n.x = x * config.norm_factor;
  }
  return n;
}

at::Tensor Dictionary::encode(const at::Tensor& x, at::Tensor* pre) const {
  return dictionary_kinds::builtin().get(config.kind).encode(*this, dictionary_kinds::centred(*this, normalise(x).x), pre);
}

SparseCodes Dictionary::encode_sparse(const at::Tensor& x, int64_t most) const {
  at::Tensor codes = encode(x);
  auto [values, features] = codes.topk(std::min(most, codes.size(1)), 1);
  return {features, values};
}

namespace {

at::Tensor finish(const Dictionary& d, at::Tensor out, const at::Tensor& x) {
  const DictionaryConfig& c = d.config;
  Dictionary::Normalised n;
  if (c.skip || c.normalize != "none") {
    if (!x.defined()) throw Error(StatusCode::kInternal, "this dictionary's output depends on its input", c.name);
    n = d.normalise(x);
  }
  if (c.skip) out = out + n.x.matmul(d.weight("W_skip").t());
  // An SAE gives what it read, in its units; a transcoder's output has units of its own.
  if (c.transcoder) return out;
  if (c.normalize == "expected_average_only_in") return out / c.norm_factor;
  if (n.scale.defined()) out = out * n.scale;
  if (n.mean.defined()) out = out + n.mean;
  return out;
}

}  // namespace

at::Tensor Dictionary::directions() const {
  const at::Tensor& w = weight("W_dec");
  return config.rescale_acts_by_decoder_norm ? w / dictionary_kinds::decoder_norms(*this).clamp_min(1e-12).unsqueeze(1) : w;
}

at::Tensor Dictionary::decode(const at::Tensor& codes, const at::Tensor& x) const {
  at::Tensor f = config.rescale_acts_by_decoder_norm ? codes / dictionary_kinds::decoder_norms(*this).clamp_min(1e-12) : codes;
  return finish(*this, f.matmul(weight("W_dec")) + weight("b_dec"), x);
}

at::Tensor Dictionary::decode(const SparseCodes& codes, const at::Tensor& x) const {
  const int64_t n = codes.features.size(0), most = codes.features.size(1);
  at::Tensor values = codes.values;
  if (config.rescale_acts_by_decoder_norm) values = values / dictionary_kinds::decoder_norms(*this).clamp_min(1e-12).index_select(0, codes.features.flatten()).view_as(values);
  at::Tensor offsets = at::arange(n, codes.features.options()) * most;
  at::Tensor sum = std::get<0>(at::embedding_bag(weight("W_dec"), codes.features.flatten(), offsets, false, 0, false, values.flatten()));
  return finish(*this, sum + weight("b_dec"), x);
}

void check_dictionary(const Dictionary& d, const std::string& where) {
  const DictionaryConfig& c = d.config;
  auto bad = [&](const std::string& what) { throw Error(StatusCode::kBadInput, what, where, "get the dictionary again from its source"); };
  constexpr int64_t kMost = int64_t{1} << 31;
  if (c.d_in <= 0 || c.d_out <= 0 || c.d_sae <= 0 || c.d_in > kMost || c.d_out > kMost || c.d_sae > kMost) bad("the dictionary's sizes are not positive numbers");
  if (!c.transcoder && c.d_in != c.d_out) bad("an autoencoder reads " + std::to_string(c.d_in) + " numbers and gives " + std::to_string(c.d_out));
  const DictionaryKind& kind = dictionary_kinds::builtin().get(c.kind);
  if (c.normalize != "none" && c.normalize != "layer_norm" && c.normalize != "constant_norm_rescale" && c.normalize != "expected_average_only_in")
    bad("the normalisation " + in_quotes(c.normalize.substr(0, 60)) + " is not known");
  if (!(c.norm_factor > 0) || !std::isfinite(c.norm_factor)) bad("the normalisation factor is not a positive number");
  if ((c.kind == "topk" || kind.batch_wise()) && (c.k < 1 || c.k > c.d_sae)) bad("k is " + std::to_string(c.k) + ", but lies between 1 and the number of features");
  for (size_t i = 0; i < c.nested.size(); ++i)
    if (c.nested[i] < 1 || c.nested[i] >= c.d_sae || (i && c.nested[i] <= c.nested[i - 1])) bad("the sizes of the inner dictionaries do not grow towards the whole");
  std::vector<std::pair<std::string, std::vector<int64_t>>> expected = {{"W_enc", {c.d_in, c.d_sae}}, {"W_dec", {c.d_sae, c.d_out}}, {"b_dec", {c.d_out}}};
  for (auto& own : kind.own_weights(c)) expected.push_back(own);
  if (c.skip) expected.push_back({"W_skip", {c.d_out, c.d_in}});
  if (d.has("W_dec_later")) {
    const at::Tensor& later = d.weight("W_dec_later");
    if (later.dim() != 3) bad("tensor 'W_dec_later' is not [layers, d_sae, d_out]");
    expected.push_back({"W_dec_later", {later.size(0), c.d_sae, c.d_out}});
  }
  for (const auto& [name, shape] : expected) {
    if (!d.has(name)) bad("the dictionary of kind " + c.kind + " has no tensor '" + name + "'");
    const at::Tensor& w = d.weight(name);
    if (w.sizes() != c10::IntArrayRef(shape)) bad("tensor '" + name + "' is " + shape_text(w.sizes()) + " instead of " + shape_text(shape));
    if (!at::isfinite(w).all().item<bool>()) bad("tensor '" + name + "' holds NaN or infinite numbers");
  }
}

bool DictionarySet::cross_layer() const {
  return std::any_of(members.begin(), members.end(), [](const Dictionary& d) { return d.has("W_dec_later"); });
}

int64_t layer_of_hook(const std::string& hook) {
  constexpr std::string_view kPrefix = "blocks.";
  if (hook.compare(0, kPrefix.size(), kPrefix) != 0) return -1;
  int64_t layer = -1;
  const char *from = hook.data() + kPrefix.size(), *end = hook.data() + hook.size();
  auto [next, error] = std::from_chars(from, end, layer);
  return error == std::errc() && next != end && *next == '.' && layer >= 0 ? layer : -1;
}

}  // namespace microtome
