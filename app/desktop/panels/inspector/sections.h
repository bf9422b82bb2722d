// sections.h — the inspector's building blocks: a section that folds, with rows of a name and a value.
#pragma once

#include <QString>
#include <QWidget>
#include <vector>

class QGridLayout;
class QLabel;
class QToolButton;
class QVBoxLayout;

namespace microtome::desktop {

struct FactRow {
  QString name, value, tip;
  bool mono = false;
  bool number = false;                 // to the right
  QString link;                        // not empty: the name can be pressed
};

// Names left, muted; values beside them, wrapped, to be marked and copied. A row without a value is a heading.
class FactGrid : public QWidget {
  Q_OBJECT
 public:
  explicit FactGrid(QWidget* parent);
  void setRows(const std::vector<FactRow>& rows);
  const std::vector<FactRow>& rows() const { return rows_; }

 Q_SIGNALS:
  void linkPressed(const QString& link);

 private:
  QGridLayout* grid_;
  std::vector<FactRow> rows_;
  QString now_;                        // what is shown, so that the same rows are not made anew
};

class Section : public QWidget {
  Q_OBJECT
 public:
  Section(const QString& title, QWidget* parent);
  QVBoxLayout* body() const { return body_; }
  // One line below the title; empty: none. mark: an int of RowMark in front of it.
  void setHeadline(const QString& text, int mark = 0);
  QString headline() const;
  FactGrid* facts() const { return facts_; }
  bool folded() const;
  void setFolded(bool on);

 private:
  QToolButton* title_;
  QWidget* content_;
  QVBoxLayout* body_;
  QWidget* mark_;
  QLabel* headline_;
  FactGrid* facts_;
};

// A plain label that wraps and never widens its parent.
QLabel* wrappedLabel(QWidget* parent, const char* role = nullptr);

}  // namespace microtome::desktop
