#include "analysis/circuit/attribution.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "analysis/circuit/sources.h"
#include "analysis/engine/layers.h"

namespace microtome::circuit {
namespace {

using engine::block_point;

at::Tensor wide(const at::Tensor& x) {
  return x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
}

// Inputs that are scored together.
constexpr int64_t kColumns = 96;

// Everything of one group: the two runs' values, and the sum of gradients so far.
class Attributor {
 public:
  Attributor(const Graph& graph, const engine::PromptGroup& group, const engine::Metric& metric, const Attribution& how,
             MixerForm form, bool state_edges, const std::function<void(double)>& on_part)
      : graph_(graph), model_(graph.model()), group_(group), metric_(metric), how_(how), form_(form), on_part_(on_part) {
    for (int64_t l = 0; l < engine::layer_count(model_); ++l) {
      if (how.neurons && engine::has_point(model_, l, "mlp.hook_post")) neuron_points_.push_back({l, block_point(l, "mlp.hook_post")});
      const std::string pattern = engine::state_point(model_, l, "attn.hook_pattern");
      if (state_edges && model_.mixer_info(l).recurrent && engine::has_point(model_, l, pattern)) pattern_points_.push_back({l, block_point(l, pattern)});
    }
    for (const Readers& r : graph.readers()) names_.push_back(r.hook);
    for (const auto& [l, name] : neuron_points_) names_.push_back(name);
    for (const auto& [l, name] : pattern_points_) names_.push_back(name);
  }

  GroupScores run() {
    GroupScores out;
    if (how_.gradient == Attribution::Gradient::kClean) {
      // One run gives the clean sources and the gradient.
      look(group_.corrupted, out.corrupted, corrupted_, &difference_);
      add(gradients({}, 1, {}, {}, &out.clean));
      score(out);
      return out;
    }
    look_at_both(out);
    switch (how_.gradient) {
      case Attribution::Gradient::kClean: break;
      case Attribution::Gradient::kBothEnds:
        parts_ = 2;
        add(gradients(clean_input_, 1, {}, {}));
        add(gradients(corrupted_input_, 1, {}, {}));
        break;
      case Attribution::Gradient::kInputs: inputs(out); break;
      case Attribution::Gradient::kActivations: activations(); break;
    }
    score(out);
    return out;
  }

 private:
  // One run: the metric, values at neurons and patterns, and what the sources write, which is taken from what `sources` holds
  // already. Gives what enters the first block.
  at::Tensor look(const at::Tensor& tokens, at::Tensor& metric, std::map<std::string, at::Tensor>& values, at::Tensor* sources) {
    at::NoGradGuard no_grad;
    HookPlan plan;
    plan.form = form_;
    plan.logit_positions = std::vector<int64_t>{-1};
    capture_sources(graph_, plan);
    for (const auto* list : {&neuron_points_, &pattern_points_})
      for (const auto& [l, name] : *list) plan.capture(name);
    ForwardResult r = model_.forward(tokens, plan);
    if (metric_.needs_reference() && !reference_) {
      reference_ = std::make_shared<engine::Metric>(metric_);
      reference_->set_reference(r.logits.select(1, 0));
    }
    metric = the_metric().last(r.logits.select(1, 0));
    keep_values(r.cache, values);
    if (how_.gradient == Attribution::Gradient::kActivations)
      for (const Writers& w : graph_.writers()) values["raw " + w.hook] = r.cache.get(w.hook);
    if (sources->defined()) subtract_sources(graph_, r.cache, *sources);
    else *sources = captured_sources(graph_, r.cache);
    return r.cache.get(graph_.writers().front().hook);
  }

  void keep_values(const ActivationCache& cache, std::map<std::string, at::Tensor>& values) const {
    for (const auto* list : {&neuron_points_, &pattern_points_})
      for (const auto& [l, name] : *list) values[name] = cache.get(name).detach();
  }

  void look_at_both(GroupScores& out) {
    // A metric that is measured against the clean run needs that one first; the difference is wanted the other way round.
    clean_input_ = look(group_.clean, out.clean, clean_, &difference_);
    corrupted_input_ = look(group_.corrupted, out.corrupted, corrupted_, &difference_);
    difference_.neg_();
  }

  const engine::Metric& the_metric() const { return reference_ ? *reference_ : metric_; }

  // The metric's gradient at every point, a run from the given embeddings [rows, pos, d_model]; rows = copies × prompts.
  // None given: the clean run from its tokens, whose sources are taken from the corrupted ones.
  std::vector<at::Tensor> gradients(const at::Tensor& embeddings, int64_t copies, const std::string& edited, const Edit& edit,
                                    at::Tensor* metric = nullptr) {
    HookPlan plan;
    plan.form = form_;
    plan.logit_positions = std::vector<int64_t>{-1};
    for (const std::string& name : names_) plan.capture(name, {}, true);
    if (edit) plan.edit(edited, edit);
    at::AutoGradMode grad(true);
    RunState state;
    state.keep = false;
    state.residual = embeddings;
    const bool whole = !embeddings.defined();
    if (whole) capture_sources(graph_, plan);
    at::Tensor tokens = copies == 1 ? group_.clean : group_.clean.repeat({copies, 1});
    ForwardResult r = model_.forward(tokens, plan, &state);
    at::Tensor value = the_metric().last(r.logits.select(1, 0));
    if (metric) *metric = value.detach();
    if (whole) {
      at::NoGradGuard no_grad;
      subtract_sources(graph_, r.cache, difference_);
      keep_values(r.cache, clean_);
    }
    std::map<std::string, at::Tensor> found = hook_gradients(value.sum(), r.cache, names_);
    std::vector<at::Tensor> out;
    for (const std::string& name : names_) {
      at::Tensor g = found.at(name);
      if (copies > 1) g = g.unflatten(0, {copies, g.size(0) / copies}).sum(0);
      out.push_back(std::move(g));
    }
    on_part_(static_cast<double>(done_ += copies) / static_cast<double>(std::max<int64_t>(parts_, 1)));
    return out;
  }

  void add(std::vector<at::Tensor> g) {
    at::NoGradGuard no_grad;
    if (sums_.empty()) {
      sums_ = std::move(g);
      return;
    }
    for (size_t i = 0; i < g.size(); ++i) sums_[i] = sums_[i] + g[i];
  }

  void inputs(GroupScores& out) {
    parts_ = how_.steps;
    const int64_t prompts = group_.clean.size(0);
    const int64_t at_once = std::clamp<int64_t>(attribution_rows(graph_, group_.length, how_) / std::max<int64_t>(prompts, 1), 1, how_.steps);
    std::vector<at::Tensor> metrics;
    for (int64_t k = 0; k < how_.steps; k += at_once) {
      const int64_t count = std::min(at_once, how_.steps - k);
      std::vector<at::Tensor> rows;
      for (int64_t i = k; i < k + count; ++i) {
        double share = static_cast<double>(how_.from_zero ? i : i + 1) / static_cast<double>(how_.steps);
        rows.push_back(corrupted_input_ + share * (clean_input_ - corrupted_input_));
      }
      at::Tensor metric;
      add(gradients(at::cat(rows), count, {}, {}, &metric));
      metrics.push_back(metric.view({count, prompts}));
    }
    out.steps = at::cat(metrics).t().contiguous();
  }

  // Of one node after the other: all heads of a layer together, as the public code has it.
  void activations() {
    parts_ = how_.steps * static_cast<int64_t>(graph_.writers().size());
    for (const Writers& w : graph_.writers())
      for (int64_t k = 1; k <= how_.steps; ++k) {
        const double share = static_cast<double>(k) / static_cast<double>(how_.steps);
        at::Tensor from = corrupted_.at("raw " + w.hook), to = clean_.at("raw " + w.hook), between = from + share * (to - from);
        add(gradients(clean_input_, 1, w.hook, [between](const at::Tensor&, int64_t) { return between; }));
      }
  }

  void score(GroupScores& out) {
    at::NoGradGuard no_grad;
    const double share = 1.0 / static_cast<double>(parts_);
    const int64_t prompts = difference_.size(0), sources = graph_.source_count(), inputs = graph_.input_count();
    at::Tensor d = wide(difference_);
    at::Tensor flat = d.flatten(2);                    // [prompt, source, pos * d_model]
    out.edges = at::zeros({prompts, sources, inputs}, d.options());
    if (how_.positions) out.by_position = at::zeros({sources, inputs, group_.length}, d.options());
    for (size_t i = 0; i < graph_.readers().size();) {
      // Inputs of a few layers in one product, which is wide enough to be fast; what a source that comes later gives is no edge.
      const int64_t first = graph_.readers()[i].first;
      std::vector<at::Tensor> parts;
      int64_t count = 0, seen = 0;
      for (; i < graph_.readers().size() && count < kColumns; ++i) {
        const Readers& r = graph_.readers()[i];
        at::Tensor g = wide(sums_[i]);                 // [prompt, pos, (head,) d_model]
        if (!r.by_head) g = g.unsqueeze(2);
        parts.push_back(g.transpose(1, 2));
        count += r.count;
        seen = std::max(seen, r.sources);
        sums_[i].reset();
      }
      // On a CPU prompt by prompt: what is laid side by side is then still in the cache when it is multiplied.
      const int64_t step = d.is_cpu() ? 1 : prompts;
      for (int64_t p = 0; p < prompts; p += step) {
        std::vector<at::Tensor> some;
        for (const at::Tensor& g : parts) some.push_back(g.narrow(0, p, step));
        at::Tensor to = out.edges.narrow(0, p, step).narrow(1, 0, seen).narrow(2, first, count);
        to.copy_(at::bmm(flat.narrow(0, p, step).narrow(1, 0, seen), at::cat(some, 1).flatten(2).transpose(1, 2)));
      }
      if (!how_.positions) continue;
      const at::Tensor g = at::cat(parts, 1);          // [prompt, input, pos, d_model]
      for (int64_t t = 0; t < group_.length; ++t) {
        at::Tensor from = d.narrow(1, 0, seen).select(2, t).transpose(0, 1).flatten(1), to = g.select(2, t).transpose(0, 1).flatten(1);
        out.by_position.narrow(0, 0, seen).narrow(1, first, count).select(2, t).copy_(at::mm(from, to.t()) * share);
      }
    }
    const at::Tensor none = graph_.possible().logical_not().to(d.device());
    out.edges.mul_(share).masked_fill_(none, 0);
    if (how_.positions) out.by_position.masked_fill_(none.unsqueeze(2), 0);
    size_t next = graph_.readers().size();
    if (how_.neurons) {
      int64_t widest = 0;
      for (const auto& [l, name] : neuron_points_) widest = std::max(widest, clean_.at(name).size(2));
      out.neurons = at::full({prompts, engine::layer_count(model_), widest}, NAN, d.options());
      for (const auto& [l, name] : neuron_points_) {
        at::Tensor one = (wide(corrupted_.at(name) - clean_.at(name)) * wide(sums_[next++])).sum(1) * share;
        out.neurons.select(1, l).narrow(1, 0, one.size(1)).copy_(one);
      }
    }
    for (const auto& [l, name] : pattern_points_) {
      at::Tensor one = (wide(corrupted_.at(name) - clean_.at(name)) * wide(sums_[next++])).sum(0) * share;
      const int64_t steps = one.size(2) / group_.length;
      if (steps > 1) one = one.unflatten(2, {group_.length, steps}).sum(3);
      out.state_edges.push_back(one);
    }
  }

  const Graph& graph_;
  const Model& model_;
  const engine::PromptGroup& group_;
  const engine::Metric& metric_;
  std::shared_ptr<engine::Metric> reference_;          // of a metric that is measured against the clean run
  Attribution how_;
  MixerForm form_;
  const std::function<void(double)>& on_part_;
  std::vector<std::pair<int64_t, std::string>> neuron_points_, pattern_points_;
  std::vector<std::string> names_;
  std::map<std::string, at::Tensor> clean_, corrupted_;
  at::Tensor clean_input_, corrupted_input_, difference_;      // corrupted minus clean sources [prompt, source, pos, d_model]
  std::vector<at::Tensor> sums_;
  int64_t parts_ = 1, done_ = 0;
};

}  // namespace

GroupScores attribute_edges(const Graph& graph, const engine::PromptGroup& group, const engine::Metric& metric,
                            const Attribution& how, MixerForm form, bool state_edges, const std::function<void(double)>& on_part) {
  return Attributor(graph, group, metric, how, form, state_edges, on_part).run();
}

GroupScores attribute_prompts(const Graph& graph, const AnalysisInput& input, const engine::PromptGroup& group, const std::string& metric,
                              const Attribution& how, bool state_edges, int64_t rows, const std::function<void(double)>& on_part) {
  const int64_t prompts = group.clean.size(0);
  const int64_t fit = attribution_rows(graph, group.length, how);
  rows = rows > 0 ? std::min(rows, fit) : fit;
  if (rows >= prompts) return attribute_edges(graph, group, engine::Metric(metric, input, group), how, input.form, state_edges, on_part);
  std::vector<GroupScores> parts;
  for (int64_t from = 0; from < prompts; from += rows) {
    const engine::PromptGroup g = engine::part_of(group, from, std::min(rows, prompts - from));
    const double before = static_cast<double>(from) / static_cast<double>(prompts), share = static_cast<double>(g.clean.size(0)) / static_cast<double>(prompts);
    parts.push_back(attribute_edges(graph, g, engine::Metric(metric, input, g), how, input.form, state_edges, [&](double x) { on_part(before + share * x); }));
  }
  at::NoGradGuard no_grad;
  auto joined = [&](at::Tensor GroupScores::* field) {
    std::vector<at::Tensor> all;
    for (const GroupScores& s : parts) all.push_back(s.*field);
    return all.front().defined() ? at::cat(all) : at::Tensor();
  };
  GroupScores out;
  out.edges = joined(&GroupScores::edges);
  out.neurons = joined(&GroupScores::neurons);
  out.clean = joined(&GroupScores::clean);
  out.corrupted = joined(&GroupScores::corrupted);
  out.steps = joined(&GroupScores::steps);
  for (const GroupScores& s : parts) {
    if (s.by_position.defined()) out.by_position = out.by_position.defined() ? out.by_position + s.by_position : s.by_position;
    for (size_t i = 0; i < s.state_edges.size(); ++i)
      if (i < out.state_edges.size()) out.state_edges[i] = out.state_edges[i] + s.state_edges[i];
      else out.state_edges.push_back(s.state_edges[i]);
  }
  return out;
}

int64_t attribution_rows(const Graph& graph, int64_t length, const Attribution& how) {
  const ModelConfig& c = graph.model().config();
  // Differences of the sources, gradients of the inputs (and what the backward pass holds of them), the block's own tensors.
  double a_token = 4.0 * static_cast<double>(c.d_model) * static_cast<double>(graph.source_count() + 3 * graph.input_count() + 32 * engine::layer_count(graph.model()));
  if (how.gradient == Attribution::Gradient::kActivations) a_token *= 1.5;
  const double most = graph.model().device().is_cpu() ? 4e9 : 2.4e10;
  return std::max<int64_t>(1, static_cast<int64_t>(most / (a_token * static_cast<double>(length))));
}

}  // namespace microtome::circuit
