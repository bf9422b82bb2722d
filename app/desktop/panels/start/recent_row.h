// recent_row.h — a recent model or project: name, below it the path with its middle elided. A button: click, Space and Enter
// open it, arrow keys go from row to row.
#pragma once

#include <QAbstractButton>

#include "app/desktop/views/row_delegate.h"

namespace microtome::desktop {

class RecentRow : public QAbstractButton {
  Q_OBJECT
 public:
  RecentRow(const QString& name, const QString& path, QWidget* parent);
  const QString& path() const { return path_; }
  // A word at the right: "open", "opening…"; empty: none. mark: the kinds of layer of an open model.
  void setState(const QString& state, RowMark mark = RowMark::kNone);
  const QString& state() const { return state_; }
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 protected:
  void paintEvent(QPaintEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;

 private:
  QString path_, state_;
  RowMark mark_ = RowMark::kNone;
};

}  // namespace microtome::desktop
