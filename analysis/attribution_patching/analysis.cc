// attribution_patching — arXiv 2310.10348; definition in README.md.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "analysis/engine/grid_result.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

const AnalysisInfo kInfo = {
    "attribution_patching", 1, "Attribution patching",
    "(clean - corrupted) times the metric's gradient on the corrupted run, summed over width: a linear estimate of activation "
    "patching for every place at once.",
    "arXiv 2310.10348", AnalysisInfo::Prompts::kPairs,
    {{"effect", {"layer", "pos|head"}, "estimated change of the metric, mean over prompts"},
     {"effect_normalised", {"layer", "pos|head"}, "effect over the metric's difference between the two runs"},
     {"effect_prompts", {"layer", "pos|head", "prompt"}, "the estimate of every prompt"}}};

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input), site_(find_site(input.params.get_string("site"))) {
    require_prompts(input, kInfo, true);
    noise_ = input.params.get_string("direction") == "noise";
    metric_ = metric_name(input, input.params.get_string("metric"));
    groups_ = group_prompts(input, true, std::max<int64_t>(input.params.get_int("batch_size"), 0) ? input.params.get_int("batch_size") : 64);
    std::vector<GridGroup> grid_groups;
    for (const PromptGroup& p : groups_) {
      GridGroup g;
      g.prompts = p;
      g.base_tokens = noise_ ? p.clean : p.corrupted;
      g.source_tokens = noise_ ? p.corrupted : p.clean;
      g.metric = std::make_unique<Metric>(metric_, input, p);
      grid_groups.push_back(std::move(g));
    }
    PatchGrid::Options options;
    options.site = site_;
    options.by_position = input.params.get_bool("by_position");
    grid_ = std::make_unique<PatchGrid>(input, options, std::move(grid_groups), nullptr);
    grid_->require_site();
  }

  int64_t item_count() const override { return static_cast<int64_t>(groups_.size()); }
  std::string item_title(int64_t i) const override { return "prompts of " + std::to_string(groups_[static_cast<size_t>(i)].length) + " tokens"; }

  void set_batch(int64_t rows) override { rows_ = std::max<int64_t>(1, rows); }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    const PromptGroup& prompts = grid_->groups()[static_cast<size_t>(item)].prompts;
    const int64_t count = static_cast<int64_t>(prompts.prompts.size());
    std::vector<at::Tensor> effect, base, source;
    for (int64_t from = 0; from < count; from += rows_) {
      const PromptGroup part = rows_ >= count ? prompts : part_of(prompts, from, std::min(rows_, count - from));
      Estimate e = estimate(part, progress.range(static_cast<double>(from) / static_cast<double>(count),
                                                 static_cast<double>(std::min(count, from + rows_)) / static_cast<double>(count)));
      effect.push_back(e.effect);
      base.push_back(e.base);
      source.push_back(e.source);
    }
    std::vector<std::string> axes{"layer"};
    if (grid_->by_pos()) axes.push_back("pos");
    if (grid_->by_head()) axes.push_back("head");
    axes.push_back("prompt");
    return {to_array("effect", axes, at::cat(effect, -1)), to_array("base", {"prompt"}, at::cat(base)), to_array("source", {"prompt"}, at::cat(source))};
  }

  std::optional<AnalysisResult> preview(const std::vector<std::vector<NamedArray>>& items) override {
    Gathered known = gather(items);
    if (known.done.empty()) return std::nullopt;
    AnalysisResult out;
    out.artifacts.push_back(effect_map(GridResult(input_, *grid_, site_), known));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    GridResult grid(input_, *grid_, site_);
    Gathered all_prompts = gather(items);
    const at::Tensor &effect = all_prompts.effect, &base = all_prompts.base, &source = all_prompts.source;
    at::Tensor clean = noise_ ? base : source, corrupted = noise_ ? source : base;
    double span = all_prompts.span();
    at::Tensor mean = nan_mean(effect, -1);
    AnalysisResult out;
    std::string unit = Metric::unit(metric_);
    auto list = [](const at::Tensor& t) {
      at::Tensor c = t.contiguous();
      return std::vector<double>(c.data_ptr<double>(), c.data_ptr<double>() + c.numel());
    };
    out.summary = {summarise("clean_" + metric_, list(clean), unit, "metric of the clean run", input_.seed),
                   summarise("corrupted_" + metric_, list(corrupted), unit, "metric of the corrupted run", input_.seed)};
    out.artifacts.push_back(effect_map(grid, all_prompts));
    TensorMap all;
    all.name = "attribution_patching_" + site_.name + "_prompts";
    all.title = "Every prompt";
    std::vector<std::string> axes = grid.axes();
    axes.push_back("prompt");
    all.arrays.push_back(to_array("effect_prompts", axes, effect.to(at::kFloat), unit, "the estimate of every prompt"));
    out.artifacts.push_back(all);
    if (std::abs(span) > 1e-9) {
      out.artifacts.push_back(grid.top_table(effect, at::zeros_like(base), std::abs(span)));
      grid.add_findings(out, mean / std::abs(span), noise_ ? "By the gradient, the corrupted value in" : "By the gradient, the clean value in",
                        "is worth", "of the difference between the runs");
    }
    return out;
  }

 private:
  struct Estimate {
    at::Tensor effect, base, source;   // [layer, pos?, head?, prompt], [prompt]: float64 on the CPU
  };

  // Both runs of some prompts and one way back through one of them.
  Estimate estimate(const PromptGroup& g, Progress progress) const {
    const at::Tensor &base_tokens = noise_ ? g.clean : g.corrupted, &source_tokens = noise_ ? g.corrupted : g.clean;
    const int64_t n_layers = static_cast<int64_t>(input_.model.config().layers.size());
    std::vector<std::string> names;
    std::vector<int64_t> layers;
    for (int64_t l = 0; l < n_layers; ++l)
      if (grid_->has_site(l)) {
        names.push_back("blocks." + std::to_string(l) + "." + site_.hook);
        layers.push_back(l);
      }
    Metric metric(metric_, input_, g);
    const bool all = metric.needs_all_positions();
    HookPlan source_plan, base_plan;
    source_plan.form = base_plan.form = input_.form;
    for (const std::string& n : names) {
      source_plan.capture(n);
      base_plan.capture(n, {}, /*gradient=*/true);
    }
    if (!all) source_plan.logit_positions = base_plan.logit_positions = std::vector<int64_t>{-1};
    auto last = [](const at::Tensor& y) { return y.select(1, y.size(1) - 1); };
    auto measure = [&](const at::Tensor& y, const at::Tensor& tokens) {
      return all ? Metric::token_losses(y, tokens, 0).mean(1) : metric.last(last(y));
    };
    const int64_t prompts = g.clean.size(0);
    // Runs as small as that cost a GPU no more than starting their operations: both are one, and the gradient of the other half
    // is zero.
    const bool together = base_tokens.is_cuda() && base_tokens.numel() <= 4096;
    ForwardResult source, base;
    at::Tensor base_logits, source_logits;
    progress.step(0, 3, "the other run");
    if (!together) {
      source = input_.model.forward(source_tokens, source_plan);
      source_logits = source.logits;
    }
    at::AutoGradMode grad(true);
    progress.step(1, 3, "the run that is differentiated");
    base = input_.model.forward(together ? at::cat({base_tokens, source_tokens}) : base_tokens, base_plan);
    base_logits = together ? base.logits.narrow(0, 0, prompts) : base.logits;
    if (together) source_logits = base.logits.narrow(0, prompts, prompts).detach();
    if (metric.needs_reference()) metric.set_reference(last(noise_ ? base_logits : source_logits).detach());
    at::Tensor base_metric = measure(base_logits, base_tokens), source_metric = measure(source_logits, source_tokens).detach();
    progress.step(2, 3, "backward");
    // A sum over prompts: each prompt's own gradient, since no prompt reads another.
    std::map<std::string, at::Tensor> grads = hook_gradients(base_metric.sum(), base.cache, names);
    at::NoGradGuard no_grad;
    std::vector<int64_t> shape{n_layers};
    if (grid_->by_pos()) shape.push_back(g.length);
    if (grid_->by_head()) shape.push_back(grid_->max_heads());
    shape.push_back(prompts);
    // Summed where the model is; what is fetched is the estimate alone, once.
    at::Tensor effect = at::full(shape, NAN, at::TensorOptions().dtype(at::kDouble).device(base_metric.device()));
    for (size_t i = 0; i < names.size(); ++i) {
      at::Tensor value = base.cache.get(names[i]), slope = grads.at(names[i]), other;
      if (together) {
        other = value.narrow(0, prompts, prompts);
        value = value.narrow(0, 0, prompts);
        slope = slope.narrow(0, 0, prompts);
      } else {
        other = source.cache.get(names[i]);
      }
      at::Tensor product = (other - value) * slope;
      // To [prompt, pos, head, width] or [prompt, pos, width], then to the grid's own axes with the prompt last.
      if (site_.name == "pattern") product = product.permute({0, 2, 1, 3});
      const int64_t keep = grid_->by_head() ? 3 : 2;
      std::vector<int64_t> summed;
      if (!grid_->by_pos()) summed.push_back(1);
      for (int64_t axis = keep; axis < product.dim(); ++axis) summed.push_back(axis);
      product = (summed.empty() ? product.to(at::kDouble) : product.sum(summed, false, at::kDouble)).movedim(0, -1);
      at::Tensor row = effect.select(0, layers[i]);
      if (grid_->by_head()) row = row.narrow(grid_->by_pos() ? 1 : 0, 0, grid_->heads(layers[i]));
      row.copy_(product);
    }
    progress.step(3, 3);
    return {effect.cpu(), base_metric.detach().to(at::kCPU, at::kDouble), source_metric.to(at::kCPU, at::kDouble)};
  }

  struct Gathered {
    at::Tensor effect, base, source;   // [layer, pos?, head?, prompt], [prompt]; NaN for prompts not run yet
    std::vector<int64_t> done;         // prompts that ran, rising
    // How far the two runs' metric is apart, whichever is the base.
    double span() const { return (source - base).index_select(0, at::tensor(done, at::kLong)).mean().item<double>(); }
  };
  Gathered gather(const std::vector<std::vector<NamedArray>>& items) const {
    int64_t total = static_cast<int64_t>(input_.dataset.pairs.size());
    std::vector<int64_t> shape{static_cast<int64_t>(input_.model.config().layers.size())};
    if (grid_->by_pos()) shape.push_back(grid_->width());
    if (grid_->by_head()) shape.push_back(grid_->max_heads());
    shape.push_back(total);
    Gathered out;
    out.effect = at::full(shape, NAN, at::kDouble);
    out.base = at::full({total}, NAN, at::kDouble);
    out.source = out.base.clone();
    for (size_t i = 0; i < items.size(); ++i) {
      if (items[i].empty()) continue;
      const PromptGroup& g = groups_[i];
      out.done.insert(out.done.end(), g.prompts.begin(), g.prompts.end());
      at::Tensor columns = at::tensor(g.prompts, at::kLong);
      at::Tensor target = grid_->by_pos() ? out.effect.narrow(1, grid_->width() - g.length, g.length) : out.effect;
      target.index_copy_(-1, columns, to_tensor(find_array(items[i], "effect")));
      out.base.index_copy_(0, columns, to_tensor(find_array(items[i], "base")));
      out.source.index_copy_(0, columns, to_tensor(find_array(items[i], "source")));
    }
    std::sort(out.done.begin(), out.done.end());
    return out;
  }

  TensorMap effect_map(const GridResult& grid, const Gathered& all) const {
    at::Tensor mean = nan_mean(all.effect, -1);
    double span = all.span();
    TensorMap map = grid.tensor_map("attribution_patching_" + site_.name, "Attribution patching of " + site_.name);
    map.arrays.push_back(to_array("effect", grid.axes(), mean.to(at::kFloat), Metric::unit(metric_), "(clean - corrupted) · gradient, mean over prompts"));
    map.looks["effect"] = "diverging";
    if (std::abs(span) > 1e-9) {
      map.arrays.push_back(to_array("effect_normalised", grid.axes(), (mean / std::abs(span)).to(at::kFloat), "", "effect over the difference of the metric between the runs"));
      map.looks["effect_normalised"] = "diverging";
    }
    return map;
  }

  AnalysisInput input_;
  Site site_;
  std::string metric_;
  bool noise_ = false;
  int64_t rows_ = 64;                  // prompts run together
  std::vector<PromptGroup> groups_;
  std::unique_ptr<PatchGrid> grid_;
};

}  // namespace

void register_attribution_patching(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
