#include "app/desktop/session/run_facts.h"

#include <QCoreApplication>
#include <QDateTime>
#include <QDir>
#include <QLocale>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QCoreApplication::translate("RunFacts", text); }
QString line(const std::string& text) { return plainLine(QString::fromStdString(text), 200); }

QDateTime timeOf(const std::string& iso) {
  QDateTime t = QDateTime::fromString(QString::fromStdString(iso), Qt::ISODate);
  // The store writes UTC; a text without a zone is meant so too.
  if (t.isValid() && t.timeSpec() == Qt::LocalTime) t.setTimeSpec(Qt::UTC);
  return t.isValid() ? t.toLocalTime() : t;
}

// English month names, whatever the machine's language: the app's words are English.
QString formatted(const QDateTime& t, const char* format) { return QLocale::c().toString(t, QLatin1String(format)); }

// Whether `given` is what the window would run on: all its prompts, or the selected one.
enum class Prompts { kAll, kOne, kOther };
Prompts promptsOf(const Session& session, int slot, const RunRecord& run) {
  const std::string& wanted = run.spec.dataset_hash;
  if (wanted.empty()) return Prompts::kAll;
  const std::shared_ptr<const Dataset>& all = session.prompts().bySlot[slot];
  if (!all) return Prompts::kOther;
  if (all->hash() == wanted) return Prompts::kAll;
  if (const PromptPair* pair = session.currentPair(slot)) {
    Dataset one;
    one.pairs.push_back(*pair);
    if (one.hash() == wanted) return Prompts::kOne;
  }
  return Prompts::kOther;
}

}  // namespace

QString runTitle(const RunRecord& run) { return line(run.title.empty() ? run.analysis : run.title); }

QString runModel(const RunRecord& run) { return line(run.model_name.empty() ? run.spec.model_name : run.model_name); }

QString runDataset(const RunRecord& run) {
  const QString name = line(run.dataset_name.empty() ? run.spec.dataset_name : run.dataset_name);
  return name.isEmpty() ? tr("no prompts") : name;
}

QString runStateText(const RunRecord& run) {
  const QString items = run.items_total > 0 ? tr("%1 of %2 items").arg(run.items_done).arg(run.items_total) : QString();
  switch (run.state) {
    case RunStatus::kDone: return tr("done");
    case RunStatus::kFailed: return items.isEmpty() ? tr("failed") : tr("failed at %1").arg(items);
    case RunStatus::kPartial: return items.isEmpty() ? tr("unfinished") : items;
    default: return run.items_done > 0 ? items : tr("new");
  }
}

QString shortTime(const std::string& iso) {
  const QDateTime t = timeOf(iso);
  if (!t.isValid()) return line(iso);
  const QDate today = QDate::currentDate();
  if (t.date() == today) return formatted(t, "HH:mm");
  return formatted(t, t.date().year() == today.year() ? "d MMM HH:mm" : "d MMM yyyy");
}

QString longTime(const std::string& iso) {
  const QDateTime t = timeOf(iso);
  return t.isValid() ? formatted(t, "d MMM yyyy HH:mm:ss") : line(iso);
}

QString durationText(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return QStringLiteral("–");
  if (seconds == 0) return tr("0 s");
  if (seconds < 0.01) return tr("< 0.01 s");
  if (seconds < 10) return numberText(seconds, 2) + tr(" s");
  // Beyond a century nobody counts.
  const qint64 whole = static_cast<qint64>(std::min(seconds, 3.2e9) + 0.5);
  if (whole < 60) return tr("%1 s").arg(whole);
  if (whole < 3600) return tr("%1 min %2 s").arg(whole / 60).arg(whole % 60);
  return tr("%1 h %2 min").arg(whole / 3600).arg(whole % 3600 / 60);
}

int slotOfModel(const Session& session, const RunRecord& run) {
  const auto clean = [](const std::string& path) { return QDir::cleanPath(QString::fromStdString(path)); };
  for (int slot = 0; slot < Session::kSlots; ++slot)
    if (session.model(slot) && clean(session.model(slot)->facts().folder) == clean(run.spec.model_path)) return slot;
  return -1;
}

std::optional<RunRequest> requestOf(const Session& session, const RunRecord& run, QString* why) {
  const auto no = [why](const QString& sentence) {
    if (why) *why = sentence;
    return std::nullopt;
  };
  const QString analysis = QString::fromStdString(run.spec.analysis.empty() ? run.analysis : run.spec.analysis);
  if (!session.engineReady()) return no(tr("The core is still being opened: try again in a moment."));
  if (!session.findAnalysis(analysis))
    return no(tr("There is no analysis '%1' here: install the plug-in that brings it.").arg(plainLine(analysis, 80)));
  const int slot = slotOfModel(session, run);
  if (slot < 0) return no(tr("Its model is not open: open %1 first.").arg(runModel(run)));
  const RunSpec& spec = run.spec;
  if (spec.dtype != kDtype || spec.form != "auto" || spec.bos != "auto" || spec.tf32 ||
      (spec.interventions != "[]" && !spec.interventions.empty()))
    return no(tr("It ran with settings that the window does not have: copy it as a command."));
  const Prompts prompts = promptsOf(session, slot, run);
  if (prompts == Prompts::kOther || spec.seed != session.prompts().source.seed)
    return no(tr("It ran on other prompts (%1): load them in Prompts first, or copy it as a command.").arg(runDataset(run)));
  RunRequest out;
  out.analysis = analysis;
  out.slot = slot;
  out.onePrompt = prompts == Prompts::kOne;
  // Only what differs from its default, as a person would have typed it.
  const ParamSchema& schema = session.findAnalysis(analysis)->schema;
  for (const auto* params : {&spec.answer_params, &spec.cost_params})
    for (const auto& [name, value] : *params)
      if (const ParamSpec* p = schema.find(name); p && !p->is_file && param_text(p->fallback) != value) out.params[name] = value;
  // Of files a run keeps what was in them; the path is beside it.
  for (const ParamSpec& p : schema.specs)
    if (const auto path = spec.cost_params.find(p.name + "_path"); p.is_file && path != spec.cost_params.end()) out.params[p.name] = path->second;
  return out;
}

}  // namespace microtome::desktop
