#include "app/desktop/views/summary_view.h"

#include <QHeaderView>
#include <QTableView>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

constexpr int kMostRows = 12, kMostName = 32 * kGrid, kMostUnit = 20 * kGrid;

QString quoted(const std::string& bytes) {
  QString text = QString::fromStdString(bytes);
  return QLatin1Char('"') + text.replace(QLatin1Char('"'), QStringLiteral("\"\"")) + QLatin1Char('"');
}

QString plainNumber(double v) { return std::isfinite(v) ? QString::number(v, 'g', 17) : QString(); }

}  // namespace

void SummaryModel::setItems(std::vector<SummaryItem> items) {
  beginResetModel();
  items_ = std::move(items);
  endResetModel();
}

int SummaryModel::rowCount(const QModelIndex& parent) const { return parent.isValid() ? 0 : static_cast<int>(items_.size()); }
int SummaryModel::columnCount(const QModelIndex& parent) const { return parent.isValid() ? 0 : kColumns; }

QVariant SummaryModel::data(const QModelIndex& index, int role) const {
  if (!index.isValid() || index.row() >= rowCount() || index.column() >= kColumns) return {};
  const SummaryItem& item = items_[static_cast<size_t>(index.row())];
  const bool interval = !std::isnan(item.low) && !std::isnan(item.high);
  if (role == Qt::DisplayRole) {
    switch (index.column()) {
      case kName: return nameText(item.name);
      case kValue: return numberText(item.value);
      case kUnit: return labelText(item.unit, 40);
      case kInterval: return interval ? QStringLiteral("%1 … %2").arg(numberText(item.low), numberText(item.high)) : QString();
      default: return item.n > 0 ? QString::number(item.n) : QString();
    }
  }
  if (role == Qt::TextAlignmentRole)
    return QVariant(Qt::AlignVCenter | (index.column() == kValue || index.column() == kCount ? Qt::AlignRight : Qt::AlignLeft));
  if (role == Qt::ToolTipRole && !item.help.empty()) return tipText(labelText(item.help, 600));
  return {};
}

QVariant SummaryModel::headerData(int section, Qt::Orientation orientation, int role) const {
  if (orientation != Qt::Horizontal) return {};
  if (role == Qt::DisplayRole) {
    switch (section) {
      case kName: return tr("Summary");
      case kValue: return tr("value");
      case kUnit: return tr("unit");
      case kInterval: return tr("95 % interval");
      case kCount: return tr("n");
    }
  }
  if (role == Qt::TextAlignmentRole)
    return QVariant(Qt::AlignVCenter | (section == kValue || section == kCount ? Qt::AlignRight : Qt::AlignLeft));
  if (role == Qt::ToolTipRole && section == kInterval)
    return tr("Bootstrap over prompts: 95 % of the resampled means lie inside");
  if (role == Qt::ToolTipRole && section == kCount) return tr("Over how many prompts, or tokens of a text, the mean is taken");
  return {};
}

SummaryView::SummaryView(QWidget* parent) : View(parent), model_(new SummaryModel(this)), table_(new QTableView(this)) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->addWidget(table_);
  table_->setModel(model_);
  table_->setShowGrid(false);
  table_->setFrameShape(QFrame::NoFrame);
  // On the panel itself, no box inside it; cells stand below their headings.
  table_->setStyleSheet(QStringLiteral("QTableView { background: transparent; } QHeaderView::section { padding: 4px 3px; }"));
  table_->verticalHeader()->hide();
  table_->verticalHeader()->setDefaultSectionSize(3 * kGrid);
  table_->horizontalHeader()->setHighlightSections(false);
  table_->horizontalHeader()->setStretchLastSection(false);
  table_->setSelectionBehavior(QAbstractItemView::SelectRows);
  table_->setHorizontalScrollMode(QAbstractItemView::ScrollPerPixel);
  table_->setTabKeyNavigation(false);
  table_->setContextMenuPolicy(Qt::NoContextMenu);     // the view's own menu
  table_->viewport()->setContextMenuPolicy(Qt::NoContextMenu);
  setSizePolicy(QSizePolicy::Preferred, QSizePolicy::Fixed);
}

void SummaryView::setItems(const std::vector<SummaryItem>& items) {
  model_->setItems(items);
  table_->resizeColumnsToContents();
  for (int c = 0; c < SummaryModel::kColumns; ++c) {
    const int most = c == SummaryModel::kName ? kMostName : c == SummaryModel::kUnit ? kMostUnit : 24 * kGrid;
    table_->setColumnWidth(c, std::min(table_->columnWidth(c) + 2 * kGrid, most));
  }
  const auto any = [&](auto&& has) { return std::any_of(items.begin(), items.end(), has); };
  table_->setColumnHidden(SummaryModel::kUnit, !any([](const SummaryItem& i) { return !i.unit.empty(); }));
  table_->setColumnHidden(SummaryModel::kInterval, !any([](const SummaryItem& i) { return !std::isnan(i.low); }));
  table_->setColumnHidden(SummaryModel::kCount, !any([](const SummaryItem& i) { return i.n > 0; }));
  updateGeometry();
}

QString SummaryView::csv() const {
  QString out = QStringLiteral("name,value,unit,low,high,n,help\r\n");
  for (const SummaryItem& i : model_->items())
    out += QStringList{quoted(i.name), plainNumber(i.value), quoted(i.unit), plainNumber(i.low), plainNumber(i.high),
                       QString::number(i.n), quoted(i.help)}.join(QLatin1Char(',')) + QStringLiteral("\r\n");
  return out;
}

QSize SummaryView::sizeHint() const {
  int width = 2;
  for (int c = 0; c < SummaryModel::kColumns; ++c)
    if (!table_->isColumnHidden(c)) width += table_->columnWidth(c);
  const int rows = std::min(model_->rowCount(), kMostRows);
  if (rows < model_->rowCount()) width += 2 * kGrid;   // the scroll bar
  const int header = table_->horizontalHeader()->sizeHint().height();
  return QSize(width, header + rows * table_->verticalHeader()->defaultSectionSize() + 4);
}

QSize SummaryView::minimumSizeHint() const { return QSize(20 * kGrid, sizeHint().height()); }

}  // namespace microtome::desktop
