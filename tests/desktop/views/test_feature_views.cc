// Features to look through: the search against a plain reading of its words, the list, the dashboard, labels, links.
#include <QAbstractItemModelTester>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QSignalSpy>
#include <QTableView>
#include <QtTest/QTest>

#include <gtest/gtest.h>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/feature_search.h"
#include "app/desktop/views/feature_set_view.h"
#include "app/desktop/views/token_strip.h"
#include "tests/desktop/views/feature_samples.h"

namespace microtome::desktop {
namespace {

std::shared_ptr<const FeatureSet> sample(int count = 12) { return std::make_shared<const FeatureSet>(sampleFeatures(count)); }

std::vector<int64_t> found(const FeatureSet& set, const char* query) {
  std::vector<int64_t> out;
  for (int row : findFeatures(set, parse_feature_query(query))) out.push_back(set.features[static_cast<size_t>(row)].index);
  return out;
}

struct Open {
  FeatureSetView view;
  explicit Open(std::shared_ptr<const FeatureSet> set) {
    view.resize(1000, 640);
    view.setTitle(QStringLiteral("Features"));
    view.show();
    EXPECT_TRUE(QTest::qWaitForWindowExposed(&view));
    view.setSet(std::move(set));
  }
  int rows() const { return view.list()->model()->rowCount(); }
  QString cell(int row, int column) const { return view.list()->model()->index(row, column).data().toString(); }
  void type(const char* text) {
    view.searchField()->setFocus();
    view.searchField()->clear();
    QTest::keyClicks(view.searchField(), QLatin1String(text));
    QTest::qWait(250);
  }
};

TEST(FeatureSearch, FindsWhatTheWordsSay) {
  const FeatureSet set = sampleFeatures(16);
  EXPECT_EQ(found(set, "").size(), 16u);
  // Token 1 is " king": features i with i % 8 == 1 that fire.
  EXPECT_EQ(found(set, "token:king"), (std::vector<int64_t>{3, 27}));
  EXPECT_EQ(found(set, "token:\" king\""), (std::vector<int64_t>{3, 27}));
  EXPECT_TRUE(found(set, "token:\"king\"").empty());             // exactly, with its blank
  EXPECT_EQ(found(set, "label:ROYAL"), (std::vector<int64_t>{3}));
  EXPECT_EQ(found(set, "label:\"\""), (std::vector<int64_t>{3}));
  EXPECT_EQ(found(set, "royalty max>1"), (std::vector<int64_t>{3}));
  EXPECT_EQ(found(set, "index<=6"), (std::vector<int64_t>{0, 3, 6}));
  // Texts run over the borders of tokens: by hand, over the same examples.
  std::vector<int64_t> want;
  for (const FeatureSet::Feature& f : set.features)
    for (const FeatureSet::Example& e : f.examples) {
      std::string text;
      for (int64_t id : e.ids) text += set.token_texts.at(id);
      if (text.find("king of") != std::string::npos && (want.empty() || want.back() != f.index)) want.push_back(f.index);
    }
  ASSERT_FALSE(want.empty());
  EXPECT_EQ(found(set, "\"King of\""), want);
}

TEST(FeatureListModel, IsAModelAndSortsNumbersAsNumbers) {
  FeatureListModel model;
  FeatureListFilter filter(nullptr);
  filter.setSourceModel(&model);
  QAbstractItemModelTester tester(&model, QAbstractItemModelTester::FailureReportingMode::Fatal);
  QAbstractItemModelTester second(&filter, QAbstractItemModelTester::FailureReportingMode::Fatal);
  const auto set = sample(40);
  model.setSet(set);
  filter.sort(FeatureListModel::kMax, Qt::DescendingOrder);
  double last = 1e9;
  for (int r = 0; r < filter.rowCount(); ++r) {
    const double max = filter.index(r, FeatureListModel::kMax).data(FeatureListModel::kSortRole).toDouble();
    EXPECT_LE(max, last);
    last = max;
  }
  filter.setRows({1, 5, 7});
  EXPECT_EQ(filter.rowCount(), 3);
  model.setLabel(3, QStringLiteral("kings"));
  EXPECT_EQ(model.index(1, FeatureListModel::kLabel).data().toString(), QStringLiteral("kings"));
  EXPECT_EQ(model.edited().features[1].label, "kings");
  // Labels first, what has none last, in either order.
  filter.showAll();
  for (Qt::SortOrder order : {Qt::AscendingOrder, Qt::DescendingOrder}) {
    filter.sort(FeatureListModel::kLabel, order);
    EXPECT_EQ(filter.index(0, FeatureListModel::kLabel).data().toString(), QStringLiteral("kings"));
  }
  model.setSet(nullptr);
  EXPECT_EQ(filter.rowCount(), 0);
}

TEST(FeatureSetView, SearchByKeyboardThenTheDashboard) {
  Open o(sample());
  EXPECT_EQ(o.rows(), 12);
  // Sorted by the largest activation: the first row is feature 0, and its dashboard is shown.
  EXPECT_EQ(o.view.feature(), 0);
  QSignalSpy chosen(&o.view, &FeatureSetView::featureChosen);
  o.type("token:king");
  EXPECT_EQ(o.rows(), 2);
  EXPECT_EQ(o.view.feature(), 0);                                // a search that hides the chosen one does not unset it
  QTest::keyClick(o.view.searchField(), Qt::Key_Return);
  EXPECT_TRUE(o.view.list()->hasFocus());
  EXPECT_EQ(o.view.feature(), 3);
  QTest::keyClick(o.view.list(), Qt::Key_Down);
  EXPECT_EQ(o.view.feature(), 27);
  EXPECT_EQ(chosen.count(), 2);
  o.type("max>");
  EXPECT_FALSE(o.view.findChild<QLabel*>(QStringLiteral("feature_count"))->text().isEmpty());
  EXPECT_EQ(o.rows(), 2);                                        // what was found stays while the rest is typed
  o.type("zebra");
  EXPECT_EQ(o.rows(), 0);
  QTest::keyClick(o.view.searchField(), Qt::Key_Escape);
  EXPECT_EQ(o.rows(), 12);
}

TEST(FeatureSetView, TheDashboardShowsTheStoredNumbers) {
  Open o(sample());
  ASSERT_TRUE(o.view.choose(3));
  FeatureView* d = o.view.dashboard();
  EXPECT_EQ(d->findChild<QLabel*>(QStringLiteral("feature_title"))->text(), QStringLiteral("Feature 3"));
  EXPECT_EQ(d->labelField()->text(), QStringLiteral("royalty"));
  const QString numbers = d->findChild<QLabel*>(QStringLiteral("feature_numbers"))->text();
  EXPECT_TRUE(numbers.contains(QStringLiteral("2.5 %")) && numbers.contains(QStringLiteral("max 11"))) << numbers.toStdString();
  const auto& bins = d->findChild<ChartView*>(QStringLiteral("feature_histogram"))->data().lines.front();
  ASSERT_EQ(bins.x.size(), 12u);
  EXPECT_DOUBLE_EQ(bins.x.back(), 11);
  EXPECT_DOUBLE_EQ(bins.y[0], 40);
  auto* raises = d->findChild<TokenStrip*>(QStringLiteral("feature_raises"));
  ASSERT_EQ(raises->tokens().size(), 2u);
  EXPECT_EQ(raises->tokens()[0].text, QStringLiteral(" king"));
  EXPECT_EQ(raises->tokens()[0].note, numberText(2.5, 2));
  int strips = 0;
  for (TokenStrip* s : d->findChildren<TokenStrip*>(QStringLiteral("example"))) strips += s->isVisible();
  EXPECT_EQ(strips, 3);
  EXPECT_EQ(d->csv().count(QLatin1Char('\n')), 1 + 3 * 4);
  EXPECT_TRUE(d->csv().contains(QStringLiteral("3,top,10,5,1,\" king\",11")) || d->csv().contains(QStringLiteral("3,top,10,5,1, king,11"))) << d->csv().toStdString();
  // One that never fires says so.
  ASSERT_TRUE(o.view.choose(9));
  EXPECT_TRUE(d->findChild<QLabel*>(QStringLiteral("feature_numbers"))->text().contains(QStringLiteral("10000")));
  EXPECT_FALSE(o.view.choose(1));                                // not in the set
}

TEST(FeatureSetView, NeighboursAreLinks) {
  Open o(sample());
  ASSERT_TRUE(o.view.choose(0));
  auto* near = o.view.dashboard()->findChild<QLabel*>(QStringLiteral("feature_near"));
  EXPECT_TRUE(near->text().contains(QStringLiteral("href=\"3\"")));
  EXPECT_FALSE(near->text().contains(QStringLiteral("href=\"1\"")));       // has no dashboard here
  EXPECT_TRUE(near->text().contains(QStringLiteral("royalty")));
  Q_EMIT near->linkActivated(QStringLiteral("3"));
  EXPECT_EQ(o.view.feature(), 3);
}

TEST(FeatureSetView, LabelsAreEditedOnceAndOnlyWhereKept) {
  Open o(sample());
  o.view.setLabelsEditable(true);
  ASSERT_TRUE(o.view.choose(6));
  QSignalSpy edits(&o.view, &FeatureSetView::labelEdited);
  QLineEdit* field = o.view.dashboard()->labelField();
  field->setFocus();
  QTest::keyClicks(field, QStringLiteral("prepositions"));
  QTest::keyClick(field, Qt::Key_Return);
  o.view.list()->setFocus();
  ASSERT_EQ(edits.count(), 1);                                   // Enter, and not again when the focus leaves
  EXPECT_EQ(edits[0][0].toLongLong(), 6);
  EXPECT_EQ(edits[0][1].toString(), QStringLiteral("prepositions"));
  o.view.setLabel(6, QStringLiteral("prepositions"));
  o.type("label:prepo");
  EXPECT_EQ(o.rows(), 1);
  EXPECT_TRUE(o.view.csv().contains(QStringLiteral("prepositions")));
  // Another feature before the field is left: the text belongs to the one it was typed for.
  ASSERT_TRUE(o.view.choose(3));
  EXPECT_EQ(field->text(), QStringLiteral("royalty"));
  o.view.setLabelsEditable(false);
  EXPECT_TRUE(field->isReadOnly());
}

TEST(FeatureSetView, ANewerSetKeepsTheChosenOne) {
  Open o(sample());
  ASSERT_TRUE(o.view.choose(6));
  o.view.setSet(sample(20));
  EXPECT_EQ(o.view.feature(), 6);
  o.view.setSet(sample(1));
  EXPECT_EQ(o.view.feature(), 0);
  o.view.setSet(nullptr);
  EXPECT_EQ(o.view.feature(), -1);
  EXPECT_TRUE(o.view.csv().isEmpty());
}

TEST(FeatureSetView, SavesWhatIsSeen) {
  Open o(sample());
  o.type("index<6");
  EXPECT_EQ(o.view.csv().count(QLatin1Char('\n')), 3);
  EXPECT_FALSE(o.view.image(1).isNull());
  ASSERT_TRUE(o.view.choose(3));
  QTest::qWait(50);
  // The whole dashboard, also what is scrolled away.
  EXPECT_GE(o.view.dashboard()->pictureSize().height(), o.view.dashboard()->findChild<QLabel*>(QStringLiteral("feature_examples"))->y());
  EXPECT_FALSE(o.view.dashboard()->svg().isEmpty());
}

}  // namespace
}  // namespace microtome::desktop
