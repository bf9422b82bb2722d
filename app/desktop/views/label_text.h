// label_text.h — texts from results, plug-ins and schemas made fit for a label: one line, nothing invisible, not too long.
#pragma once

#include <QString>
#include <string>

namespace microtome::desktop {

// plainLine() of UTF-8 bytes: one line of at most `most` characters, "…" where it was cut. Only what is shown is decoded.
QString labelText(const std::string& text, int most = 160);
// A name as words: '_' becomes a blank. The field's short names of axes are spelled out ("q_pos": "query position").
QString nameText(const std::string& name);
QString axisText(const std::string& axis);
// "effect (logits)"; the name alone when there is no unit.
QString withUnit(const QString& name, const QString& unit);
// A tooltip that wraps and shows the text as it is, markup included. Empty stays empty.
QString tipText(const QString& text);

}  // namespace microtome::desktop
