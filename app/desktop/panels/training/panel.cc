// Training: sparse dictionaries of a model's activations, started, watched live, paused and resumed.
#include "app/desktop/panels/registry.h"
#include "app/desktop/panels/training/training_panel.h"

namespace microtome::panels {

void register_training(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("training"), QObject::tr("Training"),
                       QObject::tr("Sparse autoencoders and transcoders of the model, trained here: curves as they grow, runs over each other, L0 against FVU"),
                       PanelArea::kCentre, 62, QStringLiteral("Ctrl+8")};
  registry.add({info, [info](Session& session, QWidget* parent) -> Panel* { return new TrainingPanel(session, info, parent); }});
}

}  // namespace microtome::panels
