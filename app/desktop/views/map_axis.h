// map_axis.h — labels and layer marks along one side of a map or of a grid of maps. Labels are thinned so that they never
// overlap; those that a person points at are always there.
#pragma once

#include <QFont>
#include <QPainter>
#include <QRectF>
#include <vector>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/heat_map.h"

namespace microtome::desktop {

constexpr double kKindStrip = 4;       // width of the layer marks
constexpr double kLabelGap = 6;        // between labels and what they name

struct AxisPaint {
  enum class Side { kLeft, kBelow, kBelowUpright };
  const MapAxis* axis = nullptr;
  int64_t count = 0;
  Side side = Side::kLeft;
  double origin = 0, pitch = 1;        // where index 0 begins, and how far apart indices are; pixels
  double shown = 0;                    // extent of one index, at most the pitch: layer marks and labels sit on it
  double from = 0, to = 0;             // what is seen of the axis
  QRectF labels;                       // where texts may be
  QRectF strip;                        // where layer marks are; empty: none
  QRectF name;                         // of the axis's name; empty: none
  QFont font, nameFont;
  // Emphasised, the first before the second where there is no room for both; -1: none.
  int64_t hovered = -1;
  std::vector<int64_t> chosen;
};
void paintAxis(QPainter& painter, const AxisPaint& axis, const Theme& theme);

}  // namespace microtome::desktop
