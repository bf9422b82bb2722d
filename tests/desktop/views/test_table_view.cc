#include "app/desktop/views/table_view.h"

#include <gtest/gtest.h>

#include <QAbstractItemModelTester>
#include <QApplication>
#include <QClipboard>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QMenu>
#include <QSignalSpy>
#include <QTableView>
#include <QtTest/QTest>
#include <cmath>
#include <random>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

std::shared_ptr<Table> smallTable() {
  auto t = std::make_shared<Table>();
  t->columns = {{"head", "", "Layer and head"}, {"effect", "logits", "Change of the metric"},
                 {"top_token", "", ""}, {"n", "", ""}};
  t->rows = {{std::string("a10.h1"), 0.123456, std::string(" Mary"), int64_t{3}},
             {std::string("a2.h1"), Cell(), std::string("\n"), int64_t{1234567}},
             {std::string("a2.h10"), -7.5, std::string(" John"), int64_t{-2}},
             {std::string("a2.h9"), std::nan(""), std::string(" x\ty"), int64_t{0}}};
  return t;
}

// Rows of the table itself in the order shown.
std::vector<int> order(const TableView& view) {
  std::vector<int> out;
  const QAbstractItemModel* model = view.table()->model();
  for (int r = 0; r < model->rowCount(); ++r) {
    const QString head = model->index(r, 0).data().toString();
    for (size_t i = 0; i < view.model()->table()->rows.size(); ++i)
      if (std::get<std::string>(view.model()->table()->rows[i][0]) == head.toStdString()) out.push_back(static_cast<int>(i));
  }
  return out;
}

TEST(TableModel, KeepsTheRulesOfModels) {
  TableModel model;
  QAbstractItemModelTester tester(&model, QAbstractItemModelTester::FailureReportingMode::Fatal);
  model.setTable(smallTable());
  EXPECT_EQ(model.rowCount(), 4);
  EXPECT_EQ(model.rowCount(model.index(0, 0)), 0);
  auto ragged = std::make_shared<Table>();
  ragged->columns = {{"a", "", ""}, {"b", "", ""}};
  ragged->rows = {{}, {int64_t{1}}, {1.0, std::string("x"), std::string("beyond")}};
  model.setTable(ragged);
  for (int r = 0; r < model.rowCount(); ++r)
    for (int c = 0; c < model.columnCount(); ++c)
      for (int role : {int(Qt::DisplayRole), int(Qt::ToolTipRole), int(Qt::TextAlignmentRole), int(TableModel::kSortRole)})
        model.data(model.index(r, c), role);
  model.setTable(nullptr);
  EXPECT_EQ(model.columnCount(), 0);
}

TEST(TableModel, ShowsNumbersTokensUnitsAndHelp) {
  TableModel model;
  model.setTable(smallTable());
  EXPECT_EQ(model.headerData(1, Qt::Horizontal, Qt::DisplayRole).toString(), QStringLiteral("effect (logits)"));
  EXPECT_TRUE(model.headerData(1, Qt::Horizontal, Qt::ToolTipRole).toString().contains(
      QStringLiteral("Change of the metric")));
  EXPECT_EQ(model.index(0, 1).data().toString(), QStringLiteral("0.1235"));
  EXPECT_EQ(model.index(1, 1).data().toString(), QStringLiteral("–"));
  EXPECT_EQ(model.index(1, 3).data().toString(), QStringLiteral("1234567"));
  EXPECT_EQ(model.index(0, 2).data().toString(), QStringLiteral("·Mary"));
  EXPECT_EQ(model.index(1, 2).data().toString(), QStringLiteral("⏎"));
  EXPECT_EQ(model.index(0, 2).data(Qt::FontRole).value<QFont>(), monoFont());
  EXPECT_FALSE(model.index(0, 0).data(Qt::FontRole).isValid());
  EXPECT_TRUE(model.index(0, 1).data(Qt::TextAlignmentRole).value<Qt::Alignment>() & Qt::AlignRight);
  EXPECT_TRUE(model.index(1, 1).data(Qt::TextAlignmentRole).value<Qt::Alignment>() & Qt::AlignRight);
  EXPECT_TRUE(model.index(0, 0).data(Qt::TextAlignmentRole).value<Qt::Alignment>() & Qt::AlignLeft);
  EXPECT_TRUE(model.index(0, 1).data(Qt::ToolTipRole).toString().contains(QStringLiteral("0.123456 logits")));
  EXPECT_EQ(model.index(2, 1).data(TableModel::kSortRole).toDouble(), -7.5);
  EXPECT_FALSE(model.index(3, 1).data(TableModel::kSortRole).isValid());
}

TEST(TableView, SortsNumbersAsNumbersMissingLast) {
  TableView view;
  view.setTable(smallTable());
  EXPECT_EQ(order(view), (std::vector<int>{0, 1, 2, 3})) << "as given, until someone sorts";
  view.table()->sortByColumn(1, Qt::AscendingOrder);
  EXPECT_EQ(order(view), (std::vector<int>{2, 0, 1, 3}));
  view.table()->sortByColumn(1, Qt::DescendingOrder);
  EXPECT_EQ(order(view), (std::vector<int>{0, 2, 1, 3}));
  view.table()->sortByColumn(0, Qt::AscendingOrder);
  EXPECT_EQ(order(view), (std::vector<int>{1, 3, 2, 0})) << "numbers in names by value";
  view.table()->sortByColumn(3, Qt::DescendingOrder);
  EXPECT_EQ(order(view), (std::vector<int>{1, 0, 3, 2}));
}

TEST(TableView, AnyShuffledTableSortsRight) {
  TableView view;
  QAbstractItemModelTester tester(view.table()->model(), QAbstractItemModelTester::FailureReportingMode::Fatal);
  std::mt19937 rng(11);
  std::uniform_real_distribution<double> real(-100, 100);
  for (int round = 0; round < 12; ++round) {
    auto t = std::make_shared<Table>();
    t->columns = {{"i", "", ""}, {"v", "", ""}, {"mixed", "", ""}};
    for (int64_t i = 0; i < 60; ++i)
      t->rows.push_back({i, rng() % 5 ? Cell(real(rng)) : rng() % 2 ? Cell() : Cell(std::nan("")),
                         rng() % 3 ? Cell(static_cast<int64_t>(rng() % 50)) :
                             Cell(std::string("t") + std::to_string(rng() % 20))});
    std::shuffle(t->rows.begin(), t->rows.end(), rng);
    view.setTable(t);
    const int column = static_cast<int>(rng() % 3);
    const auto direction = rng() % 2 ? Qt::AscendingOrder : Qt::DescendingOrder;
    view.table()->sortByColumn(column, direction);
    const QAbstractItemModel* model = view.table()->model();
    ASSERT_EQ(model->rowCount(), 60);
    bool gone = false;
    for (int r = 0; r < 60; ++r) {
      const bool missing = model->index(r, column).data(TableModel::kMissingRole).toBool();
      EXPECT_FALSE(gone && !missing) << "a value after a missing one";
      gone = gone || missing;
      if (r == 0 || missing) continue;
      const QVariant a = model->index(r - 1, column).data(TableModel::kSortRole),
                     b = model->index(r, column).data(TableModel::kSortRole);
      const bool textA = a.typeId() == QMetaType::QString, textB = b.typeId() == QMetaType::QString;
      const bool up = direction == Qt::AscendingOrder;
      const auto number = [](const QVariant& v, bool text) { return text ? v.toString().mid(1).toInt() : v.toDouble(); };
      if (textA != textB) {
        EXPECT_EQ(textB, up) << "numbers before texts";
      } else {
        EXPECT_TRUE(up ? number(a, textA) <= number(b, textB) : number(a, textA) >= number(b, textB));
      }
    }
  }
}

TEST(TableView, FiltersByWhatIsShownOrStored) {
  TableView view;
  view.setTable(smallTable());
  const auto rows = [&](const char* text) {
    view.setFilter(QString::fromUtf8(text));
    return view.table()->model()->rowCount();
  };
  EXPECT_EQ(rows("mary"), 1);
  EXPECT_EQ(rows("·Mary"), 1);
  EXPECT_EQ(rows("-7.5"), 1);
  EXPECT_EQ(rows("A2.H1"), 2);
  EXPECT_EQ(rows("nowhere"), 0);
  EXPECT_EQ(rows(""), 4);
  // Typing works as well, a moment later.
  auto* field = view.findChild<QLineEdit*>();
  QTest::keyClicks(field, QStringLiteral("john"));
  EXPECT_TRUE(QTest::qWaitFor([&] { return view.table()->model()->rowCount() == 1; }, 2000));
  view.show();
  view.setFilterVisible(false);
  EXPECT_FALSE(field->isVisible());
}

TEST(TableView, EmptyStatesSayWhy) {
  TableView view;
  view.resize(400, 300);
  view.setEmptyText(QStringLiteral("Pick a run."));
  view.show();
  const auto said = [&](const char* text) {
    for (const QLabel* label : view.findChildren<QLabel*>())
      if (label->isVisible() && label->text().contains(QString::fromUtf8(text))) return true;
    return false;
  };
  EXPECT_TRUE(said("Pick a run."));
  view.setTable(std::make_shared<Table>());
  EXPECT_TRUE(said("no rows"));
  view.setTable(smallTable());
  EXPECT_TRUE(view.table()->isVisible());
  EXPECT_TRUE(said("4 rows"));
  view.setFilter(QStringLiteral("nowhere"));
  EXPECT_TRUE(said("nowhere"));
  EXPECT_FALSE(view.table()->isVisible());
}

TEST(TableView, CopiesRowsAsShownWithHeader) {
  TableView view;
  view.setTable(smallTable());
  view.show();
  view.table()->sortByColumn(1, Qt::AscendingOrder);
  view.table()->selectAll();
  view.table()->selectionModel()->select(view.table()->model()->index(0, 0),
                                          QItemSelectionModel::Deselect | QItemSelectionModel::Rows);
  QTest::keyClick(view.table(), Qt::Key_C, Qt::ControlModifier);
  EXPECT_EQ(QApplication::clipboard()->text(), QStringLiteral("head\teffect (logits)\ttop_token\tn\n"
                                                              "a10.h1\t0.123456\t Mary\t3\n"
                                                              "a2.h1\t\t \t1234567\n"
                                                              "a2.h9\tnan\t x y\t0\n"));
  const std::unique_ptr<QMenu> menu(view.makeMenu(nullptr));
  const auto* copy = menu->findChild<QAction*>(QStringLiteral("copy_rows"));
  ASSERT_NE(copy, nullptr);
  EXPECT_TRUE(copy->isEnabled());
}

TEST(TableView, TellsTheRowOfTheTableItself) {
  TableView view;
  view.setTable(smallTable());
  view.show();
  QSignalSpy selected(&view, &TableView::rowSelected), activated(&view, &TableView::rowActivated);
  view.table()->sortByColumn(1, Qt::AscendingOrder);
  view.table()->setCurrentIndex(view.table()->model()->index(0, 0));
  ASSERT_EQ(selected.count(), 1);
  EXPECT_EQ(selected[0][0].toLongLong(), 2);
  QTest::keyClick(view.table(), Qt::Key_Return);
  ASSERT_EQ(activated.count(), 1);
  EXPECT_EQ(activated[0][0].toLongLong(), 2);
}

TEST(TableView, SameColumnsKeepTheOrder) {
  TableView view;
  view.setTable(smallTable());
  view.table()->sortByColumn(3, Qt::AscendingOrder);
  auto more = smallTable();
  more->rows.push_back({std::string("z"), 1.0, std::string(" y"), int64_t{-100}});
  view.setTable(more);
  EXPECT_EQ(order(view).front(), 4);
  auto other = smallTable();
  other->columns[0].name = "other";
  view.setTable(other);
  EXPECT_EQ(order(view), (std::vector<int>{0, 1, 2, 3}));
}

TEST(TableView, ColumnsAreBoundedAndUseTheWidth) {
  auto t = smallTable();
  t->rows[0][0] = std::string(5000, 'w');
  TableView view;
  view.resize(1400, 400);
  view.show();
  view.setTable(t);
  int sum = 0;
  for (int c = 0; c < 4; ++c) sum += view.table()->columnWidth(c);
  EXPECT_EQ(sum, view.table()->viewport()->width());
  view.resize(300, 400);
  QTest::qWait(10);
  EXPECT_LE(view.table()->columnWidth(0), 400);
  EXPECT_GE(view.table()->columnWidth(3), 40);
}

TEST(TableView, CsvIsTheWholeTable) {
  TableView view;
  EXPECT_TRUE(view.csv().isEmpty());
  view.setTable(smallTable());
  view.setFilter(QStringLiteral("Mary"));
  EXPECT_TRUE(view.csv().startsWith(
      QStringLiteral("head,effect,top_token,n\na10.h1,0.123456,\" Mary\",3\na2.h1,,\"\n\",1234567\n")));
}

}  // namespace
}  // namespace microtome::desktop
