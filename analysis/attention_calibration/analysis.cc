// attention_calibration — arXiv 2406.15765; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/attention_calibration/sinks.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"
#include "analysis/engine/node_names.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

constexpr int64_t kRows = 16;                          // prompts that run together

const AnalysisInfo kInfo = {
    "attention_calibration", 1, "Attention calibration",
    "The attention that a head gives to sinks (position 0 above epsilon, other positions above a multiple of an even share) is "
    "scaled and the rest of each row takes the difference; effect = metric - metric of the unchanged run.",
    "arXiv 2406.15765", AnalysisInfo::Prompts::kClean,
    {{"effect", {"layer", "head"}, "metric with this head's sinks scaled minus the unchanged metric, mean over prompts"},
     {"value", {"layer", "head"}, "metric with this head's sinks scaled, mean over prompts"},
     {"sink_mass", {"layer", "head"}, "attention to sinks, mean over queries and prompts"},
     {"sink_prompts", {"layer", "head"}, "share of the prompts where the head has a sink"},
     {"all", {"prompt"}, "effect with the sinks of all chosen heads scaled together"},
     {"value_prompts", {"layer", "head", "prompt"}, "the metric of every prompt"}}};

std::vector<double> list(const at::Tensor& t) {
  at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

at::Tensor repeat_rows(const at::Tensor& t, int64_t copies) {
  std::vector<int64_t> times(static_cast<size_t>(t.dim()), 1);
  times[0] = copies;
  return t.repeat(times);
}

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input), layers_(layer_count(input.model)), heads_(most_heads(input.model)) {
    const Params& p = input.params;
    rule_ = {p.get_bool("first"), p.get_float("epsilon"), p.get_float("multiple"), p.get_int("min_queries")};
    factor_ = p.get_float("factor");
    scale_linear_ = p.get_string("linear") == "scale";
    metric_ = metric_name(input, p.get_string("metric"));
    require_prompts(input, kInfo, metric_ != "loss" && metric_ != "kl");
    groups_ = group_prompts(input, false, kRows);
    for (const PromptGroup& g : groups_) {
      metrics_.push_back(std::make_unique<Metric>(metric_, input, g));
      all_logits_ = metrics_.back()->needs_all_positions();
    }
    bases_.resize(groups_.size());
    chosen_.assign(static_cast<size_t>(layers_), std::vector<bool>(static_cast<size_t>(heads_), p.get_string("heads") == "all"));
    if (p.get_string("heads") != "all")
      for (const NodeName& n : parse_nodes(input.model, p.get_string("heads"), "heads")) {
        if (n.kind != NodeName::Kind::kHead || !n.role.empty())
          throw Error(StatusCode::kBadInput, "'" + n.text() + "' is no head", "param heads", "write all, or 2.0,3.1");
        chosen_[static_cast<size_t>(n.layer)][static_cast<size_t>(n.head)] = true;
      }
    bool any = false;
    for (int64_t l = 0; l < layers_; ++l)
      for (int64_t h = 0; h < heads(l); ++h) any = any || chosen_[static_cast<size_t>(l)][static_cast<size_t>(h)];
    if (!any)
      throw Error(StatusCode::kBadInput, "none of the chosen heads has an attention pattern that is scaled", "attention_calibration",
                  "choose other heads, or linear=scale");
  }

  int64_t item_count() const override { return layers_ + 1; }   // each layer's heads one by one, then all heads together
  std::string item_title(int64_t item) const override { return item < layers_ ? "heads of layer " + std::to_string(item) : "all heads together"; }
  void set_batch(int64_t rows) override { batch_ = rows; }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    const int64_t prompts = static_cast<int64_t>(input_.dataset.pairs.size());
    at::Tensor value = at::full({item < layers_ ? heads_ : 1, prompts}, NAN, at::kDouble);
    at::Tensor mass = at::full({heads_, prompts}, NAN, at::kDouble), found = at::full({heads_, prompts}, NAN, at::kDouble);
    at::Tensor places = at::zeros({heads_, longest(groups_)}, at::kLong);   // prompts with a sink there; index from the start
    progress.step(0, static_cast<int64_t>(groups_.size()));
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (item < layers_) run_layer(g, item, value, mass, found, places, progress);
      else value.index_copy_(1, at::tensor(groups_[g].prompts, at::kLong), run_all(g).unsqueeze(0));
      progress.step(static_cast<int64_t>(g) + 1, static_cast<int64_t>(groups_.size()));
    }
    std::vector<NamedArray> out{to_array("value", {"head", "prompt"}, value)};
    if (item == layers_) return out;
    out.push_back(to_array("sink_mass", {"head", "prompt"}, mass));
    out.push_back(to_array("has_sink", {"head", "prompt"}, found));
    out.push_back(to_array("places", {"head", "k_pos"}, places));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  struct Base {
    std::vector<at::Tensor> residual;                  // what enters each layer
    at::Tensor logits;                                 // at the last position
    at::Tensor metric;                                 // [prompts] float64
  };

  // Heads of a layer whose pattern is scaled; 0: none.
  int64_t heads(int64_t layer) const {
    const HookPoint* p = input_.model.catalogue().find(block_point(layer, "attn.hook_pattern"));
    if (!p || (input_.model.mixer_info(layer).recurrent && !scale_linear_)) return 0;
    return by_heads(layer) ? p->sizes[1] : 0;
  }
  // A mixture of memories has a pattern a memory and head.
  bool by_heads(int64_t layer) const {
    const HookPoint* p = input_.model.catalogue().find(block_point(layer, "attn.hook_pattern"));
    return p && p->sizes[1] == input_.model.mixer_info(layer).heads;
  }

  at::Tensor measure(size_t group, const at::Tensor& logits) const {
    const PromptGroup& g = groups_[group];
    int64_t copies = logits.size(0) / g.clean.size(0);
    at::Tensor v = all_logits_ ? Metric::token_losses(logits, repeat_rows(g.clean, copies), 0).mean(1)
                               : metrics_[group]->last(logits.select(1, logits.size(1) - 1));
    return v.to(at::kCPU, at::kDouble).view({copies, -1});
  }

  void want_logits(HookPlan& plan) const {
    plan.form = input_.form;
    if (!all_logits_) plan.logit_positions = std::vector<int64_t>{-1};
  }

  const Base& base(size_t group) {
    if (bases_[group]) return *bases_[group];
    HookPlan plan;
    want_logits(plan);
    plan.capture("blocks.*.hook_resid_pre");
    ForwardResult r = input_.model.forward(groups_[group].clean, plan);
    auto b = std::make_unique<Base>();
    for (int64_t l = 0; l < layers_; ++l) b->residual.push_back(r.cache.get(block_point(l, "hook_resid_pre")));
    if (metrics_[group]->needs_reference()) metrics_[group]->set_reference(r.logits.select(1, r.logits.size(1) - 1));
    b->metric = measure(group, r.logits)[0];
    bases_[group] = std::move(b);
    return *bases_[group];
  }

  // Sinks of one layer in the unchanged run; heads that are not chosen have none.
  Sinks sinks(size_t group, int64_t layer) {
    HookPlan plan;
    plan.form = input_.form;
    plan.logits = false;
    plan.stop_before_layer = layer + 1;
    std::string name = block_point(layer, "attn.hook_pattern");
    plan.capture(name);
    RunState state;
    state.keep = false;
    state.first_layer = layer;
    state.residual = base(group).residual[static_cast<size_t>(layer)];
    at::Tensor pattern = input_.model.forward(groups_[group].clean, plan, &state).cache.get(name);
    return find_sinks(pattern, input_.model.mixer_info(layer).recurrent, rule_);
  }

  Edit scale(const at::Tensor& is_sink, int64_t layer) const {
    bool renormalise = !input_.model.mixer_info(layer).recurrent;
    return [=, factor = factor_](const at::Tensor& v, int64_t) { return calibrate(v, is_sink, factor, renormalise); };
  }

  void run_layer(size_t group, int64_t layer, at::Tensor& value, at::Tensor& mass, at::Tensor& found, at::Tensor& places, Progress& progress) {
    const int64_t count = heads(layer);
    if (!count) return;
    const PromptGroup& g = groups_[group];
    const Base& b = base(group);
    const int64_t prompts = g.clean.size(0);
    Sinks s = sinks(group, layer);
    at::Tensor columns = at::tensor(g.prompts, at::kLong), any = s.is_sink.any(2).to(at::kCPU);   // [prompt, head]
    std::vector<int64_t> todo;
    for (int64_t h = 0; h < count; ++h) {
      if (!chosen_[static_cast<size_t>(layer)][static_cast<size_t>(h)]) continue;
      mass.select(0, h).index_copy_(0, columns, s.mass.select(1, h).to(at::kCPU));
      found.select(0, h).index_copy_(0, columns, any.select(1, h).to(at::kDouble));
      places.select(0, h).narrow(0, 0, g.length).add_(s.is_sink.select(1, h).sum(0).to(at::kCPU));
      value.select(0, h).index_copy_(0, columns, b.metric);        // where there is no sink nothing changes
      if (any.select(1, h).any().item<bool>()) todo.push_back(h);
    }
    const int64_t step = std::max<int64_t>(1, batch_ / prompts);
    for (size_t from = 0; from < todo.size(); from += static_cast<size_t>(step)) {
      std::vector<int64_t> some(todo.begin() + static_cast<int64_t>(from),
                                todo.begin() + std::min<int64_t>(static_cast<int64_t>(from) + step, static_cast<int64_t>(todo.size())));
      int64_t copies = static_cast<int64_t>(some.size());
      at::Tensor is_sink = at::zeros({copies * prompts, count, g.length}, s.is_sink.options());
      for (int64_t c = 0; c < copies; ++c)
        is_sink.narrow(0, c * prompts, prompts).select(1, some[static_cast<size_t>(c)]).copy_(s.is_sink.select(1, some[static_cast<size_t>(c)]));
      HookPlan plan;
      want_logits(plan);
      plan.edit(block_point(layer, "attn.hook_pattern"), scale(is_sink, layer));
      RunState state;
      state.keep = false;
      state.first_layer = layer;
      state.residual = repeat_rows(b.residual[static_cast<size_t>(layer)], copies);
      at::Tensor got = measure(group, input_.model.forward(repeat_rows(g.clean, copies), plan, &state).logits);
      for (int64_t c = 0; c < copies; ++c) value.select(0, some[static_cast<size_t>(c)]).index_copy_(0, columns, got[c]);
      progress.check();
    }
  }

  // Every chosen head's sinks, as they are in the unchanged run.
  at::Tensor run_all(size_t group) {
    HookPlan plan;
    want_logits(plan);
    for (int64_t l = 0; l < layers_; ++l) {
      if (!heads(l)) continue;
      at::Tensor is_sink = sinks(group, l).is_sink;
      for (int64_t h = 0; h < heads(l); ++h)
        if (!chosen_[static_cast<size_t>(l)][static_cast<size_t>(h)]) is_sink.select(1, h).fill_(false);
      if (is_sink.any().item<bool>()) plan.edit(block_point(l, "attn.hook_pattern"), scale(is_sink, l));
    }
    if (plan.edits().empty()) return base(group).metric;
    return measure(group, input_.model.forward(groups_[group].clean, plan).logits)[0];
  }

  AnalysisInput input_;
  int64_t layers_, heads_;
  SinkRule rule_;
  double factor_ = 0.5;
  bool scale_linear_ = true, all_logits_ = false;
  std::string metric_;
  std::vector<PromptGroup> groups_;
  std::vector<std::unique_ptr<Metric>> metrics_;
  std::vector<std::unique_ptr<Base>> bases_;
  std::vector<std::vector<bool>> chosen_;
  int64_t batch_ = 256;
};

AnalysisResult Run::finish(const std::vector<std::vector<NamedArray>>& items) {
  const int64_t prompts = static_cast<int64_t>(input_.dataset.pairs.size());
  at::Tensor clean = at::full({prompts}, NAN, at::kDouble);
  for (size_t g = 0; g < groups_.size(); ++g) clean.index_copy_(0, at::tensor(groups_[g].prompts, at::kLong), base(g).metric);
  auto stack = [&](const char* name) {
    std::vector<at::Tensor> rows;
    for (int64_t l = 0; l < layers_; ++l) rows.push_back(to_tensor(find_array(items[static_cast<size_t>(l)], name)));
    return at::stack(rows);
  };
  at::Tensor value = stack("value"), mass = stack("sink_mass"), found = stack("has_sink"), places = stack("places");
  at::Tensor all = to_tensor(find_array(items.back(), "value"))[0] - clean, effect = value - clean;
  std::string unit = Metric::unit(metric_);
  AnalysisResult out;
  at::Tensor share = nan_mean(found, -1), mean = nan_mean(effect, -1);
  int64_t with_sinks = (share > 0).sum().item<int64_t>();
  out.summary = {summarise("clean_" + metric_, list(clean), unit, "metric of the unchanged run", input_.seed),
                 summarise("all", list(all), unit, "change of the metric with the sinks of all chosen heads scaled together", input_.seed + 1),
                 plain_number("heads_with_sinks", static_cast<double>(with_sinks), "", "chosen heads that have a sink on some prompt")};
  TensorMap map = head_map(input_.model, "attention_calibration", "Scaling attention sinks by " + short_number(factor_),
                           {{"effect", unit, metric_ + " with this head's sinks scaled minus the unchanged run's, mean over prompts", mean},
                            {"value", unit, metric_ + " with this head's sinks scaled, mean over prompts", nan_mean(value, -1)},
                            {"sink_mass", "share", "attention to sinks, mean over queries and prompts", nan_mean(mass, -1)},
                            {"sink_prompts", "share of prompts", "prompts where the head has a sink", share}},
                           {"effect", "value"});
  map.arrays.push_back(to_array("all", {"prompt"}, all, unit, "change of the metric with the sinks of all chosen heads scaled together"));
  map.arrays.push_back(to_array("value_prompts", {"layer", "head", "prompt"}, value.to(at::kFloat), unit, "the metric of every prompt"));
  map.arrays.push_back(to_array("sink_places", {"layer", "head", "k_pos"}, places, "prompts", "prompts with a sink at this position, counted from the start"));
  map.looks["sink_places"] = "sequential";
  out.artifacts.push_back(std::move(map));

  struct Row { int64_t layer, head; double size; };
  std::vector<Row> rows;
  for (int64_t l = 0; l < layers_; ++l)
    for (int64_t h = 0; h < heads_; ++h)
      if (share[l][h].item<double>() > 0) rows.push_back({l, h, mean[l][h].item<double>()});
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return std::abs(a.size) > std::abs(b.size); });
  Table t{"sinks", "Heads with sinks, largest effect first",
          {{"head", "", ""}, {"kind", "", "softmax or recurrent"}, {"effect", unit, "mean over prompts"}, {"low", unit, "95 % bootstrap interval over prompts"},
           {"high", unit, "95 % bootstrap interval over prompts"}, {"sink_mass", "share", "attention to sinks"}, {"prompts", "share", "where it has a sink"},
           {"most_often_at", "", "position of the most frequent sink, from the start"}}, {}};
  for (const Row& r : rows) {
    SummaryItem s = summarise("", list(effect[r.layer][r.head]), "", "", input_.seed);
    t.rows.push_back({head_name(r.layer, r.head), std::string(input_.model.mixer_info(r.layer).recurrent ? "recurrent" : "softmax"), s.value, s.low, s.high,
                      nan_mean(mass[r.layer][r.head], 0).item<double>(), share[r.layer][r.head].item<double>(), places[r.layer][r.head].argmax().item<int64_t>()});
  }
  std::string by = short_number(factor_);
  if (rows.empty()) {
    out.findings.push_back("No chosen head has an attention sink on these prompts, so nothing was scaled.");
  } else {
    out.findings.push_back(std::to_string(with_sinks) + " heads have sinks; scaling the attention to all of them by " + by + " changes the " + metric_ +
                           " by " + short_number(out.summary[1].value) + ", from " + short_number(out.summary[0].value) + ".");
    out.findings.push_back("The largest change by one head is that of " + head_name(rows[0].layer, rows[0].head) + ": " + short_number(rows[0].size) + ".");
  }
  out.artifacts.push_back(std::move(t));
  std::string linear, without;
  for (int64_t l = 0; l < layers_; ++l) {
    std::string name = std::to_string(l) + " (" + input_.model.mixer_info(l).kind + ")";
    if (!by_heads(l)) without += (without.empty() ? "" : ", ") + name;
    else if (input_.model.mixer_info(l).recurrent) linear += (linear.empty() ? "" : ", ") + name;
  }
  if (!linear.empty())
    out.warnings.push_back("rows of linear layers " + linear + " need not sum to 1; their sinks are " +
                           (scale_linear_ ? "scaled and the rest of the row is left as it is" : "left out (linear=skip)"));
  if (!without.empty()) out.warnings.push_back("layers " + without + " have no attention matrix by heads and are left out");
  return out;
}

}  // namespace

void register_attention_calibration(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
