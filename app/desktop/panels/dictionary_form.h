// dictionary_form.h — the form of an analysis that reads a dictionary: one from the disk, or one that was trained in this project,
// which is then written beside the project first; the run itself with its progress.
#pragma once

#include <QWidget>
#include <map>
#include <string>
#include <vector>

#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/trained_dictionaries.h"

class QComboBox;
class QLabel;
class QPushButton;
class QToolButton;

namespace microtome::desktop {

class JobStrip;
class ParamForm;

struct DictionaryUse {
  QString analysis;
  std::string param;                   // the one that names the dictionary
  bool sets = false;                   // it takes a run's dictionaries as one set; else one of them
  bool transcoders = false;            // only transcoders fit
  bool onePrompt = false;              // it runs on the prompt that is selected
  std::vector<std::string> first;      // parameters that matter most
};

class DictionaryForm : public QWidget {
  Q_OBJECT
 public:
  DictionaryForm(Panel& panel, TrainingRuns& trained, DictionaryUse use, QWidget* parent);
  void refresh();                      // models, trained dictionaries, prompts may be others
  // A dictionary trained in the project; false where the run has none that fits.
  bool chooseTrained(qint64 run);
  ParamForm* form() const { return form_; }
  RunRequest request() const;
  void start();
  void cancel();
  bool busy() const { return job_ != 0 || writing_; }
  QByteArray saveState() const;
  void restoreState(const QByteArray& state);

 Q_SIGNALS:
  void finished(RunViewPtr run);
  void changed();                      // started, ended

 private:
  void fillTrained();
  void takeTrained();
  void showState();
  bool canRun(QString* why) const;
  void run();
  Panel& panel_;
  Session& session_;
  TrainingRuns& trained_;
  DictionaryUse use_;
  bool ready_ = false, writing_ = false;
  std::map<std::string, std::string> kept_;
  qint64 job_ = 0;
  QComboBox *list_, *models_;
  QLabel *title_, *definition_, *modelLabel_, *listLabel_, *hint_;
  ParamForm* form_;
  JobStrip* strip_;
  QToolButton* copy_;
  QPushButton* start_;
};

}  // namespace microtome::desktop
