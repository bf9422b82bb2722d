// circuit_panel.h — circuits of the open models as graphs: a slider over the strongest edges with their faithfulness measured as it moves,
// nodes knocked out, notes and groups; two models side by side under one slider.
#pragma once

#include <QTimer>
#include <memory>
#include <string>
#include <vector>

#include "app/desktop/panels/circuit/column.h"
#include "app/desktop/panels/circuit/controls.h"
#include "app/desktop/panels/panel.h"

class QLabel;
class QPushButton;
class QScrollArea;
class QSlider;
class QSpinBox;
class QSplitter;
class QStackedWidget;
class QToolButton;

namespace microtome::desktop {

class ChartView;

class CircuitPanel : public Panel {
  Q_OBJECT
 public:
  CircuitPanel(Session& session, const PanelInfo& info, QWidget* parent);
  // What circuits are measured with, instead of the engine's meter: for tests.
  void setMeterFactory(const MeterFactory& factory);
  std::vector<View*> views() const override;
  QByteArray saveState() const override;
  void restoreState(const QByteArray& state) override;

 protected:
  void refresh() override;
  void resizeEvent(QResizeEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;       // K: knock out or put back; Shift+K: put all back

 private:
  // Runs and their states: circuit_panel.cc.
  void makeBar(QWidget* parent);
  void makeSide(QWidget* parent);
  void connectSession();
  RunRequest request(int slot) const;
  QString hindrance(int slot) const;
  bool used(int slot) const { return session().model(slot) != nullptr; }
  void adopt(int slot);
  using Panel::adopt;
  void start();
  void showStates();
  // What is shown: circuit_show.cc.
  const CircuitColumn* leading() const;
  int64_t most() const;                // edges of the largest circuit on show
  EdgeChoice choiceFor(const CircuitColumn& column) const;
  void circuitChanged();
  void setCount(int64_t count);        // of the largest circuit's edges; of a smaller one the same share
  void applyChoice();
  void askNow(bool resting);
  void showNumbers();
  void fitWords();
  void showCurve();
  void showComparison();
  QString measureText(const CircuitColumn& column) const;
  QString knockText(const CircuitColumn& column) const;
  QString selectedText() const;
  void pickNode(int slot, const QString& name);
  void pickEdge(int slot, const QString& name);
  void clearPick();
  void followSelection();
  void toggleKnockOut();
  void restoreAll();

  StoredCircuits stored_;
  QStackedWidget* stack_;
  EmptyState* empty_;
  CircuitControls* controls_;
  QWidget *bar_, *side_;
  QSlider* slider_;
  QSpinBox* spin_;
  QLabel *of_, *hint_;
  QToolButton *asFoundButton_, *knock_, *restore_;
  QSplitter *splitter_, *graphs_;
  CircuitColumn* columns_[Session::kSlots] = {nullptr, nullptr};
  QLabel *measure_[Session::kSlots], *knocked_[Session::kSlots], *comparison_, *selected_;
  QScrollArea* words_;
  ChartView* curve_;
  app::ModelPtr models_[Session::kSlots];
  std::unique_ptr<CircuitPair> pair_;
  CircuitPair::Overlap overlap_;
  std::vector<int64_t> steps_;         // the slider's places, as numbers of edges
  int64_t count_ = 0;
  bool asFound_ = true, moved_ = false;                // moved_: a person chose the number of edges
  bool picked_[Session::kSlots] = {false, false};      // a person chose the circuit
  bool setting_ = false, picking_ = false, adopted_ = false;
  std::string node_, edge_;            // what is selected
  QTimer rest_;
};

}  // namespace microtome::desktop
