#include "analysis/dictionary_training/outcome.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "core/dictionary/stored.h"

namespace microtome::training {
namespace {

using engine::plain_number;

std::string member_title(const Group& g, size_t m) {
  return g.members.size() == 1 ? g.name : g.name + ", " + g.members[m].config.hook_in;
}

const NamedArray* part(const std::vector<NamedArray>& item, const std::string& name) {
  for (const NamedArray& a : item)
    if (a.name == name) return &a;
  return nullptr;
}

struct Rows {
  std::vector<std::vector<double>> curve, evaluated;
  bool stopped = false;
};

Rows collect(const std::vector<std::vector<NamedArray>>& items) {
  Rows out;
  for (const auto& item : items) {
    if (const NamedArray* a = part(item, "curve"))
      for (auto& r : rows_of(*a)) out.curve.push_back(std::move(r));
    if (const NamedArray* a = part(item, "evaluated"))
      for (auto& r : rows_of(*a)) out.evaluated.push_back(std::move(r));
    if (const NamedArray* a = part(item, "stopped")) out.stopped = out.stopped || a->at(0) != 0;
  }
  return out;
}

// One curve a group, of a column of the curve's rows.
Series curve_series(const Plan& plan, const Rows& rows, const char* name, const char* title, const char* unit, size_t column) {
  Series s{name, title, "tokens seen", unit, {}};
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    Series::Line line{plan.groups[g].name, {}, {}};
    for (const auto& r : rows.curve)
      if (static_cast<size_t>(r[0]) == g) {
        line.x.push_back(r[2]);
        line.y.push_back(r[column]);
      }
    if (!line.x.empty()) s.lines.push_back(std::move(line));
  }
  return s;
}

Series eval_series(const Plan& plan, const Rows& rows, const char* name, const char* title, const char* unit, size_t column, bool by_member) {
  Series s{name, title, "tokens seen", unit, {}};
  for (size_t g = 0; g < plan.groups.size(); ++g)
    for (size_t m = 0; m < (by_member ? plan.groups[g].members.size() : 1); ++m) {
      Series::Line line{by_member ? member_title(plan.groups[g], m) : plan.groups[g].name, {}, {}};
      for (const auto& r : rows.evaluated)
        if (static_cast<size_t>(r[0]) == g && static_cast<size_t>(r[1]) == m) {
          line.x.push_back(r[3]);
          line.y.push_back(r[column]);
        }
      if (!line.x.empty()) s.lines.push_back(std::move(line));
    }
  return s;
}

Table final_table(const Plan& plan, const std::map<std::pair<size_t, size_t>, std::vector<double>>& last) {
  Table t{"training", "What was trained",
          {{"dictionary", "", ""}, {"kind", "", ""}, {"features", "", "d_sae"}, {"L0", "features", "mean number of active features a token, on held-out text"},
           {"FVU", "", "share of the variance about the global mean that is not explained, held-out"},
           {"CE recovered", "", "(CE with the point zeroed − CE with the reconstruction) / (CE zeroed − CE clean), held-out; all layers of a cross-layer transcoder at once"},
           {"KL recovered", "", "1 − KL(clean ‖ reconstruction) / KL(clean ‖ zeroed)"}, {"CE added", "nats", "CE with the reconstruction − CE clean"},
           {"dead", "", "share of features that have not fired for dead_tokens tokens of the training"}, {"dense", "", "share that fires on more than a tenth of held-out tokens"},
           {"bias", "", "relative reconstruction bias γ: below 1, outputs are too small"}, {"cosine", "", "mean cosine of value and reconstruction"}},
          {}};
  for (const auto& [key, r] : last) {
    const Group& g = plan.groups[key.first];
    std::vector<Cell> row;
    row.emplace_back(member_title(g, key.second));
    row.emplace_back(g.members[key.second].config.kind);
    row.emplace_back(g.members[key.second].config.d_sae);
    for (double v : {r[4], r[5], r[13], r[15], r[11] - r[10], r[8], r[9], r[7], r[6]}) row.emplace_back(v);
    t.rows.push_back(std::move(row));
  }
  return t;
}

}  // namespace

NamedArray array_of(const std::string& name, const std::vector<std::vector<double>>& rows, int64_t columns) {
  NamedArray a;
  a.name = name;
  a.axes = {"row", "column"};
  a.shape = {static_cast<int64_t>(rows.size()), columns};
  std::vector<double> data;
  for (const auto& r : rows) data.insert(data.end(), r.begin(), r.end());
  a.data = std::move(data);
  return a;
}

std::vector<std::vector<double>> rows_of(const NamedArray& a) {
  std::vector<std::vector<double>> out;
  if (a.shape.size() != 2) return out;
  for (int64_t r = 0; r < a.shape[0]; ++r) {
    out.emplace_back();
    for (int64_t c = 0; c < a.shape[1]; ++c) out.back().push_back(a.at(r * a.shape[1] + c));
  }
  return out;
}

std::string dictionary_prefix(size_t group, size_t member) { return std::to_string(group) + "." + std::to_string(member) + "."; }

std::vector<at::Tensor> batched(const std::vector<at::Tensor>& sequences, int64_t tokens) {
  std::map<int64_t, std::vector<at::Tensor>> by_length;
  for (const at::Tensor& s : sequences) by_length[s.size(1)].push_back(s);
  std::vector<at::Tensor> out;
  for (auto& [length, all] : by_length) {
    const size_t most = static_cast<size_t>(std::max<int64_t>(1, tokens / length));
    for (size_t i = 0; i < all.size(); i += most) out.push_back(at::cat(std::vector<at::Tensor>(all.begin() + static_cast<std::ptrdiff_t>(i), all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), i + most)))));
  }
  return out;
}

AnalysisResult training_result(const Plan& plan, const std::vector<std::vector<NamedArray>>& items, bool whole) {
  AnalysisResult out;
  const Rows rows = collect(items);
  std::map<std::pair<size_t, size_t>, std::vector<double>> last;
  for (const auto& r : rows.evaluated) last[{static_cast<size_t>(r[0]), static_cast<size_t>(r[1])}] = r;
  const bool single = last.size() == 1;
  for (const auto& [key, r] : last) {
    const std::string of = single ? "" : " (" + member_title(plan.groups[key.first], key.second) + ")";
    auto number = [&](const char* name, double value, const char* unit, const char* help) {
      out.summary.push_back(plain_number(name + of, value, unit, help));
      out.summary.back().n = static_cast<int64_t>(r[16]);
    };
    number("l0", r[4], "features", "mean number of active features a token, on held-out text");
    number("fvu", r[5], "", "share of the variance about the global mean that is not explained");
    number("ce_recovered", r[13], "", "(CE zeroed − CE with the reconstruction) / (CE zeroed − CE clean)");
    number("kl_recovered", r[15], "", "1 − KL(clean ‖ reconstruction) / KL(clean ‖ zeroed)");
    number("dead", r[8], "", "share of features that have not fired for dead_tokens tokens of the training");
    number("dense", r[9], "", "share of features that fire on more than a tenth of the tokens");
    number("bias", r[7], "", "relative reconstruction bias γ (arXiv 2404.16014); below 1, outputs are too small");
  }
  out.artifacts.push_back(final_table(plan, last));
  out.artifacts.push_back(curve_series(plan, rows, "loss", "Loss", "loss a token", 3));
  out.artifacts.push_back(eval_series(plan, rows, "fvu", "Variance not explained, held-out text", "FVU", 5, true));
  out.artifacts.push_back(curve_series(plan, rows, "l0", "Active features a token", "features", 5));
  out.artifacts.push_back(curve_series(plan, rows, "dead", "Dead features", "share", 6));
  out.artifacts.push_back(eval_series(plan, rows, "ce_recovered", "Cross entropy recovered, held-out text", "share", 13, false));
  out.artifacts.push_back(curve_series(plan, rows, "gradient_norm", "Norm of the gradient before clipping", "", 7));
  if (!plan.swept.empty() && !last.empty()) {
    Table pareto{"pareto", "Sparsity against what is lost", {{plan.swept, "", "value of the sweep"}, {"dictionary", "", ""}, {"L0", "features", ""}, {"FVU", "", ""}, {"CE recovered", "", ""}, {"dead", "", ""}}, {}};
    Series curve{"pareto_curve", "Sparsity against what is lost", "L0 (features a token)", "FVU", {}};
    std::map<std::string, Series::Line> lines;
    for (const auto& [key, r] : last) {
      const Group& g = plan.groups[key.first];
      const std::string hook = g.members[key.second].config.hook_in;
      std::vector<Cell> row;
      row.emplace_back(g.swept);
      row.emplace_back(member_title(g, key.second));
      for (double v : {r[4], r[5], r[13], r[8]}) row.emplace_back(v);
      pareto.rows.push_back(std::move(row));
      lines[hook].name = hook;
      lines[hook].x.push_back(r[4]);
      lines[hook].y.push_back(r[5]);
    }
    for (auto& [hook, line] : lines) {
      std::vector<std::pair<double, double>> points;
      for (size_t i = 0; i < line.x.size(); ++i) points.emplace_back(line.x[i], line.y[i]);
      std::sort(points.begin(), points.end());
      for (size_t i = 0; i < points.size(); ++i) std::tie(line.x[i], line.y[i]) = points[i];
      curve.lines.push_back(line);
    }
    out.artifacts.push_back(std::move(pareto));
    out.artifacts.push_back(std::move(curve));
  }
  std::erase_if(out.artifacts, [](const Artifact& a) {
    const auto* s = std::get_if<Series>(&a);
    return s && s->lines.empty();
  });
  if (!whole) return out;

  for (size_t g = 0; g < plan.groups.size(); ++g)
    for (size_t m = 0; m < plan.groups[g].members.size(); ++m) {
      Dictionary d;
      d.config = plan.groups[g].members[m].config;
      const std::string prefix = dictionary_prefix(g, m);
      for (const NamedArray& a : items.back())
        if (a.name.compare(0, prefix.size(), prefix) == 0) d.weights[a.name.substr(prefix.size())] = engine::to_tensor(a);
      // Kinds that choose over a batch are kept in the form in which they are used.
      if (d.has("threshold") && d.config.kind != "jumprelu") {
        d.config.kind = "jumprelu";
        d.config.rescale_acts_by_decoder_norm = false;
      }
      const std::string name = plan.groups.size() * plan.groups[g].members.size() == 1 ? "dictionary" : "dictionary_" + std::to_string(g) + (plan.groups[g].members.size() > 1 ? "_" + std::to_string(m) : "");
      out.artifacts.push_back(dictionary_artifact(d, name, "Weights: " + member_title(plan.groups[g], m)));
    }
  for (const auto& [key, r] : last) {
    if (out.findings.size() == 8) break;
    out.findings.push_back("At " + member_title(plan.groups[key.first], key.second) + ", " + engine::short_number(r[4]) + " active features a token explain " + engine::short_number(100 * (1 - r[5])) +
                           " % of the variance and bring back " + engine::short_number(100 * r[13]) + " % of the cross entropy that zeroing costs; " + engine::short_number(100 * r[8]) + " % of the features are dead.");
  }
  if (rows.stopped) out.warnings.push_back("training stopped early: the variance not explained had not fallen by 0.5 % for " + std::to_string(plan.patience) + " checkpoints");
  for (const auto& [key, r] : last)
    if (r[8] > 0.05) out.warnings.push_back(engine::short_number(100 * r[8]) + " % of the features of " + member_title(plan.groups[key.first], key.second) + " are dead: a smaller lr or k, or resample_every, may wake them");
  return out;
}

}  // namespace microtome::training
