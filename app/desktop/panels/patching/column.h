// column.h — one model's grid: filled while its run goes on, or read from the project; its state in words. Knows nothing of the other
// model; the panel tells it which array, cell and scale to show.
#pragma once

#include <QWidget>
#include <memory>
#include <optional>

#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/patching/effect_grid.h"
#include "app/desktop/panels/patching/stored.h"

class QLabel;
class QStackedWidget;

namespace microtome::desktop {

// The grid on show and where it comes from.
struct ShownGrid {
  std::shared_ptr<const EffectGrid> grid;
  GridRequest request;
  RunViewPtr run;                      // null: it fills, or it was stopped
  app::ModelPtr model;
  QString command;
  int64_t prompts = 0;                 // how many; 0: unknown
};

class PatchingColumn : public QWidget {
  Q_OBJECT
 public:
  enum class State { kEmpty, kLoading, kRunning, kDone, kFailed, kCancelled };

  PatchingColumn(Panel& panel, int slot, QWidget* parent);
  int slot() const { return slot_; }
  HeatMapView* map() const { return map_; }
  State state() const { return state_; }
  qint64 job() const { return job_; }                  // 0: none
  qint64 loading() const { return loading_; }          // number of the run that is being read
  const ShownGrid& shown() const { return shown_; }
  bool hasGrid() const { return shown_.grid != nullptr; }

  // False where it can't start; the session has then said why.
  bool start(const RunRequest& request, const GridRequest& wanted);
  void cancel();
  void load(qint64 run);
  void forget();                       // another model, or none
  // What to do while there is no grid; kept on show only as long as there is none.
  void say(const QString& headline, const QString& sentence, const QString& button);
  // For State::kFailed and where nothing can be started: instead of the grid.
  void fail(const QString& headline, const QString& sentence);

  // What the caption adds: "other prompts". Of two models the name is shown.
  void setRemark(const QString& remark, bool named);
  // By name, so that a run that lacks an array still shows its first.
  void setPicture(const QString& array, int look);
  int array() const { return array_; }
  int look() const { return look_; }
  // Of the picture's own numbers; while it fills it only grows.
  std::pair<double, double> range() const { return range_; }
  void setScale(double lo, double hi) { map_->setScale(lo, hi); }
  void showCell(const PatchCell& cell);

 Q_SIGNALS:
  void gridChanged();                  // another grid, or more of it
  void stateChanged();
  void cellPicked(const PatchCell& cell);
  void pressed();                      // the button of say()

 private:
  void take(std::shared_ptr<const AnalysisResult> result);
  void set(State state);
  void draw();
  void caption();
  Session& session_;
  int slot_;
  QLabel *name_, *caption_;
  QStackedWidget* stack_;
  EmptyState* empty_;
  HeatMapView* map_;
  ShownGrid shown_;
  State state_ = State::kEmpty;
  qint64 job_ = 0, loading_ = 0;
  GridRequest wanted_;
  int64_t wantedPrompts_ = 0;
  QString wantedCommand_, arrayName_, remark_;
  int array_ = 0, look_ = kEveryHead;
  std::pair<double, double> range_{0, 0};
  PatchCell cell_;
};

}  // namespace microtome::desktop
