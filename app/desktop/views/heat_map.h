// heat_map.h — a matrix as a picture: axes with names and labels, a colour bar, hover value, pan and zoom, a brush over
// rows. Up to 4,096 × 4,096 and beyond: a pyramid of halved levels is made once, on another thread, so a frame costs by its
// pixels and the same at any size of the map. NaN is "no value" (hatched), never a colour.
#pragma once

#include <QImage>
#include <QStringList>
#include <memory>
#include <vector>

#include "app/desktop/views/colour_map.h"
#include "app/desktop/views/view.h"

namespace microtome::desktop {

enum class LayerKind { kNone, kSoftmax, kRecurrent };

struct MapAxis {
  QString name;                        // "layer"
  QStringList labels;                  // one an index; empty: the indices
  std::vector<LayerKind> kinds;        // a mark in the layer's colour beside the label; empty: none
  bool tokens = false;                 // labels are tokens: fixed pitch, blanks visible
};

// Values are shared and not copied. values->size() == rows*cols, row-major.
struct HeatMapData {
  std::shared_ptr<const std::vector<float>> values;
  int64_t rows = 0, cols = 0;
  MapAxis rowAxis, colAxis;
  Look look = Look::kSequential;
  QString label, unit, help;           // "effect", "nats", one sentence with the source: tooltip of the colour bar
  bool causal = false;                 // cells right of the diagonal do not exist: left blank
  double lo = 0, hi = 0;               // lo == hi: from the values
};

class HeatMapView : public View {
  Q_OBJECT
 public:
  explicit HeatMapView(QWidget* parent = nullptr);
  ~HeatMapView() override;

  void setData(const HeatMapData& data);
  void clear(const QString& emptyText = {});           // emptyText: what to do next
  const HeatMapData& data() const;
  // New numbers of the same shape while a run fills them: zoom, brush and selection stay.
  void setValues(std::shared_ptr<const std::vector<float>> values);
  // Several maps may share one scale.
  void setScale(double lo, double hi);
  std::pair<double, double> scale() const;
  void setShowColourBar(bool on);

  // -1: none. Selecting emits nothing.
  void setSelectedCell(int64_t row, int64_t col);
  void setBrushedRow(int64_t row);
  int64_t brushedRow() const;

  // What is seen, in cells; the whole map after setData.
  QRectF visibleCells() const;
  // Where that lies in the widget; empty without data.
  QRectF plotRect() const;
  void setVisibleCells(const QRectF& cells);
  void zoomToFit();

  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QSizeF pictureSize() const override;
  // First line: the axes' names and the column labels. Above four million cells there is no CSV: the stored tensor is the
  // better file.
  QString csv() const override;
  QList<Format> formats() const override;
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 Q_SIGNALS:
  void cellHovered(qint64 row, qint64 col);            // -1, -1 when left
  void cellClicked(qint64 row, qint64 col);
  void cellActivated(qint64 row, qint64 col);          // double click or Enter
  void rowBrushed(qint64 row);                         // click or drag on the row axis, arrow keys; -1: cleared

 protected:
  void addActions(QMenu& menu) override;               // Fit, Colour scale: automatic / symmetric / 0…1
  void paintEvent(QPaintEvent*) override;
  void wheelEvent(QWheelEvent*) override;              // zoom about the mouse; Shift: columns only, Alt: rows only
  void mousePressEvent(QMouseEvent*) override;         // drag pans, click selects
  void mouseMoveEvent(QMouseEvent*) override;
  void mouseReleaseEvent(QMouseEvent*) override;
  void mouseDoubleClickEvent(QMouseEvent*) override;
  void leaveEvent(QEvent*) override;
  void keyPressEvent(QKeyEvent*) override;             // arrows move the selected cell, + - 0 zoom
  void changeEvent(QEvent*) override;                  // theme
  bool event(QEvent*) override;                        // tooltips: the bar's help, labels that were cut
  void resizeEvent(QResizeEvent*) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
