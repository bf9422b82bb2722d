// flow_layout.h — controls side by side that go on in the next line where the window is narrow; and a guard that leaves the
// mouse wheel to the page around a control until the control has the focus.
#pragma once

#include <QLayout>
#include <QList>

namespace microtome::desktop {

class FlowLayout : public QLayout {
  Q_OBJECT
 public:
  explicit FlowLayout(QWidget* parent = nullptr, int gap = 16, int lineGap = 4);
  ~FlowLayout() override;
  void addItem(QLayoutItem* item) override;
  int count() const override { return static_cast<int>(items_.size()); }
  QLayoutItem* itemAt(int index) const override { return items_.value(index); }
  QLayoutItem* takeAt(int index) override;
  Qt::Orientations expandingDirections() const override { return {}; }
  bool hasHeightForWidth() const override { return true; }
  int heightForWidth(int width) const override;
  QSize sizeHint() const override;
  QSize minimumSize() const override;
  void setGeometry(const QRect& rect) override;

 private:
  // Height used; moves the items unless `dry`.
  int arrange(const QRect& rect, bool dry) const;
  QList<QLayoutItem*> items_;
  int gap_, lineGap_;
};

// For spin boxes, combo boxes and sliders: a wheel over one without focus scrolls what is around it and changes nothing.
void guardWheel(QWidget* control);

}  // namespace microtome::desktop
