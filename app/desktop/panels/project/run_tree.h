// run_tree.h — the project's groups and rows as a tree model, and the filter and order over it.
#pragma once

#include <QAbstractItemModel>
#include <QSortFilterProxyModel>

#include "app/desktop/panels/project/groups.h"

namespace microtome::desktop {

// Two levels: groups, and their rows. A refresh that changes no row's place changes only data, so that selection and
// scrolling stay; groups without rows are kept as rows of the model and left out by the filter.
class RunTree : public QAbstractItemModel {
  Q_OBJECT
 public:
  explicit RunTree(QObject* parent = nullptr);
  // only: the id of one group; empty: all of them.
  void refresh(const ProjectFacts& facts, const QString& only = {});
  // Null for a group.
  const ProjectRow* row(const QModelIndex& index) const;
  const ProjectGroup* group(const QModelIndex& index) const;   // null for a row
  QModelIndex find(const QString& key) const;

  QModelIndex index(int row, int column, const QModelIndex& parent = {}) const override;
  QModelIndex parent(const QModelIndex& index) const override;
  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;

 private:
  std::vector<std::vector<ProjectRow>> rows_;          // by group
};

class RunTreeFilter : public QSortFilterProxyModel {
  Q_OBJECT
 public:
  enum class Order { kNewest, kOldest, kAnalysis, kModel, kDataset, kState };
  explicit RunTreeFilter(RunTree* source, QObject* parent = nullptr);
  // All words must be found, each anywhere in a row.
  void setText(const QString& text);
  void setOrder(Order order);
  Order order() const { return order_; }
  const ProjectRow* row(const QModelIndex& index) const { return tree_->row(mapToSource(index)); }

 protected:
  bool filterAcceptsRow(int row, const QModelIndex& parent) const override;
  bool lessThan(const QModelIndex& left, const QModelIndex& right) const override;

 private:
  bool holds(const ProjectRow& row) const;
  RunTree* tree_;
  QStringList words_;
  Order order_ = Order::kNewest;
};

}  // namespace microtome::desktop
