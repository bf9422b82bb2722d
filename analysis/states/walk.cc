#include "analysis/states/walk.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "analysis/engine/layers.h"

namespace microtome::analyses::states {
namespace {

using engine::block_point;

constexpr int64_t kStateBudget = int64_t{1} << 25;  // numbers in the states held at a time

}  // namespace

void walk_states(const Model& model, int64_t l, const at::Tensor& tokens, MixerForm form, int64_t begin,
                 Progress& progress, const std::function<void(int64_t, const Span&)>& on_span) {
  HookPlan first;
  first.form = form;
  first.logits = false;
  first.stop_before_layer = l + 1;
  std::string entry = block_point(l, "hook_resid_pre");
  first.capture(entry);
  at::Tensor x = model.forward(tokens, first).cache.get(entry);

  const HookPoint* point = model.catalogue().find(block_point(l, "attn.hook_state"));
  int64_t numbers = tokens.size(0);
  for (size_t a = 2; a < point->sizes.size(); ++a) numbers *= std::max<int64_t>(1, point->sizes[a]);
  int64_t step = std::clamp<int64_t>(kStateBudget / std::max<int64_t>(1, numbers), 1, tokens.size(1));

  auto prepare = [&](const engine::LayerSpan& span, HookPlan& plan) {
    progress.check();
    if (!span.looked_at) {
      plan.capture(block_point(l, "attn.hook_state"), {span.first + span.count - 1});
      return;
    }
    for (const char* name :
         {"hook_state", "hook_state_write", "hook_k", "hook_rot_k", "hook_slot_write", "hook_v", "hook_decay", "hook_beta",
          "hook_z"}) {
      std::string below = engine::state_point(model, l, std::string("attn.") + name);
      if (engine::has_point(model, l, below)) plan.capture(block_point(l, below));
    }
  };
  // Softmax attention beside the state has rotary keys of its own.
  const bool beside = engine::has_point(model, l, "attn.hook_k.ssm");
  at::Tensor before;
  engine::walk_layer(model, l, tokens, x, form, begin, step, prepare,
                     [&](const engine::LayerSpan& at_span, const ActivationCache& cache) {
    auto get = [&](const char* name) {
      std::string full = block_point(l, engine::state_point(model, l, std::string("attn.") + name));
      return cache.has(full) ? cache.get(full) : at::Tensor();
    };
    at::Tensor states = get("hook_state");
    if (at_span.looked_at) {
      Span span;
      span.state = states;
      span.before = before.defined() ? before : at::zeros_like(states.select(1, 0));
      span.write = get("hook_state_write");
      // What the state is written with: a slot memory's values go to its slots.
      for (const char* name : {"hook_k", "hook_rot_k", "hook_slot_write"})
        if (at::Tensor key = get(name); key.defined() && !(beside && std::string(name) == "hook_rot_k")) span.k = key;
      span.v = get("hook_v");
      span.decay = get("hook_decay");
      span.beta = get("hook_beta");
      span.z = get("hook_z");
      span.erases = engine::has_point(model, l, "attn.hook_erase_key");
      on_span(at_span.first, span);
    }
    before = states.select(1, -1);
  });
}

}  // namespace microtome::analyses::states
