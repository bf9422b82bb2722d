// attribution_graph — definition in README.md. Items of a prompt: the logits' rows, blocks of features' rows, the tested edges.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "analysis/attribution_graph/picture.h"
#include "analysis/engine/dictionaries.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/prompts.h"
#include "analysis/registry.h"

namespace microtome::analyses {
namespace {

using namespace feature_circuit;
using engine::short_number;

const AnalysisInfo kInfo = {
    "attribution_graph", 1, "Attribution graph",
    "The model with transcoders in place of its MLPs, attention patterns and norm scales frozen and the transcoders' errors kept: what "
    "every active feature, token embedding and error adds to every feature's pre-activation and to the likeliest next tokens' logits, "
    "pruned to what bears on these.",
    "Ameisen et al. 2025, Circuit Tracing; circuit-tracer", AnalysisInfo::Prompts::kClean,
    {{"influence", {"node"}, "influence on the logits over all paths"},
     {"cumulative", {"node"}, "share of all influence that nodes at least as influential have"}}};

constexpr int64_t kTestColumns = 7;

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input) {
    engine::require_prompts(input, kInfo, false);
    const Params& p = input.params;
    transcoders_ = std::make_unique<TranscoderLayers>(input.model, *engine::read_set(input, "transcoders", doubts_));
    options_.frozen.form = input.form;
    options_.frozen.max_features = p.get_int("max_sources");
    options_.frozen.max_logits = p.get_int("max_logits");
    options_.frozen.logit_mass = p.get_float("logit_mass");
    options_.prune = {p.get_float("node_threshold"), p.get_float("edge_threshold"), p.get_int("max_nodes"), p.get_int("max_edges")};
    options_.max_features = p.get_int("max_features");
    prompts_ = std::min<int64_t>(p.get_int("graphs"), static_cast<int64_t>(input.dataset.pairs.size()));
    blocks_ = (options_.max_features + kRowsPerItem - 1) / kRowsPerItem;
    tests_ = p.get_int("test_edges");
    named_ = read_edge_names(p.get_string("edges"), "edges");
    stored_ = p.get_int("stored_rows") << 20;
  }

  int64_t item_count() const override { return prompts_ * items_a_prompt(); }
  std::string item_title(int64_t item) const override {
    const int64_t part = item % items_a_prompt();
    const std::string what = part == 0 ? "logits" : part <= blocks_ ? "features, block " + std::to_string(part) : "testing edges";
    return prompts_ > 1 ? "prompt " + std::to_string(item / items_a_prompt() + 1) + ": " + what : what;
  }
  void set_batch(int64_t rows) override { batch_ = std::clamp<int64_t>(rows, 1, 256); }

  void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) override {
    Progress quiet;
    open(item / items_a_prompt(), item % items_a_prompt(), so_far, quiet);
  }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    at::NoGradGuard no_grad;
    const int64_t part = item % items_a_prompt();
    progress.step(0, 1);
    if (part > blocks_) return test(item / items_a_prompt(), progress);
    std::vector<int64_t> targets = build_->block(part);
    std::vector<float> rows;
    if (!targets.empty()) rows = build_->compute(targets, batch_, progress);
    ++blocks_open_;
    // Rows beyond what may be stored are named only; going on computes them again.
    if (build_->rows().bytes() > stored_) rows.clear();
    const int64_t n = static_cast<int64_t>(targets.size()), count = static_cast<int64_t>(rows.size());
    return {{"targets", {"row"}, {n}, std::move(targets), "", "nodes whose rows these are"},
            {"rows", {"value"}, {count}, std::move(rows), "", "what sources add to each, one row after another; none: too many to store"}};
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  int64_t items_a_prompt() const { return blocks_ + 2; }
  const std::vector<int64_t>& tokens(int64_t prompt) const { return input_.dataset.pairs[static_cast<size_t>(prompt)].clean_ids; }

  bool leaves_out_first(int64_t prompt) const {
    const std::string how = input_.params.get_string("first_position");
    const auto bos = input_.model.config().bos_id;
    const bool starts = bos && tokens(prompt).size() > 1 && tokens(prompt)[0] == *bos;
    return how == "leave_out" || (how == "auto" && starts);
  }

  // Has the build of a prompt with the rows of its first `parts` items.
  void open(int64_t prompt, int64_t parts, const std::vector<std::vector<NamedArray>>& items, Progress& progress) {
    parts = std::min(parts, blocks_ + 1);
    if (!build_ || prompt_ != prompt || blocks_open_ > parts) {
      GraphOptions o = options_;
      o.frozen.leave_out_first = leaves_out_first(prompt);
      build_.reset();
      build_ = std::make_unique<GraphBuild>(input_.model, tokens(prompt), *transcoders_, o);
      prompt_ = prompt;
      blocks_open_ = 0;
    }
    for (; blocks_open_ < parts; ++blocks_open_) {
      const auto& item = items[static_cast<size_t>(prompt * items_a_prompt() + blocks_open_)];
      const auto& targets = std::get<std::vector<int64_t>>(engine::find_array(item, "targets").data);
      const auto& rows = std::get<std::vector<float>>(engine::find_array(item, "rows").data);
      if (targets.empty()) continue;
      if (rows.empty()) build_->compute(targets, batch_, progress);
      else build_->add(targets, rows);
    }
  }

  std::vector<NamedArray> test(int64_t prompt, Progress& progress) {
    std::vector<double> out;
    std::vector<KeptEdge> edges = edges_to_test(*build_, tests_);
    for (const EdgeName& name : named_) {
      const std::optional<KeptEdge> e = find_edge(*build_, name);
      // Of several graphs one may have it.
      if (!e && prompts_ == 1)
        throw Error(StatusCode::kBadInput, "the graph has no edge '" + name.text + "'", "param edges", "name one that it keeps: the table of edges, or `export --format csv`, lists them");
      if (e && std::none_of(edges.begin(), edges.end(), [&](const KeptEdge& k) { return k.from == e->from && k.to == e->to; })) edges.push_back(*e);
    }
    for (size_t i = 0; i < edges.size(); ++i) {
      progress.step(static_cast<int64_t>(i), static_cast<int64_t>(edges.size()), "testing edges");
      const EdgeTest t = test_edge(*build_, tokens(prompt), edges[i], input_.form);
      out.insert(out.end(), {static_cast<double>(t.from), static_cast<double>(t.to), t.predicted, t.predicted_total, t.frozen, t.attention_frozen, t.recomputed});
    }
    const int64_t n = static_cast<int64_t>(edges.size());
    return {{"tests", {"edge", "number"}, {n, kTestColumns}, std::move(out), "", "source, target, predicted, over all paths, frozen, attention frozen, recomputed"}};
  }

  static std::vector<EdgeTest> tests_of(const std::vector<NamedArray>& item) {
    const auto& v = std::get<std::vector<double>>(engine::find_array(item, "tests").data);
    std::vector<EdgeTest> out;
    for (size_t i = 0; i + kTestColumns <= v.size(); i += kTestColumns)
      out.push_back({static_cast<int64_t>(v[i]), static_cast<int64_t>(v[i + 1]), v[i + 2], v[i + 3], v[i + 4], v[i + 5], v[i + 6]});
    return out;
  }

  void describe(const GraphPicture& picture, const std::vector<EdgeTest>& tests, AnalysisResult& out);

  AnalysisInput input_;
  std::unique_ptr<TranscoderLayers> transcoders_;
  std::vector<std::string> doubts_;            // transcoders of other weights
  GraphOptions options_;
  std::vector<EdgeName> named_;                // to be tested beside the strongest
  std::unique_ptr<GraphBuild> build_;
  int64_t prompt_ = -1, blocks_open_ = 0;      // of build_: items whose rows it has
  int64_t prompts_ = 1, blocks_ = 0, tests_ = 0, stored_ = 0, batch_ = 8;
};

std::string percent(double share) { return short_number(100 * share) + " %"; }

void Run::describe(const GraphPicture& picture, const std::vector<EdgeTest>& tests, AnalysisResult& out) {
  const AttributionGraph& g = picture.graph();
  const GraphBuild::Outcome& o = build_->outcome();
  const std::string prompt = prompts_ > 1 ? "Prompt " + std::to_string(prompt_ + 1) + ": " : "";
  const AttributionGraph::Node* likeliest = nullptr;
  for (const auto& n : g.nodes)
    if (n.kind == AttributionGraph::Kind::kLogit && (!likeliest || n.activation > likeliest->activation)) likeliest = &n;
  out.findings.push_back(prompt + "Of " + std::to_string(build_->nodes().feature_count()) + " active features, " +
                         std::to_string(std::count_if(g.nodes.begin(), g.nodes.end(), [](const auto& n) { return n.kind == AttributionGraph::Kind::kFeature; })) +
                         " bear most on the next token, which is " + (likeliest ? likeliest->label : "unknown") + ".");
  out.findings.push_back(prompt + percent(o.scores.replacement) + " of the influence of tokens on the logits goes through features alone rather than through the transcoders' errors (replacement score); " +
                         percent(o.scores.completeness) + " of what nodes receive comes from features and tokens (completeness score).");
  if (std::string path = picture.strongest_path(); !path.empty()) out.findings.push_back(prompt + path);
  if (tests.size() >= 1) {
    std::vector<double> predicted, measured;
    int64_t same = 0;
    for (const EdgeTest& t : tests) {
      predicted.push_back(t.predicted);
      measured.push_back(t.attention_frozen);
      same += t.predicted * t.attention_frozen > 0;
    }
    const double r = correlation(predicted, measured);
    out.findings.push_back(prompt + "Of " + std::to_string(tests.size()) + " tested edges, " + std::to_string(same) +
                           " move their target the way the edge says when the source is taken away in the model with attention and norms frozen" +
                           (std::isnan(r) ? "." : "; predicted and measured changes correlate with r = " + short_number(r) + "."));
  }
  if (build_->frozen().left_in_errors() > 0)
    out.warnings.push_back(std::to_string(build_->frozen().left_in_errors()) + " active features write least and are counted with the errors (max_sources)");
  if (build_->ranked())
    out.warnings.push_back("the graph has the " + std::to_string(build_->feature_rows()) + " features with most influence of " + std::to_string(build_->nodes().feature_count()) + " (max_features)");
  if (o.pruned.nodes_limited) out.warnings.push_back("fewer nodes are kept than the node threshold asks for (max_nodes)");
  if (o.pruned.edges_limited) out.warnings.push_back("fewer edges are kept than the edge threshold asks for (max_edges)");
}

AnalysisResult Run::finish(const std::vector<std::vector<NamedArray>>& items) {
  at::NoGradGuard no_grad;
  AnalysisResult out;
  out.warnings = doubts_;
  std::vector<double> replacement, completeness, errors, active, nodes, edges, direct, frozen_r, recomputed_r, total_r;
  for (int64_t p = 0; p < prompts_; ++p) {
    Progress quiet;
    open(p, blocks_ + 1, items, quiet);
    GraphText text;
    text.tokenizer = input_.tokenizer;
    text.name = p == 0 ? "graph" : "graph " + std::to_string(p + 1);
    text.title = prompts_ > 1 ? "Attribution graph of prompt " + std::to_string(p + 1) : "Attribution graph";
    text.supernodes = input_.params.get_string("supernodes");
    text.similarity = input_.params.get_float("similarity");
    text.groups = input_.params.get_string("groups");
    text.paths = input_.params.get_int("paths");
    const GraphPicture picture(*build_, tokens(p), options_, text);
    const std::vector<EdgeTest> tests = tests_of(items[static_cast<size_t>((p + 1) * items_a_prompt() - 1)]);
    const GraphBuild::Outcome& o = build_->outcome();
    replacement.push_back(o.scores.replacement);
    completeness.push_back(o.scores.completeness);
    errors.push_back(o.scores.error_share);
    active.push_back(static_cast<double>(build_->nodes().feature_count()));
    nodes.push_back(static_cast<double>(picture.graph().nodes.size()));
    edges.push_back(static_cast<double>(picture.graph().edges.size()));
    std::vector<double> predicted, all_paths, frozen, recomputed;
    double worst = 0;
    for (const EdgeTest& t : tests) {
      predicted.push_back(t.predicted);
      all_paths.push_back(t.predicted_total);
      frozen.push_back(t.attention_frozen);
      recomputed.push_back(t.recomputed);
      worst = std::max(worst, std::fabs(t.frozen - t.predicted));
    }
    direct.push_back(worst);
    frozen_r.push_back(correlation(predicted, frozen));
    recomputed_r.push_back(correlation(predicted, recomputed));
    total_r.push_back(correlation(all_paths, frozen));
    describe(picture, tests, out);
    out.artifacts.push_back(picture.graph());
    out.artifacts.push_back(picture.node_table());
    out.artifacts.push_back(picture.path_table());
    if (!tests.empty()) out.artifacts.push_back(picture.test_table(tests));
    out.artifacts.push_back(picture.numbers());
  }
  const auto add = [&](const char* name, const std::vector<double>& v, const char* unit, const char* help) {
    std::vector<double> known;                 // a correlation of fewer than three edges is none
    for (double x : v)
      if (!std::isnan(x)) known.push_back(x);
    if (!known.empty()) out.summary.push_back(engine::summarise(name, known, unit, help, input_.seed));
  };
  add("replacement_score", replacement, "", "token influence over token and error influence");
  add("completeness_score", completeness, "", "share of what nodes receive that comes from features and tokens, weighted by influence");
  add("error_influence", errors, "", "share of all influence that errors have");
  add("active_features", active, "", "features active in the prompt that are sources");
  add("kept_nodes", nodes, "", "nodes after pruning, tokens and logits among them");
  add("kept_edges", edges, "", "edges after pruning");
  if (tests_ > 0) {
    add("edge_correlation", frozen_r, "", "tested edges: predicted change against measured, attention and norms frozen");
    add("edge_correlation_all_paths", total_r, "", "the same with the prediction over all paths");
    add("edge_correlation_recomputed", recomputed_r, "", "tested edges: predicted change against measured, everything recomputed");
    add("frozen_gap", direct, "", "largest difference between an edge and the change in the frozen replacement model");
  }
  return out;
}

}  // namespace

void register_attribution_graph(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
