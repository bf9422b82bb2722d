// column.h — one model's circuit: which of the stored ones, its graph, what a person did to it, which nodes are knocked out. Knows nothing
// of the other model; the panel says how many edges are kept.
#pragma once

#include <QWidget>
#include <memory>
#include <set>
#include <string>

#include "app/desktop/panels/circuit/edge_order.h"
#include "app/desktop/panels/graph_edits.h"
#include "app/desktop/panels/circuit/questions.h"
#include "app/desktop/panels/circuit/stored.h"
#include "app/desktop/panels/panel.h"
#include "app/desktop/views/graph_view.h"

class QComboBox;
class QLabel;
class QStackedWidget;

namespace microtome::desktop {

class CircuitColumn : public QWidget {
  Q_OBJECT
 public:
  enum class State { kEmpty, kLoading, kRunning, kDone, kFailed, kCancelled };

  CircuitColumn(Panel& panel, StoredCircuits& stored, int slot, QWidget* parent);
  int slot() const { return slot_; }
  GraphView* graph() const { return graph_; }
  CircuitQuestions* questions() const { return questions_; }
  State state() const { return state_; }
  qint64 job() const { return job_; }                  // 0: none
  qint64 loading() const { return loading_; }          // number of the run that is being read
  qint64 shownRun() const { return run_ ? run_->record.id : 0; }
  const RunViewPtr& run() const { return run_; }
  const CircuitRequest& request() const { return request_; }
  bool hasCircuit() const { return order_ != nullptr; }
  const std::shared_ptr<const EdgeOrder>& order() const { return order_; }

  bool start(const RunRequest& request);               // false where it can't start; the session has then said why
  void cancel();
  void load(qint64 run);
  void forget();                                       // another model, or none
  // The list of stored circuits; a person's choice is kept while it is in it. named: the model's name is shown.
  void listStored(bool named);
  void say(const QString& headline, const QString& sentence, const QString& button);
  void fail(const QString& headline, const QString& sentence);

  // What is kept of the edges.
  void setChoice(const EdgeChoice& choice);
  const EdgeChoice& choice() const { return choice_; }
  void setMarked(const CircuitPair::Overlap* overlap); // null: there is nothing to compare with
  // Nodes by name; -1 in the graph where there is no such node.
  int nodeNamed(const std::string& name) const;
  int edgeNamed(const std::string& name) const;
  void select(const std::string& node, const std::string& edge);     // at most one of the two
  // Names, sorted.
  const std::set<std::string>& knockedOut() const { return knockedOut_; }
  void setKnockedOut(const std::set<std::string>& nodes);
  // The circuit as it stands: what is kept is in it, what is knocked out is not, groups as a person made them.
  Circuit edited() const;
  // As the MIB benchmark's JSON; false with one sentence in `why`.
  bool saveCircuit(const QString& path, QString* why) const;
  // Tells questions() what is asked about; prompts may have changed.
  void updateSubject();

 Q_SIGNALS:
  void circuitChanged();
  void stateChanged();
  void nodePicked(const QString& node);
  void nodeActivated(const QString& node);
  void edgePicked(const QString& edge);
  void pickCleared();
  void listPicked();                                   // a person chose another stored circuit
  void pressed();                                      // the button of say()

 private:
  void take(const RunViewPtr& run);
  void set(State state);
  void applyEdits();
  void readEdits();                                    // from the view, after a person's edit
  void askWhereToSave();
  GraphData made() const;
  Session& session_;
  StoredCircuits& stored_;
  int slot_;
  QLabel* name_;
  QComboBox* list_;
  QStackedWidget* stack_;
  EmptyState* empty_;
  GraphView* graph_;
  StoredGraphEdits* edits_;
  CircuitQuestions* questions_;
  RunViewPtr run_;
  CircuitRequest request_;
  app::ModelPtr model_;
  std::shared_ptr<const EdgeOrder> order_;
  std::vector<QString> baseGroups_;                    // of the analysis, one a node
  std::vector<QPointF> basePlaces_;
  std::unordered_map<std::string, int> nodes_, edges_;
  EdgeChoice choice_;
  bool leveledAsFound_ = false, leveled_ = false, applying_ = false, filling_ = false;
  std::set<std::string> knockedOut_;
  State state_ = State::kEmpty;
  qint64 job_ = 0, loading_ = 0;
};

}  // namespace microtome::desktop
