// discrete_sae_circuit — arXiv 2405.12522; definition in README.md.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/discrete_sae_circuit/autoencoder.h"
#include "analysis/discrete_sae_circuit/overlap.h"
#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/node_names.h"
#include "analysis/engine/prompts.h"
#include "analysis/engine/roc.h"
#include "analysis/registry.h"
#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

constexpr int64_t kRows = 16;                          // prompts that run together
constexpr size_t kMostMembers = 256;                   // heads whose pairs are compared

const AnalysisInfo kInfo = {
    "discrete_sae_circuit", 1, "Circuit from discrete codes",
    "A small sparse autoencoder turns each head's output into a code, the number of its strongest feature; a head's score is the "
    "share of its codes that only positive (clean) examples have and no negative (corrupted) one.",
    "arXiv 2405.12522", AnalysisInfo::Prompts::kPairs,
    {{"score", {"layer", "head"}, "codes unique to positive examples as a share of all the head's codes"},
     {"unique", {"layer", "head"}, "codes unique to positive examples"},
     {"codes", {"layer", "head", "sign", "example"}, "each example's code; sign 0 positive, 1 negative"},
     {"unexplained", {"layer"}, "variance of the layer's head outputs that the autoencoder does not explain"},
     {"active", {"layer"}, "active features an example"}}};

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input), layers_(layer_count(input.model)) {
    require_prompts(input, kInfo, false);
    const Params& p = input.params;
    options_.codes = p.get_int("codes");
    options_.steps = p.get_int("steps");
    options_.l1 = p.get_float("l1");
    options_.learning_rate = p.get_float("learning_rate");
    all_positions_ = p.get_string("positions") == "all";
    groups_ = group_prompts(input, true, kRows);
    for (const PromptGroup& g : groups_) examples_ += static_cast<int64_t>(g.prompts.size()) * (all_positions_ ? g.length : 1);
    for (int64_t l = 0; l < layers_; ++l) heads_ = std::max(heads_, heads(l));
    if (heads_ == 0)
      throw Error(StatusCode::kUnsupported, "no layer of this model splits into heads", input.model.config().name, "use activation_patching");
    for (const NodeName& n : parse_nodes(input.model, p.get_string("reference"), "reference")) {
      if (n.kind != NodeName::Kind::kHead || !n.role.empty())
        throw Error(StatusCode::kBadInput, "'" + n.text() + "' is no head", "param reference", "write heads with commas between: 2.0,3.1");
      reference_.push_back(n);
    }
  }

  // The order of examples stays what it is.
  void set_batch(int64_t rows) override { groups_ = group_prompts(input_, true, std::clamp<int64_t>(rows, 1, kRows)); }
  int64_t item_count() const override { return layers_; }
  std::string item_title(int64_t layer) const override { return "codes of layer " + std::to_string(layer); }

  std::vector<NamedArray> run_item(int64_t layer, Progress& progress) override {
    const int64_t count = heads(layer);
    at::Tensor codes = at::full({heads_, 2, examples_}, -1, at::kLong), quality = at::full({2}, NAN, at::kDouble);
    progress.step(0, 1, item_title(layer));
    if (count > 0) {
      at::Tensor positive = outputs(layer, true, progress), negative = outputs(layer, false, progress);   // [example, head, d_v]
      at::Tensor x = at::cat({positive, negative}).flatten(0, 1);
      AutoencoderOptions options = options_;
      options.seed = item_seed(input_.seed, static_cast<uint64_t>(layer));
      DiscreteAutoencoder sae = train(x, options, progress);
      at::Tensor found = sae.codes(x).view({2, examples_, count}).permute({2, 0, 1});
      codes.narrow(0, 0, count).copy_(found);
      quality[0] = unexplained(sae, x);
      quality[1] = active(sae, x);
    }
    return {to_array("codes", {"head", "sign", "example"}, codes), to_array("quality", {"measure"}, quality)};
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  struct Head {
    NodeName node;
    std::vector<int64_t> positive, negative;
    Overlap overlap;
  };

  int64_t heads(int64_t layer) const {
    const HookPoint* z = input_.model.catalogue().find(block_point(layer, "attn.hook_z"));
    return z && z->axes.size() == 4 && z->axes[2] == "head" ? z->sizes[2] : 0;
  }

  at::Tensor outputs(int64_t layer, bool clean, Progress& progress) const {
    std::string name = block_point(layer, "attn.hook_z");
    std::vector<at::Tensor> parts;
    for (const PromptGroup& g : groups_) {
      HookPlan plan;
      plan.form = input_.form;
      plan.logits = false;
      plan.stop_before_layer = layer + 1;
      plan.capture(name, all_positions_ ? std::vector<int64_t>{} : std::vector<int64_t>{-1});
      parts.push_back(input_.model.forward(clean ? g.clean : g.corrupted, plan).cache.get(name).to(at::kCPU, at::kDouble).flatten(0, 1));
      progress.check();
    }
    return at::cat(parts);
  }

  std::vector<Head> read(const std::vector<std::vector<NamedArray>>& items) const;
  Circuit circuit(const std::vector<Head>& heads, AnalysisResult& out) const;

  AnalysisInput input_;
  AutoencoderOptions options_;
  std::vector<PromptGroup> groups_;
  std::vector<NodeName> reference_;
  int64_t layers_, heads_ = 0, examples_ = 0;
  bool all_positions_ = false;
};

std::vector<Run::Head> Run::read(const std::vector<std::vector<NamedArray>>& items) const {
  std::vector<Head> out;
  for (int64_t l = 0; l < layers_; ++l) {
    at::Tensor codes = to_tensor(find_array(items[static_cast<size_t>(l)], "codes")).contiguous();
    for (int64_t h = 0; h < heads(l); ++h) {
      const int64_t* from = codes.const_data_ptr<int64_t>() + h * 2 * examples_;
      Head head{{NodeName::Kind::kHead, l, h, ""}, {from, from + examples_}, {from + examples_, from + 2 * examples_}, {}};
      head.overlap = code_overlap(head.positive, head.negative);
      out.push_back(std::move(head));
    }
  }
  return out;
}

Circuit Run::circuit(const std::vector<Head>& heads, AnalysisResult& out) const {
  const double threshold = input_.params.get_float("threshold"), edge_threshold = input_.params.get_float("edge_threshold");
  const ModelConfig& c = input_.model.config();
  Circuit g;
  g.name = "discrete_sae_circuit";
  g.title = "Circuit from discrete codes";
  g.n_layers = layers_;
  g.n_heads = heads_;
  g.d_model = c.d_model;
  g.parallel_attn_mlp = !c.layers.empty() && c.layers[0].wiring == Wiring::kParallel;
  double largest = 0;
  for (const Head& h : heads) largest = std::max(largest, h.overlap.score());
  std::vector<const Head*> members;
  for (const Head& h : heads) {
    bool in = largest > 0 && h.overlap.score() >= threshold * largest;
    if (in) members.push_back(&h);
    g.nodes.push_back({h.node.text(), in, h.overlap.score()});
  }
  std::vector<const Head*> compared = members;
  if (compared.size() > kMostMembers) {
    std::stable_sort(compared.begin(), compared.end(), [](const Head* a, const Head* b) { return a->overlap.score() > b->overlap.score(); });
    compared.resize(kMostMembers);
    out.warnings.push_back("only the " + std::to_string(kMostMembers) + " heads with the highest scores are compared in pairs");
  }
  struct Pair { const Head *from, *to; double score; };
  std::vector<Pair> pairs;
  double most = 0;
  for (const Head* a : compared)
    for (const Head* b : compared) {
      if (a->node.layer >= b->node.layer) continue;
      pairs.push_back({a, b, pair_overlap(a->positive, b->positive, a->negative, b->negative).score()});
      most = std::max(most, pairs.back().score);
    }
  // Codes tell heads apart, not their inputs: a pair is an edge to each input of the later head, and what is in the circuit
  // hears the input and reaches the logits, so that the circuit can be run.
  auto join = [&](const std::string& from, const Head& to, bool in, double score) {
    for (const std::string& role : input_.model.mixer_info(to.node.layer).inputs) {
      NodeName reads = to.node;
      reads.role = role;
      g.edges.push_back({from, reads.text(), in, score});
    }
  };
  int64_t edges = 0;
  for (const Pair& p : pairs) {
    const bool in = most > 0 && p.score >= edge_threshold * most;
    edges += in;
    join(p.from->node.text(), *p.to, in, p.score);
  }
  for (const Head* h : members) {
    join("input", *h, true, h->overlap.score());
    g.edges.push_back({h->node.text(), "logits", true, h->overlap.score()});
  }
  g.nodes.push_back({"input", !members.empty(), 0});
  g.nodes.push_back({"logits", !members.empty(), 0});
  out.summary.push_back(plain_number("circuit_heads", static_cast<double>(members.size()), "", "heads in the circuit"));
  out.summary.push_back(plain_number("circuit_edges", static_cast<double>(edges), "", "pairs of heads in the circuit"));
  return g;
}

AnalysisResult Run::finish(const std::vector<std::vector<NamedArray>>& items) {
  std::vector<Head> heads = read(items);
  at::Tensor score = at::full({layers_, heads_}, NAN, at::kDouble), unique = score.clone(), quality = at::full({2, layers_}, NAN, at::kDouble);
  std::vector<at::Tensor> codes;
  for (int64_t l = 0; l < layers_; ++l) {
    codes.push_back(to_tensor(find_array(items[static_cast<size_t>(l)], "codes")));
    quality.select(1, l).copy_(to_tensor(find_array(items[static_cast<size_t>(l)], "quality")));
  }
  std::vector<double> scores;
  for (const Head& h : heads) {
    score[h.node.layer][h.node.head] = h.overlap.score();
    unique[h.node.layer][h.node.head] = static_cast<double>(h.overlap.unique);
    scores.push_back(h.overlap.score());
  }
  AnalysisResult out;
  out.summary.push_back(plain_number("prompts", static_cast<double>(input_.dataset.pairs.size()), "", "pairs of a positive and a negative prompt"));
  out.summary.push_back(plain_number("unexplained", nan_mean(quality[0], 0).item<double>(), "share",
                                     "variance of head outputs that the autoencoders do not explain, mean over layers"));
  Circuit g = circuit(heads, out);

  std::vector<const Head*> order;
  for (const Head& h : heads) order.push_back(&h);
  std::stable_sort(order.begin(), order.end(), [](const Head* a, const Head* b) { return a->overlap.score() > b->overlap.score(); });
  Table t{"heads", "Heads by score",
          {{"head", "", ""}, {"kind", "", "softmax or recurrent"}, {"score", "share", "unique codes as a share of all"}, {"unique", "", "codes that only positive examples have"},
           {"codes", "", "codes that any example has"}}, {}};
  for (const Head* h : order)
    t.rows.push_back({head_name(h->node.layer, h->node.head), std::string(input_.model.mixer_info(h->node.layer).recurrent ? "recurrent" : "softmax"),
                      h->overlap.score(), h->overlap.unique, h->overlap.all});
  if (order[0]->overlap.unique == 0) {
    out.findings.push_back("No head has a code that only positive examples have: on these prompts the heads' outputs do not tell positive from negative.");
  } else {
    out.findings.push_back("Head " + head_name(order[0]->node.layer, order[0]->node.head) + " tells positive from negative examples best: " +
                           std::to_string(order[0]->overlap.unique) + " of its " + std::to_string(order[0]->overlap.all) + " codes are unique to positive ones.");
    int64_t members = std::count_if(g.nodes.begin(), g.nodes.end(), [](const Circuit::Node& n) { return n.in_graph; }) - 2;   // input, logits
    out.findings.push_back("The circuit has " + std::to_string(members) + " of " + std::to_string(heads.size()) + " heads.");
  }
  if (!reference_.empty()) {
    std::vector<bool> in;
    for (const Head& h : heads) in.push_back(std::find(reference_.begin(), reference_.end(), h.node) != reference_.end());
    double area = roc_curve(scores, in).area;
    out.summary.push_back(plain_number("roc_area", area, "", "chance that a head of the reference scores above another; 0.5 is guessing"));
    out.findings.push_back(std::isnan(area) ? "The reference names every head, so there is nothing to tell it from."
                                            : "Against the " + std::to_string(reference_.size()) + " heads of the reference the area under the ROC curve is " + short_number(area) + ".");
  }
  TensorMap map = head_map(input_.model, "discrete_sae_circuit", "Heads by their codes",
                           {{"score", "share", "codes unique to positive examples as a share of all the head's codes", score},
                            {"unique", "", "codes unique to positive examples", unique}}, {});
  map.axis_labels["sign"] = {"positive", "negative"};
  map.arrays.push_back(to_array("codes", {"layer", "head", "sign", "example"}, at::stack(codes), "", "each example's code; -1 where the layer has no such head"));
  map.arrays.push_back(to_array("unexplained", {"layer"}, quality[0], "share", "variance that the layer's autoencoder does not explain"));
  map.arrays.push_back(to_array("active", {"layer"}, quality[1], "", "active features an example"));
  out.artifacts.push_back(std::move(map));
  out.artifacts.push_back(std::move(t));
  out.artifacts.push_back(std::move(g));
  for (int64_t l = 0; l < layers_; ++l)
    if (!this->heads(l)) out.warnings.push_back("layer " + std::to_string(l) + " (" + input_.model.mixer_info(l).kind + ") does not split into heads and has no codes");
  return out;
}

}  // namespace

void register_discrete_sae_circuit(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
