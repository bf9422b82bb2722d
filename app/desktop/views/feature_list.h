// feature_list.h — the features of a dictionary as rows: index, density, largest activation, label, what it fires on.
#pragma once

#include <QAbstractTableModel>
#include <QSortFilterProxyModel>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/base/feature_set.h"
#include "core/store/feature_query.h"

namespace microtome::desktop {

// Holds a shared set and never copies it; labels that were edited since stand beside it.
class FeatureListModel : public QAbstractTableModel {
  Q_OBJECT
 public:
  enum Column { kIndex, kDensity, kMax, kLabel, kTokens, kColumns };
  static constexpr int kSortRole = Qt::UserRole + 1;   // the number or the text itself

  using QAbstractTableModel::QAbstractTableModel;
  void setSet(std::shared_ptr<const FeatureSet> set);
  // A set whose features lie elsewhere: its facts, then rows as they are read. They have numbers, label and one example's words; no details.
  void startRows(FeatureSet head);
  void addRows(const std::vector<FeatureRow>& rows);
  const FeatureSet* set() const { return set_.get(); }
  std::shared_ptr<const FeatureSet> shared() const { return set_; }
  int rowOf(qint64 feature) const;                     // -1: not in the set
  const FeatureSet::Feature* feature(int row) const;
  QString label(int row) const;
  void setLabel(qint64 feature, const QString& text);
  bool hasEdits() const { return !labels_.empty(); }
  // With the edited labels: as a person sees the set now. Copies; for exports.
  FeatureSet edited() const;
  // The tokens it fires most strongly on, the most frequent first; of a row read elsewhere the strongest.
  QStringList tokens(int row, int most) const;

  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

 private:
  struct Read {
    QString token, text;               // of a row read elsewhere
  };
  std::shared_ptr<const FeatureSet> set_;
  std::shared_ptr<FeatureSet> growing_;                // the same set while rows are added; null: it is whole
  std::vector<Read> read_;
  std::map<int64_t, int> rows_;        // feature → row
  std::map<int, QString> labels_;      // row → edited
  mutable std::map<int, QStringList> tokens_;
};

// Rows that a search found, sorted by a column; numbers as numbers.
class FeatureListFilter : public QSortFilterProxyModel {
  Q_OBJECT
 public:
  explicit FeatureListFilter(QObject* parent);
  void setRows(const std::vector<int>& rows);
  void showAll();
  bool all() const { return all_; }

 protected:
  bool filterAcceptsRow(int row, const QModelIndex& parent) const override;
  bool lessThan(const QModelIndex& left, const QModelIndex& right) const override;

 private:
  std::set<int> rows_;
  bool all_ = true;
};

}  // namespace microtome::desktop
