// Probes: the maps hold the run's own numbers, both models share a scale, a click picks the head.
#include <QComboBox>
#include <QPushButton>

#include "app/desktop/panels/probes/column.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

class ProbesPanelTest : public AppTest {
 protected:
  std::vector<HeatMapView*> maps(Panel* panel, const char* name) {
    std::vector<HeatMapView*> out;
    for (HeatMapView* m : panel->findChildren<HeatMapView*>(QLatin1String(name))) out.push_back(m);
    return out;
  }
};

TEST_F(ProbesPanelTest, RunsShowsAndPicks) {
  openTwins(4);
  std::unique_ptr<Panel> panel(makePanel("probes"));
  QTest::qWait(100);
  picture(panel.get(), QStringLiteral("probes_empty"));
  auto* run = panel->findChild<QPushButton*>(QStringLiteral("probes_run"));
  ASSERT_TRUE(run && run->isEnabled());
  QTest::mouseClick(run, Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return maps(panel.get(), "probes_map_induction").size() == 2; })) << problems_.join(QLatin1Char('\n')).toStdString();
  ASSERT_TRUE(settle());
  picture(panel.get(), QStringLiteral("probes"));
  const auto induction = maps(panel.get(), "probes_map_induction");
  EXPECT_EQ(induction[0]->scale(), induction[1]->scale()) << "a colour means the same in both models";
  for (HeatMapView* m : induction) {
    const AnalysisResult result = session_->store()->result(m->sourceRun()).value();
    const NamedArray* stored = nullptr;
    for (const Artifact& a : result.artifacts)
      if (const auto* map = std::get_if<TensorMap>(&a))
        for (const NamedArray& n : map->arrays)
          if (n.name == "induction" && n.axes == std::vector<std::string>{"layer", "head"}) stored = &n;
    ASSERT_TRUE(stored);
    for (int64_t i = 0; i < stored->size(); ++i) EXPECT_FLOAT_EQ((*m->data().values)[static_cast<size_t>(i)], static_cast<float>(stored->at(i)));
    EXPECT_FALSE(m->command().isEmpty());
  }
  auto* second = panel->findChild<QWidget*>(QStringLiteral("probes_1"))->findChild<HeatMapView*>(QStringLiteral("probes_map_induction"));
  ASSERT_TRUE(second);
  Q_EMIT second->cellClicked(2, 1);
  EXPECT_EQ(session_->selection().model(), 1);
  EXPECT_EQ(session_->selection().layer(), 2);
  EXPECT_EQ(session_->selection().head(), 1);
  // Only the recurrent twin has a state to ablate.
  EXPECT_EQ(maps(panel.get(), "probes_map_ablation_loss_state").size(), 1u);
}

TEST_F(ProbesPanelTest, OtherAnalysesThatScoreHeadsAreOffered) {
  openTwins(4, false);
  RunRequest request;
  request.analysis = QStringLiteral("attention");
  ASSERT_NE(session_->run(request), 0);
  ASSERT_TRUE(settle());
  std::unique_ptr<Panel> panel(makePanel("probes"));
  QTest::qWait(100);
  auto* from = panel->findChild<QComboBox*>(QStringLiteral("probes_from"));
  ASSERT_GE(from->count(), 2);
  from->setCurrentIndex(from->findData(QStringLiteral("attention")));
  EXPECT_TRUE(waitUntil([&] { return maps(panel.get(), "probes_map_entropy").size() == 1; }));
}

}  // namespace
}  // namespace microtome::desktop
