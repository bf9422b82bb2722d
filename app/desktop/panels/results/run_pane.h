// run_pane.h — one stored run: what it is, its state, and its result; where there is no result yet, why, and how to go on.
#pragma once

#include <QWidget>
#include <vector>

#include "app/desktop/panels/result_pane.h"

class QLabel;
class QStackedWidget;
class QToolButton;

namespace microtome::desktop {

class JobStrip;

class RunPane : public QWidget {
  Q_OBJECT
 public:
  RunPane(Panel& panel, QWidget* parent);
  // 0: none, with the sentence of what to do. Cheap when nothing changed.
  void show(qint64 run);
  qint64 run() const { return run_; }
  std::vector<View*> views() const;
  ResultPane* result() const { return result_; }

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  void setHead(const RunRecord& record);
  void load();
  // Not finished: why, and what a person can do.
  void explain(const RunRecord& record);
  void goOn();
  Panel& panel_;
  Session& session_;
  QLabel *title_, *facts_;
  QToolButton *copy_, *notes_;
  JobStrip* strip_;
  QStackedWidget* stack_;
  EmptyState* state_;
  ResultPane* result_;
  QString error_;                      // of the last attempt, one sentence
  qint64 run_ = 0, job_ = 0;
  int shownState_ = -1, slot_ = -1, request_ = 0;
  bool remedyOpens_ = false;           // the button opens the run's model
};

}  // namespace microtome::desktop
