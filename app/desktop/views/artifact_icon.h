// artifact_icon.h — a small sign for each kind of artifact: rows, cells, a line, words, a graph.
#pragma once

#include <QIcon>

#include "core/base/artifact.h"

namespace microtome::desktop {

struct Theme;

// 16 × 16 logical pixels, in the theme's muted colour with a touch of the accent.
QIcon artifactIcon(const Artifact& artifact, const Theme& theme, double pixelRatio);

}  // namespace microtome::desktop
