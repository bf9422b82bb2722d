// frozen_model.h — the local replacement model of one prompt (Ameisen et al. 2025, "Circuit tracing"): transcoders in place of
// MLPs, attention patterns (or the matrix a recurrence amounts to), gates and norm scales frozen at this prompt's values, and
// an error at each layer and position that makes up for what the transcoders miss. It gives what the model gives, and it is
// linear in features, errors and token embeddings, so that what each adds to each is one backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "analysis/feature_circuit/frozen_layer.h"
#include "analysis/feature_circuit/nodes.h"
#include "analysis/feature_circuit/transcoder_layers.h"

namespace microtome::feature_circuit {

struct FrozenOptions {
  MixerForm form = MixerForm::kAuto;
  bool leave_out_first = false;      // no features and no error at position 0: its MLP outputs are constants (circuit-tracer)
  int64_t max_features = 0;          // at most so many nodes, those that write most; the rest stay in the errors. 0: all
  int64_t max_logits = 10;
  double logit_mass = 0.95;          // so many of the likeliest tokens that their probabilities add up to it
};

// Immutable once made; thread-safe.
class FrozenModel {
 public:
  // tokens: ids of one prompt. Runs the model once. Throws Error(kUnsupported) for a layer that cannot be frozen, a residual
  // stream that is normalised between layers, a model that reads in both directions.
  FrozenModel(const Model& model, const std::vector<int64_t>& tokens, const TranscoderLayers& transcoders, const FrozenOptions& options);

  const NodeIndex& nodes() const { return *nodes_; }
  int64_t left_in_errors() const { return left_in_errors_; }        // active features beyond max_features
  const std::vector<int64_t>& logit_ids() const { return logit_ids_; }
  const std::vector<double>& logit_p() const { return logit_p_; }

  // What a target reads: a feature's encoder at read_hook(layer), a logit's row minus the mean row at unembed.hook_in. [d]
  at::Tensor reading(int64_t target) const;
  // Rows of the adjacency: for each target (features, logits) the numbers of NodeIndex::runs(target), one after another.
  std::vector<std::vector<float>> attribute(const std::vector<int64_t>& targets) const;

  // The same for a metric that reads `direction` [d] of unembed.hook_in at the last position: the numbers of runs(logit(0)).
  std::vector<float> attribute_direction(const at::Tensor& direction) const;

  // A forward pass with other activations of some features (node → activation), or without parts.
  struct Change {
    std::map<int64_t, double> activations;
    bool features = true, errors = true, tokens = true;
  };
  struct Values {
    std::vector<at::Tensor> read;              // a layer: [pos, d] at read_hook; undefined where there is no transcoder
    at::Tensor last;                           // unembed.hook_in [pos, d]
    std::vector<at::Tensor> stream;            // a layer: hook_resid_pre [pos, d]
  };
  Values run(const Change& change) const;
  Values run() const { return run(Change()); }
  // What the model itself gave.
  const Values& model_values() const { return seen_; }
  const at::Tensor& errors(int64_t layer) const { return errors_[static_cast<size_t>(layer)]; }   // [pos, d]
  // reading(target) · the value it reads: the pre-activation without the encoder's bias; the centred logit without biases.
  double value(int64_t target, const Values& values) const;

  const std::vector<FrozenMixer>& mixers() const { return mixers_; }
  // Every norm's divisor by its point ("blocks.2.ln1.hook_scale"): [pos, 1].
  std::vector<std::pair<std::string, at::Tensor>> norm_scales() const;
  const at::Tensor& embeddings() const { return embed_; }           // hook_embed [pos, d]
  // One step at a time, for paths (analysis/transcoder_circuit): gradients [n, d] at chosen positions (one a row).
  at::Tensor back_final(const at::Tensor& g, int64_t position) const;                   // unembed.hook_in → the last resid_post
  at::Tensor back_read(int64_t layer, const at::Tensor& g, int64_t position) const;     // read_hook → where the MLP reads the stream
  at::Tensor back_skip(int64_t layer, const at::Tensor& g, int64_t position) const;     // MLP output → stream, by the skip connection; undefined without
  at::Tensor back_embed(const at::Tensor& g, int64_t position) const;                   // the first resid_pre → hook_embed
  // Gradient g [d] of what joins the stream from the mixer at `position` → of hook_resid_pre by head and source: [head, position + 1, d].
  at::Tensor back_heads(int64_t layer, const at::Tensor& g, int64_t position) const;
  // What a node adds to the MLP output of a layer at its position: [d]; features only.
  at::Tensor write(int64_t feature_node, int64_t into) const;
  const TranscoderLayers& transcoders() const { return transcoders_; }
  const Model& model() const { return model_; }

 private:
  void find_features(const ActivationCache& cache, const FrozenOptions& options);
  void find_logits(const at::Tensor& logits, const FrozenOptions& options);
  std::vector<std::vector<float>> attribute(const std::vector<int64_t>& targets, const at::Tensor& direction) const;
  at::Tensor writes_from(int64_t from, int64_t into, int64_t first, int64_t count) const;
  void collect(int64_t into, const at::Tensor& g, const std::vector<int64_t>& targets, std::vector<std::vector<float>>& rows) const;
  at::Tensor read_back(int64_t layer, const at::Tensor& g) const;

  const Model& model_;
  const TranscoderLayers& transcoders_;
  int64_t layers_ = 0, pos_ = 0;
  std::vector<FrozenNorm> ln1_, post1_, ln2_;
  std::vector<FrozenMixer> mixers_;
  FrozenNorm embed_norm_, final_norm_;
  at::Tensor embed_, first_;                   // hook_embed [pos, d]; what else enters the stack (positions, token types)
  std::vector<at::Tensor> errors_, constants_, written_;   // a layer [pos, d]: written_ is the sum over features
  std::unique_ptr<NodeIndex> nodes_;
  std::vector<int64_t> logit_ids_;
  std::vector<double> logit_p_;
  at::Tensor unembed_, mean_row_;              // [vocab, d] as stored, [d]
  Values seen_;
  int64_t left_in_errors_ = 0;
};

}  // namespace microtome::feature_circuit
