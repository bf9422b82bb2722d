// axis_control.h — one axis of an array that is neither rows nor columns: a slider with the label of where it stands, and
// "mean". Part of TensorMapView.
#pragma once

#include <QWidget>
#include <memory>
#include <string>
#include <vector>

#include "app/desktop/views/heat_map.h"
#include "core/base/artifact.h"

class QCheckBox;
class QLabel;
class QSlider;
class QSpinBox;

namespace microtome::desktop {

class AxisControl : public QWidget {
  Q_OBJECT
 public:
  // labels: one an index, or null; kept alive by `owner`. tokens: they are shown as tokens.
  AxisControl(const std::string& axis, int64_t size, std::shared_ptr<const TensorMap> owner,
              const std::vector<std::string>* labels, bool tokens, bool canMean, QWidget* parent);
  const std::string& axis() const { return axis_; }
  int64_t index() const;                     // kMean: the mean
  void setIndex(int64_t index);              // kept inside the axis; emits nothing
  QString valueText() const;                 // "L2", "mean", "7"
  // For the axis of layers: the label takes the colour of its layer. Empty: none.
  void setKinds(std::vector<LayerKind> kinds);

 Q_SIGNALS:
  void changed();

 private:
  void changeEvent(QEvent* event) override;
  QString labelAt(int64_t index) const;
  void showValue();
  std::string axis_;
  int64_t size_;
  std::shared_ptr<const TensorMap> owner_;
  const std::vector<std::string>* labels_;
  bool tokens_;
  std::vector<LayerKind> kinds_;
  QSlider* slider_;
  QLabel* value_ = nullptr;                  // with labels
  QSpinBox* number_ = nullptr;               // without
  QCheckBox* mean_ = nullptr;
};

}  // namespace microtome::desktop
