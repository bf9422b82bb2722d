// The patching panel against the stored arrays and the model itself: grids that fill while they run, cells by mouse and keys, what
// the model then says; cancelling and going on; two models under one scale; stored runs found again; states without a grid.
#include "tests/desktop/app/patching_panel_test.h"

namespace microtome::desktop {
namespace {

TEST_F(PatchingPanelTest, WithoutAModelItOffersTheDemo) {
  open();
  auto* state = panel_->findChild<EmptyState*>();
  QTest::qWait(30);
  EXPECT_TRUE(state->isVisible());
  EXPECT_EQ(state->findChild<QPushButton*>()->text(), QStringLiteral("Try the demo"));
  EXPECT_TRUE(panel_->views().empty());
}

TEST_F(PatchingPanelTest, ControlsAreTheSchemas) {
  openTwins(8, false);
  open();
  for (const char* name : {"activation_patching", "attribution_patching", "ablation"}) {
    chooseAnalysis(name);
    const app::AnalysisFacts* facts = session_->findAnalysis(QString::fromLatin1(name));
    for (const char* param : {"site", "direction", "metric", "kind", "reference"}) {
      const ParamSpec* spec = facts->schema.find(param);
      QComboBox* box = nullptr;
      for (QComboBox* b : panel_->findChildren<QComboBox*>(QString::fromLatin1(param)))
        if (b->isVisible()) box = b;
      ASSERT_EQ(box != nullptr, spec != nullptr) << name << " " << param;
      if (!spec) continue;
      ASSERT_EQ(box->count(), static_cast<int>(spec->choices.size()));
      for (int i = 0; i < box->count(); ++i) EXPECT_EQ(box->itemText(i).toStdString(), spec->choices[static_cast<size_t>(i)]);
      EXPECT_EQ(box->currentText().toStdString(), param_text(spec->fallback));
      EXPECT_TRUE(box->toolTip().contains(QString::fromStdString(spec->help).left(20).toHtmlEscaped()));
    }
  }
  // The reference is of the mean alone.
  choose("kind", QStringLiteral("zero"));
  EXPECT_FALSE(combo("reference")->isVisible());
  choose("kind", QStringLiteral("resample"));
  EXPECT_TRUE(combo("resample_from")->isVisible());
  // No layer of this model has a state.
  auto* sites = qobject_cast<QStandardItemModel*>(combo("site")->model());
  EXPECT_FALSE(sites->item(combo("site")->findText(QStringLiteral("state")))->isEnabled());
  EXPECT_TRUE(sites->item(combo("site")->findText(QStringLiteral("z")))->isEnabled());
  // What is not in the row is in the form behind "More".
  QTest::mouseClick(panel_->findChild<QToolButton*>(QStringLiteral("patching_more")), Qt::LeftButton);
  QTest::qWait(60);
  auto* form = panel_->findChild<QWidget*>(QStringLiteral("patching_more_form"));
  EXPECT_TRUE(form->isVisible());
  EXPECT_TRUE(form->findChild<QWidget*>(QStringLiteral("all_positions")));
  EXPECT_TRUE(form->findChild<QWidget*>(QStringLiteral("batch_size")));
  EXPECT_FALSE(form->findChild<QWidget*>(QStringLiteral("site")));
  picture(form, QStringLiteral("patching_more"));
  form->close();
}

TEST_F(PatchingPanelTest, TheGridFillsWhileItRunsAndEndsAsStored) {
  openTwins(32, false);
  open();
  byPosition(true);
  std::vector<int64_t> seen;
  bool early = false;
  QObject::connect(session_.get(), &Session::runPreview, panel_.get(), [&](qint64, const QString&, int, const std::shared_ptr<const AnalysisResult>&) {
    seen.push_back(knownCells(map()->data()));
    early = early || !runs_[0];
    if (seen.size() == 2) picture(panel_.get(), QStringLiteral("patching_filling"));
  });
  runAndWait();
  ASSERT_TRUE(runs_[0]) << failed_.join(QLatin1Char('\n')).toStdString();
  ASSERT_GE(seen.size(), 2u) << "the grid fills";
  EXPECT_TRUE(early);
  EXPECT_LT(seen.front(), seen.back());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  const NamedArray& effect = arrayOf(runs_[0], "effect");
  const HeatMapData& d = map()->data();
  const int64_t layers = effect.shape[0], width = effect.shape[1], heads = effect.shape[2];
  ASSERT_EQ(d.rows, layers * heads);
  ASSERT_EQ(d.cols, width);
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t p = 0; p < width; ++p)
      for (int64_t h = 0; h < heads; ++h) {
        const double want = effect.at((l * width + p) * heads + h), got = (*d.values)[static_cast<size_t>((l * heads + h) * width + p)];
        ASSERT_TRUE(want == got || (std::isnan(want) && std::isnan(got))) << l << " " << p << " " << h;
      }
  EXPECT_EQ(d.rowAxis.kinds.front(), LayerKind::kSoftmax);
  EXPECT_TRUE(d.colAxis.tokens);
  EXPECT_EQ(map()->sourceRun(), runs_[0]->record.id);
  EXPECT_TRUE(map()->command().startsWith(QStringLiteral("microtome run activation_patching ")));
  EXPECT_TRUE(map()->command().contains(QStringLiteral("--by-position true")));
  ASSERT_TRUE(waitPatched()) << "the strongest cell is shown to begin with";
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("patching_by_position"));

  // One head, and the strongest of each place.
  choose("patching_heads", QStringLiteral("head 2"));
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t p = 0; p < width; ++p)
      ASSERT_EQ((*map()->data().values)[static_cast<size_t>(l * width + p)], static_cast<float>(effect.at((l * width + p) * heads + 2)));
  choose("patching_heads", QStringLiteral("strongest"));
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t p = 0; p < width; ++p) {
      double most = 0;
      for (int64_t h = 0; h < heads; ++h)
        if (const double v = effect.at((l * width + p) * heads + h); std::abs(v) > std::abs(most)) most = v;
      ASSERT_FLOAT_EQ((*map()->data().values)[static_cast<size_t>(l * width + p)], static_cast<float>(most));
    }
  choose("patching_array", QStringLiteral("value (logits)"));
  EXPECT_EQ(map()->data().unit, QStringLiteral("logits"));
}

TEST_F(PatchingPanelTest, AClickShowsWhatThatRunSays) {
  openTwins(8, false);
  session_->selection().setPrompt(2);
  open();
  byPosition(true);
  runAndWait();
  const NamedArray& effect = arrayOf(runs_[0], "effect");
  const PromptPair pair = *session_->currentPair(0);
  const auto tokensOf = static_cast<int64_t>(pair.clean_ids.size());
  const int64_t width = effect.shape[1], layer = 2, head = 1, pos = width - 1;
  clickCell(0, layer * 4 + head, pos);
  Selection& s = session_->selection();
  EXPECT_EQ(s.layer(), layer);
  EXPECT_EQ(s.head(), head);
  EXPECT_EQ(s.position(), tokensOf - 1) << "positions are aligned at the end";
  ASSERT_TRUE(waitPatched());
  app::CellRequest cell{"z", "denoise", layer, head, tokensOf - 1};
  app::Engine* engine = session_->engine();
  const app::NextTokens said = engine->patched_tokens(*session_->model(0), pair, cell, 8, asked(pair));
  ASSERT_TRUE(waitUntil([&] { return !tokens()->columns()[1].tokens.top.empty() && tokens()->columns()[1].tokens.top[0].logit == said.top[0].logit; }));
  const auto& shown = tokens()->columns();
  expectSame(shown[1].tokens, said, 8);
  expectSame(shown[0].tokens, engine->next_tokens(*session_->model(0), pair.clean_ids, 8, asked(pair)), 8);
  const app::NextTokens corrupted = engine->next_tokens(*session_->model(0), pair.corrupted_ids, 8, asked(pair));
  expectSame(shown[2].tokens, corrupted, 8);
  // Answer and wrong answer stand first; the change is against the corrupted run.
  const auto rows = tokens()->rows(1);
  ASSERT_EQ(rows.size(), 10u);
  EXPECT_EQ(rows[0].role, 1);
  EXPECT_EQ(rows[0].id, pair.answer_ids[0]);
  EXPECT_EQ(rows[1].role, -1);
  EXPECT_NEAR(rows[0].before, corrupted.asked[0].probability, 1e-9);
  EXPECT_EQ(TokenColumns::changeText(0.12, 0.63), QStringLiteral("▲ 51.0"));
  EXPECT_EQ(TokenColumns::changeText(0.5, 0.44), QStringLiteral("▼ 6.00"));
  EXPECT_TRUE(TokenColumns::changeText(0.5, 0.5001).isEmpty());
  // The sentence names the place and both numbers.
  const QString text = label("cell_sentence");
  EXPECT_TRUE(text.startsWith(QStringLiteral("Layer 2, head 1"))) << text.toStdString();
  EXPECT_TRUE(text.contains(QStringLiteral("clean z put into the corrupted run"))) << text.toStdString();
  EXPECT_TRUE(text.endsWith(shareText(corrupted.asked[0].probability) + QStringLiteral(" → ") + shareText(said.asked[0].probability))) << text.toStdString();
  // On this prompt the metric is what the run kept for it.
  const NamedArray& each = arrayOf(runs_[0], "value_prompts");
  const double kept = each.at(((layer * width + pos) * 4 + head) * each.shape[3] + 2);
  EXPECT_NEAR(CellRuns::metricOf("logit_diff", said, 1), kept, 1e-3);
  EXPECT_TRUE(label("cell_detail").contains(numberText(kept, 3))) << label("cell_detail").toStdString();

  // Arrow keys go on from there; what is selected elsewhere is followed.
  map()->setFocus();
  QTest::keyClick(map(), Qt::Key_Up);
  EXPECT_EQ(s.head(), 0);
  s.setHead(1, 3);
  EXPECT_EQ(map()->accessibleDescription().contains(QStringLiteral("L1 H3")), true) << map()->accessibleDescription().toStdString();
  // A position before the prompt begins does not exist in it.
  if (tokensOf < width) {
    clickCell(0, 0, 0);
    EXPECT_TRUE(tokens()->columns()[1].remark.contains(QStringLiteral("begins after this position")));
  }
  ASSERT_TRUE(settle());
}

TEST_F(PatchingPanelTest, CancelKeepsWhatWasComputedAndRunGoesOn) {
  openTwins(800, false);
  open();
  byPosition(true);
  QTest::mouseClick(button("patching_run"), Qt::LeftButton);
  EXPECT_TRUE(button("patching_cancel")->isVisible());
  // After the first layer, which is an item of its own, has been committed.
  ASSERT_TRUE(waitUntil([&] {
    for (const RunRecord& r : session_->store()->runs().value())
      if (r.analysis == "activation_patching" && r.items_done >= 1) return true;
    return false;
  }));
  QTest::mouseClick(button("patching_cancel"), Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return !failed_.isEmpty() || runs_[0]; }));
  ASSERT_EQ(failed_.value(0), QStringLiteral("cancelled"));
  ASSERT_TRUE(settle());
  const int64_t known = knownCells(map()->data());
  EXPECT_GT(known, 0) << "what was seen stays";
  EXPECT_LT(known, map()->data().rows * map()->data().cols);
  EXPECT_TRUE(column(0)->findChild<QLabel*>(QStringLiteral("grid_caption"))->text().contains(QStringLiteral("Run goes on from there")));
  picture(panel_.get(), QStringLiteral("patching_cancelled"));
  ASSERT_FALSE(session_->runs().empty());
  const RunRecord partial = session_->runs().front();
  EXPECT_EQ(partial.state, RunStatus::kPartial);
  EXPECT_GT(partial.items_done, 0);
  runAndWait();
  ASSERT_TRUE(runs_[0]);
  EXPECT_EQ(runs_[0]->record.id, partial.id);
  std::vector<AttemptRecord> attempts = session_->store()->attempts(partial.id).value();
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts[1].items_before, partial.items_done) << "the second goes on where the first stopped";
  const NamedArray& effect = arrayOf(runs_[0], "effect");
  int64_t finite = 0;
  for (int64_t i = 0; i < effect.size(); ++i) finite += !std::isnan(effect.at(i));
  EXPECT_EQ(knownCells(map()->data()), finite);
}

}  // namespace
}  // namespace microtome::desktop
