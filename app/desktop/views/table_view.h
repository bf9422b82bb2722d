// table_view.h — a table artifact: sortable, filtered by a text, numbers to the right with meaningful digits, units in the
// header, definitions as tooltips, rows copied as tab-separated text, saved as CSV.
#pragma once

#include <QAbstractTableModel>
#include <memory>
#include <vector>

#include "app/desktop/views/view.h"
#include "core/base/artifact.h"

class QTableView;

namespace microtome::desktop {

// Holds a shared table; never copies rows. A row shorter than the columns counts as missing cells.
class TableModel : public QAbstractTableModel {
  Q_OBJECT
 public:
  static constexpr int kSortRole = Qt::UserRole + 1;   // the number or the text itself; invalid: missing
  static constexpr int kMissingRole = Qt::UserRole + 2;  // true: no value (also NaN)

  explicit TableModel(QObject* parent = nullptr);
  void setTable(std::shared_ptr<const Table> table);
  const Table* table() const { return table_.get(); }
  // A cell of the table itself; null: missing.
  const Cell* cell(int row, int column) const;
  bool isMissing(int row, int column) const;           // also NaN
  // What the column holds, judged by its name and its first rows.
  bool isNumeric(int column) const;
  bool isToken(int column) const;
  // Whether any cell of the row holds the text, as shown or as stored, in upper or lower case.
  bool rowHolds(int row, const QString& text) const;
  // Order of two cells, missing ones aside: numbers before texts, numbers in texts by their value ("a3" before "a10").
  bool less(int leftRow, int rightRow, int column) const;

  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

 private:
  struct Looks { bool numeric = false, token = false; };
  QString shown(const Cell& cell, int column) const;
  std::shared_ptr<const Table> table_;
  std::vector<Looks> looks_;
};

class TableView : public View {
  Q_OBJECT
 public:
  explicit TableView(QWidget* parent = nullptr);
  ~TableView() override;
  void setTable(std::shared_ptr<const Table> table);
  void setFilter(const QString& text);                 // rows in which any cell holds it
  void setFilterVisible(bool on);                      // the filter field above the table
  void setEmptyText(const QString& text);              // shown while there are no rows: what to do next
  QTableView* table() const;
  TableModel* model() const;
  // The selected rows as shown, top to bottom, tab-separated with a header line; numbers in full.
  QString selectedRows() const;
  QList<Format> formats() const override { return {Format::kCsv, Format::kPng}; }
  QString csv() const override;

 Q_SIGNALS:
  // Row of the table itself (not of the sorted view); -1: none.
  void rowSelected(qint64 row);
  void rowActivated(qint64 row);

 protected:
  void addActions(QMenu& menu) override;               // Copy selected rows, Fit columns, Original order

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
