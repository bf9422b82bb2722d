// chart_canvas.h — the widget inside ChartView: Qt Charts draws the lines and points, chart_frame.h places and draws the
// rest, and the mouse zooms, moves the cursor and asks for values.
#pragma once

#include <QtCharts/QChartView>
#include <QRectF>
#include <QTimer>
#include <vector>

#include "app/desktop/views/chart_frame.h"

class QLineSeries;
class QScatterSeries;
class QValueAxis;

namespace microtome::desktop {

class ChartCanvas : public QChartView {
  Q_OBJECT
 public:
  explicit ChartCanvas(QWidget* parent);
  ~ChartCanvas() override;

  // Read by everything; after a change call one of the updates below.
  ChartState& state() { return state_; }
  const ChartState& state() const { return state_; }
  const ChartFrame& frame() const { return frame_; }

  void dataChanged();                  // new lines: zoom back to all
  void numbersChanged();               // the same lines, longer or other values, or hidden ones: soon, once for many calls
  void flush();                        // what numbersChanged() put off, now
  void overlayChanged();               // the cursor
  void zoomTo(const ChartRange& range);
  void resetZoom();
  bool isZoomed() const { return zoomed_; }
  // As for `size`; the frame is then as before.
  void draw(QPainter& painter, const QSizeF& size);

 Q_SIGNALS:
  void cursorMoved(double x);
  void pointClicked(int line, int index);
  void lineToggled(int line);
  void hoverText(const QString& text);

 protected:
  void resizeEvent(QResizeEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;
  void mouseDoubleClickEvent(QMouseEvent* event) override;
  void leaveEvent(QEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  void contextMenuEvent(QContextMenuEvent* event) override;
  void focusInEvent(QFocusEvent* event) override;
  void focusOutEvent(QFocusEvent* event) override;
  bool viewportEvent(QEvent* event) override;          // tooltips
  void changeEvent(QEvent* event) override;            // theme and fonts

 private:
  // Qt Charts' part of one line. Series are kept when a line gets shorter: adding them costs more than leaving them empty.
  struct Drawn {
    std::vector<QLineSeries*> raw, smooth;
    QScatterSeries* dots = nullptr;
  };
  class Layer;

  void styleChanged();
  void place(const QSizeF& size);
  void feed();
  void feedLine(size_t line);
  void fill(std::vector<QLineSeries*>& pool, const std::vector<QList<QPointF>>& pieces);
  void styleLine(size_t line);
  ChartHover hoverAt(const QPointF& pixel) const;
  void setHover(const ChartHover& hover);
  void moveCursor(double x);
  void moveCursorBy(int steps);
  int legendAt(const QPointF& pixel) const;
  QString xText(double x) const;

  ChartState state_;
  ChartRange full_, range_;
  bool zoomed_ = false, ring_ = false, stale_ = false;
  ChartFrame frame_;
  ChartFonts fonts_;
  QChart* chart_;
  QValueAxis *xAxis_, *yAxis_;
  Layer *backdrop_ = nullptr, *overlay_ = nullptr;
  std::vector<Drawn> drawn_;
  ChartHover hover_;
  QTimer soon_;
  enum class Drag { kNone, kCursor, kBand } drag_ = Drag::kNone;
  QPointF pressed_;
  QRectF band_;
};

}  // namespace microtome::desktop
