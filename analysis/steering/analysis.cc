// steering — a direction added or projected out; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"
#include "analysis/registry.h"
#include "analysis/steering/directions.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

constexpr int64_t kRows = 16;                          // prompts that run together
constexpr size_t kMostCoefficients = 64;

const AnalysisInfo kInfo = {
    "steering", 1, "Steering",
    "A direction times a coefficient is added at chosen points and positions, or the part along it is taken away, in the run "
    "that the metric reads and while text is generated; the metric and KL(unsteered ‖ steered) by coefficient.",
    "arXiv 2406.11624, 2406.11717", AnalysisInfo::Prompts::kPairs,
    {{"metric", {"coefficient"}, "the metric of the steered run, mean over prompts"},
     {"kl", {"coefficient"}, "KL(unsteered ‖ steered) at the last position, mean over prompts"},
     {"metric_prompts", {"coefficient", "prompt"}, "the metric of every prompt"},
     {"kl_prompts", {"coefficient", "prompt"}, "KL of every prompt"},
     {"tokens", {"coefficient", "text", "new_token"}, "ids of the texts, -1 after an end token"},
     {"direction", {"point", "d_model"}, "the direction as it is added with coefficient 1, where it is one vector a point"}}};

std::vector<double> read_coefficients(const std::string& text) {
  std::vector<double> out;
  auto bad = [&](const std::string& what) {
    throw Error(StatusCode::kBadInput, what, "param coefficients", "write up to 64 numbers with commas between: -4,-2,0,2,4");
  };
  for (size_t from = 0; from <= text.size();) {
    size_t to = std::min(text.find(',', from), text.size());
    size_t a = text.find_first_not_of(' ', from), b = to;
    while (b > from && text[b - 1] == ' ') --b;
    double x = NAN;
    if (a == std::string::npos || a >= b) bad("coefficients '" + text.substr(0, 100) + "' has an empty place");
    auto [next, error] = std::from_chars(text.data() + a, text.data() + b, x);
    if (error != std::errc() || next != text.data() + b || !std::isfinite(x))
      bad("'" + text.substr(a, std::min<size_t>(b - a, 60)) + "' is not a number");
    if (out.size() == kMostCoefficients) bad("there are more than 64 coefficients");
    out.push_back(x);
    from = to + 1;
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<double> list(const at::Tensor& t) {
  at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input) {
    const Params& p = input.params;
    std::string from = p.get_string("direction");
    options_.from = from == "file" ? DirectionOptions::From::kFile
                    : from == "unembedding" ? DirectionOptions::From::kUnembedding
                    : from == "feature" ? DirectionOptions::From::kFeature : DirectionOptions::From::kMeanDifference;
    options_.file = p.get_string("file");
    options_.tensor = p.get_string("tensor");
    options_.all_positions = p.get_string("direction_positions") == "all";
    options_.to_mean_norm = p.get_string("scale") == "mean_norm";
    options_.to_max_activation = p.get_string("scale") == "max_activation";
    const bool feature = options_.from == DirectionOptions::From::kFeature;
    if (options_.to_max_activation && !feature)
      throw Error(StatusCode::kBadInput, "max_activation is of a feature, and the direction is none", "param scale", "give direction=feature, or another scale");
    pairs_ = options_.from == DirectionOptions::From::kMeanDifference;
    AnalysisInfo needs = kInfo;
    if (!pairs_) needs.prompts = AnalysisInfo::Prompts::kClean;
    metric_ = metric_name(input, p.get_string("metric"));
    require_prompts(input, needs, metric_ != "loss" && metric_ != "kl");
    std::string point = p.get_string("point");
    int64_t layers = layer_count(input.model), layer = p.get_int("layer");
    if (layer >= layers)
      throw Error(StatusCode::kBadInput, "there is no layer " + std::to_string(layer), "param layer",
                  "layers go from 0 to " + std::to_string(layers - 1) + "; -1 is the middle one");
    bool whole = point.find("blocks.") == 0 || input.model.catalogue().find(point);
    std::string hook = whole ? point : block_point(layer < 0 ? layers / 2 : layer, point);
    if (feature) {
      const bool own = point == "hook_resid_post" && layer < 0;             // nobody asked for a point
      options_.feature = p.get_int("feature");
      options_.dictionary = read_dictionary(input, own ? "" : hook, options_.feature, warnings_);
      hook = options_.dictionary->config.hook_out;
    }
    hooks_ = steered_points(input.model, hook);
    coefficients_ = read_coefficients(p.get_string("coefficients"));
    project_out_ = p.get_string("operation") == "project_out";
    set_batch(kRows);
    int64_t prompts = static_cast<int64_t>(input.dataset.pairs.size());
    texts_ = input.model.config().causal() ? std::min(p.get_int("texts"), prompts) : 0;
  }

  void set_batch(int64_t rows) override {
    rows = std::clamp<int64_t>(rows, 1, kRows);
    if (rows == rows_) return;
    rows_ = rows;
    groups_ = group_prompts(input_, pairs_, rows_);
    metrics_.clear();
    for (const PromptGroup& g : groups_) {
      metrics_.push_back(std::make_unique<Metric>(metric_, input_, g));
      all_logits_ = metrics_.back()->needs_all_positions();
    }
    base_logits_.assign(groups_.size(), {});
  }

  int64_t item_count() const override { return static_cast<int64_t>(coefficients_.size()); }
  std::string item_title(int64_t item) const override { return "coefficient " + short_number(coefficients_.at(static_cast<size_t>(item))); }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    double c = coefficients_.at(static_cast<size_t>(item));
    int64_t prompts = static_cast<int64_t>(input_.dataset.pairs.size()), most = input_.params.get_int("max_new");
    find(progress);
    at::Tensor metric = at::full({prompts}, NAN, at::kDouble), kl = at::full({prompts}, NAN, at::kDouble);
    at::Tensor tokens = at::full({texts_, most}, -1, at::kLong);
    for (size_t g = 0; g < groups_.size(); ++g) {
      progress.step(static_cast<int64_t>(g), static_cast<int64_t>(groups_.size()) + most, "running the prompts");
      auto [value, divergence] = measure(g, c);
      at::Tensor columns = at::tensor(groups_[g].prompts, at::kLong);
      metric.index_copy_(0, columns, value);
      kl.index_copy_(0, columns, divergence);
    }
    if (most > 0)
      for (size_t g = 0; g < groups_.size(); ++g) write(g, c, most, tokens, progress);
    return {to_array("metric", {"prompt"}, metric), to_array("kl", {"prompt"}, kl), to_array("tokens", {"text", "new_token"}, tokens)};
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    Progress quiet;
    find(quiet);
    std::vector<at::Tensor> metrics, kls, tokens;
    for (const auto& item : items) {
      metrics.push_back(to_tensor(find_array(item, "metric")));
      kls.push_back(to_tensor(find_array(item, "kl")));
      tokens.push_back(to_tensor(find_array(item, "tokens")));
    }
    at::Tensor metric = at::stack(metrics), kl = at::stack(kls), base = at::full({metric.size(1)}, NAN, at::kDouble);
    for (size_t g = 0; g < groups_.size(); ++g)
      base.index_copy_(0, at::tensor(groups_[g].prompts, at::kLong), measure(g, 0).first);
    std::string unit = Metric::unit(metric_);
    AnalysisResult out;
    out.summary.push_back(summarise("unsteered_" + metric_, list(base), unit, "metric without steering", input_.seed));
    out.summary.push_back(plain_number("direction_norm", points_[0].norm, "", "norm of the direction at " + points_[0].hook + " before scaling"));
    out.summary.push_back(plain_number("mean_norm", points_[0].mean_norm, "", "mean norm of the values at " + points_[0].hook));

    Series curve{"metric_curve", metric_ + " by coefficient", "coefficient", unit, {{metric_, {}, {}}, {"low", {}, {}}, {"high", {}, {}}}};
    Series drift{"kl_curve", "Distance from the unsteered run", "coefficient", "nats", {{"kl", {}, {}}, {"low", {}, {}}, {"high", {}, {}}}};
    Table table{"coefficients", "What each coefficient does",
                {{"coefficient", "", ""}, {metric_, unit, "mean over prompts"}, {"low", unit, "95 % bootstrap interval over prompts"},
                 {"high", unit, "95 % bootstrap interval over prompts"}, {"kl", "nats", "KL(unsteered ‖ steered) at the last position"}}, {}};
    for (size_t i = 0; i < coefficients_.size(); ++i) {
      double c = coefficients_[i];
      SummaryItem m = summarise("", list(metric[static_cast<int64_t>(i)]), "", "", input_.seed), k = summarise("", list(kl[static_cast<int64_t>(i)]), "", "", input_.seed);
      for (auto [series, s] : {std::pair{&curve, &m}, {&drift, &k}}) {
        double values[3] = {s->value, s->low, s->high};
        for (size_t line = 0; line < 3; ++line) {
          if (std::isnan(values[line])) continue;      // one prompt has no interval
          series->lines[line].x.push_back(c);
          series->lines[line].y.push_back(values[line]);
        }
      }
      table.rows.push_back({c, m.value, m.low, m.high, k.value});
    }
    for (Series* s : {&curve, &drift}) std::erase_if(s->lines, [](const Series::Line& l) { return l.x.empty(); });
    out.artifacts = {curve, drift, table};
    add_texts(out, tokens);
    out.artifacts.push_back(arrays(metric, kl, tokens));
    at::Tensor mean = metric.mean(1);
    double low = mean[0].item<double>(), high = mean[mean.size(0) - 1].item<double>(), unsteered = base.mean().item<double>();
    std::string where = hooks_.size() == 1 ? hooks_[0] : std::to_string(hooks_.size()) + " points";
    out.findings.push_back((project_out_ ? "Taking the direction away at " : "Adding the direction at ") + where + ", the " + metric_ + " goes from " +
                           short_number(low) + " at coefficient " + short_number(coefficients_.front()) + " to " + short_number(high) +
                           " at " + short_number(coefficients_.back()) + "; unsteered it is " + short_number(unsteered) + ".");
    out.warnings = warnings_;
    if (!input_.model.config().causal()) out.warnings.push_back("this model reads in both directions and writes no text; only the metric is steered");
    return out;
  }

 private:
  void find(Progress& progress) {
    if (!points_.empty()) return;
    points_ = find_directions(input_, groups_, hooks_, options_, progress);
  }

  int64_t start(int64_t length) const {
    std::string where = input_.params.get_string("positions");
    if (where == "all") return 0;
    if (where == "last") return length - 1;
    int64_t from = input_.params.get_int("from");
    return from < 0 ? std::max<int64_t>(0, length + from) : from;
  }

  // rows: indices of the dataset's prompts.
  void add_edits(HookPlan& plan, double c, int64_t length, const std::vector<int64_t>& rows) const {
    plan.form = input_.form;
    if (c == 0) return;
    for (const SteeredPoint& p : points_) {
      at::Tensor d = p.direction.size(0) == 1 ? p.direction : p.direction.index_select(0, at::tensor(rows, at::kLong));
      plan.edit(p.hook, steer(d, c, project_out_, start(length)));
    }
  }

  at::Tensor logits(size_t group, double c) const {
    const PromptGroup& g = groups_[group];
    HookPlan plan;
    add_edits(plan, c, g.length, g.prompts);
    if (!all_logits_) plan.logit_positions = std::vector<int64_t>{-1};
    return input_.model.forward(g.clean, plan).logits;
  }

  // Metric and KL a prompt, float64.
  std::pair<at::Tensor, at::Tensor> measure(size_t group, double c) {
    at::Tensor& base = base_logits_[group];
    auto last = [](const at::Tensor& y) { return y.select(1, y.size(1) - 1); };
    if (!base.defined()) {
      base = last(logits(group, 0));
      if (metrics_[group]->needs_reference()) metrics_[group]->set_reference(base);
    }
    at::Tensor y = logits(group, c);
    at::Tensor value = all_logits_ ? Metric::token_losses(y, groups_[group].clean, 0).mean(1) : metrics_[group]->last(last(y));
    return {value.to(at::kCPU, at::kDouble), kl_divergence(base, last(y)).to(at::kCPU, at::kDouble)};
  }

  // Greedy continuations of those prompts of a group whose texts are wanted.
  void write(size_t group, double c, int64_t most, at::Tensor& tokens, Progress& progress) const {
    const PromptGroup& g = groups_[group];
    std::vector<int64_t> rows, chosen;
    for (size_t i = 0; i < g.prompts.size(); ++i)
      if (g.prompts[i] < texts_) {
        rows.push_back(static_cast<int64_t>(i));
        chosen.push_back(g.prompts[i]);
      }
    if (rows.empty()) return;
    const ModelConfig& config = input_.model.config();
    if (config.hard_context) most = std::min(most, config.context_length - g.length);
    HookPlan plan;
    add_edits(plan, c, g.length, chosen);
    plan.logit_positions = std::vector<int64_t>{-1};
    RunState state;
    at::Tensor next = g.clean.index_select(0, at::tensor(rows, at::kLong).to(g.clean.device()));
    std::vector<bool> ended(rows.size(), false);
    for (int64_t t = 0; t < most; ++t) {
      progress.step(t, most, "writing");
      at::Tensor ids = input_.model.forward(next, plan, &state).logits.select(1, 0).argmax(1);
      at::Tensor host = ids.to(at::kCPU).contiguous();
      bool all = true;
      for (size_t r = 0; r < rows.size(); ++r) {
        int64_t id = host.const_data_ptr<int64_t>()[r];
        ended[r] = ended[r] || (config.eos_id && id == *config.eos_id);
        if (!ended[r]) tokens.mutable_data_ptr<int64_t>()[chosen[r] * tokens.size(1) + t] = id;
        all = all && ended[r];
      }
      if (all) return;
      next = ids.unsqueeze(1);
    }
  }

  std::string text_of(const std::vector<int64_t>& ids) const {
    const Tokenizer* t = input_.tokenizer;
    bool known = t && std::all_of(ids.begin(), ids.end(), [&](int64_t id) { return id >= 0 && id < t->vocab_size(); });
    if (known) return t->decode(ids);
    std::string out;
    for (const std::string& piece : token_texts(nullptr, ids)) out += (out.empty() ? "" : " ") + piece;
    return out;
  }

  void add_texts(AnalysisResult& out, const std::vector<at::Tensor>& tokens) const {
    Table t{"texts", "What the model writes", {{"prompt", "", ""}, {"coefficient", "", ""}, {"text", "", "greedy continuation"}}, {}};
    for (int64_t p = 0; p < texts_; ++p)
      for (size_t i = 0; i < tokens.size(); ++i) {
        std::vector<int64_t> ids;
        for (int64_t k = 0; k < tokens[i].size(1); ++k)
          if (int64_t id = tokens[i][p][k].item<int64_t>(); id >= 0) ids.push_back(id);
        t.rows.push_back({text_of(input_.dataset.pairs[static_cast<size_t>(p)].clean_ids), coefficients_[i], text_of(ids)});
      }
    if (!t.rows.empty()) out.artifacts.push_back(std::move(t));
  }

  TensorMap arrays(const at::Tensor& metric, const at::Tensor& kl, const std::vector<at::Tensor>& tokens) const {
    TensorMap map;
    map.name = "steering";
    map.title = "Steering";
    std::string unit = Metric::unit(metric_);
    for (double c : coefficients_) map.axis_labels["coefficient"].push_back(short_number(c));
    map.axis_labels["point"] = hooks_;
    map.arrays = {to_array("metric", {"coefficient"}, metric.mean(1), unit, metric_ + " of the steered run, mean over prompts"),
                  to_array("kl", {"coefficient"}, kl.mean(1), "nats", "KL(unsteered ‖ steered) at the last position, mean over prompts"),
                  to_array("metric_prompts", {"coefficient", "prompt"}, metric, unit, metric_ + " of every prompt"),
                  to_array("kl_prompts", {"coefficient", "prompt"}, kl, "nats", "KL of every prompt")};
    at::Tensor ids = at::stack(tokens);
    if (ids.numel() > 0)
      map.arrays.push_back(to_array("tokens", {"coefficient", "text", "new_token"}, ids, "", "ids of the texts, -1 after an end token"));
    std::vector<at::Tensor> vectors;
    for (const SteeredPoint& p : points_)
      if (p.direction.size(0) == 1 && p.direction.numel() == points_[0].direction.numel()) vectors.push_back(p.direction.flatten());
    if (vectors.size() == points_.size())
      map.arrays.push_back(to_array("direction", {"point", "d_model"}, at::stack(vectors).to(at::kFloat), "", "the direction as it is added with coefficient 1"));
    map.looks = {{"metric", "diverging"}, {"kl", "sequential"}, {"metric_prompts", "diverging"}, {"kl_prompts", "sequential"}, {"direction", "diverging"}};
    return map;
  }

  AnalysisInput input_;
  DirectionOptions options_;
  std::vector<std::string> warnings_;
  std::vector<std::string> hooks_;
  std::vector<double> coefficients_;
  std::vector<PromptGroup> groups_;
  std::vector<std::unique_ptr<Metric>> metrics_;
  std::vector<at::Tensor> base_logits_;
  std::vector<SteeredPoint> points_;
  std::string metric_;
  bool pairs_ = true, project_out_ = false, all_logits_ = false;
  int64_t rows_ = 0, texts_ = 0;
};

}  // namespace

void register_steering(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
