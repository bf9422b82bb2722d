#include "app/desktop/views/feature_list.h"

#include <QFont>
#include <QRegularExpression>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/feature_search.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

constexpr int kShownTokens = 4;

}  // namespace

void FeatureListModel::setSet(std::shared_ptr<const FeatureSet> set) {
  beginResetModel();
  set_ = std::move(set);
  growing_.reset();
  read_.clear();
  rows_.clear();
  labels_.clear();
  tokens_.clear();
  if (set_)
    for (size_t i = 0; i < set_->features.size(); ++i) rows_.emplace(set_->features[i].index, static_cast<int>(i));
  endResetModel();
}

void FeatureListModel::startRows(FeatureSet head) {
  head.features.clear();
  auto growing = std::make_shared<FeatureSet>(std::move(head));
  setSet(growing);
  growing_ = std::move(growing);
}

void FeatureListModel::addRows(const std::vector<FeatureRow>& rows) {
  if (!growing_ || rows.empty()) return;
  beginInsertRows({}, rowCount(), rowCount() + static_cast<int>(rows.size()) - 1);
  for (const FeatureRow& r : rows) {
    rows_.emplace(r.index, static_cast<int>(growing_->features.size()));
    FeatureSet::Feature f;
    f.index = r.index;
    f.label = r.label;
    f.density = r.density;
    f.max = r.max;
    f.mean = r.mean;
    growing_->features.push_back(std::move(f));
    // Without the start token that most texts begin with.
    static const QRegularExpression start(QStringLiteral("^(<\\|[^|>]{1,40}\\|>|<s>|<bos>)\\s*"));
    read_.push_back({QString::fromStdString(r.token), QString::fromStdString(r.text).simplified().remove(start)});
  }
  endInsertRows();
}

QStringList FeatureListModel::tokens(int row, int most) const {
  const FeatureSet::Feature* f = feature(row);
  if (!f) return {};
  if (!growing_) return strongestTokens(*set_, *f, most);
  const QString& token = read_[static_cast<size_t>(row)].token;
  return token.isEmpty() ? QStringList() : QStringList{token};
}

int FeatureListModel::rowOf(qint64 feature) const {
  const auto at = rows_.find(feature);
  return at == rows_.end() ? -1 : at->second;
}

const FeatureSet::Feature* FeatureListModel::feature(int row) const {
  return set_ && row >= 0 && row < rowCount() ? &set_->features[static_cast<size_t>(row)] : nullptr;
}

QString FeatureListModel::label(int row) const {
  if (const auto at = labels_.find(row); at != labels_.end()) return at->second;
  const FeatureSet::Feature* f = feature(row);
  return f ? labelText(f->label, 500) : QString();
}

void FeatureListModel::setLabel(qint64 feature, const QString& text) {
  const int row = rowOf(feature);
  if (row < 0 || label(row) == text) return;
  labels_[row] = text;
  Q_EMIT dataChanged(index(row, 0), index(row, kColumns - 1));
}

FeatureSet FeatureListModel::edited() const {
  FeatureSet out = set_ ? *set_ : FeatureSet();
  for (const auto& [row, text] : labels_) out.features[static_cast<size_t>(row)].label = text.toStdString();
  return out;
}

int FeatureListModel::rowCount(const QModelIndex& parent) const {
  return parent.isValid() || !set_ ? 0 : static_cast<int>(set_->features.size());
}

int FeatureListModel::columnCount(const QModelIndex& parent) const { return parent.isValid() ? 0 : kColumns; }

QVariant FeatureListModel::data(const QModelIndex& at, int role) const {
  const FeatureSet::Feature* f = at.isValid() ? feature(at.row()) : nullptr;
  if (!f) return {};
  const auto tokens = [&]() -> const QStringList& {
    auto it = tokens_.find(at.row());
    if (it == tokens_.end()) it = tokens_.emplace(at.row(), this->tokens(at.row(), kShownTokens)).first;
    return it->second;
  };
  switch (role) {
    case Qt::DisplayRole:
      switch (at.column()) {
        case kIndex: return QString::number(f->index);
        case kDensity: return f->density > 0 ? numberText(f->density * 100, 2) + QStringLiteral(" %") : QStringLiteral("never");
        case kMax: return f->density > 0 ? numberText(f->max, 3) : QStringLiteral("–");
        case kLabel: return label(at.row());
        default: {
          QStringList shown;
          for (const QString& t : tokens()) shown << visibleToken(t).left(24);
          // One token says little: where it stands.
          if (growing_ && !shown.isEmpty()) shown << read_[static_cast<size_t>(at.row())].text.left(80);
          return shown.join(QStringLiteral("  "));
        }
      }
    case kSortRole:
      switch (at.column()) {
        case kIndex: return static_cast<qlonglong>(f->index);
        case kDensity: return f->density;
        case kMax: return f->max;
        case kLabel: return label(at.row());
        default: return tokens().join(QLatin1Char(' '));
      }
    case Qt::TextAlignmentRole:
      return QVariant::fromValue(Qt::Alignment(at.column() <= kMax ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignVCenter);
    case Qt::FontRole: return at.column() == kTokens ? QVariant(monoFont()) : QVariant();
    case Qt::ToolTipRole: {
      QString text = tr("Feature %1: fires on %2 of the tokens").arg(f->index).arg(data(index(at.row(), kDensity), Qt::DisplayRole).toString());
      if (!label(at.row()).isEmpty()) text = label(at.row()) + QStringLiteral("\n") + text;
      return tipText(text);
    }
    default: return {};
  }
}

QVariant FeatureListModel::headerData(int section, Qt::Orientation orientation, int role) const {
  if (orientation != Qt::Horizontal || section < 0 || section >= kColumns) return {};
  // In the middle: the sign of the order is drawn over words at the right.
  if (role == Qt::TextAlignmentRole) return QVariant::fromValue(Qt::Alignment(section <= kMax ? Qt::AlignHCenter : Qt::AlignLeft) | Qt::AlignVCenter);
  if (role == Qt::DisplayRole) {
    switch (section) {
      case kIndex: return tr("Feature");
      case kDensity: return tr("Density");
      case kMax: return tr("Max");
      case kLabel: return tr("Label");
      default: return tr("Fires on");
    }
  }
  if (role == Qt::ToolTipRole) {
    switch (section) {
      case kIndex: return tr("Index in the dictionary");
      case kDensity: return tr("Share of the corpus's tokens on which its activation is above zero");
      case kMax: return tr("Largest activation in the corpus");
      case kLabel: return tr("A person's words for it: edit them in the dashboard");
      default: return tr("Tokens at which its examples are strongest, the most frequent first");
    }
  }
  return {};
}

FeatureListFilter::FeatureListFilter(QObject* parent) : QSortFilterProxyModel(parent) {}

void FeatureListFilter::setRows(const std::vector<int>& rows) {
  rows_ = std::set<int>(rows.begin(), rows.end());
  all_ = false;
  invalidateFilter();
}

void FeatureListFilter::showAll() {
  rows_.clear();
  all_ = true;
  invalidateFilter();
}

bool FeatureListFilter::filterAcceptsRow(int row, const QModelIndex&) const { return all_ || rows_.count(row) > 0; }

bool FeatureListFilter::lessThan(const QModelIndex& left, const QModelIndex& right) const {
  const QVariant a = left.data(FeatureListModel::kSortRole), b = right.data(FeatureListModel::kSortRole);
  if (left.column() <= FeatureListModel::kMax) return a.toDouble() < b.toDouble();
  // What has no label yet comes last in either order.
  const QString x = a.toString(), y = b.toString();
  if (x.isEmpty() != y.isEmpty()) return sortOrder() == Qt::AscendingOrder ? y.isEmpty() : x.isEmpty();
  return QString::localeAwareCompare(x, y) < 0;
}

}  // namespace microtome::desktop
