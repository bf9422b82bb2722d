// observable_propagation — feature vectors of a linear functional of the logits, pulled back through OV circuits; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/observable_propagation/observable.h"
#include "analysis/observable_propagation/propagate.h"
#include "analysis/registry.h"
#include "core/model/weights.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

constexpr int64_t kPromptsAnItem = 16;
constexpr size_t kShown = 16, kTopTokens = 6;

const AnalysisInfo kInfo = {
    "observable_propagation", 1, "Observable propagation",
    "A linear functional of the logits is pulled back through the final norm and each head's output and value matrices (and through two heads) "
    "to the residual stream: a feature vector a head; what it predicts of each head's effect beside the effect measured by path patching; "
    "coupling coefficients between feature vectors.",
    "arXiv 2312.16291", AnalysisInfo::Prompts::kPairs,
    {{"vectors", {"layer", "head", "d_model"}, "feature vector of each head: what the observable reads of the residual stream through it"},
     {"norm", {"layer", "head"}, "its norm"},
     {"observable", {"d_model"}, "the observable at the last residual"},
     {"predicted", {"layer", "head"}, "Σ_s A[last, s] y · (corrupted − clean residual at s), mean over prompts"},
     {"measured", {"layer", "head"}, "observable with the head's direct path corrupted minus clean, mean over prompts"},
     {"coupling", {"layer", "head"}, "C(y, y') = y·y' / ‖y‖² of this and the other observable's vectors; without another: between heads [from, to]"},
     {"cosine", {"layer", "head"}, "their cosine"},
     {"vectors2", {"upper", "layer", "head", "d_model"}, "through a head and then the upper head"}}};

std::vector<double> list(const at::Tensor& t) {
  at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input)
      : input_((require_prompts(input, kInfo, false), input)), way_(input_, input.params.get_string("norms") == "frozen", input.params.get_string("mlps") == "linear") {
    first_ = parse_observable(input, input.params.get_string("tokens"), "tokens");
    if (!input.params.get_string("other").empty()) other_ = parse_observable(input, input.params.get_string("other"), "other");
    groups_ = group_prompts(input, true, kPromptsAnItem);
    prompts_ = static_cast<int64_t>(input.dataset.pairs.size());
    second_ = input.params.get_int("second");
  }

  void set_batch(int64_t rows) override { rows_ = std::max<int64_t>(1, input_.params.get_int("batch_size") > 0 ? rows : std::min<int64_t>(rows, 16)); }
  // The vectors of each group of prompts, then what they predict there, then paths of two heads.
  int64_t item_count() const override { return static_cast<int64_t>(groups_.size()) * (second_ > 0 ? 3 : 2); }
  std::string item_title(int64_t item) const override {
    const int64_t n = static_cast<int64_t>(groups_.size());
    return item < n ? "feature vectors" : item < 2 * n ? "predicted and measured effects" : "paths of two heads";
  }
  void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) override {
    const int64_t n = static_cast<int64_t>(groups_.size());
    if (item == n || (item > n && !mean_.defined())) mean_ = mean_of(so_far, "heads");
    if (item >= 2 * n && upper_.empty()) upper_ = upper_heads(so_far);
  }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    const int64_t n = static_cast<int64_t>(groups_.size());
    const PromptGroup& whole = groups_[static_cast<size_t>(item % n)];
    std::map<std::string, std::vector<at::Tensor>> parts;
    for (int64_t from = 0, all = static_cast<int64_t>(whole.prompts.size()); from < all; from += rows_) {
      progress.step(from, all, item_title(item));
      PromptGroup g = part_of(whole, from, std::min(rows_, all - from));
      if (item < n) {
        std::vector<at::Tensor> observables = {first_.of(input_, g)};
        if (has_other()) observables.push_back(other_.of(input_, g));
        std::vector<Propagation::Vectors> v = way_.vectors(g, observables);
        parts["heads"].push_back(v[0].heads.sum(0));
        parts["logits"].push_back(v[0].logits.sum(0));
        // How much the prompts' observables agree: norms of what is added up.
        parts["lengths"].push_back(v[0].logits.norm(2, {1}).sum().unsqueeze(0));
        if (has_other()) parts["other"].push_back(v[1].heads.sum(0));
      } else if (item < 2 * n) {
        // One observable for all prompts: one vector for all. Else each prompt has its own.
        at::Tensor own = first_.of(input_, g), y = first_.shared.defined() ? mean_.unsqueeze(0) : way_.vectors(g, {own})[0].heads;
        Propagation::Effects e = way_.effects(g, y, own);
        parts["predicted"].push_back(e.predicted);
        parts["measured"].push_back(e.measured);
      } else {
        std::vector<at::Tensor> targets;
        std::vector<int64_t> below;
        for (auto [l, h] : upper_) {
          targets.push_back(mean_[l][h]);
          below.push_back(l);
        }
        parts["second"].push_back(targets.empty() ? at::zeros({0}, at::kDouble) : way_.second(g, at::stack(targets), below));
      }
    }
    std::vector<NamedArray> out;
    auto put = [&](const char* name, std::vector<std::string> axes, bool over_prompts) {
      if (!parts.count(name)) return;
      out.push_back(to_array(name, std::move(axes), over_prompts ? at::cat(parts[name], 2) : at::stack(parts[name]).sum(0)));
    };
    put("heads", {"layer", "head", "d_model"}, false);
    put("other", {"layer", "head", "d_model"}, false);
    put("logits", {"d_model"}, false);
    put("lengths", {"one"}, false);
    put("predicted", {"layer", "head", "prompt"}, true);
    put("measured", {"layer", "head", "prompt"}, true);
    if (parts.count("second")) put("second", parts["second"][0].dim() == 4 ? std::vector<std::string>{"upper", "layer", "head", "d_model"} : std::vector<std::string>{"upper"}, false);
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  using Head = std::pair<int64_t, int64_t>;
  bool has_other() const { return !other_.name.empty(); }

  // Mean over prompts of a sum that the first items give.
  at::Tensor mean_of(const std::vector<std::vector<NamedArray>>& items, const std::string& name) const {
    at::Tensor sum;
    for (size_t g = 0; g < groups_.size(); ++g) {
      at::Tensor one = to_tensor(find_array(items[g], name));
      sum = sum.defined() ? sum + one : one;
    }
    return sum / static_cast<double>(prompts_);
  }
  // [layer, head, prompt] from the second items.
  at::Tensor by_prompt(const std::vector<std::vector<NamedArray>>& items, const std::string& name) const {
    at::Tensor out = at::full({way_.layers(), way_.heads(), prompts_}, NAN, at::kDouble);
    for (size_t g = 0; g < groups_.size(); ++g)
      out.index_copy_(2, at::tensor(groups_[g].prompts, at::kLong), to_tensor(find_array(items[groups_.size() + g], name)));
    return out;
  }
  // Heads in order of the size of a [layer, head] map; NaN left out.
  static std::vector<Head> ranked(const at::Tensor& map, size_t most) {
    std::vector<Head> out;
    std::vector<double> size = list(map.abs());
    std::vector<int64_t> order;
    for (size_t i = 0; i < size.size(); ++i)
      if (!std::isnan(size[i])) order.push_back(static_cast<int64_t>(i));
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return size[static_cast<size_t>(a)] > size[static_cast<size_t>(b)]; });
    for (size_t k = 0; k < std::min(most, order.size()); ++k) out.push_back({order[k] / map.size(1), order[k] % map.size(1)});
    return out;
  }
  // The upper heads of paths of two: the strongest that have a layer below.
  std::vector<Head> upper_heads(const std::vector<std::vector<NamedArray>>& items) const {
    at::Tensor measured = by_prompt(items, "measured").mean(2);
    int64_t lowest = 0;
    while (lowest < way_.layers() && !way_.fits(lowest)) ++lowest;
    measured.narrow(0, 0, std::min(lowest + 1, way_.layers())).fill_(NAN);
    return ranked(measured, static_cast<size_t>(second_));
  }
  // "' he' 1.2, ' him' 0.8": tokens whose embedding has the largest product with a vector.
  std::string top_tokens(const at::Tensor& scores, bool largest) const {
    auto [values, ids] = at::topk(scores, std::min<int64_t>(kTopTokens, scores.size(0)), 0, largest);
    std::string out;
    for (int64_t i = 0; i < ids.size(0); ++i)
      out += (i ? ", " : "") + std::string("'") + token_texts(input_.tokenizer, {ids[i].item<int64_t>()})[0] + "' " + short_number(values[i].item<double>());
    return out;
  }

  AnalysisInput input_;
  Propagation way_;
  Observable first_, other_;
  std::vector<PromptGroup> groups_;
  at::Tensor mean_;                                    // [layer, head, d_model]
  std::vector<Head> upper_;
  int64_t prompts_ = 0, rows_ = 8, second_ = 0;
};

AnalysisResult Run::finish(const std::vector<std::vector<NamedArray>>& items) {
  const at::Tensor y = mean_of(items, "heads"), read = mean_of(items, "logits");
  const at::Tensor predicted = by_prompt(items, "predicted"), measured = by_prompt(items, "measured");
  at::Tensor norm = y.norm(2, {2}), foretold = predicted.mean(2), effect = measured.mean(2), other, coupling, cosine;
  if (has_other()) {
    other = mean_of(items, "other");
    at::Tensor product = (y * other).sum(2);
    coupling = product / (norm * norm);
    cosine = product / (norm * other.norm(2, {2}));
  }
  const std::vector<Head> top = ranked(effect, kShown);
  const double agreement = read.norm().item<double>() / std::max(1e-300, mean_of(items, "lengths").item<double>());
  at::Tensor known = at::isnan(effect).logical_not() & at::isnan(foretold).logical_not();
  at::Tensor a = foretold.masked_select(known), b = effect.masked_select(known);
  double correlation = NAN;
  if (a.numel() >= 3) {
    at::Tensor x = a - a.mean(), z = b - b.mean();
    double size = (x.norm() * z.norm()).item<double>();
    if (size > 0) correlation = (x * z).sum().item<double>() / size;
  }

  AnalysisResult out;
  out.summary.push_back(plain_number("predicted_measured", correlation, "", "correlation of predicted and measured effect over the heads"));
  out.summary.push_back(plain_number("observable_norm", read.norm().item<double>(), "", "norm of the observable at the last residual"));
  out.summary.push_back(plain_number("agreement", agreement, "", "norm of the mean of the prompts' observables over the mean of their norms: 1 where they are alike"));
  if (!top.empty())
    out.summary.push_back(summarise("strongest_head", list(measured[top[0].first][top[0].second]), "logits", "effect of head " + head_name(top[0].first, top[0].second) + ", the largest", input_.seed));
  if (has_other()) {
    std::vector<double> c;
    for (auto [l, h] : top) c.push_back(cosine[l][h].item<double>());
    double mean = 0;
    for (double v : c) mean += v / static_cast<double>(std::max<size_t>(1, c.size()));
    out.summary.push_back(plain_number("cosine", mean, "", "of both observables' vectors, mean over the " + std::to_string(c.size()) + " heads with the largest effects"));
  }

  const Model& m = input_.model;
  at::Tensor embedding = m.weights().get("embed.weight").to(at::kCPU, at::kDouble);
  auto number = [](double x) { return std::isnan(x) ? Cell() : Cell(x); };
  Table table{"heads", "Heads with the largest effects on the observable",
              {{"head", "", ""}, {"norm", "", "of the feature vector"}, {"predicted", "logits", "from the feature vector, mean over prompts"}, {"measured", "logits", "direct path corrupted, mean over prompts"},
               {"low", "logits", "95 % interval over prompts"}, {"high", "logits", "95 % interval over prompts"}, {"tokens for", "", "embeddings with the largest product"}, {"tokens against", "", "with the smallest"}}, {}};
  if (has_other()) {
    table.columns.push_back({"coupling", "", "C(y, y') = y·y' / ‖y‖²"});
    table.columns.push_back({"cosine", "", ""});
  }
  for (auto [l, h] : top) {
    SummaryItem s = summarise("", list(measured[l][h]), "logits", "", input_.seed);
    std::vector<Cell> row = {head_name(l, h), norm[l][h].item<double>(), foretold[l][h].item<double>(), s.value, number(s.low), number(s.high)};
    if (embedding.size(1) == y.size(2)) {
      at::Tensor scores = at::matmul(embedding, y[l][h]) * m.config().embed_scale;
      row.insert(row.end(), {top_tokens(scores, true), top_tokens(scores, false)});
    } else {
      row.insert(row.end(), 2, std::monostate());
    }
    if (has_other()) row.insert(row.end(), {number(coupling[l][h].item<double>()), number(cosine[l][h].item<double>())});
    table.rows.push_back(row);
  }
  out.artifacts.push_back(table);
  Series curve{"predicted_measured", "Predicted and measured effects of heads", "predicted, logits", "measured, logits", {{"head", {}, {}}}};
  std::vector<double> xs = list(a), ys = list(b);
  std::vector<size_t> order(xs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t l, size_t r) { return xs[l] < xs[r]; });
  for (size_t i : order) {
    curve.lines[0].x.push_back(xs[i]);
    curve.lines[0].y.push_back(ys[i]);
  }
  if (!xs.empty()) out.artifacts.push_back(curve);

  TensorMap map{"observable_propagation", "Feature vectors of " + first_.name, {}, {}, {}};
  map.arrays = {to_array("vectors", {"layer", "head", "d_model"}, y.to(at::kFloat), "", "feature vector of each head: what the observable reads of the residual stream before it"),
                to_array("norm", {"layer", "head"}, norm, "", "norm of the feature vectors"),
                to_array("observable", {"d_model"}, read, "", "the observable at the last residual, mean over prompts"),
                to_array("predicted", {"layer", "head"}, foretold, "logits", "Σ_s A[last, s] y · (corrupted − clean residual at s), mean over prompts"),
                to_array("measured", {"layer", "head"}, effect, "logits", "observable with the head's direct path corrupted minus clean, mean over prompts"),
                to_array("predicted_prompts", {"layer", "head", "prompt"}, predicted, "logits", "the prediction of each prompt"),
                to_array("measured_prompts", {"layer", "head", "prompt"}, measured, "logits", "the measured effect of each prompt")};
  map.axis_labels["layer"] = number_labels("L", way_.layers());
  map.axis_labels["head"] = number_labels("H", way_.heads());
  map.looks = {{"norm", "sequential"}, {"predicted", "diverging"}, {"measured", "diverging"}, {"coupling", "diverging"}, {"cosine", "diverging"}, {"norm2", "sequential"}};
  if (has_other()) {
    map.arrays.push_back(to_array("other_vectors", {"layer", "head", "d_model"}, other.to(at::kFloat), "", "feature vectors of the other observable, " + other_.name));
    map.arrays.push_back(to_array("coupling", {"layer", "head"}, coupling, "", "C(y, y') = y·y' / ‖y‖²: y' · x expected where y · x is 1, of the other observable"));
    map.arrays.push_back(to_array("cosine", {"layer", "head"}, cosine, "", "cosine of both observables' vectors"));
  } else {
    // Between the heads shown: how far one head's feature says what another's is.
    std::vector<at::Tensor> rows;
    for (auto [l, h] : top) rows.push_back(y[l][h]);
    at::Tensor v = rows.empty() ? at::zeros({0, y.size(2)}, at::kDouble) : at::stack(rows), gram = at::matmul(v, v.t());
    map.arrays.push_back(to_array("coupling", {"from", "to"}, gram / gram.diagonal().unsqueeze(1), "", "C(y, y') = y·y' / ‖y‖² between the heads with the largest effects: y' · x expected where y · x is 1"));
    at::Tensor lengths = gram.diagonal().sqrt();
    map.arrays.push_back(to_array("cosine", {"from", "to"}, gram / (lengths.unsqueeze(0) * lengths.unsqueeze(1)), "", "cosine of their vectors"));
    for (auto [l, h] : top)
      for (const char* axis : {"from", "to"}) map.axis_labels[axis].push_back(head_name(l, h));
  }
  const size_t n = groups_.size();
  std::vector<Head> upper = second_ > 0 ? upper_heads(items) : std::vector<Head>{};
  if (!upper.empty()) {
    at::Tensor sum;
    for (size_t g = 0; g < n; ++g) {
      at::Tensor one = to_tensor(find_array(items[2 * n + g], "second"));
      sum = sum.defined() ? sum + one : one;
    }
    at::Tensor two = sum / static_cast<double>(prompts_), norm2 = two.norm(2, {3});
    map.arrays.push_back(to_array("vectors2", {"upper", "layer", "head", "d_model"}, two.to(at::kFloat), "", "feature vectors through a head and then the upper head"));
    map.arrays.push_back(to_array("norm2", {"upper", "layer", "head"}, norm2, "", "norm of the feature vectors through two heads"));
    for (auto [l, h] : upper) map.axis_labels["upper"].push_back(head_name(l, h));
    Table paths{"paths", "Paths of two heads", {{"path", "", "lower head → upper head → logits"}, {"norm", "", "of the feature vector"}, {"tokens for", "", ""}, {"tokens against", "", ""}}, {}};
    for (size_t u = 0; u < upper.size(); ++u)
      for (auto [l, h] : ranked(norm2[static_cast<int64_t>(u)], 3)) {
        at::Tensor vector = two[static_cast<int64_t>(u)][l][h];
        std::vector<Cell> row = {head_name(l, h) + " → " + head_name(upper[u].first, upper[u].second), vector.norm().item<double>()};
        if (embedding.size(1) == y.size(2)) {
          at::Tensor scores = at::matmul(embedding, vector) * m.config().embed_scale;
          row.insert(row.end(), {top_tokens(scores, true), top_tokens(scores, false)});
        } else {
          row.insert(row.end(), 2, std::monostate());
        }
        paths.rows.push_back(row);
      }
    if (!paths.rows.empty()) out.artifacts.push_back(paths);
  }
  out.artifacts.push_back(map);

  if (!top.empty()) {
    auto [l, h] = top[0];
    out.findings.push_back("The observable (" + first_.name + ") moves most through head " + head_name(l, h) + ": corrupting its direct path changes it by " + short_number(effect[l][h].item<double>()) +
                           ", where its feature vector predicts " + short_number(foretold[l][h].item<double>()) + ".");
  }
  out.findings.push_back(std::isnan(correlation) ? "There are too few heads, or none has an effect, to correlate predicted and measured effects."
                                                 : "Over " + std::to_string(a.numel()) + " heads predicted and measured effects correlate with " + short_number(correlation) + ".");
  if (std::string s = way_.left_out(); !s.empty()) out.warnings.push_back(s);
  if (agreement < 0.5)
    out.warnings.push_back("the prompts ask for different answers, so the mean feature vectors say little: their observables keep only " + short_number(100 * agreement) + " % of their length in the mean; name one observable with tokens=");
  return out;
}

}  // namespace

void register_observable_propagation(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
