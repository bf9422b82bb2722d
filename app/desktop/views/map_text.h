// map_text.h — what a matrix's axes and cells are called: labels, hover phrases, CSV fields. Pure functions.
#pragma once

#include <QFont>
#include <QString>

#include "app/desktop/views/heat_map.h"

namespace microtome::desktop {

// Axis labels and ticks are a point smaller than the view's own font.
QFont tickFont(const QFont& font, bool tokens);
bool hasLabels(const MapAxis& axis, int64_t count);
// Label of an index, made visible and cut to 64 letters; the index itself where there is none.
QString axisLabel(const MapAxis& axis, int64_t count, int64_t index);
LayerKind axisKind(const MapAxis& axis, int64_t index);
// "layer 2 (softmax)", "query 5 “·the”"; `fallback` names an axis without a name.
QString axisPhrase(const MapAxis& axis, int64_t count, int64_t index, const QString& fallback);
// Width in pixels that labels need; a few overlong ones are to be cut. Of very many, a sample is measured.
double widestLabel(const MapAxis& axis, int64_t count, const QFont& font);
// "effect (nats)"
QString labelWithUnit(const QString& label, const QString& unit);
// "layer 2, head 3: effect 0.412 nats"; a cell without a value says so.
QString cellPhrase(const HeatMapData& data, int64_t row, int64_t col);
// Numbers for cells of one map: all with the same decimals, three digits for the largest. `most`: largest magnitude.
QString cellNumber(double value, double most);

// A step of 1, 2, 5, 10, … no smaller than `least`.
int64_t niceStep(double least);
// As a tooltip takes it: never read as mark-up, wrapped when long.
QString toolTipText(const QString& text);
// RFC 4180: quoted where needed.
QString csvField(const QString& text);
// The shortest text that gives the same float again; empty for NaN.
QString csvNumber(float value);

}  // namespace microtome::desktop
