// demo: the main job on the twin models that ship with Microtome — a softmax transformer and a gated DeltaNet trained on the
// same data — ending with a report that stands alone.
#include <ATen/ATen.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "analysis/registry.h"
#include "app/cli/commands/commands.h"
#include "app/report/project_report.h"

namespace microtome::cli {
namespace {

namespace fs = std::filesystem;

std::string models_folder(const CommandLine& line) {
  if (line.has("--models")) return line.get("--models");
  fs::path here = fs::path(line.program).parent_path();
  for (fs::path p : {fs::path("resources/models"), here / "resources/models", here / "../resources/models", here / "../share/microtome/models"})
    if (fs::exists(p / "zoo-llama" / "config.json")) return p.lexically_normal().string();
  throw Error(StatusCode::kNotFound, "the models that ship with Microtome were not found", "demo", "start it in the repository, or give --models FOLDER");
}

struct Step {
  const char* analysis;
  const char* task;                    // null: the analysis makes its own tokens
  std::map<std::string, std::string> params;
  bool recurrent_only = false;
  const char* prompts = nullptr;       // null: as many as the others
};

// Transcoders of a shipped model, which lie beside the models' folder; empty: none.
std::string transcoders_of(const std::string& models, const std::string& name) {
  const fs::path p = (fs::path(models) / ".." / "transcoders" / name).lexically_normal();
  std::error_code ec;
  return fs::is_directory(p, ec) ? p.string() : std::string();
}

// The strongest head of a patching grid [layer, head]: where, and its share of the clean answer.
struct Strongest {
  std::string head;
  double effect = 0;
};
Strongest strongest_head(const AnalysisResult& result) {
  Strongest out;
  for (const Artifact& a : result.artifacts) {
    const auto* map = std::get_if<TensorMap>(&a);
    if (!map) continue;
    for (const NamedArray& n : map->arrays) {
      if (n.name != "effect" || n.axes != std::vector<std::string>{"layer", "head"}) continue;
      for (int64_t i = 0; i < n.size(); ++i)
        if (n.at(i) > out.effect) out = {std::to_string(i / n.shape[1]) + "." + std::to_string(i % n.shape[1]), n.at(i)};
    }
  }
  return out;
}

std::string share_text(double effect) { return number_text(std::round(100 * effect), 3) + " %"; }

}  // namespace

int demo(const CommandLine& line) {
  auto begin = std::chrono::steady_clock::now();
  Compute compute = read_compute(line);
  std::string out = line.get("--out", "demo-out"), models = models_folder(line);
  std::string prompts = line.get("--prompts", "32");
  std::error_code ec;
  fs::create_directories(out, ec);
  if (ec) throw Error(StatusCode::kFailed, "the folder cannot be made: " + ec.message(), out, "choose another --out");
  std::string project = out + "/demo.microtome";
  auto store = ResultStore::open(project, ResultStore::Mode::kReadWrite).value();

  const std::vector<Step> steps = {
      {"activation_patching", "ioi", {{"site", "z"}}, false},
      {"activation_patching", "ioi", {{"site", "resid_pre"}}, false},
      {"activation_patching", "ioi", {{"site", "state"}}, true},
      {"attribution_patching", "ioi", {{"site", "z"}}, false},
      {"ablation", "ioi", {{"site", "z"}, {"kind", "mean"}}, false},
      {"circuit_eval", "ioi", {{"share", "5"}, {"resamples", "5"}, {"subsets", "3"}}, false},
      {"dla", "ioi", {}, false},
      {"logit_lens", "ioi", {}, false},
      {"attention", "ioi", {}, false},
      {"states", "ioi", {}, true},
      {"head_probes", nullptr, {}, false},
      {"activation_patching", "induction", {{"site", "z"}}, false},
  };
  const std::vector<Step> of_features = {
      {"transcoder_circuit", "greater_than", {}, false, "8"},
      {"attribution_graph", "greater_than", {{"test_edges", "5"}}, false, "1"},
  };
  const char* names[] = {"zoo-llama", "zoo-gated_deltanet"};
  std::printf("Two language models of the same size, trained on the same text; only what mixes the tokens differs:\n"
              "softmax attention in zoo-llama, a gated delta rule (a recurrent state) in zoo-gated_deltanet.\n"
              "Question: which heads do indirect-object identification and induction, and does the recurrent twin do it the same way?\n");
  std::vector<RunRecord> records;
  std::map<std::string, std::map<std::string, Strongest>> by_task;   // task → model → head
  for (const char* name : names) {
    auto model = load_model(models + "/" + name, compute.device, compute.dtype);
    bool any_recurrent = false;
    for (size_t i = 0; i < model->model->config().layers.size(); ++i) any_recurrent = any_recurrent || model->model->mixer_info(static_cast<int64_t>(i)).recurrent;
    std::printf("\n%s\n", name);
    std::vector<Step> todo = steps;
    if (const std::string transcoders = transcoders_of(models, name); !transcoders.empty())
      for (Step s : of_features) {
        s.params["transcoders"] = transcoders;
        todo.push_back(s);
      }
    for (const Step& s : todo) {
      if (s.recurrent_only && !any_recurrent) continue;
      CommandLine as_run;
      const std::string count = s.prompts ? s.prompts : prompts;
      as_run.options["--prompts"] = count;
      std::string command = "microtome run " + std::string(s.analysis) + " --model " + models + "/" + name;
      if (s.task) {
        as_run.options["--task"] = s.task;
        command += " --task " + std::string(s.task) + " --prompts " + count;
      }
      RunSettings settings;
      settings.analysis = s.analysis;
      settings.params = s.params;
      for (const auto& [k, v] : s.params) command += " --" + k + " " + v;
      if (compute.seed) command += " --seed " + std::to_string(compute.seed);
      settings.command = command + " --project " + project;
      settings.seed = compute.seed;
      settings.dtype = compute.dtype_text;
      settings.device = compute.device_text;
      settings.tf32 = compute.tf32;
      PreparedData data = prepare_data(as_run, *model, compute);
      settings.task_json = data.task_json;
      RunOutcome o;
      {
        ShownProgress shown(true);
        o = run_analysis(analyses::builtin(), *model, data.dataset, settings, store.get(), shown.progress());
      }
      records.push_back(store->find_run(std::to_string(o.record.id)).value());
      if (std::string(s.analysis) == "activation_patching" && s.params.at("site") == "z") by_task[s.task][name] = strongest_head(o.result);
      for (size_t i = 0; i < std::min<size_t>(o.result.findings.size(), 2); ++i)
        std::printf("  %s%s: %s\n", s.analysis, s.task ? (std::string(" on ") + s.task).c_str() : "", o.result.findings[i].c_str());
    }
  }
  std::string notes;
  for (const auto& [task, models_of] : by_task) {
    const TaskInfo* info = find_task(task);
    std::string sentence = "**" + (info ? info->title : task) + "**: ";
    bool first = true;
    for (const char* name : names) {
      const Strongest& h = models_of.at(name);
      sentence += std::string(first ? "in " : "; in ") + name + " head " + h.head + " carries most of it (its clean output alone brings back " +
                  share_text(h.effect) + " of the clean answer)";
      first = false;
    }
    notes += "- " + sentence + ".\n";
  }
  std::string plain = notes;
  for (size_t p; (p = plain.find("**")) != std::string::npos;) plain.erase(p, 2);
  std::printf("\nIn short\n%s", plain.c_str());
  ReportOptions options;
  options.title = "Twin models: softmax attention and a gated delta rule";
  options.question = "Which heads do indirect-object identification and induction, and does the recurrent twin do it the same way?";
  options.notes_markdown = notes;
  options.generated = now_utc();
  std::string html = report::render_project(*store, records, "html", options);
  std::string path = out + "/report.html";
  Status s = write_text_file(path, html);
  if (!s) throw Error(s);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("\nReport: %s (%.2f MB)\nProject: %s (%zu runs; `microtome runs --project %s`)\n%.1f s on %s\n", path.c_str(),
              static_cast<double>(html.size()) / 1e6, project.c_str(), records.size(), project.c_str(), seconds, compute.device_text.c_str());
  return 0;
}

}  // namespace microtome::cli
