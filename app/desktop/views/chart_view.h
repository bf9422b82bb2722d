// chart_view.h — lines and points as Qt Charts: axis titles with units, legend, hover value, zoom by wheel and rubber band,
// log scale, smoothing, a movable cursor over x. For series artifacts, state lines over tokens, training curves.
#pragma once

#include <QString>
#include <QStringList>
#include <memory>
#include <vector>

#include "app/desktop/views/view.h"
#include "core/base/artifact.h"

namespace microtome::desktop {

struct ChartLine {
  QString name, help;
  std::vector<double> x, y;            // equal lengths; NaN breaks the line
  int colour = -1;                     // index into Theme::series; -1: by order
  bool recurrent = false, softmax = false;   // take the layer colour instead
};

struct ChartData {
  enum class Kind { kLines, kScatter };
  Kind kind = Kind::kLines;
  QString title, xLabel, yLabel;       // with units
  std::vector<ChartLine> lines;
  QStringList xTicks;                  // labels of x = 0, 1, 2 … (tokens); empty: numbers
  bool logX = false;                   // x is given as log10; labelled, read out and saved as what it stands for
  bool unitCircle = false;             // scatter of eigenvalues: circle |z| = 1 and equal axes
};

class ChartCanvas;

class ChartView : public View {
  Q_OBJECT
 public:
  explicit ChartView(QWidget* parent = nullptr);
  ~ChartView() override;
  void setData(const ChartData& data);
  const ChartData& data() const;
  static ChartData fromSeries(const Series& series);
  void clear(const QString& emptyText = {});
  // Appends to a line while it is watched (training curves); no rebuild of the chart.
  void append(int line, double x, double y);
  void setCursor(double x);                            // NaN: none; emits nothing
  double cursor() const;
  void setLogY(bool on);
  bool isLogY() const;
  void setSmoothing(double halfLife);                  // exponential, in points; 0: none
  double smoothing() const;
  void setLineVisible(int line, bool on);              // also by a click in the legend; kept while the names are the same
  bool isLineVisible(int line) const;
  void resetZoom();
  ChartCanvas* canvas() const;                         // the widget that takes mouse and keys

  QList<Format> formats() const override { return {Format::kPng, Format::kSvg, Format::kCsv}; }
  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QString csv() const override;                        // line, x, y

 Q_SIGNALS:
  void cursorMoved(double x);                          // click or drag in the plot
  void pointClicked(int line, int index);

 protected:
  void addActions(QMenu& menu) override;               // Log scale, Smoothing, Lines, Reset zoom

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
