// model.h — one generic model runs every family: embedding, blocks (norm, token mixer, norm, channel mixer), final norm,
// unembedding, with every hook point of the catalogue.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cache/activation_cache.h"
#include "core/hooks/hook_plan.h"
#include "core/mixers/token_mixer.h"
#include "core/model/model_config.h"

namespace microtome {

// What the layers must remember between two runs over one sequence, and where a run starts.
struct RunState {
  std::vector<MixerState> layers;      // as many as the model has; empty: before the first token
  int64_t position = 0;                // absolute position of the next token
  // To resume inside the stack: blocks before first_layer are not run; residual [batch, pos, d_model] is what enters
  // first_layer (its resid_pre). Both are cleared by the run.
  int64_t first_layer = 0;
  at::Tensor residual;
  int64_t length = 0;                  // of the whole sequence, where this run is a part of a known one (angles may depend on it)
  bool keep = true;                    // false: leave `layers` and `position` as they were (prefix shared by many runs)

  // Rows of every layer's tensors: copies of row i of the prefix for each index, e.g. {0,0,1,1}. No copy where one row
  // is only repeated.
  RunState select_batch(const at::Tensor& rows) const;
};

struct ForwardResult {
  at::Tensor logits;                   // [batch, positions read, vocab]; undefined when the plan wants none
  ActivationCache cache;
};

// The derivative of `metric` (a scalar on the graph) with respect to points captured with gradient, by name. A point the
// metric does not depend on gives zeros.
std::map<std::string, at::Tensor> hook_gradients(const at::Tensor& metric, const ActivationCache& cache,
                                                 const std::vector<std::string>& names, bool keep_graph = false);

// torch::autograd::grad behind a light header; undefined where a leaf is not reached.
std::vector<at::Tensor> hook_autograd(const at::Tensor& metric, const std::vector<at::Tensor>& leaves, bool keep_graph);

struct ModelWeights;                   // core/model/weights.h
class Block;                           // core/model/block.h
struct Norm;                           // core/model/norm.h

// Immutable once loaded; forward() may be called from several threads at a time.
class Model {
 public:
  Model(ModelConfig config, std::shared_ptr<const ModelWeights> weights);
  ~Model();

  // tokens [batch, pos] int64, on any device. state: null, or where to start and what to keep. Autograd is on only when
  // the plan captures with gradient or the caller has gradients enabled and asks for them through leaves.
  // Throws Error(kBadInput): ids outside the vocabulary, positions beyond a hard context; Error(kNotFound): unknown hook;
  // Error(kUnsupported): state to be kept by a model that is not causal.
  ForwardResult forward(const at::Tensor& tokens, const HookPlan& plan = {}, RunState* state = nullptr) const;

  const ModelConfig& config() const { return config_; }
  const HookCatalogue& catalogue() const { return *catalogue_; }
  const MixerInfo& mixer_info(int64_t layer) const;
  const ModelWeights& weights() const { return *weights_; }
  c10::Device device() const;
  at::ScalarType dtype() const;

 private:
  at::Tensor embed(const at::Tensor& tokens, HookScope& hooks, int64_t first_pos) const;
  // Final norm, unembedding and what else turns the last residual into logits.
  at::Tensor unembed(const at::Tensor& x, HookScope& top) const;
  // Block l; where weights are not resident one made for this run.
  std::shared_ptr<const Block> block(int64_t l) const;
  void check_shared() const;
  // What blocks before `begin` leave for blocks from there on, made anew from the tokens of a run that resumes there.
  void leave_shared(const at::Tensor& tokens, int64_t begin, int64_t end, int64_t first_pos, MixerState* first_state,
                    SharedValues& shared) const;
  void check_tokens(const at::Tensor& tokens, int64_t first_pos) const;

  ModelConfig config_;
  std::shared_ptr<const ModelWeights> weights_;
  std::shared_ptr<const HookCatalogue> catalogue_;
  std::unique_ptr<Norm> embed_norm_, final_norm_;
  bool causal_ = true;
  std::vector<MixerInfo> infos_;
  std::vector<std::shared_ptr<const Block>> blocks_;   // empty where weights are not resident
};

// Every hook point of a model of this configuration; needs no weights.
HookCatalogue build_catalogue(const ModelConfig& config);
// Parameters by the bindings' shapes; needs no weights.
int64_t parameter_count(const ModelConfig& config);
// What `inspect` says of a layer's mixer.
MixerInfo mixer_info_of(const LayerConfig& layer, int64_t d_model);

}  // namespace microtome
