// The head panel: what each head does on random tokens that come twice, and what the model loses without it.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/prompts.h"
#include "analysis/head_probes/ablate.h"
#include "analysis/head_probes/probe.h"
#include "analysis/registry.h"
#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

using engine::HeadScore;
using head_probes::Sequences;

constexpr int64_t kSequencesPerItem = 8;
constexpr int64_t kPrefixTokens = 25, kPrefixTimes = 4;
constexpr uint64_t kPrefixItem = uint64_t{1} << 24;  // seeds of the prefix sequences, apart from the others
constexpr int64_t kBatchTokens = 16384;              // tokens a batch holds at most
const double kNaN = std::numeric_limits<double>::quiet_NaN();
const char* const kScores[] = {"induction",          "duplicate",           "prev_token", "induction_diagonal",
                               "duplicate_diagonal", "prev_token_diagonal", "copying"};
const char* const kLosses[] = {"loss_first_half", "loss_second_half"};
const char* const kAblations[] = {"head", "state", "conv"};

class HeadProbesRun : public AnalysisRun {
 public:
  HeadProbesRun(const AnalysisInput& input, const AnalysisInfo& info) : input_(input), info_(info) {
    const Params& p = input.params;
    const Model& model = input.model;
    bool given = p.get_string("tokens") == "dataset";
    int64_t length = given ? 0 : 1 + 2 * p.get_int("n");
    if (!head_probes::fits(model, length))
      throw Error(StatusCode::kBadInput,
                  "sequences of " + std::to_string(length) + " tokens exceed the model's context of " +
                      std::to_string(model.config().context_length),
                  "param n", "set n to at most " + std::to_string((model.config().context_length - 1) / 2));
    repeats_ =
        given ? head_probes::from_dataset(input) : head_probes::draw(input, p.get_int("batch"), p.get_int("n"), 2, 0);
    if (!head_probes::fits(model, repeats_.tokens.size(1)))
      throw Error(
          StatusCode::kBadInput,
          "the dataset's prompts exceed the model's context of " + std::to_string(model.config().context_length),
          input.dataset.name, "shorten them");
    if (head_probes::fits(model, 1 + kPrefixTokens * kPrefixTimes))
      prefix_ = head_probes::draw(input, std::min<int64_t>(repeats_.tokens.size(0), kSequencesPerItem), kPrefixTokens,
                                  kPrefixTimes, kPrefixItem);
    layers_ = engine::layer_count(model);
    heads_ = engine::most_heads(model);
    probe_items_ = (repeats_.tokens.size(0) + kSequencesPerItem - 1) / kSequencesPerItem;
    ablate_ = p.get_string("ablate") != "none";
  }

  // First the sequences, then prefix matching, then the causal test layer by layer.
  int64_t item_count() const override { return probe_items_ + 1 + (ablate_ ? layers_ : 0); }
  std::string item_title(int64_t item) const override {
    if (item < probe_items_) return "attention on repeated tokens, part " + std::to_string(item + 1);
    if (item == probe_items_) return "prefix matching";
    return "without heads of layer " + std::to_string(item - probe_items_ - 1);
  }
  void set_batch(int64_t rows) override { batch_ = std::max<int64_t>(1, rows); }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    at::NoGradGuard no_grad;
    progress.check();
    if (item < probe_items_) return probe(item, progress);
    if (item == probe_items_) return prefix(progress);
    head_probes::AblateOptions options;
    options.mean = input_.params.get_string("ablate") == "mean";
    options.split_state = input_.params.get_bool("split_state");
    options.rows = rows_of(repeats_);
    options.form = input_.form;
    std::vector<NamedArray> out;
    for (auto& [name, t] :
         head_probes::ablate_layer(input_.model, repeats_, item - probe_items_ - 1, options, progress))
      out.push_back(engine::to_array(name, {"sequence", "head"}, t));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  int64_t rows_of(const Sequences& s) const {
    return std::clamp<int64_t>(batch_, 1, std::max<int64_t>(1, kBatchTokens / s.tokens.size(1)));
  }

  std::vector<NamedArray> probe(int64_t item, Progress& progress) {
    int64_t begin = item * kSequencesPerItem, end = std::min(begin + kSequencesPerItem, repeats_.tokens.size(0));
    int64_t step = rows_of(repeats_);
    std::map<std::string, std::vector<at::Tensor>> parts;
    for (int64_t from = begin; from < end; from += step) {
      progress.step(from - begin, end - begin);
      for (auto& [name, t] :
           head_probes::probe_repeats(input_.model, repeats_, from, std::min(step, end - from), input_.form, progress))
        parts[name].push_back(t);
    }
    std::vector<NamedArray> out;
    for (const char* name : kScores)
      out.push_back(engine::to_array(name, {"sequence", "layer", "head"}, at::cat(parts[name])));
    for (const char* name : kLosses) out.push_back(engine::to_array(name, {"sequence"}, at::cat(parts[name])));
    return out;
  }

  std::vector<NamedArray> prefix(Progress& progress) {
    at::Tensor all = at::full({1, layers_, heads_}, kNaN, at::TensorOptions().dtype(at::kDouble));
    if (prefix_.tokens.defined()) {
      std::vector<at::Tensor> parts;
      int64_t count = prefix_.tokens.size(0), step = rows_of(prefix_);
      for (int64_t from = 0; from < count; from += step) {
        progress.step(from, count);
        parts.push_back(
            head_probes::probe_prefix(input_.model, prefix_, from, std::min(step, count - from), input_.form));
      }
      all = at::cat(parts);
    }
    return {engine::to_array("prefix_matching", {"sequence", "layer", "head"}, all)};
  }

  void add_findings(const std::map<std::string, at::Tensor>& mean, AnalysisResult& result) const;

  AnalysisInput input_;
  AnalysisInfo info_;
  Sequences repeats_, prefix_;
  int64_t layers_ = 0, heads_ = 0, probe_items_ = 0, batch_ = 64;
  bool ablate_ = true;
};

AnalysisResult HeadProbesRun::finish(const std::vector<std::vector<NamedArray>>& items) {
  AnalysisResult result;
  std::map<std::string, at::Tensor> by_sequence, mean;  // [sequence, layer, head], [layer, head]
  auto gather = [&](const char* name) {
    std::vector<at::Tensor> parts;
    for (int64_t i = 0; i < probe_items_; ++i)
      parts.push_back(engine::to_tensor(engine::find_array(items[static_cast<size_t>(i)], name)));
    return at::cat(parts);
  };
  for (const char* name : kScores) mean[name] = engine::nan_mean(by_sequence[name] = gather(name), 0);
  mean["prefix_matching"] = engine::nan_mean(
      engine::to_tensor(engine::find_array(items[static_cast<size_t>(probe_items_)], "prefix_matching")), 0);
  const std::map<std::string, std::string> output = {
      {"head", "ablation_loss"}, {"state", "ablation_loss_state"}, {"conv", "ablation_loss_conv"}};
  for (const char* part : kAblations) {
    at::Tensor all = at::full({layers_, heads_}, kNaN, at::TensorOptions().dtype(at::kDouble));
    for (int64_t l = 0; ablate_ && l < layers_; ++l) {
      at::Tensor of_layer = engine::nan_mean(
          engine::to_tensor(engine::find_array(items[static_cast<size_t>(probe_items_ + 1 + l)], part)), 0);
      all.select(0, l).narrow(0, 0, of_layer.size(0)).copy_(of_layer);
    }
    mean[output.at(part)] = all;
  }

  std::vector<HeadScore> scores;
  for (const OutputInfo& o : info_.outputs)
    if (o.axes.size() == 2) {
      bool loss = o.name.rfind("ablation", 0) == 0;
      scores.push_back({o.name, loss ? "nats a token" : o.name == "copying" ? "" : "share", o.help, mean[o.name]});
    }
  const std::string model = input_.model.config().name;
  result.artifacts.push_back(
      engine::head_table(input_.model, "heads", "What each head does on repeated random tokens", scores));
  result.artifacts.push_back(
      engine::head_map(input_.model, "head_scores", "What each head does on repeated random tokens", scores,
                       {"copying", "ablation_loss", "ablation_loss_state", "ablation_loss_conv"}));

  auto values = [](const at::Tensor& t) {
    at::Tensor c = t.contiguous();
    return std::vector<double>(c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel());
  };
  uint64_t seed = item_seed(input_.seed, 1 << 20);
  int64_t sequences = repeats_.tokens.size(0);
  result.summary = {engine::plain_number("sequences", static_cast<double>(sequences), "",
                                         "how many sequences of random tokens were run"),
                    engine::plain_number("n", static_cast<double>(repeats_.n), "tokens", "tokens of a half"),
                    engine::summarise("loss_first_half", values(gather("loss_first_half")), "nats a token",
                                      "tokens 1 … n, which cannot be guessed", seed),
                    engine::summarise("loss_second_half", values(gather("loss_second_half")), "nats a token",
                                      "tokens n + 1 … 2n, the repeat", seed + 1)};
  for (const char* name : {"induction", "prev_token", "duplicate"})
    for (const engine::TopHead& t : engine::top_heads(mean[name], 1))
      result.summary.push_back(engine::summarise(std::string("highest_") + name,
                                                 values(by_sequence[name].select(1, t.layer).select(1, t.head)),
                                                 "share", "head " + engine::head_name(t.layer, t.head), seed + 2));
  add_findings(mean, result);
  for (const std::string& w : repeats_.warnings) result.warnings.push_back(w);
  if (!prefix_.tokens.defined())
    result.warnings.push_back("prefix matching needs " + std::to_string(1 + kPrefixTokens * kPrefixTimes) +
                              " positions, more than the model has; it is empty");
  for (int64_t l = 0; l < layers_; ++l)
    if (!engine::has_point(input_.model, l, "attn.hook_pattern"))
      result.warnings.push_back("layer " + std::to_string(l) + " (" + input_.model.mixer_info(l).kind +
                                ") has no attention matrix; its scores are empty");
  return result;
}

void HeadProbesRun::add_findings(const std::map<std::string, at::Tensor>& mean, AnalysisResult& result) const {
  const std::string& name = input_.model.config().name;
  const std::string of = name.empty() ? "" : " of " + name;
  auto attention = [&](int64_t layer) {
    return std::string(input_.model.mixer_info(layer).recurrent ? "absolute weight" : "attention");
  };
  auto say = [&](const char* score, double least, const std::string& is, const std::string& goes) {
    for (const engine::TopHead& t : engine::top_heads(mean.at(score), 3))
      if (t.value >= least)
        result.findings.push_back("Head " + engine::head_name(t.layer, t.head) + of + " is " + is + ": " +
                                  engine::short_number(t.value) + " of its " + attention(t.layer) + " " + goes + ".");
  };
  say("induction", 0.3, "an induction head", "in the repeated half goes to the token that followed last time");
  std::vector<engine::TopHead> best = engine::top_heads(mean.at("induction"), 1);
  if (!best.empty() && best[0].value < 0.3)
    result.findings.push_back("No head" + of + " is an induction head by attention; the nearest is " +
                              engine::head_name(best[0].layer, best[0].head) + " with " +
                              engine::short_number(best[0].value) + ".");
  say("prev_token", 0.4, "a previous-token head", "goes to the token before");
  say("duplicate", 0.3, "a duplicate-token head", "in the repeated half goes to the same token's first occurrence");
  for (const engine::TopHead& t : engine::top_heads(mean.at("ablation_loss"), 1))
    if (t.value > 0)
      result.findings.push_back("The repeated half suffers most without head " + engine::head_name(t.layer, t.head) +
                                ": its loss rises by " + engine::short_number(t.value) + " nats a token.");
  std::vector<engine::TopHead> conv = engine::top_heads(mean.at("ablation_loss_conv"), 1);
  std::vector<engine::TopHead> state = engine::top_heads(mean.at("ablation_loss_state"), 1);
  if (!conv.empty() && !state.empty())
    result.findings.push_back(
        "Hiding the past from one head's short convolution costs up to " + engine::short_number(conv[0].value) +
        " nats a token (head " + engine::head_name(conv[0].layer, conv[0].head) + "), from one head's state up to " +
        engine::short_number(state[0].value) + " (head " + engine::head_name(state[0].layer, state[0].head) + ").");
}

AnalysisInfo head_probes_info() {
  AnalysisInfo info;
  info.name = "head_probes";
  info.title = "Head panel";
  info.definition =
      "On a start token and n random tokens that come twice: induction, duplicate-token, previous-token and "
      "prefix-matching scores, copying, and the rise of the second half's loss without each head.";
  info.source = "arXiv 2209.11895, 2404.07129, 2505.15105";
  info.prompts = AnalysisInfo::Prompts::kNone;
  std::vector<std::string> axes = {"layer", "head"};
  info.outputs = {
      {"induction", axes, "attention from q in the second half to q - n + 1, mean over q = n+1 … 2n"},
      {"prev_token", axes, "attention from q to q - 1, mean over q = 1 … 2n"},
      {"duplicate", axes, "attention from q in the second half to q - n, mean over q = n+1 … 2n"},
      {"prefix_matching", axes,
       "25 tokens four times: attention to all tokens that followed earlier occurrences, mean over queries from the "
       "second repeat on"},
      {"copying", axes, "place (-1 … 1) that the head's own write gives the token it looks at most"},
      {"ablation_loss", axes, "rise of the second half's loss when the head's z is ablated"},
      {"ablation_loss_state", axes,
       "the same when the head reads only what the current token writes (recurrent layers)"},
      {"ablation_loss_conv", axes, "the same when the head's short convolution sees only the current token"},
      {"induction_diagonal", axes, "mean over the whole diagonal q - k = n - 1"},
      {"prev_token_diagonal", axes, "mean over the whole diagonal q - k = 1"},
      {"duplicate_diagonal", axes, "mean over the whole diagonal q - k = n"}};
  return info;
}

}  // namespace

void register_head_probes(Registry& registry) {
  AnalysisInfo info = head_probes_info();
  registry.add({info, [info](const AnalysisInput& input) { return std::make_unique<HeadProbesRun>(input, info); }});
}

}  // namespace microtome::analyses
