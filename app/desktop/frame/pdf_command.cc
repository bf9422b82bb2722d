// `microtome-desktop --headless report --format pdf`: the pages of the Report panel without a window.
#include <QGuiApplication>
#include <cstdio>

#include "app/desktop/frame/application.h"
#include "app/desktop/panels/report/content.h"
#include "app/desktop/theme/theme.h"
#include "app/report/project_report.h"

namespace microtome::desktop {

int writePdfReport(int argc, char** argv, const cli::CommandLine& line) {
  const Status s = catch_status([&] {
    auto store = ResultStore::open(line.get("--project"), ResultStore::Mode::kReadOnly).value();
    auto content = std::make_shared<ReportContent>();
    for (const RunRecord& r : report::chosen_runs(*store, line.words)) content->runs.push_back(report::load_run(*store, r));
    content->title = QString::fromStdString(line.get("--title", "Circuit report"));
    content->question = QString::fromStdString(line.get("--question"));
    if (line.has("--notes")) content->notes = QString::fromStdString(read_text_file(line.get("--notes"), 1 << 20).value());

    if (!qEnvironmentVariableIsSet("QT_QPA_PLATFORM")) qputenv("QT_QPA_PLATFORM", "offscreen");
    QApplication app(argc, argv);
    Theme::apply(app, false);
    auto pages = std::make_shared<ReportPages>();
    const auto steps = reportSteps(content, pages);
    for (const auto& step : steps) step();
    const std::vector<ReportPage> drawn = pages->pages(reportFooter(*content));
    QString why;
    const QString path = QString::fromStdString(line.get("--out"));
    if (!writePdf(drawn, content->title, path, &why)) throw Error(StatusCode::kFailed, why.toStdString());
    std::fprintf(stderr, "%s: %zu runs, %zu pages\n", line.get("--out").c_str(), content->runs.size(), drawn.size());
  });
  if (!s) std::fprintf(stderr, "microtome: error: %s\n", s.text().c_str());
  return s.exit_code();
}

}  // namespace microtome::desktop
