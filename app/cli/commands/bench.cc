// bench: the workloads speed claims rest on. Each compares forms of the same work in one run on one machine; JSON out.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "analysis/engine/patch_grid.h"
#include "analysis/registry.h"
#include "app/cli/commands/bench_parts.h"
#include "app/cli/commands/commands.h"
#include "core/base/rng.h"
#include "core/mixers/registry.h"
#include "core/model/device.h"

namespace microtome::cli {
namespace {

using namespace engine;

Json patching(const CommandLine& line, const Compute& c, Progress& progress) {
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
  for (const char* site : {"z", "resid_pre"}) {
    std::string what = std::string(site) == "z" ? "head_patching" : "resid_patching";
    at::Tensor mine, reference;
    Timed fast = timed(c.device, cpu ? 1 : 3, cpu ? 0 : 1, [&] {
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
  }
  const AnalysisKind* kind = analyses::builtin().find("attribution_patching");
  if (kind) {
    input.params = resolve_params(kind->schema, {{"metric", "logit_diff"}}).value();
    Timed t = timed(c.device, cpu ? 2 : 10, 1, [&] {
      auto run = kind->start(input);
      for (int64_t i = 0; i < run->item_count(); ++i) run->run_item(i, progress);
    });
    out["attribution_patching"] = {{"microtome", t.json()}};
  }
  return out;
}

Json forward_bench(const CommandLine& line, const Compute& c) {
  std::string name;
  auto model = bench_model(line, c, name);
  bool cpu = c.device.is_cpu(), small = line.flag("--small");
  int64_t b = cpu ? 8 : 16, t = small ? 32 : cpu ? 128 : 256;
  Rng rng(0);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < b * t; ++i) ids.push_back(static_cast<int64_t>(rng.below(static_cast<uint64_t>(model->config().vocab_size))));
  at::Tensor tokens = at::tensor(ids, at::kLong).view({b, t}).to(c.device);
  int runs = cpu ? 3 : 10;
  Json out = {{"model", name}, {"batch", b}, {"tokens", t}};
  out["forward"] = timed(c.device, runs, 1, [&] { model->forward(tokens); }).json();
  HookPlan everything;
  for (const HookPoint& p : model->catalogue().points())
    if (!p.on_request || p.name.ends_with("hook_pattern") || p.name.ends_with("hook_attn_scores")) everything.capture(p.name);
  out["forward_with_every_point_cached"] = timed(c.device, runs, 1, [&] { model->forward(tokens, everything); }).json();
  return out;
}

Json mixers_bench(const CommandLine& line, const Compute& c) {
  Json out = Json::object();
  bool cpu = c.device.is_cpu(), small = line.flag("--small");
  int64_t b = 1, h = cpu ? 4 : 16, t = small ? 128 : cpu ? 1024 : 4096, d = 64;
  at::TensorOptions o = at::TensorOptions().dtype(c.dtype);
  auto make = [&](std::vector<int64_t> shape, double phase) {
    int64_t n = 1;
    for (int64_t s : shape) n *= s;
    return at::sin(at::arange(n, at::kDouble) * 0.7331 + phase).view(shape).to(o).to(c.device);
  };
  auto unit = [](const at::Tensor& x) { return x / x.norm(2, -1, true); };
  for (const char* name : {"linear_attn", "retention", "simple_gla", "gla", "delta_rule", "gated_delta_rule"}) {
    const MixerKind* kind = mixers::builtin().find(name);
    if (!kind) continue;
    MixerOpRequest r;
    r.inputs = {{"q", unit(make({b, t, h, d}, 0))}, {"k", unit(make({b, t, h, d}, 1))}, {"v", make({b, t, h, d}, 2)}};
    r.scalars.set("scale", 1.0 / 8);
    r.scalars.set("kind", std::string("plain"));
    at::Tensor gate = make({b, t, h}, 3).sigmoid().log() * 0.1;
    if (kind->name == "gla") r.inputs["gk"] = make({b, t, h, d}, 3).sigmoid().log() * 0.1;
    if (kind->name == "simple_gla" || kind->name == "gated_delta_rule") r.inputs["g"] = gate;
    if (kind->name == "delta_rule" || kind->name == "gated_delta_rule") r.inputs["beta"] = make({b, t, h}, 4).sigmoid();
    Json row = {{"batch", b}, {"heads", h}, {"tokens", t}, {"d", d}};
    for (MixerForm form : {MixerForm::kNaive, MixerForm::kRecurrent, MixerForm::kChunk}) {
      r.form = form;
      row[form_name(form)] = timed(c.device, form == MixerForm::kNaive ? 1 : 20, form == MixerForm::kNaive ? 0 : 2, [&] { kind->op(r); }).json();
    }
    row["ratio"] = row["naive"]["median_s"].get<double>() / row["chunk"]["median_s"].get<double>();
    // Every state written: what looking at states costs; the limit is the states' own bytes.
    const int64_t few = std::min<int64_t>(t, 2048);
    for (auto& [input, value] : r.inputs) value = value.slice(1, 0, few).contiguous();
    r.states = true;
    Json states = {{"tokens", few}, {"bytes", b * few * h * d * d * static_cast<int64_t>(c10::elementSize(c.dtype))}};
    for (MixerForm form : {MixerForm::kNaive, MixerForm::kRecurrent}) {
      r.form = form;
      states[form_name(form)] = timed(c.device, form == MixerForm::kNaive ? 1 : 20, form == MixerForm::kNaive ? 0 : 2, [&] { kind->op(r); }).json();
    }
    row["every_state"] = states;
    out[kind->name] = row;
  }
  return out;
}

}  // namespace

int bench(const CommandLine& line) {
  Compute c = read_compute(line);
  at::NoGradGuard no_grad;
  const KeepMemory keep;               // as an analysis has it
  std::string name = line.word(0);
  ShownProgress shown(true);
  Json out = {{"device", c.device_text}, {"dtype", c.dtype_text}, {"tf32", c.tf32}, {"threads", at::get_num_threads()}, {"libtorch", MICROTOME_TORCH_VERSION}};
  bool known = false;
  auto wanted = [&](const char* n) {
    bool yes = name.empty() || name == n;
    known = known || yes;
    return yes;
  };
  if (wanted("patching")) out["patching"] = patching(line, c, shown.progress());
  if (wanted("forward")) out["forward"] = forward_bench(line, c);
  if (wanted("circuits")) out["circuits"] = circuits_bench(line, c, shown.progress());
  if (wanted("mixers")) out["mixers"] = mixers_bench(line, c);
  if (wanted("kernels")) out["kernels"] = kernels_bench(line, c);
  if (wanted("training")) out["training"] = training_bench(line, c);
  if (!known) throw Error(StatusCode::kNotFound, "there is no benchmark '" + name + "'", "bench", "known are patching, forward, circuits, mixers, kernels, training");
  print_json(out);
  return 0;
}

}  // namespace microtome::cli
