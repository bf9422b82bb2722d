#include <QFont>
#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/plain_line.h"
#include "app/desktop/views/table_view.h"

namespace microtome::desktop {
namespace {

constexpr size_t kSample = 200;                        // rows by which a column is judged
constexpr int kMostShown = 300;                        // characters of a cell

bool noValue(const Cell* cell) {
  if (!cell || std::holds_alternative<std::monostate>(*cell)) return true;
  const double* d = std::get_if<double>(cell);
  return d && std::isnan(*d);
}

double numberOf(const Cell& cell) {
  if (const auto* i = std::get_if<int64_t>(&cell)) return static_cast<double>(*i);
  return std::get<double>(cell);
}

QString wholeNumber(int64_t value) { return QString::number(value).replace(QLatin1Char('-'), QChar(0x2212)); }

// Decoded only as far as it is shown: a cell may hold a whole document.
QString textOf(const std::string& text, int most = kMostShown) {
  const size_t bytes = std::min(text.size(), static_cast<size_t>(most) * 4 + 4);
  return QString::fromUtf8(text.data(), static_cast<qsizetype>(bytes));
}

bool isDigit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Runs of digits by value, letters without case; equal then: by bytes.
int compareNaturally(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (isDigit(a[i]) && isDigit(b[j])) {
      while (i < a.size() && a[i] == '0') ++i;
      while (j < b.size() && b[j] == '0') ++j;
      size_t ie = i, je = j;
      while (ie < a.size() && isDigit(a[ie])) ++ie;
      while (je < b.size() && isDigit(b[je])) ++je;
      if (ie - i != je - j) return ie - i < je - j ? -1 : 1;
      if (const int order = a.substr(i, ie - i).compare(b.substr(j, je - j))) return order;
      i = ie;
      j = je;
      continue;
    }
    const auto x = static_cast<unsigned char>(lower(a[i])), y = static_cast<unsigned char>(lower(b[j]));
    if (x != y) return x < y ? -1 : 1;
    ++i;
    ++j;
  }
  if (i < a.size() || j < b.size()) return i < a.size() ? 1 : -1;
  return a.compare(b);
}

bool holds(const QString& in, const QString& text) { return in.contains(text, Qt::CaseInsensitive); }

}  // namespace

TableModel::TableModel(QObject* parent) : QAbstractTableModel(parent) {}

void TableModel::setTable(std::shared_ptr<const Table> table) {
  beginResetModel();
  table_ = std::move(table);
  looks_.assign(table_ ? table_->columns.size() : 0, {});
  for (size_t c = 0; c < looks_.size(); ++c) {
    size_t numbers = 0, texts = 0, blanks = 0;
    for (size_t r = 0; r < std::min(kSample, table_->rows.size()); ++r) {
      const Cell* value = cell(static_cast<int>(r), static_cast<int>(c));
      if (!value || std::holds_alternative<std::monostate>(*value)) continue;
      if (const auto* s = std::get_if<std::string>(value)) {
        ++texts;
        blanks += !s->empty() && (s->front() == ' ' || s->front() == '\n' || s->front() == '\t');
      } else {
        ++numbers;
      }
    }
    looks_[c].numeric = numbers > texts;
    const QString name = textOf(table_->columns[c].name);
    looks_[c].token = texts > 0 && !looks_[c].numeric && (blanks > 0 || holds(name, QStringLiteral("token")));
  }
  endResetModel();
}

const Cell* TableModel::cell(int row, int column) const {
  if (!table_ || row < 0 || column < 0 || static_cast<size_t>(row) >= table_->rows.size()) return nullptr;
  const auto& cells = table_->rows[static_cast<size_t>(row)];
  return static_cast<size_t>(column) < cells.size() ? &cells[static_cast<size_t>(column)] : nullptr;
}

bool TableModel::isMissing(int row, int column) const { return noValue(cell(row, column)); }

bool TableModel::isNumeric(int column) const {
  return column >= 0 && static_cast<size_t>(column) < looks_.size() && looks_[static_cast<size_t>(column)].numeric;
}

bool TableModel::isToken(int column) const {
  return column >= 0 && static_cast<size_t>(column) < looks_.size() && looks_[static_cast<size_t>(column)].token;
}

int TableModel::rowCount(const QModelIndex& parent) const {
  if (parent.isValid() || !table_) return 0;
  return static_cast<int>(std::min<size_t>(table_->rows.size(), std::numeric_limits<int>::max()));
}

int TableModel::columnCount(const QModelIndex& parent) const {
  if (parent.isValid() || !table_) return 0;
  return static_cast<int>(std::min<size_t>(table_->columns.size(), 10000));
}

QString TableModel::shown(const Cell& value, int column) const {
  if (noValue(&value)) return QString(QChar(0x2013));
  if (const auto* i = std::get_if<int64_t>(&value)) return wholeNumber(*i);
  if (const auto* d = std::get_if<double>(&value)) return numberText(*d);
  const QString text = textOf(std::get<std::string>(value));
  if (!isToken(column)) return plainLine(text, kMostShown);
  return visibleToken(text.left(kMostShown)) + (text.size() > kMostShown ? QString(QChar(0x2026)) : QString());
}

bool TableModel::rowHolds(int row, const QString& text) const {
  if (text.isEmpty()) return true;
  // Numbers are shown with a true minus sign; no number holds a letter but the e of an exponent.
  QString number = text.trimmed();
  number.replace(QLatin1Char('-'), QChar(0x2212));
  const bool maybeNumber = !number.isEmpty() && std::all_of(number.cbegin(), number.cend(), [](QChar c) {
    return c.isDigit() || QStringLiteral("−+.e–∞").contains(c, Qt::CaseInsensitive);
  });
  for (int c = 0, n = columnCount(); c < n; ++c) {
    const Cell* value = cell(row, c);
    if (!value) continue;
    if (const auto* s = std::get_if<std::string>(value)) {
      const QString raw = QString::fromStdString(*s);
      if (holds(raw, text) || (isToken(c) && holds(shown(*value, c), text))) return true;
    } else if (maybeNumber && holds(shown(*value, c), number)) {
      return true;
    }
  }
  return false;
}

bool TableModel::less(int leftRow, int rightRow, int column) const {
  const Cell *left = cell(leftRow, column), *right = cell(rightRow, column);
  if (noValue(left) || noValue(right)) return false;
  const auto* leftText = std::get_if<std::string>(left);
  const auto* rightText = std::get_if<std::string>(right);
  if (leftText && rightText) return compareNaturally(*leftText, *rightText) < 0;
  if (leftText || rightText) return !leftText;
  const auto* leftWhole = std::get_if<int64_t>(left);
  const auto* rightWhole = std::get_if<int64_t>(right);
  if (leftWhole && rightWhole) return *leftWhole < *rightWhole;  // exact beyond 2^53
  return numberOf(*left) < numberOf(*right);
}

QVariant TableModel::data(const QModelIndex& index, int role) const {
  if (!checkIndex(index, CheckIndexOption::IndexIsValid | CheckIndexOption::ParentIsInvalid)) return {};
  const Cell* value = cell(index.row(), index.column());
  const bool missing = noValue(value);
  switch (role) {
    case Qt::DisplayRole:
      return value ? shown(*value, index.column()) : QString(QChar(0x2013));
    case Qt::TextAlignmentRole: {
      const bool text = missing ? !isNumeric(index.column()) : std::holds_alternative<std::string>(*value);
      return QVariant::fromValue(Qt::Alignment((text ? Qt::AlignLeft : Qt::AlignRight) | Qt::AlignVCenter));
    }
    case Qt::FontRole:
      return isToken(index.column()) ? QVariant(monoFont()) : QVariant();
    case Qt::ToolTipRole: {
      if (missing) return tr("No value");
      if (const auto* s = std::get_if<std::string>(value)) {
        const QString text = textOf(*s, 2000);
        const QString line = isToken(index.column()) ? quotedToken(text) : plainLine(text, 2000);
        return QStringLiteral("<p>%1</p>").arg(line.toHtmlEscaped());
      }
      const QString unit = plainLine(textOf(table_->columns[static_cast<size_t>(index.column())].unit), 60);
      const auto* i = std::get_if<int64_t>(value);
      const QString number = i ? QString::number(*i) : QString::number(std::get<double>(*value), 'g', 12);
      return QStringLiteral("<p>%1 %2</p>").arg(number, unit.toHtmlEscaped());
    }
    case kMissingRole:
      return missing;
    case kSortRole:
      if (missing) return {};
      if (const auto* i = std::get_if<int64_t>(value)) return QVariant::fromValue<qlonglong>(*i);
      if (const auto* d = std::get_if<double>(value)) return *d;
      return QString::fromStdString(std::get<std::string>(*value));
    default:
      return {};
  }
}

QVariant TableModel::headerData(int section, Qt::Orientation orientation, int role) const {
  if (orientation == Qt::Vertical) return role == Qt::DisplayRole ? QVariant(section + 1) : QVariant();
  if (section < 0 || section >= columnCount()) return {};
  const Column& column = table_->columns[static_cast<size_t>(section)];
  const QString name = plainLine(textOf(column.name), 120);
  switch (role) {
    case Qt::DisplayRole:
      return column.unit.empty() ? name : QStringLiteral("%1 (%2)").arg(name, plainLine(textOf(column.unit), 60));
    case Qt::ToolTipRole: {
      const QString help = plainLine(textOf(column.help, 2000), 2000);
      return QStringLiteral("<p><b>%1</b></p><p>%2</p>").arg(name.toHtmlEscaped(), help.toHtmlEscaped());
    }
    case Qt::TextAlignmentRole:
      return QVariant::fromValue(Qt::Alignment((isNumeric(section) ? Qt::AlignRight : Qt::AlignLeft) | Qt::AlignVCenter));
    default:
      return {};
  }
}

}  // namespace microtome::desktop
