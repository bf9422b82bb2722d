// report_index.h — the order of a report: which models there are, which runs stand side by side, which prompts were
// used. Shared by the HTML and the Markdown form. Holds pointers into the runs it was made from.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "app/report/report.h"
#include "app/report/svg_heatmap.h"

namespace microtome::report {

struct ModelFacts {
  std::string label;  // the name; with a piece of the weights hash where names clash
  std::string weights_hash;
  const Json* facts = nullptr;        // context["model"], null when absent
  std::vector<MixerKind> layers;      // one a layer, from context["model"]["layers"]
  const RunRecord* record = nullptr;  // its first run
  MixerKind kind(int64_t layer) const;
  // kSoftmax or kRecurrent when every layer is; kNone for hybrids and unknown.
  MixerKind whole() const;
  bool hybrid() const;
};

struct RunColumn {
  const ReportRun* run = nullptr;
  size_t model = 0;   // index into ReportIndex::models
  std::string label;  // the model's, with the run's number where a model comes twice
};

// Runs that answer the same question on the same prompts, a column a model.
struct RunSet {
  std::string heading;  // what tells it from the others: "site = z"; empty when it is alone
  std::vector<RunColumn> columns;
};

struct AnalysisGroup {
  std::string name, title, definition, source, anchor;
  std::vector<RunSet> sets;
};

struct PromptSet {
  std::string name, title, description, source;  // of the data set and its task
  const Json* prompts = nullptr;                 // a list
};

struct ReportIndex {
  std::vector<ModelFacts> models;
  std::vector<AnalysisGroup> groups;
  std::vector<PromptSet> prompts;
};
ReportIndex make_index(const std::vector<ReportRun>& runs);

// Texts of the first prompt's clean tokens; empty when the context has none.
std::vector<std::string> first_prompt_tokens(const ReportRun& run);
std::vector<std::string> token_list(const Json* list);  // bounded; non-texts become their text

// "key=value" of the answer parameters, in order.
std::string params_text(const RunRecord& record);
// "stopped after 12 of 64 items" for a run that is not done; empty otherwise.
std::string unfinished_text(const RunRecord& record);
std::string short_hash(const std::string& hash);

}  // namespace microtome::report
