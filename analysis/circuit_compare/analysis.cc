// circuit_compare — what two circuits share, and whether what one lacks can be repaired, arXiv 2310.08744; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/circuit/attribution.h"
#include "analysis/circuit/scores.h"
#include "analysis/circuit_compare/repair.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/registry.h"
#include "core/base/circuit_ops.h"
#include "core/io/circuit_file.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;
using namespace microtome::circuit;

const AnalysisInfo kInfo = {
    "circuit_compare", 1, "Two circuits compared",
    "Overlap of two circuits' heads and edges (Jaccard, share reused), what each head looks at, and the repair experiment: the "
    "other circuit's heads are made to look where they should, and the answers are counted again.",
    "arXiv 2310.08744", AnalysisInfo::Prompts::kPairs,
    {{"accuracy", {"setting"}, "share of right answers: unchanged, with each head's pattern set, with all"},
     {"metric", {"setting"}, "the metric of the same runs"},
     {"looks_at", {"head", "place"}, "weight of the last token's attention at each labelled position, clean prompts"}}};

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input), graph_((require_prompts(input, kInfo, true), input.model)), metric_(metric_name(input, input.params.get_string("metric"))) {
    for (const char* side : {"circuit", "other"})
      if (const std::string file = input.params.get_string(side); !file.empty()) (std::string(side) == "circuit" ? a_ : b_) = read_circuit_file(file).value();
    from_file_ = {!a_.edges.empty(), !b_.edges.empty()};
    groups_ = group_prompts(input, true, kPromptsAnItem);
    std::set<std::string> labels;
    for (const PromptPair& p : input.dataset.pairs)
      for (const auto& [name, pos] : p.positions) labels.insert(name);
    places_.assign(labels.begin(), labels.end());
    if (places_.size() > 16) places_.resize(16);
  }

  void set_batch(int64_t rows) override { rows_ = rows; }
  // Scores of each group, then the repair on each group.
  int64_t item_count() const override { return 2 * static_cast<int64_t>(groups_.size()); }
  std::string item_title(int64_t i) const override { return i < static_cast<int64_t>(groups_.size()) ? "scores of edges" : "repair"; }
  void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) override {
    if (item >= static_cast<int64_t>(groups_.size())) find_circuits(so_far);
  }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    const int64_t n = static_cast<int64_t>(groups_.size());
    const PromptGroup& g = groups_[static_cast<size_t>(item % n)];
    progress.step(0, 2, item_title(item));
    if (item >= n) {
      RepairResult r = repair(input_, g, metric_, heads_, input_.params.get_string("attend_to"), places_);
      return {to_array("metric", {"setting", "prompt"}, r.metric), to_array("right", {"setting", "prompt"}, r.right), to_array("looks", {"head", "prompt", "place"}, r.looks)};
    }
    std::vector<NamedArray> out;
    for (int side = 0; side < 2; ++side) {
      if (from_file_[static_cast<size_t>(side)]) continue;
      Attribution how;
      if (side == 0) how.gradient = Attribution::Gradient::kInputs;
      at::Tensor scores = attribute_prompts(graph_, input_, g, metric_, how, false, rows_, [&](double) { progress.step(side, 2, item_title(item)); }).edges;
      out.push_back(to_array(side == 0 ? "circuit" : "other", {"source", "destination"}, scores.to(at::kDouble).sum(0)));
    }
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    find_circuits(items);
    AnalysisResult out;
    CircuitOverlap o = compare_circuits(a_, b_);
    auto share = [](const Overlap& x) { return x.b ? static_cast<double>(x.both) / static_cast<double>(x.b) : std::nan(""); };
    out.summary = {plain_number("jaccard_heads", o.heads.jaccard(), "", "heads in both / heads in either"), plain_number("jaccard_edges", o.edges.jaccard(), "", "edges in both / edges in either"),
                   plain_number("reused_heads", share(o.heads), "", "share of the other circuit's heads that this one has"), plain_number("reused_edges", share(o.edges), "", "share of the other circuit's edges that this one has")};
    for (SummaryItem& s : out.summary) s.value = std::isnan(s.value) ? 0 : s.value;
    const int64_t settings = static_cast<int64_t>(heads_.size()) + 2, prompts = static_cast<int64_t>(input_.dataset.pairs.size()), n = static_cast<int64_t>(groups_.size());
    at::Tensor metric = at::empty({settings, prompts}, at::kDouble), right = at::empty_like(metric), looks = at::full({static_cast<int64_t>(heads_.size()), prompts, static_cast<int64_t>(places_.size())}, NAN, at::kDouble);
    for (int64_t g = 0; g < n; ++g) {
      const auto& item = items[static_cast<size_t>(n + g)];
      at::Tensor columns = at::tensor(groups_[static_cast<size_t>(g)].prompts, at::kLong);
      metric.index_copy_(1, columns, to_tensor(find_array(item, "metric")));
      right.index_copy_(1, columns, to_tensor(find_array(item, "right")));
      if (looks.numel()) looks.index_copy_(1, columns, to_tensor(find_array(item, "looks")));
    }
    std::vector<std::string> labels{"unchanged"};
    for (const auto& [l, h] : heads_) labels.push_back("a" + std::to_string(l) + ".h" + std::to_string(h));
    labels.push_back("all");
    auto list = [](const at::Tensor& t) { at::Tensor c = t.contiguous(); return std::vector<double>(c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()); };
    out.summary.push_back(summarise("accuracy_before", list(right[0]), "", "share of right answers, unchanged", input_.seed));
    out.summary.push_back(summarise("accuracy_after", list(right[settings - 1]), "", "with the heads' patterns set", input_.seed));
    TensorMap map{"repair", "The repair experiment", {}, {{"setting", labels}}, {}};
    map.arrays.push_back(to_array("accuracy", {"setting"}, right.mean(1), "", "share of prompts whose answer is above every wrong one"));
    map.arrays.push_back(to_array("metric", {"setting"}, metric.mean(1), Metric::unit(metric_), metric_ + ", mean over prompts"));
    out.artifacts.push_back(std::move(map));
    out.artifacts.push_back(role_table());
    if (!places_.empty() && !heads_.empty()) {
      TensorMap at_places{"looks_at", "Where the heads look from the last token", {}, {{"head", {labels.begin() + 1, labels.end() - 1}}, {"place", places_}}, {{"looks_at", "sequential"}}};
      at_places.arrays.push_back(to_array("looks_at", {"head", "place"}, nan_mean(looks, 1), "", "attention weight at the labelled position, mean over prompts"));
      out.artifacts.push_back(std::move(at_places));
    }
    for (auto [c, name, title] : {std::tuple{&a_, "circuit", "This circuit"}, {&b_, "other", "The other circuit"}}) {
      Circuit named = *c;
      named.name = name;
      named.title = title;
      out.artifacts.push_back(std::move(named));
    }
    out.findings.push_back("The circuits share " + std::to_string(o.heads.both) + " heads (" + std::to_string(o.heads.a) + " and " + std::to_string(o.heads.b) + ") and " + std::to_string(o.edges.both) + " edges (" +
                           std::to_string(o.edges.a) + " and " + std::to_string(o.edges.b) + ").");
    if (!heads_.empty())
      out.findings.push_back("Setting the pattern of " + std::to_string(heads_.size()) + " heads takes the right answers from " + short_number(100 * right[0].mean().item<double>()) + " % to " +
                             short_number(100 * right[settings - 1].mean().item<double>()) + " %.");
    if (!graph_.note().empty()) out.warnings.push_back(graph_.note() + ".");
    return out;
  }

 private:
  void find_circuits(const std::vector<std::vector<NamedArray>>& items) {
    for (int side = 0; side < 2; ++side) {
      if (from_file_[static_cast<size_t>(side)]) continue;
      at::Tensor sum;
      for (size_t g = 0; g < groups_.size(); ++g) {
        at::Tensor one = to_tensor(find_array(items[g], side == 0 ? "circuit" : "other"));
        sum = sum.defined() ? sum + one : one;
      }
      sum = sum / static_cast<double>(input_.dataset.pairs.size());
      at::Tensor inside = without_dead_ends(graph_, best_edges(graph_, sum, edges_of_share(graph_, input_.params.get_float("share")), true));
      (side == 0 ? a_ : b_) = graph_.to_circuit(side == 0 ? "circuit" : "other", side == 0 ? "By EAP-IG" : "By EAP", sum, inside);
    }
    heads_ = chosen_heads();
  }

  // Heads that this model has with a pattern of its own.
  bool has_pattern(int64_t layer, int64_t head) const {
    if (layer < 0 || layer >= layer_count(input_.model) || !has_point(input_.model, layer, "attn.hook_pattern")) return false;
    const HookPoint* p = input_.model.catalogue().find(block_point(layer, "attn.hook_pattern"));
    return p->sizes.at(1) == input_.model.mixer_info(layer).heads && head < input_.model.mixer_info(layer).heads;
  }

  std::vector<std::pair<int64_t, int64_t>> chosen_heads() const {
    std::vector<std::pair<int64_t, int64_t>> out;
    const std::string given = input_.params.get_string("heads");
    if (!given.empty()) {
      for (size_t from = 0; from <= given.size();) {
        size_t comma = std::min(given.find(',', from), given.size());
        const std::string name = given.substr(from, comma - from);
        CircuitPlace place = circuit_place(name);
        if (place.kind != CircuitPlace::Kind::kHead || !has_pattern(place.layer, place.head))
          throw Error(StatusCode::kBadInput, "'" + name + "' is no head of this model that has a pattern", "heads", "write heads as a1.h0,a3.h2");
        out.push_back({place.layer, place.head});
        from = comma + 1;
      }
      return out;
    }
    std::vector<std::pair<double, std::pair<int64_t, int64_t>>> ranked;
    for (const auto& [name, strength] : strengths(b_)) {
      CircuitPlace place = circuit_place(name);
      if (place.kind == CircuitPlace::Kind::kHead && has_pattern(place.layer, place.head)) ranked.push_back({-strength, {place.layer, place.head}});
    }
    std::stable_sort(ranked.begin(), ranked.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
    for (size_t i = 0; i < std::min<size_t>(4, ranked.size()); ++i) out.push_back(ranked[i].second);
    return out;
  }

  // Sum of |score| over the edges inside that touch a node.
  static std::map<std::string, double> strengths(const Circuit& c) {
    std::map<std::string, double> out;
    CircuitIndex index(c);
    for (size_t e = 0; e < c.edges.size(); ++e) {
      if (!index.belongs[e]) continue;
      const double s = std::isfinite(c.edges[e].score) ? std::fabs(c.edges[e].score) : 0;
      out[std::string(index.names[static_cast<size_t>(index.from[e])])] += s;
      out[std::string(index.names[static_cast<size_t>(index.to[e])])] += s;
    }
    return out;
  }

  Table role_table() const {
    Table t{"roles", "Heads of the two circuits", {{"head", "", ""}, {"kind", "", "softmax or recurrent, in this model"}, {"in_circuit", "", ""}, {"in_other", "", ""}, {"strength", "", "sum of |score| of its edges in this circuit"}, {"strength_other", "", "the same in the other"}}, {}};
    std::map<std::string, double> a = strengths(a_), b = strengths(b_);
    std::set<std::string> names;
    for (const auto* m : {&a, &b})
      for (const auto& [name, s] : *m)
        if (circuit_place(name).kind == CircuitPlace::Kind::kHead) names.insert(name);
    for (const std::string& name : names) {
      CircuitPlace place = circuit_place(name);
      const bool known = place.layer < layer_count(input_.model);
      t.rows.push_back({name, known ? Cell{std::string(input_.model.mixer_info(place.layer).recurrent ? "recurrent" : "softmax")} : Cell{}, std::string(a.count(name) ? "yes" : "no"), std::string(b.count(name) ? "yes" : "no"),
                        a.count(name) ? Cell{a[name]} : Cell{}, b.count(name) ? Cell{b[name]} : Cell{}});
    }
    return t;
  }

  AnalysisInput input_;
  Graph graph_;
  std::string metric_;
  Circuit a_, b_;
  std::vector<bool> from_file_;
  int64_t rows_ = 0;
  std::vector<PromptGroup> groups_;
  std::vector<std::string> places_;
  std::vector<std::pair<int64_t, int64_t>> heads_;
};

}  // namespace

void register_circuit_compare(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
