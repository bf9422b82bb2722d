// made.h — small dictionaries with numbers that repeat, and what they compute written out from the definitions of the kinds,
// apart from the code under test.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "core/dictionary/dictionary.h"

namespace microtome::testing {

inline at::Tensor wave(std::initializer_list<int64_t> shape, double phase, double scale = 1) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return (at::sin(at::arange(n, at::kDouble) * 12.9898 + phase) * scale).to(at::kFloat).view(at::IntArrayRef(shape.begin(), shape.size()));
}

struct Sizes {
  int64_t d_in = 6, d_sae = 10, d_out = 6;
};

// Weights of a kind at SAELens's names; topk has k 3.
inline Dictionary made(const std::string& kind, bool transcoder = false, bool skip = false, double phase = 0, Sizes n = {}) {
  Dictionary d;
  DictionaryConfig& c = d.config;
  c.kind = kind;
  c.d_in = n.d_in, c.d_sae = n.d_sae, c.d_out = n.d_out;
  c.transcoder = transcoder;
  c.skip = skip;
  c.apply_b_dec_to_input = !transcoder;
  c.name = "made";
  c.model = "tiny";
  c.hook_in = transcoder ? "blocks.0.mlp.hook_in" : "blocks.0.hook_resid_post";
  c.hook_out = transcoder ? "blocks.0.hook_mlp_out" : c.hook_in;
  if (kind == "topk") c.k = 3;
  d.weights["W_enc"] = wave({n.d_in, n.d_sae}, phase + 1);
  d.weights["W_dec"] = wave({n.d_sae, n.d_out}, phase + 2);
  d.weights["b_dec"] = wave({n.d_out}, phase + 3, 0.2);
  if (kind == "gated") {
    d.weights["b_gate"] = wave({n.d_sae}, phase + 4, 0.3);
    d.weights["r_mag"] = wave({n.d_sae}, phase + 5, 0.3);
    d.weights["b_mag"] = wave({n.d_sae}, phase + 6, 0.3);
  } else {
    d.weights["b_enc"] = wave({n.d_sae}, phase + 7, 0.3);
  }
  if (kind == "jumprelu") d.weights["threshold"] = wave({n.d_sae}, phase + 8, 0.2).abs() + 0.1;
  if (skip) d.weights["W_skip"] = wave({n.d_out, n.d_in}, phase + 9, 0.5);
  return d;
}

// The layers of a cross-layer transcoder: layer i writes into itself and all later ones.
inline DictionarySet made_cross_layer(int64_t layers, bool thresholds) {
  DictionarySet set;
  set.name = "made";
  for (int64_t i = 0; i < layers; ++i) {
    Dictionary d = made(thresholds ? "jumprelu" : "standard", true, false, static_cast<double>(10 * i));
    const std::string block = "blocks." + std::to_string(i) + ".";
    d.config.name = "layer_" + std::to_string(i);
    d.config.hook_in = block + "hook_resid_mid";
    d.config.hook_out = block + "hook_mlp_out";
    if (i + 1 < layers) d.weights["W_dec_later"] = wave({layers - 1 - i, d.config.d_sae, d.config.d_out}, static_cast<double>(100 + i));
    set.members.push_back(std::move(d));
    set.layers.push_back(i);
  }
  return set;
}

struct Naive {
  at::Tensor codes, out;               // float64
};

// kinds/*/README.md, without normalisation.
inline Naive naive(const Dictionary& given, const at::Tensor& x_float) {
  const DictionaryConfig& c = given.config;
  std::map<std::string, at::Tensor> w;
  for (const auto& [name, t] : given.weights) w[name] = t.to(at::kDouble);
  const at::Tensor x = x_float.to(at::kDouble);
  const at::Tensor read = c.apply_b_dec_to_input ? x - w["b_dec"] : x;
  at::Tensor pre = at::matmul(read, w["W_enc"]), codes, scale = at::ones({c.d_sae}, x.options());
  if (c.kind == "gated") {
    codes = (pre + w["b_gate"] > 0).to(at::kDouble) * at::relu(pre * w["r_mag"].exp() + w["b_mag"]);
  } else {
    pre = pre + w["b_enc"];
    if (c.rescale_acts_by_decoder_norm) scale = w["W_dec"].norm(2, {-1});
    pre = pre * scale;
    codes = at::relu(pre);
    if (c.kind == "topk") {
      const at::Tensor least = std::get<0>(at::topk(pre, c.k, 1)).select(1, c.k - 1).unsqueeze(1);
      codes = codes * (pre >= least).to(at::kDouble);
    } else if (w.count("threshold")) {
      codes = codes * (pre > w["threshold"]).to(at::kDouble);
    }
  }
  at::Tensor out = at::matmul(codes / scale, w["W_dec"]) + w["b_dec"];
  if (c.skip) out = out + at::matmul(x, w["W_skip"].t());
  return {codes, out};
}

// Tokens for which the codes are not all zero.
inline at::Tensor some_inputs(int64_t d_in = 6, int64_t n = 9) { return wave({n, d_in}, 0.5, 1.5); }

}  // namespace microtome::testing
