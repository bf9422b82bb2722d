// job_table.h — the jobs of the window as a table model, newest first.
#pragma once

#include <QAbstractTableModel>
#include <QStyledItemDelegate>
#include <vector>

#include "core/jobs/job_queue.h"

namespace microtome::desktop {

class JobTable : public QAbstractTableModel {
  Q_OBJECT
 public:
  enum Column { kTitle, kState, kWhat, kElapsed, kLeft, kLane, kCancel, kColumns };
  static constexpr int kProgressRole = Qt::UserRole + 1;   // double 0…1; invalid: not running
  static constexpr int kFailedRole = Qt::UserRole + 2;     // bool
  static constexpr int kActiveRole = Qt::UserRole + 3;     // bool: queued or running
  // Older ones are left out.
  static constexpr size_t kMost = 200;
  // Reading and writing of the project and what a person waits for shortly are shown from this long on, or when they fail.
  static constexpr double kHousekeepingS = 0.5;

  using QAbstractTableModel::QAbstractTableModel;
  void setJobs(const std::vector<JobSnapshot>& jobs);
  const JobSnapshot* job(const QModelIndex& index) const;
  static bool isShown(const JobSnapshot& job);

  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

 private:
  std::vector<JobSnapshot> jobs_;
};

// Bars in the state's column, a button in the last one (clicks come by the view's clicked()).
class JobDelegate : public QStyledItemDelegate {
  Q_OBJECT
 public:
  using QStyledItemDelegate::QStyledItemDelegate;
  void paint(QPainter* painter, const QStyleOptionViewItem& option, const QModelIndex& index) const override;
  QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const override;
};

}  // namespace microtome::desktop
