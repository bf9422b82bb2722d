// Direct logit attribution: the logit difference at the last position as a sum over what wrote into the residual
// stream.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"
#include "analysis/engine/prompts.h"
#include "analysis/registry.h"
#include "core/base/rng.h"
#include "core/model/weights.h"

namespace microtome::analyses {
namespace {

using engine::block_point;

constexpr int64_t kPromptsPerItem = 16;
const double kNaN = std::numeric_limits<double>::quiet_NaN();

const std::pair<const char*, std::vector<std::string>> kParts[] = {{"heads", {"layer", "head", "prompt"}},
                                                                   {"mlps", {"layer", "prompt"}},
                                                                   {"attn_bias", {"layer", "prompt"}},
                                                                   {"embed", {"prompt"}},
                                                                   {"pos_embed", {"prompt"}},
                                                                   {"const", {"prompt"}},
                                                                   {"logit_diff", {"prompt"}}};

at::Tensor nans(std::vector<int64_t> shape) { return at::full(shape, kNaN, at::TensorOptions().dtype(at::kDouble)); }

// A part's name as a sentence begins with it: "MLP 3", "Head 3.2", "The embedding".
std::string sentence_start(const std::string& part) {
  if (part.starts_with("mlp ")) return "MLP " + part.substr(4);
  if (part.starts_with("head ")) return "Head " + part.substr(5);
  return "The " + part;
}

class DlaRun : public AnalysisRun {
 public:
  DlaRun(const AnalysisInput& input, const AnalysisInfo& info) : input_(input), info_(info) {
    engine::require_prompts(input, info, true);
    engine::require_linear_readout(input.model, "direct logit attribution");
    groups_ = engine::group_prompts(input, false, kPromptsPerItem);
    for (const engine::PromptGroup& g : groups_)
      engine::Metric("logit_diff", input, g);  // every prompt has its answers
    layers_ = engine::layer_count(input.model);
    heads_ = engine::most_heads(input.model);
    by_source_ = input.params.get_bool("by_source");
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
      progress.step(from, count);
      int64_t rows = std::min(batch_, count - from);
      for (auto& [name, t] : attribute(engine::part_of(g, from, rows))) parts[name].push_back(t);
    }
    std::vector<NamedArray> out;
    for (const auto& [name, axes] : kParts)
      out.push_back(engine::to_array(name, axes, at::cat(parts[name], static_cast<int64_t>(axes.size()) - 1)));
    if (by_source_)
      out.push_back(engine::to_array("heads_by_source_position", {"layer", "head", "prompt", "pos"},
                                     at::cat(parts["heads_by_source_position"], 2)));
    return out;
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override;

 private:
  // What the unembedding reads, a prompt: mean over answers minus mean over wrong answers, [rows, d_model]; and of its
  // bias.
  std::pair<at::Tensor, at::Tensor> directions(const engine::PromptGroup& g) const {
    const ModelWeights& w = input_.model.weights();
    const at::Tensor table = w.get(input_.model.config().tied_unembedding ? "embed.weight" : "unembed.weight");
    at::Tensor bias = w.find("unembed.bias");
    std::vector<at::Tensor> rows, biases;
    for (int64_t p : g.prompts) {
      const PromptPair& pair = input_.dataset.pairs[static_cast<size_t>(p)];
      auto mean = [&](const at::Tensor& t, const std::vector<int64_t>& ids) {
        return t.index_select(0, at::tensor(ids, at::kLong).to(t.device())).to(at::kDouble).mean(0);
      };
      rows.push_back(mean(table, pair.answer_ids) - mean(table, pair.wrong_ids));
      biases.push_back(bias.defined() ? mean(bias, pair.answer_ids) - mean(bias, pair.wrong_ids)
                                      : at::zeros({}, rows.back().options()));
    }
    return {at::stack(rows), at::stack(biases)};
  }

  std::map<std::string, at::Tensor> attribute(const engine::PromptGroup& g) const;
  at::Tensor through_post_norm(int64_t layer, const ActivationCache& cache, const at::Tensor& g) const;
  at::Tensor by_source(int64_t layer, const ActivationCache& cache, const at::Tensor& g, const at::Tensor& heads) const;
  bool splits_by_source(int64_t layer) const {
    // Behind a norm by head the read-out is no sum over positions; without the output matrix there is nothing to split.
    return engine::has_point(input_.model, layer, "attn.hook_pattern") &&
           engine::has_point(input_.model, layer, "attn.hook_v") &&
           !engine::has_point(input_.model, layer, "attn.hook_z_normalized") &&
           input_.model.weights().has(block_point(layer, "attn.o_proj.weight"));
  }

  AnalysisInput input_;
  AnalysisInfo info_;
  std::vector<engine::PromptGroup> groups_;
  int64_t layers_ = 0, heads_ = 0, batch_ = 8;
  bool by_source_ = false;
};

std::map<std::string, at::Tensor> DlaRun::attribute(const engine::PromptGroup& group) const {
  const Model& model = input_.model;
  int64_t rows = group.clean.size(0);
  // Behind a norm of the embeddings, tokens and positions are no parts of their own: what enters the stack is one part.
  bool normed = model.config().embed_norm.has_value(), learned = model.config().learned_positions > 0 && !normed;
  const std::string entry = normed ? block_point(0, "hook_resid_pre") : "hook_embed";
  HookPlan plan;
  plan.form = input_.form;
  plan.logit_positions = std::vector<int64_t>{-1};
  const bool norm = model.config().final_norm.kind != NormConfig::Kind::kNone;
  plan.capture(entry, {-1}).capture("unembed.hook_in", {-1});
  if (norm) plan.capture("ln_final.hook_scale", {-1});
  if (learned) plan.capture("hook_pos_embed", {-1});
  for (int64_t l = 0; l < layers_; ++l) {
    for (const char* point : {"hook_attn_out", "hook_mlp_out", "ln1_post.hook_scale"})
      if (engine::has_point(model, l, point)) plan.capture(block_point(l, point), {-1});
    if (engine::has_point(model, l, "attn.hook_result")) plan.capture(block_point(l, "attn.hook_result"), {-1});
    if (!by_source_ || !splits_by_source(l)) continue;
    plan.capture(block_point(l, "attn.hook_pattern"), {-1}).capture(block_point(l, "attn.hook_v"));
    if (engine::has_point(model, l, "attn.hook_gate")) plan.capture(block_point(l, "attn.hook_gate"), {-1});
  }
  ForwardResult run = model.forward(group.clean, plan);
  auto last = [&](const std::string& name) { return run.cache.get(name).select(1, 0).to(at::kDouble); };

  auto [direction, bias] = directions(group);
  at::Tensor gain = engine::final_gain(model), shift = model.weights().find("ln_final.bias");
  // What multiplies the logits multiplies every part; a soft cap comes after, so parts add up to what it is given.
  direction = direction * model.config().logit_scale;
  bias = bias * model.config().logit_scale;
  at::Tensor g = gain.defined() ? direction * gain.to(at::kDouble) : direction;
  // Centring is a projection, so it may act on the direction instead of on every contribution.
  if (model.config().final_norm.kind == NormConfig::Kind::kLayer) g = g - g.mean(-1, true);
  if (norm) g = g / last("ln_final.hook_scale");
  auto reads = [&](const at::Tensor& x) { return (x * g).sum(-1).to(at::kCPU); };  // [rows, d_model] → [rows]

  std::map<std::string, at::Tensor> out;
  out["heads"] = nans({layers_, heads_, rows});
  out["mlps"] = nans({layers_, rows});
  out["attn_bias"] = nans({layers_, rows});
  if (by_source_) out["heads_by_source_position"] = nans({layers_, heads_, rows, group.length});
  for (int64_t l = 0; l < layers_; ++l) {
    at::Tensor rest = reads(last(block_point(l, "hook_attn_out")));
    std::string result = block_point(l, "attn.hook_result");
    if (run.cache.has(result)) {
      at::Tensor by_head = (last(result) * through_post_norm(l, run.cache, g).unsqueeze(1)).sum(-1).to(at::kCPU);
      out["heads"].select(0, l).narrow(0, 0, by_head.size(1)).copy_(by_head.t());
      rest = rest - by_head.sum(1);
      if (by_source_ && splits_by_source(l))
        out["heads_by_source_position"]
            .select(0, l)
            .narrow(0, 0, by_head.size(1))
            .copy_(by_source(l, run.cache, through_post_norm(l, run.cache, g), by_head));
    }
    out["attn_bias"].select(0, l).copy_(rest);
    if (engine::has_point(model, l, "hook_mlp_out"))
      out["mlps"].select(0, l).copy_(reads(last(block_point(l, "hook_mlp_out"))));
  }
  out["embed"] = reads(last(entry));
  out["pos_embed"] =
      learned ? reads(last("hook_pos_embed")) : at::zeros({rows}, at::TensorOptions().dtype(at::kDouble));
  at::Tensor constant = bias;
  if (shift.defined()) constant = constant + (direction * shift.to(at::kDouble)).sum(-1);
  out["const"] = constant.to(at::kCPU);
  if (model.config().logit_softcap > 0)
    out["logit_diff"] = ((last("unembed.hook_in") * direction).sum(-1) + bias).to(at::kCPU);
  else
    out["logit_diff"] = engine::Metric("logit_diff", input_, group).last(run.logits.select(1, -1)).to(at::kCPU);
  return out;
}

// The direction as a head's result sees it: through the norm behind the mixer, its scale frozen, where there is one.
at::Tensor DlaRun::through_post_norm(int64_t l, const ActivationCache& cache, const at::Tensor& g) const {
  const LayerConfig& layer = input_.model.config().layers[static_cast<size_t>(l)];
  at::Tensor out = layer.add1 == 1 ? g : g * layer.add1;
  if (!layer.post1 || layer.post1->kind == NormConfig::Kind::kNone) return out;
  at::Tensor gain = input_.model.weights().find(block_point(l, "ln1_post.weight"));
  if (gain.defined()) out = out * (gain.to(at::kDouble) + layer.post1->offset);
  if (layer.post1->kind == NormConfig::Kind::kLayer) out = out - out.mean(-1, true);
  return out / cache.get(block_point(l, "ln1_post.hook_scale")).select(1, 0).to(at::kDouble);
}

// The heads' parts over source positions, [head, rows, pos]; NaN for a layer where they do not add up to the parts.
at::Tensor DlaRun::by_source(int64_t l, const ActivationCache& cache, const at::Tensor& g,
                             const at::Tensor& heads) const {
  at::Tensor a = cache.get(block_point(l, "attn.hook_pattern")).select(2, 0).to(at::kDouble);  // [rows, head, k_pos]
  at::Tensor v = cache.get(block_point(l, "attn.hook_v")).to(at::kDouble);  // [rows, pos, kv head, d_v]
  int64_t rows = a.size(0), count = a.size(1), length = v.size(1);
  at::Tensor nan = nans({count, rows, length});
  if (a.size(2) != length || count % v.size(2) != 0) return nan;
  v = v.repeat_interleave(count / v.size(2), 2);
  at::Tensor o = input_.model.weights().get(block_point(l, "attn.o_proj.weight")).to(at::kDouble);
  if (o.size(1) != count * v.size(3)) return nan;
  const Params& params = input_.model.config().layers[static_cast<size_t>(l)].mixer_params;
  o = o * params.get_float("multiplier_out", 1.0);
  at::Tensor back = at::matmul(g, o).view({rows, count, v.size(3)});  // W_O^T g by head
  std::string gate = block_point(l, "attn.hook_gate");
  if (cache.has(gate)) back = back * cache.get(gate).select(1, 0).to(at::kDouble);
  at::Tensor parts = a * at::einsum("bshv,bhv->bhs", {v, back});
  double off = (parts.sum(-1).to(at::kCPU) - heads).abs().max().item<double>();
  return off <= 1e-3 * std::max(1.0, heads.abs().max().item<double>()) ? parts.permute({1, 0, 2}).to(at::kCPU) : nan;
}

AnalysisResult DlaRun::finish(const std::vector<std::vector<NamedArray>>& items) {
  int64_t prompts = static_cast<int64_t>(input_.dataset.pairs.size()), width = engine::longest(groups_);
  std::map<std::string, at::Tensor> all;
  auto gather = [&](const std::string& name, int64_t axis) {
    for (size_t i = 0; i < items.size(); ++i) {
      at::Tensor t = engine::to_tensor(engine::find_array(items[i], name));
      if (name == "heads_by_source_position") t = engine::pad_nan(t, 3, width, true);
      if (!all[name].defined()) {
        std::vector<int64_t> shape = t.sizes().vec();
        shape[static_cast<size_t>(axis)] = prompts;
        all[name] = nans(shape);
      }
      all[name].index_copy_(axis, at::tensor(groups_[i].prompts, at::kLong), t);
    }
  };
  for (const auto& [name, axes] : kParts) gather(name, static_cast<int64_t>(axes.size()) - 1);
  if (by_source_) gather("heads_by_source_position", 2);
  at::Tensor sum = at::nansum(all["heads"], {0, 1}) + at::nansum(all["mlps"], 0) + all["attn_bias"].sum(0) + all["embed"] +
                   all["pos_embed"] + all["const"];
  double gap = (sum - all["logit_diff"]).abs().max().item<double>();
  double size = std::max(1.0, all["logit_diff"].abs().max().item<double>());

  AnalysisResult result;
  auto values = [](const at::Tensor& t) {
    at::Tensor c = t.contiguous();
    return std::vector<double>(c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel());
  };
  uint64_t seed = item_seed(input_.seed, 1 << 20);
  result.summary = {engine::plain_number("prompts", static_cast<double>(prompts), "", "how many prompts were run"),
                    engine::summarise("logit_diff", values(all["logit_diff"]), "logits",
                                      "logit of the answer minus the mean over wrong answers", seed),
                    engine::plain_number("largest_gap", gap, "logits",
                                         "largest difference between the sum of all parts and logit_diff")};
  if (gap > 1e-4 * size && input_.model.dtype() != at::kHalf && input_.model.dtype() != at::kBFloat16)
    result.warnings.push_back("the parts miss the logit difference by up to " + engine::short_number(gap) + " logits");

  if (input_.model.config().logit_softcap > 0)
    result.warnings.push_back("this model caps its logits softly; the difference here is the one before the cap");

  TensorMap map;
  map.name = "dla";
  map.title = "Direct logit attribution";
  map.axis_labels["layer"] = engine::number_labels("L", layers_);
  map.axis_labels["head"] = engine::number_labels("H", heads_);
  map.axis_labels["prompt"] = engine::number_labels("prompt ", prompts);
  for (const OutputInfo& o : info_.outputs) {
    if (!all.count(o.name)) continue;
    map.arrays.push_back(engine::to_array(o.name, o.axes, all[o.name], "logits", o.help));
    map.looks[o.name] = "diverging";
  }
  if (by_source_) map.axis_labels["pos"] = engine::position_labels(input_, groups_);
  result.artifacts.push_back(std::move(map));
  at::Tensor head_mean = engine::nan_mean(all["heads"], 2);
  result.artifacts.push_back(engine::head_map(
      input_.model, "heads_mean", "Direct effect of each head",
      {{"heads_mean", "logits", "a head's part of the logit difference, mean over prompts", head_mean}},
      {"heads_mean"}));

  struct Part {
    std::string name;
    at::Tensor by_prompt;
  };
  std::vector<Part> parts = {{"embedding", all["embed"]}, {"constant", all["const"]}};
  if (input_.model.config().learned_positions) parts.push_back({"position embedding", all["pos_embed"]});
  for (int64_t l = 0; l < layers_; ++l) {
    if (engine::has_point(input_.model, l, "hook_mlp_out"))
      parts.push_back({"mlp " + std::to_string(l), all["mlps"].select(0, l)});
    at::Tensor bias = all["attn_bias"].select(0, l);
    bool has_heads = engine::has_point(input_.model, l, "attn.hook_result");
    if (!has_heads || bias.abs().max().item<double>() > 1e-4)
      parts.push_back({(has_heads ? "attention bias " : "attention ") + std::to_string(l), bias});
    for (int64_t h = 0; has_heads && h < input_.model.mixer_info(l).heads; ++h)
      parts.push_back({"head " + engine::head_name(l, h), all["heads"][l][h]});
    if (!has_heads)
      result.warnings.push_back("layer " + std::to_string(l) + " (" + input_.model.mixer_info(l).kind +
                                ") does not split into heads; all of it counts as attn_bias");
    if (by_source_ && !splits_by_source(l))
      result.warnings.push_back(
          "layer " + std::to_string(l) + " (" + input_.model.mixer_info(l).kind +
          ") is not split by source position: its read-out passes a norm, which is no sum over positions");
  }
  std::vector<SummaryItem> rows;
  for (const Part& p : parts) rows.push_back(engine::summarise(p.name, values(p.by_prompt), "logits", "", seed + 1));
  std::stable_sort(rows.begin(), rows.end(),
                   [](const SummaryItem& a, const SummaryItem& b) { return std::fabs(a.value) > std::fabs(b.value); });
  Table table{"components",
              "Parts of the logit difference, largest first",
              {{"component", "", ""},
               {"mean", "logits", "mean over prompts"},
               {"low", "logits", "95 % interval"},
               {"high", "logits", "95 % interval"}},
              {}};
  for (const SummaryItem& r : rows)
    table.rows.push_back(
        {r.name, r.value, std::isnan(r.low) ? Cell{} : Cell{r.low}, std::isnan(r.high) ? Cell{} : Cell{r.high}});
  result.artifacts.push_back(std::move(table));
  double total = all["logit_diff"].mean().item<double>();
  for (size_t i = 0; i < std::min<size_t>(3, rows.size()); ++i)
    result.findings.push_back(sentence_start(rows[i].name) + (rows[i].value >= 0 ? " adds " : " takes ") +
                              engine::short_number(std::fabs(rows[i].value)) + " logits " +
                              (rows[i].value >= 0 ? "to" : "from") + " the answer's lead of " +
                              engine::short_number(total) + ", directly.");
  return result;
}

AnalysisInfo dla_info() {
  AnalysisInfo info;
  info.name = "dla";
  info.title = "Direct logit attribution";
  info.definition =
      "The logit difference at the last position as a sum over embedding, heads, MLPs and biases, with the "
      "final norm's scale frozen.";
  info.source = "TransformerLens; Elhage et al. 2021";
  info.prompts = AnalysisInfo::Prompts::kClean;
  info.outputs = {{"heads", {"layer", "head", "prompt"}, "a head's part, after gate and output projection"},
                  {"mlps", {"layer", "prompt"}, "an MLP's part"},
                  {"attn_bias", {"layer", "prompt"}, "what a token mixer adds beside its heads (output bias)"},
                  {"embed", {"prompt"}, "the token embedding's part"},
                  {"pos_embed", {"prompt"}, "the position embedding's part, 0 without one"},
                  {"const", {"prompt"}, "biases of the final norm and of the unembedding"},
                  {"logit_diff", {"prompt"}, "what all parts add up to"},
                  {"heads_by_source_position",
                   {"layer", "head", "prompt", "pos"},
                   "a head's part over the positions it reads from (by_source)"}};
  return info;
}

}  // namespace

void register_dla(Registry& registry) {
  AnalysisInfo info = dla_info();
  registry.add({info, [info](const AnalysisInput& input) { return std::make_unique<DlaRun>(input, info); }});
}

}  // namespace microtome::analyses
