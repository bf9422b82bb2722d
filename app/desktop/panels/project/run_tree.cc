#include "app/desktop/panels/project/run_tree.h"

#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

// Ids: 0 for a group, else the group's number + 1.
constexpr quintptr kGroupId = 0;

}  // namespace

RunTree::RunTree(QObject* parent) : QAbstractItemModel(parent), rows_(projectGroups().size()) {}

void RunTree::refresh(const ProjectFacts& facts, const QString& only) {
  const auto& groups = projectGroups();
  for (size_t g = 0; g < groups.size(); ++g) {
    if (!only.isEmpty() && groups[g].id != only) continue;
    std::vector<ProjectRow> fresh = groups[g].rows(facts);
    std::vector<ProjectRow>& now = rows_[g];
    const QModelIndex parent = index(static_cast<int>(g), 0);
    const auto same = [](const ProjectRow& a, const ProjectRow& b) { return a.key == b.key; };
    // The usual changes are one row more or fewer: what is the same at both ends stays where it is.
    size_t head = 0, tail = 0;
    while (head < now.size() && head < fresh.size() && same(now[head], fresh[head])) ++head;
    while (tail < now.size() - head && tail < fresh.size() - head &&
           same(now[now.size() - 1 - tail], fresh[fresh.size() - 1 - tail]))
      ++tail;
    if (const size_t gone = now.size() - head - tail; gone > 0) {
      beginRemoveRows(parent, static_cast<int>(head), static_cast<int>(head + gone - 1));
      now.erase(now.begin() + static_cast<ptrdiff_t>(head), now.begin() + static_cast<ptrdiff_t>(head + gone));
      endRemoveRows();
    }
    if (const size_t added = fresh.size() - head - tail; added > 0) {
      beginInsertRows(parent, static_cast<int>(head), static_cast<int>(head + added - 1));
      now.insert(now.begin() + static_cast<ptrdiff_t>(head), fresh.begin() + static_cast<ptrdiff_t>(head),
                 fresh.begin() + static_cast<ptrdiff_t>(head + added));
      endInsertRows();
    }
    now = std::move(fresh);
    if (!now.empty()) Q_EMIT dataChanged(index(0, 0, parent), index(static_cast<int>(now.size()) - 1, 0, parent));
    Q_EMIT dataChanged(parent, parent);
  }
}

const ProjectRow* RunTree::row(const QModelIndex& index) const {
  if (!index.isValid() || index.internalId() == kGroupId) return nullptr;
  const auto& rows = rows_[index.internalId() - 1];
  return static_cast<size_t>(index.row()) < rows.size() ? &rows[static_cast<size_t>(index.row())] : nullptr;
}

const ProjectGroup* RunTree::group(const QModelIndex& index) const {
  if (!index.isValid() || index.internalId() != kGroupId) return nullptr;
  return &projectGroups()[static_cast<size_t>(index.row())];
}

QModelIndex RunTree::find(const QString& key) const {
  for (size_t g = 0; g < rows_.size(); ++g)
    for (size_t r = 0; r < rows_[g].size(); ++r)
      if (rows_[g][r].key == key) return index(static_cast<int>(r), 0, index(static_cast<int>(g), 0));
  return {};
}

QModelIndex RunTree::index(int row, int column, const QModelIndex& parent) const {
  if (column != 0 || row < 0 || row >= rowCount(parent)) return {};
  return createIndex(row, 0, parent.isValid() ? static_cast<quintptr>(parent.row() + 1) : kGroupId);
}

QModelIndex RunTree::parent(const QModelIndex& index) const {
  if (!index.isValid() || index.internalId() == kGroupId) return {};
  return createIndex(static_cast<int>(index.internalId() - 1), 0, kGroupId);
}

int RunTree::rowCount(const QModelIndex& parent) const {
  if (!parent.isValid()) return static_cast<int>(rows_.size());
  if (parent.internalId() != kGroupId || parent.column() != 0) return 0;
  return static_cast<int>(rows_[static_cast<size_t>(parent.row())].size());
}

int RunTree::columnCount(const QModelIndex&) const { return 1; }

QVariant RunTree::data(const QModelIndex& index, int role) const {
  if (const ProjectGroup* g = group(index)) {
    if (role == Qt::DisplayRole) return g->title;
    if (role == RowRole::kHeading) return true;
    if (role == RowRole::kRight) return QString::number(rows_[static_cast<size_t>(index.row())].size());
    return {};
  }
  const ProjectRow* r = row(index);
  if (!r) return {};
  switch (role) {
    case Qt::DisplayRole: return r->title;
    case Qt::ToolTipRole: return tipText(r->tip).replace(QLatin1Char('\n'), QStringLiteral("<br/>"));
    case Qt::AccessibleTextRole:
      return QString(r->title + QStringLiteral(", ") + r->detail +
                     (r->state.isEmpty() ? QString() : QStringLiteral(", ") + r->state));
    case RowRole::kDetail: return r->detail;
    case RowRole::kRight: return r->right;
    case RowRole::kState: return r->state;
    case RowRole::kTone: return static_cast<int>(r->tone);
    case RowRole::kMark: return static_cast<int>(r->mark);
    case RowRole::kNote: return r->note;
    case RowRole::kProgress: return r->progress ? QVariant(*r->progress) : QVariant();
    default: return {};
  }
}

RunTreeFilter::RunTreeFilter(RunTree* source, QObject* parent) : QSortFilterProxyModel(parent), tree_(source) {
  setSourceModel(source);
  setDynamicSortFilter(true);
  // A group comes and goes with its rows.
  setRecursiveFilteringEnabled(true);
  sort(0);
}

void RunTreeFilter::setText(const QString& text) {
  words_ = text.split(QLatin1Char(' '), Qt::SkipEmptyParts);
  invalidateFilter();
}

void RunTreeFilter::setOrder(Order order) {
  order_ = order;
  invalidate();
}

bool RunTreeFilter::holds(const ProjectRow& row) const {
  for (const QString& word : words_) {
    bool found = false;
    for (const QString* text : {&row.title, &row.detail, &row.right, &row.state, &row.text})
      found = found || text->contains(word, Qt::CaseInsensitive);
    if (!found) return false;
  }
  return true;
}

bool RunTreeFilter::filterAcceptsRow(int row, const QModelIndex& parent) const {
  const QModelIndex index = tree_->index(row, 0, parent);
  if (const ProjectGroup* group = tree_->group(index)) return group->always;
  const ProjectRow* r = tree_->row(index);
  return r && holds(*r);
}

bool RunTreeFilter::lessThan(const QModelIndex& left, const QModelIndex& right) const {
  const ProjectRow *a = tree_->row(left), *b = tree_->row(right);
  const ProjectGroup* group = tree_->group(left.parent());
  if (!a || !b || !group || !group->sorts) return left.row() < right.row();
  int order = 0;
  switch (order_) {
    case Order::kOldest: return a->run < b->run;
    case Order::kAnalysis: order = a->analysis.localeAwareCompare(b->analysis); break;
    case Order::kModel: order = a->model.localeAwareCompare(b->model); break;
    case Order::kDataset: order = a->dataset.localeAwareCompare(b->dataset); break;
    case Order::kState: order = a->stateOrder - b->stateOrder; break;
    default: break;
  }
  return order != 0 ? order < 0 : a->run > b->run;
}

}  // namespace microtome::desktop
