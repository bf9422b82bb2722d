// linear_probe — what can be read off a hook point by a linear function, cross-validated, beside a control task; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/linear_probe/examples.h"
#include "analysis/linear_probe/solve.h"
#include "analysis/registry.h"
#include "core/training/dictionary_metrics.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

constexpr int64_t kMostWidth = 1 << 20;
constexpr size_t kMostPenalties = 64, kMostClassesShown = 30;

const AnalysisInfo kInfo = {
    "linear_probe", 1, "Linear probe",
    "A logistic or ridge probe on a hook point of every layer (axes behind the position flattened), with cross-validation over prompts, the "
    "penalty chosen inside the training folds; a control task with a random label for every type of input, and selectivity, accuracy minus "
    "control accuracy.",
    "arXiv 1610.01644, 1909.03368", AnalysisInfo::Prompts::kClean,
    {{"accuracy", {"layer"}, "share of examples told right by a probe that has not seen their prompt (probe=logistic)"},
     {"r2", {"layer"}, "1 − squared error / squared error of the training folds' mean (probe=ridge)"},
     {"control", {"layer"}, "the same number on the control task"},
     {"selectivity", {"layer"}, "accuracy or r2 minus that of the control task"},
     {"folds", {"layer", "fold"}, "accuracy or r2 of each fold"},
     {"weights", {"layer", "class", "feature"}, "the probe on all examples, in the features as they are; ridge: one class"},
     {"bias", {"layer", "class"}, "its bias"},
     {"direction", {"layer", "feature"}, "two classes: weights of the second minus the first; ridge: the weights"}}};

std::vector<double> list(const at::Tensor& t) {
  at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

std::vector<double> read_penalties(const std::string& text) {
  std::vector<double> out;
  for (size_t from = 0; from <= text.size();) {
    size_t to = std::min(text.find(',', from), text.size()), a = from, b = to;
    while (a < b && text[a] == ' ') ++a;
    while (b > a && text[b - 1] == ' ') --b;
    double x = NAN;
    auto [next, error] = std::from_chars(text.data() + a, text.data() + b, x);
    if (a == b || error != std::errc() || next != text.data() + b || !std::isfinite(x) || x <= 0 || out.size() == kMostPenalties)
      throw Error(StatusCode::kBadInput, "'" + text.substr(a, std::min<size_t>(b - a, 60)) + "' is not a penalty", "param l2",
                  "write up to 64 positive numbers with commas between");
    out.push_back(x);
    from = to + 1;
  }
  std::sort(out.begin(), out.end());
  return out;
}

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input), data_((require_prompts(input, kInfo, false), make_examples(input))) {
    const std::string point = input.params.get_string("point");
    bool whole = point.find("blocks.") == 0 || input.model.catalogue().find(point);
    if (whole) {
      points_ = input.model.catalogue().match(point);
    } else {
      for (int64_t l = 0; l < layer_count(input.model); ++l)
        if (has_point(input.model, l, point)) points_.push_back(block_point(l, point));
      if (points_.empty()) points_ = input.model.catalogue().match("blocks.*." + point);   // throws, naming what is near
    }
    for (const std::string& p : points_) {
      widths_.push_back(point_width(input.model, p));
      if (widths_.back() > kMostWidth)
        throw Error(StatusCode::kBadInput, p + " has " + std::to_string(widths_.back()) + " numbers a position", "param point", "a probe takes up to " + std::to_string(kMostWidth));
    }
    ridge_ = input.params.get_string("probe") == "ridge";
    control_ = input.params.get_bool("control");
    l2_ = read_penalties(input.params.get_string("l2"));
    bool corrupted = std::any_of(data_.examples.begin(), data_.examples.end(), [](const Example& e) { return e.corrupted; });
    groups_ = group_prompts(input, corrupted, 0);
  }

  void set_batch(int64_t rows) override { rows_ = std::max<int64_t>(1, rows); }
  int64_t item_count() const override { return static_cast<int64_t>(points_.size()); }
  std::string item_title(int64_t item) const override { return points_.at(static_cast<size_t>(item)); }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    progress.step(0, 10, "running the prompts");
    at::Tensor x = read(points_[static_cast<size_t>(item)], progress);
    if (!at::isfinite(x).all().item<bool>())
      throw Error(StatusCode::kFailed, "the values at " + points_[static_cast<size_t>(item)] + " are not all finite", "linear_probe", "probe another point");
    progress.step(3, 10, "fitting the probes");
    int64_t classes = ridge_ ? 0 : static_cast<int64_t>(data_.classes.size());
    std::vector<ProbeTask> tasks = {{data_.y, classes}};
    if (control_) tasks.push_back({data_.control, classes});
    std::vector<CrossValidation> cv = cross_validate(x, tasks, data_.fold, data_.folds, l2_);
    progress.step(9, 10, "fitting the probes");
    FittedProbe all = fit_all(x, tasks[0], data_.fold, data_.folds, l2_);
    std::vector<NamedArray> out = {to_array("predicted", {"example"}, cv[0].predicted), to_array("reference", {"example"}, cv[0].reference),
                                   to_array("l2", {"fold"}, at::tensor(cv[0].l2, at::kDouble)), to_array("weight", {"class", "feature"}, all.weight),
                                   to_array("bias", {"class"}, all.bias), to_array("l2_all", {"one"}, at::full({1}, all.l2, at::kDouble))};
    if (control_) {
      out.push_back(to_array("control_predicted", {"example"}, cv[1].predicted));
      out.push_back(to_array("control_reference", {"example"}, cv[1].reference));
    }
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  // The examples' values at a point, [example, width] float64 on the CPU.
  at::Tensor read(const std::string& point, Progress& progress) const {
    at::Tensor x;
    std::vector<std::vector<size_t>> of_prompt(input_.dataset.pairs.size());
    for (size_t i = 0; i < data_.examples.size(); ++i) of_prompt[static_cast<size_t>(data_.examples[i].prompt)].push_back(i);
    for (const PromptGroup& whole : groups_)
      for (int64_t from = 0, all = static_cast<int64_t>(whole.prompts.size()); from < all; from += rows_) {
        progress.step(2 * from / std::max<int64_t>(1, all), 10, "running the prompts");
        PromptGroup g = part_of(whole, from, std::min(rows_, all - from));
        for (bool corrupted : {false, true}) {
          std::set<int64_t> places;
          bool any = false, mean = false;
          for (int64_t p : g.prompts)
            for (size_t i : of_prompt[static_cast<size_t>(p)]) {
              const Example& e = data_.examples[i];
              if (e.corrupted != corrupted) continue;
              any = true;
              mean = mean || e.position < 0;
              if (e.position >= 0) places.insert(e.position);
            }
          if (!any) continue;
          HookPlan plan;
          plan.form = input_.form;
          plan.logits = false;
          std::vector<int64_t> wanted(places.begin(), places.end());
          plan.capture(point, mean ? std::vector<int64_t>{} : wanted);
          at::Tensor v = input_.model.forward(corrupted ? g.corrupted : g.clean, plan).cache.get(point).to(at::kCPU, at::kDouble).flatten(2);
          if (!x.defined()) x = at::zeros({static_cast<int64_t>(data_.examples.size()), v.size(2)}, at::kDouble);
          for (size_t r = 0; r < g.prompts.size(); ++r)
            for (size_t i : of_prompt[static_cast<size_t>(g.prompts[r])]) {
              const Example& e = data_.examples[i];
              if (e.corrupted != corrupted) continue;
              at::Tensor row = v[static_cast<int64_t>(r)];
              x[static_cast<int64_t>(i)].copy_(e.position < 0 ? row.mean(0)
                                               : row[mean ? e.position : std::distance(places.begin(), places.find(e.position))]);
            }
        }
      }
    return x;
  }

  // 1 or 0 an example, or what R² is made of: the squared error and that of the reference.
  std::pair<at::Tensor, at::Tensor> judged(const at::Tensor& y, const at::Tensor& predicted, const at::Tensor& reference) const {
    at::Tensor t = y.to(at::kDouble);
    if (!ridge_) return {(predicted == t).to(at::kDouble), (reference == t).to(at::kDouble)};
    return {(predicted - t) * (predicted - t), (reference - t) * (reference - t)};
  }
  double score(const at::Tensor& own, const at::Tensor& base) const {
    if (!ridge_) return own.mean().item<double>();
    double b = base.sum().item<double>();
    return b > 0 ? 1 - own.sum().item<double>() / b : NAN;
  }

  AnalysisInput input_;
  ExampleSet data_;
  std::vector<PromptGroup> groups_;
  std::vector<std::string> points_;
  std::vector<int64_t> widths_;
  std::vector<double> l2_;
  int64_t rows_ = 16;
  bool ridge_ = false, control_ = true;
};

AnalysisResult Run::finish(const std::vector<std::vector<NamedArray>>& items) {
  const int64_t n = item_count(), examples = data_.y.size(0), outputs = ridge_ ? 1 : static_cast<int64_t>(data_.classes.size());
  const int64_t widest = *std::max_element(widths_.begin(), widths_.end());
  auto nans = [](std::vector<int64_t> shape) { return at::full(shape, NAN, at::kDouble); };
  at::Tensor value = nans({n}), control = nans({n}), folds = nans({n, data_.folds}), weights = nans({n, outputs, widest}), bias = nans({n, outputs});
  const std::string name = ridge_ ? "r2" : "accuracy";
  AnalysisResult out;
  Table table{"probes", "How well each point tells " + data_.what,
              {{"point", "", ""}, {name, "", "of examples whose prompt the probe has not seen"}, {"low", "", "95 % interval over folds"}, {"high", "", "95 % interval over folds"},
               {"control", "", "the same on the control task"}, {"selectivity", "", name + " minus control"}, {"l2", "", "penalty of the probe on all examples"}, {"width", "", ""}}, {}};
  std::vector<at::Tensor> rights;
  double guessing = NAN;
  for (int64_t i = 0; i < n; ++i) {
    const std::vector<NamedArray>& item = items[static_cast<size_t>(i)];
    auto [own, base] = judged(data_.y, to_tensor(find_array(item, "predicted")), to_tensor(find_array(item, "reference")));
    rights.push_back(own);
    guessing = base.mean().item<double>();
    value[i] = score(own, base);
    for (int64_t k = 0; k < data_.folds; ++k) {
      at::Tensor here = (data_.fold == k).nonzero().squeeze(1);
      folds[i][k] = score(own.index_select(0, here), base.index_select(0, here));
    }
    if (control_) {
      auto [c, c_base] = judged(data_.control, to_tensor(find_array(item, "control_predicted")), to_tensor(find_array(item, "control_reference")));
      control[i] = score(c, c_base);
    }
    at::Tensor w = to_tensor(find_array(item, "weight"));
    weights[i].narrow(1, 0, w.size(1)).copy_(w);
    bias[i].copy_(to_tensor(find_array(item, "bias")));
    SummaryItem s = summarise("", list(folds[i]), "", "", input_.seed);
    auto number = [](double x) { return std::isnan(x) ? Cell() : Cell(x); };
    double v = value[i].item<double>(), c = control[i].item<double>();
    table.rows.push_back({points_[static_cast<size_t>(i)], number(v), number(s.low), number(s.high), number(c), number(v - c), find_array(item, "l2_all").at(0), widths_[static_cast<size_t>(i)]});
  }
  at::Tensor selectivity = value - control;
  const int64_t best = at::nan_to_num(value, -1e300).argmax().item<int64_t>();
  const std::string where = points_[static_cast<size_t>(best)];
  const double top = value[best].item<double>();
  if (ridge_) out.summary.push_back(plain_number("r2", top, "", "the best point, " + where + ": 1 − squared error / that of the training folds' mean"));
  else out.summary.push_back(summarise("accuracy", list(rights[static_cast<size_t>(best)]), "", "the best point, " + where, input_.seed));
  out.summary.push_back(summarise("folds", list(folds[best]), "", name + " over the folds", input_.seed));
  if (!ridge_) out.summary.push_back(plain_number("most_frequent", guessing, "", "accuracy of always saying the training folds' most frequent class"));
  if (control_) {
    out.summary.push_back(plain_number("control", control[best].item<double>(), "", name + " on the control task (a random label for each " + data_.type + ")"));
    out.summary.push_back(plain_number("selectivity", selectivity[best].item<double>(), "", name + " minus control"));
  }
  out.summary.push_back(plain_number("examples", static_cast<double>(examples), "", "labelled examples"));

  out.artifacts.push_back(table);
  if (n > 1) {
    Series curve{"probe_curve", "By layer: " + data_.what, "point", name, {{name, {}, {}}}};
    if (control_) curve.lines.push_back({"control", {}, {}});
    for (int64_t i = 0; i < n; ++i)
      for (size_t line = 0; line < curve.lines.size(); ++line) {
        double y = (line == 0 ? value : control)[i].item<double>();
        if (std::isnan(y)) continue;
        curve.lines[line].x.push_back(static_cast<double>(i));
        curve.lines[line].y.push_back(y);
      }
    std::erase_if(curve.lines, [](const Series::Line& l) { return l.x.empty(); });
    if (!curve.lines.empty()) out.artifacts.push_back(curve);
  }
  if (!ridge_ && data_.classes.size() <= kMostClassesShown) {
    Table confusion{"confusion", "What is taken for what at " + where, {{"is", "", ""}}, {}};
    at::Tensor said = to_tensor(find_array(items[static_cast<size_t>(best)], "predicted"));
    for (const std::string& c : data_.classes) confusion.columns.push_back({"said " + c, "examples", ""});
    for (int64_t c = 0; c < outputs; ++c) {
      std::vector<Cell> row = {data_.classes[static_cast<size_t>(c)]};
      for (int64_t d = 0; d < outputs; ++d) row.push_back(((data_.y == c) & (said == d)).sum().item<int64_t>());
      confusion.rows.push_back(row);
    }
    out.artifacts.push_back(confusion);
  }
  TensorMap map{"linear_probe", "Linear probe: " + data_.what, {}, {}, {}};
  const std::string help = ridge_ ? "1 − squared error / squared error of the training folds' mean" : "share of examples told right by a probe that has not seen their prompt";
  map.arrays = {to_array(name, {"layer"}, value, "", help), to_array("folds", {"layer", "fold"}, folds, "", help + ", each fold"),
                to_array("weights", {"layer", "class", "feature"}, weights, "", "the probe on all examples, in the features as they are"),
                to_array("bias", {"layer", "class"}, bias, "", "bias of the probe on all examples")};
  if (control_) {
    map.arrays.push_back(to_array("control", {"layer"}, control, "", help + ", on the control task"));
    map.arrays.push_back(to_array("selectivity", {"layer"}, selectivity, "", name + " minus control"));
  }
  if (ridge_ || outputs == 2)
    map.arrays.push_back(to_array("direction", {"layer", "feature"}, ridge_ ? weights.select(1, 0) : weights.select(1, 1) - weights.select(1, 0), "",
                                  ridge_ ? "the probe's weights: the number grows along it" : "towards '" + data_.classes[1] + "', away from '" + data_.classes[0] + "'"));
  map.axis_labels["layer"] = points_;
  map.axis_labels["class"] = ridge_ ? std::vector<std::string>{"number"} : data_.classes;
  map.looks = {{name, "sequential"}, {"control", "sequential"}, {"weights", "diverging"}, {"direction", "diverging"}};
  out.artifacts.push_back(map);

  out.warnings = data_.warnings;
  std::string said = "A linear probe tells " + data_.what + " best at " + where + ": " + name + " " + short_number(top);
  if (!ridge_) said += ", where always saying the most frequent class gives " + short_number(guessing);
  out.findings.push_back(said + ".");
  if (control_)
    out.findings.push_back("On the control task (a random label for each " + data_.type + ") the same probe reaches " + short_number(control[best].item<double>()) + ": its selectivity is " +
                           short_number(selectivity[best].item<double>()) + ".");
  if (examples < 20) out.warnings.push_back("only " + std::to_string(examples) + " examples: accuracies of so few move by chance");
  return out;
}

}  // namespace

void register_linear_probe(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
