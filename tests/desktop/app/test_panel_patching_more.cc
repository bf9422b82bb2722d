// Patching, further: two models, attribution and ablation, restarts, tables, states, the keyboard.
#include "tests/desktop/app/patching_panel_test.h"

namespace microtome::desktop {
namespace {

TEST_F(PatchingPanelTest, TwoModelsShareOneScaleAndHaveADifference) {
  openTwins(8);
  open();
  runAndWait();
  ASSERT_TRUE(runs_[0] && runs_[1]);
  float most = 0;
  for (int slot = 0; slot < 2; ++slot)
    for (float v : *map(slot)->data().values) most = std::max(most, std::abs(v));
  EXPECT_EQ(map(0)->scale(), map(1)->scale());
  EXPECT_FLOAT_EQ(static_cast<float>(map(0)->scale().second), most);
  EXPECT_EQ(map(0)->data().rowAxis.kinds[0], LayerKind::kSoftmax);
  EXPECT_EQ(map(1)->data().rowAxis.kinds[0], LayerKind::kRecurrent);
  EXPECT_EQ(column(1)->findChild<QLabel*>(QStringLiteral("model_name"))->text(), QStringLiteral("zoo-gated_deltanet"));
  ASSERT_TRUE(waitPatched());
  clickCell(1, 3, 2);
  EXPECT_EQ(session_->selection().model(), 1);
  EXPECT_EQ(session_->selection().layer(), 3);
  EXPECT_EQ(session_->selection().head(), 2);
  const PromptPair& pair = *session_->currentPair(1);
  const app::NextTokens said = session_->engine()->patched_tokens(*session_->model(1), pair, {"z", "denoise", 3, 2, -1}, 8, asked(pair));
  ASSERT_TRUE(waitUntil([&] { return !tokens()->columns()[1].tokens.top.empty() && tokens()->columns()[1].tokens.top[0].logit == said.top[0].logit; }));
  expectSame(tokens()->columns()[1].tokens, said, 8);
  EXPECT_TRUE(label("cell_sentence").startsWith(QStringLiteral("zoo-gated_deltanet, layer 3, head 2"))) << label("cell_sentence").toStdString();
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("patching_twins"));

  auto* difference = panel_->findChild<QCheckBox*>(QStringLiteral("patching_difference"));
  ASSERT_TRUE(difference->isEnabled());
  difference->click();
  auto* third = panel_->findChild<HeatMapView*>(QStringLiteral("patching_difference_map"));
  ASSERT_TRUE(third->isVisible());
  for (size_t i = 0; i < third->data().values->size(); ++i)
    ASSERT_FLOAT_EQ((*third->data().values)[i], (*map(0)->data().values)[i] - (*map(1)->data().values)[i]);
  EXPECT_EQ(panel_->views().size(), 4u);
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("patching_difference"));
  panel_->resize(1180, 720);
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("patching_twins_large"));

  // The state is a site of one of them.
  difference->click();
  choose("site", QStringLiteral("state_write"));
  QTest::mouseClick(button("patching_run"), Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return runs_[1] && runs_[1]->record.spec.answer_params.at("site") == "state_write"; }));
  EXPECT_TRUE(empty(0)->isVisible());
  EXPECT_TRUE(empty(0)->findChildren<QLabel*>()[1]->text().contains(QStringLiteral("zoo-llama has no site")));
  EXPECT_GT(map(1)->data().rows, 4);
  ASSERT_TRUE(settle());
  panel_->resize(760, 480);
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("patching_one_lacks_it"));
}

TEST_F(PatchingPanelTest, AttributionIsHeldAgainstTheTrueRun) {
  openTwins(8, false);
  session_->selection().setPrompt(1);
  open();
  chooseAnalysis("attribution_patching");
  runAndWait();
  ASSERT_TRUE(runs_[0]);
  clickCell(0, 2, 0);
  ASSERT_TRUE(waitPatched());
  const PromptPair& pair = *session_->currentPair(0);
  app::Engine* engine = session_->engine();
  const auto metric = [&](const app::NextTokens& t) { return CellRuns::metricOf("logit_diff", t, pair.answer_ids.size()); };
  const double gives = metric(engine->patched_tokens(*session_->model(0), pair, {"z", "denoise", 2, 0, -1}, 8, asked(pair))) -
                       metric(engine->next_tokens(*session_->model(0), pair.corrupted_ids, 8, asked(pair)));
  const NamedArray& each = arrayOf(runs_[0], "effect_prompts");
  const double says = each.at((2 * 4 + 0) * each.shape[2] + 1);
  const auto text = [](double v) { return (v > 0 ? QStringLiteral("+") : QString()) + numberText(v, 3); };
  EXPECT_TRUE(waitUntil([&] {
    return label("cell_detail").contains(QStringLiteral("attribution says %1, patching gives %2 logits").arg(text(says), text(gives)));
  })) << label("cell_detail").toStdString() << " / " << says << " " << gives;
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("patching_attribution"));
}

TEST_F(PatchingPanelTest, AblationShowsItsNumbersAndResampledRuns) {
  openTwins(8, false);
  open();
  chooseAnalysis("ablation");
  choose("site", QStringLiteral("resid_pre"));
  runAndWait();
  ASSERT_TRUE(runs_[0]);
  EXPECT_EQ(combo("patching_array")->count(), 4);
  clickCell(0, 1, 3);
  ASSERT_TRUE(waitUntil([&] { return tokens()->columns().size() == 3 && tokens()->columns()[0].remark.isEmpty(); }));
  const TokenColumn here = tokens()->columns()[1];
  ASSERT_EQ(here.facts.size(), 4u);
  EXPECT_EQ(here.facts[0].first, QStringLiteral("drop"));
  const NamedArray& drop = arrayOf(runs_[0], "drop");
  EXPECT_EQ(here.facts[0].second, numberText(drop.at(drop.shape[1] + 3)) + QStringLiteral(" logits"));
  EXPECT_TRUE(here.title.contains(QStringLiteral("8 prompts")));
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("patching_ablation"));
  // A run with the corrupted value at one place can be asked.
  choose("kind", QStringLiteral("resample"));
  runAndWait();
  QTest::qWait(60);
  clickCell(0, 1, map()->data().cols - 1);
  ASSERT_TRUE(waitPatched());
  const PromptPair& pair = *session_->currentPair(0);
  EXPECT_EQ(session_->selection().layer(), 1);
  EXPECT_EQ(session_->selection().position(), static_cast<int>(pair.clean_ids.size()) - 1);
  const app::NextTokens said = session_->engine()->patched_tokens(
      *session_->model(0), pair, {"resid_pre", "noise", 1, -1, static_cast<int64_t>(pair.clean_ids.size()) - 1}, 8, asked(pair));
  ASSERT_TRUE(waitUntil([&] { return std::abs(tokens()->columns()[1].tokens.top[0].logit - said.top[0].logit) < 1e-4; }, 10000))
      << tokens()->columns()[1].tokens.top[0].logit << " against " << said.top[0].logit << " in " << tokens()->columns()[1].title.toStdString();
  EXPECT_EQ(tokens()->columns()[1].against, 0);
}

TEST_F(PatchingPanelTest, AFinishedRunIsThereAgainAfterARestart) {
  openTwins(8, false);
  open();
  choose("site", QStringLiteral("resid_pre"));
  choose("direction", QStringLiteral("noise"));
  runAndWait();
  const qint64 run = runs_[0]->record.id;
  const std::vector<float> values = *map()->data().values;
  panel_.reset();
  runs_[0] = nullptr;
  open();
  ASSERT_TRUE(waitUntil([&] { return map()->data().rows > 0; }));
  EXPECT_EQ(combo("site")->currentText(), QStringLiteral("resid_pre"));
  EXPECT_EQ(combo("direction")->currentText(), QStringLiteral("noise"));
  EXPECT_EQ(map()->sourceRun(), run);
  EXPECT_EQ(std::vector<float>(*map()->data().values), values);
  EXPECT_FALSE(runs_[0]) << "nothing was computed";
  // Another request leaves the grid, says so, and its own run comes back at once when it is set again.
  choose("site", QStringLiteral("mlp_out"));
  EXPECT_TRUE(label("patching_hint").contains(QStringLiteral("not computed yet")));
  EXPECT_EQ(map()->sourceRun(), run);
  runAndWait();
  EXPECT_NE(map()->sourceRun(), run);
  EXPECT_TRUE(label("patching_hint").isEmpty());
  choose("site", QStringLiteral("resid_pre"));
  EXPECT_TRUE(waitUntil([&] { return map()->sourceRun() == run; }, 3000));
  ASSERT_TRUE(settle());

  // On other prompts the grid stays, and says that it is of others.
  session_->selection().setPrompt(0);
  PromptSource source = session_->prompts().source;
  source.count = 4;
  session_->setTask(source);
  ASSERT_TRUE(waitUntil([&] { return session_->prompts().bySlot[0] && session_->prompts().bySlot[0]->pairs.size() == 4; }));
  QTest::qWait(100);
  EXPECT_TRUE(column(0)->findChild<QLabel*>(QStringLiteral("grid_caption"))->text().contains(QStringLiteral("other prompts")));
  EXPECT_TRUE(tokens()->columns()[1].remark.contains(QStringLiteral("other prompts")));
}

TEST_F(PatchingPanelTest, TheTableSelectsItsCell) {
  openTwins(8, false);
  open();
  byPosition(true);
  runAndWait();
  auto* tabs = panel_->findChild<QTabBar*>(QStringLiteral("patching_tabs"));
  tabs->setCurrentIndex(1);
  auto* table = panel_->findChild<TableView*>();
  ASSERT_TRUE(table->isVisible());
  ASSERT_GT(table->model()->rowCount(), 3);
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("patching_table"));
  const QModelIndex third = table->table()->model()->index(2, 0);
  QTest::mouseClick(table->table()->viewport(), Qt::LeftButton, {}, table->table()->visualRect(third).center());
  const Selection& s = session_->selection();
  const std::string place = std::get<std::string>(*table->model()->cell(2, 0));
  EXPECT_NE(place.find("head " + std::to_string(s.layer()) + "." + std::to_string(s.head())), std::string::npos) << place;
  const auto tokensOf = static_cast<int64_t>(session_->currentPair(0)->clean_ids.size());
  EXPECT_NE(place.find("position " + std::to_string(s.position() - tokensOf)), std::string::npos) << place << " " << s.position();
  const NamedArray& effect = arrayOf(runs_[0], "effect");
  EXPECT_NEAR(effect.at((s.layer() * effect.shape[1] + s.position() + effect.shape[1] - tokensOf) * 4 + s.head()),
              std::get<double>(*table->model()->cell(2, 1)), 1e-5);
  // The findings stand beside the tabs and in full behind the third.
  auto* finding = panel_->findChild<QToolButton*>(QStringLiteral("patching_finding"));
  ASSERT_FALSE(runs_[0]->result.findings.empty());
  EXPECT_TRUE(finding->toolTip().contains(QString::fromStdString(runs_[0]->result.findings[0]).toHtmlEscaped().left(30)));
  finding->click();
  EXPECT_EQ(tabs->currentIndex(), 2);
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("patching_findings"));
  ASSERT_TRUE(settle());
}

TEST_F(PatchingPanelTest, StatesWithoutAGrid) {
  openTwins(8, false);
  open();
  EXPECT_TRUE(empty()->isVisible());
  EXPECT_EQ(empty()->findChild<QPushButton*>()->text(), QStringLiteral("Run"));
  picture(panel_.get(), QStringLiteral("patching_nothing_yet"));
  PromptPair pair;
  pair.clean = "When Mary and John went to the store, John gave a drink to";
  pair.answers = {" Mary"};
  session_->setTyped(pair);
  ASSERT_TRUE(waitUntil([&] { return session_->prompts().bySlot[0] && session_->prompts().bySlot[0]->pairs.size() == 1; }));
  QTest::qWait(100);
  EXPECT_FALSE(button("patching_run")->isEnabled());
  EXPECT_TRUE(empty()->findChildren<QLabel*>()[1]->text().contains(QStringLiteral("Patching needs a corrupted prompt")));
  picture(panel_.get(), QStringLiteral("patching_no_pairs"));
  chooseAnalysis("ablation");
  EXPECT_TRUE(button("patching_run")->isEnabled()) << "ablation needs none";
  chooseAnalysis("activation_patching");

  // A metric that can't tell the two runs apart: the run's own sentence.
  pair.corrupted = pair.clean;
  pair.wrong_answers = {" John"};
  session_->setTyped(pair);
  ASSERT_TRUE(waitUntil([&] { return session_->prompts().bySlot[0] && !session_->prompts().bySlot[0]->pairs[0].corrupted_ids.empty(); }));
  QTest::qWait(100);
  runAndWait();
  ASSERT_EQ(failed_.size(), 1);
  EXPECT_TRUE(failed_[0].contains(QStringLiteral("the same on clean and corrupted prompts")));
  EXPECT_EQ(empty()->findChildren<QLabel*>()[1]->text(), failed_[0]);
  EXPECT_FALSE(button("patching_cancel")->isVisible());
  picture(panel_.get(), QStringLiteral("patching_failed"));
}

TEST_F(PatchingPanelTest, OnePromptAndTheKeyboard) {
  openTwins(8, false);
  session_->selection().setPrompt(3);
  open();
  combo("patching_scope")->setCurrentIndex(1);
  panel_->setFocus();
  QTest::keyClick(panel_.get(), Qt::Key_Return, Qt::ControlModifier);
  ASSERT_TRUE(waitUntil([&] { return runs_[0] != nullptr; }));
  ASSERT_TRUE(settle());
  EXPECT_TRUE(map()->command().contains(QStringLiteral("--only 4")));
  EXPECT_EQ(arrayOf(runs_[0], "value_prompts").shape.back(), 1);
  ASSERT_TRUE(waitPatched());
  EXPECT_TRUE(column(0)->findChild<QLabel*>(QStringLiteral("grid_caption"))->text().contains(QStringLiteral("1 prompt")));
  // Another prompt: the grid is then of another one.
  session_->selection().setPrompt(4);
  QTest::qWait(100);
  EXPECT_TRUE(tokens()->columns()[1].remark.contains(QStringLiteral("other prompts")));
  session_->selection().setPrompt(3);
  ASSERT_TRUE(waitPatched());
}

}  // namespace
}  // namespace microtome::desktop
