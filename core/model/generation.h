// generation.h — a model's continuation of a prompt, one token after another. Where every layer allows it a step works in
// place: states, keys and values, the token and its position lie in tensors that stay where they are. On a GPU such a step is
// recorded once (core/model/gpu_graph.h) and from then on started as a whole.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "core/mixers/cursor.h"
#include "core/model/gpu_graph.h"
#include "core/model/model.h"

namespace microtome {

// Layers by layer: why a step of this model cannot work in place; empty: it can.
std::string not_in_place(const Model& model);

// Of one prompt batch. The model outlives it. Used by one thread.
class Generation {
 public:
  enum class Steps {
    kPlain,                            // Model::forward over one token, its state growing as it does
    kInPlace,                          // nothing recorded
    kRecorded,                         // in place, and recorded where that is possible; the same bits as kInPlace
  };
  explicit Generation(const Model& model, MixerForm form = MixerForm::kAuto, Steps steps = Steps::kRecorded);

  // tokens [batch, pos] → logits of the last position [batch, vocab]. Once.
  at::Tensor start(const at::Tensor& tokens);
  // tokens [batch] → logits [batch, vocab], which hold until the next step. Throws Error(kBadInput) as Model::forward does.
  at::Tensor step(const at::Tensor& tokens);

  int64_t position() const { return state_.position; }   // of the next token
  bool recorded() const { return graph_ != nullptr; }
  // Why the steps are not recorded, or not in place; empty: they are, or no step was made yet.
  const std::string& why_not() const { return why_not_; }

 private:
  void settle();                       // moves what is kept to where it stays
  void one_in_place();

  const Model& model_;
  HookPlan plan_;
  Steps steps_;
  std::string why_not_;
  RunState state_;                     // position, and what is kept; with steps in place always the same tensors
  mixers::Cursor cursor_;
  at::Tensor tokens_, places_, logits_;  // [batch, 1]; 0 … room - 1; [batch, vocab]
  int64_t made_ = 0;                   // steps since what is kept was settled
  std::unique_ptr<GpuGraph> graph_;
};

}  // namespace microtome
