// token_strip.h — a text as token chips that wrap: blanks visible, ids on hover, a colour behind each by a number (an
// attention row, an activation), a mark on what differs from another text. The same chip in every panel.
#pragma once

#include <QStringList>
#include <memory>
#include <vector>

#include "app/desktop/views/colour_map.h"
#include "app/desktop/views/view.h"

namespace microtome::desktop {

struct TokenChip {
  QString text;                        // the token as decoded; shown by visibleToken()
  qint64 id = -1;                      // -1: unknown
  QString note;                        // "subject", a position label; shown above the chip
  bool differs = false;                // from the other prompt at this position
  bool special = false;                // start token and the like: muted
};

class TokenStrip : public View {
  Q_OBJECT
 public:
  explicit TokenStrip(QWidget* parent = nullptr);
  ~TokenStrip() override;
  void setTokens(std::vector<TokenChip> chips);
  const std::vector<TokenChip>& tokens() const;
  void setCaption(const QString& caption);             // "clean", drawn muted in front of the first line
  // One number a token; NaN: none. Empty: no shading. valueName: "attention from 'gave'", unit for the tooltip.
  void setValues(std::vector<double> values, Look look, double lo, double hi, const QString& valueName = {});
  void setSelected(int64_t index);                     // -1: none; emits nothing
  int64_t selected() const;
  void setCursor(int64_t index);                       // a second mark (the query), -1: none
  // Rows it needs at a width (QWidget::heightForWidth works too).
  int heightForWidth(int width) const override;
  bool hasHeightForWidth() const override { return true; }

  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QSizeF pictureSize() const override;
  QString csv() const override;                        // position, id, token, value
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 Q_SIGNALS:
  void tokenClicked(qint64 index);                     // also arrow keys
  void tokenHovered(qint64 index);                     // -1 when left

 protected:
  bool event(QEvent*) override;                        // tooltips: position, id, text, value
  void paintEvent(QPaintEvent*) override;
  void mousePressEvent(QMouseEvent*) override;
  void mouseMoveEvent(QMouseEvent*) override;
  void leaveEvent(QEvent*) override;
  void keyPressEvent(QKeyEvent*) override;
  void resizeEvent(QResizeEvent*) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
