// What recurrent layers remember: size, rank, writes, erasure and retention of the state, token by token.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/prompts.h"
#include "analysis/registry.h"
#include "analysis/states/keep.h"
#include "analysis/states/measure.h"
#include "analysis/states/walk.h"
#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

constexpr int64_t kPromptsPerItem = 16;
constexpr size_t kSeriesHeads = 6;
const double kNaN = std::numeric_limits<double>::quiet_NaN();
const char* const kByHead[] = {"norm", "effective_rank", "write_norm", "erase", "half_life", "read_norm", "transition"};

class StatesRun : public AnalysisRun {
 public:
  StatesRun(const AnalysisInput& input, const AnalysisInfo& info) : input_(input), info_(info) {
    for (int64_t l = 0; l < engine::layer_count(input.model); ++l)
      if (input.model.mixer_info(l).recurrent && engine::has_point(input.model, l, "attn.hook_state"))
        recurrent_.push_back(l);
    if (recurrent_.empty())
      throw Error(StatusCode::kUnsupported, "the model has no recurrent layer, so there is no state to look at",
                  input.model.config().name.empty() ? "model" : input.model.config().name,
                  "use a model with linear-attention layers, or analysis 'attention'");
    engine::require_prompts(input, info, false);
    groups_ = engine::group_prompts(input, false, kPromptsPerItem);
    heads_ = engine::most_state_heads(input.model);
    chosen_ = engine::chosen_heads(input.params.get_string("heads"), heads_);
    top_ = input.params.get_int("top_singular");
    kept_ = states::parse_kept(input.params.get_string("keep"), input.model,
                               static_cast<int64_t>(input.dataset.pairs[0].clean_ids.size()));
    for (size_t g = 0; g < groups_.size(); ++g)
      for (int64_t l : recurrent_) items_.emplace_back(g, l);
  }

  int64_t item_count() const override { return static_cast<int64_t>(items_.size()); }
  std::string item_title(int64_t item) const override {
    const auto& [g, l] = items_.at(static_cast<size_t>(item));
    return "layer " + std::to_string(l) + ", " + std::to_string(groups_[g].prompts.size()) + " prompts of " +
           std::to_string(groups_[g].length) + " tokens";
  }
  void set_batch(int64_t rows) override { batch_ = std::max<int64_t>(1, rows); }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    at::NoGradGuard no_grad;
    const auto& [g, l] = items_.at(static_cast<size_t>(item));
    const engine::PromptGroup& group = groups_[g];
    int64_t count = static_cast<int64_t>(group.prompts.size());
    std::map<std::string, std::vector<at::Tensor>> parts;
    double mismatch = 0;
    for (int64_t from = 0; from < count; from += batch_) {
      progress.step(from, count);
      at::Tensor tokens = group.clean.narrow(0, from, std::min(batch_, count - from));
      for (auto& [name, t] : run_rows(l, tokens, mismatch, progress)) parts[name].push_back(t);
    }
    std::vector<NamedArray> out;
    for (auto& [name, t] : parts) {
      std::vector<std::string> axes = {"prompt", "pos", "head"};
      if (name == "singular_values") axes.push_back("rank");
      out.push_back(engine::to_array(name, axes, at::cat(t)));
    }
    out.push_back(
        engine::to_array("delta_mismatch", {"one"}, at::full({1}, mismatch, at::TensorOptions().dtype(at::kDouble))));
    std::vector<int64_t> kept;
    for (const states::KeptHead& k : kept_)
      if (holds_kept(item, k)) kept.push_back(k.head);
    if (!kept.empty())
      for (NamedArray& a : states::keep_states(input_, l, kept, progress)) out.push_back(std::move(a));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  std::map<std::string, at::Tensor> run_rows(int64_t layer, const at::Tensor& tokens, double& mismatch,
                                             Progress& progress) const;
  void add_series(const std::map<std::string, at::Tensor>& all, AnalysisResult& result) const;
  // The item of the first prompt and the head's layer.
  bool holds_kept(int64_t item, const states::KeptHead& k) const {
    const auto& [g, l] = items_.at(static_cast<size_t>(item));
    return l == k.layer && groups_[g].prompts.front() == 0;
  }

  AnalysisInput input_;
  AnalysisInfo info_;
  std::vector<int64_t> recurrent_;
  std::vector<engine::PromptGroup> groups_;
  std::vector<std::pair<size_t, int64_t>> items_;
  std::vector<bool> chosen_;
  std::vector<states::KeptHead> kept_;
  int64_t heads_ = 0, top_ = 0, batch_ = 8;
};

std::map<std::string, at::Tensor> StatesRun::run_rows(int64_t l, const at::Tensor& tokens, double& mismatch,
                                                      Progress& progress) const {
  int64_t length = tokens.size(1), last = input_.params.get_int("last_positions");
  int64_t begin = last > 0 ? std::max<int64_t>(0, length - last) : 0;
  std::map<std::string, std::vector<at::Tensor>> parts;
  states::walk_states(input_.model, l, tokens, input_.form, begin, progress, [&](int64_t, const states::Span& span) {
    double off = 0;
    for (auto& [name, t] : states::measure(span, top_, off)) parts[name].push_back(t);
    mismatch = std::max(mismatch, off);
  });
  std::map<std::string, at::Tensor> out;
  for (auto& [name, t] : parts) {
    at::Tensor v = engine::pad_nan(engine::pad_nan(at::cat(t, 1), 1, length, true), 2, heads_, false);
    for (int64_t h = 0; h < heads_; ++h)
      if (!chosen_[static_cast<size_t>(h)]) v.select(2, h).fill_(kNaN);
    out[name] = v;
  }
  return out;
}

AnalysisResult StatesRun::finish(const std::vector<std::vector<NamedArray>>& items) {
  int64_t prompts = static_cast<int64_t>(input_.dataset.pairs.size()), width = engine::longest(groups_);
  int64_t layers = engine::layer_count(input_.model);
  std::map<std::string, at::Tensor> all;
  auto empty = [&](std::vector<int64_t> shape) {
    return at::full(shape, kNaN, at::TensorOptions().dtype(at::kDouble));
  };
  for (const char* name : kByHead) all[name] = empty({layers, prompts, width, heads_});
  all["singular_values"] = empty({layers, prompts, width, heads_, top_});
  AnalysisResult result;
  std::vector<bool> warned(static_cast<size_t>(layers), false);
  for (size_t i = 0; i < items.size(); ++i) {
    const auto& [g, l] = items_[i];
    for (auto& [name, t] : all) {
      at::Tensor part = engine::pad_nan(engine::to_tensor(engine::find_array(items[i], name)), 1, width, true);
      at::Tensor of_layer = t.select(0, l);
      of_layer.index_copy_(0, at::tensor(groups_[g].prompts, at::kLong), part);
    }
    double off = engine::find_array(items[i], "delta_mismatch").at(0);
    if (off > 1e-3 && !warned[static_cast<size_t>(l)]) {
      warned[static_cast<size_t>(l)] = true;
      result.warnings.push_back(
          "layer " + std::to_string(l) + " (" + input_.model.mixer_info(l).kind +
          ") has a write strength but does not write by the delta rule; erase and transition are empty there");
    }
  }
  for (int64_t l = 0; l < layers; ++l)
    if (!input_.model.mixer_info(l).recurrent)
      result.warnings.push_back("layer " + std::to_string(l) +
                                " is softmax attention and has no state; its cells are empty");

  TensorMap map;
  map.name = "states";
  map.title = "Recurrent states";
  for (const OutputInfo& o : info_.outputs) {
    if (!all.count(o.name)) continue;
    std::string unit = o.name == "half_life"        ? "tokens"
                       : o.name == "effective_rank" ? "dimensions"
                       : o.name == "erase"          ? "share"
                                                    : "";
    map.arrays.push_back(engine::to_array(o.name, o.axes, all[o.name], unit, o.help));
    map.looks[o.name] = o.name == "transition" ? "diverging" : "sequential";
  }
  map.axis_labels["layer"] = engine::number_labels("L", layers);
  map.axis_labels["head"] = engine::number_labels("H", heads_);
  map.axis_labels["pos"] = engine::position_labels(input_, groups_);
  map.axis_labels["prompt"] = engine::number_labels("prompt ", prompts);
  result.artifacts.push_back(std::move(map));

  Table table{"heads",
              "States a head, mean over prompts and positions",
              {{"layer", "", ""}, {"head", "", "state head"}, {"kind", "", "mixer"}},
              {}};
  std::map<std::string, at::Tensor> mean;
  for (const char* name : kByHead) {
    mean[name] = at::nanmean(all[name], {1, 2});
    for (const OutputInfo& o : info_.outputs)
      if (o.name == name) table.columns.push_back({name, "", o.help});
  }
  table.columns.push_back({"lowest_transition", "", "smallest value of transition"});
  at::Tensor lowest = at::nan_to_num(all["transition"], std::numeric_limits<double>::infinity()).amin({1, 2});
  for (int64_t l : recurrent_)
    for (int64_t h = 0; h < input_.model.mixer_info(l).kv_heads; ++h) {
      if (!chosen_[static_cast<size_t>(h)]) continue;
      std::vector<Cell> row = {l, h, input_.model.mixer_info(l).kind};
      for (const char* name : kByHead) {
        double v = mean[name][l][h].item<double>();
        row.push_back(std::isnan(v) ? Cell{} : Cell{v});
      }
      double low = lowest[l][h].item<double>();
      row.push_back(std::isinf(low) ? Cell{} : Cell{low});
      table.rows.push_back(std::move(row));
    }
  result.artifacts.push_back(std::move(table));
  add_series(all, result);
  for (const states::KeptHead& k : kept_)
    for (size_t i = 0; i < items.size(); ++i)
      if (holds_kept(static_cast<int64_t>(i), k)) result.artifacts.push_back(states::kept_map(input_, k, items[i]));

  auto by_prompt = [&](const char* name) {
    at::Tensor v = at::nanmean(all[name], {0, 2, 3}).contiguous();
    return std::vector<double>(v.const_data_ptr<double>(), v.const_data_ptr<double>() + v.numel());
  };
  uint64_t seed = item_seed(input_.seed, 1 << 20);
  result.summary = {
      engine::plain_number("prompts", static_cast<double>(prompts), "", "how many prompts were run"),
      engine::plain_number("recurrent_layers", static_cast<double>(recurrent_.size()), "", "layers with a state"),
      engine::summarise("effective_rank", by_prompt("effective_rank"), "dimensions",
                        "mean over layers, positions and heads", seed),
      engine::summarise("half_life", by_prompt("half_life"), "tokens",
                        "retention from the decay, mean over layers, positions and heads", seed + 1),
      engine::summarise("erase", by_prompt("erase"), "share",
                        "how much of a write overwrites, mean over layers, positions and heads", seed + 2)};
  auto first = [&](const char* name) { return engine::top_heads(mean.at(name), 1); };
  for (const engine::TopHead& t : first("effective_rank"))
    result.findings.push_back(
        "The state of head " + engine::head_name(t.layer, t.head) +
        " spreads over the most directions: effective rank " + engine::short_number(t.value) + " of " +
        std::to_string(std::min(input_.model.mixer_info(t.layer).d_k, input_.model.mixer_info(t.layer).d_v)) + ".");
  for (const engine::TopHead& t : first("half_life"))
    result.findings.push_back("Head " + engine::head_name(t.layer, t.head) +
                              " keeps what it stored longest: half of it is left after " +
                              engine::short_number(t.value) + " tokens.");
  for (const engine::TopHead& t : first("erase"))
    if (t.value > 0.05)
      result.findings.push_back("Head " + engine::head_name(t.layer, t.head) +
                                " overwrites most: " + engine::short_number(t.value) +
                                " of what a token does to its state removes what the key already held.");
  if (lowest.min().item<double>() < 0)
    result.findings.push_back("Some writes flip the sign of what their key held (transition down to " +
                              engine::short_number(lowest.min().item<double>()) + ").");
  return result;
}

// The norm over the first prompt's tokens, of the heads that write most.
void StatesRun::add_series(const std::map<std::string, at::Tensor>& all, AnalysisResult& result) const {
  at::Tensor writes = at::nanmean(all.at("write_norm").select(1, 0), {1});  // [layer, head]
  Series series{
      "state_norm", "Size of the state over the first prompt, heads that write most", "position", "Frobenius norm", {}};
  at::Tensor norm = all.at("norm").select(1, 0);  // [layer, pos, head]
  int64_t width = norm.size(1), length = static_cast<int64_t>(input_.dataset.pairs[0].clean_ids.size());
  for (const engine::TopHead& t : engine::top_heads(writes, kSeriesHeads)) {
    Series::Line line{"head " + engine::head_name(t.layer, t.head), {}, {}};
    for (int64_t p = 0; p < length; ++p) {
      double v = norm[t.layer][width - length + p][t.head].item<double>();
      if (std::isnan(v)) continue;
      line.x.push_back(static_cast<double>(p));
      line.y.push_back(v);
    }
    series.lines.push_back(std::move(line));
  }
  if (!series.lines.empty()) result.artifacts.push_back(std::move(series));
}

AnalysisInfo states_info() {
  AnalysisInfo info;
  info.name = "states";
  info.title = "Recurrent states";
  info.definition =
      "Size, rank, writes, erasure and retention of the state S_t of every recurrent head, token by token.";
  info.source = "arXiv 2411.12537, 2312.06635, 2406.06484";
  info.prompts = AnalysisInfo::Prompts::kClean;
  std::vector<std::string> axes = {"layer", "prompt", "pos", "head"};
  info.outputs = {
      {"norm", axes, "Frobenius norm of S_t"},
      {"effective_rank", axes, "exp of the entropy of σ²/Σσ²"},
      {"write_norm", axes, "Frobenius norm of what token t adds (net change of delta rules)"},
      {"erase", axes, "|β k (S'ᵀk)ᵀ| / (|β k (S'ᵀk)ᵀ| + |β k vᵀ|) of delta rules; 0 where a write only adds"},
      {"half_life", axes, "ln 2 / -(mean log decay); empty where nothing decays"},
      {"read_norm", axes, "norm of hook_z, mean over the query heads that read this state"},
      {"transition", axes, "value of the per-token transition along k: decay (1 - β|k|²), or the mean decay"},
      {"singular_values", {"layer", "prompt", "pos", "head", "rank"}, "largest singular values of S_t"},
      {"state", {"pos", "d_k", "d_v"}, "S_t of a head named in keep, first prompt"},
      {"write", {"pos", "d_k", "d_v"}, "what the token adds to it"},
      {"eigen_k", {"pos"}, "its transition along k"},
      {"eigen_rest", {"pos"}, "its transition's other eigenvalues; [pos,d_k] where every channel decays by itself"},
      {"product_eigenvalues_re", {"pos", "d_k"}, "eigenvalues of the transitions' product A_t … A_1, real part"},
      {"product_eigenvalues_im", {"pos", "d_k"}, "the same, imaginary part"}};
  return info;
}

}  // namespace

void register_states(Registry& registry) {
  AnalysisInfo info = states_info();
  registry.add({info, [info](const AnalysisInput& input) { return std::make_unique<StatesRun>(input, info); }});
}

}  // namespace microtome::analyses
