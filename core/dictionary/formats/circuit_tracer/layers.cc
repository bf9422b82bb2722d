#include "core/dictionary/formats/circuit_tracer/layers.h"

#include <ATen/ATen.h>

#include "core/dictionary/formats/files.h"

namespace microtome::dictionary_formats::circuit_tracer {
namespace {

constexpr const char* kThreshold = "activation_function.threshold";

// Codes are pre · (pre > θ): below 0 they would be negative, which no dictionary here has.
void set_threshold(Dictionary& d, at::Tensor threshold, const std::string& where) {
  d.config.kind = "jumprelu";
  if (threshold.numel() > 0 && threshold.min().item<double>() < 0)
    throw Error(StatusCode::kUnsupported, "a threshold is below 0, under which codes become negative", where, "codes are at least 0 here");
  d.weights["threshold"] = std::move(threshold);
}

// W_dec_N [d_sae, n - i, d_out]: into its own layer and each later one.
void set_decoders(Dictionary& d, const at::Tensor& all) {
  d.weights["W_dec"] = all.select(1, 0).contiguous();
  if (all.size(1) > 1) d.weights["W_dec_later"] = all.slice(1, 1).permute({1, 0, 2}).contiguous();
}

void read_own(Dictionary& d, TensorSource& source) {
  const int64_t d_sae = source.size("W_enc", 0, 2), d_in = source.size("W_enc", 1, 2);
  d.weights["W_enc"] = source.take("W_enc", {d_sae, d_in}).t();
  d.weights["W_dec"] = source.take("W_dec", {d_sae, d_in});
  d.weights["b_enc"] = source.take("b_enc", {d_sae});
  d.weights["b_dec"] = source.take("b_dec", {d_in});
  if (source.has(kThreshold)) set_threshold(d, source.take(kThreshold, {d_sae}), source.where());
  if ((d.config.skip = source.has("W_skip"))) d.weights["W_skip"] = source.take("W_skip", {d_in, d_in});
}

void read_cross_layer(Dictionary& d, TensorSource& source, const Layer& layer, int64_t i, int64_t n) {
  const std::string k = std::to_string(i);
  const int64_t d_sae = source.size("W_enc_" + k, 0, 2), d_in = source.size("W_enc_" + k, 1, 2);
  d.weights["W_enc"] = source.take("W_enc_" + k, {d_sae, d_in}).t();
  d.weights["b_enc"] = source.take("b_enc_" + k, {d_sae});
  d.weights["b_dec"] = source.take("b_dec_" + k, {d_in});
  if (source.has("threshold_" + k)) set_threshold(d, source.take("threshold_" + k, {d_sae}), source.where());
  TensorSource decoder = TensorSource::safetensors(layer.decoder.string());
  set_decoders(d, decoder.take("W_dec_" + k, {d_sae, n - i, d_in}));
  decoder.done("a cross-layer transcoder of circuit-tracer");
}

// Gemma Scope: W_enc [d_in, d_sae] in npz; Gemma Scope 2: the same in small letters, with its skip connection transposed.
void read_gemma(Dictionary& d, TensorSource& source, bool cross_layer, int64_t i, int64_t n) {
  const bool second = source.has("w_enc");
  const char* enc = second ? "w_enc" : "W_enc";
  const char* dec = second ? "w_dec" : "W_dec";
  const int64_t d_in = source.size(enc, 0, 2), d_sae = source.size(enc, 1, 2);
  d.weights["W_enc"] = source.take(enc, {d_in, d_sae});
  const int64_t d_out = source.size(dec, cross_layer ? 2 : 1, cross_layer ? 3 : 2);
  if (cross_layer) set_decoders(d, source.take(dec, {d_sae, n, d_out}).slice(1, i));
  else d.weights["W_dec"] = source.take(dec, {d_sae, d_out});
  d.weights["b_enc"] = source.take("b_enc", {d_sae});
  d.weights["b_dec"] = source.take("b_dec", {d_out});
  set_threshold(d, source.take("threshold", {d_sae}), source.where());
  if ((d.config.skip = source.has("affine_skip_connection"))) d.weights["W_skip"] = source.take("affine_skip_connection", {d_in, d_out}).t();
}

}  // namespace

Dictionary read_layer(const Layer& layer, int64_t i, int64_t n, bool cross_layer) {
  const std::string file = layer.encoder.string();
  const bool npz = layer.encoder.extension() == ".npz";
  TensorSource source = npz ? TensorSource::npz(file) : TensorSource::safetensors(file);
  Dictionary d;
  d.config.transcoder = true;
  d.config.apply_b_dec_to_input = false;
  if (npz || source.has("w_enc")) read_gemma(d, source, cross_layer, i, n);
  else if (!cross_layer) read_own(d, source);
  else if (layer.decoder.empty()) throw Error(StatusCode::kBadInput, "tensor 'w_enc' is missing", file, "listed files of a cross-layer transcoder are Gemma Scope 2's");
  else read_cross_layer(d, source, layer, i, n);
  source.done("a transcoder of circuit-tracer");
  return d;
}

void write_layer(const Dictionary& d, const std::filesystem::path& file) {
  NamedTensors out = {{"W_enc", d.weight("W_enc").t()}, {"W_dec", d.weight("W_dec")}, {"b_enc", d.weight("b_enc")}, {"b_dec", d.weight("b_dec")}};
  if (d.has("threshold")) out.push_back({kThreshold, d.weight("threshold")});
  if (d.config.skip) out.push_back({"W_skip", d.weight("W_skip")});
  write_tensors(file, out);
}

void write_cross_layer(const Dictionary& d, const std::string& k, const std::filesystem::path& encoder, const std::filesystem::path& decoder) {
  NamedTensors out = {{"W_enc_" + k, d.weight("W_enc").t()}, {"b_enc_" + k, d.weight("b_enc")}, {"b_dec_" + k, d.weight("b_dec")}};
  if (d.has("threshold")) out.push_back({"threshold_" + k, d.weight("threshold")});
  write_tensors(encoder, out);
  at::Tensor all = d.weight("W_dec").unsqueeze(1);
  if (d.has("W_dec_later")) all = at::cat({all, d.weight("W_dec_later").permute({1, 0, 2})}, 1);
  write_tensors(decoder, {{"W_dec_" + k, all}});
}

}  // namespace microtome::dictionary_formats::circuit_tracer
