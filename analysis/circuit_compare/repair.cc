#include "analysis/circuit_compare/repair.h"

#include <ATen/ATen.h>

#include <map>
#include <set>

#include "analysis/engine/layers.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

int64_t place_of(const AnalysisInput& input, int64_t prompt, const std::string& label) {
  const PromptPair& p = input.dataset.pairs[static_cast<size_t>(prompt)];
  for (const auto& [name, pos] : p.positions)
    if (name == label && pos >= 0 && pos < static_cast<int64_t>(p.clean_ids.size())) return pos;
  return -1;
}

}  // namespace

RepairResult repair(const AnalysisInput& input, const PromptGroup& group, const std::string& metric_name,
                    const std::vector<std::pair<int64_t, int64_t>>& heads, const std::string& attend_to, const std::vector<std::string>& places) {
  at::NoGradGuard no_grad;
  const Model& model = input.model;
  Metric metric(metric_name, input, group);
  const int64_t prompts = group.clean.size(0), length = group.length, n = static_cast<int64_t>(heads.size());
  std::set<int64_t> layers;
  for (const auto& [l, h] : heads) layers.insert(l);

  auto name = [&](int64_t l) { return block_point(l, "attn.hook_pattern"); };
  HookPlan look;
  look.form = input.form;
  look.logit_positions = std::vector<int64_t>{-1};
  for (int64_t l : layers) look.capture(name(l));
  ForwardResult clean = model.forward(group.clean, look);
  RepairResult out;
  out.looks = at::full({n, prompts, static_cast<int64_t>(places.size())}, std::nan(""), at::kDouble);
  for (int64_t i = 0; i < n; ++i) {
    const auto [l, h] = heads[static_cast<size_t>(i)];
    at::Tensor mass = attention_mass(clean.cache.get(name(l)), model.mixer_info(l).recurrent, length).select(1, h).select(1, length - 1).to(at::kCPU, at::kDouble);
    for (int64_t p = 0; p < prompts; ++p)
      for (size_t k = 0; k < places.size(); ++k)
        if (int64_t at_ = place_of(input, group.prompts[static_cast<size_t>(p)], places[k]); at_ >= 0)
          out.looks[i][p][static_cast<int64_t>(k)].copy_(mass[p][at_]);
  }
  // What a head's pattern becomes: its clean one, or all of the last token's weight on the labelled position.
  std::vector<int64_t> target;
  if (!attend_to.empty())
    for (int64_t p : group.prompts) {
      target.push_back(place_of(input, p, attend_to));
      if (target.back() < 0)
        throw Error(StatusCode::kBadInput, "prompt " + std::to_string(p + 1) + " has no position labelled '" + attend_to + "'", "attend_to", "use a label that every prompt has");
    }
  auto run = [&](const std::vector<int64_t>& changed) {
    HookPlan plan;
    plan.form = input.form;
    plan.logit_positions = std::vector<int64_t>{-1};
    std::map<int64_t, std::vector<int64_t>> by_layer;
    for (int64_t i : changed) by_layer[heads[static_cast<size_t>(i)].first].push_back(heads[static_cast<size_t>(i)].second);
    for (const auto& [l, which] : by_layer) {
      at::Tensor kept = clean.cache.get(name(l));
      plan.edit(name(l), [&, kept, which = which](const at::Tensor& v, int64_t) {
        at::Tensor y = v.clone();
        for (int64_t h : which) {
          if (attend_to.empty()) {
            y.select(1, h).copy_(kept.select(1, h));
            continue;
          }
          at::Tensor row = y.select(1, h).select(1, length - 1);          // [prompt, key]
          // The row keeps its sum: 1 under softmax, whatever it is in a recurrent layer.
          at::Tensor sum = row.sum(-1);
          row.fill_(0);
          for (int64_t p = 0; p < prompts; ++p) row[p][target[static_cast<size_t>(p)] * (row.size(1) / length)].copy_(sum[p]);
        }
        return y;
      });
    }
    at::Tensor logits = model.forward(attend_to.empty() ? group.corrupted : group.clean, plan).logits.select(1, 0);
    return std::make_pair(metric.last(logits).to(at::kCPU, at::kDouble), answered_right(input, group, logits));
  };
  std::vector<std::vector<int64_t>> settings{{}};
  std::vector<int64_t> all;
  for (int64_t i = 0; i < n; ++i) {
    settings.push_back({i});
    all.push_back(i);
  }
  settings.push_back(all);
  std::vector<at::Tensor> metrics, rights;
  for (const auto& s : settings) {
    auto [m, r] = run(s);
    metrics.push_back(m);
    rights.push_back(r);
  }
  out.metric = at::stack(metrics);
  out.right = at::stack(rights);
  return out;
}

}  // namespace microtome::analyses
