// patching_panel.h — activation patching, attribution patching and ablation as grids that fill while they run; a cell says what
// the model then answers; two models side by side under one scale.
#pragma once

#include <memory>
#include <vector>

#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/patching/cell_pane.h"
#include "app/desktop/panels/patching/column.h"
#include "app/desktop/panels/patching/controls.h"

class QCheckBox;
class QComboBox;
class QLabel;
class QSplitter;
class QStackedWidget;

namespace microtome::desktop {

class PatchingPanel : public Panel {
  Q_OBJECT
 public:
  PatchingPanel(Session& session, const PanelInfo& info, QWidget* parent);
  std::vector<View*> views() const override;
  QByteArray saveState() const override;
  void restoreState(const QByteArray& state) override;

 protected:
  void refresh() override;

 private:
  void makeBar();
  RunRequest request(int slot) const;
  QString hindrance(int slot) const;   // why it can't run there, one sentence; empty: it can
  bool used(int slot) const { return session().model(slot) != nullptr; }
  void adoptNewest();
  void lookUp();                       // what is stored of what is set
  void start();
  void cancel();
  void showStates();
  void gridChanged();
  void fillChoices();
  void applyPicture();
  void shareScale();
  void showDifference();
  void showCell();
  void pick(int slot, const PatchCell& cell);
  const PatchingColumn* leading() const;               // whose cell is shown below
  PatchCell cellFor(const PatchingColumn& column) const;

  StoredGrids stored_;
  QStackedWidget* stack_;
  EmptyState* empty_;
  PatchingControls* controls_;
  QWidget* bar_;
  QLabel* hint_;
  QComboBox *array_, *heads_;
  QWidget *arrayCell_, *headsCell_;
  QCheckBox* difference_;
  QSplitter *splitter_, *grids_;
  PatchingColumn* columns_[Session::kSlots] = {nullptr, nullptr};
  app::ModelPtr models_[Session::kSlots];
  QWidget* differenceCell_;
  QLabel* differenceName_;
  HeatMapView* differenceMap_;
  std::shared_ptr<const EffectGrid> differenceGrid_;
  CellPane* pane_;
  QString wantedArray_;
  int wantedHeads_ = -100;             // a person's choice; -100: none
  // The cell that is wanted, counted from the prompt's end so that it means the same in grids of other widths. 0: left open.
  int64_t layer_ = -1, head_ = -1, fromEnd_ = 0;
  bool picking_ = false, filling_ = false, touched_ = false, adopted_ = false;
};

}  // namespace microtome::desktop
