// column.h — one model's recurrent head: the state as a picture, its numbers over the tokens, eigenvalues, what it would say.
#pragma once

#include "app/desktop/panels/prompt_run.h"
#include "app/desktop/panels/states/kept_state.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/heat_map.h"

class QComboBox;
class QSplitter;
class QTabWidget;

namespace microtome::desktop {

class TableView;

class StateColumn : public PromptRunPane {
  Q_OBJECT
 public:
  StateColumn(Panel& panel, int slot, QWidget* parent);
  // The model has a recurrent layer at all.
  bool possible() const;
  // The query head that is shown: the one asked for where its layer is recurrent, else the first recurrent head.
  std::pair<int, int> headFor(int layer, int head) const;
  void ask(int layer, int head, const QString& query);
  void setWhat(KeptState::What what);
  void setOwnScale(bool on);
  void showToken(int token);
  const std::shared_ptr<const KeptState>& kept() const { return kept_; }
  std::vector<View*> shownViews() const;
  HeatMapView* map() const { return map_; }
  ChartView* lines() const { return lines_; }
  QByteArray layoutState() const;
  void setLayoutState(const QByteArray& state);

 Q_SIGNALS:
  void filled();
  void tokenPicked(int token);
  void headPicked(int layer, int head);

 private:
  void take();
  void takeLens();
  void fillHeads();
  void drawLines();
  void drawEigen();
  void drawLens();
  Session& session_;
  PromptRun* lens_;
  QComboBox *heads_, *number_;
  QLabel *facts_, *lensText_;
  QSplitter* across_;
  QTabWidget* tabs_;
  HeatMapView* map_;
  ChartView *lines_, *eigen_;
  TableView* says_;
  std::shared_ptr<const KeptState> kept_;
  KeptState::What what_ = KeptState::What::kState;
  double largest_ = 0;
  int layer_ = -1, head_ = -1, token_ = 0;
  bool own_ = false;
};

}  // namespace microtome::desktop
