// project_report.h — runs of a project file as a report: what both programs call. Any thread.
#pragma once

#include <string>
#include <vector>

#include "app/report/report.h"

namespace microtome::report {

// The runs by number or key prefix, in that order; none named: every finished run. Throws Error: kNotFound where there is no
// such run or none is finished, kBadInput for one that is not finished.
std::vector<RunRecord> chosen_runs(ResultStore& store, const std::vector<std::string>& names);
// A run with its result and context (the last attempt and the notes on its artifacts put in). Throws Error.
ReportRun load_run(ResultStore& store, const RunRecord& record);
// format: "html" or "md".
std::string render_project(ResultStore& store, const std::vector<RunRecord>& records, const std::string& format, const ReportOptions& options);

}  // namespace microtome::report
