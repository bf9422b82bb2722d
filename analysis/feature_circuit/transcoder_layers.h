// transcoder_layers.h — a set of transcoders laid onto a model's layers: which one stands in for a layer's MLP, where it reads
// in the block, what a feature's encoder reads and what its decoder writes into which layer. Layers without one keep their
// MLP's output whole, as an error node.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/dictionary/dictionary.h"
#include "core/model/model.h"

namespace microtome::feature_circuit {

// Where a transcoder reads, seen from the stream: before the MLP's norm, behind its division, or behind its gain and bias.
enum class ReadAt { kStream, kDivided, kNormed };

class TranscoderLayers {
 public:
  // Moves the weights to the model's device, in float32 (float64 for a model in float64). Throws Error(kBadInput): an SAE, no
  // layer in the hook, a layer the model lacks or that has two, another width than the model's, a hook that is not an MLP's
  // input or output; Error(kUnsupported): input normalisation that depends on each input (nothing then is linear).
  TranscoderLayers(const Model& model, const DictionarySet& set);

  bool has(int64_t layer) const { return member_[static_cast<size_t>(layer)] >= 0; }
  const Dictionary& at(int64_t layer) const { return members_[static_cast<size_t>(member_[static_cast<size_t>(layer)])]; }
  int64_t covered() const { return static_cast<int64_t>(members_.size()); }
  bool cross_layer() const { return cross_layer_; }
  const std::string& name() const { return name_; }
  const std::string& read_hook(int64_t layer) const { return hooks_[static_cast<size_t>(layer)]; }
  ReadAt read_at(int64_t layer) const { return read_at_[static_cast<size_t>(layer)]; }

  // Does a feature of layer `from` write into the MLP output of layer `into`?
  bool writes(int64_t from, int64_t into) const;
  // What the pre-activations of features (n ids) read at read_hook: [n, d_model].
  at::Tensor encoders(int64_t layer, const at::Tensor& features) const;
  // What one unit of activation adds to the MLP output of layer `into`: [n, d_model].
  at::Tensor writes_of(int64_t from, int64_t into, const at::Tensor& features) const;
  // [d_model out, d_model in] of what read_hook gives, or undefined.
  at::Tensor skip(int64_t layer) const;
  // Codes of x [n, d_model] as read_hook gives it: [n, d_sae].
  at::Tensor encode(int64_t layer, const at::Tensor& x) const { return at(layer).encode(x); }

 private:
  std::string name_;
  std::vector<Dictionary> members_;
  std::vector<int64_t> member_;              // a layer; -1: none
  std::vector<std::string> hooks_;
  std::vector<ReadAt> read_at_;
  bool cross_layer_ = false;
};

}  // namespace microtome::feature_circuit
