// outcome.h — what was last started in the panel: progress with Cancel, then the result; two models side by side.
#pragma once

#include <QWidget>
#include <vector>

#include "app/desktop/panels/result_pane.h"

class QLabel;
class QSplitter;

namespace microtome::desktop {

class JobStrip;

class AnalysisOutcome : public QWidget {
  Q_OBJECT
 public:
  AnalysisOutcome(Panel& panel, QWidget* parent);
  // Starts them; the older outcome leaves the view (its runs go on). False: none could start.
  bool start(const std::vector<RunRequest>& requests);
  bool empty() const { return title_.isEmpty(); }
  std::vector<View*> views() const;

 private:
  struct Side {
    QWidget* page = nullptr;
    QLabel* name = nullptr;
    JobStrip* strip = nullptr;
    ResultPane* result = nullptr;
    qint64 job = 0;
    int slot = -1;
    QString command;
    QString model;
  };
  Side* sideOf(qint64 job);
  void tell(Side& side, const QString& state);
  Session& session_;
  Panel& panel_;
  QString title_;
  QSplitter* splitter_;
  Side sides_[Session::kSlots];
};

}  // namespace microtome::desktop
