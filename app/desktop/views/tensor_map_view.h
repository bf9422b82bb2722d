// tensor_map_view.h — arrays with named axes, of any rank: two axes as a picture, every other one on a slider or averaged.
// A matrix is a heat map, a single axis a line, a single number a number. Large arrays are cut by a worker, so that a slider
// never waits.
#pragma once

#include <QHash>
#include <QWidget>
#include <memory>

#include "app/desktop/views/artifact_view.h"
#include "app/desktop/views/tensor_slice.h"

namespace microtome::desktop {

class TensorMapView : public QWidget {
  Q_OBJECT
 public:
  explicit TensorMapView(QWidget* parent = nullptr);
  ~TensorMapView() override;

  // Keeps the array, axes, places and zoom that were chosen where the new map has them too.
  void setMap(std::shared_ptr<const TensorMap> map, const ArtifactContext& context);
  void clear(const QString& emptyText);

  int arrayIndex() const;                              // of map->arrays; -1: none
  void setArray(int index);
  void setArrayNamed(const QString& name);             // nothing happens where there is none
  const TensorSlice& slice() const;
  // Axes and places that the array has; others are ignored. Emits nothing.
  void setSlice(const TensorSlice& slice);
  // What is selected elsewhere ("layer" → 3, "head" → 1): moves sliders there, frames the cell where rows and columns are
  // both named. Emits nothing.
  void select(const QHash<QString, qint64>& indexByAxis);
  // One colour scale over the whole array rather than one a slice.
  void setCommonScale(bool on);

  // What is on show; null: a sentence, or nothing yet.
  View* view() const;
  bool busy() const;                                   // a worker cuts

 Q_SIGNALS:
  // A click on a cell: its index on every axis that is not averaged.
  void cellPicked(const QHash<QString, qint64>& indexByAxis);
  void hoverText(const QString& text);
  void message(const QString& text, bool isError);
  void noteWanted(qint64 run, const QString& artifact);
  // Another view, array or slice is on show.
  void shown();

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
