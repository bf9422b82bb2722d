// commands.h — the commands, one function each. They throw Error; run_command (dispatch.cc) prints it and gives the exit
// status.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "analysis/runner.h"
#include "app/cli/command_line.h"
#include "core/base/json.h"
#include "core/base/progress.h"
#include "core/model/loaded_model.h"
#include "core/store/result_store.h"
#include "core/tasks/task.h"

namespace microtome::cli {

int doctor(const CommandLine& line);
int inspect(const CommandLine& line);
int tokenize(const CommandLine& line);
int forward(const CommandLine& line);
int mixer(const CommandLine& line);
int generate(const CommandLine& line);
int analyses_command(const CommandLine& line);
int run(const CommandLine& line);
int tasks(const CommandLine& line);
int runs(const CommandLine& line);
int show(const CommandLine& line);
int explain(const CommandLine& line);
int diff(const CommandLine& line);
int gc(const CommandLine& line);
int export_command(const CommandLine& line);
int report(const CommandLine& line);
int circuit_command(const CommandLine& line);
int features_command(const CommandLine& line);
int dictionary_command(const CommandLine& line);
int train(const CommandLine& line);
int bench(const CommandLine& line);
int demo(const CommandLine& line);

// --device, --dtype, --tf32, --threads, --seed, --form, --bos as they were given, applied to LibTorch.
struct Compute {
  c10::Device device = c10::Device(c10::kCPU);
  at::ScalarType dtype = at::kFloat;
  std::string device_text, dtype_text, form, bos;
  WeightKeep keep = WeightKeep::kAuto;
  bool tf32 = false;
  uint64_t seed = 0;
};
Compute read_compute(const CommandLine& line);
BosMode bos_mode(const std::string& text);
std::shared_ptr<const LoadedModel> open_model(const CommandLine& line, const Compute& compute);
// "key=value" texts; throws Error(kBadInput) naming the option.
std::map<std::string, std::string> key_values(const std::vector<std::string>& texts, const std::string& option);

// Prints progress on standard error (a bar on a terminal, else a line every few seconds) and turns Ctrl-C into a cancel.
class ShownProgress {
 public:
  explicit ShownProgress(bool quiet = false);
  ~ShownProgress();
  Progress& progress() { return progress_; }

 private:
  Progress progress_;
};

// Columns aligned, numbers to the right.
void print_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);
std::string number_text(double v, int digits = 4);
std::string now_utc();
void print_json(const Json& j);
// Captured tensors and others as a safetensors file with axes in its metadata.
void write_tensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                   const std::map<std::string, std::string>& metadata);

// The dataset a run works on: --task or --dataset; empty when neither is given.
struct PreparedData {
  Dataset dataset;
  std::string task_json = "{}";
};
PreparedData prepare_data(const CommandLine& line, const LoadedModel& model, const Compute& compute);
// The project of --project.
std::shared_ptr<ResultStore> open_project(const CommandLine& line, ResultStore::Mode mode = ResultStore::Mode::kReadOnly);
void require_done(const RunRecord& record);
void check(const Status& status);   // throws Error
// A circuit in one of the forms mib, dot, svg, graphml, csv. context: of its run (report.h), for the colours of layers in svg;
// may be empty.
std::string circuit_text(const Circuit& circuit, const std::string& format, bool all_edges, const Json& context);
// Counts, groups and the strongest edges, at most that many.
void print_circuit(const Circuit& circuit, int64_t edges);
// What `run` does with its line, for the analysis `name`: parameters, model, prompts, project; prints progress only.
struct Performed {
  RunOutcome outcome;
  std::vector<std::string> said;             // warnings that a person has read already
};
Performed perform(const CommandLine& line, const std::string& name);
void print_performed(const Performed& done, const std::string& project);
// Summary, findings and warnings of a finished run in words.
// said: warnings that a person has read already.
void print_outcome(const RunOutcome& outcome, const std::vector<std::string>& said = {});

}  // namespace microtome::cli
