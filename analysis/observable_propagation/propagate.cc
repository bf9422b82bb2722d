#include "analysis/observable_propagation/propagate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>

#include "analysis/engine/layers.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

constexpr int64_t kMostHeads = 256;                    // mechanisms with a head a channel have no feature vectors of their own

at::Tensor nans(std::vector<int64_t> shape) { return at::full(shape, std::numeric_limits<double>::quiet_NaN(), at::kDouble); }

bool heads_fit(const Model& model, int64_t l) {
  for (const char* p : {"hook_resid_pre", "hook_attn_out", "attn.hook_v", "attn.hook_z", "attn.hook_pattern", "attn.hook_result"})
    if (!has_point(model, l, p)) return false;
  if (model.config().layers[static_cast<size_t>(l)].post1) return false;      // a head's result does not reach the stream as it is
  const HookPoint *v = model.catalogue().find(block_point(l, "attn.hook_v")), *z = model.catalogue().find(block_point(l, "attn.hook_z"));
  const HookPoint* a = model.catalogue().find(block_point(l, "attn.hook_pattern"));
  if (v->axes.size() != 4 || z->axes.size() != 4 || a->axes.size() != 4 || a->sizes[3] != -1) return false;
  return z->sizes[2] <= kMostHeads && z->sizes[2] % v->sizes[2] == 0 && z->sizes[3] == v->sizes[3];
}

std::string mlp_reads(const Model& model, int64_t l) { return block_point(l, has_point(model, l, "hook_resid_mid") ? "hook_resid_mid" : "hook_resid_pre"); }

at::Tensor last_of(const at::Tensor& t) { return t.select(1, t.size(1) - 1); }

}  // namespace

struct Propagation::Run {
  ForwardResult result;
  at::Tensor value(const std::string& name) const { return result.cache.get(name); }
  at::Tensor slope(const at::Tensor& of, const std::string& point) { return hook_gradients(of, result.cache, {point}, true).at(point); }
};

Propagation::Propagation(const AnalysisInput& input, bool frozen_norms, bool linear_mlps) : input_(input), frozen_(frozen_norms), linear_(linear_mlps) {
  require_linear_readout(input.model, "observable propagation");
  for (int64_t l = 0; l < layer_count(input.model); ++l) {
    fits_.push_back(heads_fit(input.model, l));
    if (fits_.back()) heads_ = std::max(heads_, input.model.catalogue().find(block_point(l, "attn.hook_z"))->sizes[2]);
    if (linear_ && input.model.config().layers[static_cast<size_t>(l)].channel.shift != ChannelMixerConfig::Shift::kNone)
      throw Error(StatusCode::kUnsupported, "the channel mixer of layer " + std::to_string(l) + " reads the token before", "param mlps", "use mlps=none");
  }
  if (heads_ == 0)
    throw Error(StatusCode::kUnsupported, "no layer of this model has heads with values, a pattern and results of their own", input.model.config().name,
                "observable propagation follows the output and value matrices of heads");
}

std::string Propagation::left_out() const {
  std::string layers;
  for (size_t l = 0; l < fits_.size(); ++l)
    if (!fits_[l]) layers += (layers.empty() ? "" : ", ") + std::to_string(l);
  return layers.empty() ? "" : "layers without heads that have values, a pattern and results of their own are left out: " + layers;
}

std::unique_ptr<Propagation::Run> Propagation::run(const PromptGroup& group) const {
  HookPlan plan;
  plan.form = input_.form;
  plan.logit_positions = std::vector<int64_t>{-1};
  const Model& m = input_.model;
  for (int64_t l = 0; l < layers(); ++l) {
    plan.capture(block_point(l, "hook_resid_pre"), {}, true);
    if (fits(l))
      for (const char* p : {"attn.hook_v", "attn.hook_z", "hook_attn_out"}) plan.capture(block_point(l, p), {}, true);
    if (linear_ && has_point(m, l, "hook_mlp_out")) {
      plan.capture(block_point(l, "hook_mlp_out"), {}, true);
      if (has_point(m, l, "hook_resid_mid")) plan.capture(block_point(l, "hook_resid_mid"), {}, true);
    }
    if (!frozen_) continue;
    for (const char* p : {"ln1.hook_scale", "ln2.hook_scale", "ln2_post.hook_scale"})
      if (has_point(m, l, p)) plan.edit(block_point(l, p), [](const at::Tensor& v, int64_t) { return v.detach(); });
  }
  plan.capture(block_point(layers() - 1, "hook_resid_post"), {}, true);
  if (frozen_ && m.catalogue().find("ln_final.hook_scale")) plan.edit("ln_final.hook_scale", [](const at::Tensor& v, int64_t) { return v.detach(); });
  auto r = std::make_unique<Run>();
  r->result = m.forward(group.clean, plan);
  return r;
}

at::Tensor Propagation::through_heads(Run& r, int64_t l, const at::Tensor& wanted, bool last_only) const {
  at::Tensor out = r.value(block_point(l, "hook_attn_out"));
  // W_O, with gate and norm by head as they are at each position.
  at::Tensor u = r.slope((out * wanted.to(out.device(), out.scalar_type())).sum(), block_point(l, "attn.hook_z"));   // [rows, pos, head, d_v]
  u = last_only ? last_of(u) : u.mean(1);                                                                          // [rows, head, d_v]
  at::Tensor v = r.value(block_point(l, "attn.hook_v"));
  const int64_t heads = u.size(1), shared = heads / v.size(2);
  std::vector<at::Tensor> parts;
  for (int64_t h = 0; h < heads; ++h) {
    at::Tensor x = r.slope((v.select(2, h / shared) * u.select(1, h).unsqueeze(1)).sum(), block_point(l, "hook_resid_pre"));
    parts.push_back(x.detach().to(at::kCPU, at::kDouble).mean(1));
  }
  return at::stack(parts, 1);
}

std::vector<Propagation::Vectors> Propagation::vectors(const PromptGroup& group, const std::vector<at::Tensor>& n) const {
  at::AutoGradMode grad(true);
  auto r = run(group);
  const int64_t rows = group.clean.size(0), d = input_.model.config().d_model;
  std::vector<Vectors> out;
  for (const at::Tensor& observable : n) {
    Vectors v{{}, nans({rows, layers(), d}), nans({rows, layers(), heads_, d})};
    at::Tensor logits = last_of(r->result.logits);
    at::Tensor y = last_of(r->slope((logits * observable.to(logits.device(), logits.scalar_type())).sum(), block_point(layers() - 1, "hook_resid_post")));
    v.logits = y.detach().to(at::kCPU, at::kDouble);
    for (int64_t l = layers() - 1; l >= 0; --l) {
      at::Tensor below = y;                            // of what enters the MLP
      if (linear_ && has_point(input_.model, l, "hook_mlp_out")) {
        at::Tensor mlp = last_of(r->value(block_point(l, "hook_mlp_out")));
        below = y + last_of(r->slope((mlp * y).sum(), mlp_reads(input_.model, l))).detach();
      }
      // In a parallel block the MLP does not see what this layer's heads write.
      const bool sees = has_point(input_.model, l, "hook_resid_mid");
      at::Tensor reader = sees ? below : y;
      v.readers.select(1, l).copy_(reader.detach().to(at::kCPU, at::kDouble));
      if (fits(l)) {
        at::Tensor wanted = at::zeros_like(r->value(block_point(l, "hook_attn_out"))).detach();
        last_of(wanted).copy_(reader.detach());
        at::Tensor heads = through_heads(*r, l, wanted, true);
        v.heads.select(1, l).narrow(1, 0, heads.size(1)).copy_(heads);
      }
      y = below.detach();
    }
    out.push_back(std::move(v));
  }
  return out;
}

at::Tensor Propagation::second(const PromptGroup& group, const at::Tensor& targets, const std::vector<int64_t>& below) const {
  at::AutoGradMode grad(true);
  auto r = run(group);
  const int64_t k = targets.size(0), d = input_.model.config().d_model;
  at::Tensor out = nans({k, layers(), heads_, d});
  for (int64_t i = 0; i < k; ++i)
    for (int64_t l = 0; l < below[static_cast<size_t>(i)]; ++l) {
      if (!fits(l)) continue;
      at::Tensor heads = through_heads(*r, l, targets[i].view({1, 1, d}), false).sum(0);
      out[i][l].narrow(0, 0, heads.size(0)).copy_(heads);
    }
  return out;
}

Propagation::Effects Propagation::effects(const PromptGroup& group, const at::Tensor& y, const at::Tensor& n) const {
  at::NoGradGuard no_grad;
  const Model& m = input_.model;
  const int64_t rows = group.clean.size(0), d = m.config().d_model;
  ForwardResult runs[2];
  for (int side = 0; side < 2; ++side) {
    HookPlan plan;
    plan.form = input_.form;
    plan.logit_positions = std::vector<int64_t>{-1};
    for (int64_t l = 0; l < layers(); ++l) {
      plan.capture(block_point(l, "hook_resid_pre"));
      if (has_point(m, l, "hook_attn_out")) plan.capture(block_point(l, "hook_attn_out"), {-1});
      if (fits(l)) plan.capture(block_point(l, "attn.hook_result"), {-1});
      if (fits(l) && side == 0) plan.capture(block_point(l, "attn.hook_pattern"), {-1});
    }
    plan.capture(block_point(layers() - 1, "hook_resid_post"), {-1});
    runs[side] = m.forward(side == 0 ? group.clean : group.corrupted, plan);
  }
  auto value = [&](int side, int64_t l, const char* point) { return runs[side].cache.get(block_point(l, point)); };
  at::Tensor wanted = n.to(at::kDouble);
  // n · logits of rows that run over heads, then prompts.
  auto observe = [&](const at::Tensor& logits) {
    at::Tensor z = logits.to(at::kCPU, at::kDouble).reshape({-1, rows, logits.size(-1)});
    return (z * wanted).sum(-1);
  };
  at::Tensor base = observe(runs[0].logits.select(1, 0));
  Effects out{nans({layers(), heads_, rows}), nans({layers(), heads_, rows})};
  for (int64_t l = 0; l < layers(); ++l) {
    if (!fits(l)) continue;
    at::Tensor a = value(0, l, "attn.hook_pattern").select(2, 0).to(at::kCPU, at::kDouble);                        // [rows, head, pos]
    at::Tensor change = (value(1, l, "hook_resid_pre") - value(0, l, "hook_resid_pre")).to(at::kCPU, at::kDouble);   // [rows, pos, d]
    const int64_t heads = a.size(1);
    at::Tensor at_layer = y.select(1, l).narrow(1, 0, heads).expand({rows, heads, d});
    at::Tensor seen = at::matmul(at_layer, change.transpose(1, 2));                                                // [rows, head, pos]
    out.predicted[l].narrow(0, 0, heads).copy_((a * seen).sum(-1).t());

    at::Tensor delta = (value(1, l, "attn.hook_result") - value(0, l, "attn.hook_result")).select(1, 0);           // [rows, head, d]
    const double add = m.config().layers[static_cast<size_t>(l)].add1;
    delta = (add == 1 ? delta : delta * add).transpose(0, 1).reshape({heads * rows, d});
    at::Tensor logits;
    if (!linear_) {
      at::Tensor final = value(0, layers() - 1, "hook_resid_post").select(1, 0);
      logits = unembed(m, final.repeat({heads, 1}) + delta);
    } else {
      // One token a row: attention above is held at what it gave in the clean run, so nothing else is needed.
      RunState state;
      state.keep = false;
      state.first_layer = l;
      state.residual = last_of(value(0, l, "hook_resid_pre")).repeat({heads, 1}).unsqueeze(1);
      HookPlan plan;
      for (int64_t k = l; k < layers(); ++k) {
        if (!has_point(m, k, "hook_attn_out")) continue;
        at::Tensor held = value(0, k, "hook_attn_out").select(1, 0).repeat({heads, 1});
        if (k == l) held = held + delta;
        plan.edit(block_point(k, "hook_attn_out"), [held](const at::Tensor&, int64_t) { return held.unsqueeze(1); });
      }
      logits = m.forward(at::zeros({heads * rows, 1}, group.clean.options()), plan, &state).logits.select(1, 0);
    }
    out.measured[l].narrow(0, 0, heads).copy_(observe(logits) - base);
  }
  return out;
}

}  // namespace microtome::analyses
