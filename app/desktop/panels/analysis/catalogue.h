// catalogue.h — the analyses there are, built in and from plug-ins, as a list model with a filter.
#pragma once

#include <QAbstractListModel>
#include <QSortFilterProxyModel>
#include <vector>

#include "app/engine/engine.h"

namespace microtome::desktop {

class AnalysisList : public QAbstractListModel {
  Q_OBJECT
 public:
  static constexpr int kNameRole = Qt::UserRole + 1;   // QString: "head_probes"
  using QAbstractListModel::QAbstractListModel;
  void setAnalyses(std::vector<app::AnalysisFacts> analyses);
  int rowCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;

 private:
  std::vector<app::AnalysisFacts> analyses_;           // by title
};

// Rows whose title, name, definition or source hold all words.
class AnalysisFilter : public QSortFilterProxyModel {
  Q_OBJECT
 public:
  using QSortFilterProxyModel::QSortFilterProxyModel;
  void setText(const QString& text);

 protected:
  bool filterAcceptsRow(int row, const QModelIndex& parent) const override;

 private:
  QStringList words_;
};

}  // namespace microtome::desktop
