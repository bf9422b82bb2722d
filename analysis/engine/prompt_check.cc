#include "analysis/engine/prompt_check.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"
#include "analysis/engine/prompts.h"
#include "analysis/engine/roc.h"
#include "core/base/memory.h"

namespace microtome::engine {
namespace {

// Below that a clean prompt is hardly told from a corrupted one.
constexpr double kSeparates = 0.6;

double quantile_of(std::vector<double> v, double q) {
  std::sort(v.begin(), v.end());
  return quantile(v, q);
}

double mean(const std::vector<double>& v) {
  double sum = 0;
  for (double x : v) sum += x;
  return v.empty() ? NAN : sum / static_cast<double>(v.size());
}

std::string spread(const std::vector<double>& v) {
  return short_number(mean(v)) + " (quartiles " + short_number(quantile_of(v, 0.25)) + ", " + short_number(quantile_of(v, 0.5)) + ", " + short_number(quantile_of(v, 0.75)) + ")";
}

// Share of right answers that a model which knows nothing would have.
double chance_of(const PromptPair& p, int64_t vocab) {
  const double answers = static_cast<double>(p.answer_ids.size());
  return answers / (p.wrong_ids.empty() ? static_cast<double>(vocab) : answers + static_cast<double>(p.wrong_ids.size()));
}

}  // namespace

PromptCheck check_prompts(const AnalysisInput& input, const std::string& metric, int64_t most) {
  at::NoGradGuard no_grad;
  PromptCheck out;
  out.accuracy = out.chance = out.separation = NAN;
  const std::vector<PromptPair>& pairs = input.dataset.pairs;
  if (pairs.empty() || most <= 0) return out;
  Dataset some;
  some.name = input.dataset.name;
  const int64_t all = static_cast<int64_t>(pairs.size()), count = std::min(most, all);
  bool paired = true;
  for (int64_t i = 0; i < count; ++i) {
    const PromptPair& p = pairs[static_cast<size_t>(i * all / count)];
    if (p.clean_ids.empty() || p.answer_ids.empty()) return out;
    paired = paired && p.corrupted_ids.size() == p.clean_ids.size();
    some.pairs.push_back(p);
  }
  AnalysisInput few{input.model, input.tokenizer, some, input.params, input.seed, input.form};
  out.metric = metric_name(few, metric == "kl" || metric == "loss" ? "auto" : metric);
  if (out.metric == "kl" || out.metric == "loss") out.metric = "answer_logprob";
  if (out.metric == "logit_diff")
    for (const PromptPair& p : some.pairs)
      if (p.wrong_ids.empty()) out.metric = "answer_logprob";
  out.prompts = count;
  out.clean.resize(static_cast<size_t>(count));
  if (paired) out.corrupted.resize(static_cast<size_t>(count));
  double right = 0, chance = 0;
  HookPlan plan;
  plan.form = input.form;
  plan.logit_positions = std::vector<int64_t>{-1};
  auto look = [&](const PromptGroup& g) {
    const Metric m(out.metric, few, g);
    double right_here = 0;               // counted once all of them are through
    int64_t vocab = 0;
    for (bool clean : {true, false}) {
      if (!clean && !paired) continue;
      at::Tensor logits = few.model.forward(clean ? g.clean : g.corrupted, plan).logits.select(1, 0);
      at::Tensor values = m.last(logits).to(at::kCPU, at::kDouble).contiguous();
      for (size_t i = 0; i < g.prompts.size(); ++i) {
        const double v = values.const_data_ptr<double>()[i];
        if (!std::isfinite(v))
          throw Error(StatusCode::kFailed, "the " + out.metric + " of a " + (clean ? "clean" : "corrupted") + " prompt is not a number: the model's logits are not finite there",
                      input.dataset.name + ", prompt " + std::to_string(g.prompts[i] * all / count + 1), "run in float32, and check the checkpoint with `microtome forward`");
        (clean ? out.clean : out.corrupted)[static_cast<size_t>(g.prompts[i])] = v;
      }
      if (!clean) continue;
      vocab = logits.size(1);
      right_here = answered_right(few, g, logits).sum().item<double>();
    }
    right += right_here;
    for (int64_t p : g.prompts) chance += chance_of(some.pairs[static_cast<size_t>(p)], vocab);
  };
  int64_t at_once = 16;
  for (const PromptGroup& g : group_prompts(few, paired))
    in_parts(static_cast<int64_t>(g.prompts.size()), at_once, [&](int64_t from, int64_t n) { look(part_of(g, from, n)); });
  out.accuracy = right / static_cast<double>(count);
  out.chance = chance / static_cast<double>(count);
  if (!paired) return out;
  std::vector<double> all_values = out.clean;
  all_values.insert(all_values.end(), out.corrupted.begin(), out.corrupted.end());
  std::vector<bool> is_clean(all_values.size(), false);
  std::fill_n(is_clean.begin(), out.clean.size(), true);
  out.separation = roc_curve(all_values, is_clean).area;
  return out;
}

std::vector<std::string> check_warnings(const PromptCheck& c) {
  std::vector<std::string> out;
  // Few prompts: a model above chance falls two standard errors below what it has only rarely.
  const double n = static_cast<double>(c.prompts), error = std::sqrt(std::max(0.0, c.chance * (1 - c.chance)) / std::max(1.0, n));
  if (c.accuracy <= std::min(0.95, std::max(c.chance, 0.02) + 2 * error) && c.accuracy < 0.9)
    out.push_back("the model fails this task: of " + std::to_string(c.prompts) + " prompts " + short_number(100 * c.accuracy) + " % are answered right (by chance " +
                  short_number(100 * c.chance) + " %), so there may be nothing to find");
  // Either way round, as a metric may be meant to fall.
  if (std::max(c.separation, 1 - c.separation) < kSeparates)
    out.push_back("the metric " + c.metric + " hardly tells clean prompts from corrupted ones: clean " + spread(c.clean) + ", corrupted " + spread(c.corrupted) +
                  "; a clean one is above a corrupted one in " + short_number(100 * c.separation) + " % of pairs, so what a patch or a circuit brings back is a share of almost nothing");
  return out;
}

Table check_table(const PromptCheck& c) {
  const std::string unit = Metric::unit(c.metric);
  Table t{"metric_distribution", "The metric over clean and corrupted prompts",
          {{"prompts", "", ""}, {"least", unit, ""}, {"quarter", unit, "25 % of prompts are below"}, {"median", unit, ""}, {"three_quarters", unit, "75 % of prompts are below"},
           {"most", unit, ""}, {"mean", unit, ""}}, {}};
  for (const auto& [name, v] : {std::pair<const char*, const std::vector<double>&>{"clean", c.clean}, {"corrupted", c.corrupted}})
    if (!v.empty()) t.rows.push_back({std::string(name), quantile_of(v, 0), quantile_of(v, 0.25), quantile_of(v, 0.5), quantile_of(v, 0.75), quantile_of(v, 1), mean(v)});
  return t;
}

}  // namespace microtome::engine
