#include "app/engine/engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "analysis/engine/patch_grid.h"
#include "analysis/runner.h"
#include "app/engine/open_model.h"
#include "app/engine/plugin_analyses.h"
#include "app/engine/trained_dictionaries.h"
#include "core/model/device.h"
#include "core/model/weights.h"

namespace microtome::app {
namespace {

const LoadedModel& loaded(const OpenModel& model) {
  const auto* known = dynamic_cast<const LoadedOpenModel*>(&model);
  if (!known) throw Error(StatusCode::kInternal, "the model was not opened by this engine");
  return known->loaded();
}

NextTokens read_logits(const at::Tensor& row, const Tokenizer* tokenizer, int64_t top, const std::vector<int64_t>& asked) {
  at::Tensor logits = row.to(at::kCPU, at::kDouble).contiguous();
  if (!at::isfinite(logits).all().item<bool>())
    throw Error(StatusCode::kFailed, "the logits hold NaN or infinite values", "next tokens", "check the weights and the data type");
  at::Tensor logprob = at::log_softmax(logits, -1);
  NextTokens out;
  out.entropy = -(logprob.exp() * logprob).sum().item<double>();
  auto entry = [&](int64_t id) {
    NextToken t;
    t.id = id;
    // The embedding may have more rows than the tokenizer has words.
    t.text = tokenizer && id < tokenizer->vocab_size() ? tokenizer->display(id) : "#" + std::to_string(id);
    t.logit = logits[id].item<double>();
    t.probability = std::exp(logprob[id].item<double>());
    return t;
  };
  int64_t vocab = logits.size(0);
  auto [values, ids] = logits.topk(std::clamp<int64_t>(top, 0, vocab));
  for (int64_t i = 0; i < ids.size(0); ++i) out.top.push_back(entry(ids[i].item<int64_t>()));
  for (int64_t id : asked)
    if (id >= 0 && id < vocab) out.asked.push_back(entry(id));
  return out;
}

class CoreEngine final : public Engine {
 public:
  DeviceFacts devices() override {
    const CudaStatus& cuda = cuda_status();
    DeviceFacts out;
    for (const CudaDevice& d : cuda.devices) out.names.push_back(d.name);
    out.names.push_back("cpu");
    if (!cuda.usable) out.why_no_gpu = cuda.why_not;
    out.libtorch = MICROTOME_TORCH_VERSION;
    return out;
  }

  std::vector<AnalysisFacts> analyses() override {
    std::vector<AnalysisFacts> out;
    for (const AnalysisKind* kind : known_.registry.all()) out.push_back({kind->info, kind->schema, kind->plugin_file});
    return out;
  }

  std::vector<std::string> plugin_warnings() override { return known_.problems; }

  ModelFacts inspect(const std::string& folder) override {
    InspectedModel m = inspect_model(folder);
    return facts_of(m.folder, m.name, m.config, *m.checkpoint, m.warnings);
  }

  ModelPtr open(const std::string& folder, const std::string& device, const std::string& dtype) override {
    c10::Device where = parse_device(device);
    at::ScalarType type = parse_dtype(dtype, where);
    auto model = load_model(folder, where, type);
    ModelFacts facts = facts_of(model->folder, model->name, model->model->config(), *model->checkpoint, model->warnings);
    facts.device = where.str();
    facts.dtype = dtype_text(type);
    facts.has_tokenizer = model->tokenizer != nullptr;
    return std::make_shared<LoadedOpenModel>(std::move(model), std::move(facts));
  }

  std::vector<WeightFacts> weights(const OpenModel& model, Progress& progress) override {
    at::NoGradGuard no_grad;
    const ModelWeights& weights = loaded(model).model->weights();
    const std::vector<std::string> names = weights.names();
    std::vector<WeightFacts> out;
    for (const std::string& name : names) {
      progress.step(static_cast<int64_t>(out.size()), static_cast<int64_t>(names.size()), name);
      const at::Tensor t = weights.get(name);
      WeightFacts w;
      w.name = name;
      w.shape = t.sizes().vec();
      w.dtype = dtype_text(t.scalar_type());
      w.norm = at::linalg_vector_norm(t, 2, {}, false, at::kDouble).item<double>();
      w.rms = t.numel() ? w.norm / std::sqrt(static_cast<double>(t.numel())) : 0;
      out.push_back(std::move(w));
    }
    return out;
  }

  NextTokens next_tokens(const OpenModel& model, const std::vector<int64_t>& ids, int64_t top,
                         const std::vector<int64_t>& asked) override {
    at::NoGradGuard no_grad;
    const LoadedModel& m = loaded(model);
    if (ids.empty()) throw Error(StatusCode::kBadInput, "the prompt has no tokens", "prompt", "type a text");
    HookPlan plan;
    plan.logit_positions = std::vector<int64_t>{-1};
    at::Tensor tokens = at::tensor(ids, at::kLong).unsqueeze(0).to(m.model->device());
    return read_logits(m.model->forward(tokens, plan).logits[0][0], m.tokenizer.get(), top, asked);
  }

  NextTokens patched_tokens(const OpenModel& model, const PromptPair& pair, const CellRequest& cell, int64_t top,
                            const std::vector<int64_t>& asked) override {
    at::NoGradGuard no_grad;
    const LoadedModel& m = loaded(model);
    if (pair.corrupted_ids.size() != pair.clean_ids.size())
      throw Error(StatusCode::kBadInput, "clean and corrupted prompt differ in length", "patching", "make both equally long in tokens");
    Dataset one;
    one.name = "prompt";
    one.pairs.push_back(pair);
    AnalysisInput input{*m.model, m.tokenizer.get(), one, {}, 0, MixerForm::kAuto};
    std::vector<engine::GridGroup> groups;
    for (engine::PromptGroup& p : engine::group_prompts(input, true)) {
      engine::GridGroup g;
      bool noise = cell.direction == "noise";
      g.base_tokens = noise ? p.clean : p.corrupted;
      g.source_tokens = noise ? p.corrupted : p.clean;
      g.first_changed = p.first_difference;
      g.prompts = std::move(p);
      groups.push_back(std::move(g));
    }
    engine::PatchGrid::Options options;
    options.site = engine::find_site(cell.site);
    options.by_position = cell.pos >= 0;
    engine::PatchGrid grid(input, options, std::move(groups), nullptr);
    return read_logits(grid.cell_logits(0, cell.layer, cell.pos, cell.head)[0], m.tokenizer.get(), top, asked);
  }

  std::unique_ptr<CircuitMeter> circuit_meter(const OpenModel& model, const Dataset& dataset,
                                              const CircuitMeterOptions& options) override {
    return make_circuit_meter(loaded(model), dataset, options);
  }

  RunOutcome run(const OpenModel& model, const Dataset& dataset, const RunSettings& settings, ResultStore* store,
                 Progress& progress, const PreviewFn& preview) override {
    return run_analysis(known_.registry, loaded(model), dataset, settings, store, progress, preview);
  }

  AnalysisResult kept_training(ResultStore& store, int64_t run) override {
    std::optional<training::Kept> kept = app::kept_training(store, run, false);
    return kept ? std::move(kept->result) : AnalysisResult();
  }
  void write_dictionaries(const AnalysisResult& result, const std::vector<std::string>& names, const std::string& folder) override {
    write_trained_dictionaries(result, names, folder);
  }

 private:
  const AnalysisCatalogue known_ = load_analyses();
};

}  // namespace

ModelFacts facts_of(const std::string& folder, const std::string& name, const ModelConfig& config, const Checkpoint& checkpoint,
                    std::vector<std::string> warnings) {
  ModelFacts out;
  out.folder = folder;
  out.name = name;
  out.family = config.family;
  out.stored_dtype = config.stored_dtype;
  out.parameters = parameter_count(config);
  out.d_model = config.d_model;
  out.vocab_size = config.vocab_size;
  out.context_length = config.context_length;
  out.weight_bytes = static_cast<int64_t>(checkpoint.weight_bytes());
  out.tied_unembedding = config.tied_unembedding;
  out.warnings = std::move(warnings);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    MixerInfo x = mixer_info_of(config.layers[i], config.d_model);
    out.layers.push_back({static_cast<int64_t>(i), x.kind, x.recurrent, x.heads, x.kv_heads, x.d_k, x.d_v, config.layers[i].channel.d_mlp});
  }
  const HookCatalogue catalogue = build_catalogue(config);
  for (const HookPoint& p : catalogue.points()) out.hooks.push_back({p.name, p.axes, p.sizes, p.on_request, p.note});
  return out;
}

}  // namespace microtome::app

extern "C" microtome::app::Engine* microtome_engine() {
  // Lives as long as the process: models and jobs that hold on to it may be the last to go.
  static auto* engine = new microtome::app::CoreEngine;
  return engine;
}
