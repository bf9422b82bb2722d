#include "core/model/model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/families/registry.h"
#include "core/mixers/projections.h"
#include "core/mixers/registry.h"
#include "core/model/weights.h"

namespace microtome {
namespace {

at::Tensor position_index(const std::vector<int64_t>& positions, at::Device device) {
  return at::tensor(positions, at::TensorOptions().dtype(at::kLong)).to(device);
}

struct Norm {
  NormConfig config;
  at::Tensor weight, bias;

  // x over its last axis. hooks: where hook_scale and hook_normalized live (null: a per-head input, which has neither).
  at::Tensor operator()(const at::Tensor& x, HookScope* hooks) const {
    at::Tensor centred = config.kind == NormConfig::Kind::kLayer ? x - x.mean(-1, true) : x;
    bool asked = hooks && hooks->any();
    if (!asked) {
      if (config.kind == NormConfig::Kind::kLayer)
        return at::layer_norm(x, {x.size(-1)}, weight, bias, config.eps);
      return finish(x * (x.square().mean(-1, true) + config.eps).rsqrt());
    }
    at::Tensor scale = (centred.square().mean(-1, true) + config.eps).sqrt();
    scale = hooks->apply("hook_scale", scale);
    return finish(hooks->apply("hook_normalized", centred / scale));
  }
  at::Tensor finish(at::Tensor y) const {
    if (weight.defined()) y = y * weight;
    return bias.defined() ? y + bias : y;
  }
};

Norm make_norm(const NormConfig& config, const ModelWeights& w, const std::string& name) {
  return {config, w.find(name + ".weight"), w.find(name + ".bias")};
}

at::Tensor activate(const std::string& name, const at::Tensor& x) {
  if (name == "silu") return at::silu(x);
  if (name == "gelu") return at::gelu(x);
  if (name == "gelu_new") return at::gelu(x, "tanh");
  if (name == "relu") return at::relu(x);
  if (name == "relu2") return at::relu(x).square();
  throw Error(StatusCode::kInternal, "activation '" + name + "' is not implemented");
}

struct ChannelMixer {
  ChannelMixerConfig config;
  at::Tensor gate, gate_bias, up, up_bias, down, down_bias;
  at::Tensor shift_up, receptance, shift_receptance;

  // state: the layer's, where one input is kept under "mlp_shift"; null: starts from zero, keeps nothing.
  at::Tensor operator()(const at::Tensor& x, MixerState* state, HookScope hooks) const {
    at::Tensor in = hooks.apply("hook_in", x), earlier, strength;
    if (config.shift != ChannelMixerConfig::Shift::kNone) {
      at::Tensor before;
      if (state)
        if (auto it = state->tensors.find("mlp_shift"); it != state->tensors.end()) before = it->second;
      earlier = mixers::one_earlier(in, before);
      if (state) state->tensors["mlp_shift"] = in.slice(1, in.size(1) - 1);
    }
    if (config.receptance)
      strength = hooks.apply("hook_receptance", at::linear(mixed(in, earlier, shift_receptance), receptance).sigmoid());
    at::Tensor out = transform(mixed(in, earlier, shift_up), hooks);
    return strength.defined() ? strength * out : out;
  }
  at::Tensor mixed(const at::Tensor& x, const at::Tensor& earlier, const at::Tensor& w) const {
    switch (config.shift) {
      case ChannelMixerConfig::Shift::kToEarlier: return x + (earlier - x) * w.flatten();
      case ChannelMixerConfig::Shift::kToCurrent: return x * w.flatten() + earlier * (1 - w.flatten());
      default: return x;
    }
  }
  at::Tensor transform(const at::Tensor& in, HookScope& hooks) const {
    at::Tensor post;
    if (config.gated) {
      at::Tensor pre = hooks.apply("hook_pre", at::linear(in, gate, gate_bias));
      at::Tensor linear = hooks.apply("hook_pre_linear", at::linear(in, up, up_bias));
      post = activate(config.activation, pre) * linear;
    } else {
      post = activate(config.activation, hooks.apply("hook_pre", at::linear(in, up, up_bias)));
    }
    return at::linear(hooks.apply("hook_post", post), down, down_bias);
  }
};

}  // namespace

struct Model::Block {
  std::string prefix;
  Norm ln1, ln2;
  std::unique_ptr<TokenMixer> mixer;
  ChannelMixer mlp;

  // read: relative positions whose residual is wanted (last block only); unset: all. pruned: set when the result holds
  // just these.
  at::Tensor forward(at::Tensor x, MixerState* state, HookRun& run, MixerForm form,
                     const std::optional<std::vector<int64_t>>& read, bool& pruned, SharedValues& shared) const {
    HookScope here(&run, prefix);
    bool any = here.any();
    x = here.apply("hook_resid_pre", x);
    HookScope ln1_hooks = here.sibling(prefix + ".ln1");
    MixerInput in;
    in.x = ln1(x, &ln1_hooks);
    in.shared = &shared;
    if (any) {
      for (const std::string& role : mixer->info().inputs) {
        std::string point = "hook_" + role + "_input";
        if (!here.wants(point)) continue;
        at::Tensor split = x.unsqueeze(2).expand({x.size(0), x.size(1), mixer->info().heads, x.size(2)});
        in.split[role] = ln1(here.apply(point, split), nullptr);
      }
    }
    HookScope attn = here.sibling(prefix + ".attn");
    MixerRun how{form, any ? std::nullopt : read};
    at::Tensor attn_out = mixer->forward(in, state, attn, how);
    if (how.read) {
      at::Tensor index = position_index(*how.read, x.device());
      // A mixer that cannot leave positions out returns them all. (Equal counts: the mixer gave exactly `read`.)
      if (attn_out.size(1) != index.numel()) attn_out = attn_out.index_select(1, index);
      x = x.index_select(1, index);
      pruned = true;
    }
    x = x + here.apply("hook_attn_out", attn_out);
    x = here.apply("hook_resid_mid", x);
    at::Tensor mlp_in = any && here.wants("hook_mlp_in") ? here.apply("hook_mlp_in", x) : x;
    HookScope ln2_hooks = here.sibling(prefix + ".ln2");
    at::Tensor mlp_out = mlp(ln2(mlp_in, &ln2_hooks), state, here.sibling(prefix + ".mlp"));
    x = x + here.apply("hook_mlp_out", mlp_out);
    return here.apply("hook_resid_post", x);
  }
};

Model::Model(ModelConfig config, std::shared_ptr<const ModelWeights> weights)
    : config_(std::move(config)), weights_(std::move(weights)),
      catalogue_(std::make_shared<HookCatalogue>(build_catalogue(config_))) {
  for (size_t i = 0; i < config_.layers.size(); ++i) {
    const LayerConfig& l = config_.layers[i];
    auto block = std::make_unique<Block>();
    block->prefix = "blocks." + std::to_string(i);
    block->ln1 = make_norm(l.norm1, *weights_, block->prefix + ".ln1");
    block->ln2 = make_norm(l.norm2, *weights_, block->prefix + ".ln2");
    block->mixer = mixers::builtin().find(l.mixer)->create(l.mixer_params, config_.d_model,
                                                           weights_->below(block->prefix + ".attn."));
    WeightMap m = weights_->below(block->prefix + ".mlp.");
    auto find = [&](const char* name) { auto it = m.find(name); return it == m.end() ? at::Tensor() : it->second; };
    block->mlp = {l.channel, find("gate.weight"), find("gate.bias"), find("up.weight"), find("up.bias"),
                  find("down.weight"), find("down.bias"), find("shift.up"), find("receptance.weight"),
                  find("shift.receptance")};
    blocks_.push_back(std::move(block));
  }
  check_shared();
}

Model::~Model() = default;

const MixerInfo& Model::mixer_info(int64_t layer) const { return blocks_.at(static_cast<size_t>(layer))->mixer->info(); }
c10::Device Model::device() const { return weights_->device; }
at::ScalarType Model::dtype() const { return weights_->dtype; }

void Model::check_shared() const {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const MixerInfo& info = blocks_[i]->mixer->info();
    if (i > 0 && !info.leaves.empty())
      throw Error(StatusCode::kUnsupported, "layer " + std::to_string(i) + " leaves '" + info.leaves[0].name +
                  "' for later ones, which only the first layer may", config_.name);
    for (const SharedValue& v : info.reads) {
      bool left = false;
      for (const SharedValue& have : blocks_[0]->mixer->info().leaves) left = left || have.name == v.name;
      if (!left)
        throw Error(StatusCode::kUnsupported, "layer " + std::to_string(i) + " reads '" + v.name +
                    "', which the first layer does not leave", config_.name);
    }
  }
}

void Model::leave_shared(const at::Tensor& tokens, int64_t begin, int64_t end, int64_t first_pos, MixerState* first_state,
                         SharedValues& shared) const {
  bool read = false;
  for (int64_t l = begin; l < end; ++l) read = read || !blocks_[static_cast<size_t>(l)]->mixer->info().reads.empty();
  if (!read) return;
  HookScope nothing;
  const Block& first = *blocks_[0];
  MixerInput in;
  in.x = first.ln1(embed(tokens, nothing, first_pos), nullptr);
  in.shared = &shared;
  first.mixer->leave(in, first_state);
}

void Model::check_tokens(const at::Tensor& tokens, int64_t first_pos) const {
  if (tokens.dim() != 2 || tokens.scalar_type() != at::kLong)
    throw Error(StatusCode::kInternal, "tokens must be int64 [batch, pos], got " + c10::str(tokens.sizes()));
  if (tokens.size(0) == 0 || tokens.size(1) == 0)
    throw Error(StatusCode::kBadInput, "the prompt has no tokens", "prompt", "give at least one token");
  int64_t end = first_pos + tokens.size(1);
  if (config_.hard_context && end > config_.context_length)
    throw Error(StatusCode::kBadInput, "the prompt reaches position " + std::to_string(end) + ", the model's context has " +
                std::to_string(config_.context_length), "prompt", "shorten it");
}

at::Tensor Model::embed(const at::Tensor& tokens, HookScope& hooks, int64_t first_pos) const {
  const at::Tensor& table = weights_->get("embed.weight");
  at::Tensor x = hooks.apply("hook_embed", at::embedding(table, tokens.to(device())));
  if (config_.learned_positions) {
    at::Tensor rows = weights_->get("pos_embed.weight").narrow(0, first_pos, tokens.size(1));
    x = x + hooks.apply("hook_pos_embed", rows.unsqueeze(0).expand_as(x));
  }
  if (config_.embed_norm) {
    HookScope ln = hooks.sibling("embed.ln");
    x = make_norm(*config_.embed_norm, *weights_, "embed.ln")(x, &ln);
  }
  return x;
}

ForwardResult Model::forward(const at::Tensor& tokens, const HookPlan& plan, RunState* state) const {
  int64_t first_pos = state ? state->position : 0, n_pos = tokens.size(tokens.dim() - 1);
  check_tokens(tokens, first_pos);
  bool gradients = false;
  for (const Capture& c : plan.captures()) gradients = gradients || c.gradient;
  at::AutoGradMode grad_mode(gradients || at::GradMode::is_enabled());

  ForwardResult out;
  HookRun run(plan, *catalogue_, first_pos, n_pos, &out.cache);
  HookScope top(&run, "");
  int64_t n_layers = static_cast<int64_t>(blocks_.size());
  int64_t begin = state ? state->first_layer : 0;
  int64_t end = plan.stop_before_layer ? std::min(n_layers, *plan.stop_before_layer) : n_layers;
  bool logits = plan.logits && end == n_layers;
  // A run that keeps state runs every block: the next one starts from all of them.
  if (!plan.logits && !(state && state->keep)) end = std::min(end, run.last_layer_wanted() == INT64_MAX ? n_layers : run.last_layer_wanted() + 1);

  at::Tensor x;
  if (state && state->residual.defined()) {
    x = state->residual;
    if (x.dim() != 3 || x.size(0) != tokens.size(0) || x.size(1) != n_pos || x.size(2) != config_.d_model)
      throw Error(StatusCode::kInternal, "the residual to resume from has shape " + c10::str(x.sizes()));
    state->residual.reset();
  } else {
    // The largest and smallest id decide; one synchronisation, and only where ids come from outside.
    int64_t top_id = tokens.max().item<int64_t>(), low_id = tokens.min().item<int64_t>();
    if (top_id >= config_.vocab_size || low_id < 0)
      throw Error(StatusCode::kBadInput, "token id " + std::to_string(low_id < 0 ? low_id : top_id) +
                  " is outside the vocabulary of " + std::to_string(config_.vocab_size), "ids", "use this model's own tokenizer");
    x = embed(tokens, top, first_pos);
  }

  std::optional<std::vector<int64_t>> read;
  if (logits && plan.logit_positions) {
    read.emplace();
    for (int64_t p : *plan.logit_positions) {
      int64_t r = (p < 0 ? p + first_pos + n_pos : p) - first_pos;
      if (r < 0 || r >= n_pos)
        throw Error(StatusCode::kInternal, "logit position " + std::to_string(p) + " is outside this run");
      read->push_back(r);
    }
  }
  bool keep = state && state->keep;
  if (state && state->layers.empty()) state->layers.resize(blocks_.size());
  bool reads_after = run.find("ln_final.hook_scale") || run.find("ln_final.hook_normalized") ||
                     run.find("unembed.hook_in") || run.find("unembed.hook_out");
  bool pruned = false;
  SharedValues shared;
  MixerState scratch;
  auto state_of = [&](int64_t l) -> MixerState* {
    if (!state) return nullptr;
    MixerState& kept = state->layers[static_cast<size_t>(l)];
    if (keep) return &kept;
    scratch = kept;
    return scratch.tensors.empty() ? nullptr : &scratch;
  };
  if (begin > 0) leave_shared(tokens, begin, end, first_pos, state_of(0), shared);
  for (int64_t l = begin; l < end; ++l) {
    const Block& block = *blocks_[static_cast<size_t>(l)];
    // The last block need not finish positions nobody reads, unless a later position reads them.
    bool prune = l + 1 == n_layers && read && !reads_after && !keep &&
                 block.mlp.config.shift == ChannelMixerConfig::Shift::kNone;
    x = block.forward(x, state_of(l), run, plan.form, prune ? read : std::nullopt, pruned, shared);
  }
  if (state) {
    state->first_layer = 0;
    if (keep) state->position += n_pos;
  }
  if (logits || reads_after) {
    bool narrow_late = read && reads_after;
    if (read && !pruned && !narrow_late) x = x.index_select(1, position_index(*read, x.device()));
    HookScope ln = top.sibling("ln_final"), un = top.sibling("unembed");
    Norm final_norm = make_norm(config_.final_norm, *weights_, "ln_final");
    at::Tensor h = un.apply("hook_in", final_norm(x, &ln));
    const at::Tensor& table = config_.tied_unembedding ? weights_->get("embed.weight") : weights_->get("unembed.weight");
    at::Tensor y = un.apply("hook_out", at::linear(h, table, weights_->find("unembed.bias")));
    if (narrow_late) y = y.index_select(1, position_index(*read, y.device()));
    if (logits) out.logits = y;
  }
  run.finish();
  return out;
}

RunState RunState::select_batch(const at::Tensor& rows) const {
  RunState out;
  out.position = position;
  out.first_layer = first_layer;
  out.keep = keep;
  out.layers.resize(layers.size());
  for (size_t i = 0; i < layers.size(); ++i)
    for (const auto& [name, t] : layers[i].tensors)
      if (t.defined())
        out.layers[i].tensors[name] = t.size(0) == 1 ? t.expand([&] {
          std::vector<int64_t> shape = t.sizes().vec();
          shape[0] = rows.numel();
          return shape;
        }()) : t.index_select(0, rows.to(t.device()));
  return out;
}

std::map<std::string, at::Tensor> hook_gradients(const at::Tensor& metric, const ActivationCache& cache,
                                                 const std::vector<std::string>& names, bool keep_graph) {
  std::vector<at::Tensor> leaves;
  for (const std::string& n : names) leaves.push_back(cache.get(n + "@leaf"));
  std::vector<at::Tensor> grads = hook_autograd(metric, leaves, keep_graph);
  std::map<std::string, at::Tensor> out;
  for (size_t i = 0; i < names.size(); ++i)
    out[names[i]] = grads[i].defined() ? grads[i] : at::zeros_like(leaves[i]);
  return out;
}

}  // namespace microtome
