// Features: the dashboards of a dictionary, searched, labelled, and steered with.
#include "app/desktop/panels/features/features_panel.h"
#include "app/desktop/panels/registry.h"

namespace microtome::panels {

void register_features(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("features"), QObject::tr("Features"),
                       QObject::tr("Look through a dictionary's features: what each fires on and writes, name it, steer with it and see the text change"),
                       PanelArea::kCentre, 64, QStringLiteral("Ctrl+9")};
  registry.add({info, [info](Session& session, QWidget* parent) -> Panel* { return new FeaturesPanel(session, info, parent); }});
}

}  // namespace microtome::panels
