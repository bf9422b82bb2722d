// acdc — automatic circuit discovery, arXiv 2304.14997; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/circuit/circuits_data.h"
#include "analysis/circuit/scores.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;
using namespace microtome::circuit;

const AnalysisInfo kInfo = {
    "acdc", 1, "Automatic circuit discovery",
    "From the logits downwards, each edge is cut (it carries its corrupted value) when that raises the distance from the whole "
    "model by less than a threshold; what remains is the circuit.",
    "arXiv 2304.14997", AnalysisInfo::Prompts::kPairs,
    {{"edge_scores", {"source", "destination"}, "how much cutting the edge raised the distance when it was tried; 0 for edges into nodes that lead nowhere"},
     {"inside", {"source", "destination"}, "1 for edges that were kept"}}};

// Inputs that are searched as one item: all of a layer's mixer, an MLP, the logits. From the top.
struct Block {
  std::vector<int64_t> inputs;         // in the order of the search
  int64_t layer = 0;
  std::string name;
};

std::vector<Block> blocks_of(const Graph& graph) {
  std::vector<Block> out;
  for (auto r = graph.readers().rbegin(); r != graph.readers().rend(); ++r) {
    const Input& first = graph.inputs()[static_cast<size_t>(r->first)];
    const bool mixer = first.kind == NodeKind::kHead || first.kind == NodeKind::kMixer;
    const std::string name = first.kind == NodeKind::kLogits ? "logits" : (mixer ? "a" : "m") + std::to_string(r->layer);
    if (out.empty() || out.back().name != name) out.push_back({{}, r->layer, name});
    for (int64_t i = r->count - 1; i >= 0; --i) out.back().inputs.push_back(r->first + i);
  }
  return out;
}

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input)
      : input_(input), graph_((require_prompts(input, kInfo, input.params.get_string("metric") != "kl"), input.model)), metric_(metric_name(input, input.params.get_string("metric"))),
        data_(input_, graph_, metric_, parse_outside(input.params.get_string("outside")), input.params.get_int("batch_size")), blocks_(blocks_of(graph_)) {}

  void set_batch(int64_t rows) override { data_.set_batch(rows); }
  // The last item measures what was found.
  int64_t item_count() const override { return static_cast<int64_t>(blocks_.size()) + 1; }
  std::string item_title(int64_t i) const override { return i < static_cast<int64_t>(blocks_.size()) ? "edges into " + blocks_[static_cast<size_t>(i)].name : "the circuit found"; }

  void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) override {
    inside_ = graph_.possible();
    for (int64_t b = 0; b < item; ++b) {
      at::Tensor kept = to_tensor(find_array(so_far[static_cast<size_t>(b)], "kept")).to(at::kBool);
      const Block& block = blocks_[static_cast<size_t>(b)];
      for (size_t i = 0; i < block.inputs.size(); ++i) inside_.select(1, block.inputs[i]).copy_(kept.select(1, static_cast<int64_t>(i)));
    }
    now_ = item == 0 ? 0 : find_array(so_far[static_cast<size_t>(item - 1)], "distance").at(0);
  }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    if (item == static_cast<int64_t>(blocks_.size())) return measure(progress);
    const Block& block = blocks_[static_cast<size_t>(item)];
    const int64_t columns = static_cast<int64_t>(block.inputs.size());
    at::Tensor scores = at::zeros({graph_.source_count(), columns}, at::kDouble);
    int64_t tests = 0, rows = 0;
    for (int64_t i = 0; i < columns; ++i) {
      progress.step(i, columns, item_title(item));
      search(block.inputs[static_cast<size_t>(i)], std::min(block.layer, layer_count(input_.model)), scores.select(1, i), tests, rows, progress, i, columns, item);
    }
    progress.step(columns, columns, item_title(item));
    at::Tensor kept = at::zeros({graph_.source_count(), columns}, at::kLong);
    for (int64_t i = 0; i < columns; ++i) kept.select(1, i).copy_(inside_.select(1, block.inputs[static_cast<size_t>(i)]));
    return {to_array("kept", {"source", "destination"}, kept), to_array("scores", {"source", "destination"}, scores),
            to_array("distance", {"one"}, at::full({1}, now_, at::kDouble)), to_array("tests", {"kind"}, at::tensor({tests, rows}, at::kLong))};
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    at::Tensor scores = at::zeros({graph_.source_count(), graph_.input_count()}, at::kDouble), inside = at::zeros_like(scores, at::kBool);
    Series path{"distance", "Distance from the whole model while edges are cut", "edges left", metric_ == "kl" ? "KL (nats)" : "distance (" + Metric::unit(metric_) + ")", {{"distance", {}, {}}}};
    int64_t tests = 0, rows = 0, left = graph_.edge_count();
    for (size_t b = 0; b < blocks_.size(); ++b) {
      at::Tensor kept = to_tensor(find_array(items[b], "kept")).to(at::kBool), s = to_tensor(find_array(items[b], "scores"));
      for (size_t i = 0; i < blocks_[b].inputs.size(); ++i) {
        const int64_t in = blocks_[b].inputs[i];
        scores.select(1, in).copy_(s.select(1, static_cast<int64_t>(i)));
        inside.select(1, in).copy_(kept.select(1, static_cast<int64_t>(i)));
        left -= graph_.inputs()[static_cast<size_t>(in)].sources;
      }
      left += kept.sum().item<int64_t>();
      path.lines[0].x.push_back(static_cast<double>(left));
      path.lines[0].y.push_back(find_array(items[b], "distance").at(0));
      tests += find_array(items[b], "tests").size() ? static_cast<int64_t>(find_array(items[b], "tests").at(0)) : 0;
      rows += static_cast<int64_t>(find_array(items[b], "tests").at(1));
    }
    at::Tensor pruned = without_dead_ends(graph_, inside), values = to_tensor(find_array(items.back(), "values"));
    AnalysisResult out;
    const std::string unit = Metric::unit(metric_);
    auto line = [&](const std::string& name, int64_t row, const std::string& help) {
      at::Tensor v = values[row].contiguous();
      out.summary.push_back(summarise(name, {v.const_data_ptr<double>(), v.const_data_ptr<double>() + v.numel()}, unit, help, input_.seed));
    };
    line("whole_" + metric_, 0, "metric of the whole model");
    line("empty_" + metric_, 1, "metric with every edge cut");
    line("circuit_" + metric_, 2, "metric of the circuit");
    const int64_t kept = pruned.sum().item<int64_t>();
    out.summary.push_back(plain_number("circuit_edges", static_cast<double>(kept), "", "edges kept, without dead ends"));
    out.summary.push_back(plain_number("edges", static_cast<double>(graph_.edge_count()), "", "edges of the model's graph"));
    out.summary.push_back(plain_number("tests", static_cast<double>(tests), "", "edges that were tried; the others lead to nodes that lead nowhere"));
    out.summary.push_back(plain_number("runs", static_cast<double>(rows), "", "circuits that were run for it"));
    TensorMap map{"edge_scores", "What cutting each edge did", {}, {{"source", graph_.source_names()}, {"destination", graph_.input_names()}}, {{"edge_scores", "diverging"}, {"inside", "sequential"}}};
    map.arrays.push_back(to_array("edge_scores", {"source", "destination"}, scores.to(at::kFloat), unit, "rise of the distance when the edge was cut, the circuit being what was left then"));
    map.arrays.push_back(to_array("inside", {"source", "destination"}, inside.to(at::kFloat), "", "1: kept"));
    out.artifacts.push_back(std::move(map));
    // An edge whose cut helped is worth no more than one whose cut did nothing, though circuits rank by size.
    out.artifacts.push_back(graph_.to_circuit("circuit", "Circuit found with threshold " + short_number(input_.params.get_float("threshold")), scores.clamp_min(0), pruned));
    out.artifacts.push_back(edge_table(graph_, scores, pruned, unit, "rise of the distance when it was tried"));
    out.artifacts.push_back(std::move(path));
    const double span = (values[0].mean() - values[1].mean()).item<double>();
    std::string share = std::fabs(span) > 1e-9 ? ", which brings back " + short_number(100 * (values[2].mean() - values[1].mean()).item<double>() / span) + " % of the whole model's " + metric_ : "";
    out.findings.push_back(std::to_string(kept) + " of " + std::to_string(graph_.edge_count()) + " edges are kept" + share + ".");
    if (!graph_.note().empty()) out.warnings.push_back(graph_.note() + ".");
    return out;
  }

 private:
  std::vector<NamedArray> measure(Progress& progress) {
    progress.step(0, 1, "the circuit found");
    at::Tensor all = graph_.possible();
    return {to_array("values", {"run", "prompt"}, data_.run(at::stack({all, at::zeros_like(all), inside_}), 0))};
  }

  double threshold() {
    const double given = input_.params.get_float("threshold");
    if (input_.params.get_string("threshold_of") == "distance") return given;
    if (std::isnan(span_)) span_ = data_.distance(at::zeros_like(graph_.possible()).unsqueeze(0), 0)[0].item<double>();
    return given * span_;
  }

  bool leads_somewhere(int64_t node) const {
    if (node < 0) return true;
    // Blocks above are finished, so an edge that leaves the node leads on.
    return inside_[node].any().item<bool>();
  }

  // One input's sources. Cuts are guessed ahead: run j has the first j + 1 of them cut; the first run whose rise is too
  // large ends the guess, its edge stays, and the search goes on behind it. So the answer is that of one test after the other.
  void search(int64_t in, int64_t layer, at::Tensor scores, int64_t& tests, int64_t& rows, Progress& progress, int64_t step, int64_t steps, int64_t item) {
    const Input& to = graph_.inputs()[static_cast<size_t>(in)];
    if (!leads_somewhere(to.node)) {
      inside_.select(1, in).fill_(false);
      return;
    }
    std::vector<int64_t> todo;
    for (int64_t k = 0; k < to.sources; ++k) todo.push_back(k);
    if (input_.params.get_string("order") == "late_first") std::reverse(todo.begin(), todo.end());
    const double threshold = this->threshold();
    if (input_.params.get_string("tests") == "grouped") {
      search_groups(in, layer, todo, threshold, scores, tests, rows, progress);
      return;
    }
    const int64_t most = input_.params.get_int("guess") > 0 ? input_.params.get_int("guess") : std::min<int64_t>(256, data_.circuits_at_once(layer));
    int64_t ahead = std::min<int64_t>(most, 8);
    for (size_t next = 0; next < todo.size();) {
      const int64_t count = std::min<int64_t>(ahead, static_cast<int64_t>(todo.size() - next));
      at::Tensor tried = inside_.unsqueeze(0).repeat({count, 1, 1});
      for (int64_t j = 0; j < count; ++j) tried.narrow(0, j, count - j).select(2, in).select(1, todo[next + static_cast<size_t>(j)]).fill_(false);
      at::Tensor distance = data_.distance(tried, layer);
      rows += count;
      bool all = true;
      for (int64_t j = 0; j < count; ++j) {
        const int64_t k = todo[next++];
        ++tests;
        const double rise = distance[j].item<double>() - now_;
        scores[k].fill_(rise);
        if (rise < threshold) {
          inside_[k][in].fill_(false);
          now_ = distance[j].item<double>();
          continue;
        }
        all = false;
        break;
      }
      ahead = all ? std::min(most, ahead * 2) : std::max<int64_t>(1, ahead / 2);
      progress.step(step, steps, item_title(item));
    }
  }

  // The sources in order, halved until what is left of them can be cut together or is one edge.
  void search_groups(int64_t in, int64_t layer, const std::vector<int64_t>& todo, double threshold, at::Tensor& scores, int64_t& tests, int64_t& rows, Progress& progress) {
    std::vector<std::pair<size_t, size_t>> left;       // [from, to), the next last
    if (!todo.empty()) left.emplace_back(0, todo.size());
    while (!left.empty()) {
      const auto [from, to] = left.back();
      left.pop_back();
      at::Tensor tried = inside_.clone();
      for (size_t k = from; k < to; ++k) tried[todo[k]][in].fill_(false);
      const double distance = data_.distance(tried.unsqueeze(0), layer)[0].item<double>(), rise = distance - now_;
      ++rows;
      ++tests;
      progress.check();
      const int64_t count = static_cast<int64_t>(to - from);
      if (count > 1 && rise >= threshold) {
        left.emplace_back(from + (to - from) / 2, to);
        left.emplace_back(from, from + (to - from) / 2);
        continue;
      }
      for (size_t k = from; k < to; ++k) scores[todo[k]].fill_(rise / static_cast<double>(count));
      if (rise >= threshold) continue;
      inside_.copy_(tried);
      now_ = distance;
    }
  }

  AnalysisInput input_;
  Graph graph_;
  std::string metric_;
  CircuitPrompts data_;
  std::vector<Block> blocks_;
  at::Tensor inside_;
  double now_ = 0, span_ = NAN;         // distance of what is left, of nothing
};

}  // namespace

void register_acdc(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
