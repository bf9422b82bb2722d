// Mamba-2 whose input a transformer block adds to: the block is shared by several layers and reads the residual stream
// beside the embeddings. The model's first layer leaves these; its kind is this one too, without a block.
#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/composite.h"
#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrent_layer.h"
#include "core/mixers/registry.h"

namespace microtome::mixers {
namespace {

constexpr const char* kKind = "shared_attention_mamba2";
constexpr const char* kEmbeddings = "embeddings";

struct Config {
  int64_t d_model, d_mlp, mlp_adapter_rank;
  bool first, block, mlp_bias;
  double norm_eps;
  std::string activation;
  Params attention, ssm;
};

Config read_config(const Params& p, int64_t d_model) {
  Config c{};
  check_size(kKind, "d_model", d_model, 1 << 20);
  c.d_model = d_model;
  c.first = p.get_bool("first", false);
  c.block = p.has("num_heads");
  c.norm_eps = p.get_float("norm_eps", 1e-5);
  if (!(c.norm_eps >= 0) || !std::isfinite(c.norm_eps))
    throw Error(StatusCode::kBadInput, "norm_eps is " + std::to_string(c.norm_eps) + ", expected 0 or a positive number",
                std::string("mixer ") + kKind);
  c.ssm = params_below(p, kSsmPrefix);
  if (!c.block) return c;
  c.d_mlp = p.get_int("d_mlp");
  check_size(kKind, "d_mlp", c.d_mlp, 1 << 24);
  c.mlp_adapter_rank = p.get_int("mlp_adapter_rank", 0);
  if (c.mlp_adapter_rank) check_size(kKind, "mlp_adapter_rank", c.mlp_adapter_rank, 1 << 20);
  c.mlp_bias = p.get_bool("mlp_bias", false);
  c.activation = p.get_string("activation", "gelu");
  check_activation(kKind, "activation", c.activation);
  c.attention = p;
  c.attention.set("d_out", d_model);
  return c;
}

// The attention's output goes into the block's MLP, not into the residual stream.
const PointNames& attention_names() {
  static const PointNames names = {{"hook_result", "hook_result.attention"}};
  return names;
}

MixerInfo make_info(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  MixerInfo info = part_info("mamba2", c.ssm, d_model, c.block ? ssm_names() : PointNames{});
  if (c.block) {
    MixerInfo attention = part_info("softmax_attention", c.attention, 2 * d_model, attention_names());
    for (HookPoint& point : attention.points)
      if (point.name == "hook_result.attention") point.note = "what the block's MLP is given, a head each";
    auto wide = [&](const char* name, int64_t width, const char* axis, const char* note) {
      attention.points.push_back({name, {"batch", "pos", axis}, {-1, -1, width}, false, note});
    };
    wide("hook_block_pre", c.d_mlp, "d_mlp", "the block's MLP, before its activation");
    wide("hook_block_pre_linear", c.d_mlp, "d_mlp", "the block's MLP");
    wide("hook_block_post", c.d_mlp, "d_mlp", "the block's MLP");
    wide("hook_block_out", d_model, "d_model", "what the block adds to the input of Mamba-2, before its norm");
    info = join_infos(kKind, attention, info);
    if (!c.first) info.reads.push_back({kEmbeddings, {d_model}});
  }
  info.kind = kKind;
  if (c.first) info.leaves.push_back({kEmbeddings, {d_model}});
  return info;
}

std::vector<WeightSpec> weight_specs(const Params& p, int64_t d_model) {
  const Config c = read_config(p, d_model);
  std::vector<WeightSpec> out;
  if (c.block) {
    out = part_weights("softmax_attention", c.attention, 2 * d_model, "");
    out.push_back({"in_norm.weight", {2 * d_model}});
    out.push_back({"mlp_norm.weight", {d_model}});
    out.push_back({"gate_up_proj.weight", {2 * c.d_mlp, d_model}});
    out.push_back({"down_proj.weight", {d_model, c.d_mlp}});
    if (c.mlp_bias) {
      out.push_back({"gate_up_proj.bias", {2 * c.d_mlp}});
      out.push_back({"down_proj.bias", {d_model}});
    }
    if (c.mlp_adapter_rank) {
      out.push_back({"gate_up_adapter.0.weight", {c.mlp_adapter_rank, d_model}});
      out.push_back({"gate_up_adapter.1.weight", {2 * c.d_mlp, c.mlp_adapter_rank}});
    }
    out.push_back({"linear.weight", {d_model, d_model}});
  }
  out.push_back({"ssm_norm.weight", {d_model}});
  for (WeightSpec& s : part_weights("mamba2", c.ssm, d_model, kSsmPrefix)) out.push_back(std::move(s));
  return out;
}

class SharedAttentionMamba2 : public TokenMixer {
 public:
  SharedAttentionMamba2(const Params& p, int64_t d_model, WeightMap w)
      : c_(read_config(p, d_model)), info_(make_info(p, d_model)), w_(std::move(w)),
        ssm_("mamba2", c_.ssm, d_model, weights_below(w_, kSsmPrefix), c_.block ? ssm_names() : PointNames{}) {
    require_weights(w_, weight_specs(p, d_model), kKind);
    if (c_.block)
      attention_ = std::make_unique<MixerPart>("softmax_attention", c_.attention, 2 * d_model, w_, attention_names());
  }

  const MixerInfo& info() const override { return info_; }

  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override {
    check_input(in, c_.d_model, kKind);
    leave(in, state);
    MixerInput own;
    own.x = in.x;
    if (c_.block) own.x = own.x + block(in, state, hooks, run);
    else own.split = in.split;
    own.x = normed(own.x, "ssm_norm.weight");
    for (auto& [role, x] : own.split) x = normed(x, "ssm_norm.weight");
    return ssm_.forward(own, state, hooks, run);
  }

  void leave(const MixerInput& in, MixerState*) const override {
    if (c_.first && in.shared) (*in.shared)[kEmbeddings] = in.x;
  }

 private:
  at::Tensor normed(const at::Tensor& x, const char* gain) const { return rms_norm(x, w_.at(gain), c_.norm_eps); }

  // What the transformer block adds to the input of Mamba-2, [batch, pos, d_model]. Mamba-2 reads every position of it.
  at::Tensor block(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const {
    const at::Tensor embedded = embeddings(in);
    auto beside = [&](const at::Tensor& x) {
      at::Tensor e = x.dim() == 4 ? embedded.unsqueeze(2).expand_as(x) : embedded;
      return normed(at::cat({x, e}, -1), "in_norm.weight");
    };
    MixerInput both;
    both.x = beside(in.x);
    for (const auto& [role, x] : in.split) both.split[role] = beside(x);
    MixerRun whole = run;
    whole.read.reset();
    at::Tensor x = normed(attention_->forward(both, state, hooks, whole), "mlp_norm.weight");
    at::Tensor wide = at::linear(x, w_.at("gate_up_proj.weight"), weight_or_none(w_, "gate_up_proj.bias"));
    if (c_.mlp_adapter_rank)
      wide = wide + at::linear(at::linear(x, w_.at("gate_up_adapter.0.weight")), w_.at("gate_up_adapter.1.weight"));
    at::Tensor pre = hooks.apply("hook_block_pre", wide.slice(2, 0, c_.d_mlp));
    at::Tensor post = activate(c_.activation, pre) * hooks.apply("hook_block_pre_linear", wide.slice(2, c_.d_mlp));
    post = hooks.apply("hook_block_post", post);
    at::Tensor out = at::linear(post, w_.at("down_proj.weight"), weight_or_none(w_, "down_proj.bias"));
    return hooks.apply("hook_block_out", at::linear(out, w_.at("linear.weight")));
  }

  at::Tensor embeddings(const MixerInput& in) const {
    if (c_.first) return in.x;
    auto it = in.shared ? in.shared->find(kEmbeddings) : SharedValues::iterator{};
    if (!in.shared || it == in.shared->end() || it->second.sizes() != in.x.sizes())
      throw Error(StatusCode::kInternal, "the first layer's '" + std::string(kEmbeddings) + "' of shape " +
                  c10::str(in.x.sizes()) + " is missing", std::string("mixer ") + kKind);
    return it->second;
  }

  Config c_;
  MixerInfo info_;
  WeightMap w_;
  MixerPart ssm_;
  std::unique_ptr<MixerPart> attention_;
};

MixerOpResult no_op(const MixerOpRequest&) {
  throw Error(StatusCode::kUnsupported, "a shared transformer block before Mamba-2 has no op of its own", kKind,
              "use softmax_attention or mamba2 on a part's inputs");
}

std::vector<MixerCase> cases() {
  auto n = [](int64_t v) { return v; };
  MixerCase first, block, adapters;
  first.name = "first";
  first.params.set("first", true);
  for (auto [name, value] : {std::pair{"ssm.num_heads", 4}, {"ssm.head_dim", 8}, {"ssm.state_size", 6}, {"ssm.n_groups", 2}})
    first.params.set(name, n(value));
  block = first;
  block.name = "block";
  block.pos = 40;
  block.params.set("first", false);
  for (auto [name, value] : {std::pair{"num_heads", 4}, {"head_dim", 8}, {"d_mlp", 20}}) block.params.set(name, n(value));
  adapters = block;
  adapters.name = "adapters_rotary";
  adapters.params.set("rotary_dim", n(8));
  adapters.params.set("adapter_rank", n(3));
  adapters.params.set("mlp_adapter_rank", n(3));
  adapters.params.set("mlp_bias", true);
  adapters.params.set("scale", 0.5);
  return {first, block, adapters};
}

}  // namespace

void register_shared_attention_mamba2(Registry& registry) {
  MixerKind kind;
  kind.name = kKind;
  kind.paper = "arXiv 2411.15242";
  kind.info = make_info;
  kind.weights = weight_specs;
  kind.create = [](const Params& p, int64_t d_model, WeightMap w) -> std::unique_ptr<TokenMixer> {
    return std::make_unique<SharedAttentionMamba2>(p, d_model, std::move(w));
  };
  kind.op = no_op;
  kind.cases = cases();
  registry.add(std::move(kind));
}

}  // namespace microtome::mixers
