#include "core/model/model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "core/families/registry.h"
#include "core/hooks/index_tensor.h"
#include "core/mixers/cursor.h"
#include "core/mixers/positions.h"
#include "core/model/block.h"
#include "core/model/weights.h"

namespace microtome {
namespace {

void check_ids(const at::Tensor& tokens, int64_t vocabulary) {
  // The largest and smallest id decide; one synchronisation, and only where ids come from outside.
  auto [low, top] = at::aminmax(tokens);
  const at::Tensor both = at::stack({low, top}).cpu();
  const int64_t low_id = both.const_data_ptr<int64_t>()[0], top_id = both.const_data_ptr<int64_t>()[1];
  if (top_id >= vocabulary || low_id < 0)
    throw Error(StatusCode::kBadInput, "token id " + std::to_string(low_id < 0 ? low_id : top_id) +
                " is outside the vocabulary of " + std::to_string(vocabulary), "ids", "use this model's own tokenizer");
}

// x w^T + b by two products: cuBLAS takes a much slower way where the rows of a result have an odd length, and a vocabulary may have
// 50,257 words. The result's rows begin at multiples of 8 in memory.
at::Tensor unembedded(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  const int64_t width = w.size(0), most = width / 8 * 8, room = (width + 7) / 8 * 8;
  const bool differentiated = at::GradMode::is_enabled() && (x.requires_grad() || w.requires_grad());
  if (!x.is_cuda() || most == width || most == 0 || differentiated || x.scalar_type() != w.scalar_type()) return at::linear(x, w, b);
  at::Tensor flat = x.reshape({-1, x.size(-1)}), y = at::empty({flat.size(0), room}, flat.options()).narrow(1, 0, width);
  for (auto [from, count] : {std::pair{int64_t{0}, most}, {most, width - most}}) {
    at::Tensor part = y.narrow(1, from, count);
    if (b.defined()) at::addmm_out(part, b.narrow(0, from, count), flat, w.narrow(0, from, count).t());
    else at::mm_out(part, flat, w.narrow(0, from, count).t());
  }
  return y.unflatten(0, {x.size(0), x.size(1)});
}

}  // namespace

Model::Model(ModelConfig config, std::shared_ptr<const ModelWeights> weights)
    : config_(std::move(config)), weights_(std::move(weights)),
      catalogue_(std::make_shared<HookCatalogue>(build_catalogue(config_))) {
  if (config_.embed_norm) embed_norm_ = std::make_unique<Norm>(make_norm(*config_.embed_norm, *weights_, "embed.ln"));
  final_norm_ = std::make_unique<Norm>(make_norm(config_.final_norm, *weights_, "ln_final"));
  for (const LayerConfig& l : config_.layers) infos_.push_back(mixer_info_of(l, config_.d_model));
  if (weights_->keep == WeightKeep::kResident)
    for (size_t i = 0; i < config_.layers.size(); ++i)
      blocks_.push_back(std::make_shared<Block>(config_.layers[i], config_, *weights_, static_cast<int64_t>(i)));
  causal_ = config_.causal();
  check_shared();
}

Model::~Model() = default;

const MixerInfo& Model::mixer_info(int64_t layer) const { return infos_.at(static_cast<size_t>(layer)); }

std::shared_ptr<const Block> Model::block(int64_t l) const {
  if (!blocks_.empty()) return blocks_.at(static_cast<size_t>(l));
  return std::make_shared<Block>(config_.layers.at(static_cast<size_t>(l)), config_, *weights_, l);
}

c10::Device Model::device() const { return weights_->device; }
at::ScalarType Model::dtype() const { return weights_->dtype; }

void Model::check_shared() const {
  for (size_t i = 0; i < infos_.size(); ++i) {
    const MixerInfo& info = infos_[i];
    if (i > 0 && !info.leaves.empty())
      throw Error(StatusCode::kUnsupported, "layer " + std::to_string(i) + " leaves '" + info.leaves[0].name +
                  "' for later ones, which only the first layer may", config_.name);
    for (const SharedValue& v : info.reads) {
      bool left = false;
      for (const SharedValue& have : infos_[0].leaves) left = left || have.name == v.name;
      if (!left)
        throw Error(StatusCode::kUnsupported, "layer " + std::to_string(i) + " reads '" + v.name +
                    "', which the first layer does not leave", config_.name);
    }
  }
}

void Model::leave_shared(const at::Tensor& tokens, int64_t begin, int64_t end, int64_t first_pos, MixerState* first_state,
                         SharedValues& shared) const {
  bool read = false;
  for (int64_t l = begin; l < end; ++l) read = read || !infos_[static_cast<size_t>(l)].reads.empty();
  if (!read) return;
  HookScope nothing;
  block(0)->leave(embed(tokens, nothing, first_pos), first_state, shared);
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
  at::Tensor x = at::embedding(table, tokens.to(device()));
  // The scale is rounded to the model's type, as it is where it is stored with the model.
  if (config_.embed_scale != 1) x = x * at::scalar_tensor(config_.embed_scale, x.options());
  x = hooks.apply("hook_embed", x);
  if (config_.learned_positions) {
    const at::Tensor& positions = weights_->get("pos_embed.weight");
    const mixers::Cursor* here = mixers::cursor();
    at::Tensor rows = here ? positions.index_select(0, here->position) : positions.narrow(0, first_pos, tokens.size(1));
    x = x + hooks.apply("hook_pos_embed", rows.unsqueeze(0).expand_as(x));
  }
  if (config_.token_types)
    x = x + hooks.apply("hook_token_type_embed", weights_->get("type_embed.weight").expand_as(x));
  if (embed_norm_) {
    HookScope ln = hooks.sibling("embed.ln");
    x = (*embed_norm_)(x, &ln);
  }
  return x;
}

at::Tensor Model::unembed(const at::Tensor& x, HookScope& top) const {
  HookScope ln = top.sibling("ln_final"), un = top.sibling("unembed");
  at::Tensor h = x;
  if (!config_.head_activation.empty())
    h = activate(config_.head_activation, at::linear(h, weights_->get("head.weight"), weights_->find("head.bias")));
  h = un.apply("hook_in", (*final_norm_)(h, &ln));
  const at::Tensor& table = weights_->get(config_.tied_unembedding ? "embed.weight" : "unembed.weight");
  at::Tensor y = unembedded(h, table, weights_->find("unembed.bias"));
  if (config_.logit_scale != 1) y = y * config_.logit_scale;
  if (config_.logit_softcap > 0) y = config_.logit_softcap * at::tanh(y / config_.logit_softcap);
  return un.apply("hook_out", y);
}

ForwardResult Model::forward(const at::Tensor& tokens, const HookPlan& plan, RunState* state) const {
  int64_t first_pos = state ? state->position : 0, n_pos = tokens.size(tokens.dim() - 1);
  check_tokens(tokens, first_pos);
  if (state && (state->keep || first_pos > 0) && !causal_)
    throw Error(StatusCode::kUnsupported, "this model reads in both directions, so a run cannot go on from an earlier one",
                config_.name, "run the whole sequence at once; such a model fills masks and does not continue a prompt");
  bool gradients = false;
  for (const Capture& c : plan.captures()) gradients = gradients || c.gradient;
  at::AutoGradMode grad_mode(gradients || at::GradMode::is_enabled());

  ForwardResult out;
  HookRun run(plan, *catalogue_, first_pos, n_pos, &out.cache);
  HookScope top(&run, "");
  int64_t n_layers = static_cast<int64_t>(infos_.size());
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
    // With a cursor nothing may wait, and whoever holds it has looked.
    if (!mixers::cursor()) check_ids(tokens, config_.vocab_size);
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
    // Every position in order: nothing to choose.
    bool whole = static_cast<int64_t>(read->size()) == n_pos;
    for (int64_t i = 0; whole && i < n_pos; ++i) whole = (*read)[static_cast<size_t>(i)] == i;
    if (whole) read.reset();
  }
  bool keep = state && state->keep;
  if (state && state->layers.empty()) state->layers.resize(infos_.size());
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
    const std::shared_ptr<const Block> here = block(l);
    // The last block need not finish positions nobody reads, unless a later position reads them.
    bool prune = l + 1 == n_layers && read && !reads_after && !keep && here->can_prune();
    MixerRun how{plan.form, prune ? read : std::nullopt, state ? state->length : 0};
    x = here->forward(x, state_of(l), run, how, pruned, shared);
  }
  if (state) {
    state->first_layer = 0;
    if (keep) state->position += n_pos;
  }
  if (logits || reads_after) {
    bool narrow_late = read && reads_after;
    if (read && !pruned && !narrow_late) x = mixers::at_positions(x, *read);
    at::Tensor y = unembed(x, top);
    if (narrow_late) y = mixers::at_positions(y, *read);
    if (logits) out.logits = y;
  }
  run.finish();
  return out;
}

RunState RunState::select_batch(const at::Tensor& rows) const {
  RunState out;
  out.position = position;
  out.first_layer = first_layer;
  out.length = length;
  out.keep = keep;
  out.layers.resize(layers.size());
  at::Tensor there;                    // sent once, and only where it is asked for
  auto rows_at = [&](at::Device device) {
    if (!there.defined() || there.device() != device) there = send_to(rows, device);
    return there;
  };
  for (size_t i = 0; i < layers.size(); ++i)
    for (const auto& [name, t] : layers[i].tensors)
      if (t.defined())
        out.layers[i].tensors[name] = t.size(0) == 1 ? t.expand([&] {
          std::vector<int64_t> shape = t.sizes().vec();
          shape[0] = rows.numel();
          return shape;
        }()) : t.index_select(0, rows_at(t.device()));
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
