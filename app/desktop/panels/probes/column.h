// column.h — one model's head scores: every [layer, head] array of a run as a small map, its head table, its curves. Generic: no
// analysis is named here.
#pragma once

#include <QWidget>
#include <vector>

#include "app/desktop/panels/panel.h"
#include "app/desktop/session/session.h"
#include "app/desktop/views/heat_map.h"

class QGridLayout;
class QScrollArea;
class QStackedWidget;
class QTabWidget;

namespace microtome::desktop {

class TableView;

class ScoreColumn : public QWidget {
  Q_OBJECT
 public:
  ScoreColumn(Panel& panel, int slot, QWidget* parent);
  void setNameShown(bool on);
  // Null: `headline` and `sentence` with a button instead of scores.
  void show(const RunViewPtr& run, const QString& headline, const QString& sentence, const QString& button);
  const std::vector<HeatMapView*>& maps() const { return maps_; }
  TableView* table() const { return table_; }
  std::vector<View*> shownViews() const;
  void select(int layer, int head);

 Q_SIGNALS:
  void pressed();                      // the button
  void headPicked(int layer, int head);

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  void fill();
  void arrange();
  Panel& panel_;
  int slot_;
  QLabel* name_;
  QStackedWidget* stack_;
  EmptyState* empty_;
  QTabWidget* tabs_;
  QScrollArea* scroll_;
  QWidget* page_;
  QGridLayout* grid_;
  TableView* table_;
  std::vector<HeatMapView*> maps_;
  std::vector<QWidget*> frames_;       // a map with its name above
  std::vector<View*> curves_;
  RunViewPtr run_;
};

}  // namespace microtome::desktop
