// Report: choose runs and pictures, write notes, export.
#include "app/desktop/panels/registry.h"
#include "app/desktop/panels/report/report_panel.h"

namespace microtome::panels {

void register_report(Registry& registry) {
  using namespace desktop;
  const PanelInfo info = {QStringLiteral("report"), QObject::tr("Report"), QObject::tr("Choose runs and pictures, write notes, export a report"), PanelArea::kCentre, 70, QStringLiteral("Ctrl+7")};
  registry.add({info, [info](Session& session, QWidget* parent) -> Panel* { return new ReportPanel(session, info, parent); }});
}

}  // namespace microtome::panels
