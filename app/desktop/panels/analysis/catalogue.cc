#include "app/desktop/panels/analysis/catalogue.h"

#include <algorithm>

#include "app/desktop/views/label_text.h"
#include "app/desktop/views/row_delegate.h"

namespace microtome::desktop {
namespace {

constexpr int kSearchRole = Qt::UserRole + 2;

}  // namespace

void AnalysisList::setAnalyses(std::vector<app::AnalysisFacts> analyses) {
  beginResetModel();
  analyses_ = std::move(analyses);
  std::stable_sort(analyses_.begin(), analyses_.end(), [](const app::AnalysisFacts& a, const app::AnalysisFacts& b) {
    return QString::fromStdString(a.info.title).localeAwareCompare(QString::fromStdString(b.info.title)) < 0;
  });
  endResetModel();
}

int AnalysisList::rowCount(const QModelIndex& parent) const { return parent.isValid() ? 0 : static_cast<int>(analyses_.size()); }

QVariant AnalysisList::data(const QModelIndex& index, int role) const {
  if (!index.isValid() || static_cast<size_t>(index.row()) >= analyses_.size()) return {};
  const app::AnalysisFacts& a = analyses_[static_cast<size_t>(index.row())];
  switch (role) {
    case Qt::DisplayRole: return labelText(a.info.title.empty() ? a.info.name : a.info.title, 120);
    case Qt::ToolTipRole:
      return tipText(labelText(a.info.definition, 800) +
                     (a.plugin.empty() ? QString() : tr(" (from the plug-in %1)").arg(labelText(a.plugin, 200))));
    case RowRole::kDetail: return labelText(a.info.name, 80);
    case RowRole::kTag: return a.plugin.empty() ? QString() : tr("plug-in");
    case kNameRole: return QString::fromStdString(a.info.name);
    case kSearchRole: return QString::fromStdString(a.info.title + '\n' + a.info.name + '\n' + a.info.definition + '\n' + a.info.source);
    default: return {};
  }
}

void AnalysisFilter::setText(const QString& text) {
  words_ = text.split(QLatin1Char(' '), Qt::SkipEmptyParts);
  invalidateFilter();
}

bool AnalysisFilter::filterAcceptsRow(int row, const QModelIndex& parent) const {
  const QString text = sourceModel()->index(row, 0, parent).data(kSearchRole).toString();
  return std::all_of(words_.begin(), words_.end(), [&](const QString& w) { return text.contains(w, Qt::CaseInsensitive); });
}

}  // namespace microtome::desktop
