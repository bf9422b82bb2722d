#include "app/desktop/panels/training/run_list.h"

#include <QLocale>
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {

void TrainingRunList::setRows(std::vector<Row> rows) {
  const auto same = [&] {
    if (rows.size() != rows_.size()) return false;
    for (size_t i = 0; i < rows.size(); ++i)
      if (rows[i].key() != rows_[i].key()) return false;
    return true;
  };
  if (same()) {
    // The selection and the place scrolled to stay.
    rows_ = std::move(rows);
    if (!rows_.empty()) Q_EMIT dataChanged(index(0, 0), index(rowCount() - 1, kColumns - 1));
    return;
  }
  beginResetModel();
  rows_ = std::move(rows);
  endResetModel();
}

void TrainingRunList::setChecked(qint64 key, bool on) {
  if (on == isChecked(key)) return;
  if (on) checked_.insert(key);
  else checked_.erase(key);
  for (size_t i = 0; i < rows_.size(); ++i)
    if (rows_[i].key() == key) Q_EMIT dataChanged(index(static_cast<int>(i), kRun), index(static_cast<int>(i), kRun), {Qt::CheckStateRole});
  Q_EMIT checksChanged();
}

int TrainingRunList::rowCount(const QModelIndex& parent) const { return parent.isValid() ? 0 : static_cast<int>(rows_.size()); }
int TrainingRunList::columnCount(const QModelIndex& parent) const { return parent.isValid() ? 0 : kColumns; }

QVariant TrainingRunList::data(const QModelIndex& at, int role) const {
  if (!at.isValid() || at.row() >= rowCount()) return {};
  const Row& r = rows_[static_cast<size_t>(at.row())];
  switch (role) {
    case Qt::DisplayRole:
      switch (at.column()) {
        case kRun: return r.run ? tr("run %1").arg(r.run) : tr("new");
        case kDictionary: return r.dictionary;
        case kL0: return r.l0;
        case kFvu: return r.fvu;
        case kRecovered: return r.recovered;
        case kDead: return r.dead;
        default: return r.state;
      }
    case Qt::CheckStateRole: return at.column() == kRun ? QVariant(isChecked(r.key()) ? Qt::Checked : Qt::Unchecked) : QVariant();
    case Qt::TextAlignmentRole:
      return QVariant::fromValue(Qt::Alignment(at.column() >= kL0 && at.column() <= kDead ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignVCenter);
    case Qt::ToolTipRole: return tipText(r.tip);
    default: return {};
  }
}

bool TrainingRunList::setData(const QModelIndex& at, const QVariant& value, int role) {
  if (role != Qt::CheckStateRole || at.column() != kRun || at.row() >= rowCount()) return false;
  setChecked(rows_[static_cast<size_t>(at.row())].key(), value.toInt() == Qt::Checked);
  return true;
}

Qt::ItemFlags TrainingRunList::flags(const QModelIndex& at) const {
  Qt::ItemFlags out = QAbstractTableModel::flags(at);
  if (at.isValid() && at.column() == kRun) out |= Qt::ItemIsUserCheckable;
  return out;
}

QVariant TrainingRunList::headerData(int section, Qt::Orientation orientation, int role) const {
  if (orientation != Qt::Horizontal || section < 0 || section >= kColumns) return {};
  if (role == Qt::TextAlignmentRole) return QVariant::fromValue(Qt::Alignment(section >= kL0 && section <= kDead ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignVCenter);
  if (role == Qt::DisplayRole) {
    switch (section) {
      case kRun: return tr("Draw");
      case kDictionary: return tr("Dictionary");
      case kL0: return tr("L0");
      case kFvu: return tr("FVU");
      case kRecovered: return tr("CE rec.");
      case kDead: return tr("Dead");
      default: return tr("State");
    }
  }
  if (role == Qt::ToolTipRole) {
    switch (section) {
      case kRun: return tr("Checked runs are drawn over each other");
      case kL0: return tr("Mean number of active features a token");
      case kFvu: return tr("Fraction of variance unexplained: squared error over the variance about the mean of all tokens");
      case kRecovered: return tr("Cross-entropy recovered: 1 when the reconstruction in the activation's place costs nothing, 0 when it is as bad as zeros");
      case kDead: return tr("Share of features that did not fire of late");
      default: return {};
    }
  }
  return {};
}

QString dictionaryText(const RunRecord* run, const TrainingFacts* facts) {
  if (facts && !facts->dictionaries.empty()) {
    const TrainingFacts::Made& first = facts->dictionaries.front();
    const qsizetype more = static_cast<qsizetype>(facts->dictionaries.size()) - 1;
    // As it was trained: kinds that choose over a batch are stored as the thresholds they come to.
    const Table* trained = facts->table("training");
    const QString kind = trained ? textOf(*trained, 0, "kind") : QString();
    QStringList parts = {kind.isEmpty() ? first.kind : kind, first.hook};
    if (first.dSae > 0) parts << TrainingRunList::tr("%1 features").arg(QLocale(QLocale::English, QLocale::UnitedStates).toString(static_cast<qint64>(first.dSae)));
    if (more > 0) parts << TrainingRunList::tr("and %1 more").arg(more);
    parts.removeAll(QString());
    return parts.join(QStringLiteral(" · "));
  }
  if (!run) return {};
  const auto param = [&](std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (const auto at = run->spec.answer_params.find(name); at != run->spec.answer_params.end() && !at->second.empty()) return labelText(at->second, 60);
    return QString();
  };
  QStringList parts = {QString::fromStdString(run->spec.analysis), param({"kind"}), param({"hook", "layers"})};
  parts.removeAll(QString());
  return parts.join(QStringLiteral(" · "));
}

void fillNumbers(TrainingRunList::Row& row, const TrainingFacts* facts) {
  const Table* table = facts ? facts->table("training") : nullptr;
  const auto range = [&](std::initializer_list<const char*> columns, double times, int digits, const QString& unit) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (size_t r = 0; table && r < table->rows.size(); ++r)
      for (const char* column : columns) {
        const double v = numberOf(*table, r, column) * times;
        if (std::isnan(v)) continue;
        low = std::min(low, v);
        high = std::max(high, v);
        break;
      }
    if (low > high) return QString();
    const QString from = numberText(low, digits), to = numberText(high, digits);
    return (from == to ? from : from + QStringLiteral(" – ") + to) + unit;
  };
  row.l0 = range({"L0"}, 1, 3, {});
  row.fvu = range({"FVU"}, 1, 2, {});
  row.recovered = range({"CE recovered"}, 1, 3, {});
  row.dead = range({"dead share", "dead"}, 100, 2, QStringLiteral(" %"));
}

}  // namespace microtome::desktop
