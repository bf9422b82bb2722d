#include "app/desktop/panels/project/groups.h"

#include <QCoreApplication>
#include <QFileInfo>
#include <map>

#include "app/desktop/session/run_facts.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QCoreApplication::translate("ProjectPanel", text); }

RowMark markFor(const ProjectFacts& facts, const RunRecord& run) {
  return facts.marks.value(QString::fromStdString(run.spec.model_path), RowMark::kUnknown);
}

ProjectRow rowOf(const ProjectFacts& facts, const RunRecord& run) {
  ProjectRow row;
  row.run = run.id;
  row.key = QStringLiteral("run:%1").arg(run.id);
  row.analysis = runTitle(run);
  row.model = runModel(run);
  row.dataset = runDataset(run);
  row.created = QString::fromStdString(run.created);
  row.title = QStringLiteral("%1  %2").arg(run.id).arg(row.analysis);
  row.right = shortTime(run.created);
  row.detail = row.model + QStringLiteral(" · ") + row.dataset;
  row.mark = markFor(facts, run);
  const QString note = plainLine(QString::fromStdString(run.note), 300);
  row.note = !note.isEmpty() || !facts.session->viewNotes(run.id).empty();
  row.stateOrder = static_cast<int>(run.state);
  const QString words = runStateText(run);
  const double share = run.items_total > 0 ? static_cast<double>(run.items_done) / static_cast<double>(run.items_total) : 0;
  switch (run.state) {
    case RunStatus::kDone:
      row.tone = RowTone::kGood;
      row.state = QStringLiteral("✓");
      break;
    case RunStatus::kFailed:
      row.tone = RowTone::kError;
      row.state = tr("failed");
      if (run.items_total > 0) row.progress = share;
      break;
    default:
      row.tone = RowTone::kWarning;
      row.state = run.items_total > 0 ? QStringLiteral("%1 / %2").arg(run.items_done).arg(run.items_total) : words;
      row.progress = share;
  }
  row.text = QStringList{QString::fromStdString(run.analysis), words, note, longTime(run.created),
                         QString::fromStdString(run.key_hash).left(16)}
                 .join(QLatin1Char('\n'));
  row.tip = tr("Run %1: %2\n%3 on %4\n%5, %6").arg(run.id).arg(row.analysis, row.model, row.dataset, words, longTime(run.created));
  if (!note.isEmpty()) row.tip += QLatin1Char('\n') + tr("Note: %1").arg(note);
  return row;
}

std::vector<ProjectRow> jobRows(const ProjectFacts& facts) {
  std::vector<ProjectRow> out;
  for (const JobSnapshot& job : facts.underWay) {
    ProjectRow row;
    row.key = QStringLiteral("job:%1").arg(job.id);
    row.job = job.id;
    row.title = plainLine(QString::fromStdString(job.title), 200);
    const bool running = job.state == JobState::kRunning;
    row.detail = running ? plainLine(QString::fromStdString(job.progress.what), 120) : tr("waits for its turn");
    if (row.detail.isEmpty()) row.detail = tr("starting");
    row.state = running ? tr("%1 %").arg(static_cast<int>(job.progress.fraction * 100)) : tr("queued");
    row.tone = RowTone::kAccent;
    row.progress = job.progress.fraction;
    row.tip = tr("Under way: %1").arg(row.title);
    out.push_back(row);
  }
  return out;
}

std::vector<ProjectRow> runRows(const ProjectFacts& facts) {
  std::vector<ProjectRow> out;
  for (const RunRecord& run : facts.session->runs()) out.push_back(rowOf(facts, run));
  return out;
}

QString countText(int n) { return n == 1 ? tr("1 run") : tr("%1 runs").arg(n); }

std::vector<ProjectRow> modelRows(const ProjectFacts& facts) {
  std::map<QString, ProjectRow> byPath;
  std::map<QString, int> count;
  const auto add = [&](const QString& path, const QString& name) -> ProjectRow& {
    ProjectRow& row = byPath[path];
    row.key = QStringLiteral("model:") + path;
    row.title = row.model = name;
    row.modelPath = path;
    row.filter = name;
    row.tip = plainLine(path, 400);
    row.mark = facts.marks.value(path, RowMark::kUnknown);
    return row;
  };
  for (const RunRecord& run : facts.session->runs()) {
    const QString path = QString::fromStdString(run.spec.model_path);
    add(path, runModel(run));
    ++count[path];
  }
  for (int slot = 0; slot < Session::kSlots; ++slot)
    if (const app::ModelPtr model = facts.session->model(slot)) {
      const QString path = QString::fromStdString(model->facts().folder);
      ProjectRow& row = add(path, plainLine(QString::fromStdString(model->facts().name), 200));
      row.state = slot == 0 ? tr("open") : tr("open, second");
      row.tone = RowTone::kAccent;
    }
  std::vector<ProjectRow> out;
  for (auto& [path, row] : byPath) {
    row.detail = count[path] ? countText(count[path]) : tr("no runs yet");
    out.push_back(row);
  }
  return out;
}

std::vector<ProjectRow> datasetRows(const ProjectFacts& facts) {
  struct Found { QString name; int runs = 0; };
  std::map<std::string, Found> byHash;
  for (const RunRecord& run : facts.session->runs()) {
    if (run.spec.dataset_hash.empty()) continue;
    Found& f = byHash[run.spec.dataset_hash];
    f.name = runDataset(run);
    ++f.runs;
  }
  std::vector<ProjectRow> out;
  for (const auto& [hash, found] : byHash) {
    ProjectRow row;
    row.key = QStringLiteral("dataset:") + QString::fromStdString(hash);
    row.title = row.filter = found.name;
    row.right = QString::fromStdString(hash).left(8);
    row.detail = countText(found.runs);
    row.tip = tr("Prompts with the SHA-256 %1").arg(QString::fromStdString(hash).left(64));
    out.push_back(row);
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const ProjectRow& a, const ProjectRow& b) { return a.title.localeAwareCompare(b.title) < 0; });
  return out;
}

std::vector<ProjectRow> noteRows(const ProjectFacts& facts) {
  std::vector<ProjectRow> out;
  const auto add = [&](const RunRecord& run, const QString& artifact, const std::string& note) {
    ProjectRow row;
    row.key = QStringLiteral("note:%1:%2").arg(run.id).arg(artifact);
    row.run = run.id;
    row.artifact = artifact;
    row.title = plainLine(QString::fromStdString(note), 200);
    row.detail = tr("run %1 · %2").arg(run.id).arg(artifact.isEmpty() ? runTitle(run) : plainLine(artifact, 80));
    row.note = true;
    row.tip = plainLine(QString::fromStdString(note), 600);
    out.push_back(row);
  };
  for (const RunRecord& run : facts.session->runs()) {
    if (!run.note.empty()) add(run, {}, run.note);
    for (const auto& [artifact, note] : facts.session->viewNotes(run.id)) add(run, QString::fromStdString(artifact), note);
  }
  return out;
}

std::vector<ProjectRow> trashRows(const ProjectFacts& facts) {
  std::vector<ProjectRow> out;
  for (const RunRecord& run : facts.session->trashedRuns()) {
    ProjectRow row = rowOf(facts, run);
    row.key = QStringLiteral("trash:%1").arg(run.id);
    row.trashed = true;
    row.progress.reset();
    out.push_back(row);
  }
  return out;
}

}  // namespace

const std::vector<ProjectGroup>& projectGroups() {
  static const std::vector<ProjectGroup> groups = {
      {kJobsGroup, tr("Under way"), false, false, jobRows},
      {QStringLiteral("runs"), tr("Runs"), true, true, runRows},
      {QStringLiteral("models"), tr("Models"), false, false, modelRows},
      {QStringLiteral("datasets"), tr("Datasets"), false, false, datasetRows},
      {QStringLiteral("notes"), tr("Notes"), false, false, noteRows},
      {QStringLiteral("trash"), tr("Trash"), true, false, trashRows},
  };
  return groups;
}

RowMark markOf(const app::ModelFacts& facts) {
  bool softmax = false, recurrent = false;
  for (const app::LayerFacts& layer : facts.layers) (layer.recurrent ? recurrent : softmax) = true;
  if (softmax && recurrent) return RowMark::kBoth;
  return softmax ? RowMark::kSoftmax : recurrent ? RowMark::kRecurrent : RowMark::kUnknown;
}

}  // namespace microtome::desktop
