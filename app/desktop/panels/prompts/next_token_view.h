// next_token_view.h — what a model says next: a column for each model (and prompt) with the likeliest tokens, a bar for the
// probability, and below them where the right and the wrong answers stand. All bars share one scale, 0 to 1.
#pragma once

#include <QScrollBar>
#include <vector>

#include "app/desktop/views/row_delegate.h"
#include "app/desktop/views/view.h"
#include "app/engine/engine.h"

namespace microtome::desktop {

// What was asked about beside the likeliest tokens: the answers, or the wrong ones.
struct AskedTokens {
  bool right = true;
  size_t count = 0;
  app::NextToken best;                 // the likeliest of them
  int64_t rank = 0;                    // of the best, 1 is the likeliest token of all; 0: behind all that was looked at
  double probability = 0;              // of all of them together
};

struct NextTokenColumn {
  QString model, prompt;               // "zoo-llama", "clean"
  RowMark mark = RowMark::kNone;
  std::vector<app::NextToken> top;
  std::vector<int64_t> rightIds, wrongIds;
  std::vector<AskedTokens> asked;
  int64_t looked = 0;                  // ranks are known up to here
  double entropy = 0;                  // nats
  QString remark;                      // instead of tokens: "computing…", what went wrong
};

// The ranks of what was asked: n.asked holds `right` tokens first, then the wrong ones; n.top those that were looked at.
std::vector<AskedTokens> rankAsked(const app::NextTokens& n, size_t right);

class NextTokenView : public View {
  Q_OBJECT
 public:
  static constexpr int kShown = 10;
  explicit NextTokenView(QWidget* parent = nullptr);
  void setColumns(std::vector<NextTokenColumn> columns);
  const std::vector<NextTokenColumn>& columns() const { return columns_; }
  void setHint(const QString& hint);                   // shown while there are no columns
  // A small control at the right end of the heads; the view places it.
  void setCorner(QWidget* corner);
  // Older than what is in the fields: drawn pale.
  void setStale(bool stale);
  bool stale() const { return stale_; }
  // One line on a row of a column, for the status line and the tooltip.
  QString describe(int column, int row) const;

  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QSizeF pictureSize() const override;
  QString csv() const override;        // model, prompt, role, rank, id, token, probability, logit
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 protected:
  bool event(QEvent* event) override;
  void paintEvent(QPaintEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void leaveEvent(QEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;

 private:
  static constexpr int kListGap = 4;   // between heads and list, and list and what was asked
  struct Place { int column = -1, row = -1; };         // row kShown + i: line i of what was asked
  int lineHeight() const;
  int askedLines() const;
  int headHeight() const;
  int listHeight() const;              // between the heads and what was asked
  int askedTop() const;
  void paint(QPainter& p, int width, int listHeight, int offset, bool live) const;
  void paintHead(QPainter& p, const QRect& area, const NextTokenColumn& c) const;
  void paintColumn(QPainter& p, int left, int width, int listHeight, int column, int offset, bool live) const;
  void paintRow(QPainter& p, const QRect& r, const app::NextToken& token, int role) const;
  void paintAsked(QPainter& p, const QRect& r, const AskedTokens& asked, int64_t looked) const;
  Place placeAt(const QPoint& at) const;
  void setCurrent(Place place);
  void fitBar();
  std::vector<NextTokenColumn> columns_;
  QString hint_;
  QScrollBar* bar_;
  QWidget* corner_ = nullptr;
  Place current_;
  bool stale_ = false;
};

// "45.2 %", "< 0.01 %"; "–" where there is no number.
QString percentText(double probability);

}  // namespace microtome::desktop
