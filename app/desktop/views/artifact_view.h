// artifact_view.h — the view for an artifact, by its kind: a table, named arrays, lines, text, a circuit, features, an attribution
// graph. No analysis is named here: a new one gets its pictures by what it writes.
#pragma once

#include <QString>
#include <memory>
#include <vector>

#include "app/desktop/views/heat_map.h"
#include "core/base/artifact.h"

class QWidget;

namespace microtome::desktop {

class View;

// What the views can't read from the artifact itself.
struct ArtifactContext {
  std::vector<LayerKind> layers;       // kinds of the model's layers; empty: unknown
  QString command;                     // the `microtome …` line that gives the artifact
  qint64 run = 0;                      // 0: not stored
};

// Never null. An artifact that contradicts itself (sizes that do not fit its numbers) gives a sentence, and viewsOf() is
// then empty. The widget keeps what it shows alive; the first form copies the artifact, the second shares it.
QWidget* makeArtifactView(const Artifact& artifact, const ArtifactContext& context, QWidget* parent);
QWidget* makeArtifactView(std::shared_ptr<const Artifact> artifact, const ArtifactContext& context, QWidget* parent);
// Shows a newer artifact of the same kind in a widget made above, so that zoom and choices stay while a run fills it.
// False: it can't, make a new one.
bool updateArtifactView(QWidget* widget, std::shared_ptr<const Artifact> artifact, const ArtifactContext& context);
// The views inside, as they are on show now.
std::vector<View*> viewsOf(QWidget* widget);

// "Patching z: share of the clean answer brought back": the title, else the name; one line.
QString artifactTitle(const Artifact& artifact);
// Why it can't be shown, one sentence with what to do; empty: it can.
QString problemOf(const Artifact& artifact);

}  // namespace microtome::desktop
