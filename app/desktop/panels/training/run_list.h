// run_list.h — training runs as rows: what is trained, how far, its final numbers; a check says which curves are drawn.
#pragma once

#include <QAbstractTableModel>
#include <set>
#include <vector>

#include "app/desktop/panels/trained_dictionaries.h"

namespace microtome::desktop {

class TrainingRunList : public QAbstractTableModel {
  Q_OBJECT
 public:
  enum Column { kRun, kDictionary, kL0, kFvu, kRecovered, kDead, kState, kColumns };
  struct Row {
    qint64 run = 0;                    // 0: computed now, not in the list of runs yet
    qint64 job = 0;                    // 0: not running
    QString dictionary, state, tip;
    bool resumable = false;
    QString l0, fvu, recovered, dead;  // "32", or "8 – 64" of several dictionaries; empty: unknown
    // What keeps a check through a refresh: the run's number, or that of the job with a minus.
    qint64 key() const { return run ? run : -job; }
  };

  using QAbstractTableModel::QAbstractTableModel;
  // The rows may be others; checks stay by key.
  void setRows(std::vector<Row> rows);
  const std::vector<Row>& rows() const { return rows_; }
  bool isChecked(qint64 key) const { return checked_.count(key) > 0; }
  void setChecked(qint64 key, bool on);

  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  bool setData(const QModelIndex& index, const QVariant& value, int role) override;
  Qt::ItemFlags flags(const QModelIndex& index) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

 Q_SIGNALS:
  void checksChanged();

 private:
  std::vector<Row> rows_;
  std::set<qint64> checked_;
};

// "topk · blocks.2.hook_resid_post · 1,024 features", or how many dictionaries; from the parameters where it is not done.
QString dictionaryText(const RunRecord* run, const TrainingFacts* facts);
// L0, FVU, CE recovered, dead share: from the smallest to the largest of the run's dictionaries.
void fillNumbers(TrainingRunList::Row& row, const TrainingFacts* facts);

}  // namespace microtome::desktop
