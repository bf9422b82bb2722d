#include "analysis/dictionary_eval/report.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "analysis/engine/arrays.h"
#include "analysis/engine/dictionaries.h"
#include "analysis/engine/layers.h"
#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kResamples = 1000;

std::vector<double> list(const at::Tensor& t) {
  at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

// (Σ reference − Σ spliced) / (Σ reference − Σ clean) over sequences, weighted by their tokens, with a 95 % percentile interval from
// resampled sequences. clean undefined: 0.
SummaryItem recovered(std::string name, const at::Tensor& reference, const at::Tensor& spliced, const at::Tensor& clean, const at::Tensor& tokens,
                      std::string help, uint64_t seed) {
  SummaryItem s = plain_number(std::move(name), kNaN, "", std::move(help));
  at::Tensor weight = tokens.to(at::kDouble);
  auto sums = [&](const at::Tensor& t) { return list(at::where(weight > 0, t.nan_to_num() * weight, at::zeros_like(weight))); };
  std::vector<double> r = sums(reference), y = sums(spliced), c = clean.defined() ? sums(clean) : std::vector<double>(r.size(), 0);
  auto of = [](double a, double b) { return b == 0 ? kNaN : a / b; };
  double above = 0, below = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    above += r[i] - y[i];
    below += r[i] - c[i];
  }
  s.value = of(above, below);
  s.n = static_cast<int64_t>(r.size());
  if (r.size() < 2) return s;
  Rng rng(seed);
  std::vector<double> drawn;
  for (int64_t k = 0; k < kResamples; ++k) {
    above = below = 0;
    for (size_t i = 0; i < r.size(); ++i) {
      size_t j = rng.below(r.size());
      above += r[j] - y[j];
      below += r[j] - c[j];
    }
    double x = of(above, below);
    if (!std::isnan(x)) drawn.push_back(x);
  }
  if (drawn.empty()) return s;
  std::sort(drawn.begin(), drawn.end());
  s.low = quantile(drawn, 0.025);
  s.high = quantile(drawn, 0.975);
  return s;
}

// How many features fire how often: bins of the logarithm of the density, a line a member.
Series density_histogram(const EvalReport& r) {
  Series s{"density_histogram", "How often features fire", "log10 of the share of tokens", "features", {}};
  for (size_t m = 0; m < r.metrics.size(); ++m) {
    Series::Line line{member_name(r.set, m), {}, {}};
    std::vector<double> fired = list(r.metrics[m].fired());
    double n = static_cast<double>(std::max<int64_t>(1, r.metrics[m].tokens())), low = std::floor(std::log10(1 / n) * 2) / 2;
    for (double edge = low; edge < 0; edge += 0.5) {
      int64_t count = 0;
      for (double f : fired)
        if (f > 0) count += std::log10(f / n) >= edge && (std::log10(f / n) < edge + 0.5 || edge + 0.5 >= 0);
      line.x.push_back(edge + 0.25);
      line.y.push_back(static_cast<double>(count));
    }
    if (!line.x.empty()) s.lines.push_back(line);
  }
  return s;
}

std::string percent(double x) { return short_number(100 * x) + " %"; }

}  // namespace

AnalysisResult make_report(const EvalReport& r) {
  AnalysisResult out;
  const uint64_t seed = r.input.seed;
  std::vector<DictionaryMetrics> metrics;
  for (const MetricsAccumulator& a : r.metrics) metrics.push_back(a.result());
  const bool one = metrics.size() == 1;

  Table table{"dictionaries", "Each dictionary alone" + std::string(one ? "" : ", and all together"),
              {{"what", "", ""}, {"l0", "features", "active features a token"}, {"fvu", "", "variance unexplained, against the mean over all tokens"},
               {"cosine", "", ""}, {"bias", "", "relative reconstruction bias; below 1: shrinkage"}, {"dead", "", "share of features that never fired"},
               {"dense", "", "share of features that fired on more than a tenth of the tokens"}, {"ce_clean", "nats", ""}, {"ce_spliced", "nats", ""},
               {"ce_zero", "nats", ""}, {"ce_mean", "nats", ""}, {"ce_recovered", "", "(zero − spliced) / (zero − clean)"}, {"low", "", "95 % interval over sequences"},
               {"high", "", "95 % interval over sequences"}, {"ce_recovered_mean", "", "against the mean ablation"}, {"kl_recovered", "", "1 − KL spliced / KL zero"}}, {}};
  for (size_t c = 0; c < r.choices.size(); ++c) {
    const LossRows& l = r.choices[c].losses;
    CrossEntropy t = l.total();
    SummaryItem ce = recovered("ce_recovered", l.zero.ce, l.spliced.ce, l.clean.ce, l.ce_tokens,
                               "(CE of zero ablation − CE spliced) / (CE of zero ablation − CE clean)", seed);
    bool alone = c < metrics.size();
    std::vector<Cell> row = {r.choices[c].name};
    if (alone) {
      const DictionaryMetrics& m = metrics[c];
      row.insert(row.end(), {m.l0, m.fvu, m.cosine, m.bias, m.dead, m.dense});
    } else {
      row.insert(row.end(), 6, std::monostate());
    }
    auto number = [](double x) { return std::isnan(x) ? Cell() : Cell(x); };
    row.insert(row.end(), {number(t.clean), number(t.spliced), number(t.zero), number(t.mean), number(ce.value), number(ce.low), number(ce.high),
                           number(t.recovered_mean), number(t.kl_recovered)});
    table.rows.push_back(row);

    // The summary is of the one dictionary, or of all together.
    if (c + 1 < r.choices.size()) continue;
    if (alone) {
      const DictionaryMetrics& m = metrics[c];
      out.summary.push_back(plain_number("l0", m.l0, "features", "mean number of active features a token"));
      out.summary.push_back(plain_number("fvu", m.fvu, "", "fraction of variance unexplained, against the mean over all tokens"));
      out.summary.push_back(plain_number("explained_variance", m.explained_variance, "", "1 − fvu"));
      out.summary.push_back(plain_number("cosine", m.cosine, "", "mean cosine of activation and reconstruction"));
      out.summary.push_back(plain_number("bias", m.bias, "", "relative reconstruction bias; below 1: shrinkage"));
      out.summary.push_back(plain_number("dead", m.dead, "", "share of features that never fired"));
      out.summary.push_back(plain_number("dense", m.dense, "", "share of features that fired on more than a tenth of the tokens"));
    }
    out.summary.push_back(summarise("ce_clean", list(l.clean.ce), "nats", "next-token cross entropy of the model, mean over sequences", seed));
    out.summary.push_back(summarise("ce_spliced", list(l.spliced.ce), "nats", "with the reconstruction in place", seed));
    out.summary.push_back(summarise("ce_zero", list(l.zero.ce), "nats", "with zero in place", seed));
    if (l.mean.ce.defined()) out.summary.push_back(summarise("ce_mean", list(l.mean.ce), "nats", "with the point's mean in place", seed));
    out.summary.push_back(ce);
    if (l.mean.ce.defined())
      out.summary.push_back(recovered("ce_recovered_mean", l.mean.ce, l.spliced.ce, l.clean.ce, l.ce_tokens, "the same against the mean ablation", seed));
    out.summary.push_back(summarise("kl_spliced", list(l.spliced.kl), "nats", "KL(clean ‖ spliced) a position", seed));
    out.summary.push_back(recovered("kl_recovered", l.zero.kl, l.spliced.kl, {}, l.kl_tokens, "1 − KL(clean ‖ spliced) / KL(clean ‖ zero)", seed));
    out.summary.push_back(plain_number("kept_error_change", r.kept_error_change, "", "largest change of a logit with the error put back, as a share of the largest logit: rounding"));

    std::string who = one ? "the dictionary" : "all " + std::to_string(metrics.size()) + " dictionaries together";
    out.findings.push_back("With " + who + " in place the cross entropy goes from " + short_number(t.clean) + " to " + short_number(t.spliced) + " nats; zero in " +
                           "its place gives " + short_number(t.zero) + ", so " + (std::isnan(t.recovered) ? "nothing can be recovered." : percent(t.recovered) + " of the loss is recovered."));
    if (t.zero <= t.clean)
      out.warnings.push_back("setting " + std::string(one ? "the point" : "the points") + " to zero does not raise the cross entropy on this text: the share recovered says little");
  }
  if (one) {
    const DictionaryMetrics& m = metrics[0];
    out.findings.push_back("It uses " + short_number(m.l0) + " of " + std::to_string(r.set.members[0].config.d_sae) + " features a token, leaves " + percent(m.fvu) +
                           " of the variance unexplained; " + percent(m.dead) + " of its features never fired on " + std::to_string(m.tokens) + " tokens.");
  }
  out.artifacts.push_back(table);
  Series histogram = density_histogram(r);
  if (!histogram.lines.empty()) out.artifacts.push_back(histogram);

  TensorMap map{"dictionary_eval", "Dictionary in place", {}, {}, {}};
  for (size_t m = 0; m < metrics.size(); ++m) map.axis_labels["member"].push_back(member_name(r.set, m));
  for (const EvalReport::Choice& c : r.choices) map.axis_labels["choice"].push_back(c.name);
  map.axis_labels["variant"] = {"clean", "spliced", "zero", "mean"};
  using Number = double DictionaryMetrics::*;
  for (auto [name, field, help] : std::initializer_list<std::tuple<const char*, Number, const char*>>{
           {"l0", &DictionaryMetrics::l0, "mean number of active features a token"},
           {"fvu", &DictionaryMetrics::fvu, "fraction of variance unexplained, against the mean over all tokens"},
           {"explained_variance", &DictionaryMetrics::explained_variance, "1 − fvu"},
           {"cosine", &DictionaryMetrics::cosine, "mean cosine of x and its reconstruction"},
           {"mse", &DictionaryMetrics::mse, "mean over tokens of the squared error"},
           {"bias", &DictionaryMetrics::bias, "relative reconstruction bias (arXiv 2404.16014); below 1: shrinkage"},
           {"dead", &DictionaryMetrics::dead, "share of features that never fired"},
           {"dense", &DictionaryMetrics::dense, "share of features that fired on more than a tenth of the tokens"}}) {
    at::Tensor t = at::empty({static_cast<int64_t>(metrics.size())}, at::kDouble);
    for (size_t m = 0; m < metrics.size(); ++m) t.mutable_data_ptr<double>()[m] = metrics[m].*field;
    map.arrays.push_back(to_array(name, {"member"}, t, "", help));
  }
  int64_t widest = 0;
  for (const Dictionary& d : r.set.members) widest = std::max(widest, d.config.d_sae);
  at::Tensor density = at::full({static_cast<int64_t>(metrics.size()), widest}, kNaN, at::kDouble);
  for (size_t m = 0; m < metrics.size(); ++m) {
    at::Tensor f = r.metrics[m].fired().to(at::kCPU, at::kDouble) / static_cast<double>(std::max<int64_t>(1, metrics[m].tokens));
    density.select(0, static_cast<int64_t>(m)).narrow(0, 0, f.size(0)).copy_(f);
  }
  map.arrays.push_back(to_array("density", {"member", "feature"}, density.to(at::kFloat), "", "share of tokens that a feature fired on"));
  int64_t choices = static_cast<int64_t>(r.choices.size());
  at::Tensor ce = at::full({choices, 4, r.sequences}, kNaN, at::kDouble), kl = ce.clone();
  for (int64_t c = 0; c < choices; ++c) {
    const LossRows& l = r.choices[static_cast<size_t>(c)].losses;
    const SequenceLosses* variants[] = {&l.clean, &l.spliced, &l.zero, &l.mean};
    for (int64_t v = 0; v < 4; ++v) {
      if (variants[v]->ce.defined()) ce[c][v].copy_(variants[v]->ce);
      if (variants[v]->kl.defined()) kl[c][v].copy_(variants[v]->kl);
    }
  }
  map.arrays.push_back(to_array("ce", {"choice", "variant", "sequence"}, ce, "nats", "next-token cross entropy of each sequence"));
  map.arrays.push_back(to_array("kl", {"choice", "variant", "sequence"}, kl, "nats", "KL(clean ‖ changed) of each sequence, mean over positions"));
  out.artifacts.push_back(map);
  return out;
}

}  // namespace microtome::analyses
