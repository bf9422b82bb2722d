// heat_map_grid.h — small multiples: a layer × head grid of little patterns under one scale (or one each), painted once
// and kept. A click picks a head, arrows move the pick; hover names layer, head and the map's largest value.
#pragma once

#include <memory>
#include <vector>

#include "app/desktop/views/heat_map.h"

namespace microtome::desktop {

// maps[r * cols + c]; an empty one (no values) is a head that does not exist.
struct HeatMapGridData {
  std::vector<HeatMapData> maps;
  int64_t rows = 0, cols = 0;
  MapAxis rowAxis, colAxis;            // "layer" with kinds, "head"
  bool commonScale = true;             // per look: recurrent patterns (signed) and softmax ones have their own
  QString label, help;                 // of maps that have none
};

class HeatMapGridView : public View {
  Q_OBJECT
 public:
  explicit HeatMapGridView(QWidget* parent = nullptr);
  ~HeatMapGridView() override;
  void setData(HeatMapGridData data);
  void clear(const QString& emptyText = {});
  const HeatMapGridData& data() const;
  void setSelected(int64_t row, int64_t col);          // -1, -1: none; emits nothing
  std::pair<int64_t, int64_t> selected() const;

  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QSizeF pictureSize() const override;
  QString csv() const override;                        // row, column, the map's row and column, value
  QList<Format> formats() const override;              // no CSV above four million values
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 Q_SIGNALS:
  void picked(qint64 row, qint64 col);                 // click or arrow keys
  void activated(qint64 row, qint64 col);

 protected:
  void paintEvent(QPaintEvent*) override;
  void mousePressEvent(QMouseEvent*) override;
  void mouseDoubleClickEvent(QMouseEvent*) override;
  void mouseMoveEvent(QMouseEvent*) override;
  void leaveEvent(QEvent*) override;
  void keyPressEvent(QKeyEvent*) override;
  void changeEvent(QEvent*) override;
  void resizeEvent(QResizeEvent*) override;
  bool event(QEvent*) override;                        // tooltips

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
