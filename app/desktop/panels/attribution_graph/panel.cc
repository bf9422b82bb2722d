// Attribution graph: features by layer and position, what adds to what, pruned live, grouped, edges tested.
#include "app/desktop/panels/attribution_graph/attribution_panel.h"
#include "app/desktop/panels/registry.h"

namespace microtome::panels {

void register_attribution_graph(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("attribution_graph"), QObject::tr("Attribution graph"),
                       QObject::tr("Features, tokens and errors of one prompt and what each adds to each: prune, group into supernodes, test an edge, export"),
                       PanelArea::kCentre, 66, QStringLiteral("Ctrl+0")};
  registry.add({info, [info](Session& session, QWidget* parent) -> Panel* { return new AttributionPanel(session, info, parent); }});
}

}  // namespace microtome::panels
