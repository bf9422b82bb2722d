#include "analysis/state_lens/reading.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "analysis/engine/layers.h"

namespace microtome::analyses::state_lens {
namespace {

using engine::block_point;
using engine::has_point;

constexpr int64_t kWrittenBudget = int64_t{1} << 24;  // numbers in the heads' writes held at a time
constexpr int64_t kStateBudget = int64_t{1} << 25;    // numbers in the copies of a state held at a time

// What meets the state: after rotary, the solve or the slots' softmax where the mixer has one.
std::string query_point(const Model& model, int64_t layer) {
  if (has_point(model, layer, "attn.hook_q.ssm")) return "attn.hook_q.ssm";
  for (const char* last : {"attn.hook_q_solved", "attn.hook_slot_read", "attn.hook_rot_q"})
    if (has_point(model, layer, last)) return last;
  return "attn.hook_q";
}

}  // namespace

bool readable(const Model& model, int64_t layer, bool own_query) {
  return model.mixer_info(layer).recurrent && has_point(model, layer, "attn.hook_state") &&
         has_point(model, layer, engine::state_point(model, layer, "attn.hook_result")) &&
         (own_query || has_point(model, layer, query_point(model, layer)));
}

void read_positions(const Model& model, int64_t l, const at::Tensor& tokens, const at::Tensor& entry, MixerForm form,
                    bool next, int64_t begin, Progress& progress, const OnRead& on_read) {
  int64_t length = tokens.size(1);
  // Point → its value one position on.
  std::map<std::string, at::Tensor> replaced;
  if (next) {
    HookPlan plan;
    plan.form = form;
    plan.logits = false;
    plan.stop_before_layer = l + 1;
    for (const std::string& point : {query_point(model, l), engine::state_point(model, l, "attn.hook_gate")})
      if (has_point(model, l, point)) plan.capture(block_point(l, point));
    RunState state;
    state.keep = false;
    state.first_layer = l;
    state.residual = entry;
    ForwardResult run = model.forward(tokens, plan, &state);
    for (const std::string& name : run.cache.names()) {
      at::Tensor t = run.cache.get(name);
      replaced[name] = at::cat({t.slice(1, 1), t.slice(1, length - 1)}, 1);
    }
  }
  int64_t numbers = tokens.size(0) * engine::state_readers(model, l) * model.config().d_model;
  int64_t step = std::clamp<int64_t>(kWrittenBudget / std::max<int64_t>(1, numbers), 1, length);
  std::string result = block_point(l, engine::state_point(model, l, "attn.hook_result"));
  engine::walk_layer(
      model, l, tokens, entry, form, begin, step,
      [&](const engine::LayerSpan& span, HookPlan& plan) {
        progress.check();
        if (!span.looked_at) return;
        plan.capture(result);
        for (const auto& [name, value] : replaced)
          plan.edit(name, [value = value](const at::Tensor& v, int64_t first) { return value.narrow(1, first, v.size(1)); });
      },
      [&](const engine::LayerSpan& span, const ActivationCache& cache) {
        if (span.looked_at) on_read(span.first, cache.get(result));
      });
}

KeyReading read_keys(const Model& model, int64_t l, const at::Tensor& tokens, const at::Tensor& entry, MixerForm form,
                     Progress& progress) {
  const MixerInfo& info = model.mixer_info(l);
  int64_t last = tokens.size(1) - 1;
  RunState prefix;
  if (last > 0) {
    HookPlan quiet;
    quiet.form = form;
    quiet.logits = false;
    quiet.stop_before_layer = l + 1;
    prefix.first_layer = l;
    prefix.residual = entry.narrow(1, 0, last);
    model.forward(tokens.narrow(1, 0, last), quiet, &prefix);
  }
  std::string query = block_point(l, query_point(model, l)), result = block_point(l, engine::state_point(model, l, "attn.hook_result")),
              state = block_point(l, "attn.hook_state");
  const HookPoint* point = model.catalogue().find(query);
  int64_t d_k = point->sizes.back();
  int64_t numbers = std::max<int64_t>(1, info.kv_heads * info.d_k * info.d_v);
  int64_t step = std::clamp<int64_t>(kStateBudget / numbers, 1, d_k);
  KeyReading out;
  std::vector<at::Tensor> written;
  for (int64_t from = 0; from < d_k; from += step) {
    progress.check();
    int64_t count = std::min(step, d_k - from);
    HookPlan plan;
    plan.form = form;
    plan.logits = false;
    plan.stop_before_layer = l + 1;
    plan.capture(result);
    if (from == 0) plan.capture(state);
    plan.edit(query, [=](const at::Tensor& v, int64_t) {
      return at::eye(d_k, v.options()).narrow(0, from, count).view({count, 1, 1, d_k}).expand_as(v).contiguous();
    });
    RunState copies = prefix.select_batch(at::zeros({count}, at::kLong));
    copies.keep = false;
    copies.first_layer = l;
    copies.residual = entry.narrow(1, last, 1).repeat({count, 1, 1});
    ForwardResult run = model.forward(tokens.narrow(1, last, 1).repeat({count, 1}), plan, &copies);
    written.push_back(run.cache.get(result).select(1, 0));
    if (from == 0) {
      at::Tensor norm = run.cache.get(state)[0][0].to(at::kDouble).square().sum(-1).sqrt();   // [state head, d_k]
      out.row_norm = norm.repeat_interleave(engine::state_readers(model, l) / norm.size(0), 0).transpose(0, 1).contiguous();
    }
  }
  out.written = at::cat(written);
  return out;
}

}  // namespace microtome::analyses::state_lens
