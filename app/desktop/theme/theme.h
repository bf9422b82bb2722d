// theme.h — the colours and measures of the app, light and dark. Everything drawn takes its colours from here, so that a
// softmax layer and a recurrent layer keep their two colours in every panel, and one accent serves for all that can be
// acted on. No state: the theme in force is read off a widget's palette.
#pragma once

#include <QColor>
#include <QFont>
#include <QPalette>
#include <QString>

class QApplication;
class QWidget;

namespace microtome::desktop {

struct Theme {
  bool dark = false;
  QColor window, surface, raised;      // behind panels; behind content; chips, cards, table headers
  QColor text, muted, faint;           // words; units, axis labels; grid lines and separators
  QColor accent, accentSoft;           // the one accent; its tint behind what is selected
  QColor softmax, recurrent;           // the two kinds of layer
  QColor good, warning, error, errorSoft;
  QColor missing;                      // a cell without a value (drawn hatched)
  QColor highlight;                    // the brushed row, the picked head: a frame over any colour map

  static const Theme& light();
  static const Theme& darkTheme();
  // The theme whose palette `widget` shows.
  static const Theme& of(const QWidget* widget);
  static const Theme& of(const QPalette& palette);
  QPalette palette() const;
  // Palette and style sheet of the whole app.
  static void apply(QApplication& app, bool dark);

  const QColor& layerColour(bool recurrentLayer) const { return recurrentLayer ? recurrent : softmax; }
  // Lines of a chart, told apart without hue alone (Okabe and Ito's colours, darkened or lightened for contrast).
  QColor series(int index) const;
};

constexpr int kGrid = 8;               // all distances are multiples of it, or its half

QFont monoFont(int pointDelta = 0);    // tokens, ids, commands
// A token as a person should see it: '·' for a space, '⏎' for a newline, '⇥' for a tab, "∅" for an empty text; control
// characters by their code. The same everywhere.
QString visibleToken(const QString& token);
// As many digits as are meaningful: 4 significant, no exponent between 1e-4 and 1e6, "–" for NaN.
QString numberText(double value, int digits = 4);

}  // namespace microtome::desktop
