// Circuit: which heads and MLPs do it, over which edges, and how much of the answer they carry.
#include "app/desktop/panels/circuit/circuit_panel.h"
#include "app/desktop/panels/registry.h"

namespace microtome::panels {

void register_circuit(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("circuit"),
                       QObject::tr("Circuit"),
                       QObject::tr("Which heads and MLPs carry the answer: the graph of edges, its faithfulness as edges are left out, nodes knocked out."),
                       PanelArea::kCentre,
                       60,
                       QStringLiteral("Ctrl+6")};
  registry.add({info, [info](Session& session, QWidget* parent) { return new CircuitPanel(session, info, parent); }});
}

}  // namespace microtome::panels
