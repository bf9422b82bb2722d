// binder.h — collects the bindings of a family: where each canonical weight comes from.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/families/family.h"

namespace microtome::families {

// Canonical prefix → the checkpoint's, for mixer weights: {{"o_proj", "dense"}}.
using Renames = std::vector<std::pair<std::string, std::string>>;

class Binder {
 public:
  explicit Binder(const ModelConfig& config) : c_(config) {}

  TensorBinding& add(std::string canonical, std::string source, std::vector<int64_t> shape);
  // weight [out, in] and, with bias, bias [out]. stored_in_out: the checkpoint has [in, out] (GPT-2's Conv1D).
  void linear(const std::string& canonical, const std::string& source, int64_t out, int64_t in, bool bias,
              bool stored_in_out = false);
  void norm(const NormConfig& norm, const std::string& canonical, const std::string& source);
  // All weights of layer i's mixer, from source + its name after renaming; those with a prefix in `except` are left out.
  void mixer(size_t i, const std::string& source, const Renames& renames = {}, const std::vector<std::string>& except = {});
  // q, k and v in one matrix: one after the other, or a head after the other with its q, k and v.
  enum class Fused { kOneAfterOther, kByHead };
  void fused_qkv(size_t i, const std::string& source, Fused how, bool stored_in_out = false);
  // The short convolutions of q, k and v: rows of one depthwise weight, or a weight each below `source` ({q,k,v}_conv1d).
  // Of three, both their true widths and equal thirds of all channels are read (transformers saves some so).
  void fused_conv(size_t i, const std::string& source);
  void split_conv(size_t i, const std::string& source, const Stored& stored);
  // The dense channel mixer of layer i (up and down, and gate where it is gated) by the names below `source`.
  void mlp(size_t i, const std::string& source, const std::string& gate, const std::string& up, const std::string& down,
           bool stored_in_out = false);
  // Routed experts of layer i: source + router + ".weight", source + "experts.E." + a name.
  void experts(size_t i, const std::string& source, const std::string& router, const std::string& gate,
               const std::string& up, const std::string& down);
  // unembed.weight, unless tied, and its bias.
  void unembedding(const std::string& source);

  static std::string block(size_t i) { return "blocks." + std::to_string(i) + "."; }
  std::vector<TensorBinding> take() { return std::move(out_); }

 private:
  // Channels of q, k, v, and the width of their convolutions.
  struct Conv {
    int64_t channels[3], all, width;
  };
  Conv conv_of(size_t i) const;

  const ModelConfig& c_;
  std::vector<TensorBinding> out_;
};

}  // namespace microtome::families
