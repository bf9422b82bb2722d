#include "analysis/head_probes/ablate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"

namespace microtome::analyses::head_probes {
namespace {

using engine::block_point;

// The channels of hook_conv_state that belong to a query head: its q, and the k and v it uses.
struct ConvChannels {
  struct Part {
    int64_t begin, heads, width;
  };
  std::vector<Part> parts;
  int64_t channels = 0, window = 0;
};

ConvChannels conv_channels(const Model& model, int64_t layer) {
  ConvChannels out;
  for (const char* name : {"attn.hook_q_pre_conv", "attn.hook_k_pre_conv", "attn.hook_v_pre_conv"}) {
    const HookPoint* p = model.catalogue().find(block_point(layer, name));
    if (!p || p->sizes.size() != 4) return {};
    out.parts.push_back({out.channels, p->sizes[2], p->sizes[3]});
    out.channels += p->sizes[2] * p->sizes[3];
  }
  const HookPoint* state = model.catalogue().find(block_point(layer, "attn.hook_conv_state"));
  if (!state || state->sizes.size() != 4 || state->sizes[2] != out.channels || state->sizes[3] < 2) return {};
  out.window = state->sizes[3];
  int64_t heads = model.mixer_info(layer).heads;
  for (const ConvChannels::Part& p : out.parts)
    if (p.heads < 1 || heads % p.heads != 0) return {};
  return out;
}

class LayerAblation {
 public:
  LayerAblation(const Model& model, const Sequences& sequences, int64_t layer, const AblateOptions& options)
      : model_(model), sequences_(sequences), layer_(layer), options_(options), heads_(model.mixer_info(layer).heads) {
    // Half the logits' rows of the budget: the loss needs about as much again.
    int64_t by_logits = engine::logit_rows(model) / std::max<int64_t>(1, sequences.n);
    rows_ = std::clamp<int64_t>(options.rows, 1, std::max<int64_t>(1, by_logits));
  }

  std::map<std::string, at::Tensor> run(Progress& progress) {
    int64_t count = sequences_.tokens.size(0);
    std::map<std::string, at::Tensor> out;
    for (const char* name : {"head", "state", "conv"})
      out[name] =
          at::full({count, heads_}, std::numeric_limits<double>::quiet_NaN(), at::TensorOptions().dtype(at::kDouble));
    at::Tensor mean = options_.mean ? mean_z(progress) : at::Tensor();
    std::string state_point = block_point(layer_, "attn.hook_pattern"),
                conv_point = block_point(layer_, "attn.hook_conv_state");
    bool state = options_.split_state && has_state_part(model_, layer_),
         conv = options_.split_state && has_conv_part(model_, layer_);
    for (int64_t from = 0; from < count; from += rows_) {
      int64_t seqs = std::min(rows_, count - from);
      progress.step(from, count);
      at::Tensor tokens = sequences_.tokens.narrow(0, from, seqs), x = entry(tokens);
      at::Tensor base = loss(tokens, x, "", {});
      int64_t together = std::max<int64_t>(1, rows_ / seqs);  // heads of one run
      for (int64_t h = 0; h < heads_; h += together) {
        progress.check();
        int64_t copies = std::min(together, heads_ - h);
        at::Tensor many = tokens.repeat({copies, 1}), entries = x.repeat({copies, 1, 1});
        auto put = [&](const char* name, const at::Tensor& l) {  // l [copies * seqs]
          out[name].narrow(0, from, seqs).narrow(1, h, copies).copy_((l.view({copies, seqs}) - base).t());
        };
        put("head", loss(many, entries, block_point(layer_, "attn.hook_z"), z_edit(h, copies, seqs, mean)));
        if (state) put("state", loss(many, entries, state_point, pattern_edit(h, copies, seqs)));
        if (conv) put("conv", loss(many, entries, conv_point, conv_edit(h, copies, seqs)));
      }
    }
    return out;
  }

 private:
  at::Tensor entry(const at::Tensor& tokens) const {
    HookPlan plan;
    plan.form = options_.form;
    plan.logits = false;
    plan.stop_before_layer = layer_ + 1;
    std::string name = block_point(layer_, "hook_resid_pre");
    plan.capture(name);
    return model_.forward(tokens, plan).cache.get(name);
  }

  // Mean of z over all sequences and positions, [head, d_v].
  at::Tensor mean_z(Progress& progress) const {
    at::Tensor sum;
    int64_t count = sequences_.tokens.size(0);
    std::string name = block_point(layer_, "attn.hook_z");
    for (int64_t from = 0; from < count; from += rows_) {
      progress.check();
      HookPlan plan;
      plan.form = options_.form;
      plan.logits = false;
      plan.stop_before_layer = layer_ + 1;
      plan.capture(name);
      at::Tensor z =
          model_.forward(sequences_.tokens.narrow(0, from, std::min(rows_, count - from)), plan).cache.get(name);
      at::Tensor part = z.to(at::kDouble).sum(at::IntArrayRef({0, 1}));
      sum = sum.defined() ? sum + part : part;
    }
    return sum / static_cast<double>(count * sequences_.tokens.size(1));
  }

  at::Tensor loss(const at::Tensor& tokens, const at::Tensor& x, const std::string& point, Edit edit) const {
    HookPlan plan;
    plan.form = options_.form;
    if (!point.empty()) plan.edit(point, std::move(edit));
    plan.logit_positions.emplace();
    for (int64_t p = sequences_.n; p < 2 * sequences_.n; ++p) plan.logit_positions->push_back(p);
    RunState state;
    state.keep = false;
    state.first_layer = layer_;
    state.residual = x;
    return second_half_loss(model_.forward(tokens, plan, &state).logits, tokens, sequences_.n);
  }

  // 1 where copy c has head first + c and else 0: [copies, 1, heads].
  at::Tensor chosen(int64_t first, int64_t copies) const {
    at::Tensor head = at::arange(heads_, at::TensorOptions().dtype(at::kLong)).view({1, 1, heads_});
    at::Tensor copy = at::arange(first, first + copies, at::TensorOptions().dtype(at::kLong)).view({copies, 1, 1});
    return head == copy;
  }

  Edit z_edit(int64_t first, int64_t copies, int64_t seqs, at::Tensor mean) const {
    at::Tensor here = chosen(first, copies).view({copies, 1, 1, heads_, 1});
    return [=](const at::Tensor& z, int64_t) {  // [copies * seqs, pos, head, d_v]
      at::Tensor by_copy = z.unflatten(0, {copies, seqs});
      at::Tensor fill = mean.defined() ? mean.to(z.options()).expand_as(by_copy) : at::zeros_like(by_copy);
      return at::where(here.to(z.device()), fill, by_copy).flatten(0, 1);
    };
  }

  Edit pattern_edit(int64_t first, int64_t copies, int64_t seqs) const {
    at::Tensor here = chosen(first, copies).view({copies, 1, heads_, 1, 1});
    return [=](const at::Tensor& a, int64_t) {                 // [copies * seqs, head, q_pos, k_pos]
      int64_t tokens = a.size(2), steps = a.size(3) / tokens;  // k_pos may count steps of a token
      at::Tensor token = at::arange(tokens, at::TensorOptions().dtype(at::kLong).device(a.device()));
      at::Tensor past = token.unsqueeze(1) != token.repeat_interleave(steps).unsqueeze(0);
      return a.unflatten(0, {copies, seqs}).masked_fill(here.to(a.device()).logical_and(past), 0).flatten(0, 1);
    };
  }

  Edit conv_edit(int64_t first, int64_t copies, int64_t seqs) const {
    ConvChannels c = conv_channels(model_, layer_);
    at::Tensor hidden = at::zeros({copies, 1, 1, c.channels, c.window}, at::TensorOptions().dtype(at::kBool));
    for (int64_t i = 0; i < copies; ++i)
      for (const ConvChannels::Part& p : c.parts) {
        int64_t head = (first + i) / (heads_ / p.heads);
        hidden[i].narrow(2, p.begin + head * p.width, p.width).narrow(3, 0, c.window - 1).fill_(true);
      }
    return [=](const at::Tensor& w, int64_t) {  // [copies * seqs, pos, channel, width]
      return w.unflatten(0, {copies, seqs}).masked_fill(hidden.to(w.device()), 0).flatten(0, 1);
    };
  }

  const Model& model_;
  const Sequences& sequences_;
  int64_t layer_;
  AblateOptions options_;
  int64_t heads_, rows_ = 1;
};

}  // namespace

bool has_state_part(const Model& model, int64_t layer) {
  return model.mixer_info(layer).recurrent && engine::has_point(model, layer, "attn.hook_pattern");
}

bool has_conv_part(const Model& model, int64_t layer) {
  return model.mixer_info(layer).recurrent && conv_channels(model, layer).channels > 0;
}

at::Tensor second_half_loss(const at::Tensor& logits, const at::Tensor& tokens, int64_t n) {
  return engine::Metric::token_losses(logits, tokens, n).mean(1).to(at::kCPU);
}

std::map<std::string, at::Tensor> ablate_layer(const Model& model, const Sequences& sequences, int64_t layer,
                                               const AblateOptions& options, Progress& progress) {
  return LayerAblation(model, sequences, layer, options).run(progress);
}

}  // namespace microtome::analyses::head_probes
