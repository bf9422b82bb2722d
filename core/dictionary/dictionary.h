// dictionary.h — a sparse dictionary of a model's activations: a sparse autoencoder (SAE), which gives back what it reads, or
// a transcoder, which reads one point and gives another. Inference; training is in core/training. Definitions: the kinds'
// README.md files; the names of weights and of kinds are SAELens's.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace microtome {

struct DictionaryConfig {
  std::string kind = "standard";             // a folder of core/dictionary/kinds: standard gated topk batchtopk jumprelu matryoshka
  int64_t d_in = 0, d_out = 0, d_sae = 0;
  bool transcoder = false;                   // reads hook_in, gives hook_out; else it gives back what it reads
  bool skip = false;                         // transcoder: out += x W_skipᵀ
  bool apply_b_dec_to_input = true;          // SAE: the encoder reads x - b_dec
  // "none"; "layer_norm": x standardised over its width (eps 1e-5 on the deviation), out scaled back;
  // "expected_average_only_in": x times norm_factor, out divided by it; "constant_norm_rescale": x scaled to norm √d_in, out
  // scaled back.
  std::string normalize = "none";
  double norm_factor = 1;
  bool rescale_acts_by_decoder_norm = false; // topk: pre-activations times the norms of W_dec's rows before the choice, codes in these units
  int64_t k = 0;                             // topk, batchtopk, matryoshka: active features a token (mean, for the last two)
  std::vector<int64_t> nested;               // matryoshka: sizes of the inner dictionaries, ascending, without d_sae
  std::string hook_in, hook_out;             // points of the model ("blocks.3.mlp.hook_in"); an SAE has one, in both
  std::string name, model, weights_hash;     // of the dictionary; the model it was trained on and its weights' hash, where known
  std::string dtype = "float32";             // of the weights in the file
  // Fields of the file it was read from that nothing here needs, as JSON text, with the format's name: writing the same
  // format again loses nothing.
  std::string format, extra = "{}";
};

// The active features of some tokens: n rows of at most `most` features, strongest first, unused places with value 0.
struct SparseCodes {
  at::Tensor features, values;               // [n, most] int64, and values' type
};

// Weights by SAELens's names, all of one type on one device:
//   W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_out], b_dec [d_out]
//   threshold [d_sae]                        jumprelu, and the inference form of batchtopk and matryoshka
//   b_gate, r_mag, b_mag [d_sae]             gated, which has no b_enc
//   W_skip [d_out, d_in]                     transcoders with a skip connection
//   W_dec_later [n, d_sae, d_out]            cross-layer transcoders: what the features write into the n layers after their own
// Copies share the tensors. Immutable use is thread-safe.
struct Dictionary {
  DictionaryConfig config;
  std::map<std::string, at::Tensor> weights;

  const at::Tensor& weight(const std::string& name) const;    // throws Error(kInternal) where absent
  bool has(const std::string& name) const { return weights.count(name) != 0; }
  c10::Device device() const;
  Dictionary to(c10::Device device, at::ScalarType dtype) const;

  // What the encoder reads, and what is needed to scale the output back; x [n, d_in] → [n, d_in].
  struct Normalised { at::Tensor x, scale, mean; };            // scale, mean: [n, 1] or undefined
  Normalised normalise(const at::Tensor& x) const;
  // x [n, d_in] → codes [n, d_sae] ≥ 0. `pre`: where not null, what the activation function was given [n, d_sae].
  at::Tensor encode(const at::Tensor& x, at::Tensor* pre = nullptr) const;
  SparseCodes encode_sparse(const at::Tensor& x, int64_t most) const;   // most: at most so many a row, the strongest
  // codes [n, d_sae] → [n, d_out]. x: what encode() read; needed for a skip connection and for normalisation that depends
  // on the input, else it may be undefined.
  at::Tensor decode(const at::Tensor& codes, const at::Tensor& x) const;
  at::Tensor decode(const SparseCodes& codes, const at::Tensor& x) const;
  at::Tensor forward(const at::Tensor& x) const { return decode(encode(x), x); }
  // What one unit of feature i's code adds to the output, without b_dec: rows of W_dec in units of the codes [d_sae, d_out].
  at::Tensor directions() const;
};

// Checks kind, shapes, types and that every number is finite; throws Error(kBadInput) naming `where` and the tensor.
void check_dictionary(const Dictionary& d, const std::string& where);

// A transcoder a layer, or the layers of a cross-layer transcoder, ascending; an SAE is a set of one. `layers`: the layer
// each member reads, -1 where its hook names none.
struct DictionarySet {
  std::string name, format;                  // as read: "saelens", "circuit_tracer" …
  std::vector<Dictionary> members;
  std::vector<int64_t> layers;
  bool cross_layer() const;
};
int64_t layer_of_hook(const std::string& hook);   // "blocks.3.mlp.hook_in" → 3; -1: none

}  // namespace microtome
