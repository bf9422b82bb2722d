// attribution_panel.h — the attribution graphs that the project holds, a form that makes more, what a person does to one (pins,
// notes, supernodes, kept beside the run), edges tested by intervention, and export.
#pragma once

#include <QPointF>
#include <memory>
#include <string>
#include <vector>

#include "app/desktop/panels/dictionary_form.h"
#include "app/desktop/panels/graph_edits.h"
#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/trained_dictionaries.h"
#include "app/desktop/session/session.h"

class QComboBox;
class QLabel;
class QMenu;
class QStackedWidget;
class QToolButton;

namespace microtome::desktop {

class AttributionView;
class JobStrip;

class AttributionPanel : public Panel {
  Q_OBJECT
 public:
  AttributionPanel(Session& session, const PanelInfo& info, QWidget* parent);
  std::vector<View*> views() const override;
  QByteArray saveState() const override;
  void restoreState(const QByteArray& state) override;
  // False with one sentence in `why`; the file is then as it was before. For viewers of such graphs: as pruned, with the supernodes.
  bool saveJson(const QString& path, QString* why) const;

 protected:
  void refresh() override;
  void keyPressEvent(QKeyEvent* event) override;       // T: test the selected edge

 private:
  // Stored graphs: attribution_panel.cc.
  void makeBar();
  void connectSession();
  std::vector<const RunRecord*> stored() const;
  void fillRuns();
  void load(qint64 run);
  void take(const RunViewPtr& run);
  void showGraph(int which);
  void showForm(bool on);
  void showState();
  // What is done with one: attribution_edits.cc.
  void readNotes();
  void applyEdits();
  void readEdits();
  void picked();
  void showTest();
  QString testName(int edge) const;    // as the analysis takes it: "3.109@12>994"; empty: it can't be tested
  void testEdge();
  void openFeature(qint64 layer, qint64 feature);
  void askWhereToSave();

  TrainingRuns trained_;
  qint64 run_ = 0, loading_ = 0;
  qint64 testJob_ = 0;
  QString testedFrom_, testedTo_;      // names of the edge that is selected again when its test is there
  int testedGraph_ = 0;                // which of the run's
  RunViewPtr view_;
  std::vector<const AttributionGraph*> graphs_;        // of view_
  StoredGraphEdits* edits_;
  std::vector<QPointF> places_;        // of the canvas's nodes, as they were laid out
  bool applying_ = false;
  struct Source {
    qint64 run;
    int64_t layer;
  };
  std::vector<Source> noteRuns_;       // dashboards of this graph's transcoders
  QStackedWidget* stack_;
  EmptyState* empty_;
  QWidget *bar_, *content_;
  QComboBox *runs_, *which_;
  QLabel* runsLabel_;
  QToolButton *make_, *test_, *export_;
  AttributionView* graph_;
  JobStrip* strip_;
  DictionaryForm* form_;
  QWidget* page_;
};

}  // namespace microtome::desktop
