// runs, show, explain, diff, gc, report: the project database. None of them needs a model.
#include <cstdio>

#include "app/cli/commands/commands.h"
#include "app/report/project_report.h"
#include "core/store/explain.h"
#include "core/store/result_json.h"

namespace microtome::cli {
namespace {

const char* state_text(RunStatus s) {
  switch (s) {
    case RunStatus::kNew: return "new";
    case RunStatus::kPartial: return "partial";
    case RunStatus::kDone: return "done";
    default: return "failed";
  }
}

std::string cell_text(const Cell& c) {
  if (const auto* i = std::get_if<int64_t>(&c)) return std::to_string(*i);
  if (const auto* d = std::get_if<double>(&c)) return number_text(*d);
  if (const auto* s = std::get_if<std::string>(&c)) return *s;
  return "–";
}

std::string axes_text(const NamedArray& a) {
  std::string out = "[";
  for (size_t i = 0; i < a.axes.size(); ++i) out += (i ? ", " : "") + a.axes[i] + " " + std::to_string(a.shape[i]);
  return out + "]";
}

}  // namespace

std::shared_ptr<ResultStore> open_project(const CommandLine& line, ResultStore::Mode mode) {
  return ResultStore::open(line.get("--project"), mode).value();
}

void require_done(const RunRecord& r) {
  if (r.state != RunStatus::kDone)
    throw Error(StatusCode::kBadInput, "run " + std::to_string(r.id) + " is not finished (" + std::to_string(r.items_done) + " of " +
                std::to_string(r.items_total) + " items)", "", "finish it: " + r.command);
}

void check(const Status& s) {
  if (!s) throw Error(s);
}

int runs(const CommandLine& line) {
  auto store = open_project(line);
  std::vector<std::vector<std::string>> rows;
  Json out = Json::array();
  const std::vector<RunRecord> all = store->runs().value();
  for (const RunRecord& r : all) {
    std::string items = std::to_string(r.items_done) + "/" + std::to_string(r.items_total);
    rows.push_back({std::to_string(r.id), r.key_hash.substr(0, 12), r.analysis, r.model_name, r.dataset_name, state_text(r.state), items, r.created, r.note});
    out.push_back({{"id", r.id}, {"key", r.key_hash}, {"analysis", r.analysis}, {"model", r.model_name}, {"dataset", r.dataset_name},
                   {"state", state_text(r.state)}, {"items_done", r.items_done}, {"items_total", r.items_total}, {"created", r.created}, {"command", r.command}, {"note", r.note}});
  }
  if (line.flag("--json")) print_json(out);
  else if (rows.empty()) std::printf("The project has no runs yet: `microtome run ANALYSIS --model FOLDER --task ioi --project %s`\n", line.get("--project").c_str());
  else print_table({"run", "key", "analysis", "model", "data", "state", "items", "created", "note"}, rows);
  return 0;
}

int show(const CommandLine& line) {
  auto store = open_project(line);
  RunRecord r = store->find_run(line.word(0)).value();
  AnalysisResult result;
  if (r.state == RunStatus::kDone) result = store->result(r.id).value();
  if (line.flag("--json")) {
    print_json(result_to_json(r, result));
    return 0;
  }
  std::printf("run %lld: %s on %s, %s (%s, %lld of %lld items)\nkey %s\ncommand: %s\n", static_cast<long long>(r.id), r.analysis.c_str(), r.model_name.c_str(),
              r.dataset_name.empty() ? "no data" : r.dataset_name.c_str(), state_text(r.state), static_cast<long long>(r.items_done),
              static_cast<long long>(r.items_total), r.key_hash.c_str(), r.command.c_str());
  const std::vector<AttemptRecord> attempts = store->attempts(r.id).value();
  for (const AttemptRecord& a : attempts)
    std::printf("attempt %lld: %s on %s, %.2f s, items %lld to %lld%s%s\n", static_cast<long long>(a.id), a.started.c_str(), a.device.c_str(), a.seconds,
                static_cast<long long>(a.items_before), static_cast<long long>(a.items_after), a.error.empty() ? "" : ", ended: ", a.error.c_str());
  std::printf("\n");
  RunOutcome o;
  o.result = result;
  print_outcome(o);
  for (const Artifact& a : result.artifacts) {
    if (const auto* t = std::get_if<Table>(&a)) {
      std::printf("\n%s\n", t->title.c_str());
      std::vector<std::string> header;
      for (const Column& c : t->columns) header.push_back(c.unit.empty() ? c.name : c.name + " (" + c.unit + ")");
      std::vector<std::vector<std::string>> rows;
      for (const auto& row : t->rows) {
        std::vector<std::string> cells;
        for (const Cell& c : row) cells.push_back(cell_text(c));
        rows.push_back(std::move(cells));
      }
      print_table(header, rows);
    } else if (const auto* m = std::get_if<TensorMap>(&a)) {
      std::printf("\n%s\n", m->title.c_str());
      for (const NamedArray& n : m->arrays) std::printf("  %s %s %s%s%s\n", n.name.c_str(), axes_text(n).c_str(), n.unit.c_str(), n.unit.empty() ? "" : "  ", n.help.c_str());
    } else if (const auto* c = std::get_if<Circuit>(&a)) {
      std::printf("\n%s: %s\n", artifact_kind(a), artifact_name(a).c_str());
      print_circuit(*c, 20);
    } else if (const auto* f = std::get_if<FeatureSet>(&a)) {
      std::printf("\n%zu features: `microtome features %lld --project %s` looks at them\n", f->features.size(), static_cast<long long>(r.id), line.get("--project").c_str());
    } else {
      std::printf("\n%s: %s\n", artifact_kind(a), artifact_name(a).c_str());
    }
  }
  return 0;
}

int explain(const CommandLine& line) {
  auto store = open_project(line);
  RunRecord r = store->find_run(line.word(0)).value();
  if (line.flag("--json")) {
    Json fields = Json::object();
    for (const auto& [tag, value] : parse_key_text(r.key_text)) fields[tag] = value;
    print_json({{"id", r.id}, {"key", r.key_hash}, {"fields", fields}, {"text", r.key_text}});
  } else {
    std::printf("%s", explain_key(r).c_str());
  }
  return 0;
}

int diff(const CommandLine& line) {
  auto store = open_project(line);
  RunRecord a = store->find_run(line.word(0)).value(), b = store->find_run(line.word(1)).value();
  std::vector<KeyDifference> d = diff_keys(a, b);
  if (line.flag("--json")) {
    Json out = Json::array();
    for (const KeyDifference& k : d) out.push_back({{"field", k.tag}, {"a", k.a}, {"b", k.b}, {"meaning", k.meaning}});
    print_json(out);
    return 0;
  }
  if (d.empty()) {
    std::printf("The two are the same run: nothing that affects the answer differs.\n");
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const KeyDifference& k : d) rows.push_back({k.tag, k.a, k.b, k.meaning});
  print_table({"field", "run " + line.word(0), "run " + line.word(1), "meaning"}, rows);
  return 0;
}

int gc(const CommandLine& line) {
  auto store = open_project(line, ResultStore::Mode::kReadWrite);
  int64_t runs = 0;
  if (line.flag("--trash")) {
    runs = static_cast<int64_t>(store->trash().value().size());
    if (!line.flag("--dry-run")) store->empty_trash().value();
    if (!line.flag("--json")) std::printf("%lld run(s) in the trash %s\n", static_cast<long long>(runs), line.flag("--dry-run") ? "would go" : "removed");
  }
  auto r = store->gc(line.flag("--dry-run")).value();
  if (line.flag("--json")) print_json({{"runs", runs}, {"files", r.files_removed}, {"bytes", r.bytes_freed}, {"dry_run", line.flag("--dry-run")}});
  else std::printf("%lld file(s), %.1f MB %s\n", static_cast<long long>(r.files_removed), static_cast<double>(r.bytes_freed) / 1e6, line.flag("--dry-run") ? "would go" : "removed");
  return 0;
}

int report(const CommandLine& line) {
  std::string format = line.get("--format", "html");
  if (format == "pdf")
    throw Error(StatusCode::kUnsupported, "PDF needs the desktop app", "report", "use `microtome-desktop --headless report --format pdf …`, or --format html and print it");
  auto store = open_project(line);
  std::vector<RunRecord> records = report::chosen_runs(*store, line.words);
  std::string notes;
  if (line.has("--notes")) notes = read_text_file(line.get("--notes"), 1 << 20).value();
  ReportOptions options;
  options.title = line.get("--title", "Circuit report");
  options.question = line.get("--question");
  options.notes_markdown = notes;
  options.generated = now_utc();
  std::string text = report::render_project(*store, records, format, options);
  check(write_text_file(line.get("--out"), text));
  std::fprintf(stderr, "%s: %zu runs, %.2f MB\n", line.get("--out").c_str(), records.size(), static_cast<double>(text.size()) / 1e6);
  return 0;
}

}  // namespace microtome::cli
