#include "analysis/runner.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>

#include "core/base/memory.h"
#include "analysis/engine/prompt_check.h"
#include "analysis/engine/prompts.h"
#include "analysis/registry.h"
#include "core/base/json.h"
#include "core/io/path_hash.h"
#include "core/model/device.h"

namespace microtome {
namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Shows what is known of a run. Whatever goes wrong here is no reason for the run to fail.
class Watch {
 public:
  using Items = std::vector<std::vector<NamedArray>>;
  Watch(AnalysisRun& run, Items& items, const PreviewFn& show) : run_(run), items_(items), show_(show), begin_(now_s()) {
    if (!show_) return;
    run_.on_partial([this](int64_t item, const std::function<std::vector<NamedArray>()>& so_far) {
      look([&] { items_.at(static_cast<size_t>(item)) = so_far(); });
    });
  }
  ~Watch() {
    if (show_) run_.on_partial({});
  }
  Watch(const Watch&) = delete;
  void item_done() {
    look([] {});
  }

 private:
  template <class F>
  void look(const F& take) {
    double from = now_s();
    if (!show_ || spent_ > 0.2 + 0.05 * (from - begin_)) return;
    try {
      take();
      if (std::optional<AnalysisResult> so_far = run_.preview(items_)) show_(*so_far);
    } catch (...) {
    }
    spent_ += now_s() - from;
  }

  AnalysisRun& run_;
  Items& items_;
  const PreviewFn& show_;
  double begin_, spent_ = 0;
};

Json token_json(const Tokenizer* tokenizer, const std::vector<int64_t>& ids) {
  Json out = Json::array();
  for (const std::string& t : engine::token_texts(tokenizer, ids)) out.push_back(t);
  return out;
}

}  // namespace

int64_t default_batch_rows(const Model& model, int64_t length) {
  // Activations of a block are about 16 widths a token; on the CPU they should stay near the last-level cache, on a GPU
  // the launches should be few.
  int64_t tokens = (model.device().is_cpu() ? int64_t{1} << 22 : int64_t{1} << 25) / model.config().d_model;
  return std::max<int64_t>(1, std::clamp<int64_t>(tokens, 1024, 131072) / std::max<int64_t>(1, length));
}

std::string make_context(const LoadedModel& m, const Dataset& dataset, const AnalysisInfo& info,
                         const RunSettings& settings) {
  const ModelConfig& c = m.model->config();
  Json model = {{"name", m.name}, {"family", c.family}, {"parameters", parameter_count(c)}, {"d_model", c.d_model},
                {"vocab", c.vocab_size}, {"context_length", c.context_length}, {"stored_dtype", c.stored_dtype},
                {"dtype", settings.dtype}, {"tied_unembedding", c.tied_unembedding}};
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const MixerInfo& x = m.model->mixer_info(static_cast<int64_t>(i));
    model["layers"].push_back({{"index", i}, {"mixer", x.kind}, {"kind", x.recurrent ? "recurrent" : "softmax"},
                               {"heads", x.heads}, {"kv_heads", x.kv_heads}, {"d_k", x.d_k}, {"d_v", x.d_v},
                               {"d_mlp", c.layers[i].channel.d_mlp}});
  }
  Json prompts = Json::array();
  for (size_t i = 0; i < std::min<size_t>(dataset.pairs.size(), 16); ++i) {
    const PromptPair& p = dataset.pairs[i];
    Json labels = Json::object(), positions = Json::object();
    for (const auto& [k, v] : p.labels) labels[k] = v;
    for (const auto& [k, v] : p.positions) positions[k] = v;
    std::vector<std::string> answers = engine::token_texts(m.tokenizer.get(), p.answer_ids);
    std::vector<std::string> wrong = engine::token_texts(m.tokenizer.get(), p.wrong_ids);
    auto join = [](const std::vector<std::string>& v) {
      std::string out;
      for (size_t k = 0; k < std::min<size_t>(v.size(), 4); ++k) out += (k ? " | " : "") + v[k];
      return v.size() > 4 ? out + " | …" : out;
    };
    wrong.resize(std::min<size_t>(wrong.size(), 8));
    prompts.push_back({{"clean", token_json(m.tokenizer.get(), p.clean_ids)},
                       {"corrupted", token_json(m.tokenizer.get(), p.corrupted_ids)}, {"answer", join(answers)},
                       {"wrong", wrong}, {"labels", labels}, {"positions", positions}});
  }
  Json out = {{"model", model}, {"prompts", prompts}, {"prompt_count", dataset.pairs.size()},
              {"analysis", {{"name", info.name}, {"title", info.title}, {"definition", info.definition}, {"source", info.source}}}};
  Json task = parse_json(settings.task_json, "task").value();
  out["task"] = task;
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

RunOutcome run_analysis(const analyses::Registry& registry, const LoadedModel& loaded, const Dataset& dataset,
                        const RunSettings& settings, ResultStore* store, Progress& progress, const PreviewFn& preview) {
  double begin = now_s();
  const KeepMemory keep;
  const AnalysisKind* kind = &registry.get(settings.analysis, "run");
  const ParamSchema& schema = kind->schema;
  AnalysisInput input{*loaded.model, loaded.tokenizer.get(), dataset, resolve_params(schema, settings.params).value(),
                      settings.seed, parse_form(settings.form), loaded.name,
                      loaded.checkpoint->weights_hash().value()};

  RunOutcome out;
  RunSpec& spec = out.spec;
  spec.analysis = kind->info.name;
  spec.analysis_version = kind->info.version;
  for (const ParamSpec& p : schema.specs) {
    if (!input.params.has(p.name)) continue;
    std::string text = param_text(input.params.values().at(p.name));
    if (p.is_file && !text.empty()) {
      spec.cost_params[p.name + "_path"] = text;
      text = path_hash(text).value();
    }
    (p.affects_answer ? spec.answer_params : spec.cost_params)[p.name] = std::move(text);
  }
  spec.model_path = loaded.folder;
  spec.model_name = loaded.name;
  spec.family = loaded.model->config().family;
  spec.weights_hash = input.weights_hash;
  spec.tokenizer_hash = loaded.tokenizer ? loaded.tokenizer->hash() : "";
  spec.dataset_name = dataset.name;
  spec.dataset_hash = dataset.pairs.empty() ? "" : dataset.hash();
  spec.form = settings.form;
  spec.dtype = settings.dtype;
  spec.bos = settings.bos;
  spec.tf32 = settings.tf32;
  spec.seed = settings.seed;
  spec.command = settings.command;
  spec.device = settings.device;
  spec.plugin_hash = kind->plugin_hash;
  out.key = make_run_key(spec);
  out.context_json = make_context(loaded, dataset, kind->info, settings);

  int64_t attempt = 0, run_id = 0;
  std::vector<int64_t> done;
  if (store) {
    out.record = store->begin_run(spec, out.key, kind->info.title).value();
    run_id = out.record.id;
    if (out.record.state == RunStatus::kDone && !settings.again) {
      out.result = store->result(run_id).value();
      out.from_store = true;
      out.seconds = now_s() - begin;
      return out;
    }
    if (!settings.again) done = store->items_done(run_id).value();
  }
  at::NoGradGuard no_grad;
  std::unique_ptr<AnalysisRun> run = kind->start(input);
  int64_t items = run->item_count();
  // Items of a run that was divided otherwise (an analysis that has changed) are not these items.
  if (out.record.items_total != 0 && out.record.items_total != items) done.clear();
  out.items_resumed = static_cast<int64_t>(done.size());
  int64_t longest = 1;
  for (const PromptPair& p : dataset.pairs) longest = std::max(longest, static_cast<int64_t>(p.clean_ids.size()));
  int64_t batch = input.params.get_int("batch_size", 0);
  if (store && batch == 0) batch = store->batch_size(run_id).value();
  if (batch == 0) batch = default_batch_rows(*loaded.model, longest);
  run->set_batch(batch);
  if (store) {
    Json versions = {{"microtome", "0.1.0"}, {"libtorch", MICROTOME_TORCH_VERSION}};
    if (!kind->plugin_file.empty()) versions["plugin"] = kind->plugin_file;
    attempt = store->begin_attempt(run_id, settings.device, versions.dump()).value();
    auto stored = [](const Status& s) { if (!s) throw Error(s); };
    stored(store->set_items_total(run_id, items));
    stored(store->set_batch_size(run_id, batch));
  }
  auto end_attempt = [&](const std::string& error) {
    if (!store) return;
    Json events = out.events;
    // An attempt that cannot be closed (a full disk) must not hide why it ended.
    (void)store->end_attempt(attempt, now_s() - begin, error, events.dump());
  };
  // Where the newest state of a run that keeps one belongs: items from there on are computed again.
  int64_t at_item = 0;
  auto put_state = [&](int64_t item) {
    if (!store || !run->keeps_state()) return;
    std::vector<NamedArray> state = run->state();
    if (state.empty()) return;
    if (Status s = store->put_state(run_id, item, state); !s) throw Error(s);
  };
  if (store && run->keeps_state()) {
    auto kept = settings.again ? std::nullopt : store->state(run_id).value();
    if (kept) run->set_state(kept->item, kept->arrays);
    std::erase_if(done, [&](int64_t i) { return !kept || i >= kept->item; });
  }
  try {
    engine::PromptCheck check;
    std::vector<std::string> doubts;
    if (input.params.has("metric") && kind->info.prompts != AnalysisInfo::Prompts::kNone) {
      progress.step(0, 1, "looking whether the model does the task");
      check = engine::check_prompts(input, input.params.get_string("metric"));
      doubts = engine::check_warnings(check);
      for (const std::string& d : doubts) progress.warn(d);
    }
    std::vector<std::vector<NamedArray>> results(static_cast<size_t>(items));
    Watch watch(*run, results, preview);
    for (int64_t i = 0; i < items; ++i) {
      at_item = i;
      auto& slot = results[static_cast<size_t>(i)];
      if (std::binary_search(done.begin(), done.end(), i)) {
        auto kept = store->item(run_id, i).value();
        if (kept) {
          slot = std::move(*kept);
          continue;
        }
      }
      progress.step(i, items, run->item_title(i));
      Progress part = progress.range(static_cast<double>(i) / static_cast<double>(items),
                                     static_cast<double>(i + 1) / static_cast<double>(items));
      for (;;) {
        try {
          run->before_item(i, results);
          slot = run->run_item(i, part);
          break;
        } catch (const std::exception& e) {
          if (!out_of_memory(e) || batch <= 1) throw;
          batch = std::max<int64_t>(1, batch / 2);
          run->set_batch(batch);
          out.events.push_back("batch halved to " + std::to_string(batch) + " for lack of memory; equality with another "
                               "run then holds within tolerance only");
          if (store) (void)store->set_batch_size(run_id, batch);
        }
      }
      if (store) {
        Status s = store->put_item(run_id, i, slot);
        if (!s) throw Error(s);
        at_item = i + 1;
        put_state(at_item);
      }
      watch.item_done();
    }
    out.result = run->finish(results);
    for (const std::string& d : doubts) out.result.warnings.push_back(d);
    if (!doubts.empty()) out.result.artifacts.push_back(engine::check_table(check));
    for (const std::string& w : dataset.warnings) out.result.warnings.push_back(w);
    for (const std::string& w : loaded.warnings) out.result.warnings.push_back(w);
    if (store) {
      Status s = store->put_context(run_id, "report", out.context_json);
      if (s) s = store->finish_run(run_id, out.result);
      if (!s) throw Error(s);
      out.record = store->find_run(std::to_string(run_id)).value();
    }
  } catch (...) {
    const Status why = status_of_current_exception();
    // A pause loses nothing; a disk that is full has said so already.
    if (why.code() == StatusCode::kCancelled) (void)catch_status([&] { put_state(at_item); });
    end_attempt(why.text());
    throw;
  }
  end_attempt("");
  progress.step(1, 1, "done");
  out.seconds = now_s() - begin;
  return out;
}

}  // namespace microtome
