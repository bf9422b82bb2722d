// token_map.h — a table with a token in every cell, on a colour that says a number: which token a lens reads at each
// layer and position, and how sure it is. Headers stay in sight while the cells scroll; a column is never narrower than
// can be read.
#pragma once

#include <QString>
#include <QStringList>
#include <memory>
#include <vector>

#include "app/desktop/views/heat_map.h"

namespace microtome::desktop {

// A number for every cell. values->size() == rows * cols, row-major; NaN is "no value".
struct TokenQuantity {
  QString name, unit, help;  // "probability", "nats", one sentence with the source
  std::shared_ptr<const std::vector<float>> values;
  Look look = Look::kSequential;
  double lo = 0, hi = 0;     // lo == hi: from the values
  bool logarithmic = false;  // coloured by log10(1 + value), for counts over decades; values must be >= 0
};

struct TokenMapData {
  int64_t rows = 0, cols = 0;
  MapAxis rowAxis, colAxis;  // colAxis.tokens: the header is the prompt's text
  QStringList colNotes;      // more about a column, one each: "then “·Mary”"; empty: none
  // Tokens as decoded, each once; cells: index into them, -1: none. cells->size() == rows * cols.
  std::vector<QString> words;
  std::shared_ptr<const std::vector<int32_t>> cells;
  QString wordName;                       // "top token": header of the CSV
  std::vector<TokenQuantity> quantities;  // all are told on hover
  int colour = 0;                         // which of them colours the cells; -1: none
};

class TokenMapView : public View {
  Q_OBJECT
 public:
  explicit TokenMapView(QWidget* parent = nullptr);
  ~TokenMapView() override;

  // Sizes that do not fit each other: as clear(). The selected cell and the place scrolled to stay where the shape is
  // the same.
  void setData(TokenMapData data);
  void clear(const QString& emptyText = {});  // emptyText: what to do next
  const TokenMapData& data() const;
  void setColour(int quantity);
  // As the cells are coloured (log10(1 + value) for logarithmic ones). Several maps may share one; lo == hi: its own.
  void setScale(double lo, double hi);
  std::pair<double, double> scale() const;
  std::pair<double, double> ownScale() const;
  void setShowColourBar(bool on);  // off where a table beside it has the same one
  // What is scrolled away at the left; tables side by side go together.
  int scrolledAcross() const;
  void setScrolledAcross(int pixels);

  void setSelectedCell(int64_t row, int64_t col);  // -1: none; emits nothing
  std::pair<int64_t, int64_t> selectedCell() const;
  // Where a cell lies in the widget, as far as it is seen; empty: scrolled out of sight.
  QRectF cellRect(int64_t row, int64_t col) const;

  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QSizeF pictureSize() const override;
  QString csv() const override;  // row, position, token there, word, every quantity
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 Q_SIGNALS:
  void cellHovered(qint64 row, qint64 col);    // -1, -1 when left
  void cellClicked(qint64 row, qint64 col);    // click or arrow keys
  void cellActivated(qint64 row, qint64 col);  // double click or Enter
  void scrolled(int pixelsAcross);

 protected:
  bool event(QEvent* event) override;  // tooltips: all numbers with their definitions
  void paintEvent(QPaintEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;
  void changeEvent(QEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;  // scrolls; Shift: sideways
  void mousePressEvent(QMouseEvent* event) override;
  void mouseDoubleClickEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void leaveEvent(QEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;  // arrows, Home, End, Page up and down
  void focusInEvent(QFocusEvent* event) override;
  void focusOutEvent(QFocusEvent* event) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
