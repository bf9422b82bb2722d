#include "app/desktop/theme/theme.h"

#include <QApplication>
#include <QFontDatabase>
#include <QStyleFactory>
#include <QWidget>
#include <cmath>

namespace microtome::desktop {

const Theme& Theme::light() {
  static const Theme theme = [] {
    Theme t;
    t.dark = false;
    t.window = QColor(0xf4f5f7);
    t.surface = QColor(0xffffff);
    t.raised = QColor(0xe9ebef);
    t.text = QColor(0x1c2127);
    t.muted = QColor(0x5b6570);
    t.faint = QColor(0xd5d9df);
    t.accent = QColor(0x0f6cbd);
    t.accentSoft = QColor(0xd6e7f7);
    t.softmax = QColor(0x9a5b00);
    t.recurrent = QColor(0x007a5e);
    t.good = QColor(0x1b7f3b);
    t.warning = QColor(0x8f5a00);
    t.error = QColor(0xb3261e);
    t.errorSoft = QColor(0xfbe4e2);
    t.missing = QColor(0xc4c9d0);
    t.highlight = QColor(0xe6007e);
    return t;
  }();
  return theme;
}

const Theme& Theme::darkTheme() {
  static const Theme theme = [] {
    Theme t;
    t.dark = true;
    t.window = QColor(0x1b1e23);
    t.surface = QColor(0x23272e);
    t.raised = QColor(0x323840);
    t.text = QColor(0xe8eaed);
    t.muted = QColor(0xa3adb8);
    t.faint = QColor(0x3d444d);
    t.accent = QColor(0x5aa9f0);
    t.accentSoft = QColor(0x24435f);
    t.softmax = QColor(0xf0a848);
    t.recurrent = QColor(0x3fc7a0);
    t.good = QColor(0x6cc784);
    t.warning = QColor(0xe5b054);
    t.error = QColor(0xf28b82);
    t.errorSoft = QColor(0x4a2a2a);
    t.missing = QColor(0x4c545e);
    t.highlight = QColor(0xff5fae);
    return t;
  }();
  return theme;
}

const Theme& Theme::of(const QPalette& palette) {
  return palette.color(QPalette::Window).lightness() < 128 ? darkTheme() : light();
}

const Theme& Theme::of(const QWidget* widget) { return of(widget ? widget->palette() : QPalette()); }

QPalette Theme::palette() const {
  QPalette p;
  p.setColor(QPalette::Window, window);
  p.setColor(QPalette::WindowText, text);
  p.setColor(QPalette::Base, surface);
  p.setColor(QPalette::AlternateBase, window);
  p.setColor(QPalette::ToolTipBase, raised);
  p.setColor(QPalette::ToolTipText, text);
  p.setColor(QPalette::PlaceholderText, muted);
  p.setColor(QPalette::Text, text);
  p.setColor(QPalette::Button, raised);
  p.setColor(QPalette::ButtonText, text);
  p.setColor(QPalette::BrightText, error);
  p.setColor(QPalette::Highlight, accent);
  p.setColor(QPalette::HighlightedText, dark ? window : surface);
  p.setColor(QPalette::Link, accent);
  p.setColor(QPalette::LinkVisited, accent);
  p.setColor(QPalette::Light, dark ? raised.lighter(120) : surface);
  p.setColor(QPalette::Midlight, faint);
  p.setColor(QPalette::Mid, faint);
  p.setColor(QPalette::Dark, dark ? window.darker(140) : muted);
  p.setColor(QPalette::Shadow, QColor(0, 0, 0, dark ? 160 : 60));
  for (QPalette::ColorRole role : {QPalette::WindowText, QPalette::Text, QPalette::ButtonText})
    p.setColor(QPalette::Disabled, role, dark ? QColor(0x6f7882) : QColor(0x98a1ab));
  p.setColor(QPalette::Disabled, QPalette::Highlight, faint);
  return p;
}

void Theme::apply(QApplication& app, bool dark) {
  const Theme& t = dark ? darkTheme() : light();
  app.setStyle(QStyleFactory::create(QStringLiteral("Fusion")));
  app.setPalette(t.palette());
  const QString sheet = QStringLiteral(R"(
    QToolTip { color: %1; background: %2; border: 1px solid %3; padding: 4px; }
    QMainWindow::separator { background: %3; width: 1px; height: 1px; }
    QMainWindow::separator:hover { background: %4; }
    QDockWidget { titlebar-close-icon: none; titlebar-normal-icon: none; }
    QDockWidget::title { background: %5; padding: 6px 8px; text-align: left; }
    QTabBar::tab { padding: 7px 14px; background: transparent; color: %6; border: none; border-bottom: 2px solid transparent; }
    QTabBar::tab:selected { color: %1; border-bottom: 2px solid %4; }
    QTabBar::tab:hover { color: %1; }
    QTabWidget::pane { border: none; border-top: 1px solid %3; }
    QHeaderView::section { background: %5; color: %6; border: none; border-bottom: 1px solid %3; padding: 4px 8px; }
    QTreeView, QTableView, QListView { border: none; background: %7; alternate-background-color: %5; selection-background-color: %8; selection-color: %1; outline: none; }
    QTreeView::item, QListView::item { padding: 3px 2px; }
    QStatusBar { background: %5; color: %6; }
    QStatusBar::item { border: none; }
    QToolBar { background: %5; border: none; border-bottom: 1px solid %3; spacing: 4px; padding: 4px 8px; }
    QToolButton { padding: 4px 8px; border-radius: 4px; border: 1px solid transparent; }
    QToolButton:hover { background: %2; }
    QToolButton:checked { background: %8; }
    QToolButton:focus { border: 1px solid %4; }
    QPushButton { padding: 5px 14px; border: 1px solid %3; border-radius: 4px; background: %2; }
    QPushButton:hover { border-color: %4; }
    QPushButton:focus { border-color: %4; }
    QPushButton:disabled { color: %6; }
    QPushButton[primary="true"] { background: %4; color: %9; border: 1px solid %4; font-weight: 600; }
    QPushButton[primary="true"]:disabled { background: %3; color: %6; border-color: %3; }
    QScrollArea { border: none; }
    QLineEdit, QPlainTextEdit { border: 1px solid %10; border-radius: 4px; padding: 2px 6px; background: %7; selection-background-color: %4; }
    QCheckBox::indicator:unchecked, QAbstractItemView::indicator:unchecked { width: 13px; height: 13px; border: 1px solid %10; border-radius: 2px; background: %7; }
    QAbstractSpinBox QLineEdit { border: none; padding: 0; background: transparent; }
    QLineEdit:focus, QPlainTextEdit:focus { border-color: %4; }
    QLineEdit:disabled { color: %6; }
    QMenu { background: %7; border: 1px solid %3; padding: 4px 0; }
    QMenu::item { padding: 5px 24px 5px 20px; }
    QMenu::item:selected { background: %8; color: %1; }
    QMenu::item:disabled { color: %6; }
    QMenu::separator { height: 1px; background: %3; margin: 4px 8px; }
    QSplitter::handle { background: %3; }
    QSplitter::handle:horizontal { width: 1px; }
    QSplitter::handle:vertical { height: 1px; }
    QLabel[role="muted"] { color: %6; }
    QLabel[role="headline"] { font-size: 15pt; font-weight: 600; }
    QLabel[role="section"] { font-weight: 600; }
  )").arg(t.text.name(), t.raised.name(), t.faint.name(), t.accent.name(), t.window.name(), t.muted.name(),
          t.surface.name(), t.accentSoft.name(), t.dark ? t.window.name() : t.surface.name(), t.dark ? t.faint.lighter(150).name() : t.faint.darker(120).name());
  app.setStyleSheet(sheet);
}

QColor Theme::series(int index) const {
  // Blue, vermilion, green, purple, orange, sky, black/white.
  static const QRgb onLight[] = {0x0072b2, 0xb84a00, 0x007a5a, 0xa0457a, 0x9a6b00, 0x2f7ca8, 0x40474f};
  static const QRgb onDark[] = {0x5aa9f0, 0xff8a4c, 0x3fc7a0, 0xe58fc0, 0xf0c24a, 0x8fd0f5, 0xd5d9df};
  const int i = ((index % 7) + 7) % 7;
  return QColor(dark ? onDark[i] : onLight[i]);
}

QFont monoFont(int pointDelta) {
  QFont f = QFontDatabase::systemFont(QFontDatabase::FixedFont);
  f.setStyleHint(QFont::Monospace);
  const int base = QApplication::font().pointSize();
  f.setPointSize(std::max(6, (base > 0 ? base : 10) + pointDelta));
  return f;
}

QString visibleToken(const QString& token) {
  if (token.isEmpty()) return QStringLiteral("∅");
  QString out;
  out.reserve(token.size());
  for (QChar c : token) {
    if (c == QLatin1Char(' ') || c == QChar(0x2581)) out += QChar(0x00b7);
    else if (c == QLatin1Char('\n')) out += QChar(0x23ce);
    else if (c == QLatin1Char('\t')) out += QChar(0x21e5);
    else if (c == QLatin1Char('\r')) out += QChar(0x240d);
    // Bidirectional controls would turn the row around, others would vanish.
    else if (c.category() == QChar::Other_Control || c.category() == QChar::Other_Format)
      out += QStringLiteral("⟨%1⟩").arg(c.unicode(), 2, 16, QLatin1Char('0'));
    else out += c;
  }
  return out;
}

QString numberText(double value, int digits) {
  if (std::isnan(value)) return QStringLiteral("–");
  if (std::isinf(value)) return value > 0 ? QStringLiteral("∞") : QStringLiteral("−∞");
  if (value == 0) return QStringLiteral("0");
  const double size = std::abs(value);
  QString text;
  if (size >= 1e6 || size < 1e-4) {
    text = QString::number(value, 'e', digits - 1);
  } else {
    const int before = static_cast<int>(std::floor(std::log10(size))) + 1;
    text = QString::number(value, 'f', std::max(0, digits - before));
    // Trailing zeros say nothing that was measured.
    if (text.contains(QLatin1Char('.'))) {
      while (text.endsWith(QLatin1Char('0'))) text.chop(1);
      if (text.endsWith(QLatin1Char('.'))) text.chop(1);
    }
  }
  return text.replace(QLatin1Char('-'), QChar(0x2212));
}

}  // namespace microtome::desktop
