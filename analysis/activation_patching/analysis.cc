// activation_patching — arXiv 2211.00593, 2309.16042; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/engine/grid_result.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

const AnalysisInfo kInfo = {
    "activation_patching", 1, "Activation patching",
    "One place of the corrupted run is given its value from the clean run (or the reverse); effect = (value - corrupted) / "
    "(clean - corrupted), so 0 is the corrupted run and 1 the clean one.",
    "arXiv 2211.00593, 2309.16042", AnalysisInfo::Prompts::kPairs,
    {{"value", {"layer", "pos|head"}, "the metric after patching, mean over prompts"},
     {"effect", {"layer", "pos|head"}, "(value - corrupted) / (clean - corrupted)"},
     {"value_prompts", {"layer", "pos|head", "prompt"}, "the metric of every prompt"},
     {"effect_by_label", {"layer", "label"}, "effect at each prompt's own labelled position"}}};

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input), site_(find_site(input.params.get_string("site"))) {
    require_prompts(input, kInfo, true);
    noise_ = input.params.get_string("direction") == "noise";
    metric_ = metric_name(input, input.params.get_string("metric"));
    std::vector<GridGroup> forward, backward;
    for (bool reverse : {noise_, !noise_}) {
      std::vector<GridGroup>& out = reverse == noise_ ? forward : backward;
      for (PromptGroup& p : group_prompts(input, true)) {
        GridGroup g;
        g.base_tokens = reverse ? p.clean : p.corrupted;
        g.source_tokens = reverse ? p.corrupted : p.clean;
        g.first_changed = p.first_difference;
        g.metric = std::make_unique<Metric>(metric_, input, p);
        g.prompts = std::move(p);
        out.push_back(std::move(g));
      }
    }
    PatchGrid::Options options;
    options.site = site_;
    options.by_position = input.params.get_bool("by_position");
    PatchGrid::Options plain = options;
    grid_ = std::make_unique<PatchGrid>(input, options, std::move(forward), nullptr);
    other_ = std::make_unique<PatchGrid>(input, plain, std::move(backward), nullptr);
    grid_->require_site();
  }

  int64_t item_count() const override { return static_cast<int64_t>(input_.model.config().layers.size()); }
  std::string item_title(int64_t item) const override { return "patching " + site_.name + " of layer " + std::to_string(item); }
  void set_batch(int64_t rows) override { batch_ = rows; }

  std::vector<NamedArray> run_item(int64_t layer, Progress& progress) override {
    auto arrays = [&](const PatchGrid::Cells& cells) {
      return std::vector<NamedArray>{to_array("value_prompts", cell_axes(), cells.at("value"))};
    };
    std::function<void(const PatchGrid::Cells&)> watch;
    if (on_partial_) watch = [&](const PatchGrid::Cells& cells) { on_partial_(layer, [&] { return arrays(cells); }); };
    return arrays(grid_->run_layer(layer, batch_, progress, watch));
  }
  void on_partial(OnPartial f) override { on_partial_ = std::move(f); }

  std::optional<AnalysisResult> preview(const std::vector<std::vector<NamedArray>>& items) override {
    GridResult grid(input_, *grid_, site_);
    AnalysisResult out;
    out.artifacts.push_back(effect_map(grid, grid.stack_layers(items, "value_prompts")));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    GridResult grid(input_, *grid_, site_);
    at::Tensor value = grid.stack_layers(items, "value_prompts");
    TensorMap map = effect_map(grid, value);
    const auto& [clean, corrupted] = ends();
    double span = (clean - corrupted).mean().item<double>();
    AnalysisResult out;
    std::string unit = Metric::unit(metric_);
    out.summary = {summarise("clean_" + metric_, to_list(clean), unit, "metric of the clean run", input_.seed),
                   summarise("corrupted_" + metric_, to_list(corrupted), unit, "metric of the corrupted run", input_.seed)};
    out.artifacts.push_back(map);
    TensorMap all;
    all.name = "activation_patching_" + site_.name + "_prompts";
    all.title = "Every prompt";
    std::vector<std::string> axes = grid.axes();
    axes.push_back("prompt");
    all.arrays.push_back(to_array("value_prompts", axes, value.to(at::kFloat), unit, metric_ + " after patching, each prompt"));
    all.arrays.push_back(to_array("clean", {"prompt"}, clean.to(at::kFloat), unit, "metric of the clean run"));
    all.arrays.push_back(to_array("corrupted", {"prompt"}, corrupted.to(at::kFloat), unit, "metric of the corrupted run"));
    out.artifacts.push_back(all);
    grid.add_labels(out, value, corrupted, span);
    out.artifacts.push_back(grid.top_table(value, corrupted, span));
    grid.add_findings(out, (nan_mean(value, -1) - corrupted.mean()) / span, noise_ ? "Putting the corrupted value into" : "Putting the clean value into",
                      noise_ ? "leaves" : "brings back", "of the clean answer");
    return out;
  }

 private:
  // The metric of the clean and of the corrupted run, each prompt. Throws Error(kBadInput) where their means are equal.
  const std::pair<at::Tensor, at::Tensor>& ends() {
    if (ends_.first.defined()) return ends_;
    at::Tensor base = grid_->base_metric(), source = other_->base_metric();
    at::Tensor clean = noise_ ? base : source, corrupted = noise_ ? source : base;
    if (!(std::abs((clean - corrupted).mean().item<double>()) > 1e-9))
      throw Error(StatusCode::kBadInput, "the metric '" + metric_ + "' is the same on clean and corrupted prompts",
                  "activation_patching", "choose another metric, or prompts that the model answers differently");
    other_.reset();                    // with the residuals that it holds
    return ends_ = {clean, corrupted};
  }

  TensorMap effect_map(const GridResult& grid, const at::Tensor& value) {
    const auto& [clean, corrupted] = ends();
    at::Tensor mean_value = nan_mean(value, -1);
    at::Tensor effect = (mean_value - corrupted.mean()) / (clean - corrupted).mean().item<double>();
    TensorMap map = grid.tensor_map("activation_patching_" + site_.name, "Patching " + site_.name + ": share of the clean answer brought back");
    map.arrays.push_back(to_array("effect", grid.axes(), effect.to(at::kFloat), "", "(value - corrupted) / (clean - corrupted): 0 corrupted, 1 clean"));
    map.arrays.push_back(to_array("value", grid.axes(), mean_value.to(at::kFloat), Metric::unit(metric_), metric_ + " after patching, mean over prompts"));
    map.looks = {{"effect", "diverging"}, {"value", "diverging"}};
    return map;
  }

  std::vector<std::string> cell_axes() const {
    std::vector<std::string> a;
    if (grid_->by_pos()) a.push_back("pos");
    if (grid_->by_head()) a.push_back("head");
    a.push_back("prompt");
    return a;
  }
  static std::vector<double> to_list(const at::Tensor& t) {
    at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
    return {c.data_ptr<double>(), c.data_ptr<double>() + c.numel()};
  }

  AnalysisInput input_;
  Site site_;
  std::unique_ptr<PatchGrid> grid_, other_;
  std::pair<at::Tensor, at::Tensor> ends_;
  OnPartial on_partial_;
  std::string metric_;
  bool noise_ = false;
  int64_t batch_ = 256;
};

}  // namespace

void register_activation_patching(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
