// controls.h — which analysis makes the circuit, by which metric, on which prompts: one row that wraps, made from the analyses' own
// schemas. With Run, Cancel and how far it is.
#pragma once

#include <QStringList>
#include <QTimer>
#include <QWidget>
#include <map>
#include <string>
#include <vector>

#include "app/desktop/session/session.h"

class QComboBox;
class QLabel;
class QProgressBar;
class QPushButton;
class QToolButton;

namespace microtome::desktop {

class ParamEditor;
class ParamForm;

class CircuitControls : public QWidget {
  Q_OBJECT
 public:
  CircuitControls(Session& session, QWidget* parent);
  ~CircuitControls() override;

  // analyses: that make circuits, in the order of the list.
  void refresh(const QStringList& analyses);
  bool ready() const { return !analysis_.isEmpty(); }
  const QString& analysis() const { return analysis_; }
  // Only what differs from its default.
  std::map<std::string, std::string> values() const;
  bool onePrompt() const;
  bool isValid(QString* why) const;
  // As a stored run or an earlier start had them. Emits nothing.
  void set(const QString& analysis, const std::map<std::string, std::string>& values, bool onePrompt);
  // Why it can't run now, one sentence; empty: it can.
  void setHindrance(const QString& why);
  // Whether the project already has what is set here: Run is then not the next thing to do.
  void setAnswered(bool answered);
  void setJobs(std::vector<qint64> jobs);              // that are under way; empty: none

 Q_SIGNALS:
  void changed();                      // by a person
  void runWanted();
  void cancelWanted();

 private:
  struct Entry {
    std::string name;
    QWidget* cell = nullptr;           // label and control
    ParamEditor* editor = nullptr;
  };
  void build();
  void edited();
  void openMore();
  void look();                         // at the jobs
  const app::AnalysisFacts* facts() const { return session_.findAnalysis(analysis_); }
  Session& session_;
  QString analysis_;
  QStringList listed_;
  std::map<QString, std::map<std::string, std::string>> kept_;
  QWidget *flow_, *scopeCell_;
  QComboBox *analyses_, *scope_;
  std::vector<Entry> entries_;
  QToolButton* more_;
  QWidget* popup_;
  ParamForm* form_;
  QPushButton *run_, *cancel_;
  QLabel* progressText_;
  QProgressBar* bar_;
  std::vector<qint64> jobs_;
  QTimer timer_;
  bool setting_ = false;
};

}  // namespace microtome::desktop
