// job_strip.h — one job on one line: what it does, how far it is, how long still, Cancel. Looks at the job five times a second
// while it is seen, and goes away when the job has ended.
#pragma once

#include <QTimer>
#include <QWidget>

#include "app/desktop/session/session.h"

class QLabel;
class QProgressBar;
class QPushButton;

namespace microtome::desktop {

class JobStrip : public QWidget {
  Q_OBJECT
 public:
  JobStrip(Session& session, QWidget* parent);
  // name: what stands in front; 0: none.
  void setJob(qint64 job, const QString& name);
  qint64 job() const { return job_; }
  // What the button says, where stopping the job is no giving up: "Pause".
  void setCancelText(const QString& text, const QString& tip);

 protected:
  void showEvent(QShowEvent* event) override;

 private:
  void look();
  Session& session_;
  QTimer timer_;
  QLabel* text_;
  QProgressBar* bar_;
  QPushButton* cancel_;
  QString name_;
  qint64 job_ = 0;
};

}  // namespace microtome::desktop
