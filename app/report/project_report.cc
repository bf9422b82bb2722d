#include "app/report/project_report.h"

namespace microtome::report {
namespace {

void require_done(const RunRecord& r) {
  if (r.state != RunStatus::kDone)
    throw Error(StatusCode::kBadInput, "run " + std::to_string(r.id) + " is not finished (" + std::to_string(r.items_done) + " of " +
                std::to_string(r.items_total) + " items)", "", "finish it: " + r.command);
}

}  // namespace

std::vector<RunRecord> chosen_runs(ResultStore& store, const std::vector<std::string>& names) {
  std::vector<RunRecord> out;
  if (names.empty()) {
    std::vector<RunRecord> all = store.runs().value();
    for (RunRecord& r : all)
      if (r.state == RunStatus::kDone) out.push_back(std::move(r));
    if (out.empty()) throw Error(StatusCode::kNotFound, "the project has no finished run", store.path(), "run an analysis first");
  }
  for (const std::string& name : names) {
    out.push_back(store.find_run(name).value());
    require_done(out.back());
  }
  return out;
}

ReportRun load_run(ResultStore& store, const RunRecord& r) {
  ReportRun run{r, store.result(r.id).value(), Json::object()};
  std::string context = store.context(r.id, "report").value();
  if (!context.empty()) run.context = parse_json(context, "context of run " + std::to_string(r.id)).value();
  auto attempts = store.attempts(r.id).value();
  if (!attempts.empty()) {
    const AttemptRecord& a = attempts.back();
    Json versions = a.versions.empty() ? Json::object() : parse_json(a.versions, "versions").value();
    Json events = a.events.empty() ? Json::array() : parse_json(a.events, "events").value();
    run.context["attempt"] = {{"device", a.device}, {"versions", versions}, {"seconds", a.seconds}, {"started", a.started}, {"events", events}};
  }
  const std::map<std::string, std::string> notes = store.artifact_notes(r.id).value();
  for (const auto& [artifact, note] : notes) run.context["artifact_notes"][artifact] = note;
  return run;
}

std::string render_project(ResultStore& store, const std::vector<RunRecord>& records, const std::string& format, const ReportOptions& options) {
  std::vector<ReportRun> all;
  for (const RunRecord& r : records) all.push_back(load_run(store, r));
  return format == "md" ? render_markdown(all, options) : render_html(all, options);
}

}  // namespace microtome::report
