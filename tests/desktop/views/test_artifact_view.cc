// A view for every kind of artifact, arrays of every rank, and results that contradict themselves.
#include <QCheckBox>
#include <QComboBox>
#include <QLabel>
#include <QSignalSpy>
#include <QSlider>
#include <QTabWidget>
#include <QToolButton>
#include <QtTest/QTest>
#include <cmath>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

#include "app/desktop/views/attribution_view.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/feature_set_view.h"
#include "app/desktop/views/graph_view.h"
#include "app/desktop/views/heat_map.h"
#include "app/desktop/views/number_view.h"
#include "app/desktop/views/result_view.h"
#include "app/desktop/views/summary_view.h"
#include "app/desktop/views/table_view.h"
#include "app/desktop/views/tensor_map_view.h"
#include "app/desktop/views/text_view.h"
#include "tests/desktop/views/feature_samples.h"

namespace microtome::desktop {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
using Place = QHash<QString, qint64>;

// 0, 1, 2 … over the given axes.
NamedArray counted(const std::string& name, std::vector<std::string> axes, std::vector<int64_t> shape) {
  int64_t n = 1;
  for (int64_t s : shape) n *= s;
  std::vector<double> data(static_cast<size_t>(n));
  std::iota(data.begin(), data.end(), 0.0);
  return NamedArray{name, std::move(axes), std::move(shape), std::move(data), "nats", "what it is"};
}

std::shared_ptr<TensorMap> mapOf(std::vector<NamedArray> arrays) {
  auto map = std::make_shared<TensorMap>();
  map->name = "m";
  map->title = "A map";
  map->arrays = std::move(arrays);
  return map;
}

struct Shown {
  explicit Shown(std::shared_ptr<const TensorMap> map, const ArtifactContext& context = {}) {
    view.resize(600, 400);
    view.setMap(std::move(map), context);
    view.show();
  }
  HeatMapView* heat() const { return qobject_cast<HeatMapView*>(view.view()); }
  ChartView* chart() const { return qobject_cast<ChartView*>(view.view()); }
  float cell(int64_t r, int64_t c) const {
    const HeatMapData& d = heat()->data();
    return (*d.values)[static_cast<size_t>(r * d.cols + c)];
  }
  QString sentence() const { return view.view() ? QString() : view.findChild<QLabel*>("sentence")->text(); }
  QSlider* slider(const char* axis) const {
    auto* control = view.findChild<QWidget*>(QStringLiteral("axis_") + axis);
    return control ? control->findChild<QSlider*>() : nullptr;
  }
  TensorMapView view;
};

TEST(ArtifactView, EachKindHasItsView) {
  const ArtifactContext context{{}, "microtome run x", 7};
  Table table{"t", "A table", {{"layer", "", ""}}, {{int64_t{1}}, {int64_t{2}}}};
  Series series{"s", "Lines", "x", "y", {{"one", {0, 1}, {2, 3}}}};
  Circuit circuit{"c", "A circuit", 1, 1, 8, false, {{"a0.h0", true, 1}, {"logits", true, 1}}, {{"a0.h0", "logits", true, 0.5}}};
  const auto check = [&](const Artifact& artifact, auto* null, const char* title) {
    using V = std::remove_pointer_t<decltype(null)>;
    std::unique_ptr<QWidget> widget(makeArtifactView(artifact, context, nullptr));
    const std::vector<View*> views = viewsOf(widget.get());
    ASSERT_EQ(views.size(), 1u) << artifact_kind(artifact);
    EXPECT_NE(qobject_cast<V*>(views[0]), nullptr) << artifact_kind(artifact);
    EXPECT_EQ(views[0]->title(), QString(title));
    EXPECT_EQ(views[0]->command(), QString("microtome run x"));
    EXPECT_EQ(views[0]->sourceRun(), 7);
    EXPECT_EQ(views[0]->sourceArtifact(), QString::fromStdString(artifact_name(artifact)));
    widget->resize(400, 300);
    widget->grab();
  };
  check(table, static_cast<TableView*>(nullptr), "A table");
  check(series, static_cast<ChartView*>(nullptr), "Lines");
  check(Text{"x", "Words", "# Hello"}, static_cast<TextView*>(nullptr), "Words");
  check(circuit, static_cast<GraphView*>(nullptr), "A circuit");
  check(sampleFeatures(5), static_cast<FeatureSetView*>(nullptr), "Features of a sample");
  check(sampleGraph(), static_cast<GraphView*>(nullptr), "Attribution graph");
  check(*mapOf({counted("effect", {"layer", "head"}, {2, 3})}), static_cast<HeatMapView*>(nullptr), "A map");
}

TEST(ArtifactView, ContradictionsGiveASentence) {
  const Artifact wrong[] = {
      Table{"t", "", {{"a", "", ""}, {"b", "", ""}}, {{int64_t{1}}}},
      Table{"t", "", {}, {}},
      Series{"s", "", "x", "y", {{"one", {0, 1, 2}, {2}}}},
      Series{"s", "", "x", "y", {}},
      Text{"x", "", ""},
      Circuit{},
      TensorMap{},
      FeatureSet{},
      AttributionGraph{},
  };
  for (const Artifact& artifact : wrong) {
    SCOPED_TRACE(artifact_kind(artifact));
    EXPECT_FALSE(problemOf(artifact).isEmpty());
    std::unique_ptr<QWidget> widget(makeArtifactView(artifact, {}, nullptr));
    EXPECT_TRUE(viewsOf(widget.get()).empty());
    auto* label = qobject_cast<QLabel*>(widget.get());
    ASSERT_NE(label, nullptr);
    EXPECT_TRUE(label->text().endsWith('.'));
    EXPECT_FALSE(updateArtifactView(widget.get(), std::make_shared<const Artifact>(artifact), {}));
  }
}

TEST(TensorSlice, HostileSizesAreSaid) {
  const int64_t huge = int64_t{1} << 40;
  NamedArray wrong[] = {
      {"a", {"layer"}, {2, 3}, std::vector<float>(6), "", ""},
      {"a", {"layer", "head"}, {2, 3}, std::vector<float>(5), "", ""},
      {"a", {"layer", "head"}, {-2, -3}, std::vector<float>(6), "", ""},
      {"a", {"layer", "head"}, {huge, huge}, std::vector<float>(6), "", ""},
      {"a", {"layer", "head"}, {0, 3}, std::vector<float>(), "", ""},
      {"a", {}, {}, std::vector<float>(), "", ""},
  };
  for (const NamedArray& array : wrong) {
    EXPECT_FALSE(problemOf(array).isEmpty());
    Shown shown(mapOf({array}));
    EXPECT_EQ(shown.view.view(), nullptr);
    EXPECT_EQ(shown.sentence(), problemOf(array));
    shown.view.grab();
  }
  // One bad array does not hide the good ones.
  Shown shown(mapOf({wrong[1], counted("good", {"layer", "head"}, {2, 3})}));
  EXPECT_EQ(shown.view.view(), nullptr);
  shown.view.setArrayNamed("good");
  EXPECT_NE(shown.heat(), nullptr);
}

TEST(TensorSlice, DefaultsFollowTheNamesOfTheAxes) {
  const auto axes = [](std::vector<std::string> names, const char* look = "") {
    NamedArray a{"a", names, std::vector<int64_t>(names.size(), 4), std::vector<float>(), "", ""};
    const TensorSlice s = defaultSlice(a, look);
    return (s.rows < 0 ? std::string("-") : names[static_cast<size_t>(s.rows)]) + " × " +
           (s.cols < 0 ? std::string("-") : names[static_cast<size_t>(s.cols)]);
  };
  EXPECT_EQ(axes({}), "- × -");
  EXPECT_EQ(axes({"layer"}), "- × layer");
  EXPECT_EQ(axes({"prompt", "head"}), "prompt × head");
  EXPECT_EQ(axes({"layer", "head", "prompt"}), "layer × head");
  EXPECT_EQ(axes({"layer", "prompt", "pos", "head"}), "layer × head");
  EXPECT_EQ(axes({"layer", "prompt", "pos"}), "layer × pos");
  EXPECT_EQ(axes({"layer", "head", "prompt", "q_pos", "k_pos"}, "pattern"), "q_pos × k_pos");
  EXPECT_EQ(axes({"feature", "prompt", "group"}), "feature × group");
  EXPECT_EQ(axes({"a", "b", "c", "d"}), "c × d");
}

TEST(TensorSlice, CutsAndMeansLeaveMissingCellsOut) {
  NamedArray a = counted("a", {"x", "y", "z"}, {2, 3, 4});
  auto& data = std::get<std::vector<double>>(a.data);
  data[0] = kNaN;                                    // (0,0,0)
  for (int y = 0; y < 3; ++y) data[static_cast<size_t>(12 + 4 * y + 3)] = kNaN;   // (1,*,3): nothing left for the mean
  const std::atomic<bool> go{false};
  TensorSlice s{0, 2, {0, 1, 0}};                    // x × z at y = 1
  EXPECT_EQ(cut(a, s, go)[0], 4.f);
  EXPECT_EQ(cut(a, s, go)[4], 16.f);
  s.at[1] = kMean;                                   // over y
  const std::vector<float> mean = cut(a, s, go);
  EXPECT_EQ(mean[0], 6.f);                           // (4 + 8) / 2
  EXPECT_EQ(mean[1], 5.f);
  EXPECT_TRUE(std::isnan(mean[7]));
  EXPECT_EQ(costOf(a, s), 24);
  std::swap(s.rows, s.cols);                         // transposed
  EXPECT_EQ(cut(a, s, go)[2], 5.f);
  s = {-1, 1, {1, 0, kMean}};                        // one row
  EXPECT_EQ(cut(a, s, go), (std::vector<float>{13, 17, 21}));
  EXPECT_EQ(rangeOf(a, go), (std::pair<double, double>{1, 22}));
  const NamedArray ids{"ids", {"x"}, {2}, std::vector<int64_t>{5, 7}, "id", ""};
  EXPECT_EQ(cut(ids, {-1, 0, {0}}, go), (std::vector<float>{5, 7}));
  EXPECT_FALSE(hasMean(ids));
  EXPECT_TRUE(isCausal({1, 0, 1, 1}, 2, 2));
  EXPECT_FALSE(isCausal({1, 1, 1, 1}, 2, 2));
}

TEST(TensorMapView, RanksZeroToFive) {
  Shown zero(mapOf({counted("n", {}, {})}));
  ASSERT_NE(qobject_cast<NumberView*>(zero.view.view()), nullptr);
  EXPECT_EQ(qobject_cast<NumberView*>(zero.view.view())->number(), 0.0);
  EXPECT_TRUE(zero.view.view()->csv().contains("\"n\",0,\"nats\""));

  Shown one(mapOf({counted("line", {"layer"}, {5})}));
  ASSERT_NE(one.chart(), nullptr);
  EXPECT_EQ(one.chart()->data().lines.at(0).y, (std::vector<double>{0, 1, 2, 3, 4}));
  EXPECT_EQ(one.chart()->data().yLabel, QString("line (nats)"));

  Shown two(mapOf({counted("m", {"layer", "head"}, {2, 3})}));
  ASSERT_NE(two.heat(), nullptr);
  EXPECT_EQ(two.cell(1, 2), 5.f);
  EXPECT_EQ(two.heat()->data().unit, QString("nats"));

  Shown three(mapOf({counted("m", {"layer", "head", "prompt"}, {2, 3, 4})}));
  ASSERT_NE(three.heat(), nullptr);
  EXPECT_EQ(three.cell(0, 0), 1.5f);                 // the mean over prompts
  three.slider("prompt")->setValue(2);               // moving leaves the mean
  EXPECT_EQ(three.cell(0, 0), 2.f);

  Shown four(mapOf({counted("m", {"layer", "prompt", "pos", "head"}, {2, 3, 4, 5})}));
  EXPECT_EQ(four.heat()->data().rows, 2);
  EXPECT_EQ(four.heat()->data().cols, 5);
  EXPECT_EQ(four.cell(0, 0), 20.f + 15.f);           // mean over prompts, last position

  auto five = mapOf({counted("pattern", {"layer", "head", "prompt", "q_pos", "k_pos"}, {2, 2, 2, 3, 3})});
  five->looks["pattern"] = "pattern";
  Shown patterns(five);
  EXPECT_EQ(patterns.heat()->data().rowAxis.name, QString("query position"));
  EXPECT_EQ(patterns.cell(2, 1), 7.f);
  patterns.slider("layer")->setValue(1);
  patterns.slider("head")->setValue(1);
  EXPECT_EQ(patterns.cell(2, 1), 7.f + 36 + 18);
  for (Shown* s : {&zero, &one, &two, &three, &four, &patterns}) s->view.grab();
}

TEST(TensorMapView, NaNAndInfinityAreShown) {
  NamedArray a = counted("m", {"layer", "head"}, {2, 2});
  std::get<std::vector<double>>(a.data) = {kNaN, INFINITY, -INFINITY, kNaN};
  Shown shown(mapOf({a}));
  ASSERT_NE(shown.heat(), nullptr);
  EXPECT_TRUE(std::isnan(shown.cell(0, 0)));
  shown.view.grab();
  std::get<std::vector<double>>(a.data).assign(4, kNaN);
  Shown nothing(mapOf({a}));
  nothing.view.grab();
}

TEST(TensorMapView, LabelsLayerKindsAndTokens) {
  auto map = mapOf({counted("m", {"layer", "pos"}, {2, 3})});
  map->axis_labels["layer"] = {"L0", "L1"};
  map->axis_labels["pos"] = {" gave", "-2", "-1"};
  ArtifactContext context;
  context.layers = {LayerKind::kSoftmax, LayerKind::kRecurrent};
  Shown shown(map, context);
  const HeatMapData& d = shown.heat()->data();
  EXPECT_EQ(d.rowAxis.labels, (QStringList{"L0", "L1"}));
  EXPECT_EQ(d.rowAxis.kinds, context.layers);
  EXPECT_FALSE(d.rowAxis.tokens);
  EXPECT_TRUE(d.colAxis.tokens);
  EXPECT_EQ(d.colAxis.labels.at(0), QString(" gave"));
  // Labels and kinds of another length are not guessed at.
  auto other = std::make_shared<TensorMap>(*map);
  other->axis_labels["pos"].push_back("more");
  context.layers.push_back(LayerKind::kSoftmax);
  Shown cautious(other, context);
  EXPECT_TRUE(cautious.heat()->data().colAxis.labels.isEmpty());
  EXPECT_TRUE(cautious.heat()->data().rowAxis.kinds.empty());
}

TEST(TensorMapView, SignedPatternsAreDiverging) {
  auto map = mapOf({counted("pattern", {"layer", "q_pos", "k_pos"}, {2, 2, 2})});
  map->looks["pattern"] = "pattern";
  std::get<std::vector<double>>(map->arrays[0].data) = {1, 0, 0.5, 0.5, 1, 0, -0.5, 0.5};
  Shown shown(map);
  EXPECT_EQ(shown.heat()->data().look, Look::kPattern);
  EXPECT_TRUE(shown.heat()->data().causal);
  shown.slider("layer")->setValue(1);
  EXPECT_EQ(shown.heat()->data().look, Look::kDiverging);
}

TEST(TensorMapView, AxesCanBeChosenAndSwapped) {
  Shown shown(mapOf({counted("m", {"layer", "head", "prompt"}, {2, 3, 4})}));
  auto* rows = shown.view.findChild<QComboBox*>("rows");
  auto* cols = shown.view.findChild<QComboBox*>("cols");
  cols->setCurrentIndex(2);                          // layer × prompt, head on a slider
  EXPECT_EQ(shown.heat()->data().cols, 4);
  EXPECT_NE(shown.slider("head"), nullptr);
  EXPECT_EQ(shown.slider("prompt"), nullptr);
  rows->setCurrentIndex(3);                          // prompt: taken by the columns, so they change places
  EXPECT_EQ(shown.view.slice().rows, 2);
  EXPECT_EQ(shown.view.slice().cols, 0);
  QTest::mouseClick(shown.view.findChild<QToolButton*>("swap"), Qt::LeftButton);
  EXPECT_EQ(shown.view.slice().rows, 0);
  rows->setCurrentIndex(0);                          // none: a line along the prompts
  ASSERT_NE(shown.chart(), nullptr);
  EXPECT_EQ(shown.chart()->data().lines.at(0).y.size(), 4u);
  rows->setCurrentIndex(2);
  EXPECT_NE(shown.heat(), nullptr);
}

TEST(TensorMapView, PicksNameEveryAxisAndSelectFollows) {
  Shown shown(mapOf({counted("m", {"layer", "head", "prompt"}, {2, 3, 4})}));
  QSignalSpy spy(&shown.view, &TensorMapView::cellPicked);
  Q_EMIT shown.heat()->cellClicked(1, 2);
  ASSERT_EQ(spy.count(), 1);
  EXPECT_EQ(spy.at(0).at(0).value<Place>(), (Place{{"layer", 1}, {"head", 2}}));   // the mean is no place
  shown.slider("prompt")->setValue(3);
  Q_EMIT shown.heat()->cellClicked(0, 1);
  EXPECT_EQ(spy.at(1).at(0).value<Place>(), (Place{{"layer", 0}, {"head", 1}, {"prompt", 3}}));
  shown.view.select({{"prompt", 1}, {"layer", 1}, {"head", 0}, {"nothing", 5}});
  EXPECT_EQ(spy.count(), 2);
  EXPECT_EQ(shown.slider("prompt")->value(), 1);
  shown.view.select({{"prompt", 99}});
  EXPECT_EQ(shown.slider("prompt")->value(), 1);

  Shown line(mapOf({counted("m", {"layer"}, {4})}));
  QSignalSpy points(&line.view, &TensorMapView::cellPicked);
  Q_EMIT line.chart()->pointClicked(0, 3);
  EXPECT_EQ(points.at(0).at(0).value<Place>(), (Place{{"layer", 3}}));
}

TEST(TensorMapView, ANewerMapKeepsTheChoices) {
  auto first = mapOf({counted("a", {"layer", "head", "prompt"}, {2, 3, 4}),
                      counted("b", {"layer", "head", "prompt"}, {2, 3, 4})});
  Shown shown(first);
  shown.view.setArrayNamed("b");
  shown.slider("prompt")->setValue(3);
  auto newer = mapOf({counted("b", {"layer", "head", "prompt"}, {2, 3, 4}), counted("c", {"layer"}, {2})});
  std::get<std::vector<double>>(newer->arrays[0].data)[3] = 99;
  shown.view.setMap(newer, {});
  EXPECT_EQ(shown.view.arrayIndex(), 0);
  EXPECT_EQ(shown.view.slice().at[2], 3);
  EXPECT_EQ(shown.cell(0, 0), 99.f);
  // A smaller one: the place moves inside.
  shown.view.setMap(mapOf({counted("b", {"layer", "head", "prompt"}, {2, 3, 2})}), {});
  EXPECT_EQ(shown.view.slice().at[2], 1);
  shown.view.setMap(nullptr, {});
  EXPECT_EQ(shown.view.view(), nullptr);
}

TEST(TensorMapView, OneScaleOverAllSlices) {
  Shown shown(mapOf({counted("m", {"layer", "x", "y"}, {3, 2, 2})}));
  EXPECT_EQ(shown.heat()->data().hi, 11.0);          // of the whole array, not of this slice
  auto* mean = shown.view.findChild<QCheckBox*>("mean");
  mean->setChecked(true);                            // its own range, 4 … 7
  EXPECT_EQ(shown.heat()->data().lo, shown.heat()->data().hi);
  mean->setChecked(false);
  EXPECT_EQ(shown.heat()->data().hi, 11.0);
  shown.view.findChild<QCheckBox*>("scale")->setChecked(false);
  EXPECT_EQ(shown.heat()->data().lo, shown.heat()->data().hi);
}

TEST(TensorMapView, LargeArraysAreCutByAWorker) {
  NamedArray big{"big", {"layer", "x", "y"}, {8, 600, 600}, std::vector<float>(8 * 600 * 600), "", ""};
  auto& data = std::get<std::vector<float>>(big.data);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i / 360000);
  TensorMapView view;
  view.resize(500, 400);
  view.setMap(mapOf({big}), {});
  EXPECT_TRUE(view.busy());
  EXPECT_EQ(view.view(), nullptr);
  ASSERT_TRUE(QTest::qWaitFor([&] { return view.view() != nullptr && !view.busy(); }, 20000));
  auto* heat = qobject_cast<HeatMapView*>(view.view());
  EXPECT_EQ((*heat->data().values)[0], 0.f);
  EXPECT_EQ(heat->data().hi, 7.0);
  // The mean is work again; of places passed meanwhile only the last is shown.
  TensorSlice slice = view.slice();
  slice.at[0] = kMean;
  view.setSlice(slice);
  EXPECT_TRUE(view.busy());
  slice.at[0] = 5;
  view.setSlice(slice);
  ASSERT_TRUE(QTest::qWaitFor([&] { return !view.busy() && (*heat->data().values)[0] == 5.f; }, 20000));
  // Closed while it works: nothing is delivered to a view that is gone.
  auto gone = std::make_unique<TensorMapView>();
  gone->setMap(mapOf({big}), {});
  gone.reset();
  QTest::qWait(50);
}

std::shared_ptr<AnalysisResult> sample() {
  auto r = std::make_shared<AnalysisResult>();
  r->summary = {{"clean_logit_diff", 11.4605, "logits", "of the clean run", 9.6472, 13.2055, 32},
                {"prompts", 32, "", "", kNaN, kNaN, 0}};
  r->findings = {"Head 1.0 brings back 95 % of the <b>clean</b> answer."};
  r->warnings = {"Batch halved."};
  r->artifacts = {*mapOf({counted("effect", {"layer", "head"}, {2, 3})}), Text{"x", "Words", "hello"},
                  Table{"t", "Rows", {{"layer", "", ""}, {"head", "", ""}, {"v", "", ""}}, {{int64_t{1}, int64_t{2}, 0.5}}}};
  return r;
}

TEST(ResultView, ShowsAllAndMakesViewsWhenLookedAt) {
  ResultView view;
  view.resize(900, 700);
  EXPECT_TRUE(view.views().empty());
  view.setResult(sample(), {{}, "microtome run x", 3});
  view.show();
  auto* findings = view.findChild<QLabel*>("findings");
  EXPECT_TRUE(findings->text().contains("&lt;b&gt;clean"));     // words, never markup
  auto* warnings = view.findChild<QLabel*>("warnings");
  EXPECT_TRUE(warnings->isVisibleTo(&view));
  EXPECT_TRUE(warnings->text().contains(QStringLiteral("⚠")));
  auto* tabs = view.findChild<QTabWidget*>();
  ASSERT_EQ(tabs->count(), 3);
  EXPECT_EQ(view.views().size(), 2u);                           // the summary and the first artifact
  EXPECT_EQ(view.findChild<TextView*>(), nullptr);
  tabs->setCurrentIndex(1);
  EXPECT_NE(view.findChild<TextView*>(), nullptr);
  EXPECT_EQ(view.views().size(), 3u);
  for (View* v : view.views()) {
    EXPECT_EQ(v->sourceRun(), 3);
    EXPECT_FALSE(v->title().isEmpty());
  }
  view.clear("Run something.");
  EXPECT_TRUE(view.views().empty());
  EXPECT_EQ(view.findChild<QLabel*>("empty")->text(), QString("Run something."));
}

TEST(ResultView, ANewerResultKeepsTabAndView) {
  ResultView view;
  view.setResult(sample(), {});
  view.showArtifact("t");
  auto* table = view.findChild<TableView*>();
  ASSERT_NE(table, nullptr);
  auto newer = sample();
  std::get<Table>(newer->artifacts[2]).rows.push_back({int64_t{0}, int64_t{0}, 0.25});
  view.setResult(newer, {});
  EXPECT_EQ(view.currentArtifact(), QString("t"));
  EXPECT_EQ(view.findChild<TableView*>(), table);
  EXPECT_EQ(table->model()->rowCount(), 2);
  auto other = sample();
  other->artifacts.erase(other->artifacts.begin());
  view.setResult(other, {});
  EXPECT_EQ(view.currentArtifact(), QString("t"));
  view.setResult(std::make_shared<AnalysisResult>(), {});
  EXPECT_TRUE(view.views().empty());
}

TEST(ResultView, CellsAndRowsArePicked) {
  ResultView view;
  view.setResult(sample(), {});
  QSignalSpy spy(&view, &ResultView::cellPicked);
  Q_EMIT qobject_cast<HeatMapView*>(view.views().at(1))->cellClicked(1, 0);
  ASSERT_EQ(spy.count(), 1);
  EXPECT_EQ(spy.at(0).at(0).value<Place>(), (Place{{"layer", 1}, {"head", 0}}));
  view.showArtifact("t");
  Q_EMIT view.findChild<TableView*>()->rowSelected(0);
  ASSERT_EQ(spy.count(), 2);
  EXPECT_EQ(spy.at(1).at(0).value<Place>(), (Place{{"layer", 1}, {"head", 2}}));
  Q_EMIT view.findChild<TableView*>()->rowSelected(-1);
  EXPECT_EQ(spy.count(), 2);
}

TEST(SummaryView, NumbersUnitsIntervals) {
  SummaryView view;
  view.setItems(sample()->summary);
  const SummaryModel& m = view.model();
  const auto text = [&](int row, int column) { return m.data(m.index(row, column)).toString(); };
  EXPECT_EQ(text(0, SummaryModel::kName), QString("clean logit diff"));
  EXPECT_EQ(text(0, SummaryModel::kValue), QString("11.46"));
  EXPECT_EQ(text(0, SummaryModel::kUnit), QString("logits"));
  EXPECT_EQ(text(0, SummaryModel::kInterval), QStringLiteral("9.647 … 13.21"));
  EXPECT_EQ(text(0, SummaryModel::kCount), QString("32"));
  EXPECT_TRUE(text(1, SummaryModel::kInterval).isEmpty());
  EXPECT_TRUE(m.data(m.index(0, 0), Qt::ToolTipRole).toString().contains("of the clean run"));
  EXPECT_TRUE(view.csv().contains("\"clean_logit_diff\",11.4605,\"logits\",9.647"));
}

}  // namespace
}  // namespace microtome::desktop
