// Where heads look: one row a head from streamed patterns, whole patterns for the first prompts.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/pattern_numbers.h"
#include "analysis/engine/prompts.h"
#include "analysis/registry.h"
#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

using engine::block_point;
using engine::HeadScore;

constexpr int64_t kPromptsPerItem = 16;
constexpr int64_t kQuerySpan = 512;  // queries of a softmax layer whose pattern is held
const double kNaN = std::numeric_limits<double>::quiet_NaN();

// What an item holds a prompt: [prompt, layer, head] each.
const char* const kStats[] = {"entropy",    "sink_mass", "first_token",    "self",
                              "prev_token", "distance",  "negative_share", "pattern_residual"};

class AttentionRun : public AnalysisRun {
 public:
  AttentionRun(const AnalysisInput& input, const AnalysisInfo& info) : input_(input) {
    engine::require_prompts(input, info, false);
    groups_ = engine::group_prompts(input, false, kPromptsPerItem);
    layers_ = engine::layer_count(input.model);
    heads_ = engine::most_pattern_heads(input.model);
  }

  int64_t item_count() const override { return static_cast<int64_t>(groups_.size()); }
  std::string item_title(int64_t item) const override {
    const engine::PromptGroup& g = groups_.at(static_cast<size_t>(item));
    return std::to_string(g.prompts.size()) + " prompts of " + std::to_string(g.length) + " tokens";
  }
  void set_batch(int64_t rows) override { batch_ = std::max<int64_t>(1, rows); }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    at::NoGradGuard no_grad;
    const engine::PromptGroup& g = groups_.at(static_cast<size_t>(item));
    int64_t count = static_cast<int64_t>(g.prompts.size());
    std::map<std::string, std::vector<at::Tensor>> parts;
    std::vector<NamedArray> out;
    for (int64_t from = 0; from < count; from += batch_) {
      progress.step(from, count);
      int64_t rows = std::min(batch_, count - from);
      run_rows(g, from, rows, parts, out);
    }
    for (const char* name : kStats)
      out.push_back(engine::to_array(name, {"prompt", "layer", "head"}, at::cat(parts[name])));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  void run_rows(const engine::PromptGroup& g, int64_t from, int64_t rows,
                std::map<std::string, std::vector<at::Tensor>>& parts, std::vector<NamedArray>& out);
  bool kept(int64_t prompt, int64_t length) const {
    return prompt < input_.params.get_int("max_patterns") && length <= input_.params.get_int("max_pattern_tokens");
  }
  void add_patterns(const std::vector<std::vector<NamedArray>>& items, AnalysisResult& result) const;
  void add_findings(const std::map<std::string, at::Tensor>& mean, AnalysisResult& result) const;

  AnalysisInput input_;
  std::vector<engine::PromptGroup> groups_;
  int64_t layers_ = 0, heads_ = 0, batch_ = 8;
};

void AttentionRun::run_rows(const engine::PromptGroup& g, int64_t from, int64_t rows,
                            std::map<std::string, std::vector<at::Tensor>>& parts, std::vector<NamedArray>& out) {
  const Model& model = input_.model;
  int64_t length = g.length;
  std::map<std::string, at::Tensor> sums;
  for (const char* name : kStats)
    sums[name] = at::full({rows, layers_, heads_}, kNaN, at::TensorOptions().dtype(at::kDouble));
  std::map<int64_t, at::Tensor> patterns;  // row → [layer, head, q_pos, k_pos]
  for (int64_t r = 0; r < rows; ++r)
    if (kept(g.prompts[static_cast<size_t>(from + r)], length))
      patterns[r] = at::full({layers_, heads_, length, length}, kNaN, at::TensorOptions().dtype(at::kFloat));

  // Softmax layers whose patterns nobody keeps answer in numbers a query.
  auto by_numbers = [&](int64_t l) { return patterns.empty() && engine::has_pattern_numbers(model, l); };
  auto wish = [&](int64_t l) {
    engine::LayerWish out;
    out.cut = !by_numbers(l);
    out.prepare = [&, l](HookPlan& plan) {
      if (by_numbers(l)) {
        plan.capture(block_point(l, "attn.hook_pattern_statistics"));
        engine::ask_offsets(plan, l, {0, 1});
        return;
      }
      for (const char* p : {"attn.hook_pattern", "attn.hook_pattern_residual"})
        if (engine::has_point(model, l, p)) plan.capture(block_point(l, p));
    };
    return out;
  };
  auto on_layer = [&](int64_t l, int64_t first, const ActivationCache& cache) {
    // Sums over queries; those but entropy and the sink's leave out the first query, which can only see itself.
    auto add = [&](const char* stat, const at::Tensor& by_query, bool all) {  // [rows, head, query]
      int64_t heads = by_query.size(1), queries = by_query.size(2);
      at::Tensor later = (at::arange(first, first + queries, by_query.options()) >= 1).to(by_query.scalar_type());
      at::Tensor part = (all ? by_query : by_query * later).sum(-1, false, at::kDouble).to(at::kCPU);
      int64_t n = all ? length : length - 1;
      at::Tensor cell = sums[stat].select(1, l).narrow(1, 0, heads);
      part = part / static_cast<double>(n);
      cell.copy_(first == 0 ? (n > 0 ? part : at::full_like(part, kNaN)) : cell + part);
    };
    if (by_numbers(l)) {
      const at::Tensor at_first = engine::pattern_number(cache, l, "first");
      add("entropy", engine::pattern_number(cache, l, "entropy"), true);
      add("sink_mass", at_first, true);
      add("first_token", at_first, false);
      add("self", engine::at_place(cache, l, 0), false);
      add("prev_token", engine::at_place(cache, l, 1), false);
      add("distance", engine::pattern_number(cache, l, "distance"), false);
      add("negative_share", at::zeros_like(at_first), true);
      return;
    }
    std::string name = block_point(l, "attn.hook_pattern");
    if (!cache.has(name)) return;
    at::Tensor a = cache.get(name);
    bool recurrent = model.mixer_info(l).recurrent;
    int64_t heads = a.size(1), queries = a.size(2), keys = first + queries;
    at::Tensor m = engine::attention_mass(a, recurrent, keys);
    at::Tensor distance =
        at::arange(first, first + queries, m.options()).unsqueeze(1) - at::arange(0, keys, m.options()).unsqueeze(0);
    add("entropy", -at::xlogy(m, m).sum(-1), true);
    add("sink_mass", m.select(3, 0), true);
    add("first_token", m.select(3, 0), false);
    add("self", engine::at_offset(m, first, 0), false);
    add("prev_token", engine::at_offset(m, first, 1), false);
    add("distance", (m * distance).sum(-1), false);
    if (recurrent) {
      at::Tensor size = a.abs().sum(-1).clamp_min(std::numeric_limits<float>::min());
      add("negative_share", a.clamp_max(0).abs().sum(-1) / size, true);
    } else {
      add("negative_share", at::zeros({rows, heads, queries}, m.options()), true);
    }
    std::string residual = block_point(l, "attn.hook_pattern_residual");
    if (cache.has(residual))
      sums["pattern_residual"].select(1, l).narrow(1, 0, heads).copy_(cache.get(residual).to(at::kCPU, at::kDouble));
    for (auto& [r, whole] : patterns) {
      at::Tensor rows_of = whole.select(0, l).narrow(0, 0, heads).narrow(1, first, queries);
      at::Tensor signed_a = a.select(0, r).to(at::kCPU, at::kFloat);
      if (signed_a.size(2) != keys) signed_a = signed_a.unflatten(2, {keys, signed_a.size(2) / keys}).sum(-1);
      rows_of.zero_();
      rows_of.narrow(2, 0, keys).copy_(signed_a);
    }
  };
  engine::stream_layers_asking(model, g.clean.narrow(0, from, rows), input_.form, kQuerySpan, wish, on_layer);
  for (const char* name : kStats) parts[name].push_back(sums[name]);
  for (const auto& [r, whole] : patterns)
    out.push_back(engine::to_array("pattern." + std::to_string(g.prompts[static_cast<size_t>(from + r)]),
                                   {"layer", "head", "q_pos", "k_pos"}, whole));
}

AnalysisResult AttentionRun::finish(const std::vector<std::vector<NamedArray>>& items) {
  int64_t prompts = static_cast<int64_t>(input_.dataset.pairs.size());
  std::map<std::string, at::Tensor> all, mean;  // [prompt, layer, head], [layer, head]
  for (const char* name : kStats) {
    all[name] = at::full({prompts, layers_, heads_}, kNaN, at::TensorOptions().dtype(at::kDouble));
    for (size_t i = 0; i < items.size(); ++i)
      all[name].index_copy_(0, at::tensor(groups_[i].prompts, at::kLong),
                            engine::to_tensor(engine::find_array(items[i], name)));
    mean[name] = engine::nan_mean(all[name], 0);
  }
  double epsilon = input_.params.get_float("epsilon");
  at::Tensor is_sink =
      at::where(all["sink_mass"].isnan(), all["sink_mass"], (all["sink_mass"] > epsilon).to(at::kDouble));
  mean["sink_rate"] = engine::nan_mean(is_sink, 0);
  all["sink_rate"] = is_sink;

  AnalysisResult result;
  auto by_prompt = [&](const char* name) {
    at::Tensor v = at::nanmean(all[name], {1, 2}).contiguous();
    return std::vector<double>(v.const_data_ptr<double>(), v.const_data_ptr<double>() + v.numel());
  };
  result.summary.push_back(
      engine::plain_number("prompts", static_cast<double>(prompts), "", "how many prompts were run"));
  uint64_t seed = item_seed(input_.seed, 1 << 20);
  result.summary.push_back(engine::summarise(
      "sink_rate", by_prompt("sink_rate"), "share of heads",
      "heads whose mean attention to position 0 exceeds " + engine::short_number(epsilon) + ", mean over prompts",
      seed));
  result.summary.push_back(engine::summarise("entropy", by_prompt("entropy"), "nats",
                                             "entropy of a row of the pattern, mean over queries, heads and prompts",
                                             seed + 1));
  result.summary.push_back(engine::summarise("prev_token", by_prompt("prev_token"), "share",
                                             "attention to the token before, mean over heads and prompts", seed + 2));
  result.summary.push_back(engine::summarise("distance", by_prompt("distance"), "tokens",
                                             "how far back attention lies, mean over heads and prompts", seed + 3));

  const std::string of = " (recurrent heads: absolute weights divided by their row's sum)";
  std::vector<HeadScore> scores = {
      {"entropy", "nats", "-Σ p ln p of a row, mean over all queries" + of, mean["entropy"]},
      {"sink_rate", "share of prompts",
       "prompts on which mean attention to position 0 over all queries exceeds epsilon", mean["sink_rate"]},
      {"first_token", "share", "attention to position 0, mean over queries after the first" + of, mean["first_token"]},
      {"self", "share", "attention to the query's own position, queries after the first" + of, mean["self"]},
      {"prev_token", "share", "attention to the position before, queries after the first" + of, mean["prev_token"]},
      {"distance", "tokens", "Σ p (query - key), queries after the first" + of, mean["distance"]},
      {"negative_share", "share", "share of a row's absolute weight that is negative; 0 for softmax",
       mean["negative_share"]},
      {"pattern_residual", "", "|A v - z| / |z|: how exactly the matrix repeats the recurrence; absent for softmax",
       mean["pattern_residual"]}};
  result.artifacts.push_back(engine::head_table(input_.model, "heads", "Where each head looks", scores));
  result.artifacts.push_back(engine::head_map(input_.model, "head_scores", "Where each head looks", scores, {}));
  add_patterns(items, result);
  add_findings(mean, result);
  for (int64_t l = 0; l < layers_; ++l)
    if (!engine::has_point(input_.model, l, "attn.hook_pattern"))
      result.warnings.push_back("layer " + std::to_string(l) + " (" + input_.model.mixer_info(l).kind +
                                ") has no attention matrix; its cells are empty");
  return result;
}

void AttentionRun::add_patterns(const std::vector<std::vector<NamedArray>>& items, AnalysisResult& result) const {
  std::map<int64_t, at::Tensor> by_prompt;
  std::vector<engine::PromptGroup> shown;
  int64_t too_long = 0;
  for (size_t i = 0; i < items.size(); ++i)
    for (int64_t p : groups_[i].prompts) {
      if (!kept(p, groups_[i].length)) {
        too_long += p < input_.params.get_int("max_patterns");
        continue;
      }
      by_prompt[p] = engine::to_tensor(engine::find_array(items[i], "pattern." + std::to_string(p)));
      engine::PromptGroup only;
      only.length = groups_[i].length;
      only.prompts = {p};
      shown.push_back(only);
    }
  if (too_long)
    result.warnings.push_back("the patterns of " + std::to_string(too_long) +
                              " prompts are not kept: they are longer than max_pattern_tokens");
  if (by_prompt.empty()) return;
  int64_t width = engine::longest(shown);
  std::vector<at::Tensor> whole;
  TensorMap map;
  map.name = "patterns";
  map.title = "Attention patterns of the first prompts";
  Table tokens{"pattern_tokens",
               "Tokens of the prompts whose patterns are kept",
               {{"prompt", "", ""}, {"pos", "", "aligned at the end"}, {"token", "", ""}},
               {}};
  for (const auto& [p, t] : by_prompt) {
    whole.push_back(engine::pad_nan(engine::pad_nan(t, 2, width, true), 3, width, true));
    map.axis_labels["prompt"].push_back("prompt " + std::to_string(p + 1));
    const std::vector<int64_t>& ids = input_.dataset.pairs[static_cast<size_t>(p)].clean_ids;
    std::vector<std::string> texts = engine::token_texts(input_.tokenizer, ids);
    for (size_t k = 0; k < texts.size(); ++k)
      tokens.rows.push_back({p, width - static_cast<int64_t>(texts.size()) + static_cast<int64_t>(k), texts[k]});
  }
  map.arrays.push_back(engine::to_array("pattern", {"layer", "head", "prompt", "q_pos", "k_pos"}, at::stack(whole, 2),
                                        "share",
                                        "the weights A in z = A v; softmax: probabilities; recurrent: the exact matrix "
                                        "the recurrence amounts to, signed"));
  map.looks["pattern"] = "pattern";
  map.axis_labels["q_pos"] = map.axis_labels["k_pos"] = engine::position_labels(input_, shown);
  map.axis_labels["layer"] = engine::number_labels("L", layers_);
  map.axis_labels["head"] = engine::number_labels("H", heads_);
  result.artifacts.push_back(std::move(map));
  result.artifacts.push_back(std::move(tokens));
}

void AttentionRun::add_findings(const std::map<std::string, at::Tensor>& mean, AnalysisResult& result) const {
  const std::string& model = input_.model.config().name;
  auto say = [&](const char* stat, double least, const std::string& role) {
    for (const engine::TopHead& t : engine::top_heads(mean.at(stat), 1))
      if (t.value >= least)
        result.findings.push_back("Head " + engine::head_name(t.layer, t.head) + (model.empty() ? "" : " of " + model) +
                                  " " + role + ": " + engine::short_number(t.value) + " of its attention goes there.");
  };
  say("prev_token", 0.4, "looks at the previous token");
  say("first_token", 0.5, "rests on the first token");
  say("self", 0.6, "looks at its own token");
  at::Tensor sinks = mean.at("sink_rate");
  int64_t heads = (~sinks.isnan()).sum().item<int64_t>(), many = (sinks > 0.5).sum().item<int64_t>();
  result.findings.push_back(std::to_string(many) + " of " + std::to_string(heads) +
                            " heads are attention sinks on most prompts (mean attention to the first token above " +
                            engine::short_number(input_.params.get_float("epsilon")) + ").");
  for (const engine::TopHead& t : engine::top_heads(mean.at("negative_share"), 1))
    if (t.value > 0.05)
      result.findings.push_back("Recurrent head " + engine::head_name(t.layer, t.head) + " subtracts: " +
                                engine::short_number(t.value) + " of its absolute weight is negative.");
}

AnalysisInfo attention_info() {
  AnalysisInfo info;
  info.name = "attention";
  info.title = "Attention patterns";
  info.definition =
      "The matrix A in z = A v of every head (softmax probabilities, or the exact matrix a linear recurrence "
      "amounts to), and one row a head: entropy, sink rate, attention to first, own and previous token, distance.";
  info.source = "arXiv 2410.10781 (attention sinks)";
  info.prompts = AnalysisInfo::Prompts::kClean;
  info.outputs = {{"pattern",
                   {"layer", "head", "prompt", "q_pos", "k_pos"},
                   "weights A of the first prompts, signed for recurrent heads"},
                  {"entropy", {"layer", "head"}, "entropy of a row, nats, mean over all queries"},
                  {"sink_rate", {"layer", "head"}, "share of prompts with mean attention to position 0 above epsilon"},
                  {"first_token", {"layer", "head"}, "attention to position 0, queries after the first"},
                  {"self", {"layer", "head"}, "attention to the own position"},
                  {"prev_token", {"layer", "head"}, "attention to the position before"},
                  {"distance", {"layer", "head"}, "mean distance in tokens"},
                  {"negative_share", {"layer", "head"}, "share of absolute weight that is negative"},
                  {"pattern_residual", {"layer", "head"}, "|A v - z| / |z| of recurrent heads"}};
  return info;
}

}  // namespace

void register_attention(Registry& registry) {
  AnalysisInfo info = attention_info();
  registry.add({info, [info](const AnalysisInput& input) { return std::make_unique<AttentionRun>(input, info); }});
}

}  // namespace microtome::analyses
