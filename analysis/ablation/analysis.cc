// ablation — definition in README.md.
#include <ATen/ATen.h>

#include <cmath>

#include "analysis/engine/grid_result.h"
#include "analysis/registry.h"
#include "core/base/json.h"
#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

const AnalysisInfo kInfo = {
    "ablation", 1, "Ablation",
    "One place of the clean run is replaced by zero, by the mean over prompts and positions, or by another run's value; the "
    "metric, KL(clean ‖ ablated) at the last position and the next-token loss say what that costs.",
    "arXiv 2309.16042, 2211.00593", AnalysisInfo::Prompts::kClean,
    {{"value", {"layer", "pos|head"}, "the metric after ablation, mean over prompts"},
     {"drop", {"layer", "pos|head"}, "metric of the clean run minus value"},
     {"kl", {"layer", "pos|head"}, "KL(clean ‖ ablated) at the last position"},
     {"loss", {"layer", "pos|head"}, "mean next-token cross entropy after ablation"}}};

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input), site_(find_site(input.params.get_string("site"))) {
    const Params& p = input.params;
    kind_ = p.get_string("kind");
    bool resample_corrupted = kind_ == "resample" && p.get_string("resample_from") == "corrupted";
    std::string reference = p.get_string("reference");
    bool need_corrupted = resample_corrupted || (kind_ == "mean" && reference != "clean");
    AnalysisInfo needs = kInfo;
    if (need_corrupted) needs.prompts = AnalysisInfo::Prompts::kPairs;
    metric_ = metric_name(input, p.get_string("metric"));
    require_prompts(input, needs, metric_ != "loss" && metric_ != "kl");
    PatchGrid::Options options;
    options.site = site_;
    options.by_position = p.get_bool("by_position");
    options.all_positions = p.get_bool("all_positions");
    options.kl = options.loss = true;
    std::string given = kind_ == "mean" ? p.get_string("reference_ids") : "";
    if (!given.empty()) read_reference(given);
    std::vector<GridGroup> groups;
    for (PromptGroup& g : group_prompts(input, need_corrupted)) {
      GridGroup out;
      out.base_tokens = g.clean;
      if (resample_corrupted) out.source_tokens = g.corrupted;
      if (kind_ == "resample" && !resample_corrupted) {
        if (g.prompts.size() < 2)
          throw Error(StatusCode::kBadInput, "resampling from another prompt needs two prompts of the same length, and only "
                      "one has " + std::to_string(g.length) + " tokens", "ablation", "use more prompts, or resample_from=corrupted");
        out.source_tokens = g.clean.roll(1 + static_cast<int64_t>(Rng(item_seed(input.seed, static_cast<uint64_t>(g.length))).below(g.prompts.size() - 1)), 0);
      }
      // Only a resampled run equals the base before the first difference.
      out.first_changed = resample_corrupted ? g.first_difference : 0;
      out.metric = std::make_unique<Metric>(metric_, input, g);
      if (kind_ == "mean" && given.empty()) reference_.push_back(reference == "clean" ? g.clean : reference == "corrupted" ? g.corrupted : at::cat({g.clean, g.corrupted}));
      out.prompts = std::move(g);
      groups.push_back(std::move(out));
    }
    Replacement replacement;
    if (kind_ == "zero") replacement = [](const GridGroup&, int64_t, const at::Tensor& base) { return at::zeros_like(base); };
    if (kind_ == "mean") replacement = [this](const GridGroup&, int64_t layer, const at::Tensor& base) { return mean_like(layer, base); };
    options.need_base = kind_ != "resample";
    grid_ = std::make_unique<PatchGrid>(input, options, std::move(groups), replacement);
    grid_->require_site();
  }

  int64_t item_count() const override { return static_cast<int64_t>(input_.model.config().layers.size()); }
  std::string item_title(int64_t item) const override { return "ablating " + site_.name + " of layer " + std::to_string(item); }
  void set_batch(int64_t rows) override { batch_ = rows; }

  std::vector<NamedArray> run_item(int64_t layer, Progress& progress) override {
    std::vector<std::string> axes;
    if (grid_->by_pos()) axes.push_back("pos");
    if (grid_->by_head()) axes.push_back("head");
    axes.push_back("prompt");
    auto arrays = [&](const PatchGrid::Cells& cells) {
      std::vector<NamedArray> out;
      for (const auto& [name, t] : cells) out.push_back(to_array(name, axes, t));
      return out;
    };
    std::function<void(const PatchGrid::Cells&)> watch;
    if (on_partial_) watch = [&](const PatchGrid::Cells& cells) { on_partial_(layer, [&] { return arrays(cells); }); };
    return arrays(grid_->run_layer(layer, batch_, progress, watch));
  }
  void on_partial(OnPartial f) override { on_partial_ = std::move(f); }

  std::optional<AnalysisResult> preview(const std::vector<std::vector<NamedArray>>& items) override {
    AnalysisResult out;
    out.artifacts.push_back(cost_map(GridResult(input_, *grid_, site_), items));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    GridResult grid(input_, *grid_, site_);
    at::Tensor clean = grid_->base_metric(), clean_loss = grid_->base_loss();
    std::string unit = Metric::unit(metric_);
    AnalysisResult out;
    auto list = [](const at::Tensor& t) {
      at::Tensor c = t.contiguous();
      return std::vector<double>(c.data_ptr<double>(), c.data_ptr<double>() + c.numel());
    };
    out.summary = {summarise("clean_" + metric_, list(clean), unit, "metric of the clean run", input_.seed),
                   summarise("clean_loss", list(clean_loss), "nats", "mean next-token loss of the clean run", input_.seed)};
    out.artifacts.push_back(cost_map(grid, items));
    at::Tensor value = grid.stack_layers(items, "value"), drop = clean.mean() - nan_mean(value, -1);
    double span = clean.mean().item<double>();
    if (std::abs(span) > 1e-9) {
      out.artifacts.push_back(grid.top_table(value, clean, -span));
      grid.add_findings(out, drop / span, "Ablating", "costs", "of the clean " + metric_);
    }
    return out;
  }

 private:
  TensorMap cost_map(const GridResult& grid, const std::vector<std::vector<NamedArray>>& items) {
    at::Tensor clean = grid_->base_metric();
    std::string unit = Metric::unit(metric_);
    TensorMap map = grid.tensor_map("ablation_" + site_.name, "Ablating " + site_.name + " (" + kind_ + ")");
    at::Tensor value = grid.stack_layers(items, "value"), mean_value = nan_mean(value, -1);
    at::Tensor drop = clean.mean() - mean_value;
    map.arrays.push_back(to_array("drop", grid.axes(), drop.to(at::kFloat), unit, metric_ + " of the clean run minus after ablation"));
    map.arrays.push_back(to_array("value", grid.axes(), mean_value.to(at::kFloat), unit, metric_ + " after ablation, mean over prompts"));
    map.arrays.push_back(to_array("kl", grid.axes(), nan_mean(grid.stack_layers(items, "kl"), -1).to(at::kFloat), "nats", "KL(clean ‖ ablated) at the last position"));
    map.arrays.push_back(to_array("loss", grid.axes(), nan_mean(grid.stack_layers(items, "loss"), -1).to(at::kFloat), "nats", "mean next-token cross entropy"));
    map.looks = {{"drop", "diverging"}, {"value", "diverging"}, {"kl", "sequential"}, {"loss", "sequential"}};
    return map;
  }

  void read_reference(const std::string& text) {
    Json rows = parse_json(text, "reference_ids").value();
    if (!rows.is_array() || rows.empty()) throw Error(StatusCode::kBadInput, "not a list of lists of ids", "reference_ids", "write [[1,2,3]]");
    for (const Json& row : rows) {
      if (!row.is_array() || row.empty()) throw Error(StatusCode::kBadInput, "not a list of lists of ids", "reference_ids", "write [[1,2,3]]");
      std::vector<int64_t> ids;
      for (const Json& id : row) {
        if (!id.is_number_integer()) throw Error(StatusCode::kBadInput, "an id is not an integer", "reference_ids", "write [[1,2,3]]");
        ids.push_back(id.get<int64_t>());
      }
      reference_.push_back(at::tensor(ids, at::kLong).unsqueeze(0).to(input_.model.device()));
    }
  }

  // The mean over all reference prompts and positions, shaped like the base's value.
  at::Tensor mean_like(int64_t layer, const at::Tensor& base) {
    auto it = means_.find(layer);
    if (it == means_.end()) {
      std::string name = "blocks." + std::to_string(layer) + "." + site_.hook;
      at::Tensor sum;
      double count = 0;
      std::vector<at::Tensor> parts;
      for (const at::Tensor& tokens : reference_)
        for (const at::Tensor& some : tokens.split(std::max<int64_t>(1, batch_))) parts.push_back(some);
      for (const at::Tensor& tokens : parts) {
        HookPlan plan;
        plan.form = input_.form;
        plan.logits = false;
        plan.capture(name);
        at::Tensor v = input_.model.forward(tokens, plan).cache.get(name).to(at::kDouble);
        if (site_.name == "pattern")
          throw Error(StatusCode::kBadInput, "a pattern has no mean over positions: its rows differ in length", "ablation",
                      "use kind=zero or kind=resample");
        at::Tensor part = v.sum(at::IntArrayRef{0, 1});
        sum = sum.defined() ? sum + part : part;
        count += static_cast<double>(v.size(0) * v.size(1));
      }
      it = means_.emplace(layer, (sum / count)).first;
    }
    return it->second.to(base.scalar_type()).expand_as(base);
  }

  AnalysisInput input_;
  Site site_;
  std::string kind_, metric_;
  std::vector<at::Tensor> reference_;
  std::map<int64_t, at::Tensor> means_;
  std::unique_ptr<PatchGrid> grid_;
  OnPartial on_partial_;
  int64_t batch_ = 256;
};

}  // namespace

void register_ablation(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
