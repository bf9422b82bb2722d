// summary_view.h — the summary of a result as a small table: name, value, unit, 95 % interval, number of prompts; what each
// number is as its tooltip.
#pragma once

#include <QAbstractTableModel>

#include "app/desktop/views/view.h"
#include "core/base/artifact.h"

class QTableView;

namespace microtome::desktop {

class SummaryModel : public QAbstractTableModel {
  Q_OBJECT
 public:
  enum Column { kName, kValue, kUnit, kInterval, kCount, kColumns };
  using QAbstractTableModel::QAbstractTableModel;
  void setItems(std::vector<SummaryItem> items);
  const std::vector<SummaryItem>& items() const { return items_; }
  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

 private:
  std::vector<SummaryItem> items_;
};

// As tall as its rows, up to twelve.
class SummaryView : public View {
  Q_OBJECT
 public:
  explicit SummaryView(QWidget* parent = nullptr);
  void setItems(const std::vector<SummaryItem>& items);
  const SummaryModel& model() const { return *model_; }

  QList<Format> formats() const override { return {Format::kCsv, Format::kPng}; }
  QString csv() const override;                        // name, value, unit, low, high, n, help; numbers in full
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override;

 private:
  SummaryModel* model_;
  QTableView* table_;
};

}  // namespace microtome::desktop
