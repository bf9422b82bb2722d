// The circuits workload: edge attribution against two forward passes and one backward, circuits of ten sizes as one batch
// against one after the other, and ACDC.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "analysis/circuit/attribution.h"
#include "analysis/circuit/circuits_data.h"
#include "analysis/circuit/edge_run.h"
#include "analysis/circuit/scores.h"
#include "analysis/engine/arrays.h"
#include "analysis/registry.h"
#include "app/cli/commands/bench_parts.h"

namespace microtome::cli {

using namespace engine;

namespace {

std::vector<std::vector<NamedArray>> run_items(const AnalysisKind& kind, const AnalysisInput& input, Progress& progress) {
  auto run = kind.start(input);
  std::vector<std::vector<NamedArray>> items(static_cast<size_t>(run->item_count()));
  for (int64_t i = 0; i < run->item_count(); ++i) {
    run->before_item(i, items);
    items[static_cast<size_t>(i)] = run->run_item(i, progress);
  }
  return items;
}

}  // namespace

Json circuits_bench(const CommandLine& line, const Compute& c, Progress& progress) {
  std::string name;
  auto model = bench_model(line, c, name);
  const bool cpu = c.device.is_cpu(), small = line.flag("--small");
  const int64_t prompts = small ? 16 : 100, length = 20;
  const int runs = cpu ? 1 : 5;
  Dataset data = random_pairs(prompts, length, model->config().vocab_size);
  AnalysisInput input{*model, nullptr, data, Params(), 0, MixerForm::kAuto};
  circuit::Graph graph(*model);
  Json out = {{"model", name}, {"prompts", prompts}, {"tokens", length}, {"edges", graph.edge_count()}};

  std::vector<PromptGroup> groups = group_prompts(input, true);
  const PromptGroup& all = groups.front();
  Metric metric("logit_diff", input, all);
  HookPlan last;
  last.logit_positions = std::vector<int64_t>{-1};
  // What attribution cannot do without: both runs, and the clean one's derivative down to the embeddings.
  Timed base = timed(c.device, cpu ? 3 : 10, 1, [&] {
    {
      at::NoGradGuard no_grad;
      model->forward(all.corrupted, last);
    }
    HookPlan plan = last;
    plan.capture("hook_embed", {}, true);
    at::AutoGradMode grad(true);
    ForwardResult r = model->forward(all.clean, plan);
    hook_gradients(metric.last(r.logits.select(1, 0)).sum(), r.cache, {"hook_embed"});
  });
  out["two_forwards_one_backward"] = base.json();
  for (const char* analysis : {"eap", "eap_ig"}) {
    const AnalysisKind& kind = analyses::builtin().get(analysis, "bench");
    input.params = resolve_params(kind.schema, {{"metric", "logit_diff"}, {"resamples", "0"}}).value();
    Timed t = timed(c.device, runs, 1, [&] { run_items(kind, input, progress); });
    out[analysis] = {{"microtome", t.json()}, {"ratio", t.median / base.median}};
  }
  {
    // On a CPU a tenth of the prompts: each circuit is a run with an input a head.
    Dataset some = data;
    some.pairs.resize(static_cast<size_t>(cpu && !small ? prompts / 10 : prompts));
    AnalysisInput fewer{*model, nullptr, some, Params(), 0, MixerForm::kAuto};
    circuit::CircuitPrompts circuits(fewer, graph, "logit_diff", circuit::Outside::kCorrupted, 0);
    at::Tensor scores = at::sin(at::arange(graph.source_count() * graph.input_count(), at::kDouble)).view({graph.source_count(), graph.input_count()});
    std::vector<at::Tensor> masks;
    for (double share : {0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0}) masks.push_back(circuit::best_edges(graph, scores, circuit::edges_of_share(graph, share), true));
    at::Tensor batch = at::stack(masks), together, single;
    circuits.clean();
    Timed many = timed(c.device, runs, cpu ? 0 : 1, [&] { together = circuits.run(batch, 0); });
    Timed one = timed(c.device, runs, cpu ? 0 : 1, [&] {
      std::vector<at::Tensor> rows;
      for (const at::Tensor& m : masks) rows.push_back(circuits.run(m.unsqueeze(0), 0));
      single = at::cat(rows);
    });
    out["ten_sizes"] = {{"prompts", some.pairs.size()}, {"batched", many.json()}, {"one_by_one", one.json()}, {"max_abs_difference", (together - single).abs().max().item<double>()}};
    // One after the other, started operation by operation and as a CUDA graph (small models only).
    const PromptGroup first = group_prompts(fewer, true).front();
    circuit::EdgeRunner plain(graph, fewer, first, "logit_diff", circuit::Outside::kCorrupted), recorded(graph, fewer, first, "logit_diff", circuit::Outside::kCorrupted);
    plain.record(false);
    auto each = [&](circuit::EdgeRunner& r) {
      return timed(c.device, runs, 1, [&] {
        for (const at::Tensor& m : masks) r.run(m.unsqueeze(0));
      });
    };
    out["recorded"] = {{"plain", each(plain).json()}, {"recorded", each(recorded).json()}, {"is_recorded", recorded.recorded()}, {"why_not", recorded.why_not_recorded()}};
  }
  // One test after the other takes minutes on a CPU.
  if (!cpu || small) {
    const AnalysisKind& kind = analyses::builtin().get("acdc", "bench");
    for (auto [threshold, how] : {std::pair{"0.01", "single"}, {"0.001", "single"}, {"0.001", "grouped"}, {"0.0001", "grouped"}}) {
      if (line.flag("--quick") && std::string(threshold) == "0.0001") continue;
      input.params = resolve_params(kind.schema, {{"metric", "kl"}, {"threshold", threshold}, {"tests", how}, {"batch_size", std::to_string(prompts)}}).value();
      int64_t tests = 0, rows = 0, kept = 0;
      Timed t = timed(c.device, 1, 0, [&] {
        auto items = run_items(kind, input, progress);
        for (const auto& item : items) {
          if (item.size() != 4) continue;
          tests += static_cast<int64_t>(find_array(item, "tests").at(0));
          rows += static_cast<int64_t>(find_array(item, "tests").at(1));
          kept += to_tensor(find_array(item, "kept")).sum().item<int64_t>();
        }
      });
      out[std::string("acdc_") + threshold + "_" + how] = {{"microtome", t.json()}, {"tests", tests}, {"circuits_run", rows}, {"edges_kept", kept}};
    }
  }
  return out;
}

}  // namespace microtome::cli
