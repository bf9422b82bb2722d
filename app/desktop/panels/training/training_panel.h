// training_panel.h — training runs of sparse dictionaries: set up at the left, the project's runs and their curves at the right.
// Pause keeps the run's state in the project and Resume goes on where it was; Stop moves the run to the trash as well.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/trained_dictionaries.h"
#include "app/desktop/panels/training/run_list.h"

class QComboBox;
class QLabel;
class QPushButton;
class QSplitter;
class QStackedWidget;
class QTableView;
class QToolButton;
class QVBoxLayout;

namespace microtome::desktop {

class JobStrip;
class ParamForm;
class TrainingCurves;

class TrainingPanel : public Panel {
  Q_OBJECT
 public:
  TrainingPanel(Session& session, const PanelInfo& info, QWidget* parent);
  std::vector<View*> views() const override;
  QByteArray saveState() const override;
  void restoreState(const QByteArray& state) override;

 protected:
  void refresh() override;
  void keyPressEvent(QKeyEvent* event) override;       // Delete: to the trash

 private:
  // A run that is computed now.
  struct Live {
    qint64 job = 0;
    RunRequest request;
    QString what, command;
    TrainingFactsPtr facts;            // so far; null: no preview yet
    QWidget* strip = nullptr;
    bool stopped = false;              // to the trash when it has ended
  };
  void makeSetup(QWidget* parent);
  void makeRuns(QWidget* parent);
  void connectSession();
  void fillAnalyses();
  void chooseAnalysis();
  void offerHooks();
  RunRequest request() const;
  bool canRun(QString* why) const;
  void showState();
  void start(const RunRequest& request);
  Live* liveOf(qint64 job);
  void forgetLive(qint64 job);
  void fillRows();
  void draw();
  const TrainingRunList::Row* selectedRow() const;
  void selectKey(qint64 key);
  void rowChanged();
  void resume();
  void stop(qint64 job);
  void toTrash();

  TrainingRuns trained_;
  std::vector<Live> live_;
  std::map<qint64, TrainingFactsPtr> paused_;          // curves of runs that were paused here, by run
  std::map<QString, std::map<std::string, std::string>> kept_;   // what the form held, by analysis
  QString analysis_, wanted_;
  QStackedWidget* stack_;
  EmptyState* empty_;
  QSplitter *splitter_, *right_;
  QComboBox *analyses_, *models_;
  QLabel *modelLabel_, *definition_, *hint_;
  ParamForm* form_;
  QPushButton *start_, *resume_;
  QToolButton *copy_, *results_, *dashboards_, *trash_;
  QVBoxLayout* strips_;
  TrainingRunList* list_;
  QTableView* table_;
  TrainingCurves* curves_;
};

}  // namespace microtome::desktop
