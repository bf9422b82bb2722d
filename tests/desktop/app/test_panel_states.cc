// States: what is shown is the stored run's own numbers, at the token the slider is on.
#include <QComboBox>
#include <QSlider>
#include <QTabWidget>
#include <QToolButton>

#include "app/desktop/panels/states/column.h"
#include "app/desktop/views/table_view.h"
#include "app/desktop/views/token_strip.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

class StatesPanelTest : public AppTest {
 protected:
  template <class T>
  T* find(Panel* panel, const char* name) {
    for (T* w : panel->findChildren<T*>(QLatin1String(name)))
      if (w->isVisible()) return w;
    return nullptr;
  }
  // The finished `states` run that the panel started.
  AnalysisResult stored() {
    for (const RunRecord& r : session_->runs())
      if (r.analysis == "states") return session_->store()->result(r.id).value();
    return {};
  }
  static const NamedArray* array(const AnalysisResult& result, const std::string& map, const std::string& name) {
    for (const Artifact& a : result.artifacts)
      if (const auto* m = std::get_if<TensorMap>(&a); m && m->name == map)
        for (const NamedArray& n : m->arrays)
          if (n.name == name) return &n;
    return nullptr;
  }
};

TEST_F(StatesPanelTest, WithoutAModelOrARecurrentLayerItSaysWhatToDo) {
  std::unique_ptr<Panel> panel(makePanel("states"));
  QTest::qWait(50);
  auto* empty = panel->findChild<EmptyState*>(QString(), Qt::FindDirectChildrenOnly);
  ASSERT_NE(panel->findChildren<EmptyState*>().size(), 0);
  openTwins(4, false);
  ASSERT_TRUE(settle());
  bool said = false;
  for (QLabel* label : panel->findChildren<QLabel*>()) said = said || (label->isVisible() && label->text().contains(QStringLiteral("softmax attention in every layer")));
  EXPECT_TRUE(said);
  EXPECT_EQ(empty, nullptr);
  picture(panel.get(), QStringLiteral("states_softmax"));
}

TEST_F(StatesPanelTest, TheSliderGoesOverTheStoredStates) {
  openTwins(4);
  session_->selection().setHead(1, 2);
  std::unique_ptr<Panel> panel(makePanel("states"));
  auto* map = static_cast<HeatMapView*>(nullptr);
  ASSERT_TRUE(waitUntil([&] {
    map = find<HeatMapView>(panel.get(), "states_map");
    return map && map->data().values;
  })) << problems_.join(QLatin1Char('\n')).toStdString();
  ASSERT_TRUE(settle());
  const AnalysisResult result = stored();
  const NamedArray* state = array(result, "state_1_2", "state");
  ASSERT_TRUE(state) << "the head that is selected is the head that is kept";
  const auto& all = std::get<std::vector<float>>(state->data);
  const auto cells = static_cast<size_t>(state->shape[1] * state->shape[2]);
  auto* slider = find<QSlider>(panel.get(), "states_slider");
  ASSERT_TRUE(slider);
  EXPECT_EQ(slider->maximum(), state->shape[0] - 1);
  slider->setFocus();
  QTest::keyClick(slider, Qt::Key_Home);
  for (size_t token : {size_t{0}, size_t{1}}) {
    EXPECT_EQ(*map->data().values, std::vector<float>(all.begin() + static_cast<long>(token * cells), all.begin() + static_cast<long>((token + 1) * cells))) << token;
    EXPECT_EQ(session_->selection().position(), static_cast<int>(token));
    QTest::keyClick(slider, Qt::Key_Right);
  }
  // The write, and the change since the token before.
  auto* what = find<QComboBox>(panel.get(), "states_what");
  slider->setValue(3);
  what->setCurrentIndex(2);
  for (size_t i = 0; i < cells; i += 37) EXPECT_FLOAT_EQ((*map->data().values)[i], all[3 * cells + i] - all[2 * cells + i]);
  what->setCurrentIndex(1);
  const NamedArray* write = array(result, "state_1_2", "write");
  EXPECT_EQ((*map->data().values)[5], std::get<std::vector<float>>(write->data)[3 * cells + 5]);
  // A token clicked elsewhere moves the film.
  session_->selection().setPosition(2);
  EXPECT_EQ(slider->value(), 2);
  picture(panel.get(), QStringLiteral("states"));
  EXPECT_FALSE(map->command().isEmpty());
  EXPECT_TRUE(map->command().contains(QStringLiteral("--keep 1.2"))) << map->command().toStdString();
  EXPECT_NE(map->sourceRun(), 0);
}

TEST_F(StatesPanelTest, NumbersOverTheTokensEigenvaluesAndWhatItSays) {
  openTwins(4);
  session_->selection().setHead(2, 1);
  std::unique_ptr<Panel> panel(makePanel("states"));
  ASSERT_TRUE(waitUntil([&] {
    auto* m = find<HeatMapView>(panel.get(), "states_map");
    return m && m->data().values;
  }));
  ASSERT_TRUE(settle());
  const AnalysisResult result = stored();
  auto* lines = find<ChartView>(panel.get(), "states_lines");
  ASSERT_TRUE(lines);
  ASSERT_EQ(lines->data().lines.size(), 1u);
  const NamedArray* norm = array(result, "states", "norm");
  const int64_t width = norm->shape[2], tokens = static_cast<int64_t>(lines->data().lines[0].y.size());
  for (int64_t t = 0; t < tokens; ++t)
    EXPECT_DOUBLE_EQ(lines->data().lines[0].y[static_cast<size_t>(t)], norm->at(((2 * norm->shape[1]) * width + width - tokens + t) * norm->shape[3] + 1));
  auto* tabs = panel->findChildren<QTabWidget*>().back();
  for (QTabWidget* t : panel->findChildren<QTabWidget*>())
    if (t->isVisible()) tabs = t;
  tabs->setCurrentIndex(2);
  auto* eigen = find<ChartView>(panel.get(), "states_eigenvalues");
  ASSERT_TRUE(eigen);
  const NamedArray* re = array(result, "state_2_1", "product_eigenvalues_re");
  ASSERT_TRUE(re);
  ASSERT_EQ(eigen->data().lines.size(), 1u);
  EXPECT_EQ(eigen->data().lines[0].x.size(), static_cast<size_t>(re->shape[1]));
  EXPECT_DOUBLE_EQ(eigen->data().lines[0].x[0], re->at((tokens - 1) * re->shape[1])) << "at the last token, where the film begins";
  picture(panel.get(), QStringLiteral("states_eigenvalues"));
  tabs->setCurrentIndex(1);
  auto* says = find<TableView>(panel.get(), "states_says");
  ASSERT_TRUE(says);
  ASSERT_TRUE(waitUntil([&] { return says->csv().count(QLatin1Char('\n')) >= 6; })) << says->csv().toStdString();
  picture(panel.get(), QStringLiteral("states_says"));
}

TEST_F(StatesPanelTest, PlayGoesOnByItselfAndStopsAtTheEnd) {
  openTwins(4);
  session_->selection().setHead(1, 0);
  std::unique_ptr<Panel> panel(makePanel("states"));
  ASSERT_TRUE(waitUntil([&] { return find<QSlider>(panel.get(), "states_slider") != nullptr; }));
  ASSERT_TRUE(settle());
  // The finished run takes the preview's place: the slider is away for a moment.
  ASSERT_TRUE(waitUntil([&] { return find<QSlider>(panel.get(), "states_slider") && find<QToolButton>(panel.get(), "states_play"); }));
  auto* slider = find<QSlider>(panel.get(), "states_slider");
  auto* play = find<QToolButton>(panel.get(), "states_play");
  slider->setValue(slider->maximum() - 2);
  QTest::mouseClick(play, Qt::LeftButton);
  EXPECT_TRUE(play->isChecked());
  EXPECT_TRUE(waitUntil([&] { return slider->value() == slider->maximum() && !play->isChecked(); }, 5000));
}

}  // namespace
}  // namespace microtome::desktop
