// The functions of microtome_host. None of them throws; what fails is a code and a sentence.
#include <algorithm>

#include "core/base/log.h"
#include "core/base/quote.h"
#include "core/base/rng.h"
#include "core/model/device.h"
#include "plugins/host/run_state.h"

namespace microtome::plugins {
namespace {

using Phase = microtome_run::Phase;

void need_phase(const microtome_run& run, Phase phase, const char* what) {
  if (run.phase != phase)
    throw Error(StatusCode::kBadInput,
                std::string(what) + (phase == Phase::kItem ? " belongs into run_item" : " belongs into finish"));
}

// Results go up to a number that no view could show.
template <class V>
void need_room(const V& list) {
  if (static_cast<int64_t>(list.size()) >= 65536) throw Error(StatusCode::kBadInput, "the result has too many parts");
}

// A struct of the plug-in's that is filled here: as much of it as both sides know.
template <class S>
void need_struct(const S* out, const char* what) {
  if (!out) throw Error(StatusCode::kBadInput, std::string(what) + " is null");
  if (out->version != MICROTOME_PLUGIN_VERSION || out->size < sizeof(S))
    throw Error(StatusCode::kBadInput,
                std::string("version or size of ") + what + " is not set: use MICROTOME_PLUGIN_VERSION and sizeof");
}

void log(int32_t level, const char* text) noexcept {
  try {
    log_message(level > 0 ? LogLevel::kWarning : LogLevel::kInfo, "plug-in: " + sentence_of(text));
  } catch (...) {
    // A message that cannot be shown must not end the run.
  }
}

int32_t model(microtome_run* run, microtome_model* out, microtome_error* error) noexcept {
  return call_in(run, error, true, [&] {
    need_struct(out, "microtome_model");
    const Model& m = run->input.model;
    const ModelConfig& c = m.config();
    if (run->model_json.empty()) run->model_json = model_facts(m);
    out->name = c.name.c_str();
    out->family = c.family.c_str();
    out->dtype = dtype_text(m.dtype());
    out->json = run->model_json.c_str();
    out->layers = static_cast<int64_t>(c.layers.size());
    out->d_model = c.d_model;
    out->vocab_size = c.vocab_size;
    out->context_length = c.context_length;
    out->device = {m.device().is_cpu() ? MICROTOME_CPU : MICROTOME_CUDA, m.device().is_cpu() ? 0 : m.device().index()};
  });
}

int64_t prompt_count(microtome_run* run) noexcept {
  return run ? static_cast<int64_t>(run->input.dataset.pairs.size()) : 0;
}

int32_t prompt(microtome_run* run, int64_t index, microtome_prompt* out, microtome_error* error) noexcept {
  return call_in(run, error, true, [&] {
    need_struct(out, "microtome_prompt");
    const auto& pairs = run->input.dataset.pairs;
    if (index < 0 || index >= static_cast<int64_t>(pairs.size()))
      throw Error(StatusCode::kNotFound,
                  "there is no prompt " + std::to_string(index) + " among " + std::to_string(pairs.size()));
    const PromptPair& p = pairs[static_cast<size_t>(index)];
    std::string& json = run->prompt_json[index];
    if (json.empty()) json = prompt_facts(p);
    auto list = [](const std::vector<int64_t>& v, const int64_t*& data, int64_t& count) {
      data = v.data();
      count = static_cast<int64_t>(v.size());
    };
    out->line = p.line;
    list(p.clean_ids, out->clean, out->clean_count);
    list(p.corrupted_ids, out->corrupted, out->corrupted_count);
    list(p.answer_ids, out->answers, out->answer_count);
    list(p.wrong_ids, out->wrong, out->wrong_count);
    out->json = json.c_str();
  });
}

const char* token_text(microtome_run* run, int64_t id) noexcept {
  const char* out = "";
  call_in(run, nullptr, true, [&] {
    auto [it, fresh] = run->token_texts.try_emplace(id);
    const Tokenizer* t = run->input.tokenizer;
    if (fresh) it->second = t && id >= 0 && id < t->vocab_size() ? t->display(id) : "#" + std::to_string(id);
    out = it->second.c_str();
  });
  return out;
}

int64_t single_token(microtome_run* run, const char* text) noexcept {
  int64_t out = -1;
  call_in(run, nullptr, true, [&] {
    std::string t = text_of(text, "the text of a token", kTextBytes);
    if (run->input.tokenizer) out = run->input.tokenizer->single_token(t).value_or(-1);
  });
  return out;
}

// f gets the checked name; an unknown one lists the known.
template <class F>
void param(microtome_run* run, const char* name, F f) noexcept {
  call_in(run, nullptr, true, [&] {
    std::string n = text_of(name, "the name of a parameter", kNameBytes);
    if (!run->input.params.has(n)) {
      std::string known;
      for (const auto& [k, _] : run->input.params.values()) known += (known.empty() ? "" : ", ") + k;
      throw Error(StatusCode::kNotFound,
                  "the plug-in asks for parameter " + in_quotes(n) + ", which its params.json does not have", "",
                  "it has " + (known.empty() ? std::string("none") : known));
    }
    f(run->input.params, n);
  });
}

int32_t param_bool(microtome_run* run, const char* name) noexcept {
  int32_t out = 0;
  param(run, name, [&](const Params& p, const std::string& n) { out = p.get_bool(n) ? 1 : 0; });
  return out;
}

int64_t param_int(microtome_run* run, const char* name) noexcept {
  int64_t out = 0;
  param(run, name, [&](const Params& p, const std::string& n) { out = p.get_int(n); });
  return out;
}

double param_float(microtome_run* run, const char* name) noexcept {
  double out = 0;
  param(run, name, [&](const Params& p, const std::string& n) { out = p.get_float(n); });
  return out;
}

const char* param_text(microtome_run* run, const char* name) noexcept {
  const char* out = "";
  param(run, name, [&](const Params& p, const std::string& n) { out = p.get_string(n).c_str(); });
  return out;
}

uint64_t seed_of_item(microtome_run* run, int64_t item) noexcept {
  return run ? item_seed(run->input.seed, static_cast<uint64_t>(item)) : 0;
}

int64_t batch_rows(microtome_run* run) noexcept { return run ? run->batch_rows : 1; }

int32_t forward(microtome_run* run, const microtome_forward* request, const microtome_forward_result** result,
                microtome_error* error) noexcept {
  if (result) *result = nullptr;
  // Not remembered: a plug-in may try a hook point that a model lacks, and go on.
  return call_in(run, error, false, [&] {
    if (!result) throw Error(StatusCode::kBadInput, "there is nowhere to put the result", "forward");
    if (run->phase == Phase::kIdle)
      throw Error(StatusCode::kBadInput, "forward is called outside a callback", "forward");
    *result = run_forward(*run, request);
  });
}

void free_result(microtome_run* run, const microtome_forward_result* result) noexcept {
  call_in(run, nullptr, true, [&] { free_forward(*run, result); });
}

int32_t step(microtome_run* run, int64_t done, int64_t total, const char* what) noexcept {
  return call_in(run, nullptr, false, [&] {
    if (run->progress) run->progress->step(done, total, sentence_of(what, 200));
  });
}

int32_t cancelled(microtome_run* run) noexcept { return run && run->progress && run->progress->cancelled() ? 1 : 0; }

int32_t add_array(microtome_run* run, const microtome_array* array, microtome_error* error) noexcept {
  return call_in(run, error, true, [&] {
    need_phase(*run, Phase::kItem, "add_array");
    need_room(run->arrays);
    NamedArray a = read_array(array, run->analysis);
    for (const NamedArray& other : run->arrays)
      if (other.name == a.name) throw Error(StatusCode::kBadInput, "the item has two arrays '" + a.name + "'");
    run->arrays.push_back(std::move(a));
  });
}

int32_t item_array(microtome_run* run, int64_t item, const char* name, microtome_array* out,
                   microtome_error* error) noexcept {
  bool absent = false;
  int32_t code = call_in(run, error, true, [&] {
    need_phase(*run, Phase::kFinish, "item_array");
    if (!out) throw Error(StatusCode::kBadInput, "there is nowhere to put the array", "item_array");
    std::string n = text_of(name, "the name of an array", kNameBytes);
    if (item < 0 || item >= static_cast<int64_t>(run->items->size()))
      throw Error(StatusCode::kBadInput,
                  "there is no item " + std::to_string(item) + " among " + std::to_string(run->items->size()));
    const auto& arrays = (*run->items)[static_cast<size_t>(item)];
    auto it = std::find_if(arrays.begin(), arrays.end(), [&](const NamedArray& a) { return a.name == n; });
    absent = it == arrays.end();
    if (absent) return;
    std::vector<const char*> axes;
    for (const std::string& axis : it->axes) axes.push_back(axis.c_str());
    run->pointers.push_back(std::move(axes));
    *out = {};
    out->name = it->name.c_str();
    out->type = static_cast<int32_t>(it->data.index()) + MICROTOME_FLOAT32;
    out->axis_count = static_cast<int32_t>(it->axes.size());
    out->axes = run->pointers.back().data();
    out->shape = it->shape.data();
    out->data = std::visit([](const auto& v) -> const void* { return v.data(); }, it->data);
    out->unit = it->unit.c_str();
    out->help = it->help.c_str();
  });
  if (code != MICROTOME_OK || !absent) return code;
  return give_error({StatusCode::kNotFound, "the item has no array of this name", "item_array"}, error);
}

// One part of the result: made by f, put into list.
template <class V, class F>
int32_t add(microtome_run* run, microtome_error* error, V AnalysisResult::*list, F f) noexcept {
  return call_in(run, error, true, [&] {
    need_phase(*run, Phase::kFinish, "the result");
    need_room(run->result.*list);
    (run->result.*list).push_back(f());
  });
}

// Artifacts are found by their names.
Artifact unique(const microtome_run& run, Artifact a) {
  for (const Artifact& other : run.result.artifacts)
    if (artifact_name(other) == artifact_name(a))
      throw Error(StatusCode::kBadInput, "the result has two artifacts '" + artifact_name(a) + "'");
  return a;
}

int32_t add_summary(microtome_run* run, const microtome_summary* line, microtome_error* error) noexcept {
  return add(run, error, &AnalysisResult::summary, [&] { return read_summary(line); });
}

int32_t add_mean(microtome_run* run, const char* name, const double* values, int64_t count, const char* unit,
                 const char* help, microtome_error* error) noexcept {
  return add(run, error, &AnalysisResult::summary, [&] {
    std::string n = text_of(name, "the name of a mean", kNameBytes);
    check_list(values, count, "the values of '" + n + "'", kManyNumbers);
    // A seed of its own for each line, and none that an item has.
    uint64_t seed = item_seed(run->input.seed, (uint64_t{1} << 20) + run->result.summary.size());
    return run->input.mean(n, std::vector<double>(values, values + count),
                           text_of(unit, "the unit of '" + n + "'", kNameBytes, ""),
                           text_of(help, "the help of '" + n + "'", kTextBytes, ""), seed);
  });
}

int32_t add_finding(microtome_run* run, const char* sentence, microtome_error* error) noexcept {
  return add(run, error, &AnalysisResult::findings, [&] { return text_of(sentence, "a finding", kTextBytes); });
}

int32_t add_warning(microtome_run* run, const char* sentence, microtome_error* error) noexcept {
  return add(run, error, &AnalysisResult::warnings, [&] { return text_of(sentence, "a warning", kTextBytes); });
}

int32_t add_table(microtome_run* run, const microtome_table* table, microtome_error* error) noexcept {
  return add(run, error, &AnalysisResult::artifacts, [&] { return unique(*run, read_table(table)); });
}

int32_t add_tensor_map(microtome_run* run, const microtome_tensor_map* map, microtome_error* error) noexcept {
  return add(run, error, &AnalysisResult::artifacts, [&] { return unique(*run, read_tensor_map(map, run->analysis)); });
}

int32_t add_series(microtome_run* run, const microtome_series* series, microtome_error* error) noexcept {
  return add(run, error, &AnalysisResult::artifacts, [&] { return unique(*run, read_series(series)); });
}

int32_t add_text(microtome_run* run, const char* name, const char* title, const char* markdown,
                 microtome_error* error) noexcept {
  return add(run, error, &AnalysisResult::artifacts, [&] {
    return unique(
        *run, Text{text_of(name, "the name of a text", kNameBytes), text_of(title, "the title of a text", kTextBytes),
                   text_of(markdown, "a text", kDocumentBytes)});
  });
}

}  // namespace

const microtome_host& host_table() {
  static const microtome_host table = {MICROTOME_PLUGIN_VERSION,
                                       sizeof(microtome_host),
                                       log,
                                       model,
                                       prompt_count,
                                       prompt,
                                       token_text,
                                       single_token,
                                       param_bool,
                                       param_int,
                                       param_float,
                                       param_text,
                                       seed_of_item,
                                       batch_rows,
                                       forward,
                                       free_result,
                                       step,
                                       cancelled,
                                       add_array,
                                       item_array,
                                       add_summary,
                                       add_mean,
                                       add_finding,
                                       add_warning,
                                       add_table,
                                       add_tensor_map,
                                       add_series,
                                       add_text};
  return table;
}

}  // namespace microtome::plugins
