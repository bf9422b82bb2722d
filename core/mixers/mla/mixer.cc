// Multi-head latent attention: softmax attention whose keys and values are made from one narrow vector a token.
#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/hooked_run.h"
#include "core/mixers/mla/cases.h"
#include "core/mixers/projections.h"
#include "core/mixers/registry.h"
#include "core/mixers/softmax_attention/attention.h"
#include "core/mixers/softmax_attention/looked_at.h"

namespace microtome::mixers {
namespace {

constexpr const char* kKind = "mla";

struct Config {
  int64_t heads, rank, q_rank, own, shared, head_v;    // own, shared: channels of a key made a head, and of all heads
  double eps;
  bool bias;
  int64_t d_k() const { return own + shared; }
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{};
  auto size = [&](const char* name, int64_t fallback, int64_t least) {
    const int64_t v = p.get_int(name, fallback);
    if (v < least || v > (1 << 20))
      throw Error(StatusCode::kBadInput, std::string(name) + " is " + std::to_string(v), std::string(kKind) + "." + name,
                  "it must lie between " + std::to_string(least) + " and 1048576");
    return v;
  };
  if (d_model <= 0) throw Error(StatusCode::kBadInput, "d_model is " + std::to_string(d_model), kKind);
  c.heads = size("num_heads", 0, 1);
  c.rank = size("kv_rank", 0, 1);
  c.q_rank = size("q_rank", 0, 0);
  c.own = size("head_k", 0, 1);
  c.shared = size("shared_k", 0, 1);
  c.head_v = size("head_v", 0, 1);
  c.eps = p.get_float("norm_eps", 1e-6);
  c.bias = p.get_bool("bias", false);
  return c;
}

MixerInfo make_info(const Params& params, int64_t d_model) {
  const Config c = read_config(params, d_model);
  MixerInfo info;
  info.kind = kKind;
  info.heads = info.kv_heads = c.heads;
  info.d_k = c.d_k();
  info.d_v = c.head_v;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  if (!c.q_rank) info.inputs = {"q"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"};
  info.points = {
      {"hook_latent", {"batch", "pos", "latent"}, {-1, -1, c.rank}, false, "normalised; keys and values are made from it"},
      {"hook_k_shared", {"batch", "pos", "d_head"}, {-1, -1, c.shared}, false, "the part of the keys that all heads have"},
      {"hook_q", by_head, {-1, -1, c.heads, c.d_k()}, false, ""},
      {"hook_k", by_head, {-1, -1, c.heads, c.d_k()}, false, "of this run's tokens"},
      {"hook_v", by_head, {-1, -1, c.heads, c.head_v}, false, "of this run's tokens"},
      {"hook_z", {"batch", "pos", "head", "d_v"}, {-1, -1, c.heads, c.head_v}, false, ""},
      {"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, d_model}, true, "without the output bias"}};
  std::vector<HookPoint> pattern = pattern_points(c.heads, "");
  info.points.insert(info.points.begin() + 5, pattern.begin(), pattern.end());
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& params, int64_t d_model) {
  const Config c = read_config(params, d_model);
  std::vector<WeightSpec> w;
  if (c.q_rank) {
    w.push_back({"q_a_proj.weight", {c.q_rank, d_model}});
    if (c.bias) w.push_back({"q_a_proj.bias", {c.q_rank}});
    w.push_back({"q_a_layernorm.weight", {c.q_rank}});
    w.push_back({"q_b_proj.weight", {c.heads * c.d_k(), c.q_rank}});
  } else {
    w.push_back({"q_proj.weight", {c.heads * c.d_k(), d_model}});
  }
  w.push_back({"kv_a_proj_with_mqa.weight", {c.rank + c.shared, d_model}});
  if (c.bias) w.push_back({"kv_a_proj_with_mqa.bias", {c.rank + c.shared}});
  w.push_back({"kv_a_layernorm.weight", {c.rank}});
  w.push_back({"kv_b_proj.weight", {c.heads * (c.own + c.head_v), c.rank}});
  w.push_back({"o_proj.weight", {d_model, c.heads * c.head_v}});
  if (c.bias) w.push_back({"o_proj.bias", {d_model}});
  return w;
}

class LatentAttention : public TokenMixer {
 public:
  LatentAttention(const Params& params, int64_t d_model, WeightMap weights)
      : info_(make_info(params, d_model)), c_(read_config(params, d_model)), d_model_(d_model), w_(std::move(weights)) {
    require_weights(w_, weight_specs(params, d_model), kKind);
    options_.scale = 1 / std::sqrt(static_cast<double>(c_.d_k()));
  }
  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, d_model_, kKind);
    at::Tensor q = hooks.apply("hook_q", queries(in));
    at::Tensor both = at::linear(in.x, w_.at("kv_a_proj_with_mqa.weight"), weight_or_none(w_, "kv_a_proj_with_mqa.bias"));
    at::Tensor latent = rms_norm(both.slice(2, 0, c_.rank), w_.at("kv_a_layernorm.weight"), c_.eps);
    latent = hooks.apply("hook_latent", latent);
    at::Tensor shared = hooks.apply("hook_k_shared", both.slice(2, c_.rank));
    QueryRows rows;
    rows.tokens = in.x.size(1);
    // What is kept is narrow; keys and values of earlier tokens are made from it again.
    at::Tensor before = kept(state, "latent", c_.rank), before_shared = kept(state, "k_shared", c_.shared);
    auto [k, v] = keys_and_values(latent, shared);
    k = hooks.apply("hook_k", k);
    v = hooks.apply("hook_v", v);
    if (before.defined()) {
      rows.past = before.size(1);
      auto [past_k, past_v] = keys_and_values(before.to(latent.options()), before_shared.to(shared.options()));
      k = at::cat({past_k, k}, 1);
      v = at::cat({past_v, v}, 1);
      latent = at::cat({before.to(latent.options()), latent}, 1);
      shared = at::cat({before_shared.to(shared.options()), shared}, 1);
    }
    if (state) {
      state->tensors["latent"] = latent;
      state->tensors["k_shared"] = shared;
    }
    at::Tensor z = hooks.apply("hook_z", attend_hooked(q, k, v, hooks, run.form, options_, rows, rows.past));
    at::Tensor y = project_out(z, w_.at("o_proj.weight"), hooks);
    at::Tensor bias = weight_or_none(w_, "o_proj.bias");
    return bias.defined() ? y + bias : y;
  }

 private:
  at::Tensor queries(const MixerInput& in) const {
    if (!c_.q_rank) return project_heads(in, "q", w_.at("q_proj.weight"), {}, c_.heads, c_.heads);
    at::Tensor narrow = at::linear(in.x, w_.at("q_a_proj.weight"), weight_or_none(w_, "q_a_proj.bias"));
    narrow = rms_norm(narrow, w_.at("q_a_layernorm.weight"), c_.eps);
    return at::linear(narrow, w_.at("q_b_proj.weight")).unflatten(2, {c_.heads, c_.d_k()});
  }

  std::pair<at::Tensor, at::Tensor> keys_and_values(const at::Tensor& latent, const at::Tensor& shared) const {
    at::Tensor kv = at::linear(latent, w_.at("kv_b_proj.weight")).unflatten(2, {c_.heads, c_.own + c_.head_v});
    at::Tensor all = shared.unsqueeze(2).expand({shared.size(0), shared.size(1), c_.heads, c_.shared});
    return {at::cat({kv.slice(3, 0, c_.own), all}, 3), kv.slice(3, c_.own)};
  }

  at::Tensor kept(const MixerState* state, const char* name, int64_t width) const {
    if (!state) return {};
    auto it = state->tensors.find(name);
    if (it == state->tensors.end() || !it->second.defined()) return {};
    if (it->second.dim() != 3 || it->second.size(2) != width)
      throw Error(StatusCode::kBadInput, "the state has shape " + c10::str(it->second.sizes()) + ", expected [batch, pos, " +
                  std::to_string(width) + "]", std::string(kKind) + " state '" + name + "'");
    return it->second;
  }

  MixerInfo info_;
  Config c_;
  int64_t d_model_;
  WeightMap w_;
  AttentionOptions options_;
};

// The op of attention itself, on q, k and v as softmax_attention's.
MixerOpResult no_op(const MixerOpRequest&) {
  throw Error(StatusCode::kUnsupported, "latent attention has no op of its own", kKind, "use softmax_attention on its q, k and v");
}

}  // namespace

void register_mla(Registry& registry) {
  MixerKind kind;
  kind.name = kKind;
  kind.aliases = {"latent_attention"};
  kind.paper = "arXiv 2405.04434";
  kind.info = make_info;
  kind.weights = weight_specs;
  kind.create = [](const Params& params, int64_t d_model, WeightMap weights) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<LatentAttention>(params, d_model, std::move(weights));
  };
  kind.op = no_op;
  kind.cases = mla_cases();
  registry.add(std::move(kind));
}

}  // namespace microtome::mixers
