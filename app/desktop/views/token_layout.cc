#include "app/desktop/views/token_layout.h"

#include <QFontMetricsF>
#include <QHash>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

constexpr int kLongest = 28;                           // characters of a chip, then "…"
constexpr int kNarrowCaption = 30 * kGrid;             // below this width the caption takes a line of its own

}  // namespace

std::vector<TokenFace> tokenFaces(const std::vector<TokenChip>& chips, const QFont& mono, const QFont& small) {
  const QFontMetricsF metrics(mono), noteMetrics(small);
  const double cell = metrics.horizontalAdvance(QLatin1Char('x'));
  const bool fixed = std::abs(metrics.horizontalAdvance(QChar(0x00b7)) - cell) < 0.01 &&
                     std::abs(metrics.horizontalAdvance(QLatin1Char('i')) - cell) < 0.01;
  // Shaping is what costs: plain letters of a fixed pitch are counted, and of the others each text is measured once.
  QHash<QString, double> seen;
  const auto widthOf = [&](const QString& text) {
    const bool plain = fixed && std::all_of(text.cbegin(), text.cend(), [](QChar c) {
      return (c.unicode() > 0x20 && c.unicode() < 0x7f) || c.unicode() == 0xb7;
    });
    if (plain) return cell * static_cast<double>(text.size());
    if (const auto it = seen.constFind(text); it != seen.cend()) return *it;
    const double width = metrics.horizontalAdvance(text);
    seen.insert(text, width);
    return width;
  };
  const double most = cell * kLongest;
  std::vector<TokenFace> faces(chips.size());
  for (size_t i = 0; i < chips.size(); ++i) {
    TokenFace& f = faces[i];
    // No more of a token is looked at than could be shown.
    const bool cut = chips[i].text.size() > 2 * kLongest;
    f.shown = visibleToken(cut ? chips[i].text.left(2 * kLongest) : chips[i].text);
    double width = widthOf(f.shown);
    if (cut || width > most) {
      f.shown = metrics.elidedText(f.shown + QChar(0x2026), Qt::ElideRight, most);
      width = std::min(most, metrics.horizontalAdvance(f.shown));
    }
    f.width = static_cast<int>(std::ceil(std::max(width, cell))) + 2 * kChipPadX;
    if (chips[i].note.isEmpty()) continue;
    f.note = plainLine(chips[i].note, 40);
    f.noteWidth = static_cast<int>(std::ceil(noteMetrics.horizontalAdvance(f.note)));
  }
  return faces;
}

TokenLayout layOutTokens(const std::vector<TokenFace>& faces, const TokenMeasures& measures, int width) {
  TokenLayout l;
  l.measures = measures;
  l.width = std::max(width, 4 * kGrid);
  l.left = kChipMargin;
  int y = kChipMargin;
  if (measures.captionWidth > 0) {
    l.captionAbove = l.width < kNarrowCaption;
    if (l.captionAbove) y += measures.noteHeight + kChipGap;
    // Strips that stand above each other leave the same room, so that their tokens line up.
    else l.left += std::min(std::max(11 * kGrid, (measures.captionWidth + 2 * kGrid - 1) / kGrid * kGrid), l.width / 3);
  }
  const int right = l.width - kChipMargin;
  l.x.resize(faces.size());
  for (size_t i = 0; i < faces.size();) {
    TokenLine line;
    line.first = i;
    int x = l.left, noteEnd = l.left - kChipGap;
    for (; i < faces.size(); ++i) {
      const bool noted = faces[i].noteWidth > 0;
      // A note may stand over its neighbours as long as they have none.
      const int at = noted ? std::max(x, noteEnd + kChipGap) : x;
      const int chip = l.chipWidth(faces, i);
      if (i > line.first && at + std::max(chip, faces[i].noteWidth) > right) break;
      l.x[i] = at;
      x = at + chip + kChipGap;
      if (noted) {
        noteEnd = at + faces[i].noteWidth + kChipGap;
        line.notes = true;
      }
    }
    line.count = i - line.first;
    line.top = y + (line.notes ? measures.noteHeight : 0);
    y = line.top + measures.chipHeight + kChipGap;
    l.lines.push_back(line);
  }
  if (faces.empty()) y += measures.chipHeight + kChipGap;
  l.height = y - kChipGap + kChipMargin;
  return l;
}

int TokenLayout::chipWidth(const std::vector<TokenFace>& faces, size_t i) const {
  return std::min(faces[i].width, std::max(3 * kGrid, width - left - kChipMargin));
}

QRect TokenLayout::rect(const std::vector<TokenFace>& faces, const TokenLine& line, size_t i) const {
  return {x[i], line.top, chipWidth(faces, i), measures.chipHeight};
}

QRect TokenLayout::rect(const std::vector<TokenFace>& faces, int64_t index) const {
  if (index < 0 || index >= static_cast<int64_t>(x.size()) || lines.empty()) return {};
  return rect(faces, lines[lineOf(index)], static_cast<size_t>(index));
}

size_t TokenLayout::lineOf(int64_t index) const {
  const auto it = std::upper_bound(lines.begin(), lines.end(), static_cast<size_t>(index),
                                   [](size_t i, const TokenLine& line) { return i < line.first; });
  return static_cast<size_t>(it - lines.begin()) - 1;
}

int64_t TokenLayout::at(const std::vector<TokenFace>& faces, const QPoint& point) const {
  auto line = std::lower_bound(lines.begin(), lines.end(), point.y(),
                               [&](const TokenLine& a, int y) { return a.top + measures.chipHeight <= y; });
  if (line == lines.end()) return -1;
  const auto first = x.begin() + static_cast<std::ptrdiff_t>(line->first);
  const auto it = std::upper_bound(first, first + static_cast<std::ptrdiff_t>(line->count), point.x());
  if (it == first) return -1;
  const auto i = static_cast<size_t>(it - x.begin()) - 1;
  QRect r = rect(faces, *line, i);
  if (line->notes) r.setTop(r.top() - measures.noteHeight);
  return r.contains(point) ? static_cast<int64_t>(i) : -1;
}

int64_t TokenLayout::neighbour(const std::vector<TokenFace>& faces, int64_t index, int step) const {
  const QRect from = rect(faces, index);
  if (from.isEmpty()) return -1;
  const auto at = static_cast<int64_t>(lineOf(index)) + step;
  if (at < 0 || at >= static_cast<int64_t>(lines.size())) return -1;
  const TokenLine& line = lines[static_cast<size_t>(at)];
  const auto distance = [&](size_t i) { return std::abs(rect(faces, line, i).center().x() - from.center().x()); };
  size_t best = line.first;
  for (size_t i = line.first; i < line.first + line.count; ++i)
    if (distance(i) < distance(best)) best = i;
  return static_cast<int64_t>(best);
}

}  // namespace microtome::desktop
