// curves.h — curves of training runs over each other, final numbers as a table, and L0 against FVU of all that is finished.
#pragma once

#include <QString>
#include <QWidget>
#include <map>
#include <vector>

#include "app/desktop/panels/trained_dictionaries.h"

class QCheckBox;
class QComboBox;
class QGridLayout;
class QLabel;
class QSlider;
class QStackedWidget;
class QTabBar;

namespace microtome::desktop {

class ChartView;
class Panel;
class TableView;
class View;

// One run as it is drawn.
struct DrawnRun {
  qint64 key = 0;                      // as in the list
  QString name;                        // "run 12"
  TrainingFactsPtr facts;
  QString command;
};

class TrainingCurves : public QWidget {
  Q_OBJECT
 public:
  TrainingCurves(Panel& panel, QWidget* parent);
  // Zoom and hidden lines stay while the lines are the same.
  void setRuns(const std::vector<DrawnRun>& runs);
  // All finished runs, for the Pareto picture.
  void setFinished(const std::vector<DrawnRun>& runs);
  std::vector<View*> views() const;
  QByteArray saveState() const;
  void restoreState(const QByteArray& state);

 Q_SIGNALS:
  void runWanted(qint64 key);          // a point of the Pareto picture was clicked

 private:
  struct Curve {
    const char* name;                  // of the series
    QString title, help;
    ChartView* chart = nullptr;
  };
  void arrange();
  void smooth();
  int colourOf(const QString& line);
  std::vector<Curve> curves_;
  QTabBar* tabs_;
  QStackedWidget* pages_;
  QWidget* grid_;
  QGridLayout* layout_;
  QComboBox* which_;
  QCheckBox* log_;
  QSlider* smoothing_;
  QLabel* smoothText_;
  ChartView* pareto_;
  TableView* numbers_;
  std::map<QString, int> colours_;
  std::vector<std::vector<qint64>> points_;            // of the Pareto picture: runs, by line and point
};

}  // namespace microtome::desktop
