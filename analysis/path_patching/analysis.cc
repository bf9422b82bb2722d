// path_patching — arXiv 2211.00593, 2304.05969; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/path_patching/paths.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

const AnalysisInfo kInfo = {
    "path_patching", 1, "Path patching",
    "What a receiver (a head's q, k or v input, an MLP, the logits) would read if one head or MLP before it sent its corrupted "
    "value and every other head stayed clean is put into the clean run; effect = (clean - value) / (clean - corrupted), so 0 "
    "is a path that carries nothing and 1 one that carries all of the difference.",
    "arXiv 2211.00593, 2304.05969", AnalysisInfo::Prompts::kPairs,
    {{"effect", {"layer", "head", "receiver"}, "(clean - value) / (clean - corrupted) of a head's path to a receiver"},
     {"effect_mlps", {"layer", "receiver"}, "the same of an MLP's path"},
     {"value", {"layer", "head", "receiver"}, "the metric with the path changed, mean over prompts"},
     {"value_mlps", {"layer", "receiver"}, "the same of an MLP's path"},
     {"value_prompts", {"layer", "head", "receiver", "prompt"}, "the metric of every prompt"},
     {"value_mlps_prompts", {"layer", "receiver", "prompt"}, "the same of an MLP's path"}}};

std::vector<Receiver> read_receivers(const AnalysisInput& input) {
  std::vector<NodeName> nodes = parse_nodes(input.model, input.params.get_string("receiver"), "receiver");
  if (nodes.empty())
    throw Error(StatusCode::kBadInput, "no receiver is named", "param receiver", "write logits, m3 or 4.0<q>, with commas between");
  std::vector<Receiver> out;
  if (input.params.get_bool("together")) {
    std::string label;
    for (const NodeName& n : nodes) label += (label.empty() ? "" : "+") + n.text();
    return {{label, nodes}};
  }
  for (const NodeName& n : nodes) out.push_back({n.text(), {n}});
  return out;
}

std::vector<double> list(const at::Tensor& t) {
  at::Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, std::abs(share) < 0.1 ? "%.1f %%" : "%.0f %%", 100 * share);
  return text;
}

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input) {
    require_prompts(input, kInfo, true);
    metric_ = metric_name(input, input.params.get_string("metric"));
    receivers_ = read_receivers(input);
    freeze_ = input.params.get_string("mlps") == "freeze";
    paths_ = std::make_unique<PathRunner>(input, receivers_, freeze_, metric_);
  }

  int64_t item_count() const override { return layer_count(input_.model); }
  std::string item_title(int64_t layer) const override { return "paths from layer " + std::to_string(layer); }
  void set_batch(int64_t rows) override { batch_ = rows; }

  std::vector<NamedArray> run_item(int64_t layer, Progress& progress) override {
    return {to_array("value", {"receiver", "sender", "prompt"}, paths_->run_layer(layer, batch_, progress))};
  }

  std::optional<AnalysisResult> preview(const std::vector<std::vector<NamedArray>>& items) override {
    AnalysisResult out;
    out.artifacts.push_back(effect_map(stack(items)));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    at::Tensor value = stack(items);                   // [layer, sender, receiver, prompt]
    std::string unit = Metric::unit(metric_);
    AnalysisResult out;
    TensorMap map = effect_map(value);
    out.summary = {summarise("clean_" + metric_, list(clean_), unit, "metric of the clean run", input_.seed),
                   summarise("corrupted_" + metric_, list(corrupted_), unit, "metric of the corrupted run", input_.seed)};
    out.artifacts.push_back(std::move(map));
    TensorMap all;
    all.name = "path_patching_prompts";
    all.title = "Every prompt";
    all.axis_labels = labels();
    auto [heads, mlps] = split(value);
    all.arrays = {to_array("value_prompts", {"layer", "head", "receiver", "prompt"}, heads.to(at::kFloat), unit,
                           metric_ + " with a head's path corrupted, each prompt"),
                  to_array("value_mlps_prompts", {"layer", "receiver", "prompt"}, mlps.to(at::kFloat), unit,
                           metric_ + " with an MLP's path corrupted, each prompt"),
                  to_array("clean", {"prompt"}, clean_.to(at::kFloat), unit, "metric of the clean run"),
                  to_array("corrupted", {"prompt"}, corrupted_.to(at::kFloat), unit, "metric of the corrupted run")};
    out.artifacts.push_back(std::move(all));
    tell(out, (clean_ - value) / span_);
    for (int64_t l = 0; l < layer_count(input_.model); ++l) {
      std::string kind = "layer " + std::to_string(l) + " (" + input_.model.mixer_info(l).kind + ") ";
      if (!paths_->heads(l)) out.warnings.push_back(kind + "does not split into heads; none of it sends, and it stays clean");
      if (state_point(input_.model, l, "attn.hook_z") != "attn.hook_z")
        out.warnings.push_back(kind + "has a state beside its attention; the attention's heads send, the state's stay clean");
    }
    return out;
  }

 private:
  // [layer, sender, receiver, prompt] of all items, NaN where an item is not there.
  at::Tensor stack(const std::vector<std::vector<NamedArray>>& items) const {
    std::vector<at::Tensor> layers;
    for (const auto& item : items)
      layers.push_back(item.empty() ? at::full({static_cast<int64_t>(receivers_.size()), paths_->most_heads() + 1, paths_->prompts()}, NAN, at::kDouble)
                                    : to_tensor(find_array(item, "value")));
    return at::stack(layers).transpose(1, 2);
  }
  std::pair<at::Tensor, at::Tensor> split(const at::Tensor& by_sender) const {
    return {by_sender.narrow(1, 0, paths_->most_heads()), by_sender.select(1, paths_->most_heads())};
  }

  std::map<std::string, std::vector<std::string>> labels() const {
    std::map<std::string, std::vector<std::string>> out;
    out["layer"] = number_labels("L", layer_count(input_.model));
    out["head"] = number_labels("H", paths_->most_heads());
    for (const Receiver& r : receivers_) out["receiver"].push_back(r.label);
    return out;
  }

  TensorMap effect_map(const at::Tensor& value) {
    if (!clean_.defined()) {
      clean_ = paths_->clean_metric();
      corrupted_ = paths_->corrupted_metric();
      span_ = (clean_ - corrupted_).mean().item<double>();
      if (!(std::abs(span_) > 1e-9))
        throw Error(StatusCode::kBadInput, "the metric '" + metric_ + "' is the same on clean and corrupted prompts",
                    "path_patching", "choose another metric, or prompts that the model answers differently");
    }
    at::Tensor mean = nan_mean(value, -1);
    auto [heads, mlps] = split(mean);
    TensorMap map;
    map.name = "path_patching";
    map.title = std::string("Paths to ") + (receivers_.size() == 1 ? receivers_[0].label : "each receiver") + ", MLPs between them " +
                (freeze_ ? "frozen" : "recomputed");
    map.axis_labels = labels();
    std::string help = "(clean - value) / (clean - corrupted): 0 the path carries nothing, 1 all of the difference; empty: no path";
    auto effect = [&](const at::Tensor& v) { return ((clean_.mean() - v) / span_).to(at::kFloat); };
    map.arrays = {to_array("effect", {"layer", "head", "receiver"}, effect(heads), "", help),
                  to_array("effect_mlps", {"layer", "receiver"}, effect(mlps), "", help),
                  to_array("value", {"layer", "head", "receiver"}, heads.to(at::kFloat), Metric::unit(metric_),
                           metric_ + " with the path corrupted, mean over prompts"),
                  to_array("value_mlps", {"layer", "receiver"}, mlps.to(at::kFloat), Metric::unit(metric_),
                           metric_ + " with the path corrupted, mean over prompts")};
    map.looks = {{"effect", "diverging"}, {"effect_mlps", "diverging"}, {"value", "diverging"}, {"value_mlps", "diverging"}};
    return map;
  }

  // effect [layer, sender, receiver, prompt]
  void tell(AnalysisResult& out, const at::Tensor& effect) {
    struct Path {
      NodeName from;
      size_t to;
      SummaryItem effect;
    };
    std::vector<Path> paths;
    for (int64_t l = 0; l < effect.size(0); ++l)
      for (int64_t s = 0; s < effect.size(1); ++s)
        for (int64_t r = 0; r < effect.size(2); ++r) {
          std::vector<double> values = list(effect[l][s][r]);
          if (std::all_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) continue;
          NodeName from{s == paths_->most_heads() ? NodeName::Kind::kMlp : NodeName::Kind::kHead, l, s == paths_->most_heads() ? -1 : s, ""};
          double sum = 0;
          for (double v : values) sum += v;
          SummaryItem mean = plain_number("", sum / static_cast<double>(values.size()), "", "");
          paths.push_back({from, static_cast<size_t>(r), mean});
        }
    std::stable_sort(paths.begin(), paths.end(), [](const Path& a, const Path& b) { return std::abs(a.effect.value) > std::abs(b.effect.value); });
    Table t{"strongest_paths", "Strongest paths",
            {{"sender", "", "the head or MLP whose value is corrupted"}, {"receiver", "", "what reads it"},
             {"effect", "", "share of the difference between clean and corrupted"},
             {"low", "", "95 % bootstrap interval over prompts"}, {"high", "", "95 % bootstrap interval over prompts"}}, {}};
    for (size_t i = 0; i < std::min<size_t>(20, paths.size()); ++i) {
      const Path& p = paths[i];
      int64_t sender = p.from.kind == NodeName::Kind::kMlp ? paths_->most_heads() : p.from.head;
      SummaryItem s = summarise("", list(effect[p.from.layer][sender][static_cast<int64_t>(p.to)]), "", "", input_.seed);
      t.rows.push_back({p.from.text(), receivers_[p.to].label, s.value, s.low, s.high});
      if (i < 3 && std::abs(p.effect.value) >= 0.05)
        out.findings.push_back("The path from " + p.from.spoken() + " to " + spoken(p.to) + " carries " + percent(p.effect.value) +
                               " of the difference between the clean and the corrupted answer.");
    }
    if (out.findings.empty())
      out.findings.push_back(paths.empty() ? "Nothing comes before the receivers, so there is no path."
                                           : "No single path to the receivers carries more than 5 % of the difference.");
    out.summary.push_back(plain_number("paths", static_cast<double>(paths.size()), "", "pairs of a sender and a receiver"));
    out.artifacts.push_back(std::move(t));
  }

  std::string spoken(size_t receiver) const {
    const Receiver& r = receivers_[receiver];
    return r.nodes.size() == 1 ? r.nodes[0].spoken() : "the " + std::to_string(r.nodes.size()) + " receivers together";
  }

  AnalysisInput input_;
  std::vector<Receiver> receivers_;
  std::unique_ptr<PathRunner> paths_;
  std::string metric_;
  at::Tensor clean_, corrupted_;
  double span_ = 0;
  bool freeze_ = false;
  int64_t batch_ = 256;
};

}  // namespace

void register_path_patching(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
