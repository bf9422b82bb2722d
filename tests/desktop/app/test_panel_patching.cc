// The patching panel against the stored arrays and the model itself: grids that fill while they run, cells by mouse and keys, what
// the model then says; cancelling and going on; two models under one scale; stored runs found again; states without a grid.
#include <QCheckBox>
#include <QComboBox>
#include <QLabel>
#include <QPushButton>
#include <QStandardItemModel>
#include <QTabBar>
#include <QTableView>
#include <QToolButton>
#include <cmath>

#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/patching/cell_runs.h"
#include "app/desktop/panels/patching/effect_grid.h"
#include "app/desktop/panels/patching/token_columns.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/heat_map.h"
#include "app/desktop/views/table_view.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

int64_t knownCells(const HeatMapData& d) {
  return d.values ? std::count_if(d.values->begin(), d.values->end(), [](float v) { return !std::isnan(v); }) : 0;
}

class PatchingPanelTest : public AppTest {
 protected:
  void SetUp() override {
    AppTest::SetUp();
    QObject::connect(session_.get(), &Session::runFinished,
                     [this](qint64, const QString&, int slot, const RunViewPtr& run) { runs_[slot] = run; });
    QObject::connect(session_.get(), &Session::runFailed,
                     [this](qint64, const QString&, int, const QString& why, bool cancelled) { failed_ << (cancelled ? QStringLiteral("cancelled") : why); });
  }
  void TearDown() override {
    panel_.reset();
    AppTest::TearDown();
  }
  void open(const QSize& size = QSize(760, 480)) {
    panel_.reset(makePanel("patching", size));
    ASSERT_TRUE(panel_);
    ASSERT_TRUE(waitUntil([&] { return !panel_->isVisible() || combo("patching_analysis")->count() == 3 || !session_->model(0); }));
    QTest::qWait(60);
  }
  QComboBox* combo(const char* name) const {
    // Controls of the analysis chosen before may still be on their way out.
    QComboBox* out = nullptr;
    for (QComboBox* b : panel_->findChildren<QComboBox*>(QLatin1String(name)))
      if (!out || b->isVisible()) out = b;
    return out;
  }
  QPushButton* button(const char* name) const { return panel_->findChild<QPushButton*>(QString::fromLatin1(name)); }
  QWidget* column(int slot) const { return panel_->findChild<QWidget*>(QStringLiteral("patching_%1").arg(slot)); }
  HeatMapView* map(int slot = 0) const { return column(slot)->findChild<HeatMapView*>(QStringLiteral("patching_map")); }
  TokenColumns* tokens() const { return panel_->findChild<TokenColumns*>(); }
  QString label(const char* name) const { return panel_->findChild<QLabel*>(QString::fromLatin1(name))->text(); }
  EmptyState* empty(int slot = 0) const { return column(slot)->findChild<EmptyState*>(); }
  void choose(const char* name, const QString& text) {
    QComboBox* box = combo(name);
    ASSERT_TRUE(box) << name;
    ASSERT_GE(box->findText(text), 0) << name << ": " << text.toStdString();
    box->setCurrentIndex(box->findText(text));
  }
  void chooseAnalysis(const char* name) {
    QComboBox* box = combo("patching_analysis");
    box->setCurrentIndex(box->findData(QString::fromLatin1(name)));
  }
  void byPosition(bool on) { panel_->findChild<QCheckBox*>(QStringLiteral("by_position"))->setChecked(on); }
  // Presses Run and waits for every open model's grid.
  void runAndWait() {
    runs_[0] = runs_[1] = nullptr;
    failed_.clear();
    QTest::mouseClick(button("patching_run"), Qt::LeftButton);
    ASSERT_TRUE(waitUntil([&] { return !failed_.isEmpty() || (runs_[0] && (!session_->model(1) || runs_[1])); }))
        << problems_.join(QLatin1Char('\n')).toStdString();
    ASSERT_TRUE(settle());
  }
  static const NamedArray& arrayOf(const RunViewPtr& run, const std::string& name) {
    for (const Artifact& artifact : run->result.artifacts)
      if (const auto* m = std::get_if<TensorMap>(&artifact))
        for (const NamedArray& a : m->arrays)
          if (a.name == name) return a;
    throw std::runtime_error("no array " + name);
  }
  void clickCell(int slot, int64_t row, int64_t col) {
    const QRectF plot = map(slot)->plotRect();
    const HeatMapData& d = map(slot)->data();
    QTest::mouseClick(map(slot), Qt::LeftButton, {},
                      QPointF(plot.left() + plot.width() * (col + 0.5) / d.cols, plot.top() + plot.height() * (row + 0.5) / d.rows).toPoint());
  }
  bool waitPatched() {
    return waitUntil([&] {
      const auto& c = tokens()->columns();
      return c.size() == 3 && c[1].remark.isEmpty() && !c[1].tokens.top.empty() && c[0].remark.isEmpty() && c[2].remark.isEmpty();
    });
  }
  static std::vector<int64_t> asked(const PromptPair& pair) {
    std::vector<int64_t> out = pair.answer_ids;
    out.insert(out.end(), pair.wrong_ids.begin(), pair.wrong_ids.end());
    return out;
  }
  static void expectSame(const app::NextTokens& shown, const app::NextTokens& said, size_t top) {
    ASSERT_GE(shown.top.size(), top);
    for (size_t i = 0; i < top; ++i) {
      EXPECT_EQ(shown.top[i].id, said.top[i].id);
      EXPECT_NEAR(shown.top[i].probability, said.top[i].probability, 1e-9);
    }
    ASSERT_EQ(shown.asked.size(), said.asked.size());
    for (size_t i = 0; i < said.asked.size(); ++i) {
      EXPECT_EQ(shown.asked[i].id, said.asked[i].id);
      EXPECT_NEAR(shown.asked[i].logit, said.asked[i].logit, 1e-9);
    }
  }

  std::unique_ptr<Panel> panel_;
  RunViewPtr runs_[2];
  QStringList failed_;
};

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
