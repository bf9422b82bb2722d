#include "core/model/generation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <set>

#include "core/base/status.h"
#include "core/mixers/softmax_attention/in_place.h"
#include "core/model/device.h"
#include "core/model/weights.h"

namespace microtome {
namespace {

constexpr const char* kSoftmax = "softmax_attention";
// Room for keys and values grows by doubling: each growth is recorded anew.
constexpr int64_t kFirstRoom = 128;

// Mixers whose step over one token asks nothing of the tensors, sends nothing to the device, and knows its position from
// rotary() alone. tests/unit/model/test_generation.cc holds each of them against the plain step.
const std::set<std::string>& steady_mixers() {
  static const std::set<std::string> kinds = {kSoftmax, "linear_attn", "retention", "simple_gla", "gla", "delta_rule", "gated_delta_rule",
                                              "gated_delta_product", "kda", "comba", "hgrn", "hgrn2", "lightning_attn", "mamba1", "mamba2",
                                              "mlstm", "rwkv4", "rwkv6", "rwkv7", "gsa", "rg_lru"};
  return kinds;
}

}  // namespace

std::string not_in_place(const Model& model) {
  const ModelConfig& c = model.config();
  if (!c.causal()) return "the model reads in both directions";
  if (model.weights().keep != WeightKeep::kResident) return "the weights are not resident";
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const std::string where = "layer " + std::to_string(i);
    if (!steady_mixers().count(model.mixer_info(static_cast<int64_t>(i)).kind)) return where + " mixes by " + l.mixer + ", whose step is not made for it";
    if (l.mixer_params.get_bool("alibi", false)) return where + " has position biases (ALiBi)";
    const std::string scaling = l.mixer_params.get_string("rope_scaling", "default");
    if (scaling == "dynamic" || scaling == "longrope") return where + " turns by angles that depend on the length";
    if (l.channel.experts.count) return where + " chooses experts";
  }
  return "";
}

Generation::Generation(const Model& model, MixerForm form, Steps steps) : model_(model), steps_(steps) {
  plan_.form = form;
  plan_.logit_positions = std::vector<int64_t>{-1};
  if (steps_ == Steps::kPlain) return;
  why_not_ = not_in_place(model);
  // What is not recorded gains nothing from staying in place.
  if (why_not_.empty() && steps_ == Steps::kRecorded) why_not_ = GpuGraph::missing(model.device());
  if (!why_not_.empty()) steps_ = Steps::kPlain;
}

at::Tensor Generation::start(const at::Tensor& tokens) {
  at::NoGradGuard no_grad;
  return model_.forward(tokens, plan_, &state_).logits.select(1, 0);
}

void Generation::settle() {
  graph_.reset();
  made_ = 0;
  const at::TensorOptions ids = at::TensorOptions().dtype(at::kLong).device(model_.device());
  cursor_.room = std::max(kFirstRoom, cursor_.room);
  while (cursor_.room <= state_.position) cursor_.room *= 2;
  cursor_.position = at::full({1}, state_.position, ids);
  places_ = at::arange(cursor_.room, ids);
  cursor_.later = at::zeros({cursor_.room}, ids.dtype(at::kBool));
  for (size_t l = 0; l < state_.layers.size(); ++l)
    for (auto& [name, t] : state_.layers[l].tensors) {
      const bool grows = model_.mixer_info(static_cast<int64_t>(l)).kind == kSoftmax && (name == "k" || name == "v");
      if (!grows) t = t.clone(at::MemoryFormat::Contiguous);
      // Of keys with room already all up to the position; of others what the runs before have kept.
      else t = mixers::with_room(tokens_.defined() ? t.narrow(1, 0, state_.position) : t, state_.position, cursor_.room);
    }
}

void Generation::one_in_place() {
  at::gt_out(cursor_.later, places_, cursor_.position);
  const mixers::WithCursor with(cursor_);
  RunState run = state_;
  logits_ = model_.forward(tokens_, plan_, &run).logits.select(1, 0);
  for (size_t l = 0; l < state_.layers.size(); ++l)
    for (auto& [name, t] : state_.layers[l].tensors) {
      const at::Tensor& now = run.layers[l].tensors.at(name);
      if (now.sizes() != t.sizes()) throw Error(StatusCode::kInternal, "the state '" + name + "' of layer " + std::to_string(l) + " does not keep its shape", "generation");
      if (!now.is_same(t)) t.copy_(now);
    }
  cursor_.position.add_(1);
}

at::Tensor Generation::step(const at::Tensor& tokens) {
  at::NoGradGuard no_grad;
  if (steps_ == Steps::kPlain) return model_.forward(tokens.view({-1, 1}), plan_, &state_).logits.select(1, 0);
  const ModelConfig& c = model_.config();
  const at::Tensor here = tokens.cpu();
  for (int64_t i = 0; i < here.numel(); ++i) {
    const int64_t id = here.const_data_ptr<int64_t>()[i];
    if (id < 0 || id >= c.vocab_size)
      throw Error(StatusCode::kBadInput, "token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(c.vocab_size), "ids", "use this model's own tokenizer");
  }
  if (c.hard_context && state_.position >= c.context_length)
    throw Error(StatusCode::kBadInput, "the continuation reaches position " + std::to_string(state_.position + 1) + ", the model's context has " +
                std::to_string(c.context_length), "prompt", "shorten it");
  if (!tokens_.defined() || state_.position >= cursor_.room) settle();
  if (!tokens_.defined()) tokens_ = at::empty({here.size(0), 1}, at::TensorOptions().dtype(at::kLong).device(model_.device()));
  tokens_.copy_(here.view({-1, 1}));
  if (graph_) {
    graph_->launch();
  } else if (steps_ == Steps::kRecorded && made_ > 0 && why_not_.empty()) {
    // The first step was made one operation at a time: what libraries set up on first use cannot be recorded.
    graph_ = GpuGraph::record(model_.device(), [&] { one_in_place(); }, why_not_);
    if (graph_) graph_->launch();
    else one_in_place();
  } else {
    one_in_place();
  }
  ++made_;
  ++state_.position;
  return logits_;
}

}  // namespace microtome
