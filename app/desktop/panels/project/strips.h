// strips.h — what the project panel asks below its list, in place of a box: a note's text, whether the trash may go, whether
// the two marked runs shall be compared.
#pragma once

#include <QWidget>

class QLabel;
class QLineEdit;
class QPushButton;

namespace microtome::desktop {

// Hidden while there is nothing to ask.
class ProjectStrips : public QWidget {
  Q_OBJECT
 public:
  explicit ProjectStrips(QWidget* parent);
  void editNote(qint64 run, const QString& note);
  void askEmptyTrash(int runs);
  void offerCompare(qint64 a, qint64 b);               // 0, 0: nothing to compare

 Q_SIGNALS:
  void noteGiven(qint64 run, const QString& note);
  void trashConfirmed();
  void compareWanted(qint64 a, qint64 b);
  void closed();                                       // the focus may go back to the list

 protected:
  bool eventFilter(QObject* object, QEvent* event) override;

 private:
  QWidget *note_, *trash_;
  QLabel *noteLabel_, *trashLabel_;
  QLineEdit* noteField_;
  QPushButton *compare_, *keep_;
  qint64 run_ = 0, a_ = 0, b_ = 0;
};

}  // namespace microtome::desktop
