#include "analysis/head_probes/ablate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"

namespace microtome::analyses::head_probes {
namespace {

using engine::block_point;

// Every query keeps the weight of its own token and nothing else. a [batch, head, q_pos, k_pos]
at::Tensor without_past(const at::Tensor& a, int64_t) {
  int64_t tokens = a.size(2), steps = a.size(3) / tokens;  // k_pos may count steps of a token
  at::Tensor token = at::arange(tokens, at::TensorOptions().dtype(at::kLong).device(a.device()));
  return a.masked_fill(token.unsqueeze(1) != token.repeat_interleave(steps).unsqueeze(0), 0);
}

// Every window keeps the token's own input, which is its last entry. w [batch, pos, channel, width]
at::Tensor without_earlier_inputs(const at::Tensor& w, int64_t) {
  at::Tensor own = w.narrow(3, w.size(3) - 1, 1);
  return at::constant_pad_nd(own, {w.size(3) - 1, 0});
}

class LayerAblation {
 public:
  LayerAblation(const Model& model, const Sequences& sequences, int64_t layer, const AblateOptions& options)
      : model_(model),
        sequences_(sequences),
        layer_(layer),
        options_(options),
        heads_(model.mixer_info(layer).heads),
        z_point_(block_point(layer, "attn.hook_z")) {
    int64_t by_logits = engine::logit_rows(model) / std::max<int64_t>(1, sequences.n);
    rows_ = std::clamp<int64_t>(options.rows, 1, std::max<int64_t>(1, by_logits));
  }

  std::map<std::string, at::Tensor> run(Progress& progress) {
    int64_t count = sequences_.tokens.size(0);
    std::map<std::string, at::Tensor> out;
    for (const char* name : {"head", "state", "conv"})
      out[name] = at::full({count, heads_}, std::numeric_limits<double>::quiet_NaN(),
                           at::TensorOptions().dtype(at::kDouble));
    at::Tensor mean = options_.mean ? mean_z(progress) : at::Tensor();
    for (int64_t from = 0; from < count; from += rows_) {
      int64_t seqs = std::min(rows_, count - from);
      progress.step(from, count);
      at::Tensor tokens = sequences_.tokens.narrow(0, from, seqs), x = entry(tokens);
      at::Tensor base = loss(tokens, x, nullptr);
      // What z becomes, all heads at once; each head's loss then takes its own part.
      std::map<std::string, at::Tensor> instead;
      at::Tensor z = layer_z(tokens, x, "", nullptr);
      instead["head"] = mean.defined() ? mean.to(z.options()).expand_as(z) : at::zeros_like(z);
      if (options_.split_state && has_state_part(model_, layer_))
        instead["state"] = layer_z(tokens, x, "attn.hook_pattern", without_past);
      if (options_.split_state && has_conv_part(model_, layer_))
        instead["conv"] = layer_z(tokens, x, "attn.hook_conv_state", without_earlier_inputs);
      int64_t together = std::max<int64_t>(1, rows_ / seqs);  // heads of one run
      for (const auto& [name, fill] : instead)
        for (int64_t h = 0; h < heads_; h += together) {
          progress.check();
          int64_t copies = std::min(together, heads_ - h);
          at::Tensor rise = loss(tokens.repeat({copies, 1}), x.repeat({copies, 1, 1}), z_edit(h, copies, fill));
          out[name].narrow(0, from, seqs).narrow(1, h, copies).copy_((rise.view({copies, seqs}) - base).t());
        }
    }
    return out;
  }

 private:
  HookPlan up_to_here() const {
    HookPlan plan;
    plan.form = options_.form;
    plan.logits = false;
    plan.stop_before_layer = layer_ + 1;
    return plan;
  }

  RunState resumed(const at::Tensor& x) const {
    RunState state;
    state.keep = false;
    state.first_layer = layer_;
    state.residual = x;
    return state;
  }

  at::Tensor entry(const at::Tensor& tokens) const {
    std::string name = block_point(layer_, "hook_resid_pre");
    return model_.forward(tokens, up_to_here().capture(name)).cache.get(name);
  }

  // z of the layer from its input x, perhaps with a point before it changed: [sequence, pos, head, d_v].
  at::Tensor layer_z(const at::Tensor& tokens, const at::Tensor& x, const std::string& point, Edit edit) const {
    HookPlan plan = up_to_here();
    plan.capture(z_point_);
    if (edit) plan.edit(block_point(layer_, point), std::move(edit));
    RunState state = resumed(x);
    return model_.forward(tokens, plan, &state).cache.get(z_point_);
  }

  // Mean of z over all sequences and positions, [head, d_v].
  at::Tensor mean_z(Progress& progress) const {
    at::Tensor sum;
    int64_t count = sequences_.tokens.size(0);
    for (int64_t from = 0; from < count; from += rows_) {
      progress.check();
      at::Tensor tokens = sequences_.tokens.narrow(0, from, std::min(rows_, count - from));
      at::Tensor z = model_.forward(tokens, up_to_here().capture(z_point_)).cache.get(z_point_);
      at::Tensor part = z.to(at::kDouble).sum(at::IntArrayRef({0, 1}));
      sum = sum.defined() ? sum + part : part;
    }
    return sum / static_cast<double>(count * sequences_.tokens.size(1));
  }

  at::Tensor loss(const at::Tensor& tokens, const at::Tensor& x, Edit edit) const {
    HookPlan plan;
    plan.form = options_.form;
    if (edit) plan.edit(z_point_, std::move(edit));
    plan.logit_positions.emplace();
    for (int64_t p = sequences_.n; p < 2 * sequences_.n; ++p) plan.logit_positions->push_back(p);
    RunState state = resumed(x);
    return second_half_loss(model_.forward(tokens, plan, &state).logits, tokens, sequences_.n);
  }

  // Copy c of the sequences gets head first + c from `fill` [sequence, pos, head, d_v].
  Edit z_edit(int64_t first, int64_t copies, const at::Tensor& fill) const {
    at::Tensor head = at::arange(heads_, at::TensorOptions().dtype(at::kLong)).view({1, 1, 1, heads_, 1});
    at::Tensor copy = at::arange(first, first + copies, at::TensorOptions().dtype(at::kLong)).view({copies, 1, 1, 1, 1});
    at::Tensor here = (head == copy).to(fill.device());
    return [here, fill, copies](const at::Tensor& z, int64_t) {
      return at::where(here, fill, z.unflatten(0, {copies, fill.size(0)})).flatten(0, 1);
    };
  }

  const Model& model_;
  const Sequences& sequences_;
  int64_t layer_;
  AblateOptions options_;
  int64_t heads_, rows_ = 1;
  std::string z_point_;
};

}  // namespace

// Where softmax attention lies beside the state, hook_z is the attention's: neither state nor convolution is in it.
bool has_state_part(const Model& model, int64_t layer) {
  return model.mixer_info(layer).recurrent && engine::has_point(model, layer, "attn.hook_pattern") &&
         !engine::has_point(model, layer, "attn.hook_z.ssm");
}

bool has_conv_part(const Model& model, int64_t layer) {
  return model.mixer_info(layer).recurrent && engine::has_point(model, layer, "attn.hook_conv_state") &&
         !engine::has_point(model, layer, "attn.hook_z.ssm");
}

at::Tensor second_half_loss(const at::Tensor& logits, const at::Tensor& tokens, int64_t n) {
  return engine::Metric::token_losses(logits, tokens, n).mean(1).to(at::kCPU);
}

std::map<std::string, at::Tensor> ablate_layer(const Model& model, const Sequences& sequences, int64_t layer,
                                               const AblateOptions& options, Progress& progress) {
  return LayerAblation(model, sequences, layer, options).run(progress);
}

}  // namespace microtome::analyses::head_probes
