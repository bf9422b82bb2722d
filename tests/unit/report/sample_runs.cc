#include "tests/unit/report/sample_runs.h"

#include <cmath>
#include <functional>

#include "core/base/circuit_ops.h"
#include "core/base/rng.h"
#include "core/base/sha256.h"

namespace microtome::testing {
namespace {

constexpr int64_t kLayers = 4, kHeads = 4, kPrompts = 8, kPos = 20;

const std::vector<std::string> kClean = {"<bos>", "Then",    ",",      " Mary", " and", " John", " went",
                                         " to",   " the",    " store", ".",     "\n",   "John",  " gave",
                                         " a",    " bottle", " of",    " milk", " to",  " the"};

std::vector<std::string> corrupted_tokens() {
  std::vector<std::string> t = kClean;
  t[12] = "Mary";
  return t;
}

NamedArray array(const std::string& name, std::vector<std::string> axes, std::vector<int64_t> shape,
                 const std::string& unit, const std::string& help,
                 const std::function<double(const std::vector<int64_t>&)>& f) {
  int64_t n = 1;
  for (int64_t s : shape) n *= s;
  std::vector<float> data;
  for (int64_t i = 0; i < n; ++i) {
    std::vector<int64_t> index(shape.size());
    int64_t rest = i;
    for (size_t k = shape.size(); k-- > 0;) {
      index[k] = rest % shape[k];
      rest /= shape[k];
    }
    data.push_back(static_cast<float>(f(index)));
  }
  return {name, std::move(axes), std::move(shape), std::move(data), unit, help};
}

Json model_facts(bool linear) {
  Json layers = Json::array();
  for (int i = 0; i < kLayers; ++i) {
    layers.push_back({{"index", i},
                      {"mixer", linear ? "gated_delta_net" : "softmax_attention"},
                      {"kind", linear ? "recurrent" : "softmax"},
                      {"heads", kHeads}});
  }
  return {{"name", linear ? "twin-linear" : "twin-softmax"},
          {"family", linear ? "gated_deltanet" : "llama"},
          {"parameters", 3412992},
          {"d_model", 128},
          {"d_mlp", 352},
          {"vocab", 4096},
          {"dtype", "float32"},
          {"layers", layers}};
}

Json prompts() {
  Json list = Json::array();
  for (int i = 0; i < kPrompts; ++i) {
    list.push_back({{"clean", kClean},
                    {"corrupted", corrupted_tokens()},
                    {"answer", " Mary"},
                    {"wrong", {" John"}},
                    {"labels", {{"template", i % 2 ? "BABA" : "ABBA"}}},
                    {"positions", {{"IO", 3}, {"S1", 5}, {"S2", 12}, {"END", kPos - 1}}}});
  }
  return list;
}

struct Definition {
  const char *name, *title, *definition, *source;
};

ReportRun make_run(const Definition& d, bool linear, std::map<std::string, std::string> params, int64_t id) {
  ReportRun run;
  RunRecord& r = run.record;
  r.id = id;
  r.analysis = r.spec.analysis = d.name;
  r.model_name = r.spec.model_name = linear ? "twin-linear" : "twin-softmax";
  r.dataset_name = r.spec.dataset_name = "ioi";
  r.created = "2025-01-15T10:00:00Z";
  r.spec.dataset_hash = sha256_hex("ioi");
  r.spec.weights_hash = sha256_hex(r.model_name);
  r.spec.tokenizer_hash = sha256_hex("tokenizer");
  r.spec.answer_params = std::move(params);
  r.spec.cost_params = {{"batch", "16"}};
  r.spec.device = "cpu";
  std::string flags;
  for (const auto& [k, v] : r.spec.answer_params) flags += " --set " + k + "=" + v;
  r.command = std::string("microtome run ") + d.name + " --model models/" + r.model_name + " --task ioi" + flags +
              " --project demo.microtome";
  r.key_text = r.command;
  r.key_hash = sha256_hex(r.key_text);
  r.state = RunStatus::kDone;
  r.items_done = r.items_total = kPrompts;
  run.context = {
      {"model", model_facts(linear)},
      {"prompts", prompts()},
      {"task",
       {{"name", "ioi"},
        {"title", "Indirect object identification"},
        {"description",
         "The sentence names two people and then repeats one; the answer is the other. In the corrupted prompt "
         "the repeated name is the other person, so the right answer flips."},
        {"source", "2211.00593"}}},
      {"analysis", {{"title", d.title}, {"definition", d.definition}, {"source", d.source}}},
      {"attempt",
       {{"device", "cpu, 8 threads"},
        {"versions", {{"microtome", "0.1.0"}, {"libtorch", "2.11.0"}}},
        {"seconds", 3.42},
        {"events", Json::array()}}}};
  return run;
}

// Softmax-like rows for chosen roles; linear heads with signs.
double pattern_value(bool linear, int64_t l, int64_t h, int64_t q, int64_t k) {
  if (k > q) return 0;
  double score = -0.25 * static_cast<double>(q - k) * ((h + 1) % 3) * 0.5;
  if (h == 1 && k == q - 1) score = 4;
  if (h == 2 && k == 0) score = 4.5;
  if (l >= 2 && h == 3 && q > 11 && (k == 3 || k == q - 7)) score = 3.5;
  double total = 0;
  for (int64_t j = 0; j <= q; ++j) {
    double s = -0.25 * static_cast<double>(q - j) * ((h + 1) % 3) * 0.5;
    if (h == 1 && j == q - 1) s = 4;
    if (h == 2 && j == 0) s = 4.5;
    if (l >= 2 && h == 3 && q > 11 && (j == 3 || j == q - 7)) s = 3.5;
    total += std::exp(s);
  }
  double p = std::exp(score) / total;
  return linear ? p * 1.3 - ((k * 7 + q * 3 + l) % 5 == 0 ? 0.12 : 0) : p;
}

std::map<std::string, std::vector<std::string>> token_axes() {
  return {{"pos", kClean}, {"q_pos", kClean}, {"k_pos", kClean}};
}

void add_attention(std::vector<ReportRun>& out, bool linear, int64_t id) {
  static const Definition d = {
      "attention", "Attention patterns",
      "The weight each head gives each earlier token: probabilities for softmax heads, the exact "
      "matrix the recurrence amounts to for linear heads (it may be negative).",
      "2410.10781 (sinks)"};
  ReportRun run = make_run(d, linear, {{"sink_threshold", "0.3"}}, id);
  TensorMap map{"patterns",
                "Patterns",
                {},
                token_axes(),
                {{"pattern", "pattern"}, {"entropy", "sequential"}, {"prev_token", "sequential"}}};
  map.arrays.push_back(array("pattern", {"layer", "head", "prompt", "q_pos", "k_pos"},
                             {kLayers, kHeads, kPrompts, kPos, kPos}, "", "weights A in z = A v",
                             [&](const auto& i) { return pattern_value(linear, i[0], i[1], i[3], i[4]); }));
  map.arrays.push_back(
      array("entropy", {"layer", "head"}, {kLayers, kHeads}, "nats", "mean entropy of a row",
            [&](const auto& i) { return 0.4 + 0.31 * ((i[0] * 3 + i[1] * 5) % 7) + (linear ? 0.2 : 0); }));
  map.arrays.push_back(array("prev_token", {"layer", "head"}, {kLayers, kHeads}, "",
                             "mean weight on the previous token",
                             [&](const auto& i) { return i[1] == 1 ? 0.93 : 0.08 + 0.01 * i[0]; }));
  run.result.artifacts.push_back(map);
  Table t{"heads",
          "Heads",
          {{"layer", "", ""},
           {"head", "", ""},
           {"entropy", "nats", "mean entropy of the rows"},
           {"sink rate", "", "share of rows with more than 0.3 on the first token"},
           {"previous", "", "mean weight on the previous token"},
           {"negative share", "", "share of weights below zero"}},
          {}};
  for (int64_t l = 0; l < kLayers; ++l) {
    for (int64_t h = 0; h < kHeads; ++h)
      t.rows.push_back({l, h, 0.4 + 0.31 * ((l * 3 + h * 5) % 7), h == 2 ? 0.97 : 0.02, h == 1 ? 0.93 : 0.08,
                        linear ? Cell{0.11} : Cell{}});
  }
  run.result.artifacts.push_back(t);
  run.result.summary = {{"sink heads", 4.0, "", "heads with a sink rate above one half", NAN, NAN, kPrompts},
                        {"mean entropy", linear ? 1.52 : 1.32, "nats", "over heads and rows", linear ? 1.44 : 1.26,
                         linear ? 1.61 : 1.39, kPrompts}};
  run.result.findings = {
      linear ? "4 of 16 heads put most weight on the first token, although nothing makes the rows sum to one."
             : "4 of 16 heads are attention sinks: they put more than 0.3 on the first token in most rows."};
  out.push_back(run);
}

void add_patching(std::vector<ReportRun>& out, bool linear, const std::string& site, int64_t id) {
  static const Definition d = {"activation_patching", "Activation patching",
                               "Run the corrupted prompt, put back one site's clean value, and see how much of the "
                               "clean answer returns: 0 as corrupted, 1 as clean.",
                               "2211.00593, 2309.16042"};
  ReportRun run = make_run(d, linear, {{"direction", "noising"}, {"metric", "logit_diff"}, {"site", site}}, id);
  TensorMap map{"effect",
                site == "z" ? "Effect of one head" : "Effect by layer and position",
                {},
                token_axes(),
                {{"effect", "diverging"}}};
  double strength = linear ? 0.55 : 0.9;
  if (site == "z") {
    map.arrays.push_back(array("effect", {"layer", "head"}, {kLayers, kHeads}, "",
                               "share of the clean logit difference restored", [&](const auto& i) {
                                 return i[0] >= 2 && i[1] == 3 ? strength * (i[0] == 3 ? 0.7 : 0.4)
                                                               : 0.04 * ((i[0] + 2 * i[1]) % 4) - 0.05;
                               }));
  } else {
    std::vector<std::string> axes = {"layer", "pos"};
    std::vector<int64_t> shape = {kLayers, kPos};
    if (site == "state") {
      axes.push_back("head");
      shape.push_back(kHeads);
    }
    map.arrays.push_back(
        array("effect", axes, shape, "", "share of the clean logit difference restored", [&](const auto& i) {
          if (i[1] < 2) return std::nan("");
          if (i.size() == 3 && i[2] != 3) return 0.02 * ((i[0] + i[1] + i[2]) % 3) - 0.02;
          if (i[1] == 12 && i[0] <= 1) return strength;
          if (i[1] == kPos - 1 && i[0] >= 2) return strength * (i[0] == 3 ? 1 : 0.62);
          return 0.03 * ((i[0] * 5 + i[1]) % 5) - 0.06;
        }));
  }
  run.result.artifacts.push_back(map);
  run.result.summary = {
      {"clean logit difference", linear ? 2.1 : 3.4, "logits", "answer minus wrong answer on clean prompts",
       linear ? 1.8 : 3.1, linear ? 2.4 : 3.7, kPrompts},
      {"corrupted logit difference", linear ? -1.9 : -3.2, "logits", "the same on corrupted prompts",
       linear ? -2.3 : -3.6, linear ? -1.5 : -2.8, kPrompts}};
  if (site == "z")
    run.result.findings = {
        linear ? "Head 3 of layer 3 restores 39 % of the clean logit difference; no other head restores more than 22 %."
               : "Head 3 of layer 3 restores 63 % of the clean logit difference."};
  if (site == "resid_pre") run.result.warnings = {"2 pairs of unequal length were left out (lines 4 and 9)"};
  out.push_back(run);
}

void add_states(std::vector<ReportRun>& out, int64_t id) {
  static const Definition d = {"states", "Recurrent states",
                               "Size, effective rank and forgetting of each head's state after every token.",
                               "2411.12537, 2312.06635"};
  ReportRun run = make_run(d, true, {{"top", "4"}}, id);
  TensorMap map{"states", "States by position", {}, token_axes(), {{"norm", "sequential"}}};
  for (const char* name : {"norm", "effective_rank", "write_norm", "erase", "half_life", "read_norm"}) {
    double k = std::string(name).size();
    map.arrays.push_back(array(name, {"layer", "prompt", "pos", "head"}, {kLayers, kPrompts, kPos, kHeads},
                               k > 8 ? "" : "tokens", "per position and head", [&](const auto& i) {
                                 return std::sqrt(1.0 + i[2]) *
                                        (1 + 0.2 * ((i[0] * 3 + i[3] * 2 + static_cast<int64_t>(k)) % 5));
                               }));
  }
  run.result.artifacts.push_back(map);
  Series s{"capacity", "State norm by position", "position", "Frobenius norm", {}};
  for (int64_t l = 0; l < kLayers; ++l) {
    Series::Line line{"layer " + std::to_string(l), {}, {}};
    for (int64_t p = 0; p < kPos; ++p) {
      line.x.push_back(static_cast<double>(p));
      line.y.push_back(std::sqrt(1.0 + p) * (1 + 0.3 * l));
    }
    s.lines.push_back(line);
  }
  run.result.artifacts.push_back(s);
  run.result.findings = {
      "States of layer 2 keep half of what they hold for about 14 tokens, long enough to reach from the name to the "
      "end of the sentence."};
  out.push_back(run);
}

void add_lens(std::vector<ReportRun>& out, bool linear, int64_t id) {
  static const Definition d = {"logit_lens", "Logit lens",
                               "Final norm and unembedding applied to the residual stream after every layer.",
                               "2303.08112"};
  ReportRun run = make_run(d, linear, {}, id);
  TensorMap map{"lens", "Distance to the final distribution", {}, token_axes(), {{"kl", "sequential"}}};
  map.arrays.push_back(array("kl", {"layer", "prompt", "pos"}, {kLayers + 1, kPrompts, kPos}, "nats",
                             "KL from the layer's distribution to the model's own",
                             [](const auto& i) { return (kLayers - i[0]) * (1.1 + 0.1 * ((i[2] * 3) % 7)); }));
  run.result.artifacts.push_back(map);
  Table t{"top",
          "Top tokens at the last position",
          {{"layer", "", ""}, {"token", "", "most likely next token"}, {"probability", "", ""}},
          {}};
  const char* tokens[] = {" the", " store", " John", " Mary", " Mary"};
  for (int64_t l = 0; l <= kLayers; ++l) t.rows.push_back({l, std::string(tokens[l]), 0.02 + 0.19 * l});
  run.result.artifacts.push_back(t);
  out.push_back(run);
}

void add_head_arrays(std::vector<ReportRun>& out, const Definition& d, bool linear, std::vector<std::string> names,
                     bool prompt, int64_t id) {
  ReportRun run = make_run(d, linear, {{"seed_items", "8"}}, id);
  TensorMap map{"heads", "By head", {}, {}, {}};
  for (const std::string& name : names) {
    std::vector<std::string> axes = {"layer", "head"};
    std::vector<int64_t> shape = {kLayers, kHeads};
    if (prompt) axes.push_back("prompt"), shape.push_back(kPrompts);
    map.looks[name] = d.name == std::string("head_probes") ? "sequential" : "diverging";
    map.arrays.push_back(
        array(name, axes, shape, d.name == std::string("dla") ? "logits" : "", "one number a head", [&](const auto& i) {
          double sign = map.looks[name] == "diverging" && i[1] == 0 ? -1 : 1;
          return sign *
                 (i[1] == 3 && i[0] >= 2 ? 0.8 : 0.05 * ((i[0] + i[1] * 2 + static_cast<int64_t>(name.size())) % 5)) *
                 (linear ? 0.7 : 1);
        }));
  }
  map.arrays.push_back(
      array("mlps", {"layer"}, {kLayers}, "", "one number a layer", [](const auto& i) { return 0.3 - 0.2 * i[0]; }));
  run.result.artifacts.push_back(map);
  run.result.artifacts.push_back(
      Text{"remark", "Remark",
           "Heads are named **layer.head**.\n\n- scores near 1 are clean examples\n- `seed_items` fixes the draw"});
  out.push_back(run);
}

void add_circuit(std::vector<ReportRun>& out, bool linear, int64_t id) {
  static const Definition d = {
      "eap", "Edge attribution patching",
      "First-order estimate of what replacing each edge by its corrupted value would do to the metric.", "2310.10348"};
  ReportRun run = make_run(d, linear, {{"edges", "12"}}, id);
  // Every edge of the model, with scores as they come: most near 0, some strong, on ways through a few heads.
  Circuit c{"circuit", linear ? "Circuit of the linear twin" : "Circuit of the softmax model", kLayers, kHeads, 128, false, {}, {}, {}};
  Rng rng(linear ? 8 : 7);
  std::vector<std::string> ports = {"q", "k", "v"}, sources = {"input"};
  if (linear) ports.insert(ports.end(), {"beta", "decay", "k_conv"});
  const auto worth = [&](const std::string& node) { return node == "input" || node[0] == 'm' ? 0.5 : (node.back() - '0' + 3 * (node[1] - '0')) % 5 == 2 ? 1.0 : 0.1; };
  const auto edge = [&](const std::string& from, const std::string& node, const std::string& port) {
    const double far = node == "logits" ? 1 : worth(node);
    c.edges.push_back({from, node + (port.empty() ? "" : "<" + port + ">"), false, rng.normal() * worth(from) * far * far});
  };
  for (int64_t l = 0; l < kLayers; ++l) {
    std::vector<std::string> written;
    for (int64_t h = 0; h < kHeads; ++h) {
      written.push_back("a" + std::to_string(l) + ".h" + std::to_string(h));
      for (const std::string& from : sources)
        for (const std::string& port : ports) edge(from, written.back(), port);
    }
    sources.insert(sources.end(), written.begin(), written.end());
    for (const std::string& from : sources) edge(from, "m" + std::to_string(l), "");
    sources.push_back("m" + std::to_string(l));
  }
  for (const std::string& from : sources) edge(from, "logits", "");
  for (const std::string& n : sources) c.nodes.push_back({n, true, 0.1});
  c.nodes.push_back({"logits", true, 0});
  c = prune_dead_ends(top_edges(c, 48)).circuit;
  c.groups = {{"name movers", {"a2.h1", "a3.h3"}}, {"early", {"a0.h2", "m0"}}};
  Series faith{"faithfulness", "Faithfulness by size", "edges (%)", "faithfulness", {{"eap", {}, {}}, {"random edges", {}, {}}}};
  for (double share : {0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0}) {
    faith.lines[0].x.push_back(share);
    faith.lines[0].y.push_back(1 - 1 / (1 + share * (linear ? 0.6 : 1.2)));
    faith.lines[1].x.push_back(share);
    faith.lines[1].y.push_back(share * share / 1e4);
  }
  run.result.artifacts.push_back(faith);
  run.result.artifacts.push_back(c);
  out.push_back(run);
}

}  // namespace

std::vector<ReportRun> sample_runs() {
  static const Definition dla = {
      "dla", "Direct logit attribution",
      "What each head and MLP adds to the logit difference directly, the final norm held fixed.", "TransformerLens"};
  static const Definition ablation = {"ablation", "Ablation",
                                      "Replace one head's output by its mean and measure the metric.", ""};
  static const Definition probes = {"head_probes", "Head probes",
                                    "Induction, previous-token and duplicate scores on repeated random tokens, and the "
                                    "loss when a head is taken out.",
                                    "2209.11895, 2404.07129"};
  std::vector<ReportRun> out;
  int64_t id = 1;
  for (bool linear : {false, true}) {
    add_attention(out, linear, id++);
    for (const char* site : {"z", "resid_pre", "mlp_out"}) add_patching(out, linear, site, id++);
    if (linear) add_patching(out, linear, "state", id++);
    if (linear) add_states(out, id++);
    add_lens(out, linear, id++);
    add_head_arrays(out, dla, linear, {"heads"}, true, id++);
    add_head_arrays(out, ablation, linear, {"value", "kl", "loss"}, false, id++);
    add_head_arrays(out, probes, linear,
                    {"induction", "prev_token", "duplicate", "prefix_matching", "copying", "ablation_loss"}, false,
                    id++);
    add_circuit(out, linear, id++);
  }
  return out;
}

ReportOptions sample_options() {
  return {"How a softmax model and its linear twin find the indirect object",
          "Which heads move the name, and does a recurrent state do the same work as attention?",
          "## Reading\n\nBoth models were trained on the **same** text.\n\n1. Compare the head maps.\n2. Compare the "
          "states.\n",
          "2025-01-15 10:30 UTC"};
}

ReportRun single_run(std::vector<Artifact> artifacts) {
  static const Definition d = {"custom", "Custom analysis", "A definition.", "a source"};
  ReportRun run = make_run(d, false, {}, 1);
  run.result.artifacts = std::move(artifacts);
  return run;
}

}  // namespace microtome::testing
