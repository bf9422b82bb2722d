// load_row.h — where prompts come from beside typing: a built-in task, or a file of JSON lines.
#pragma once

#include <QWidget>

#include "app/desktop/session/session.h"

class QComboBox;
class QPushButton;
class QSpinBox;

namespace microtome::desktop {

class LoadRow : public QWidget {
  Q_OBJECT
 public:
  explicit LoadRow(QWidget* parent = nullptr);
  // As the window's prompts are now.
  void setSource(const PromptSource& source);
  PromptSource source() const;
  void setTasksPossible(bool possible, const QString& why);
  QComboBox* tasks() const { return tasks_; }

 Q_SIGNALS:
  void taskWanted(const PromptSource& source);
  void fileWanted();

 private:
  QComboBox *tasks_, *templates_;
  QSpinBox* count_;
  QPushButton *load_, *file_;
};

}  // namespace microtome::desktop
