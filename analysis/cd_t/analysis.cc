// cd_t — arXiv 2407.00886; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/cd_t/decompose.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/node_names.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

const AnalysisInfo kInfo = {
    "cd_t", 1, "Contextual decomposition",
    "Each source's deviation from a baseline is its relevant part; it is carried through every later block with attention "
    "patterns, norms' divisors and output gates held at their values. Its share in the logits and in later heads gives a circuit.",
    "arXiv 2407.00886", AnalysisInfo::Prompts::kClean,
    {{"relevance", {"layer", "head"}, "metric of the whole run minus without the head's relevant part, mean over prompts"},
     {"relevance_mlps", {"layer"}, "the same of MLPs"},
     {"relevance_input", {"prompt"}, "the same of what enters the first layer"},
     {"to_heads", {"layer", "head", "target_layer", "target_head"}, "|relevant part of z| / |z| of a later head, mean over prompts"},
     {"mlps_to_heads", {"layer", "target_layer", "target_head"}, "the same from MLPs"},
     {"input_to_heads", {"target_layer", "target_head"}, "the same from the input"},
     {"relevance_prompts", {"layer", "head", "prompt"}, "relevance to the logits of every prompt"}}};

std::vector<double> list(const at::Tensor& t) {
  at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input) {
    const Params& p = input.params;
    auto baseline = p.get_string("baseline") == "mean" ? Decomposition::Baseline::kMean : Decomposition::Baseline::kCorrupted;
    AnalysisInfo needs = kInfo;
    if (baseline == Decomposition::Baseline::kCorrupted) needs.prompts = AnalysisInfo::Prompts::kPairs;
    metric_ = metric_name(input, p.get_string("metric"));
    require_prompts(input, needs, metric_ != "loss" && metric_ != "kl");
    parts_ = std::make_unique<Decomposition>(input, baseline, metric_);
  }

  int64_t item_count() const override { return parts_->layers() + 1; }   // each layer's sources, then the input
  std::string item_title(int64_t item) const override { return item < parts_->layers() ? "sources of layer " + std::to_string(item) : "the input"; }
  void set_batch(int64_t rows) override { batch_ = rows; }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    Decomposition::Relevance r = parts_->run(item < parts_->layers() ? item : Decomposition::kInput, batch_, progress);
    return {to_array("logits", {"source", "prompt"}, r.logits), to_array("heads", {"source", "target_layer", "target_head"}, r.heads),
            to_array("whole", {"prompt"}, r.whole)};
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  struct Source {
    NodeName node;
    double logits = 0;                 // relevance
    at::Tensor heads;                  // [target_layer, target_head]
  };
  Circuit circuit(const std::vector<Source>& sources, AnalysisResult& out) const;

  AnalysisInput input_;
  std::unique_ptr<Decomposition> parts_;
  std::string metric_;
  int64_t batch_ = 256;
};

// The paper's recursion: sources most relevant to the logits, then those most relevant to the heads among them, and so on.
Circuit Run::circuit(const std::vector<Source>& sources, AnalysisResult& out) const {
  const Params& p = input_.params;
  const double threshold = p.get_float("threshold"), head_threshold = p.get_float("head_threshold");
  const size_t most = static_cast<size_t>(p.get_int("max_sources"));
  const ModelConfig& c = input_.model.config();
  Circuit g;
  g.name = "cd_t_circuit";
  g.title = "Circuit by contextual decomposition";
  g.n_layers = parts_->layers();
  g.n_heads = parts_->most_heads();
  g.d_model = c.d_model;
  g.parallel_attn_mlp = !c.layers.empty() && c.layers[0].wiring == Wiring::kParallel;
  std::set<std::string> members{"logits"};
  std::set<std::pair<int64_t, int64_t>> asked;
  std::vector<NodeName> frontier{NodeName{}};
  for (int64_t round = 0; round < p.get_int("rounds") && !frontier.empty(); ++round) {
    std::vector<NodeName> next;
    for (const NodeName& target : frontier) {
      const bool to_logits = target.kind == NodeName::Kind::kLogits;
      std::vector<std::pair<double, const Source*>> scores;
      double largest = 0;
      for (const Source& s : sources) {
        // Everything comes from the input, so it is no candidate for the logits.
        if (to_logits && s.node.kind == NodeName::Kind::kInput) continue;
        double score = to_logits ? s.logits : s.heads[target.layer][target.head].item<double>();
        if (std::isnan(score)) continue;
        scores.emplace_back(score, &s);
        largest = std::max(largest, std::abs(score));
      }
      std::stable_sort(scores.begin(), scores.end(), [](const auto& a, const auto& b) { return std::abs(a.first) > std::abs(b.first); });
      const double bar = to_logits ? threshold * largest : head_threshold;
      NodeName reads = target;
      if (!to_logits) reads.role = "v";                // patterns are held, so what arrives comes through the values
      for (size_t i = 0; i < scores.size(); ++i) {
        auto [score, s] = scores[i];
        bool in = i < most && largest > 0 && std::abs(score) >= bar;
        g.edges.push_back({s->node.text(), reads.text(), in, score});
        if (!in) continue;
        members.insert(s->node.text());
        if (s->node.kind == NodeName::Kind::kHead && asked.insert({s->node.layer, s->node.head}).second) next.push_back(s->node);
      }
    }
    frontier = std::move(next);
  }
  int64_t heads = 0, mlps = 0;
  for (const Source& s : sources) {
    bool in = members.count(s.node.text()) > 0;
    g.nodes.push_back({s.node.text(), in, s.logits});
    heads += in && s.node.kind == NodeName::Kind::kHead;
    mlps += in && s.node.kind == NodeName::Kind::kMlp;
  }
  g.nodes.push_back({"logits", true, 0});
  int64_t edges = std::count_if(g.edges.begin(), g.edges.end(), [](const Circuit::Edge& e) { return e.in_graph; });
  out.summary.push_back(plain_number("circuit_heads", static_cast<double>(heads), "", "heads in the circuit"));
  out.summary.push_back(plain_number("circuit_mlps", static_cast<double>(mlps), "", "MLPs in the circuit"));
  out.summary.push_back(plain_number("circuit_edges", static_cast<double>(edges), "", "edges in the circuit"));
  out.findings.push_back("The circuit has " + std::to_string(heads) + " heads, " + std::to_string(mlps) + " MLPs and " + std::to_string(edges) + " edges.");
  return g;
}

AnalysisResult Run::finish(const std::vector<std::vector<NamedArray>>& items) {
  const int64_t layers = parts_->layers(), heads = parts_->most_heads();
  std::vector<at::Tensor> logits, to_heads;
  for (int64_t l = 0; l < layers; ++l) {
    logits.push_back(to_tensor(find_array(items[static_cast<size_t>(l)], "logits")));
    to_heads.push_back(to_tensor(find_array(items[static_cast<size_t>(l)], "heads")));
  }
  at::Tensor by_prompt = at::stack(logits), shares = at::stack(to_heads), mean = nan_mean(by_prompt, -1);
  at::Tensor input = to_tensor(find_array(items.back(), "logits"))[0], from_input = to_tensor(find_array(items.back(), "heads"))[0];
  std::vector<double> whole = list(to_tensor(find_array(items.back(), "whole")));
  std::string unit = Metric::unit(metric_);
  AnalysisResult out;
  out.summary = {summarise("whole_" + metric_, whole, unit, "metric of the whole run", input_.seed),
                 summarise("input_relevance", list(input), unit, "relevance of what enters the first layer to the logits", input_.seed)};

  std::vector<Source> sources;
  sources.push_back({NodeName{NodeName::Kind::kInput, -1, -1, ""}, input.mean().item<double>(), from_input});
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t s = 0; s <= heads; ++s) {
      if (s < heads ? s >= parts_->heads(l) : !parts_->has_mlp(l)) continue;
      NodeName node{s < heads ? NodeName::Kind::kHead : NodeName::Kind::kMlp, l, s < heads ? s : -1, ""};
      sources.push_back({node, mean[l][s].item<double>(), shares[l][s]});
    }
  std::vector<const Source*> order;
  for (const Source& s : sources)
    if (s.node.kind != NodeName::Kind::kInput) order.push_back(&s);
  std::stable_sort(order.begin(), order.end(), [](const Source* a, const Source* b) { return std::abs(a->logits) > std::abs(b->logits); });
  Table table{"most_relevant", "Sources most relevant to the logits",
              {{"source", "", ""}, {"relevance", unit, "mean over prompts"}, {"low", unit, "95 % bootstrap interval over prompts"},
               {"high", unit, "95 % bootstrap interval over prompts"}}, {}};
  for (size_t i = 0; i < std::min<size_t>(20, order.size()); ++i) {
    const NodeName& n = order[i]->node;
    SummaryItem s = summarise("", list(by_prompt[n.layer][n.kind == NodeName::Kind::kMlp ? heads : n.head]), "", "", input_.seed);
    table.rows.push_back({n.text(), s.value, s.low, s.high});
    if (i >= 3) continue;
    std::string name = n.spoken();
    name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
    out.findings.push_back(name + "'s deviation from its baseline gives " + short_number(s.value) + " of the " + metric_ + " of " +
                           short_number(out.summary[0].value) + ".");
  }

  TensorMap map;
  map.name = "cd_t";
  map.title = "Relevance to the logits and to later heads";
  map.axis_labels["layer"] = map.axis_labels["target_layer"] = number_labels("L", layers);
  map.axis_labels["head"] = map.axis_labels["target_head"] = number_labels("H", heads);
  const std::string share = "norm of the relevant part of a later head's z as a share of z's, over all positions, mean over prompts";
  const std::string part = metric_ + " of the whole run minus without the source's relevant part";
  map.arrays = {to_array("relevance", {"layer", "head"}, mean.narrow(1, 0, heads), unit, part + ", mean over prompts"),
                to_array("relevance_mlps", {"layer"}, mean.select(1, heads), unit, part + ", mean over prompts"),
                to_array("to_heads", {"layer", "head", "target_layer", "target_head"}, shares.narrow(1, 0, heads).to(at::kFloat), "share", share),
                to_array("mlps_to_heads", {"layer", "target_layer", "target_head"}, shares.select(1, heads).to(at::kFloat), "share", share),
                to_array("input_to_heads", {"target_layer", "target_head"}, from_input.to(at::kFloat), "share", share),
                to_array("relevance_prompts", {"layer", "head", "prompt"}, by_prompt.narrow(1, 0, heads), unit, part + ", every prompt"),
                to_array("relevance_mlps_prompts", {"layer", "prompt"}, by_prompt.select(1, heads), unit, part + ", every prompt"),
                to_array("relevance_input", {"prompt"}, input, unit, part + ", of what enters the first layer")};
  for (const NamedArray& a : map.arrays) map.looks[a.name] = a.unit == "share" ? "sequential" : "diverging";
  out.artifacts.push_back(std::move(map));
  out.artifacts.push_back(std::move(table));
  out.artifacts.push_back(circuit(sources, out));
  for (int64_t l = 0; l < layers; ++l) {
    std::string name = "layer " + std::to_string(l) + " (" + input_.model.mixer_info(l).kind + ") ";
    if (!parts_->heads(l)) out.warnings.push_back(name + "does not split into heads: it is carried through, and is neither source nor target");
    if (!parts_->freezes(l)) out.warnings.push_back(name + "has no attention matrix to hold: what it does with the relevant part is a difference of two runs");
    if (has_point(input_.model, l, "attn.hook_z_normalized"))
      out.warnings.push_back(name + "normalises what its heads read; that norm is not held, so its relevant part is a difference of two runs");
  }
  return out;
}

}  // namespace

void register_cd_t(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
