#include "app/desktop/views/table_view.h"

#include <QClipboard>
#include <QGuiApplication>
#include <QHeaderView>
#include <QItemSelectionModel>
#include <QKeyEvent>
#include <QLabel>
#include <QLineEdit>
#include <QMenu>
#include <QSortFilterProxyModel>
#include <QStackedWidget>
#include <QStyledItemDelegate>
#include <QTableView>
#include <QTimer>
#include <QVBoxLayout>
#include <algorithm>
#include <functional>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/plain_line.h"
#include "core/store/result_json.h"

namespace microtome::desktop {
namespace {

constexpr int kNarrowest = 6 * kGrid, kWidest = 40 * kGrid;
constexpr int kMeasuredRows = 60;

class Proxy : public QSortFilterProxyModel {
 public:
  Proxy(TableModel* model, QObject* parent) : QSortFilterProxyModel(parent), model_(model) {
    setSortRole(TableModel::kSortRole);
    setSourceModel(model);
  }
  void setText(const QString& text) {
    if (text == text_) return;
    text_ = text;
    invalidateFilter();
  }
  const QString& text() const { return text_; }

 protected:
  bool filterAcceptsRow(int row, const QModelIndex&) const override { return model_->rowHolds(row, text_); }
  bool lessThan(const QModelIndex& left, const QModelIndex& right) const override {
    // Missing values go last in both orders: whoever sorts looks for values.
    const bool noLeft = model_->isMissing(left.row(), left.column()),
               noRight = model_->isMissing(right.row(), right.column());
    if (noLeft != noRight) return sortOrder() == Qt::AscendingOrder ? noRight : noLeft;
    return model_->less(left.row(), right.row(), left.column());
  }

 private:
  TableModel* model_;
  QString text_;
};

// Numbers keep as much room to their right as the header has for its sorting arrow, so that both end below each other.
constexpr int kPadLeft = kGrid, kPadRight = 2 * kGrid + 2;

// What is missing is muted, in either theme.
class Delegate : public QStyledItemDelegate {
 public:
  using QStyledItemDelegate::QStyledItemDelegate;

  void paint(QPainter* painter, const QStyleOptionViewItem& given, const QModelIndex& index) const override {
    QStyleOptionViewItem option = given;
    initStyleOption(&option, index);
    const QString text = option.text;
    option.text.clear();
    // The row is selected, not a cell of it.
    option.state &= ~QStyle::State_HasFocus;
    const QStyle* style = option.widget ? option.widget->style() : QApplication::style();
    style->drawControl(QStyle::CE_ItemViewItem, &option, painter, option.widget);
    const Theme& theme = Theme::of(option.widget);
    const bool missing = index.data(TableModel::kMissingRole).toBool();
    const bool right = option.displayAlignment & Qt::AlignRight;
    const QRect inner = option.rect.adjusted(kPadLeft, 0, right ? -kPadRight : -kPadLeft, 0);
    painter->save();
    painter->setFont(option.font);
    painter->setPen(missing ? theme.muted : theme.text);
    painter->drawText(inner, static_cast<int>(option.displayAlignment) | Qt::TextSingleLine,
                      option.fontMetrics.elidedText(text, Qt::ElideRight, inner.width()));
    painter->restore();
  }
  QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const override {
    return QStyledItemDelegate::sizeHint(option, index) + QSize(kPadLeft + kPadRight, 0);
  }
};

// Copying takes whole rows, and sizes are reported.
class Grid : public QTableView {
 public:
  using QTableView::QTableView;
  std::function<void()> copy, resized;

 protected:
  void keyPressEvent(QKeyEvent* event) override {
    if (event->matches(QKeySequence::Copy) && copy) {
      copy();
      event->accept();
      return;
    }
    QTableView::keyPressEvent(event);
  }
  void resizeEvent(QResizeEvent* event) override {
    QTableView::resizeEvent(event);
    if (resized) resized();
  }
};

QString pasteable(const Cell* cell) {
  if (!cell) return {};
  if (const auto* i = std::get_if<int64_t>(cell)) return QString::number(*i);
  if (const auto* d = std::get_if<double>(cell)) return QString::number(*d, 'g', QLocale::FloatingPointShortest);
  const auto* s = std::get_if<std::string>(cell);
  QString text = s ? QString::fromStdString(*s) : QString();
  // A break inside a cell would start a new one.
  for (QChar& c : text)
    if (c == QLatin1Char('\t') || c == QLatin1Char('\n') || c == QLatin1Char('\r')) c = QLatin1Char(' ');
  return text;
}

}  // namespace

struct TableView::Impl {
  TableView* view = nullptr;
  std::shared_ptr<const Table> table;
  TableModel* model = nullptr;
  Proxy* proxy = nullptr;
  Grid* grid = nullptr;
  QWidget* bar = nullptr;
  QLineEdit* field = nullptr;
  QLabel *count = nullptr, *empty = nullptr;
  QStackedWidget* stack = nullptr;
  QTimer typing;
  QString emptyText;
  std::vector<int> natural;                            // wished column widths
  bool sizing = false, sizedByHand = false;

  void build();
  void measure();
  void fit();
  void say();
  int sourceRow(const QModelIndex& shown) const { return shown.isValid() ? proxy->mapToSource(shown).row() : -1; }
};

void TableView::Impl::build() {
  model = new TableModel(view);
  proxy = new Proxy(model, view);
  grid = new Grid(view);
  grid->setModel(proxy);
  grid->setItemDelegate(new Delegate(grid));
  grid->setAlternatingRowColors(true);
  grid->setShowGrid(false);
  grid->setWordWrap(false);
  grid->setFrameShape(QFrame::NoFrame);
  grid->setSelectionBehavior(QAbstractItemView::SelectRows);
  grid->setSelectionMode(QAbstractItemView::ExtendedSelection);
  grid->setEditTriggers(QAbstractItemView::NoEditTriggers);
  grid->setHorizontalScrollMode(QAbstractItemView::ScrollPerPixel);
  grid->setTabKeyNavigation(false);
  grid->setCornerButtonEnabled(false);
  grid->setContextMenuPolicy(Qt::NoContextMenu);
  grid->verticalHeader()->hide();
  grid->verticalHeader()->setSectionResizeMode(QHeaderView::Fixed);
  QHeaderView* header = grid->horizontalHeader();
  header->setHighlightSections(false);
  header->setTextElideMode(Qt::ElideRight);
  header->setMinimumSectionSize(4 * kGrid);
  header->setStyleSheet(QStringLiteral("QHeaderView::section { padding: 4px %1px 4px %2px; }").arg(kPadRight).arg(kPadLeft));
  header->setContextMenuPolicy(Qt::NoContextMenu);
  header->setSectionsClickable(true);
  // Unsorted until someone asks: the analysis gives rows in an order of its own.
  proxy->sort(-1);
  header->setSortIndicator(-1, Qt::AscendingOrder);
  header->setSortIndicatorClearable(true);
  grid->setSortingEnabled(true);

  field = new QLineEdit(view);
  field->setPlaceholderText(tr("Filter rows"));
  field->setClearButtonEnabled(true);
  field->setTextMargins(kGrid / 2, 2, 0, 2);
  field->setAccessibleName(tr("Filter rows"));
  count = new QLabel(view);
  count->setProperty("role", QStringLiteral("muted"));
  bar = new QWidget(view);
  auto* row = new QHBoxLayout(bar);
  row->setContentsMargins(kGrid, kGrid, kGrid, kGrid);
  row->setSpacing(kGrid);
  row->addWidget(field, 1);
  row->addWidget(count);

  empty = new QLabel(view);
  empty->setProperty("role", QStringLiteral("muted"));
  empty->setAlignment(Qt::AlignCenter);
  empty->setWordWrap(true);
  empty->setTextFormat(Qt::PlainText);
  empty->setMargin(2 * kGrid);
  empty->setBackgroundRole(QPalette::Base);
  empty->setAutoFillBackground(true);
  stack = new QStackedWidget(view);
  stack->addWidget(grid);
  stack->addWidget(empty);
  auto* box = new QVBoxLayout(view);
  box->setContentsMargins(0, 0, 0, 0);
  box->setSpacing(0);
  box->addWidget(bar);
  box->addWidget(stack, 1);
  view->setFocusProxy(grid);
  emptyText = tr("No table yet: run an analysis or pick a stored run.");

  typing.setSingleShot(true);
  typing.setInterval(120);
}

void TableView::Impl::measure() {
  grid->verticalHeader()->setDefaultSectionSize(grid->fontMetrics().height() + kGrid);
  grid->horizontalHeader()->setResizeContentsPrecision(kMeasuredRows);
  sizing = true;
  grid->resizeColumnsToContents();
  natural.assign(static_cast<size_t>(model->columnCount()), 0);
  for (int c = 0; c < model->columnCount(); ++c)
    natural[static_cast<size_t>(c)] = std::clamp(grid->columnWidth(c), kNarrowest, kWidest);
  sizing = false;
  sizedByHand = false;
  fit();
}

// What is left of the width goes to texts, or in small parts to all columns; numbers far from their header can't be read.
void TableView::Impl::fit() {
  if (sizing || sizedByHand || natural.empty() || static_cast<int>(natural.size()) != model->columnCount()) return;
  int used = 0, texts = 0;
  for (size_t c = 0; c < natural.size(); ++c) {
    used += natural[c];
    texts += !model->isNumeric(static_cast<int>(c));
  }
  const int columns = static_cast<int>(natural.size());
  const int spare = std::max(0, grid->viewport()->width() - used);
  const int each = std::min(spare / columns, 6 * kGrid);
  int rest = spare - each * columns;
  int textLeft = texts;
  sizing = true;
  for (int c = 0; c < columns; ++c) {
    int width = natural[static_cast<size_t>(c)] + each;
    if (!model->isNumeric(c) && textLeft > 0) {
      const int part = rest / textLeft--;
      width += part;
      rest -= part;
    }
    grid->setColumnWidth(c, width);
  }
  sizing = false;
}

void TableView::Impl::say() {
  const int all = model->rowCount(), seen = proxy->rowCount();
  QString text;
  if (all == 0 || model->columnCount() == 0) text = table ? tr("This table has no rows.") : emptyText;
  else if (seen == 0) text = tr("No row holds “%1”: shorten or clear the filter.").arg(plainLine(proxy->text(), 60));
  empty->setText(text);
  stack->setCurrentWidget(text.isEmpty() ? static_cast<QWidget*>(grid) : empty);
  count->setText(all == 0 ? QString()
                 : seen == all ? tr("%L1 rows").arg(all)
                               : tr("%L1 of %L2 rows").arg(seen).arg(all));
}

TableView::TableView(QWidget* parent) : View(parent), impl_(std::make_unique<Impl>()) {
  Impl& d = *impl_;
  d.view = this;
  d.build();
  d.grid->copy = [this] {
    if (const QString rows = selectedRows(); !rows.isEmpty()) QGuiApplication::clipboard()->setText(rows);
  };
  d.grid->resized = [this] { impl_->fit(); };
  connect(d.grid->horizontalHeader(), &QHeaderView::sectionResized, this, [this] {
    if (!impl_->sizing) impl_->sizedByHand = true;
  });
  connect(d.grid->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
          [this](const QModelIndex& now) { Q_EMIT rowSelected(impl_->sourceRow(now)); });
  connect(d.grid, &QTableView::activated, this, [this](const QModelIndex& index) {
    if (const int row = impl_->sourceRow(index); row >= 0) Q_EMIT rowActivated(row);
  });
  connect(d.field, &QLineEdit::textChanged, this, [this] { impl_->typing.start(); });
  connect(d.field, &QLineEdit::returnPressed, this, [this] { impl_->grid->setFocus(Qt::TabFocusReason); });
  connect(&d.typing, &QTimer::timeout, this, [this] {
    impl_->proxy->setText(impl_->field->text());
    impl_->say();
  });
  d.say();
}

TableView::~TableView() = default;

void TableView::setTable(std::shared_ptr<const Table> table) {
  Impl& d = *impl_;
  // The same columns again (a run that fills): order, filter and widths stay.
  const bool same = d.table && table && !d.natural.empty() && !d.table->rows.empty() &&
                    std::equal(d.table->columns.begin(), d.table->columns.end(), table->columns.begin(),
                               table->columns.end(),
                               [](const Column& a, const Column& b) { return a.name == b.name; });
  d.table = std::move(table);
  if (!same) {
    d.grid->horizontalHeader()->setSortIndicator(-1, Qt::AscendingOrder);
    d.proxy->sort(-1);
  }
  d.model->setTable(d.table);
  if (!same || d.natural.size() != static_cast<size_t>(d.model->columnCount())) d.measure();
  d.say();
}

void TableView::setFilter(const QString& text) {
  Impl& d = *impl_;
  d.field->setText(text);
  d.typing.stop();
  d.proxy->setText(text);
  d.say();
}

void TableView::setFilterVisible(bool on) { impl_->bar->setVisible(on); }

void TableView::setEmptyText(const QString& text) {
  impl_->emptyText = text;
  impl_->say();
}

QTableView* TableView::table() const { return impl_->grid; }

TableModel* TableView::model() const { return impl_->model; }

QString TableView::selectedRows() const {
  const Impl& d = *impl_;
  QModelIndexList rows = d.grid->selectionModel()->selectedRows();
  if (rows.isEmpty()) return {};
  std::sort(rows.begin(), rows.end(), [](const QModelIndex& a, const QModelIndex& b) { return a.row() < b.row(); });
  QString out;
  const int columns = d.model->columnCount();
  const auto tab = [](int c) { return c ? QStringLiteral("\t") : QString(); };
  for (int c = 0; c < columns; ++c) out += tab(c) + d.model->headerData(c, Qt::Horizontal, Qt::DisplayRole).toString();
  out += QLatin1Char('\n');
  for (const QModelIndex& index : rows) {
    const int row = d.sourceRow(index);
    for (int c = 0; c < columns; ++c) out += tab(c) + pasteable(d.model->cell(row, c));
    out += QLatin1Char('\n');
  }
  return out;
}

QString TableView::csv() const { return impl_->table ? QString::fromStdString(table_to_csv(*impl_->table)) : QString(); }

void TableView::addActions(QMenu& menu) {
  Impl& d = *impl_;
  QAction* copy = menu.addAction(tr("Copy selected rows"), this, [this] { impl_->grid->copy(); });
  copy->setObjectName(QStringLiteral("copy_rows"));
  copy->setEnabled(d.grid->selectionModel()->hasSelection());
  menu.addAction(tr("Fit columns"), this, [this] { impl_->measure(); })->setEnabled(d.model->columnCount() > 0);
  menu.addAction(tr("Original order"), this, [this] {
    impl_->grid->horizontalHeader()->setSortIndicator(-1, Qt::AscendingOrder);
    impl_->proxy->sort(-1);
  })->setEnabled(d.proxy->sortColumn() >= 0);
}

}  // namespace microtome::desktop
