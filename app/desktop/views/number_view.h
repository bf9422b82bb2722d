// number_view.h — one number, large: an array without axes, or one whose axes have a single place.
#pragma once

#include "app/desktop/views/view.h"

namespace microtome::desktop {

class NumberView : public View {
  Q_OBJECT
 public:
  explicit NumberView(QWidget* parent = nullptr);
  void setNumber(double value, const QString& name, const QString& unit, const QString& help);
  double number() const { return value_; }

  void drawPicture(QPainter& painter, const QSizeF& size) const override;
  QSizeF pictureSize() const override;
  QString csv() const override;                        // name, value, unit
  QSize sizeHint() const override;

 protected:
  void paintEvent(QPaintEvent*) override;

 private:
  double value_ = 0;
  QString name_, unit_, help_;
};

}  // namespace microtome::desktop
