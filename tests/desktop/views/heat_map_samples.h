// heat_map_samples.h — small maps for the tests of heat maps.
#pragma once

#include <QImage>
#include <QTest>
#include <functional>
#include <memory>

#include "app/desktop/views/heat_map.h"

namespace microtome::desktop {

inline HeatMapData sampleMap(int64_t rows, int64_t cols, const std::function<float(int64_t, int64_t)>& value) {
  HeatMapData d;
  d.rows = rows;
  d.cols = cols;
  auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) (*values)[static_cast<size_t>(r * cols + c)] = value(r, c);
  d.values = values;
  d.rowAxis.name = QStringLiteral("layer");
  d.colAxis.name = QStringLiteral("head");
  d.label = QStringLiteral("effect");
  return d;
}

inline QPoint middleOf(const HeatMapView& view, int64_t row, int64_t col) {
  const QRectF plot = view.plotRect(), seen = view.visibleCells();
  return QPoint(
      static_cast<int>(plot.left() + (static_cast<double>(col) + 0.5 - seen.left()) * plot.width() / seen.width()),
      static_cast<int>(plot.top() + (static_cast<double>(row) + 0.5 - seen.top()) * plot.height() / seen.height()));
}

}  // namespace microtome::desktop
