// feature_ablation — features scaled or taken away, their dictionary's error kept; definition in README.md.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/engine/arrays.h"
#include "analysis/engine/dictionaries.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"
#include "analysis/feature_ablation/features.h"
#include "analysis/registry.h"
#include "core/training/dictionary_metrics.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

constexpr int64_t kRows = 16;                          // prompts that run together
constexpr size_t kTopTokens = 5;

const AnalysisInfo kInfo = {
    "feature_ablation", 1, "Feature ablation",
    "The activation of chosen features of a dictionary is multiplied by a factor (0: ablated) at chosen positions, the dictionary's error "
    "kept, so that nothing else changes: effect on the metric, one by one and together, beside what activation times gradient predicts.",
    "arXiv 2403.19647, 2309.08600", AnalysisInfo::Prompts::kClean,
    {{"effect", {"feature"}, "metric with the feature changed minus metric of the clean run, mean over prompts"},
     {"predicted", {"feature"}, "(factor − 1) · activation · ∂metric/∂activation, summed over the positions, mean over prompts"},
     {"kl", {"feature"}, "KL(clean ‖ changed) at the last position, mean over prompts"},
     {"effect_prompts", {"feature", "prompt"}, "effect of every prompt"},
     {"predicted_prompts", {"feature", "prompt"}, "prediction of every prompt"},
     {"activations", {"feature", "prompt", "pos"}, "the features' activations in the clean run, aligned at the end"}}};

std::vector<double> list(const at::Tensor& t) {
  at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input) {
    metric_ = metric_name(input, input.params.get_string("metric"));
    require_prompts(input, kInfo, metric_ != "loss");
    set_ = read_set(input, "dictionary", warnings_);
    set_batch(kRows);
    const std::string text = input.params.get_string("features");
    if (!text.empty()) given_ = parse_features(*set_, text);
    int64_t all = 0;
    for (const Dictionary& d : set_->members) all += d.config.d_sae;
    count_ = given_.empty() ? std::min(all, input.params.get_int("n")) : static_cast<int64_t>(given_.size());
    factor_ = input.params.get_float("factor");
    together_ = input.params.get_bool("together") && count_ > 1;
    prompts_ = static_cast<int64_t>(input.dataset.pairs.size());
    width_ = longest(groups_);
  }

  void set_batch(int64_t rows) override {
    rows = std::clamp<int64_t>(rows, 1, kRows);
    if (rows == rows_) return;
    rows_ = rows;
    groups_ = group_prompts(input_, false, rows_);
    metrics_.clear();
    masks_.clear();
    for (const PromptGroup& g : groups_) {
      metrics_.push_back(std::make_unique<Metric>(metric_, input_, g));
      masks_.push_back(position_mask(input_, g, input_.params.get_string("positions")));
    }
  }

  // What each feature is predicted to do, then the features, then all of them.
  int64_t item_count() const override { return 1 + count_ + (together_ ? 1 : 0); }
  std::string item_title(int64_t item) const override {
    if (item == 0) return "attribution";
    if (item > count_) return "all features together";
    return static_cast<size_t>(item) <= chosen_.size() ? "feature " + feature_name(*set_, chosen_[static_cast<size_t>(item - 1)]) : "feature number " + std::to_string(item);
  }
  void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) override {
    if (item > 0) chosen_ = chosen_of(so_far[0]);
  }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    if (item == 0) return attribute(progress);
    std::vector<FeatureRef> features = chosen_;
    if (item <= count_) features = {chosen_.at(static_cast<size_t>(item - 1))};
    at::NoGradGuard no_grad;
    at::Tensor metric = at::full({prompts_}, NAN, at::kDouble), kl = metric.clone();
    for (size_t g = 0; g < groups_.size(); ++g) {
      progress.step(static_cast<int64_t>(g), static_cast<int64_t>(groups_.size()), "running the prompts");
      at::Tensor clean = logits(g, {}), changed = logits(g, scaled(g, features)), where = at::tensor(groups_[g].prompts, at::kLong);
      metric.index_copy_(0, where, measure(g, changed).to(at::kCPU));
      kl.index_copy_(0, where, kl_divergence(clean.select(1, clean.size(1) - 1), changed.select(1, changed.size(1) - 1)).to(at::kCPU));
    }
    return {to_array("metric", {"prompt"}, metric), to_array("kl", {"prompt"}, kl)};
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  using Change = std::function<at::Tensor(const at::Tensor&, const SpliceOptions::Place&)>;

  // change null: the model itself.
  at::Tensor logits(size_t g, const Change& change) const {
    HookPlan plan;
    plan.form = input_.form;
    if (!metrics_[g]->needs_all_positions()) plan.logit_positions = std::vector<int64_t>{-1};
    if (change) {
      SpliceOptions o;
      o.keep_error = true;
      o.change = change;
      splice(plan, set_, o);
    }
    return input_.model.forward(groups_[g].clean, plan).logits;
  }
  at::Tensor measure(size_t g, const at::Tensor& logits) const {
    return metrics_[g]->needs_all_positions() ? Metric::token_losses(logits, groups_[g].clean, 0).mean(1) : metrics_[g]->last(logits.select(1, logits.size(1) - 1));
  }
  // The mask of the rows that an edit sees, [n, 1].
  at::Tensor mask_of(size_t g, const SpliceOptions::Place& p, const at::Tensor& like) const {
    return masks_[g].narrow(1, p.first_pos, p.positions).reshape({-1, 1}).to(like.device(), like.scalar_type());
  }
  Change scaled(size_t g, const std::vector<FeatureRef>& features) const {
    return [this, g, features](const at::Tensor& codes, const SpliceOptions::Place& p) {
      std::vector<int64_t> mine;
      for (const FeatureRef& f : features)
        if (f.member == p.member) mine.push_back(f.feature);
      if (mine.empty()) return codes;
      at::Tensor index = at::tensor(mine, at::kLong).to(codes.device()), part = codes.index_select(1, index);
      return codes.index_copy(1, index, part * (1 + (factor_ - 1) * mask_of(g, p, codes)));
    };
  }

  struct Slope {
    at::Tensor codes, gradient;                        // [rows, length, d_sae]
  };
  // Activations of the clean run and the metric's derivative by each: through a zero that is added to the codes, so that the model's
  // own way from earlier to later features is what is differentiated.
  std::vector<Slope> slopes(size_t g, at::Tensor& metric) const {
    at::AutoGradMode grad(true);
    int64_t rows = groups_[g].clean.size(0), length = groups_[g].length;
    struct Piece { size_t member; int64_t first, count; at::Tensor codes, zero; };
    std::vector<Piece> pieces;
    at::Tensor y = logits(g, [&](const at::Tensor& codes, const SpliceOptions::Place& p) {
      at::Tensor zero = at::zeros_like(codes).requires_grad_(true);
      pieces.push_back({p.member, p.first_pos, p.positions, codes.detach(), zero});
      return codes + zero;
    });
    metric = measure(g, y);
    std::vector<at::Tensor> leaves;
    for (const Piece& p : pieces) leaves.push_back(p.zero);
    std::vector<at::Tensor> gradients = hook_autograd(metric.sum(), leaves, false);
    std::vector<Slope> out;
    for (const Dictionary& d : set_->members) {
      at::Tensor none = at::zeros({rows, length, d.config.d_sae}, pieces.empty() ? at::TensorOptions(at::kFloat) : pieces[0].codes.options());
      out.push_back({none, none.clone()});
    }
    for (size_t i = 0; i < pieces.size(); ++i) {
      const Piece& p = pieces[i];
      auto put = [&](at::Tensor& to, const at::Tensor& t) { to.narrow(1, p.first, p.count).copy_(t.reshape({rows, p.count, to.size(2)})); };
      put(out[p.member].codes, p.codes);
      if (gradients[i].defined()) put(out[p.member].gradient, gradients[i].detach());
    }
    metric = metric.detach();
    return out;
  }

  std::vector<NamedArray> attribute(Progress& progress) const {
    std::vector<FeatureRef> chosen = given_;
    int64_t groups = static_cast<int64_t>(groups_.size()), steps = groups * (given_.empty() ? 2 : 1), done = 0;
    auto attribution = [&](size_t g, const Slope& s) {
      return (s.codes.to(at::kDouble) * s.gradient.to(at::kDouble) * masks_[g].unsqueeze(2).to(s.codes.device())).sum(1);   // [rows, d_sae]
    };
    at::Tensor metric;
    if (chosen.empty()) {
      std::vector<at::Tensor> sums;
      for (size_t g = 0; g < groups_.size(); ++g) {
        progress.step(done++, steps, "attributing to every feature");
        std::vector<Slope> all = slopes(g, metric);
        for (size_t m = 0; m < all.size(); ++m) {
          at::Tensor sum = attribution(g, all[m]).sum(0).to(at::kCPU);
          if (g == 0) sums.push_back(sum);
          else sums[m] += sum;
        }
      }
      at::Tensor flat = at::cat(sums), order = at::argsort(flat.abs(), /*stable=*/true, 0, /*descending=*/true).narrow(0, 0, count_);
      for (double x : list(order)) {
        int64_t i = static_cast<int64_t>(x);
        FeatureRef f;
        while (i >= set_->members[f.member].config.d_sae) i -= set_->members[f.member++].config.d_sae;
        f.feature = i;
        chosen.push_back(f);
      }
    }
    at::Tensor base = at::full({prompts_}, NAN, at::kDouble), predicted = at::full({count_, prompts_}, NAN, at::kDouble);
    at::Tensor activations = at::full({count_, prompts_, width_}, NAN, at::kDouble);
    for (size_t g = 0; g < groups_.size(); ++g) {
      progress.step(done++, steps, "attributing to the chosen features");
      std::vector<Slope> all = slopes(g, metric);
      at::Tensor where = at::tensor(groups_[g].prompts, at::kLong);
      base.index_copy_(0, where, metric.to(at::kCPU, at::kDouble));
      std::vector<at::Tensor> given;
      for (const Slope& s : all) given.push_back(attribution(g, s));
      for (int64_t k = 0; k < count_; ++k) {
        const FeatureRef& f = chosen[static_cast<size_t>(k)];
        predicted.select(0, k).index_copy_(0, where, (given[f.member].select(1, f.feature) * (factor_ - 1)).to(at::kCPU, at::kDouble));
        activations.select(0, k).narrow(1, width_ - groups_[g].length, groups_[g].length)
            .index_copy_(0, where, all[f.member].codes.select(2, f.feature).to(at::kCPU, at::kDouble));
      }
    }
    std::vector<int64_t> members, features;
    for (const FeatureRef& f : chosen) {
      members.push_back(static_cast<int64_t>(f.member));
      features.push_back(f.feature);
    }
    return {to_array("member", {"feature"}, at::tensor(members, at::kLong)), to_array("index", {"feature"}, at::tensor(features, at::kLong)),
            to_array("base", {"prompt"}, base), to_array("predicted", {"feature", "prompt"}, predicted),
            to_array("activations", {"feature", "prompt", "pos"}, activations)};
  }

  static std::vector<FeatureRef> chosen_of(const std::vector<NamedArray>& first) {
    const NamedArray &members = find_array(first, "member"), &index = find_array(first, "index");
    std::vector<FeatureRef> out;
    for (int64_t i = 0; i < members.size(); ++i) out.push_back({static_cast<size_t>(members.at(i)), static_cast<int64_t>(index.at(i))});
    return out;
  }
  // "' Mary' 3.1, ' he' 2.2": where a feature fires most.
  std::string top_tokens(const at::Tensor& activations) const;

  AnalysisInput input_;
  std::shared_ptr<const DictionarySet> set_;
  std::string metric_;
  std::vector<std::string> warnings_;
  std::vector<PromptGroup> groups_;
  std::vector<std::unique_ptr<Metric>> metrics_;
  std::vector<at::Tensor> masks_;                      // [prompts of the group, length]
  std::vector<FeatureRef> given_, chosen_;
  int64_t rows_ = 0, count_ = 0, prompts_ = 0, width_ = 0;
  double factor_ = 0;
  bool together_ = false;
};

std::string Run::top_tokens(const at::Tensor& activations) const {
  std::map<std::string, double> best;                  // a token once, at its strongest
  for (int64_t p = 0; p < prompts_; ++p) {
    const std::vector<int64_t>& ids = input_.dataset.pairs[static_cast<size_t>(p)].clean_ids;
    std::vector<double> row = list(activations[p]);
    int64_t skip = width_ - static_cast<int64_t>(ids.size());
    for (size_t t = 0; t < ids.size(); ++t) {
      double a = row[static_cast<size_t>(skip) + t];
      if (!(a > 0)) continue;
      double& had = best[token_texts(input_.tokenizer, {ids[t]})[0]];
      had = std::max(had, a);
    }
  }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [text, a] : best) order.push_back({-a, text});
  std::sort(order.begin(), order.end());
  std::string out;
  for (size_t i = 0; i < std::min(kTopTokens, order.size()); ++i)
    out += (i ? ", " : "") + std::string("'") + order[i].second + "' " + short_number(-order[i].first);
  return out.empty() ? "nowhere" : out;
}

AnalysisResult Run::finish(const std::vector<std::vector<NamedArray>>& items) {
  std::vector<FeatureRef> chosen = chosen_of(items[0]);
  at::Tensor base = to_tensor(find_array(items[0], "base")), predicted = to_tensor(find_array(items[0], "predicted"));
  at::Tensor activations = to_tensor(find_array(items[0], "activations"));
  std::vector<at::Tensor> effects, kls;
  for (int64_t k = 1; k <= count_; ++k) {
    effects.push_back(to_tensor(find_array(items[static_cast<size_t>(k)], "metric")) - base);
    kls.push_back(to_tensor(find_array(items[static_cast<size_t>(k)], "kl")));
  }
  at::Tensor effect = at::stack(effects), kl = at::stack(kls), mean = effect.mean(1), foretold = predicted.mean(1);
  const std::string unit = Metric::unit(metric_), did = factor_ == 0 ? "Ablating" : "Multiplying by " + short_number(factor_);
  AnalysisResult out;
  out.summary.push_back(summarise("clean_" + metric_, list(base), unit, "metric of the model as it is", input_.seed));
  std::vector<size_t> order(static_cast<size_t>(count_));
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<double> size = list(mean.abs());
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return size[a] > size[b]; });
  const size_t strongest = order[0];
  out.summary.push_back(summarise("strongest_effect", list(effect[static_cast<int64_t>(strongest)]), unit,
                                  "effect of feature " + feature_name(*set_, chosen[strongest]) + ", the largest of those looked at", input_.seed));
  at::Tensor a = mean - mean.mean(), b = foretold - foretold.mean();
  double norm = (a.norm() * b.norm()).item<double>();
  double correlation = count_ >= 3 && norm > 0 ? (a * b).sum().item<double>() / norm : NAN;
  if (count_ >= 3) out.summary.push_back(plain_number("predicted_measured", correlation, "", "correlation of predicted and measured effect over the features"));
  if (together_) {
    at::Tensor all = to_tensor(find_array(items.back(), "metric")) - base;
    out.summary.push_back(summarise("together", list(all), unit, "effect of all the features at once", input_.seed));
    out.summary.push_back(summarise("sum_of_effects", list(effect.sum(0)), unit, "the features' own effects added up", input_.seed));
    out.summary.push_back(summarise("together_kl", list(to_tensor(find_array(items.back(), "kl"))), "nats", "KL(clean ‖ all changed) at the last position", input_.seed));
  }

  Table table{"features", "What each feature does to the metric",
              {{"feature", "", ""}, {"effect", unit, "measured, mean over prompts"}, {"low", unit, "95 % interval over prompts"}, {"high", unit, "95 % interval over prompts"},
               {"predicted", unit, "from activation times gradient"}, {"kl", "nats", "at the last position"}, {"max", "", "largest activation on these prompts"},
               {"fires", "", "share of the prompts' tokens it fires on"}, {"fires on", "", "tokens with the largest activations"}}, {}};
  Series curve{"predicted_measured", "Predicted and measured effects", "predicted, " + unit, "measured, " + unit, {{"feature", {}, {}}}};
  for (size_t k : order) {
    const int64_t i = static_cast<int64_t>(k);
    SummaryItem s = summarise("", list(effect[i]), unit, "", input_.seed);
    at::Tensor own = activations[i], known = at::isnan(own).logical_not();
    auto number = [](double x) { return std::isnan(x) ? Cell() : Cell(x); };
    table.rows.push_back({feature_name(*set_, chosen[k]), s.value, number(s.low), number(s.high), foretold[i].item<double>(), kl[i].mean().item<double>(),
                          at::nan_to_num(own).max().item<double>(), ((own > 0).sum().item<double>()) / known.sum().item<double>(), top_tokens(own)});
  }
  std::vector<size_t> by_prediction = order;
  std::vector<double> x = list(foretold), y = list(mean);
  std::stable_sort(by_prediction.begin(), by_prediction.end(), [&](size_t l, size_t r) { return x[l] < x[r]; });
  for (size_t k : by_prediction) {
    curve.lines[0].x.push_back(x[k]);
    curve.lines[0].y.push_back(y[k]);
  }
  out.artifacts = {table, curve};

  TensorMap map{"feature_ablation", did + " features", {}, {}, {}};
  map.arrays = {to_array("effect", {"feature"}, mean, unit, "metric with the feature changed minus metric of the clean run, mean over prompts"),
                to_array("predicted", {"feature"}, foretold, unit, "(factor − 1) · activation · gradient summed over the positions, mean over prompts"),
                to_array("kl", {"feature"}, kl.mean(1), "nats", "KL(clean ‖ changed) at the last position, mean over prompts"),
                to_array("effect_prompts", {"feature", "prompt"}, effect, unit, "effect of every prompt"),
                to_array("predicted_prompts", {"feature", "prompt"}, predicted, unit, "prediction of every prompt"),
                to_array("activations", {"feature", "prompt", "pos"}, activations.to(at::kFloat), "", "activations in the clean run, aligned at the end")};
  for (const FeatureRef& f : chosen) map.axis_labels["feature"].push_back(feature_name(*set_, f));
  map.axis_labels["pos"] = position_labels(input_, groups_);
  map.looks = {{"effect", "diverging"}, {"predicted", "diverging"}, {"effect_prompts", "diverging"}, {"predicted_prompts", "diverging"}, {"activations", "sequential"}};
  out.artifacts.push_back(map);

  out.findings.push_back(did + " feature " + feature_name(*set_, chosen[strongest]) + " changes the " + metric_ + " by " + short_number(y[strongest]) + " (from " +
                         short_number(base.mean().item<double>()) + "; activation times gradient foretells " + short_number(x[strongest]) + ").");
  if (!std::isnan(correlation))
    out.findings.push_back("Over " + std::to_string(count_) + " features predicted and measured effects correlate with " + short_number(correlation) + ".");
  out.warnings = warnings_;
  if (size[strongest] == 0) out.warnings.push_back("no feature that was looked at changes the metric: none of them fires where it is changed");
  return out;
}

}  // namespace

void register_feature_ablation(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
