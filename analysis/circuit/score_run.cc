#include "analysis/circuit/score_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"

namespace microtome::circuit {
namespace {

using namespace microtome::engine;

constexpr int64_t kLongestStateEdges = 512;

class ScoreRun : public AnalysisRun {
 public:
  ScoreRun(const AnalysisInput& input, const AnalysisInfo& info, Attribution how)
      : input_(input), info_(info), how_(how), graph_((require_prompts(input, info, true), input.model)) {
    metric_ = metric_name(input, input.params.get_string("metric"));
    if (metric_ == "loss")
      throw Error(StatusCode::kBadInput, "the metric 'loss' reads every position, edges are scored at the last one", info.name,
                  "choose logit_diff, answer_logprob, kl or greater_than");
    if (metric_ == "kl" && how.gradient == Attribution::Gradient::kClean)
      throw Error(StatusCode::kBadInput, "the gradient of 'kl' is 0 on the clean run, which it is measured from", info.name,
                  "use eap_ig, or another metric");
    how_.neurons = input.params.get_bool("neurons");
    how_.positions = input.params.get_string("positions") == "kept";
    int64_t longest = 1;
    for (const PromptPair& p : input.dataset.pairs) longest = std::max(longest, static_cast<int64_t>(p.clean_ids.size()));
    state_edges_ = longest <= kLongestStateEdges;
    groups_ = group_prompts(input, true, kPromptsAnItem);
    prompts_ = static_cast<int64_t>(input.dataset.pairs.size());
    resamples_ = prompts_ > 1 ? input.params.get_int("resamples") : 0;
    if (resamples_ > 0) weights_ = bootstrap_weights(resamples_, prompts_, input.seed);
  }

  void set_batch(int64_t rows) override { rows_ = rows; }
  int64_t item_count() const override { return static_cast<int64_t>(groups_.size()); }
  std::string item_title(int64_t i) const override {
    const PromptGroup& g = groups_[static_cast<size_t>(i)];
    return std::to_string(g.prompts.size()) + " prompts of " + std::to_string(g.length) + " tokens";
  }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    const PromptGroup& g = groups_[static_cast<size_t>(item)];
    progress.step(0, 100, item_title(item));
    GroupScores s = attribute_prompts(graph_, input_, g, metric_, how_, state_edges_, rows_,
                                      [&](double share) { progress.step(static_cast<int64_t>(share * 99), 100, item_title(item)); });
    at::NoGradGuard no_grad;
    std::vector<std::string> edge{"source", "destination"};
    at::Tensor d = s.edges.to(at::kDouble);
    if (const int64_t bad = at::isfinite(d).logical_not().sum().item<int64_t>(); bad > 0)
      throw Error(StatusCode::kFailed, std::to_string(bad) + " of " + std::to_string(d.numel()) + " edge scores are not numbers: the gradient overflows", item_title(item),
                  "run in float32 or float64, or with another metric");
    std::vector<NamedArray> out = {to_array("sum", edge, d.sum(0)), to_array("square", edge, d.square().sum(0)),
                                   to_array("clean", {"prompt"}, s.clean.to(at::kCPU, at::kDouble)),
                                   to_array("corrupted", {"prompt"}, s.corrupted.to(at::kCPU, at::kDouble))};
    if (resamples_ > 0) {
      at::Tensor w = weights_.index_select(1, at::tensor(g.prompts, at::kLong)).to(s.edges.device(), s.edges.scalar_type());
      out.push_back(to_array("resampled", {"resample", "source", "destination"}, at::tensordot(w, s.edges, {1}, {0})));
    }
    if (s.steps.defined()) out.push_back(to_array("steps", {"prompt", "step"}, s.steps.to(at::kCPU, at::kDouble)));
    if (how_.positions) out.push_back(to_array("by_position", {"source", "destination", "pos"}, s.by_position));
    if (how_.neurons) out.push_back(to_array("neurons", {"layer", "neuron"}, s.neurons.sum(0)));
    for (size_t i = 0; i < s.state_edges.size(); ++i)
      out.push_back(to_array("state_edges." + std::to_string(i), {"head", "q_pos", "k_pos"}, s.state_edges[i]));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    AnalysisResult out;
    const double n = static_cast<double>(prompts_);
    at::Tensor sum = added(items, "sum"), square = added(items, "square");
    at::Tensor mean = sum / n, possible = graph_.possible();
    // Of a mean over n prompts.
    at::Tensor error = prompts_ > 1 ? ((square / n - mean.square()).clamp_min(0) / (n - 1)).sqrt() : at::full_like(mean, NAN);
    std::vector<double> clean(static_cast<size_t>(prompts_)), corrupted = clean;
    for (size_t i = 0; i < items.size(); ++i)
      for (size_t p = 0; p < groups_[i].prompts.size(); ++p) {
        clean[static_cast<size_t>(groups_[i].prompts[p])] = find_array(items[i], "clean").at(static_cast<int64_t>(p));
        corrupted[static_cast<size_t>(groups_[i].prompts[p])] = find_array(items[i], "corrupted").at(static_cast<int64_t>(p));
      }
    const std::string unit = Metric::unit(metric_);
    out.summary = {summarise("clean_" + metric_, clean, unit, "metric of the clean run", input_.seed),
                   summarise("corrupted_" + metric_, corrupted, unit, "metric of the corrupted run", input_.seed)};

    const double share = input_.params.get_float("share");
    const bool by_size = input_.params.get_string("rank") == "size";
    const int64_t count = edges_of_share(graph_, share);
    at::Tensor chosen = best_edges(graph_, mean, count, by_size), inside = without_dead_ends(graph_, chosen);
    const int64_t kept = inside.sum().item<int64_t>();
    std::vector<bool> nodes = nodes_inside(graph_, inside);
    out.summary.push_back(plain_number("edges", static_cast<double>(graph_.edge_count()), "", "edges of the model's graph"));
    out.summary.push_back(plain_number("circuit_edges", static_cast<double>(kept), "", "edges of the circuit: the best " + short_number(share) + " %, without dead ends"));
    out.summary.push_back(plain_number("circuit_nodes", static_cast<double>(std::count(nodes.begin(), nodes.end(), true)), "", "nodes of the circuit"));

    at::Tensor frequency;
    if (resamples_ > 0) {
      at::Tensor all = added(items, "resampled");
      frequency = at::zeros_like(mean);
      double jaccard = 0;
      for (int64_t r = 0; r < resamples_; ++r) {
        at::Tensor one = best_edges(graph_, all[r], count, by_size);
        frequency += one.to(at::kDouble);
        jaccard += one.logical_and(chosen).sum().item<double>() / one.logical_or(chosen).sum().item<double>();
      }
      frequency /= static_cast<double>(resamples_);
      out.summary.push_back(plain_number("stability", jaccard / static_cast<double>(resamples_), "",
                                         "mean overlap (Jaccard) of the best edges with those chosen from bootstrap resamples of the prompts"));
    }
    TensorMap map{"edge_scores", "Edge scores", {}, {{"source", graph_.source_names()}, {"destination", graph_.input_names()}}, {}};
    const std::vector<std::string> axes{"source", "destination"};
    map.arrays.push_back(to_array("edge_scores", axes, mean.masked_fill(possible.logical_not(), 0).to(at::kFloat), unit,
                                  "(corrupted - clean) of the source times the gradient of " + metric_ + " at the destination, mean over prompts; 0 where there is no edge"));
    map.arrays.push_back(to_array("standard_error", axes, error.masked_fill(possible.logical_not(), NAN).to(at::kFloat), unit, "of the mean over prompts"));
    map.looks = {{"edge_scores", "diverging"}, {"standard_error", "sequential"}};
    if (frequency.defined()) {
      map.arrays.push_back(to_array("frequency", axes, frequency.masked_fill(possible.logical_not(), NAN).to(at::kFloat), "", "share of bootstrap resamples of the prompts in which the edge is among the best"));
      map.looks["frequency"] = "sequential";
    }
    out.artifacts.push_back(std::move(map));
    out.artifacts.push_back(graph_.to_circuit("circuit", "Circuit: the best " + short_number(share) + " % of edges by " + info_.name, mean, inside));
    out.artifacts.push_back(top_table(mean, error, frequency, unit));
    add_extras(out, items, unit);
    add_findings(out, mean, inside, kept, nodes, frequency);
    if (!graph_.note().empty()) out.warnings.push_back(graph_.note() + ".");
    return out;
  }

 private:
  static at::Tensor added(const std::vector<std::vector<NamedArray>>& items, const std::string& name) {
    at::Tensor out;
    for (const auto& item : items) {
      at::Tensor one = to_tensor(find_array(item, name)).to(at::kDouble);
      out = out.defined() ? out + one : one;
    }
    return out;
  }

  std::vector<int64_t> order_by_size(const at::Tensor& mean, int64_t count) const {
    at::Tensor size = mean.abs().masked_fill(graph_.possible().logical_not(), -1).flatten();
    at::Tensor order = std::get<1>(size.sort(/*stable=*/true, -1, /*descending=*/true));
    std::vector<int64_t> out;
    for (int64_t i = 0; i < std::min(count, graph_.edge_count()); ++i) out.push_back(order[i].item<int64_t>());
    return out;
  }

  Table top_table(const at::Tensor& mean, const at::Tensor& error, const at::Tensor& frequency, const std::string& unit) const {
    Table t{"top_edges", "The edges with the largest scores",
            {{"from", "", "source"}, {"to", "", "destination"}, {"score", unit, "below 0: corrupting the edge lowers the metric"},
             {"low", unit, "95 % interval over prompts"}, {"high", unit, ""}, {"frequency", "", "share of resamples that choose the edge"}}, {}};
    const int64_t n = graph_.input_count();
    for (int64_t e : order_by_size(mean, 20)) {
      double m = mean.flatten()[e].item<double>(), se = error.flatten()[e].item<double>();
      t.rows.push_back({graph_.sources()[static_cast<size_t>(e / n)].name, graph_.inputs()[static_cast<size_t>(e % n)].name, m,
                        std::isnan(se) ? Cell{} : Cell{m - 1.96 * se}, std::isnan(se) ? Cell{} : Cell{m + 1.96 * se},
                        frequency.defined() ? Cell{frequency.flatten()[e].item<double>()} : Cell{}});
    }
    return t;
  }

  void add_extras(AnalysisResult& out, const std::vector<std::vector<NamedArray>>& items, const std::string& unit) const {
    int64_t width = 0;
    for (const PromptGroup& g : groups_) width = std::max(width, g.length);
    // Position axes are aligned at the end; a mean is over the prompts that have the cell.
    auto aligned = [&](const std::string& name, std::vector<int64_t> pos_axes) {
      at::Tensor total, prompts;
      for (size_t i = 0; i < items.size(); ++i) {
        at::Tensor one = to_tensor(find_array(items[i], name)).to(at::kDouble), have = at::full_like(one, static_cast<double>(groups_[i].prompts.size()));
        for (int64_t axis : pos_axes) {
          one = pad_nan(one, axis, width, true);
          have = pad_nan(have, axis, width, true);
        }
        one = one.nan_to_num(0);
        have = have.nan_to_num(0);
        total = total.defined() ? total + one : one;
        prompts = prompts.defined() ? prompts + have : have;
      }
      return total / prompts;                          // NaN where no prompt has the cell
    };
    if (how_.positions) {
      TensorMap map{"edges_by_position", "Edges × positions", {}, {{"source", graph_.source_names()}, {"destination", graph_.input_names()}, {"pos", position_labels(input_, groups_)}}, {}};
      map.arrays.push_back(to_array("edge_scores_by_position", {"source", "destination", "pos"}, aligned("by_position", {2}).to(at::kFloat), unit, "edge scores at each position of the destination, mean over prompts"));
      map.looks["edge_scores_by_position"] = "diverging";
      out.artifacts.push_back(std::move(map));
    }
    if (how_.neurons) {
      TensorMap map{"neuron_scores", "Neurons of the MLPs", {}, {{"layer", number_labels("L", layer_count(input_.model))}}, {}};
      map.arrays.push_back(to_array("neuron_scores", {"layer", "neuron"}, (added(items, "neurons") / static_cast<double>(prompts_)).to(at::kFloat), unit, "(corrupted - clean) of the neuron times the gradient at it, mean over prompts"));
      map.looks["neuron_scores"] = "diverging";
      out.artifacts.push_back(std::move(map));
    }
    std::vector<int64_t> layers;
    for (int64_t l = 0; l < layer_count(input_.model); ++l)
      if (input_.model.mixer_info(l).recurrent && has_point(input_.model, l, state_point(input_.model, l, "attn.hook_pattern"))) layers.push_back(l);
    if (!state_edges_ || layers.empty()) return;
    at::Tensor all;
    for (size_t i = 0; i < layers.size(); ++i) {
      at::Tensor one = aligned("state_edges." + std::to_string(i), {1, 2}).transpose(1, 2);
      if (!all.defined()) all = at::full({layer_count(input_.model), std::max(most_heads(input_.model), one.size(0)), width, width}, NAN, at::kDouble);
      if (one.size(0) > all.size(1)) all = pad_nan(all, 1, one.size(0), false);
      all.select(0, layers[i]).narrow(0, 0, one.size(0)).copy_(one);
    }
    std::vector<std::string> labels = position_labels(input_, groups_);
    TensorMap map{"state_edges", "Edges through the recurrent states: written at one token, read at another", {},
                  {{"layer", number_labels("L", layer_count(input_.model))}, {"k_pos", labels}, {"q_pos", labels}}, {}};
    map.arrays.push_back(to_array("state_edges", {"layer", "head", "k_pos", "q_pos"}, all.to(at::kFloat), unit, "(corrupted - clean) of the implied pattern times the gradient at it: the write at k_pos as read at q_pos, mean over prompts"));
    map.looks["state_edges"] = "diverging";
    out.artifacts.push_back(std::move(map));
    at::Tensor flat = all.abs().nan_to_num(-1).flatten();
    int64_t best = flat.argmax().item<int64_t>(), q = best % width, k = best / width % width, h = best / width / width % all.size(1), l = best / width / width / all.size(1);
    out.findings.push_back("The strongest edge through a recurrent state is that of head " + head_name(l, h) + ": written at " + labels[static_cast<size_t>(k)] + ", read at " +
                           labels[static_cast<size_t>(q)] + " (" + short_number(all.flatten()[best].item<double>()) + ").");
  }

  void add_findings(AnalysisResult& out, const at::Tensor& mean, const at::Tensor& inside, int64_t kept, const std::vector<bool>& nodes, const at::Tensor& frequency) const {
    std::string heads;
    int64_t count = 0;
    for (size_t k = 0; k < nodes.size(); ++k)
      if (nodes[k] && graph_.sources()[k].kind == NodeKind::kHead && ++count <= 8) heads += (heads.empty() ? "" : ", ") + graph_.sources()[k].name;
    out.findings.push_back("The circuit has " + std::to_string(kept) + " of " + std::to_string(graph_.edge_count()) + " edges and " + std::to_string(count) + " heads" +
                           (count ? ": " + heads + (count > 8 ? " …" : "") : "") + ".");
    const int64_t n = graph_.input_count(), e = order_by_size(mean, 1).at(0);
    std::string sure = frequency.defined() ? ", chosen in " + short_number(100 * frequency.flatten()[e].item<double>()) + " % of resamples" : "";
    out.findings.push_back("The largest edge is " + graph_.sources()[static_cast<size_t>(e / n)].name + " → " + graph_.inputs()[static_cast<size_t>(e % n)].name + " (" +
                           short_number(mean.flatten()[e].item<double>()) + " " + Metric::unit(metric_) + sure + ").");
  }

  AnalysisInput input_;
  AnalysisInfo info_;
  Attribution how_;
  Graph graph_;
  std::string metric_;
  std::vector<PromptGroup> groups_;
  int64_t prompts_ = 0, resamples_ = 0, rows_ = 0;
  at::Tensor weights_;
  bool state_edges_ = true;
};

}  // namespace

std::unique_ptr<AnalysisRun> start_scores(const AnalysisInput& input, const AnalysisInfo& info, Attribution how) {
  return std::make_unique<ScoreRun>(input, info, how);
}

}  // namespace microtome::circuit
