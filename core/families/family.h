// family.h — a model family: config.json → ModelConfig, and checkpoint tensor names → canonical names. One folder each;
// no branch on a family's name anywhere else. Free of LibTorch.
//
// Canonical names: embed.weight [vocab, d_model], pos_embed.weight [positions, d_model], blocks.{i}.ln1.weight|bias,
// blocks.{i}.attn.<mixer weight>, blocks.{i}.ln2.*, blocks.{i}.mlp.{gate,up,down}.{weight,bias} ([out, in]),
// blocks.{i}.mlp.shift.{up,receptance}, blocks.{i}.mlp.receptance.weight, blocks.{i}.{ln1_post,ln2_post}.*, embed.ln.*,
// ln_final.*, unembed.{weight,bias} ([vocab, d_model]; absent when tied), type_embed.weight [1, d_model],
// head.{weight,bias} [d_model, d_model]; of experts blocks.{i}.mlp.router.{weight,bias,correction} ([expert, d_model],
// [expert]), blocks.{i}.mlp.experts.{e}.{gate,up,down}.weight, blocks.{i}.mlp.shared.{gate,up,down}.weight,
// blocks.{i}.mlp.shared_gate.weight [1, d_model].
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/model/model_config.h"

namespace microtome {

// Where a canonical weight comes from: source[slice] (after transposing, when asked).
struct TensorBinding {
  std::string canonical;
  std::string source;                  // name in the checkpoint
  std::vector<int64_t> source_shape;   // expected there
  bool transpose = false;              // a [in, out] matrix that is kept as [out, in]
  int64_t begin = 0, length = -1;      // rows of the (transposed) matrix; -1: all
  bool optional = false;
  // The rows come in so many equal bundles, and begin and length count within each: q, k, v a head after the other.
  int64_t groups = 1;
  bool append = false;                 // further rows of a canonical weight that an earlier binding began
  std::vector<int64_t> view = {};      // how the source is read, before anything else; empty: as it is
  std::vector<int64_t> shape = {};     // what the result is reshaped to; empty: as it is. transpose swaps the last two axes

  // The shape under the canonical name.
  std::vector<int64_t> canonical_shape() const;
};

// What a checkpoint holds, for formats with optional prefixes or two layouts. Default-made: no checkpoint is there, every
// name counts as present and no shape is known.
class Stored {
 public:
  Stored() = default;
  using Shape = std::function<const std::vector<int64_t>*(const std::string& name)>;   // null: no such tensor
  explicit Stored(Shape shape) : shape_(std::move(shape)) {}
  bool operator()(const std::string& name) const { return !shape_ || shape_(name); }
  // Empty where it is not known.
  std::vector<int64_t> shape(const std::string& name) const {
    const std::vector<int64_t>* s = shape_ ? shape_(name) : nullptr;
    return s ? *s : std::vector<int64_t>();
  }

 private:
  Shape shape_;
};

struct Family {
  std::string name;
  std::vector<std::string> model_types;                // config.json's model_type values
  // Throws Error(kBadInput) naming the field, the value and what is allowed.
  std::function<ModelConfig(const Json& config, const std::string& where)> read_config;
  std::function<std::vector<TensorBinding>(const ModelConfig&, const Stored& has)> bind;
  // Checkpoint tensors that carry no information (mask buffers, rotary tables).
  std::function<bool(const std::string& name)> ignorable;
};

// Mixer weights are bound by the mixer's own specs: canonical "blocks.i.attn.X" from source prefix + X.
std::vector<TensorBinding> bind_mixer_weights(const LayerConfig& layer, int64_t d_model, const std::string& canonical_prefix,
                                              const std::string& source_prefix);
// ln weight and bias as the norm has them.
void bind_norm(std::vector<TensorBinding>& out, const NormConfig& norm, int64_t d_model, const std::string& canonical,
               const std::string& source);

}  // namespace microtome
