// token_rows.h — the clean and the corrupted prompt as two rows of chips below each other. Where the room is high enough they
// wrap; where it is not they take the lines there are and scroll sideways together, so that both are seen at once.
#pragma once

#include <QScrollArea>
#include <vector>

#include "app/desktop/views/token_strip.h"

namespace microtome::desktop {

class TokenRows : public QScrollArea {
  Q_OBJECT
 public:
  explicit TokenRows(QWidget* parent = nullptr);
  // An empty row is not shown.
  void setTokens(std::vector<TokenChip> clean, std::vector<TokenChip> corrupted);
  void setSelected(int64_t position);
  TokenStrip* clean() const { return clean_; }
  TokenStrip* corrupted() const { return corrupted_; }
  void setHint(const QString& hint);                   // shown while there are no tokens
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 Q_SIGNALS:
  void tokenClicked(qint64 position);

 protected:
  void resizeEvent(QResizeEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;
  void scrollContentsBy(int dx, int dy) override;

 private:
  void arrange();
  void fill(bool notes);
  void showDifference();               // scrolls to the first one when it has moved
  int heightAt(int width) const;
  class Names;
  std::vector<TokenChip> chips_[2];
  bool notes_ = true, hasNotes_ = false;
  int64_t difference_ = -1;
  TokenStrip *clean_, *corrupted_;
  QWidget* content_;
  Names* names_;
  QString hint_;
};

}  // namespace microtome::desktop
