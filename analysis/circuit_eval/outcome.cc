#include "analysis/circuit_eval/outcome.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "analysis/circuit/circuits_data.h"
#include "analysis/circuit/scores.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/roc.h"
#include "analysis/engine/layers.h"
#include "core/base/rng.h"

namespace microtome::analyses {

using namespace microtome::engine;
using namespace microtome::circuit;

namespace {

constexpr int64_t kBootstraps = 1000, kHalves = 5;

double jaccard(const at::Tensor& a, const at::Tensor& b) {
  const double both = a.logical_and(b).sum().item<double>(), any = a.logical_or(b).sum().item<double>();
  return any > 0 ? both / any : std::nan("");
}

std::vector<double> list_of(const at::Tensor& t) {
  at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

double quantile_of(const at::Tensor& v, double q) { return quantile(list_of(std::get<0>(v.flatten().sort())), q); }

}  // namespace

Draws draw_prompts(const AnalysisInput& input, int64_t resamples) {
  const int64_t prompts = static_cast<int64_t>(input.dataset.pairs.size());
  Draws out;
  out.resamples = resamples;
  std::vector<at::Tensor> rows;
  if (resamples > 0) {
    rows.push_back(bootstrap_weights(resamples, prompts, input.seed));
    std::map<std::string, std::vector<int64_t>> by_template;
    for (int64_t p = 0; p < prompts; ++p) {
      const auto& labels = input.dataset.pairs[static_cast<size_t>(p)].labels;
      if (auto it = labels.find("template"); it != labels.end()) by_template[it->second].push_back(p);
    }
    if (prompts >= 4) {
      out.halves = kHalves;
      for (int64_t h = 0; h < kHalves; ++h) {
        Rng rng(item_seed(input.seed, static_cast<uint64_t>(2'000'000 + h)));
        std::vector<int64_t> order(static_cast<size_t>(prompts));
        for (int64_t i = 0; i < prompts; ++i) order[static_cast<size_t>(i)] = i;
        rng.shuffle(order);
        at::Tensor two = at::zeros({2, prompts}, at::kFloat);
        for (int64_t i = 0; i < prompts; ++i) two[i % 2][order[static_cast<size_t>(i)]].fill_(1);
        rows.push_back(two);
      }
    }
    if (by_template.size() > 1)
      for (const auto& [name, members] : by_template) {
        at::Tensor one = at::zeros({1, prompts}, at::kFloat);
        for (int64_t p : members) one[0][p].fill_(1);
        rows.push_back(one);
        out.templates.push_back(name);
      }
  }
  out.weights = rows.empty() ? at::zeros({0, prompts}, at::kFloat) : at::cat(rows);
  return out;
}

at::Tensor EvalOutcome::faithfulness(const at::Tensor& means) const {
  at::Tensor empty = means[plan_.empty], whole = means[plan_.whole];
  return (means - empty) / (whole - empty);
}

SummaryItem EvalOutcome::with_interval(const std::string& name, double value, const at::Tensor& boot, const std::string& unit, const std::string& help) const {
  SummaryItem out = plain_number(name, value, unit, help);
  if (boot.defined()) {
    out.low = quantile_of(boot, 0.025);
    out.high = quantile_of(boot, 0.975);
  }
  out.n = static_cast<int64_t>(input_.dataset.pairs.size());
  return out;
}

void EvalOutcome::curve(AnalysisResult& out) {
  const std::vector<double>& shares = edge_shares();
  const int64_t n = static_cast<int64_t>(shares.size());
  const std::string unit = Metric::unit(metric_);
  at::Tensor f = f_.narrow(0, plan_.sizes, n), boot = f_boot_.defined() ? f_boot_.narrow(0, plan_.sizes, n) : at::Tensor();
  Series s{"faithfulness", "Faithfulness by size", "edges (% of all)", "faithfulness", {{"faithfulness", shares, list_of(f)}}};
  Table t{"sizes", "The best edges at each size",
          {{"share", "%", "of all edges, before dead ends are cut"}, {"edges", "", "without dead ends"}, {"nodes", "", ""}, {metric_, unit, "mean over prompts"}, {"faithfulness", "", "0: every edge cut, 1: the whole model"}, {"low", "", "95 % interval over prompts"}, {"high", "", ""}}, {}};
  std::vector<double> lows, highs;
  for (int64_t i = 0; i < n; ++i) {
    at::Tensor inside = plan_.circuits[plan_.sizes + i];
    std::vector<bool> nodes = nodes_inside(graph_, inside);
    if (boot.defined()) {
      lows.push_back(quantile_of(boot[i], 0.025));
      highs.push_back(quantile_of(boot[i], 0.975));
    }
    t.rows.push_back({shares[static_cast<size_t>(i)], inside.sum().item<int64_t>(), static_cast<int64_t>(std::count(nodes.begin(), nodes.end(), true)),
                      mean_[plan_.sizes + i].item<double>(), f[i].item<double>(), boot.defined() ? Cell{lows.back()} : Cell{}, boot.defined() ? Cell{highs.back()} : Cell{}});
  }
  if (boot.defined()) {
    s.lines.push_back({"low (95 %)", shares, lows});
    s.lines.push_back({"high (95 %)", shares, highs});
  }
  at::Tensor cpr, cmd;
  if (boot.defined()) {
    cpr = at::empty({boot.size(1)}, at::kDouble);
    cmd = at::empty_like(cpr);
    for (int64_t b = 0; b < boot.size(1); ++b) {
      std::vector<double> one = list_of(boot.select(1, b));
      cpr[b].fill_(area_under(shares, one));
      cmd[b].fill_(area_from_one(shares, one));
    }
  }
  out.summary.push_back(with_interval("CPR", area_under(shares, list_of(f)), cpr, "", "area under faithfulness over the share of edges (MIB; larger is better)"));
  out.summary.push_back(with_interval("CMD", area_from_one(shares, list_of(f)), cmd, "", "area between faithfulness and 1 over the share of edges (MIB; smaller is better)"));
  TensorMap map{"faithfulness_by_size", "Faithfulness by size", {}, {}, {}};
  for (double x : shares) map.axis_labels["size"].push_back(short_number(x) + " %");
  map.arrays.push_back(to_array("faithfulness", {"size"}, f.clone(), "", "(m(C) - m(empty)) / (m(whole) - m(empty)) of the best edges at each share"));
  out.artifacts.push_back(std::move(s));
  out.artifacts.push_back(std::move(t));
  out.artifacts.push_back(std::move(map));
}

void EvalOutcome::nodes(AnalysisResult& out) {
  const int64_t n = static_cast<int64_t>(plan_.nodes.size());
  if (n > 0) {
    Table t{"minimality", "What each node of the circuit adds", {{"node", "", ""}, {"faithfulness_lost", "", "without the node"}, {"low", "", "95 % interval over prompts"}, {"high", "", ""}}, {}};
    TensorMap map{"minimality", "What each node adds", {}, {}, {{"minimality", "diverging"}}};
    at::Tensor lost = at::empty({n}, at::kDouble);
    for (int64_t i = 0; i < n; ++i) {
      lost[i].copy_(f_[plan_.chosen] - f_[plan_.without[static_cast<size_t>(i)]]);
      map.axis_labels["node"].push_back(graph_.sources()[static_cast<size_t>(plan_.nodes[static_cast<size_t>(i)])].name);
    }
    at::Tensor order = std::get<1>(lost.sort(/*stable=*/true, -1, /*descending=*/true));
    for (int64_t j = 0; j < n; ++j) {
      const int64_t i = order[j].item<int64_t>();
      at::Tensor boot = f_boot_.defined() ? f_boot_[plan_.chosen] - f_boot_[plan_.without[static_cast<size_t>(i)]] : at::Tensor();
      t.rows.push_back({map.axis_labels["node"][static_cast<size_t>(i)], lost[i].item<double>(), boot.defined() ? Cell{quantile_of(boot, 0.025)} : Cell{}, boot.defined() ? Cell{quantile_of(boot, 0.975)} : Cell{}});
    }
    map.arrays.push_back(to_array("minimality", {"node"}, lost, "", "faithfulness lost without the node"));
    out.summary.push_back(plain_number("minimality", lost.min().item<double>(), "", "faithfulness lost without the node that adds least"));
    const int64_t top = order[0].item<int64_t>();
    out.findings.push_back("Without " + map.axis_labels["node"][static_cast<size_t>(top)] + " the circuit loses most: " + short_number(lost[top].item<double>()) + " of faithfulness.");
    out.artifacts.push_back(std::move(t));
    out.artifacts.push_back(std::move(map));
  }
  if (plan_.subsets.empty()) return;
  at::Tensor gap = at::empty({static_cast<int64_t>(plan_.subsets.size())}, at::kDouble);
  for (size_t i = 0; i < plan_.subsets.size(); ++i) gap[static_cast<int64_t>(i)].copy_((mean_[plan_.subsets[i].first] - mean_[plan_.subsets[i].second]).abs());
  TensorMap map{"completeness", "Completeness", {}, {}, {{"completeness", "sequential"}}};
  map.arrays.push_back(to_array("completeness", {"subset"}, gap, Metric::unit(metric_), "|m(C without K) - m(whole without K)| of each drawn set K of nodes"));
  out.summary.push_back(plain_number("completeness", gap.max().item<double>(), Metric::unit(metric_), "largest |m(C without K) - m(whole without K)| over " + std::to_string(gap.numel()) + " drawn sets K (smaller is better)"));
  out.artifacts.push_back(std::move(map));
}

void EvalOutcome::stability(AnalysisResult& out, const at::Tensor& drawn) {
  if (!drawn.defined() || plan_.resampled.empty()) return;
  auto circuit_of = [&](int64_t draw) { return plan_.circuits[plan_.resampled[static_cast<size_t>(draw)]]; };
  at::Tensor frequency = at::zeros({graph_.source_count(), graph_.input_count()}, at::kDouble);
  double overlap = 0;
  at::Tensor f = at::empty({draws_.resamples}, at::kDouble);
  for (int64_t r = 0; r < draws_.resamples; ++r) {
    frequency += circuit_of(r).to(at::kDouble);
    overlap += jaccard(circuit_of(r), plan_.circuits[plan_.chosen]);
    f[r].copy_(f_[plan_.resampled[static_cast<size_t>(r)]]);
  }
  frequency /= static_cast<double>(draws_.resamples);
  out.summary.push_back(plain_number("stability", overlap / static_cast<double>(draws_.resamples), "", "mean overlap (Jaccard of edges) with the circuits chosen from bootstrap resamples of the prompts"));
  SummaryItem again = plain_number("faithfulness_resampled", f.mean().item<double>(), "", "faithfulness, on all prompts, of the circuits chosen from resamples");
  again.low = quantile_of(f, 0.025);
  again.high = quantile_of(f, 0.975);
  again.n = draws_.resamples;
  out.summary.push_back(again);
  int64_t next = draws_.resamples;
  if (draws_.halves > 0) {
    double halves = 0;
    for (int64_t h = 0; h < draws_.halves; ++h) halves += jaccard(circuit_of(next + 2 * h), circuit_of(next + 2 * h + 1));
    out.summary.push_back(plain_number("stability_halves", halves / static_cast<double>(draws_.halves), "", "mean overlap of the circuits chosen from two halves of the prompts, drawn with " + std::to_string(draws_.halves) + " seeds"));
    next += 2 * draws_.halves;
  }
  if (!draws_.templates.empty()) {
    const int64_t n = static_cast<int64_t>(draws_.templates.size());
    at::Tensor pairs = at::eye(n, at::TensorOptions().dtype(at::kDouble));
    double sum = 0;
    for (int64_t a = 0; a < n; ++a)
      for (int64_t b = 0; b < a; ++b) {
        const double j = jaccard(circuit_of(next + a), circuit_of(next + b));
        pairs[a][b].fill_(j);
        pairs[b][a].fill_(j);
        sum += j;
      }
    out.summary.push_back(plain_number("stability_templates", sum / static_cast<double>(n * (n - 1) / 2), "", "mean overlap of the circuits chosen from each template's prompts alone"));
    TensorMap map{"templates", "Overlap of the circuits of each template", {}, {{"template", draws_.templates}, {"other", draws_.templates}}, {{"overlap", "sequential"}}};
    map.arrays.push_back(to_array("overlap", {"template", "other"}, pairs, "", "Jaccard of edges"));
    out.artifacts.push_back(std::move(map));
  }
  TensorMap map{"frequency", "How often each edge is chosen", {}, {{"source", graph_.source_names()}, {"destination", graph_.input_names()}}, {{"frequency", "sequential"}}};
  map.arrays.push_back(to_array("frequency", {"source", "destination"}, frequency.masked_fill(graph_.possible().logical_not(), NAN).to(at::kFloat), "", "share of bootstrap resamples in which the edge is in the circuit"));
  out.artifacts.push_back(std::move(map));
}

void EvalOutcome::against(AnalysisResult& out, const at::Tensor& scores, const at::Tensor& reference, bool by_size) {
  if (!reference.defined()) return;
  at::Tensor possible = graph_.possible(), strength = (by_size ? scores.abs() : scores).nan_to_num(-1e300);
  auto flat = [&](const at::Tensor& t) { return list_of(t.masked_select(possible)); };
  std::vector<double> truth_numbers = flat(reference.to(at::kDouble));
  std::vector<bool> truth(truth_numbers.size());
  for (size_t i = 0; i < truth.size(); ++i) truth[i] = truth_numbers[i] > 0;
  Roc edges = roc_curve(flat(strength), truth);
  // A node is as strong as its strongest edge.
  std::vector<bool> node_truth = nodes_inside(graph_, reference);
  std::vector<double> node_scores(node_truth.size(), -1e300);
  for (int64_t i = 0; i < graph_.input_count(); ++i) {
    const Input& in = graph_.inputs()[static_cast<size_t>(i)];
    for (int64_t k = 0; k < in.sources; ++k) {
      const double x = strength[k][i].item<double>();
      node_scores[static_cast<size_t>(k)] = std::max(node_scores[static_cast<size_t>(k)], x);
      if (in.node >= 0) node_scores[static_cast<size_t>(in.node)] = std::max(node_scores[static_cast<size_t>(in.node)], x);
    }
  }
  Roc nodes = roc_curve(node_scores, node_truth);
  at::Tensor chosen = plan_.circuits[plan_.chosen];
  const double both = chosen.logical_and(reference).sum().item<double>();
  out.summary.push_back(plain_number("roc_area_edges", edges.area, "", "area under the ROC of the edges' scores against the reference circuit"));
  out.summary.push_back(plain_number("roc_area_nodes", nodes.area, "", "the same of nodes, each as strong as its strongest edge"));
  out.summary.push_back(plain_number("precision", both / std::max(1.0, chosen.sum().item<double>()), "", "share of the circuit's edges that the reference has"));
  out.summary.push_back(plain_number("recall", both / std::max(1.0, reference.sum().item<double>()), "", "share of the reference's edges that the circuit has"));
  out.artifacts.push_back(Series{"roc", "Against the reference circuit", "false positive rate", "true positive rate", {{"edges", edges.false_rate, edges.true_rate}, {"nodes", nodes.false_rate, nodes.true_rate}}});
}

AnalysisResult EvalOutcome::result(const at::Tensor& scores, const at::Tensor& drawn, const at::Tensor& values, const at::Tensor& reference, bool from_file,
                                   double share, bool by_size) {
  const int64_t prompts = values.size(1);
  mean_ = values.mean(1);
  f_ = faithfulness(mean_);
  if (prompts > 1) {
    boot_ = values.matmul(bootstrap_weights(kBootstraps, prompts, input_.seed).t().to(at::kDouble)) / static_cast<double>(prompts);
    f_boot_ = faithfulness(boot_);
  }
  AnalysisResult out;
  const std::string unit = Metric::unit(metric_);
  const double span = (mean_[plan_.whole] - mean_[plan_.empty]).item<double>();
  out.summary = {summarise("whole_" + metric_, list_of(values[plan_.whole]), unit, "metric of the whole model", input_.seed),
                 summarise("empty_" + metric_, list_of(values[plan_.empty]), unit, "metric with every edge cut", input_.seed),
                 summarise("circuit_" + metric_, list_of(values[plan_.chosen]), unit, "metric of the circuit", input_.seed)};
  const at::Tensor chosen = plan_.circuits[plan_.chosen];
  std::vector<bool> members = nodes_inside(graph_, chosen);
  out.summary.push_back(with_interval("faithfulness", f_[plan_.chosen].item<double>(), f_boot_.defined() ? f_boot_[plan_.chosen] : at::Tensor(), "", "of the circuit: 0 every edge cut, 1 the whole model"));
  out.summary.push_back(plain_number("circuit_edges", chosen.sum().item<double>(), "", "edges of the circuit, without dead ends"));
  out.summary.push_back(plain_number("circuit_nodes", static_cast<double>(std::count(members.begin(), members.end(), true)), "", "nodes of the circuit"));
  out.findings.push_back((from_file ? std::string("The circuit") : "The best " + short_number(share) + " % of edges") + " (" + std::to_string(chosen.sum().item<int64_t>()) + " of " + std::to_string(graph_.edge_count()) +
                         (from_file ? " edges) gives a faithfulness of " : " edges) give a faithfulness of ") + short_number(f_[plan_.chosen].item<double>()) + ".");
  if (std::fabs(span) < 1e-6) out.warnings.push_back("Whole model and empty circuit have the same " + metric_ + " on these prompts, so faithfulness says nothing.");
  out.artifacts.push_back(graph_.to_circuit("circuit", from_file ? "The circuit evaluated" : "Circuit: the best " + short_number(share) + " % of edges", scores, chosen));
  curve(out);
  nodes(out);
  stability(out, drawn);
  against(out, scores, reference, by_size);
  TensorMap map{"edge_scores", "Scores of the edges", {}, {{"source", graph_.source_names()}, {"destination", graph_.input_names()}}, {{"edge_scores", "diverging"}}};
  map.arrays.push_back(to_array("edge_scores", {"source", "destination"}, scores.masked_fill(graph_.possible().logical_not(), 0).nan_to_num(0).to(at::kFloat), "", "the ranking that is evaluated; 0 where there is no edge"));
  out.artifacts.push_back(std::move(map));
  out.artifacts.push_back(edge_table(graph_, scores, chosen, "", "its score"));
  if (!graph_.note().empty()) out.warnings.push_back(graph_.note() + ".");
  return out;
}

}  // namespace microtome::analyses
