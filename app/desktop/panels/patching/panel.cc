// Patching: what brings the clean answer back, place by place.
#include "app/desktop/panels/patching/patching_panel.h"
#include "app/desktop/panels/registry.h"

namespace microtome::panels {

void register_patching(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("patching"),
                       QObject::tr("Patching"),
                       QObject::tr("Change one place of a run and see how much of the answer moves: patching, attribution and ablation grids."),
                       PanelArea::kCentre,
                       40,
                       QStringLiteral("Ctrl+4")};
  registry.add({info, [info](Session& session, QWidget* parent) { return new PatchingPanel(session, info, parent); }});
}

}  // namespace microtome::panels
