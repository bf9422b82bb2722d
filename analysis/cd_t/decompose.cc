#include "analysis/cd_t/decompose.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/engine/layers.h"

namespace microtome::analyses {

using engine::block_point;
using engine::has_point;
using engine::Metric;
using engine::PromptGroup;

namespace {

constexpr int64_t kMlp = -1, kWhole = -2;              // sources that are no head
// What a part of a layer multiplies by, beside its attention: both parts of a layer with two mixers.
const char* const kPatterns[] = {"attn.hook_pattern", "attn.hook_pattern.ssm"};
const char* const kGates[] = {"attn.hook_gate", "attn.hook_gate.ssm"};
const char* const kNorms[] = {"ln1.hook_scale", "ln1_post.hook_scale", "ln2.hook_scale", "ln2_post.hook_scale"};

at::Tensor repeat_rows(const at::Tensor& t, int64_t copies) {
  std::vector<int64_t> times(static_cast<size_t>(t.dim()), 1);
  times[0] = copies;
  return t.repeat(times);
}

// Prompts that run together: all layers' patterns of the group are held.
int64_t most_rows(const AnalysisInput& input) {
  int64_t longest = 1;
  for (const PromptPair& p : input.dataset.pairs) longest = std::max(longest, static_cast<int64_t>(p.clean_ids.size()));
  int64_t cells = longest * longest * engine::most_heads(input.model) * engine::layer_count(input.model);
  return std::clamp<int64_t>((int64_t{1} << 28) / std::max<int64_t>(1, cells), 1, 16);
}

}  // namespace

struct Decomposition::Whole {
  ActivationCache cache;
  at::Tensor logits, metric;
};

Decomposition::Decomposition(const AnalysisInput& input, Baseline baseline, const std::string& metric)
    : input_(input), baseline_(baseline), groups_(engine::group_prompts(input, baseline == Baseline::kCorrupted, most_rows(input))),
      layers_(engine::layer_count(input.model)) {
  for (const PromptGroup& g : groups_) {
    metrics_.push_back(std::make_unique<Metric>(metric, input, g));
    all_logits_ = metrics_.back()->needs_all_positions();
    prompt_count_ += static_cast<int64_t>(g.prompts.size());
  }
  int64_t all = 0;
  for (int64_t l = 0; l < layers_; ++l) {
    most_heads_ = std::max(most_heads_, heads(l));
    all += heads(l);
  }
  if (all > 4096)
    throw Error(StatusCode::kUnsupported, "cd_t compares each head with each later one, and this model has " + std::to_string(all) + " heads",
                input.model.config().name, "use attribution_patching, which looks at each head once");
}

int64_t Decomposition::heads(int64_t layer) const {
  const HookPoint* z = input_.model.catalogue().find(block_point(layer, "attn.hook_z"));
  return z && z->axes.size() == 4 && z->axes[2] == "head" ? z->sizes[2] : 0;
}

bool Decomposition::has_mlp(int64_t layer) const { return has_point(input_.model, layer, "hook_mlp_out"); }
bool Decomposition::freezes(int64_t layer) const { return has_point(input_.model, layer, "attn.hook_pattern"); }

at::Tensor Decomposition::measure(size_t group, const at::Tensor& logits) const {
  const PromptGroup& g = groups_[group];
  int64_t copies = logits.size(0) / g.clean.size(0);
  at::Tensor v = all_logits_ ? Metric::token_losses(logits, repeat_rows(g.clean, copies), 0).mean(1)
                             : metrics_[group]->last(logits.select(1, logits.size(1) - 1));
  return v.to(at::kCPU, at::kDouble).view({copies, -1});
}

Decomposition::Whole Decomposition::whole_run(size_t group) const {
  HookPlan plan;
  plan.form = input_.form;
  if (!all_logits_) plan.logit_positions = std::vector<int64_t>{-1};
  auto want = [&](const std::string& name) {
    if (input_.model.catalogue().find(name)) plan.capture(name);
  };
  for (int64_t l = 0; l < layers_; ++l) {
    for (const char* p : {"hook_resid_pre", "attn.hook_z"}) want(block_point(l, p));
    for (const char* p : kPatterns) want(block_point(l, p));
    for (const char* p : kGates) want(block_point(l, p));
    for (const char* p : kNorms) want(block_point(l, p));
  }
  want("ln_final.hook_scale");
  ForwardResult r = input_.model.forward(groups_[group].clean, plan);
  Whole out;
  if (metrics_[group]->needs_reference()) metrics_[group]->set_reference(r.logits.select(1, r.logits.size(1) - 1));
  out.metric = measure(group, r.logits)[0];
  out.cache = std::move(r.cache);
  return out;
}

// Patterns and gates of layers behind the source, and every divisor from the source's layer on, as in the whole run.
void Decomposition::freeze(HookPlan& plan, const Whole& whole, int64_t from, int64_t copies) const {
  auto keep = [&](const std::string& name) {
    if (!whole.cache.has(name)) return;
    plan.edit(name, [value = whole.cache.get(name), copies](const at::Tensor&, int64_t) { return repeat_rows(value, copies); });
  };
  for (int64_t l = std::max<int64_t>(0, from); l < layers_; ++l) {
    if (l > from) {
      for (const char* p : kPatterns) keep(block_point(l, p));
      for (const char* p : kGates) keep(block_point(l, p));
    }
    for (const char* p : kNorms) keep(block_point(l, p));
  }
  keep("ln_final.hook_scale");
}

at::Tensor Decomposition::mean_of(const std::string& point, Progress& progress) const {
  at::Tensor sum;
  double count = 0;
  for (const PromptGroup& g : groups_) {
    HookPlan plan;
    plan.form = input_.form;
    plan.logits = false;
    plan.capture(point);
    at::Tensor v = input_.model.forward(g.clean, plan).cache.get(point).to(at::kDouble);
    at::Tensor part = v.sum(at::IntArrayRef{0, 1}, true);
    sum = sum.defined() ? sum + part : part;
    count += static_cast<double>(v.size(0) * v.size(1));
    progress.check();
  }
  return sum / count;
}

at::Tensor Decomposition::corrupted_of(size_t group, const std::string& point) const {
  HookPlan plan;
  plan.form = input_.form;
  plan.logits = false;
  plan.capture(point);
  return input_.model.forward(groups_[group].corrupted, plan).cache.get(point);
}

Decomposition::Relevance Decomposition::run(int64_t layer, int64_t batch_rows, Progress& progress) {
  const bool input = layer == kInput;
  const int64_t first = std::max<int64_t>(0, layer);
  std::vector<int64_t> sources;
  if (input) sources = {kWhole};
  for (int64_t h = 0; !input && h < heads(layer); ++h) sources.push_back(h);
  if (!input && has_mlp(layer)) sources.push_back(kMlp);
  const int64_t rows_out = input ? 1 : most_heads_ + 1, total = static_cast<int64_t>(groups_.size() * sources.size()) + 1;
  auto slot = [&](int64_t source) { return input ? 0 : source == kMlp ? most_heads_ : source; };
  Relevance out;
  out.logits = at::full({rows_out, prompt_count_}, NAN, at::kDouble);
  out.heads = at::full({rows_out, layers_, most_heads_}, NAN, at::kDouble);
  out.whole = at::full({prompt_count_}, NAN, at::kDouble);
  at::Tensor sums = at::zeros_like(out.heads);
  progress.step(0, total);
  std::string z_name = block_point(first, "attn.hook_z"), mlp_name = block_point(first, "hook_mlp_out"), x_name = block_point(0, "hook_resid_pre");
  auto wants_z = [&] { return !input && heads(layer) > 0; };
  auto wants_mlp = [&] { return !input && has_mlp(layer); };
  at::Tensor z, mlp, x;
  if (baseline_ == Baseline::kMean) {
    if (wants_z()) z = mean_of(z_name, progress);
    if (wants_mlp()) mlp = mean_of(mlp_name, progress);
    if (input) x = mean_of(x_name, progress);
  }
  int64_t done = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const PromptGroup& group = groups_[g];
    const int64_t prompts = group.clean.size(0);
    at::Tensor columns = at::tensor(group.prompts, at::kLong);
    Whole whole = whole_run(g);
    out.whole.index_copy_(0, columns, whole.metric);
    if (baseline_ == Baseline::kCorrupted) {
      if (wants_z()) z = corrupted_of(g, z_name);
      if (wants_mlp()) mlp = corrupted_of(g, mlp_name);
      if (input) x = corrupted_of(g, x_name);
    }
    const int64_t step = std::max<int64_t>(1, batch_rows / prompts);
    for (size_t from = 0; from < sources.size(); from += static_cast<size_t>(step)) {
      std::vector<int64_t> some(sources.begin() + static_cast<int64_t>(from),
                                sources.begin() + std::min<int64_t>(static_cast<int64_t>(from) + step, static_cast<int64_t>(sources.size())));
      const int64_t copies = static_cast<int64_t>(some.size());
      HookPlan plan;
      plan.form = input_.form;
      if (!all_logits_) plan.logit_positions = std::vector<int64_t>{-1};
      freeze(plan, whole, layer, copies);
      auto take_away = [&](const std::string& name, const at::Tensor& base, bool head) {
        if (!base.defined()) return;
        plan.edit(name, [some, base, head, prompts](const at::Tensor& v, int64_t) {
          at::Tensor changed = v.clone();
          for (size_t c = 0; c < some.size(); ++c) {
            if ((some[c] >= 0) != head) continue;
            at::Tensor rows = changed.narrow(0, static_cast<int64_t>(c) * prompts, prompts);
            if (head) rows.select(2, some[c]).copy_(base.select(2, some[c]).expand_as(rows.select(2, some[c])));
            else rows.copy_(base.expand_as(rows));
          }
          return changed;
        });
      };
      if (!input) {
        take_away(z_name, z, true);
        take_away(mlp_name, mlp, false);
      }
      for (int64_t l = layer + 1; l < layers_; ++l)
        if (heads(l)) plan.capture(block_point(l, "attn.hook_z"));
      RunState state;
      state.keep = false;
      state.first_layer = first;
      at::Tensor entry = whole.cache.get(block_point(first, "hook_resid_pre"));
      state.residual = repeat_rows(input ? x.to(entry.scalar_type()).expand_as(entry).contiguous() : entry, copies);
      ForwardResult r = input_.model.forward(repeat_rows(group.clean, copies), plan, &state);
      at::Tensor metric = measure(g, r.logits);
      for (int64_t c = 0; c < copies; ++c)
        out.logits.select(0, slot(some[static_cast<size_t>(c)])).index_copy_(0, columns, whole.metric - metric[c]);
      for (int64_t l = layer + 1; l < layers_; ++l) {
        if (!heads(l)) continue;
        std::string name = block_point(l, "attn.hook_z");
        at::Tensor have = whole.cache.get(name).to(at::kDouble), without = r.cache.get(name).to(at::kDouble);
        at::Tensor size = have.square().sum(at::IntArrayRef{1, 3}).sqrt().clamp_min(1e-30);            // [prompt, head]
        at::Tensor part = (repeat_rows(have, copies) - without).square().sum(at::IntArrayRef{1, 3}).sqrt();
        at::Tensor share = (part.view({copies, prompts, -1}) / size).sum(1).to(at::kCPU);
        for (int64_t c = 0; c < copies; ++c) sums[slot(some[static_cast<size_t>(c)])][l].narrow(0, 0, heads(l)).add_(share[c]);
      }
      progress.step(done += copies, total);
    }
  }
  for (int64_t s : sources)
    for (int64_t l = layer + 1; l < layers_; ++l)
      out.heads[slot(s)][l].narrow(0, 0, heads(l)).copy_(sums[slot(s)][l].narrow(0, 0, heads(l)) / static_cast<double>(prompt_count_));
  return out;
}

}  // namespace microtome::analyses
