#include "analysis/feature_circuit/frozen_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "analysis/engine/layers.h"
#include "core/model/weights.h"

namespace microtome::feature_circuit {
namespace {

using engine::block_point;
using engine::has_point;

constexpr int64_t kCodeRows = 256;             // positions that are encoded at a time

at::Tensor wide(const at::Tensor& t) { return t.scalar_type() == at::kDouble ? t : t.to(at::kFloat); }
at::Tensor index(const std::vector<int64_t>& v, at::Device device) { return at::tensor(v, at::TensorOptions().dtype(at::kLong)).to(device); }

void require_linear(const Model& model) {
  engine::require_linear_readout(model, "an attribution graph");
  const ModelConfig& c = model.config();
  if (!c.causal()) throw Error(StatusCode::kUnsupported, "an attribution graph is of the next token, and this model reads in both directions", c.name);
  for (size_t l = 0; l < c.layers.size(); ++l)
    if (c.layers[l].wiring == Wiring::kPostNorm || c.layers[l].normed_stream)
      throw Error(StatusCode::kUnsupported, "layer " + std::to_string(l) + " normalises the residual stream itself", c.name, "use another model");
}

}  // namespace

FrozenModel::FrozenModel(const Model& model, const std::vector<int64_t>& tokens, const TranscoderLayers& transcoders, const FrozenOptions& options)
    : model_(model), transcoders_(transcoders), layers_(engine::layer_count(model)), pos_(static_cast<int64_t>(tokens.size())) {
  require_linear(model);
  at::NoGradGuard no_grad;
  const ModelConfig& c = model.config();
  at::Tensor ids = index(tokens, model.device()).unsqueeze(0);
  HookPlan plan;
  plan.form = options.form;
  plan.capture("hook_embed").capture("blocks.0.hook_resid_pre").capture("unembed.hook_in");
  plan.logit_positions = std::vector<int64_t>{-1};
  FrozenNorm::capture(model, "embed.ln", plan);
  FrozenNorm::capture(model, "ln_final", plan);
  for (int64_t l = 0; l < layers_; ++l) {
    for (const char* norm : {"ln1", "ln1_post", "ln2"}) FrozenNorm::capture(model, block_point(l, norm), plan);
    plan.capture(block_point(l, "hook_resid_pre")).capture(block_point(l, "hook_attn_out"));
    if (has_point(model, l, "hook_mlp_out")) plan.capture(block_point(l, "hook_mlp_out"));
    if (transcoders.has(l)) plan.capture(transcoders.read_hook(l));
  }
  // Everything but the mixers' own points, which are many and large, comes from one run; these from one run a layer.
  ForwardResult run = model.forward(ids, plan);
  const ActivationCache& cache = run.cache;
  auto got = [&](const std::string& name) { return wide(cache.get(name).select(0, 0)); };

  embed_ = got("hook_embed");
  if (c.embed_norm) embed_norm_ = FrozenNorm(model, "embed.ln", *c.embed_norm, cache);
  first_ = got("blocks.0.hook_resid_pre") - embed_norm_.apply(embed_.unsqueeze(0)).squeeze(0);
  final_norm_ = FrozenNorm(model, "ln_final", c.final_norm, cache);
  static const NormConfig none{NormConfig::Kind::kNone, 0, false, false, 0};
  seen_.read.resize(static_cast<size_t>(layers_));
  for (int64_t l = 0; l < layers_; ++l) {
    const LayerConfig& layer = c.layers[static_cast<size_t>(l)];
    ln1_.emplace_back(model, block_point(l, "ln1"), layer.norm1, cache);
    post1_.emplace_back(model, block_point(l, "ln1_post"), layer.post1.value_or(none), cache);
    ln2_.emplace_back(model, block_point(l, "ln2"), layer.channel.d_mlp ? layer.norm2 : none, cache);
    HookPlan mine;
    mine.form = options.form;
    mine.logits = false;
    mine.stop_before_layer = l + 1;
    FrozenMixer::capture(model, l, mine);
    RunState from;
    from.keep = false;
    from.first_layer = l;
    from.residual = cache.get(block_point(l, "hook_resid_pre"));
    ActivationCache parts = model.forward(ids, mine, &from).cache;
    at::Tensor out = got(block_point(l, "hook_attn_out")).unsqueeze(0);
    // What the mixer gave before the norm behind it cannot be read off, so the whole is compared behind it.
    at::Tensor x = ln1_.back().apply(got(block_point(l, "hook_resid_pre")).unsqueeze(0)).squeeze(0);
    mixers_.push_back(FrozenMixer::make(model, l, parts, x, [&](const at::Tensor& y) {
      return post1_.back().apply(y.unsqueeze(0)).squeeze(0) * layer.add1;
    }, out.squeeze(0)));
    if (transcoders.has(l)) seen_.read[static_cast<size_t>(l)] = got(transcoders.read_hook(l));
    seen_.stream.push_back(got(block_point(l, "hook_resid_pre")));
  }
  seen_.last = got("unembed.hook_in");
  unembed_ = model.weights().get(c.tied_unembedding ? "embed.weight" : "unembed.weight");
  mean_row_ = wide(unembed_).mean(0);
  find_logits(run.logits.select(1, -1).squeeze(0), options);
  find_features(cache, options);
}

void FrozenModel::find_logits(const at::Tensor& logits, const FrozenOptions& o) {
  at::Tensor p = at::softmax(logits.to(at::kCPU, at::kDouble), -1);
  auto [top, ids] = at::topk(p, std::min<int64_t>(o.max_logits, p.size(0)));
  double sum = 0;
  for (int64_t i = 0; i < top.size(0); ++i) {
    logit_ids_.push_back(ids[i].item<int64_t>());
    logit_p_.push_back(top[i].item<double>());
    sum += logit_p_.back();
    if (sum >= o.logit_mass) break;
  }
}

void FrozenModel::find_features(const ActivationCache& cache, const FrozenOptions& o) {
  struct Found { ActiveFeature feature; float size; };
  std::vector<Found> all;
  for (int64_t l = 0; l < layers_; ++l) {
    if (!transcoders_.has(l)) continue;
    const at::Tensor& x = seen_.read[static_cast<size_t>(l)];
    at::Tensor every = at::arange(transcoders_.at(l).config.d_sae, at::TensorOptions().dtype(at::kLong).device(x.device())), norms;
    for (int64_t into = l; into < layers_; ++into) {
      if (!transcoders_.writes(l, into)) continue;
      at::Tensor n = transcoders_.writes_of(l, into, every).square().sum(1);
      norms = norms.defined() ? norms + n : n;
    }
    norms = norms.sqrt();
    for (int64_t from = 0; from < pos_; from += kCodeRows) {
      at::Tensor codes = transcoders_.encode(l, x.narrow(0, from, std::min(kCodeRows, pos_ - from)));
      at::Tensor places = codes.nonzero(), values = codes.index({places.select(1, 0), places.select(1, 1)});
      at::Tensor sizes = (values * norms.index_select(0, places.select(1, 1))).to(at::kCPU, at::kFloat).contiguous();
      places = places.to(at::kCPU).contiguous();
      values = values.to(at::kCPU, at::kFloat).contiguous();
      const int64_t* at_ = places.const_data_ptr<int64_t>();
      for (int64_t i = 0; i < places.size(0); ++i) {
        const int64_t p = from + at_[2 * i];
        if (p == 0 && o.leave_out_first) continue;
        all.push_back({{l, p, at_[2 * i + 1], values.const_data_ptr<float>()[i]}, std::fabs(sizes.const_data_ptr<float>()[i])});
      }
    }
  }
  if (o.max_features > 0 && static_cast<int64_t>(all.size()) > o.max_features) {
    left_in_errors_ = static_cast<int64_t>(all.size()) - o.max_features;
    std::stable_sort(all.begin(), all.end(), [](const Found& a, const Found& b) { return a.size > b.size; });
    all.resize(static_cast<size_t>(o.max_features));
  }
  std::vector<ActiveFeature> features;
  for (const Found& f : all) features.push_back(f.feature);
  std::sort(features.begin(), features.end(), [](const ActiveFeature& a, const ActiveFeature& b) {
    return std::tuple(a.layer, a.position, a.feature) < std::tuple(b.layer, b.position, b.feature);
  });
  nodes_ = std::make_unique<NodeIndex>(layers_, pos_, std::move(features), static_cast<int64_t>(logit_ids_.size()));

  for (int64_t l = 0; l < layers_; ++l) {
    at::Tensor sum = at::zeros_like(embed_);
    for (int64_t from = 0; from <= l; ++from) {
      if (!transcoders_.writes(from, l)) continue;
      auto [first, count] = nodes_->features_of(from, pos_);
      for (int64_t i = 0; i < count; i += 4096) {
        const int64_t n = std::min<int64_t>(4096, count - i);
        std::vector<int64_t> at_;
        for (int64_t k = 0; k < n; ++k) at_.push_back(nodes_->feature(first + i + k).position);
        sum.index_add_(0, index(at_, sum.device()), writes_from(from, l, first + i, n));
      }
    }
    written_.push_back(sum);
    if (!has_point(model_, l, "hook_mlp_out")) {
      errors_.push_back(at::zeros_like(embed_));
      constants_.push_back(at::zeros_like(embed_));
      continue;
    }
    at::Tensor out = wide(cache.get(block_point(l, "hook_mlp_out")).select(0, 0)), constant = at::zeros_like(embed_);
    at::Tensor rest = out - sum;
    if (transcoders_.has(l)) {
      constant = transcoders_.at(l).weight("b_dec").expand_as(embed_).contiguous();
      rest = rest - constant;
      if (at::Tensor w = transcoders_.skip(l); w.defined()) rest = rest - at::matmul(seen_.read[static_cast<size_t>(l)], w.t());
    }
    if (o.leave_out_first) {
      constant = constant.clone();
      constant.select(0, 0).add_(rest.select(0, 0));
      rest.select(0, 0).zero_();
    }
    errors_.push_back(rest);
    constants_.push_back(constant);
  }
}

at::Tensor FrozenModel::writes_from(int64_t from, int64_t into, int64_t first, int64_t count) const {
  std::vector<int64_t> ids;
  std::vector<float> acts;
  for (int64_t i = first; i < first + count; ++i) {
    ids.push_back(nodes_->feature(i).feature);
    acts.push_back(nodes_->feature(i).activation);
  }
  at::Tensor rows = transcoders_.writes_of(from, into, index(ids, embed_.device()));
  return rows * at::tensor(acts, at::TensorOptions().dtype(at::kFloat)).to(rows.device(), rows.scalar_type()).unsqueeze(1);
}

at::Tensor FrozenModel::write(int64_t node, int64_t into) const {
  return writes_from(nodes_->feature(node).layer, into, node, 1).squeeze(0);
}

at::Tensor FrozenModel::reading(int64_t target) const {
  if (nodes_->is_logit(target)) {
    at::Tensor row = wide(unembed_.select(0, logit_ids_[static_cast<size_t>(target - nodes_->logit(0))])) - mean_row_;
    return row * model_.config().logit_scale;
  }
  const ActiveFeature& f = nodes_->feature(target);
  return transcoders_.encoders(f.layer, index({f.feature}, embed_.device())).squeeze(0);
}

double FrozenModel::value(int64_t target, const Values& v) const {
  const at::Tensor& x = nodes_->is_logit(target) ? v.last : v.read[static_cast<size_t>(nodes_->layer_of(target))];
  return (x.select(0, nodes_->position_of(target)) * reading(target)).sum().item<double>();
}

at::Tensor FrozenModel::read_back(int64_t layer, const at::Tensor& g) const {
  const FrozenNorm& norm = ln2_[static_cast<size_t>(layer)];
  switch (transcoders_.read_at(layer)) {
    case ReadAt::kStream: return g;
    case ReadAt::kDivided: return norm.back_divided(g);
    default: return norm.back(g);
  }
}

void FrozenModel::collect(int64_t into, const at::Tensor& g, const std::vector<int64_t>& targets, std::vector<std::vector<float>>& rows) const {
  const int64_t n = g.size(1);
  at::Tensor errors = (g * errors_[static_cast<size_t>(into)].narrow(0, 0, n)).sum(-1).to(at::kCPU, at::kFloat).contiguous();
  std::vector<at::Tensor> parts;
  for (int64_t from = 0; from <= into; ++from) {
    parts.emplace_back();
    if (!transcoders_.writes(from, into)) continue;
    auto [first, count] = nodes_->features_of(from, n);
    if (count == 0) continue;
    // Features of one position share its gradient: a product a position.
    std::vector<at::Tensor> columns;
    for (int64_t i = 0, end = 0; i < count; i = end) {
      const int64_t p = nodes_->feature(first + i).position;
      while (end < count && nodes_->feature(first + end).position == p) ++end;
      columns.push_back(at::matmul(g.select(1, p), writes_from(from, into, first + i, end - i).t()));
    }
    parts.back() = at::cat(columns, 1).to(at::kCPU, at::kFloat).contiguous();
  }
  for (size_t b = 0; b < targets.size(); ++b) {
    const int64_t layer = nodes_->layer_of(targets[b]);
    if (layer <= into) continue;
    std::vector<float>& row = rows[b];
    size_t at_ = 0;
    int64_t next = 0;                          // layer of features whose run comes next
    for (const auto& [first, count] : nodes_->runs(targets[b])) {
      if (nodes_->is_feature(first)) {
        next = nodes_->layer_of(first);
        if (next <= into && parts[static_cast<size_t>(next)].defined()) {
          const float* from = parts[static_cast<size_t>(next)].const_data_ptr<float>() + static_cast<int64_t>(b) * parts[static_cast<size_t>(next)].size(1);
          for (int64_t i = 0; i < count; ++i) row[at_ + static_cast<size_t>(i)] += from[i];
        }
      } else if (nodes_->is_error(first) && nodes_->layer_of(first) == into) {
        const float* from = errors.const_data_ptr<float>() + static_cast<int64_t>(b) * n;
        for (int64_t i = 0; i < count; ++i) row[at_ + static_cast<size_t>(i)] += from[i];
      }
      at_ += static_cast<size_t>(count);
    }
  }
}

std::vector<std::vector<float>> FrozenModel::attribute(const std::vector<int64_t>& targets) const { return attribute(targets, {}); }

std::vector<float> FrozenModel::attribute_direction(const at::Tensor& direction) const { return attribute({nodes_->logit(0)}, direction)[0]; }

std::vector<std::vector<float>> FrozenModel::attribute(const std::vector<int64_t>& targets, const at::Tensor& direction) const {
  at::NoGradGuard no_grad;
  std::vector<std::vector<float>> rows;
  int64_t n = 0, top = 0;
  for (int64_t t : targets) {
    rows.emplace_back(static_cast<size_t>(nodes_->row_length(t)), 0.0f);
    n = std::max(n, nodes_->position_of(t) + 1);
    top = std::max(top, nodes_->layer_of(t));
  }
  // What the targets read, put where they read it.
  auto readings = [&](int64_t layer) {
    at::Tensor g;
    for (size_t b = 0; b < targets.size(); ++b) {
      if (nodes_->layer_of(targets[b]) != layer) continue;
      if (!g.defined()) g = at::zeros({static_cast<int64_t>(targets.size()), n, embed_.size(1)}, embed_.options());
      g[static_cast<int64_t>(b)][nodes_->position_of(targets[b])] = direction.defined() ? direction : reading(targets[b]);
    }
    return g;
  };
  at::Tensor g = readings(layers_);
  if (g.defined()) g = final_norm_.back(g);
  for (int64_t l = std::min(top, layers_ - 1); l >= 0; --l) {
    const LayerConfig& layer = model_.config().layers[static_cast<size_t>(l)];
    at::Tensor read = readings(l);
    if (g.defined() && has_point(model_, l, "hook_mlp_out")) {
      collect(l, g, targets, rows);
      if (at::Tensor w = transcoders_.skip(l); w.defined()) {
        at::Tensor through = at::matmul(g, w);
        read = read.defined() ? read + through : through;
      }
    }
    if (read.defined()) read = read_back(l, read);
    if (!g.defined() && !read.defined()) continue;
    if (!g.defined()) g = at::zeros_like(read);
    const size_t i = static_cast<size_t>(l);
    const bool parallel = layer.wiring == Wiring::kParallel;
    at::Tensor mid = parallel || !layer.channel.d_mlp ? g : g * layer.keep2;
    if (read.defined() && !parallel) mid = mid + read;
    at::Tensor mixed = ln1_[i].back(mixers_[i].back(post1_[i].back(mid * layer.add1)));
    g = (parallel ? mid : mid * layer.keep1) + mixed;
    if (read.defined() && parallel) g = g + read;
  }
  if (!g.defined()) return rows;
  at::Tensor tokens = (embed_norm_.back(g) * embed_.narrow(0, 0, n)).sum(-1).to(at::kCPU, at::kFloat).contiguous();
  for (size_t b = 0; b < targets.size(); ++b) {
    const int64_t count = nodes_->position_of(targets[b]) + 1;
    const float* from = tokens.const_data_ptr<float>() + static_cast<int64_t>(b) * n;
    std::copy(from, from + count, rows[b].end() - count);
  }
  return rows;
}

std::vector<std::pair<std::string, at::Tensor>> FrozenModel::norm_scales() const {
  std::vector<std::pair<std::string, at::Tensor>> out;
  const auto add = [&](const std::string& name, const FrozenNorm& norm) { if (!norm.none) out.emplace_back(name + ".hook_scale", norm.scale); };
  for (int64_t l = 0; l < layers_; ++l) {
    add(block_point(l, "ln1"), ln1_[static_cast<size_t>(l)]);
    add(block_point(l, "ln1_post"), post1_[static_cast<size_t>(l)]);
    add(block_point(l, "ln2"), ln2_[static_cast<size_t>(l)]);
  }
  add("ln_final", final_norm_);
  return out;
}

at::Tensor FrozenModel::back_final(const at::Tensor& g, int64_t position) const { return final_norm_.at(position).back(g.unsqueeze(1)).squeeze(1); }

at::Tensor FrozenModel::back_embed(const at::Tensor& g, int64_t position) const { return embed_norm_.at(position).back(g.unsqueeze(1)).squeeze(1); }

at::Tensor FrozenModel::back_read(int64_t layer, const at::Tensor& g, int64_t position) const {
  const FrozenNorm norm = ln2_[static_cast<size_t>(layer)].at(position);
  switch (transcoders_.read_at(layer)) {
    case ReadAt::kStream: return g;
    case ReadAt::kDivided: return norm.back_divided(g.unsqueeze(1)).squeeze(1);
    default: return norm.back(g.unsqueeze(1)).squeeze(1);
  }
}

at::Tensor FrozenModel::back_skip(int64_t layer, const at::Tensor& g, int64_t position) const {
  at::Tensor w = transcoders_.skip(layer);
  return w.defined() ? back_read(layer, at::matmul(g, w), position) : w;
}

at::Tensor FrozenModel::back_heads(int64_t layer, const at::Tensor& g, int64_t position) const {
  const size_t i = static_cast<size_t>(layer);
  const double add1 = model_.config().layers[i].add1;
  at::Tensor mixed = post1_[i].at(position).back((g * add1).view({1, 1, -1})).view({-1});
  return ln1_[i].back(mixers_[i].back_heads(mixed, position));
}

FrozenModel::Values FrozenModel::run(const Change& change) const {
  at::NoGradGuard no_grad;
  Values out;
  at::Tensor embed = change.tokens ? embed_ : at::zeros_like(embed_);
  at::Tensor x = embed_norm_.apply(embed.unsqueeze(0)).squeeze(0) + first_;
  for (int64_t l = 0; l < layers_; ++l) {
    const LayerConfig& layer = model_.config().layers[static_cast<size_t>(l)];
    const size_t i = static_cast<size_t>(l);
    at::Tensor attn = post1_[i].apply(mixers_[i].apply(ln1_[i].apply(x.unsqueeze(0)))).squeeze(0) * layer.add1;
    const bool parallel = layer.wiring == Wiring::kParallel, mlp = has_point(model_, l, "hook_mlp_out");
    out.stream.push_back(x);
    at::Tensor mid = parallel ? x : x * layer.keep1 + attn, read;
    if (transcoders_.has(l)) {
      switch (transcoders_.read_at(l)) {
        case ReadAt::kStream: read = mid; break;
        case ReadAt::kDivided: read = ln2_[i].divide(mid.unsqueeze(0)).squeeze(0); break;
        default: read = ln2_[i].apply(mid.unsqueeze(0)).squeeze(0);
      }
    }
    out.read.push_back(read);
    at::Tensor written = constants_[i].clone();
    if (change.errors) written.add_(errors_[i]);
    if (change.features) {
      written.add_(written_[i]);
      for (const auto& [node, activation] : change.activations) {
        const ActiveFeature& f = nodes_->feature(node);
        if (transcoders_.writes(f.layer, l)) written.select(0, f.position).add_(write(node, l), activation / static_cast<double>(f.activation) - 1);
      }
    }
    if (at::Tensor w = transcoders_.skip(l); w.defined()) written = written + at::matmul(read, w.t());
    x = parallel ? x + attn + written : mlp ? mid * layer.keep2 + written : mid;
  }
  out.last = final_norm_.apply(x.unsqueeze(0)).squeeze(0);
  return out;
}

}  // namespace microtome::feature_circuit
