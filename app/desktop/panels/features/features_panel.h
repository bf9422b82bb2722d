// features_panel.h — the feature dashboards that the project holds, a form that builds more, and steering with the chosen one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/desktop/panels/dictionary_form.h"
#include "app/desktop/panels/features/steer_pane.h"
#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/trained_dictionaries.h"
#include "app/desktop/session/session.h"

class QComboBox;
class QLabel;
class QSplitter;
class QStackedWidget;
class QToolButton;

namespace microtome::desktop {

class FeatureSetView;

class FeaturesPanel : public Panel {
  Q_OBJECT
 public:
  FeaturesPanel(Session& session, const PanelInfo& info, QWidget* parent);
  std::vector<View*> views() const override;
  QByteArray saveState() const override;
  void restoreState(const QByteArray& state) override;

 protected:
  void refresh() override;

 private:
  std::vector<const RunRecord*> stored() const;        // runs with dashboards, newest first
  void fillRuns();
  void followRun();                    // what Training or Project have selected
  void load(qint64 run);
  void loaded(const QString& why);
  void showBuild(bool on);
  void showState();
  void chosen(qint64 feature);

  TrainingRuns trained_;
  qint64 run_ = 0, loading_ = 0;       // shown; being read
  qint64 wanted_ = -1;                 // a feature of the run that is being read
  bool picked_ = false;                // a person chose the run
  QStackedWidget* stack_;
  EmptyState* empty_;
  QComboBox* runs_;
  QLabel* runsLabel_;
  QToolButton *build_, *steer_;
  QWidget* bar_;
  QSplitter* splitter_;
  FeatureSetView* set_;
  SteerPane* steering_;
  QWidget* page_;
  DictionaryForm* form_;
};

}  // namespace microtome::desktop
