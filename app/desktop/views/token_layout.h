// token_layout.h — where the chips of a token strip stand: measured once a text, wrapped once a width. Pure functions.
#pragma once

#include <QFont>
#include <QRect>
#include <QString>
#include <vector>

#include "app/desktop/views/token_strip.h"

namespace microtome::desktop {

constexpr int kChipGap = 4;            // between chips and between lines
constexpr int kChipMargin = 4;         // around all, for frames that stand outside a chip
constexpr int kChipPadX = 6, kChipPadY = 3;

// A chip as it is written, and the room it wants.
struct TokenFace {
  QString shown, note;                 // safe to draw, long ones elided
  int width = 0, noteWidth = 0;
};

// Of the fonts and the caption in force.
struct TokenMeasures {
  int chipHeight = 0, noteHeight = 0, captionWidth = 0;
};

// Chips first … first + count - 1. top: of the chips, below their notes.
struct TokenLine {
  size_t first = 0, count = 0;
  int top = 0;
  bool notes = false;
};

struct TokenLayout {
  int width = -1, height = 0;
  int left = 0;                        // where the chips begin
  bool captionAbove = false;           // too narrow for a caption beside them
  std::vector<int> x;                  // left edge of each chip
  std::vector<TokenLine> lines;
  TokenMeasures measures;

  int chipWidth(const std::vector<TokenFace>& faces, size_t i) const;
  QRect rect(const std::vector<TokenFace>& faces, const TokenLine& line, size_t i) const;
  QRect rect(const std::vector<TokenFace>& faces, int64_t index) const;     // empty: no such chip
  size_t lineOf(int64_t index) const;                                       // lines must not be empty
  int64_t at(const std::vector<TokenFace>& faces, const QPoint& point) const;    // chip or its note; -1: none
  // The chip of the line above (-1) or below (1) nearest to this one; -1: none.
  int64_t neighbour(const std::vector<TokenFace>& faces, int64_t index, int step) const;
};

std::vector<TokenFace> tokenFaces(const std::vector<TokenChip>& chips, const QFont& mono, const QFont& small);
TokenLayout layOutTokens(const std::vector<TokenFace>& faces, const TokenMeasures& measures, int width);

}  // namespace microtome::desktop
