// The patching workload: grids of changed runs against one forward a cell, and attribution patching.
#include <ATen/ATen.h>

#include <algorithm>

#include "analysis/engine/patch_grid.h"
#include "analysis/registry.h"
#include "app/cli/commands/bench_parts.h"
#include "core/families/registry.h"

namespace microtome::cli {

using namespace engine;

Json patching_bench(const CommandLine& line, const Compute& c, Progress& progress) {
  std::string name;
  auto model = bench_model(line, c, name);
  bool cpu = c.device.is_cpu(), small = line.flag("--small");
  int64_t prompts = cpu ? 4 : 16, length = small ? 24 : 64;
  Dataset data = random_pairs(prompts, length, model->config().vocab_size);
  AnalysisInput input{*model, nullptr, data, Params(), 0, MixerForm::kAuto};
  int64_t layers = static_cast<int64_t>(model->config().layers.size());
  Json out = {{"model", name}, {"prompts", prompts}, {"tokens", length}, {"layers", layers}};
  // Every prompt pair differs from the first token on, so nothing is won by a shared prefix of clean and corrupted.
  auto make_grid = [&](const char* site) {
    std::vector<GridGroup> groups;
    for (PromptGroup& p : group_prompts(input, true)) {
      GridGroup g;
      g.base_tokens = p.corrupted;
      g.source_tokens = p.clean;
      g.first_changed = p.first_difference;
      g.metric = std::make_unique<Metric>("logit_diff", input, p);
      g.prompts = std::move(p);
      groups.push_back(std::move(g));
    }
    PatchGrid::Options o;
    o.site = find_site(site);
    return std::make_unique<PatchGrid>(input, o, std::move(groups), nullptr);
  };
  int64_t batch = default_batch_rows(*model, length);
  // Of products alone: all blocks of a run, a token; a cell of layer l needs the blocks from there on.
  const ModelConfig& config = model->config();
  const double block_flop = 2.0 * static_cast<double>(parameter_count(config) - config.vocab_size * config.d_model - config.learned_positions * config.d_model);
  const double tokens = static_cast<double>(prompts * length), head_flop = 2.0 * static_cast<double>(prompts * config.vocab_size * config.d_model);
  const bool known = !line.has("--model") && !small && !cpu;     // the shape that references were measured on
  const std::string shape = std::to_string(prompts) + " × " + std::to_string(length);
  for (const char* site : {"z", "resid_pre"}) {
    std::string what = std::string(site) == "z" ? "head_patching" : "resid_patching";
    at::Tensor mine, reference;
    Timed fast = timed(c.device, cpu ? 1 : 20, cpu ? 0 : 1, [&] {
      auto grid = make_grid(site);
      std::vector<at::Tensor> all;
      for (int64_t l = 0; l < layers; ++l) all.push_back(grid->run_layer(l, batch, progress).at("value"));
      mine = at::stack(all, 0);
    });
    // The reference loop's cost does not depend on the cell; on the CPU only as many layers are run as take about a minute.
    int64_t stride = cpu && !small ? (std::string(site) == "z" ? 3 : layers) : 1, done = 0;
    Timed slow = timed(c.device, 1, 0, [&] {
      auto grid = make_grid(site);
      std::vector<at::Tensor> all;
      done = 0;
      for (int64_t l = layers - 1; l >= 0; l -= stride, ++done) all.push_back(grid->run_layer_reference(l, progress).at("value"));
      reference = at::stack(all, 0);
    });
    std::vector<int64_t> compared;
    for (int64_t l = layers - 1; l >= 0; l -= stride) compared.push_back(l);
    double worst = (mine.index_select(0, at::tensor(compared, at::kLong)) - reference).abs().max().item<double>();
    double scaled = slow.median * static_cast<double>(layers) / static_cast<double>(done);
    out[what] = {{"microtome", fast.json()},
                 {"reference_loop", {{"seconds", scaled}, {"layers_run", done}, {"layers", layers}, {"how", "one forward from the first token a cell, every logit computed"}}},
                 {"ratio", scaled / fast.median}, {"max_abs_difference", worst}};
    const bool z = std::string(site) == "z";
    const int64_t cells = layers * (z ? model->mixer_info(0).heads : length);
    BenchLine row((z ? "head patching, " : "residual patching, ") + std::to_string(cells) + " cells, " + shape, fast);
    // Half the blocks on average; of a position's cell also only the tokens from there on.
    row.flop = static_cast<double>(cells) * (block_flop * tokens * (z ? 0.5 : 0.25) + head_flop);
    if (known) row.reference = z ? 3.18 : 17.9, row.aim = z ? 0.15 : 0.5;
    out["table"].push_back(row.json(c));
  }
  const AnalysisKind* kind = analyses::builtin().find("attribution_patching");
  if (kind) {
    input.params = resolve_params(kind->schema, {{"metric", "logit_diff"}}).value();
    Timed t = timed(c.device, cpu ? 2 : 20, 1, [&] {
      auto run = kind->start(input);
      for (int64_t i = 0; i < run->item_count(); ++i) run->run_item(i, progress);
    });
    out["attribution_patching"] = {{"microtome", t.json()}};
    BenchLine row("attribution patching of all heads, " + shape, t);
    row.flop = 3 * block_flop * tokens + 3 * head_flop;            // both runs, and back through one
    if (known) row.reference = 0.094, row.aim = 0.020;
    out["table"].push_back(row.json(c));
  }
  return out;
}

}  // namespace microtome::cli
