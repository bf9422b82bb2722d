#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/hooks/index_tensor.h"
#include "core/mixers/forgetting_attn/cases.h"
#include "core/mixers/forgetting_attn/forms.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"
#include "core/mixers/softmax_attention/kept.h"

namespace microtome::mixers {

namespace {

constexpr const char* kKind = "forgetting_attn";

struct Config {
  int64_t d_model, heads, kv_heads, head_dim;
  bool bias, norm, gate;
  double norm_eps;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{};
  c.d_model = d_model;
  check_size(kKind, "d_model", d_model, 1 << 20);
  c.heads = p.get_int("num_heads");
  check_size(kKind, "num_heads", c.heads, 1 << 16);
  c.kv_heads = p.get_int("num_kv_heads", c.heads);
  check_size(kKind, "num_kv_heads", c.kv_heads, 1 << 16);
  if (c.heads % c.kv_heads != 0)
    throw Error(StatusCode::kBadInput, "num_kv_heads " + std::to_string(c.kv_heads) + " does not divide num_heads " +
                                           std::to_string(c.heads), "mixer forgetting_attn");
  c.head_dim = p.get_int("head_dim", d_model / c.heads);
  check_size(kKind, "head_dim", c.head_dim, 1 << 20);
  c.bias = p.get_bool("qkv_bias", false);
  c.norm = p.get_bool("qk_norm", false);
  c.gate = p.get_bool("use_output_gate", false);
  c.norm_eps = p.get_float("norm_eps", 1e-5);
  if (!(c.norm_eps > 0)) throw Error(StatusCode::kBadInput, "norm_eps is not a positive number", "mixer forgetting_attn");
  return c;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.heads = c.heads;
  info.kv_heads = c.kv_heads;
  info.d_k = info.d_v = c.head_dim;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = {"q", "k", "v", "decay"};
  if (c.gate) info.inputs.push_back("gate");
  const std::string grouped = c.kv_heads == c.heads ? "" : "over key/value heads; over query heads with a split input";
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"}, values = {"batch", "pos", "head", "d_v"},
                                 square = {"batch", "head", "q_pos", "k_pos"};
  const std::vector<int64_t> q = {-1, -1, c.heads, c.head_dim}, kv = {-1, -1, c.kv_heads, c.head_dim};
  info.points = {{"hook_q", by_head, q, false, ""},
                 {"hook_k", by_head, kv, false, grouped},
                 {"hook_v", by_head, kv, false, grouped},
                 {"hook_decay", {"batch", "pos", "head", "d_k"}, {-1, -1, c.heads, 1}, false, "log of the forget gate"},
                 {"hook_attn_scores", square, {-1, c.heads, -1, -1}, true,
                  "with what was forgotten, after the mask, before softmax"},
                 {"hook_pattern", square, {-1, c.heads, -1, -1}, true, ""},
                 {"hook_z", values, q, false, c.gate ? "before the gate" : ""}};
  if (c.gate) info.points.push_back({"hook_gate", values, q, false, "after its activation"});
  info.points.push_back({"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, d_model}, true, ""});
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  std::vector<WeightSpec> w = {{"q_proj.weight", {q, d_model}}, {"k_proj.weight", {kv, d_model}},
                               {"v_proj.weight", {kv, d_model}}, {"o_proj.weight", {d_model, q}},
                               {"f_proj.weight", {c.heads, d_model}}, {"f_proj.bias", {c.heads}}};
  if (c.bias) {
    w.push_back({"q_proj.bias", {q}});
    w.push_back({"k_proj.bias", {kv}});
    w.push_back({"v_proj.bias", {kv}});
  }
  if (c.norm) {
    w.push_back({"q_norm.weight", {q}});
    w.push_back({"k_norm.weight", {kv}});
  }
  if (c.gate) w.push_back({"g_proj.weight", {q, d_model}});
  return w;
}

class ForgettingAttention : public TokenMixer {
 public:
  ForgettingAttention(const Params& p, int64_t d_model, WeightMap weights)
      : c_(read_config(p, d_model)), info_(make_info(p, d_model)), w_(std::move(weights)) {
    require_weights(w_, weight_specs(p, d_model), kKind);
    options_.scale = 1.0 / std::sqrt(static_cast<double>(c_.head_dim));
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, "forgetting_attn");
    QueryRows rows;
    rows.tokens = in.x.size(1);
    rows.read = run.read;
    MixerInput asked = in;                 // queries and gates of the positions that are read
    if (rows.read) {
      at::Tensor index = index_tensor(*rows.read, in.x.device());
      asked.x = in.x.index_select(1, index);
      for (auto& [role, x] : asked.split) x = x.index_select(1, index);
    }
    at::Tensor q = project(asked, "q", c_.heads), k = project(in, "k", c_.kv_heads), v = project(in, "v", c_.kv_heads);
    if (c_.norm) {
      q = normalised(q, "q_norm.weight");
      k = normalised(k, "k_norm.weight");
    }
    q = hooks.apply("hook_q", q);
    k = hooks.apply("hook_k", k);
    v = hooks.apply("hook_v", v);
    at::Tensor f = project_heads(in, "decay", w_.at("f_proj.weight"), w_.at("f_proj.bias"), c_.heads, c_.heads);
    at::Tensor g = hooks.apply("hook_decay", at::log_sigmoid(at_least_float32(f)));

    k = join_kept(state, "k", k, "forgetting_attn");
    v = join_kept(state, "v", v, "forgetting_attn");
    g = join_kept(state, "g", g, "forgetting_attn");
    rows.past = k.size(1) - rows.tokens;
    if (state) {
      state->tensors["k"] = k;
      state->tensors["v"] = v;
      state->tensors["g"] = g;
    }
    at::Tensor z = hooks.apply("hook_z", attend(q, k, v, g.squeeze(3), hooks, run.form, rows));
    if (c_.gate) {
      at::Tensor gate = project_heads(asked, "gate", w_.at("g_proj.weight"), {}, c_.heads, c_.heads).sigmoid();
      z = z * hooks.apply("hook_gate", gate);
    }
    return project_out(z, w_.at("o_proj.weight"), hooks);
  }

 private:
  at::Tensor project(const MixerInput& in, const std::string& role, int64_t heads) const {
    return project_heads(in, role, w_.at(role + "_proj.weight"), weight_or_none(w_, role + "_proj.bias"), heads, c_.heads);
  }

  // By head, with one gain a channel of all heads.
  at::Tensor normalised(const at::Tensor& x, const char* name) const {
    at::Tensor gain = w_.at(name).view({-1, c_.head_dim});
    return rms_norm(x, x.size(2) == gain.size(0) ? gain : gain.repeat_interleave(x.size(2) / gain.size(0), 0), c_.norm_eps);
  }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& g, HookScope& hooks,
                    MixerForm form, const QueryRows& rows) const {
    const bool looked_at = hooks.wants("hook_attn_scores") || hooks.wants("hook_pattern");
    if (!looked_at && form != MixerForm::kNaive) return forgetting_fused(q, k, v, g, options_, rows);
    at::Tensor scores = hooks.apply("hook_attn_scores", forgetting_scores(q, k, g, options_, rows));
    at::Tensor pattern = hooks.apply("hook_pattern", attention_pattern(scores, options_));
    return attention_mix(pattern, v).to(q.scalar_type());
  }

  Config c_;
  MixerInfo info_;
  WeightMap w_;
  AttentionOptions options_;
};

// q [batch, pos, head, d], k, v over key/value heads, g [batch, pos, head] → o, and A when implied weights are asked for.
MixerOpResult forgetting_attn_op(const MixerOpRequest& request) {
  const at::Tensor q = op_input(request, "q", 4), k = op_input(request, "k", 4), v = op_input(request, "v", 4),
                   g = op_input(request, "g", 3);
  const bool fits = k.size(0) == q.size(0) && k.size(1) == q.size(1) && k.size(3) == q.size(3) &&
                    k.sizes().slice(0, 3) == v.sizes().slice(0, 3) && q.size(2) % k.size(2) == 0 &&
                    g.sizes() == q.sizes().slice(0, 3);
  if (!fits)
    throw Error(StatusCode::kBadInput, "q " + c10::str(q.sizes()) + ", k " + c10::str(k.sizes()) + ", v " +
                                           c10::str(v.sizes()) + " and g " + c10::str(g.sizes()) + " do not fit together");
  AttentionOptions options;
  options.scale = request.scalars.get_float("scale", 1.0 / std::sqrt(static_cast<double>(q.size(3))));
  QueryRows rows;
  rows.tokens = q.size(1);
  MixerOpResult out;
  const bool fused = request.form != MixerForm::kNaive;
  if (fused) out["o"] = forgetting_fused(q, k, v, g, options, rows);
  if (!fused || request.implied) {
    at::Tensor a = attention_pattern(forgetting_scores(q, k, g, options, rows), options);
    if (!fused) out["o"] = attention_mix(a, v).to(q.scalar_type());
    if (request.implied) out["A"] = a;
  }
  return out;
}

}  // namespace

void register_forgetting_attn(Registry& registry) {
  MixerKind k;
  k.name = kKind;
  k.aliases = {"forgetting_transformer"};
  k.paper = "arXiv 2503.02130";
  k.info = make_info;
  k.weights = weight_specs;
  k.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<ForgettingAttention>(p, d_model, std::move(w));
  };
  k.op = forgetting_attn_op;
  k.cases = forgetting_attn_cases();
  registry.add(std::move(k));
}

}  // namespace microtome::mixers
