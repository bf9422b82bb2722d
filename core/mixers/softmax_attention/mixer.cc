// Softmax attention as a token mixer: weights, hook points, keys and values kept between runs.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/status.h"
#include "core/hooks/index_tensor.h"
#include "core/mixers/frozen_linear.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/positions.h"
#include "core/mixers/projections.h"
#include "core/mixers/registry.h"
#include "core/mixers/rope.h"
#include "core/mixers/softmax_attention/attention.h"
#include "core/mixers/softmax_attention/in_place.h"
#include "core/mixers/softmax_attention/kept.h"
#include "core/mixers/softmax_attention/looked_at.h"
#include "core/mixers/softmax_attention/parts.h"

namespace microtome::mixers {
namespace {

constexpr const char* kKind = "softmax_attention";

// Over what q and k are normalised, and how.
enum class QkNorm { kNone, kHeadRms, kWholeRms, kHeadLayer, kEachHeadLayer };

struct Config {
  int64_t heads, kv_heads, head_dim, rotary_dim, window, d_out, adapter_rank;
  double scale, multiplier_k, multiplier_out, softcap, norm_eps, norm_offset, clip_qkv, sigmoid_bias, clip_gamma, clip_zeta;
  Rope rope;
  QkNorm qk_norm;
  Weighting weighting;
  bool alibi, causal, sinks, gate;
  bool q_bias, k_bias, v_bias, o_bias;
};

void require(bool good, const std::string& what, const char* field) {
  if (!good) throw Error(StatusCode::kBadInput, what, std::string(kKind) + "." + field);
}

Config read_config(const Params& p, int64_t d_model) {
  constexpr int64_t kMost = 1 << 20;     // far beyond any model; keeps products of two sizes inside int64
  Config c{};
  require(d_model > 0 && d_model <= kMost, "d_model is " + std::to_string(d_model), "d_model");
  c.heads = p.get_int("num_heads");
  require(c.heads > 0 && c.heads <= kMost, "num_heads is " + std::to_string(c.heads), "num_heads");
  c.kv_heads = p.get_int("num_kv_heads", c.heads);
  require(c.kv_heads > 0 && c.heads % c.kv_heads == 0, "num_kv_heads is " + std::to_string(c.kv_heads) +
          ", which does not divide num_heads " + std::to_string(c.heads), "num_kv_heads");
  c.head_dim = p.get_int("head_dim", d_model / c.heads);
  require(c.head_dim > 0 && c.head_dim <= kMost, "head_dim is " + std::to_string(c.head_dim), "head_dim");
  c.rotary_dim = p.get_int("rotary_dim", 0);
  require(c.rotary_dim >= 0 && c.rotary_dim <= c.head_dim && c.rotary_dim % 2 == 0, "rotary_dim is " +
          std::to_string(c.rotary_dim) + ", not an even number up to head_dim " + std::to_string(c.head_dim),
          "rotary_dim");
  c.rope = Rope(p, c.rotary_dim, kKind);
  c.d_out = p.get_int("d_out", d_model);
  require(c.d_out > 0 && c.d_out <= kMost, "d_out is " + std::to_string(c.d_out), "d_out");
  c.adapter_rank = p.get_int("adapter_rank", 0);
  require(c.adapter_rank >= 0 && c.adapter_rank <= kMost, "adapter_rank is " + std::to_string(c.adapter_rank), "adapter_rank");
  for (auto [name, m] : {std::pair{"multiplier_k", &c.multiplier_k}, {"multiplier_out", &c.multiplier_out}}) {
    *m = p.get_float(name, 1.0);
    require(std::isfinite(*m), std::string(name) + " is not a finite number", name);
  }
  c.window = p.get_int("window", 0);
  require(c.window >= 0, "window is negative", "window");
  c.scale = p.get_float("scale", 0.0);
  if (c.scale == 0) c.scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
  c.softcap = p.get_float("softcap", 0.0);
  require(c.softcap >= 0, "softcap is negative", "softcap");
  c.norm_eps = p.get_float("norm_eps", 1e-6);
  require(c.norm_eps >= 0, "norm_eps is negative", "norm_eps");
  c.norm_offset = p.get_float("norm_offset", 0.0);
  c.clip_qkv = p.get_float("clip_qkv", 0.0);
  require(c.clip_qkv >= 0, "clip_qkv is negative", "clip_qkv");
  c.alibi = p.get_bool("alibi", false);
  static const std::map<std::string, QkNorm> norms = {{"head_rms", QkNorm::kHeadRms}, {"whole_rms", QkNorm::kWholeRms},
      {"head_layer", QkNorm::kHeadLayer}, {"each_head_layer", QkNorm::kEachHeadLayer}};
  const std::string norm = p.get_string("qk_norm_kind", "head_rms");
  require(norms.count(norm), "qk_norm_kind is '" + norm + "', not head_rms, whole_rms, head_layer or each_head_layer",
          "qk_norm_kind");
  c.qk_norm = p.get_bool("qk_norm", false) ? norms.at(norm) : QkNorm::kNone;
  static const std::map<std::string, Weighting> weightings = {{"softmax", Weighting::kSoftmax},
      {"sigmoid", Weighting::kSigmoid}, {"clipped_softmax", Weighting::kClippedSoftmax},
      {"softplus", Weighting::kSoftplusL1}};
  const std::string weighting = p.get_string("weighting", "softmax");
  require(weightings.count(weighting), "weighting is '" + weighting + "', not softmax, sigmoid, clipped_softmax or softplus",
          "weighting");
  c.weighting = weightings.at(weighting);
  c.sigmoid_bias = p.get_float("sigmoid_bias", 0.0);
  c.clip_gamma = p.get_float("clip_gamma", 0.0);
  c.clip_zeta = p.get_float("clip_zeta", 1.0);
  c.gate = p.get_bool("output_gate", false);
  c.causal = p.get_bool("causal", true);
  c.sinks = p.get_bool("sinks", false);
  c.q_bias = p.get_bool("q_bias", false);
  c.k_bias = p.get_bool("k_bias", false);
  c.v_bias = p.get_bool("v_bias", false);
  c.o_bias = p.get_bool("o_bias", false);
  require(!c.sinks || c.weighting == Weighting::kSoftmax, "sinks exist only with the softmax", "sinks");
  return c;
}

at::Tensor scaled(const at::Tensor& x, double by) { return by == 1 ? x : x * by; }

bool has_fused_form(const Config& c) { return c.softcap == 0 && c.weighting == Weighting::kSoftmax; }   // AttentionOptions::fused

MixerInfo make_info(const Params& params, int64_t d_model) {
  const Config c = read_config(params, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.heads = c.heads;
  info.kv_heads = c.kv_heads;
  info.d_k = info.d_v = c.head_dim;
  info.forms = {MixerForm::kNaive};
  if (has_fused_form(c)) info.forms.push_back(MixerForm::kChunk);
  // Normalised over all heads at once, a head's q and k depend on the others' inputs: only v can be split.
  info.inputs = c.qk_norm == QkNorm::kWholeRms ? std::vector<std::string>{"v"} : std::vector<std::string>{"q", "k", "v"};
  const std::string grouped = c.kv_heads == c.heads ? "" : "over key/value heads; over query heads with a split input";
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"};
  info.points.push_back({"hook_q", by_head, {-1, -1, c.heads, c.head_dim}, false, ""});
  info.points.push_back({"hook_k", by_head, {-1, -1, c.kv_heads, c.head_dim}, false, grouped});
  info.points.push_back({"hook_v", by_head, {-1, -1, c.kv_heads, c.head_dim}, false, grouped});
  if (c.rotary_dim > 0) {
    info.points.push_back({"hook_rot_q", by_head, {-1, -1, c.heads, c.head_dim}, false, ""});
    info.points.push_back({"hook_rot_k", by_head, {-1, -1, c.kv_heads, c.head_dim}, false, grouped});
  }
  const std::string note = c.sinks ? "rows sum to less than 1: the sink's share is dropped"
                           : c.weighting == Weighting::kSoftmax ? "" : "rows need not sum to 1";
  for (HookPoint& p : pattern_points(c.heads, note)) info.points.push_back(std::move(p));
  info.points.push_back({"hook_z", {"batch", "pos", "head", "d_v"}, {-1, -1, c.heads, c.head_dim}, false, ""});
  if (c.gate) info.points.push_back({"hook_gate", by_head, {-1, -1, c.heads, c.head_dim}, false, "multiplies hook_z"});
  info.points.push_back({"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, c.d_out}, true,
                         "without the output bias"});
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& params, int64_t d_model) {
  const Config c = read_config(params, d_model);
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  std::vector<WeightSpec> out = {{"q_proj.weight", {q, d_model}}, {"k_proj.weight", {kv, d_model}},
                                 {"v_proj.weight", {kv, d_model}}, {"o_proj.weight", {c.d_out, q}}};
  if (c.q_bias) out.push_back({"q_proj.bias", {q}});
  if (c.k_bias) out.push_back({"k_proj.bias", {kv}});
  if (c.v_bias) out.push_back({"v_proj.bias", {kv}});
  if (c.o_bias) out.push_back({"o_proj.bias", {c.d_out}});
  for (const char* role : {"q", "k", "v"}) {
    if (c.adapter_rank == 0) break;
    out.push_back({std::string(role) + "_adapter.0.weight", {c.adapter_rank, d_model}});
    out.push_back({std::string(role) + "_adapter.1.weight", {*role == 'q' ? q : kv, c.adapter_rank}});
  }
  switch (c.qk_norm) {
    case QkNorm::kNone: break;
    case QkNorm::kHeadLayer:
      out.push_back({"q_norm.bias", {c.head_dim}});
      out.push_back({"k_norm.bias", {c.head_dim}});
      [[fallthrough]];
    case QkNorm::kHeadRms:
      out.push_back({"q_norm.weight", {c.head_dim}});
      out.push_back({"k_norm.weight", {c.head_dim}});
      break;
    case QkNorm::kWholeRms:
      out.push_back({"q_norm.weight", {q}});
      out.push_back({"k_norm.weight", {kv}});
      break;
    case QkNorm::kEachHeadLayer:
      for (int64_t h = 0; h < c.heads; ++h) out.push_back({"q_norm." + std::to_string(h) + ".weight", {c.head_dim}});
      for (int64_t h = 0; h < c.kv_heads; ++h) out.push_back({"k_norm." + std::to_string(h) + ".weight", {c.head_dim}});
      break;
  }
  if (c.gate) out.push_back({"g_proj.weight", {q, d_model}});
  if (c.gate && c.q_bias) out.push_back({"g_proj.bias", {q}});
  if (c.sinks) out.push_back({"sinks", {c.heads}});
  return out;
}

// Rotates queries of chosen positions: each unbroken run of them at its own first position.
at::Tensor rotate_rows(const at::Tensor& q, const QueryRows& rows, int64_t first_pos, int64_t length, const Rope& rope) {
  if (!rows.read) return rope.turn(q, first_pos, length);
  const std::vector<int64_t>& read = *rows.read;
  std::vector<at::Tensor> parts;
  for (size_t begin = 0, end = 0; begin < read.size(); begin = end) {
    for (end = begin + 1; end < read.size() && read[end] == read[end - 1] + 1;) ++end;
    at::Tensor run = q.narrow(1, static_cast<int64_t>(begin), static_cast<int64_t>(end - begin));
    parts.push_back(rope.turn(run, first_pos + read[begin], length));
  }
  return at::cat(parts, 1);
}

class SoftmaxAttention : public TokenMixer {
 public:
  SoftmaxAttention(const Params& params, int64_t d_model, WeightMap weights)
      : info_(make_info(params, d_model)), c_(read_config(params, d_model)), d_model_(d_model), w_(std::move(weights)) {
    require_weights(w_, weight_specs(params, d_model), kKind);
    options_.scale = c_.scale;
    options_.softcap = c_.softcap;
    options_.window = c_.window;
    options_.causal = c_.causal;
    options_.alibi = c_.alibi;
    options_.sinks = c_.sinks ? w_.at("sinks") : at::Tensor();
    options_.weighting = c_.weighting;
    options_.sigmoid_bias = c_.sigmoid_bias;
    options_.clip_gamma = c_.clip_gamma;
    options_.clip_zeta = c_.clip_zeta;
    q_norm_ = gain("q_norm", c_.heads);
    k_norm_ = gain("k_norm", c_.kv_heads);
  }

  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    QueryRows rows;
    check(in, state, run, rows);
    MixerInput asked = in;
    if (rows.read) {
      asked.x = at_positions(in.x, *rows.read);
      for (auto& [role, x] : asked.split) x = at_positions(x, *rows.read);
    }
    at::Tensor q = project(asked, "q", c_.heads), k = project(in, "k", c_.kv_heads), v = project(in, "v", c_.kv_heads);
    if (c_.clip_qkv > 0)
      for (at::Tensor* x : {&q, &k, &v}) *x = x->clamp(-c_.clip_qkv, c_.clip_qkv);
    k = scaled(k, c_.multiplier_k);
    q = normalise(q, q_norm_, "q_norm.bias");
    k = normalise(k, k_norm_, "k_norm.bias");
    q = hooks.apply("hook_q", q);
    k = hooks.apply("hook_k", k);
    v = hooks.apply("hook_v", v);
    const int64_t past = state ? kept(*state) : 0;
    // A window keeps fewer keys than there were positions; without a plan the kept ones are all that is known.
    const int64_t first_pos = std::max(hooks.first_pos(), past);
    if (c_.rope.any()) {
      const int64_t length = std::max(run.length, first_pos + rows.tokens);
      q = hooks.apply("hook_rot_q", rotate_rows(q, rows, first_pos, length, c_.rope));
      k = hooks.apply("hook_rot_k", c_.rope.turn(k, first_pos, length));
    }
    at::Tensor z;
    if (const Cursor* here = cursor()) {
      z = attend_in_place(*here, state, q, k, v, options_);
    } else {
      k = join_kept(state, "k", k, kKind);
      v = join_kept(state, "v", v, kKind);
      rows.past = past;
      if (state) keep(*state, k, v);
      z = hooks.apply("hook_z", attend_hooked(q, k, v, hooks, run.form, options_, rows, first_pos));
    }
    if (c_.gate) {
      at::Tensor by_head = at::linear(asked.x, w_.at("g_proj.weight"), weight_or_none(w_, "g_proj.bias")).view_as(z);
      z = z * hooks.apply("hook_gate", by_head.sigmoid());
    }
    return output(z, hooks);
  }

 private:
  void check(const MixerInput& in, const MixerState* state, const MixerRun& run, QueryRows& rows) const {
    check_input(in, d_model_, kKind);
    if (state && !c_.causal)
      throw Error(StatusCode::kUnsupported, "attention in both directions keeps no state between runs", kKind,
                  "run the whole sequence at once");
    rows.tokens = in.x.size(1);
    rows.read = run.read;
    if (!run.read) return;
    for (int64_t p : *run.read) {
      if (p < 0 || p >= rows.tokens)
        throw Error(StatusCode::kBadInput, "position " + std::to_string(p) + " to read is outside " +
                    std::to_string(rows.tokens) + " tokens", kKind);
    }
    if (run.read->empty()) throw Error(StatusCode::kBadInput, "no position to read was given", kKind);
  }

  at::Tensor project(const MixerInput& in, const std::string& role, int64_t heads) const {
    const at::Tensor& weight = w_.at(role + "_proj.weight");
    at::Tensor y = project_heads(in, role, weight, weight_or_none(w_, role + "_proj.bias"), heads, c_.heads);
    if (c_.adapter_rank == 0) return y;
    return y + project_low_rank(in, role, w_.at(role + "_adapter.0.weight"), w_.at(role + "_adapter.1.weight"), {}, heads,
                                c_.heads);
  }

  at::Tensor gain(const std::string& name, int64_t heads) const {
    if (c_.qk_norm == QkNorm::kNone) return {};
    if (c_.qk_norm != QkNorm::kEachHeadLayer) return w_.at(name + ".weight") + c_.norm_offset;
    std::vector<at::Tensor> rows;
    for (int64_t h = 0; h < heads; ++h) rows.push_back(w_.at(name + "." + std::to_string(h) + ".weight"));
    return at::stack(rows);
  }

  // x [batch, pos, head, head_dim] or, with a split input, over as many heads as there are queries.
  at::Tensor normalise(const at::Tensor& x, const at::Tensor& gain, const char* bias) const {
    switch (c_.qk_norm) {
      case QkNorm::kNone: return x;
      case QkNorm::kHeadRms: return rms_norm(x, gain, c_.norm_eps);
      case QkNorm::kWholeRms:
        return rms_norm(x.flatten(2), gain, c_.norm_eps).view_as(x);
      case QkNorm::kHeadLayer: return at::layer_norm(x, {c_.head_dim}, gain, weight_or_none(w_, bias), c_.norm_eps);
      case QkNorm::kEachHeadLayer:
        return at::layer_norm(x, {c_.head_dim}, {}, {}, c_.norm_eps) *
               (gain.size(0) == x.size(2) ? gain : gain.repeat_interleave(x.size(2) / gain.size(0), 0));
    }
    return x;
  }

  static int64_t kept(const MixerState& state) {
    auto it = state.tensors.find("k");
    return it == state.tensors.end() || !it->second.defined() || it->second.dim() != 4 ? 0 : it->second.size(1);
  }

  // The next token sees window - 1 keys before its own. A copy, so that the dropped ones are freed.
  void keep(MixerState& state, const at::Tensor& k, const at::Tensor& v) const {
    const int64_t have = k.size(1), want = c_.window > 0 ? std::min(have, c_.window - 1) : have;
    auto last = [&](const at::Tensor& x) { return want == have ? x : x.narrow(1, have - want, want).clone(); };
    state.tensors["k"] = last(k);
    state.tensors["v"] = last(v);
  }

  at::Tensor output(const at::Tensor& by_head, HookScope& hooks) const {
    const at::Tensor& weight = w_.at("o_proj.weight");
    const at::Tensor z = scaled(by_head, c_.multiplier_out);
    at::Tensor bias = weight_or_none(w_, "o_proj.bias");
    if (bias.defined()) bias = scaled(bias, c_.multiplier_out);
    if (hooks.wants("hook_result")) {
      // One product a head: a broadcast one would copy the matrices for every token.
      at::Tensor by_head_weight = weight.view({c_.d_out, c_.heads, c_.head_dim});
      auto results = [&](const at::Tensor& some) { return at::einsum("bthv,dhv->bthd", {some, by_head_weight}); };
      const auto positions = hooks.positions("hook_result");
      if (positions && !hooks.changes("hook_result")) {
        at::NoGradGuard no_grad;
        hooks.keep("hook_result", results(z.index_select(1, index_tensor(*positions, z.device()))));
      } else if (at::Tensor result = hooks.apply("hook_result", results(z)); hooks.changes("hook_result")) {
        return bias.defined() ? result.sum(2) + bias : result.sum(2);
      }
    }
    return frozen_linear(z.flatten(2, 3), weight, bias);
  }

  MixerInfo info_;
  Config c_;
  int64_t d_model_;
  WeightMap w_;
  AttentionOptions options_;
  at::Tensor q_norm_, k_norm_;         // gains
};

}  // namespace

void register_softmax_attention(Registry& registry) {
  MixerKind kind;
  kind.name = kKind;
  kind.aliases = {"attn", "mha", "softmax", "transformer"};
  kind.paper = "arXiv 1706.03762, 1911.02150, 2305.13245";
  kind.info = make_info;
  kind.weights = weight_specs;
  kind.create = [](const Params& params, int64_t d_model, WeightMap weights) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<SoftmaxAttention>(params, d_model, std::move(weights));
  };
  kind.op = softmax_attention_op;
  kind.cases = softmax_attention_cases();
  registry.add(std::move(kind));
}

}  // namespace microtome::mixers
