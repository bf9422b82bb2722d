// token_columns.h — what several runs of a model say next, side by side: the answers and the wrong ones first, then the likeliest
// tokens, each with a chip, a bar on one scale from 0 to 1 and a number; in one column what changed against another, by sign and size.
#pragma once

#include <vector>

#include "app/desktop/views/view.h"
#include "app/engine/engine.h"

namespace microtome::desktop {

struct TokenColumn {
  QString title, detail;               // "patched here", "L2 H1"
  app::NextTokens tokens;              // asked: the answers, then the wrong ones
  size_t answers = 0;
  int against = -1;                    // the column that changes are counted from; -1: none are shown
  QString remark;                      // above everything else: "computing…", or why there are no tokens
  std::vector<std::pair<QString, QString>> facts;      // name, value: instead of tokens
};

class TokenColumns : public View {
  Q_OBJECT
 public:
  static constexpr int kTop = 8;
  // Of many answers (years after 1732) one line stands for all.
  static constexpr size_t kMostAlone = 3;

  explicit TokenColumns(QWidget* parent = nullptr);
  void setColumns(std::vector<TokenColumn> columns);
  const std::vector<TokenColumn>& columns() const { return columns_; }

  struct Row {
    int role = 0;                      // 1: answer, −1: wrong answer, 0: among the likeliest
    QString text;                      // as decoded; empty with `many`
    size_t many = 0;                   // one line for so many tokens
    int64_t id = -1;
    double probability = 0, logit = 0;
    double before = 0;                 // probability in the column it is compared with; NaN: unknown
  };
  // Lines of a column from top to bottom.
  std::vector<Row> rows(int column) const;
  // "▲ 51.2": percentage points; empty: no change to speak of, or nothing to compare with.
  static QString changeText(double before, double after);
  QString describe(int column, const Row& row) const;

  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QSizeF pictureSize() const override;
  QString csv() const override;        // run, role, id, token, probability, change, logit
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 protected:
  bool event(QEvent* event) override;
  void paintEvent(QPaintEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void leaveEvent(QEvent* event) override;

 private:
  int lineHeight() const;
  int pinned() const;                  // lines above the likeliest, of the column that has most
  std::vector<QRect> places(int width) const;
  void paint(QPainter& p, int width) const;
  void paintColumn(QPainter& p, const QRect& area, int column) const;
  void paintRow(QPainter& p, const QRect& r, const Row& row, bool changes) const;
  QString textAt(const QPoint& at) const;
  double before(const TokenColumn& column, int64_t id) const;
  std::vector<TokenColumn> columns_;
};

// "63.1 %", "< 0.01 %"; "–" where there is no number.
QString shareText(double probability);

}  // namespace microtome::desktop
