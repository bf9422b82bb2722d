// Every residual read as if it were the last: final norm and unembedding after each layer.
#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/prompts.h"
#include "analysis/registry.h"
#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

constexpr int64_t kPromptsPerItem = 16;
const double kNaN = std::numeric_limits<double>::quiet_NaN();
const char* const kOutputs[] = {"logits_top", "top_prob", "kl", "rank", "logprob", "entropy"};

class LogitLensRun : public AnalysisRun {
 public:
  LogitLensRun(const AnalysisInput& input, const AnalysisInfo& info) : input_(input), info_(info) {
    engine::require_prompts(input, info, false);
    groups_ = engine::group_prompts(input, false, kPromptsPerItem);
    layers_ = engine::layer_count(input.model);
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
    for (int64_t from = 0; from < count; from += batch_) {
      int64_t rows = std::min(batch_, count - from);
      progress.step(from, count);
      for (auto& [name, t] : lens(g, from, rows, progress)) parts[name].push_back(t);
    }
    std::vector<NamedArray> out;
    for (const char* name : kOutputs)
      out.push_back(engine::to_array(name, {"layer", "prompt", "pos"}, at::cat(parts[name], 1)));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  // The token each position is judged by: the next one; at the last position the prompt's answer, -1 without one.
  at::Tensor targets(const engine::PromptGroup& g, int64_t from, int64_t rows) const {
    at::Tensor last = at::full({rows, 1}, -1, at::TensorOptions().dtype(at::kLong));
    for (int64_t r = 0; r < rows; ++r) {
      const PromptPair& pair = input_.dataset.pairs[static_cast<size_t>(g.prompts[static_cast<size_t>(from + r)])];
      if (!pair.answer_ids.empty() && pair.answer_ids[0] >= 0 && pair.answer_ids[0] < input_.model.config().vocab_size)
        last[r][0] = pair.answer_ids[0];
    }
    return at::cat({g.clean.narrow(0, from, rows).narrow(1, 1, g.length - 1), last.to(g.clean.device())}, 1);
  }

  std::map<std::string, at::Tensor> lens(const engine::PromptGroup& g, int64_t from, int64_t rows, Progress& progress) {
    const Model& model = input_.model;
    HookPlan plan;
    plan.form = input_.form;
    plan.logits = false;
    std::vector<std::string> names;
    for (int64_t l = 0; l < layers_; ++l) names.push_back(engine::block_point(l, "hook_resid_pre"));
    names.push_back(engine::block_point(layers_ - 1, "hook_resid_post"));
    for (const std::string& n : names) plan.capture(n);
    ForwardResult run = model.forward(g.clean.narrow(0, from, rows), plan);
    int64_t total = rows * g.length, chunk = engine::logit_rows(model);
    at::Tensor target = targets(g, from, rows).flatten();
    std::map<std::string, at::Tensor> out;
    for (const char* name : kOutputs)
      out[name] = at::empty({layers_ + 1, total}, at::TensorOptions().dtype(at::kDouble));
    for (int64_t begin = 0; begin < total; begin += chunk) {
      progress.check();
      int64_t n = std::min(chunk, total - begin);
      auto logits_of = [&](int64_t l) {
        return engine::unembed(model, run.cache.get(names[static_cast<size_t>(l)]).flatten(0, 1).narrow(0, begin, n));
      };
      at::Tensor final_logprobs = at::log_softmax(logits_of(layers_).to(at::kDouble), -1);
      at::Tensor want = target.narrow(0, begin, n), known = want >= 0;
      at::Tensor index = want.clamp_min(0).unsqueeze(1);
      for (int64_t l = 0; l <= layers_; ++l) {
        at::Tensor logits = logits_of(l), logprobs = at::log_softmax(logits.to(at::kDouble), -1);
        auto put = [&](const char* name, const at::Tensor& v) { out[name].select(0, l).narrow(0, begin, n).copy_(v); };
        auto only_known = [&](const at::Tensor& v) { return at::where(known, v, at::full_like(v, kNaN)); };
        put("logits_top", logits.argmax(-1).to(at::kDouble));
        put("top_prob", std::get<0>(logprobs.max(-1)).exp());
        put("kl", (final_logprobs.exp() * (final_logprobs - logprobs)).sum(-1));
        put("rank", only_known((logits > logits.gather(1, index)).sum(-1).to(at::kDouble)));
        put("logprob", only_known(logprobs.gather(1, index).squeeze(1)));
        put("entropy", -(logprobs.exp() * logprobs).sum(-1));
      }
    }
    for (auto& [_, t] : out) t = t.view({layers_ + 1, rows, g.length});
    return out;
  }

  AnalysisInput input_;
  AnalysisInfo info_;
  std::vector<engine::PromptGroup> groups_;
  int64_t layers_ = 0, batch_ = 8;
};

AnalysisResult LogitLensRun::finish(const std::vector<std::vector<NamedArray>>& items) {
  int64_t prompts = static_cast<int64_t>(input_.dataset.pairs.size()), width = engine::longest(groups_);
  std::map<std::string, at::Tensor> all;
  for (const char* name : kOutputs) {
    all[name] = at::full({layers_ + 1, prompts, width}, kNaN, at::TensorOptions().dtype(at::kDouble));
    for (size_t i = 0; i < items.size(); ++i)
      all[name].index_copy_(1, at::tensor(groups_[i].prompts, at::kLong),
                            engine::pad_nan(engine::to_tensor(engine::find_array(items[i], name)), 2, width, true));
  }
  AnalysisResult result;
  std::vector<std::string> row_names = engine::number_labels("before L", layers_);
  row_names.push_back("output");

  TensorMap map;
  map.name = "logit_lens";
  map.title = "Logit lens";
  for (const OutputInfo& o : info_.outputs) {
    std::string unit = o.name == "rank"         ? "tokens"
                       : o.name == "logits_top" ? "id"
                       : o.name == "top_prob"   ? ""
                                                : "nats";
    map.arrays.push_back(engine::to_array(o.name, o.axes, all[o.name], unit, o.help));
    map.looks[o.name] = o.name == "logprob" ? "diverging" : "sequential";
  }
  map.axis_labels["layer"] = row_names;
  map.axis_labels["pos"] = engine::position_labels(input_, groups_);
  map.axis_labels["prompt"] = engine::number_labels("prompt ", prompts);
  result.artifacts.push_back(std::move(map));

  const std::vector<int64_t>& ids = input_.dataset.pairs[0].clean_ids;
  Table top{"top_tokens",
            "Top token after each layer, first prompt",
            {{"pos", "", ""}, {"token", "", "the prompt's token"}},
            {}};
  for (const std::string& n : row_names) top.columns.push_back({n, "", "the token with the largest logit"});
  for (size_t t = 0; t < ids.size(); ++t) {
    int64_t column = width - static_cast<int64_t>(ids.size()) + static_cast<int64_t>(t);
    std::vector<Cell> row = {static_cast<int64_t>(t), engine::token_texts(input_.tokenizer, {ids[t]})[0]};
    for (int64_t l = 0; l <= layers_; ++l)
      row.push_back(engine::token_texts(input_.tokenizer,
                                        {static_cast<int64_t>(all["logits_top"][l][0][column].item<double>())})[0]);
    top.rows.push_back(std::move(row));
  }
  result.artifacts.push_back(std::move(top));

  Series series{"kl_by_layer",
                "Distance to the model's own output",
                "layer",
                "KL (nats)",
                {{"all positions", {}, {}}, {"last position", {}, {}}}};
  at::Tensor kl_all = at::nanmean(all["kl"], {1, 2}), kl_last = at::nanmean(all["kl"].select(2, width - 1), {1});
  for (int64_t l = 0; l <= layers_; ++l) {
    for (Series::Line& line : series.lines) line.x.push_back(static_cast<double>(l));
    series.lines[0].y.push_back(kl_all[l].item<double>());
    series.lines[1].y.push_back(kl_last[l].item<double>());
  }
  result.artifacts.push_back(std::move(series));

  // At the last position: from which row on the top token is the final one, a prompt.
  std::vector<double> decided, kl_half;
  at::Tensor top_last = all["logits_top"].select(2, width - 1), last_kl = all["kl"].select(2, width - 1);
  std::vector<int64_t> early(static_cast<size_t>(layers_ + 1), 0);
  for (int64_t p = 0; p < prompts; ++p) {
    int64_t l = layers_;
    while (l > 0 && top_last[l - 1][p].item<double>() == top_last[layers_][p].item<double>()) --l;
    decided.push_back(static_cast<double>(l));
    ++early[static_cast<size_t>(l)];
    kl_half.push_back(last_kl[layers_ / 2][p].item<double>());
  }
  uint64_t seed = item_seed(input_.seed, 1 << 20);
  result.summary.push_back(
      engine::plain_number("prompts", static_cast<double>(prompts), "", "how many prompts were run"));
  result.summary.push_back(engine::summarise(
      "decided_at", decided, "layers",
      "blocks after which the top token at the last position is the final one for good, mean over prompts", seed));
  result.summary.push_back(
      engine::summarise("kl_half_way", kl_half, "nats",
                        "KL(final ‖ lens) at the last position before layer " + std::to_string(layers_ / 2), seed + 1));
  int64_t before_last = prompts - early[static_cast<size_t>(layers_)];
  result.findings.push_back("On " + std::to_string(before_last) + " of " + std::to_string(prompts) +
                            " prompts the model's top answer is already on top before its last layer.");
  return result;
}

AnalysisInfo logit_lens_info() {
  AnalysisInfo info;
  info.name = "logit_lens";
  info.title = "Logit lens";
  info.definition =
      "Final norm and unembedding of the residual before every layer, and of the last one (the model's own output).";
  info.source = "nostalgebraist 2020; arXiv 2303.08112";
  info.prompts = AnalysisInfo::Prompts::kClean;
  std::vector<std::string> axes = {"layer", "prompt", "pos"};
  info.outputs = {
      {"logits_top", axes, "id of the token with the largest logit"},
      {"top_prob", axes, "probability of the token with the largest logit"},
      {"kl", axes, "KL(final ‖ lens) in nats"},
      {"rank", axes, "tokens with a strictly larger logit than the next token (at the last position: than the answer)"},
      {"logprob", axes, "log probability of the next token (at the last position: of the answer)"},
      {"entropy", axes, "entropy of the lens' distribution in nats"}};
  return info;
}

}  // namespace

void register_logit_lens(Registry& registry) {
  AnalysisInfo info = logit_lens_info();
  registry.add({info, [info](const AnalysisInput& input) { return std::make_unique<LogitLensRun>(input, info); }});
}

}  // namespace microtome::analyses
