// run: one analysis, kept in a project and written to a folder.
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "app/cli/commands/commands.h"
#include "app/engine/plugin_analyses.h"
#include "app/report/summary_table.h"
#include "core/io/safetensors.h"
#include "core/store/result_json.h"

namespace microtome::cli {
namespace {

// "--site resid_pre", "--site=resid_pre", "--by-position": the analysis's own parameters as flags.
std::map<std::string, std::string> parameter_flags(const CommandLine& line, const ParamSchema& schema) {
  std::map<std::string, std::string> out;
  std::string known;
  for (const ParamSpec& p : schema.specs) known += (known.empty() ? "--" : ", --") + p.name;
  for (size_t i = 0; i < line.extras.size(); ++i) {
    std::string a = line.extras[i];
    if (a.rfind("--", 0) != 0) throw Error(StatusCode::kBadInput, "unexpected word '" + a + "'", "run", "parameters are flags: " + known);
    std::string name = a.substr(2), value;
    bool has_value = false;
    if (size_t eq = name.find('='); eq != std::string::npos) {
      value = name.substr(eq + 1);
      name = name.substr(0, eq);
      has_value = true;
    }
    std::replace(name.begin(), name.end(), '-', '_');
    const ParamSpec* p = schema.find(name);
    if (!p) throw Error(StatusCode::kBadInput, "unknown flag '" + a + "'", "run", "this analysis has " + known);
    if (!has_value) {
      bool next_is_value = i + 1 < line.extras.size() && line.extras[i + 1].rfind("--", 0) != 0;
      if (p->type == ParamSpec::Type::kBool && !(next_is_value && (line.extras[i + 1] == "true" || line.extras[i + 1] == "false"))) value = "true";
      else if (next_is_value) value = line.extras[++i];
      else throw Error(StatusCode::kBadInput, "flag '" + a + "' needs a value", "run", "write " + a + " VALUE");
    }
    out[name] = value;
  }
  return out;
}

void write_folder(const std::string& folder, const RunOutcome& o) {
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  if (ec) throw Error(StatusCode::kFailed, "the folder cannot be made: " + ec.message(), folder, "choose another --out");
  RunRecord record = o.record;
  if (record.id == 0) {
    record.spec = o.spec;
    record.analysis = o.spec.analysis;
    record.key_hash = o.key.hash;
    record.key_text = o.key.text;
    record.model_name = o.spec.model_name;
    record.dataset_name = o.spec.dataset_name;
    record.command = o.spec.command;
    record.created = now_utc();
    record.state = RunStatus::kDone;
  }
  Json j = result_to_json(record, o.result);
  Status s = write_text_file(folder + "/result.json", j.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  if (!s) throw Error(s);
  std::vector<NamedArray> arrays;
  for (const Artifact& a : o.result.artifacts)
    if (const auto* map = std::get_if<TensorMap>(&a))
      for (NamedArray array : map->arrays) {
        // analyses.md's names; two maps with an equal name are told apart by the map's.
        if (std::any_of(arrays.begin(), arrays.end(), [&](const NamedArray& x) { return x.name == array.name; })) array.name = map->name + "." + array.name;
        arrays.push_back(std::move(array));
      }
  s = write_arrays(folder + "/tensors.safetensors", arrays);
  if (!s) throw Error(s);
}

}  // namespace

PreparedData prepare_data(const CommandLine& line, const LoadedModel& model, const Compute& compute) {
  PreparedData out;
  std::string given;
  for (const char* source : {"--task", "--dataset", "--prompt"}) {
    if (!line.has(source)) continue;
    if (!given.empty()) throw Error(StatusCode::kBadInput, "both " + given + " and " + source + " are given", "run", "choose one");
    given = source;
  }
  for (const char* part : {"--corrupted", "--answer", "--wrong"})
    if (given != "--prompt" && (line.has(part) || line.lists.count(part)))
      throw Error(StatusCode::kBadInput, std::string(part) + " is given without --prompt", "run", "give --prompt TEXT with it");
  if (line.has("--task")) {
    if (!model.tokenizer) throw Error(StatusCode::kNotFound, "the model folder holds no tokenizer.json", model.folder, "a task needs one; use --dataset with ids");
    GenerateOptions o;
    o.count = static_cast<int64_t>(std::stod(line.get("--prompts", "32")));
    o.seed = compute.seed;
    o.templates = line.get("--templates", "known");
    o.set = key_values(line.list("--task-set"), "--task-set");
    o.bos = bos_mode(compute.bos);
    out.dataset = generate_task(line.get("--task"), *model.tokenizer, o).value();
    if (const TaskInfo* t = find_task(line.get("--task")))
      out.task_json = Json{{"name", t->name}, {"title", t->title}, {"description", t->description}, {"source", t->source}, {"metric", t->metric}}.dump();
  } else if (line.has("--dataset")) {
    out.dataset = read_dataset(line.get("--dataset")).value();
    if (line.has("--prompts")) out.dataset.pairs.resize(std::min<size_t>(out.dataset.pairs.size(), static_cast<size_t>(std::stod(line.get("--prompts")))));
    Status s = tokenise(out.dataset, model.tokenizer.get(), bos_mode(compute.bos), model.model->config().vocab_size, line.flag("--drop-unequal"));
    if (!s) throw Error(s);
    out.task_json = Json{{"name", out.dataset.name}, {"title", out.dataset.name}, {"description", "prompts from a file"}, {"source", ""}}.dump();
  } else if (line.has("--prompt")) {
    PromptPair pair;
    pair.clean = line.get("--prompt");
    pair.corrupted = line.get("--corrupted");
    pair.answers = line.list("--answer");
    pair.wrong_answers = line.list("--wrong");
    out.dataset = typed_dataset(std::move(pair));
    Status s = tokenise(out.dataset, model.tokenizer.get(), bos_mode(compute.bos), model.model->config().vocab_size, false);
    if (!s) throw Error(s);
    out.task_json = Json{{"name", out.dataset.name}, {"title", "A prompt"}, {"description", "one prompt as typed"}, {"source", ""}}.dump();
  }
  if (line.has("--only")) {
    size_t only = static_cast<size_t>(std::stod(line.get("--only")));
    if (only > out.dataset.pairs.size())
      throw Error(StatusCode::kBadInput, "--only " + std::to_string(only) + " is asked for, but there are " + std::to_string(out.dataset.pairs.size()) + " prompts",
                  "run", "give a number from 1 to that, or more --prompts");
    std::swap(out.dataset.pairs.front(), out.dataset.pairs[only - 1]);
    out.dataset.pairs.resize(1);
  }
  return out;
}

void print_outcome(const RunOutcome& o, const std::vector<std::string>& said) {
  for (const std::string& w : o.result.warnings)
    if (std::find(said.begin(), said.end(), w) == said.end()) std::fprintf(stderr, "microtome: warning: %s\n", w.c_str());
  for (const std::string& f : o.result.findings) std::printf("%s\n", f.c_str());
  if (!o.result.summary.empty()) {
    std::printf("\n");
    std::vector<const SummaryItem*> rest;
    const report::SummaryTable table = report::summary_table(o.result.summary, rest);
    std::vector<std::vector<std::string>> rows;
    if (!table.empty()) {
      std::vector<std::string> head = {"of"};
      head.insert(head.end(), table.names.begin(), table.names.end());
      for (size_t r = 0; r < table.things.size(); ++r) {
        rows.push_back({table.things[r]});
        for (const SummaryItem* item : table.cells[r]) rows.back().push_back(item ? number_text(item->value) : "");
      }
      print_table(head, rows);
      rows.clear();
      if (rest.empty()) return;
      std::printf("\n");
    }
    for (const SummaryItem* item : rest) {
      const SummaryItem& s = *item;
      std::string interval = s.low == s.low ? number_text(s.low) + " … " + number_text(s.high) : "";
      rows.push_back({s.name, number_text(s.value), s.unit, interval, s.n ? std::to_string(s.n) : ""});
    }
    print_table({"number", "value", "unit", "95 % interval", "n"}, rows);
  }
}

Performed perform(const CommandLine& line, const std::string& name) {
  const app::AnalysisCatalogue known = app::load_analyses();
  const AnalysisKind* kind = &app::find_analysis(known, name, "run");
  RunSettings settings;
  settings.analysis = name;
  settings.params = key_values(line.list("--set"), "--set");
  for (auto& [k, v] : parameter_flags(line, kind->schema)) settings.params[k] = v;
  // Before the model is read: a wrong value should cost nothing.
  resolve_params(kind->schema, settings.params).value();
  Compute compute = read_compute(line);
  std::shared_ptr<ResultStore> store;
  if (line.has("--project")) store = ResultStore::open(line.get("--project"), ResultStore::Mode::kReadWrite).value();
  auto model = open_model(line, compute);
  PreparedData data = prepare_data(line, *model, compute);
  if (data.dataset.pairs.empty() && kind->info.prompts != AnalysisInfo::Prompts::kNone)
    throw Error(StatusCode::kBadInput, "the analysis '" + name + "' needs prompts", "run", "give --task NAME or --dataset FILE.jsonl");
  settings.seed = compute.seed;
  settings.form = compute.form;
  settings.dtype = compute.dtype_text;
  settings.bos = compute.bos;
  settings.device = compute.device_text;
  settings.tf32 = compute.tf32;
  settings.command = line.text;
  settings.task_json = data.task_json;
  settings.again = line.flag("--again");
  Performed done;
  {
    ShownProgress shown;
    done.outcome = run_analysis(known.registry, *model, data.dataset, settings, store.get(), shown.progress());
    done.said = shown.progress().snapshot().warnings;
  }
  return done;
}

void print_performed(const Performed& done, const std::string& project) {
  const RunOutcome& outcome = done.outcome;
  print_outcome(outcome, done.said);
  std::printf("\nkey %s, %.2f s%s", outcome.key.hash.substr(0, 12).c_str(), outcome.seconds, outcome.from_store ? " (answered from the project)" : "");
  if (outcome.items_resumed && !outcome.from_store) std::printf(" (%lld items found in the project)", static_cast<long long>(outcome.items_resumed));
  if (!project.empty()) std::printf(", run %lld of %s", static_cast<long long>(outcome.record.id), project.c_str());
  std::printf("\n");
  for (const std::string& e : outcome.events) std::printf("note: %s\n", e.c_str());
}

int run(const CommandLine& line) {
  const Performed done = perform(line, line.word(0));
  const RunOutcome& outcome = done.outcome;
  if (line.has("--out")) write_folder(line.get("--out"), outcome);
  if (line.flag("--json")) {
    RunRecord record = outcome.record;
    record.spec = outcome.spec;
    record.analysis = outcome.spec.analysis;
    record.key_hash = outcome.key.hash;
    print_json(result_to_json(record, outcome.result));
  } else {
    print_performed(done, line.get("--project"));
  }
  return 0;
}

}  // namespace microtome::cli
