#include "app/desktop/panels/report/content.h"

#include <QDateTime>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/artifact_view.h"

namespace microtome::desktop {
namespace {

constexpr size_t kArtifactsShown = 12;

QString q(const std::string& s) { return QString::fromStdString(s); }

std::vector<LayerKind> layerKinds(const Json& context) {
  std::vector<LayerKind> out;
  if (!context.is_object() || !context.contains("model") || !context["model"].is_object()) return out;
  const Json& model = context["model"];
  if (!model.contains("layers") || !model["layers"].is_array()) return out;
  for (const Json& layer : model["layers"]) {
    if (out.size() >= 10000) break;
    const bool recurrent = layer.is_object() && layer.contains("kind") && layer["kind"] == "recurrent";
    out.push_back(recurrent ? LayerKind::kRecurrent : LayerKind::kSoftmax);
  }
  return out;
}

Table summaryTable(const AnalysisResult& result) {
  Table t;
  t.columns = {{"number", "", ""}, {"value", "", ""}, {"unit", "", ""}, {"95 % interval", "", ""}, {"n", "", ""}};
  for (const SummaryItem& s : result.summary) {
    std::string interval;
    if (s.low == s.low) interval = (numberText(s.low) + QStringLiteral(" … ") + numberText(s.high)).toStdString();
    t.rows.push_back({s.name, s.value, s.unit, interval, s.n ? Cell{s.n} : Cell{}});
  }
  return t;
}

void runHead(ReportPages& pages, const ReportRun& run) {
  const RunRecord& r = run.record;
  pages.heading(QObject::tr("%1 · %2").arg(q(r.title.empty() ? r.analysis : r.title), q(r.model_name)), 2);
  if (run.context.is_object() && run.context.contains("analysis") && run.context["analysis"].is_object()) {
    const Json& about = run.context["analysis"];
    const auto text = [&](const char* key) { return about.contains(key) && about[key].is_string() ? q(about[key].get<std::string>()) : QString(); };
    pages.paragraph(text("definition"));
    if (!text("source").isEmpty()) pages.paragraph(QObject::tr("Source: %1").arg(text("source")), true);
  }
  QStringList facts;
  if (!r.dataset_name.empty()) facts << QObject::tr("data %1").arg(q(r.dataset_name));
  for (const auto& [name, value] : r.spec.answer_params)
    if (!value.empty()) facts << q(name) + QLatin1Char('=') + q(value);
  pages.paragraph(facts.join(QStringLiteral(", ")), true);
  QStringList findings;
  for (const std::string& f : run.result.findings) findings << q(f);
  pages.bullets(findings);
  for (const std::string& w : run.result.warnings) pages.paragraph(QObject::tr("Warning: %1").arg(q(w)), true);
  if (!r.note.empty()) pages.paragraph(QObject::tr("Note: %1").arg(q(r.note)));
  if (!run.result.summary.empty()) pages.table(summaryTable(run.result), 40);
}

void artifact(ReportPages& pages, const ReportRun& run, const Artifact& a) {
  ArtifactContext context;
  context.layers = layerKinds(run.context);
  context.command = q(run.record.command);
  context.run = run.record.id;
  const QString title = artifactTitle(a);
  pages.heading(title, 3);
  if (run.context.is_object() && run.context.contains("artifact_notes")) {
    const Json& notes = run.context["artifact_notes"];
    const std::string& name = artifact_name(a);
    if (notes.is_object() && notes.contains(name) && notes[name].is_string()) pages.paragraph(QObject::tr("Note: %1").arg(q(notes[name].get<std::string>())));
  }
  if (const auto* table = std::get_if<Table>(&a)) {
    pages.table(*table);
    return;
  }
  if (const auto* text = std::get_if<Text>(&a)) {
    pages.markdown(q(text->markdown));
    return;
  }
  const QString problem = problemOf(a);
  if (!problem.isEmpty()) {
    pages.paragraph(problem, true);
    return;
  }
  // Paper is light: the picture is drawn by a widget with the light palette, whatever the window has.
  std::unique_ptr<QWidget> widget(makeArtifactView(a, context, nullptr));
  widget->setPalette(Theme::light().palette());
  widget->resize(640, 400);
  widget->ensurePolished();
  for (View* view : viewsOf(widget.get())) {
    view->setPalette(Theme::light().palette());
    if (view->width() < 320 || view->height() < 200) view->resize(640, 360);
    QString help;
    if (const auto* map = std::get_if<TensorMap>(&a); map && !map->arrays.empty()) help = q(map->arrays.front().help);
    pages.picture(*view, view->title() + (help.isEmpty() ? QString() : QStringLiteral(" — ") + help));
  }
}

}  // namespace

QString reportFooter(const ReportContent& content) {
  return QObject::tr("%1 — written by Microtome %2, %3").arg(content.title, QStringLiteral(MICROTOME_VERSION),
                                                           QDateTime::currentDateTimeUtc().toString(QStringLiteral("yyyy-MM-dd hh:mm 'UTC'")));
}

std::vector<std::function<void()>> reportSteps(std::shared_ptr<const ReportContent> content, std::shared_ptr<ReportPages> pages) {
  std::vector<std::function<void()>> steps;
  steps.push_back([=] {
    pages->heading(content->title.isEmpty() ? QObject::tr("Microtome report") : content->title, 1);
    pages->paragraph(content->question);
    if (!content->notes.trimmed().isEmpty()) {
      pages->heading(QObject::tr("Notes"), 2);
      pages->markdown(content->notes);
    }
    QStringList findings;
    for (const ReportRun& run : content->runs)
      for (const std::string& f : run.result.findings)
        findings << (q(f).contains(q(run.record.model_name)) ? q(f) : QObject::tr("%1 (%2)").arg(q(f), q(run.record.model_name)));
    if (!findings.isEmpty()) {
      pages->heading(QObject::tr("What was found"), 2);
      pages->bullets(findings.mid(0, 24));
    }
    if (!content->pictures.empty()) pages->heading(QObject::tr("Pictures"), 2);
  });
  for (size_t i = 0; i < content->pictures.size(); ++i)
    steps.push_back([=] {
      const View* view = content->pictures[i];
      if (!view) return;
      pages->picture(*view, view->title());
      if (static_cast<qsizetype>(i) < content->pictureNotes.size()) pages->paragraph(content->pictureNotes[static_cast<qsizetype>(i)]);
      pages->code(view->command());
    });
  for (size_t r = 0; r < content->runs.size(); ++r) {
    steps.push_back([=] { runHead(*pages, content->runs[r]); });
    const auto& artifacts = content->runs[r].result.artifacts;
    for (size_t a = 0; a < std::min(artifacts.size(), kArtifactsShown); ++a)
      steps.push_back([=] { artifact(*pages, content->runs[r], content->runs[r].result.artifacts[a]); });
    steps.push_back([=] {
      if (content->runs[r].result.artifacts.size() > kArtifactsShown)
        pages->paragraph(QObject::tr("%1 further artifacts are in the project.").arg(content->runs[r].result.artifacts.size() - kArtifactsShown), true);
      pages->paragraph(QObject::tr("To repeat (key %1):").arg(q(content->runs[r].record.key_hash.substr(0, 12))), true);
      pages->code(q(content->runs[r].record.command));
    });
  }
  return steps;
}

}  // namespace microtome::desktop
