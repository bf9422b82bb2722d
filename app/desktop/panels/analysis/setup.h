// setup.h — one analysis before it runs: what it computes, its parameters, on which model and prompts, and the command that
// this amounts to. Made from the analysis's schema alone.
#pragma once

#include <QWidget>
#include <map>
#include <string>
#include <vector>

#include "app/desktop/session/session.h"

class QComboBox;
class QLabel;
class QPlainTextEdit;
class QPushButton;
class QScrollArea;

namespace microtome::desktop {

class ParamForm;

class AnalysisSetup : public QWidget {
  Q_OBJECT
 public:
  AnalysisSetup(Session& session, QWidget* parent);
  // Empty: none. What was set for an analysis before is there again.
  void setAnalysis(const QString& name);
  const QString& analysis() const { return name_; }
  // Models, prompts or device may have changed.
  void refreshChoices();
  // One request a chosen model, as set now.
  std::vector<RunRequest> requests() const;
  // Whether it can run; if not, one sentence of what to do.
  bool canRun(QString* why) const;
  ParamForm* form() const { return form_; }

 Q_SIGNALS:
  void runWanted(bool again);

 private:
  void changed();
  std::vector<int> chosenSlots() const;
  Session& session_;
  QString name_;
  std::map<QString, std::map<std::string, std::string>> kept_;   // analysis → what was set
  QScrollArea* scroll_;
  QLabel *title_, *definition_, *source_, *gives_, *hint_, *promptsLabel_;
  ParamForm* form_;
  QComboBox *model_, *prompts_;
  QPlainTextEdit* command_;
  QPushButton *run_, *again_;
};

}  // namespace microtome::desktop
