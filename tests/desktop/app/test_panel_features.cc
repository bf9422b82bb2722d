// Features: the stored dashboards, labels that are kept and undone, steering with a real dictionary, and the form.
#include <QComboBox>
#include <QDir>
#include <QDoubleSpinBox>
#include <QElapsedTimer>
#include <QLineEdit>
#include <QSlider>
#include <QSpinBox>
#include <QTableView>

#include "app/desktop/views/feature_set_view.h"
#include "app/desktop/views/param_form.h"
#include "tests/desktop/app/stored_results.h"
#include "tests/desktop/views/feature_samples.h"

namespace microtome::desktop {
namespace {

// A dictionary of 8 features on blocks.1.hook_resid_post of zoo-llama (width 128): number i reads and writes coordinate i.
TensorMap smallDictionary() {
  const int64_t d = 128, f = 8;
  std::vector<float> enc(static_cast<size_t>(d * f), 0), dec(static_cast<size_t>(d * f), 0);
  for (int64_t i = 0; i < f; ++i) {
    enc[static_cast<size_t>(i * f + i)] = 1;
    dec[static_cast<size_t>(i * d + i)] = 1;
  }
  TensorMap map;
  map.name = "sae";
  map.title = "A small dictionary";
  map.arrays = {{"W_dec", {"feature", "d_out"}, {f, d}, dec, "", ""},
                {"W_enc", {"d_in", "feature"}, {d, f}, enc, "", ""},
                {"b_dec", {"d_out"}, {d}, std::vector<float>(static_cast<size_t>(d), 0), "", ""},
                {"b_enc", {"feature"}, {f}, std::vector<float>(static_cast<size_t>(f), 0), "", ""}};
  map.axis_labels["config"] = {R"({"kind":"standard","d_in":128,"d_out":128,"d_sae":8,"transcoder":false,"skip":false,"apply_b_dec_to_input":true,)"
                               R"("normalize":"none","norm_factor":1.0,"rescale_acts_by_decoder_norm":false,"k":0,"nested":[],)"
                               R"("hook_in":"blocks.1.hook_resid_post","hook_out":"blocks.1.hook_resid_post","name":"small","model":"zoo-llama",)"
                               R"("weights_hash":"","dtype":"float32","format":"","extra":"{}"})"};
  return map;
}

class FeaturesPanelTest : public StoredResultsTest {
 protected:
  qint64 storeFeatures(const QString& path = {}) {
    AnalysisResult result;
    result.artifacts.push_back(sampleFeatures(8));
    RunSpec spec = specOf("features", {{"tokens", "10000"}});
    spec.cost_params["dictionary_path"] = path.toStdString();
    return storeRun(spec, "Features", &result);
  }
  FeatureSetView* set() const { return find<FeatureSetView>("features_view"); }
  // A dashboard is read when it is looked at.
  void choose(qint64 feature) {
    ASSERT_TRUE(set()->choose(feature));
    ASSERT_TRUE(waitUntil([&] { return set()->feature() == feature; })) << feature;
  }
};

TEST_F(FeaturesPanelTest, WithoutDashboardsItOffersToBuildThem) {
  open("features");
  ASSERT_TRUE(emptyState());
  EXPECT_EQ(emptyState()->findChild<QPushButton*>()->text(), QStringLiteral("Try the demo"));
  openTwins(2, false);
  ASSERT_TRUE(settle());
  ASSERT_TRUE(emptyState());
  auto* button = emptyState()->findChild<QPushButton*>();
  ASSERT_TRUE(button->isVisible());
  EXPECT_EQ(button->text(), QStringLiteral("Build dashboards…"));
  picture(panel_.get(), QStringLiteral("features_empty"));
  QTest::mouseClick(button, Qt::LeftButton);
  auto* form = find<ParamForm>("dictionary_form");
  EXPECT_TRUE(form->isVisible());
  EXPECT_FALSE(find<QPushButton>("form_run")->isEnabled());
  EXPECT_FALSE(text("form_hint").isEmpty());
  EXPECT_TRUE(form->findChild<QToolButton*>(QStringLiteral("browse_dictionary")));
  picture(panel_.get(), QStringLiteral("features_form"));
  QTest::mouseClick(find<QToolButton>("features_build"), Qt::LeftButton);
  EXPECT_TRUE(emptyState());
}

TEST_F(FeaturesPanelTest, ALabelIsKeptInTheProjectAndTakenBack) {
  const qint64 run = storeFeatures();
  open("features");
  ASSERT_TRUE(waitUntil([&] { return set()->set() != nullptr; }));
  EXPECT_EQ(set()->sourceRun(), run);
  choose(6);
  QLineEdit* field = set()->dashboard()->labelField();
  field->setFocus();
  QTest::keyClicks(field, QStringLiteral("prepositions"));
  QTest::keyClick(field, Qt::Key_Return);
  ASSERT_TRUE(settle());
  const auto stored = [&] {
    std::string label;
    bool told = false;
    session_->post(
        QStringLiteral("test"), QStringLiteral("store"), session_.get(), [store = session_->store(), run](Progress&) { return store->feature(run, 6).value().features.at(0).label; },
        [&](const Result<std::string>& read) {
          label = read ? read.value() : read.status().text();
          told = true;
        });
    EXPECT_TRUE(waitUntil([&] { return told; }));
    return label;
  };
  EXPECT_EQ(stored(), "prepositions");
  EXPECT_EQ(set()->label(6), QStringLiteral("prepositions"));
  session_->undoStack().undo();
  ASSERT_TRUE(settle());
  EXPECT_EQ(stored(), "");
  EXPECT_EQ(set()->label(6), QString());
  EXPECT_EQ(field->text(), QString());
  session_->undoStack().redo();
  ASSERT_TRUE(settle());
  EXPECT_EQ(stored(), "prepositions");
  // Another feature is shown: the label of this one is still undone.
  choose(0);
  session_->undoStack().undo();
  EXPECT_EQ(set()->label(6), QString());
  picture(panel_.get(), QStringLiteral("features"));
}

// As a dictionary of GPT-2's width has them: the window must not wait for all of them.
TEST_F(FeaturesPanelTest, ALargeSetOpensAtOnce) {
  AnalysisResult result;
  FeatureSet all = sampleFeatures(24576);
  all.d_sae = 24576;
  for (size_t i = 0; i < all.features.size(); ++i) {
    FeatureSet::Feature& f = all.features[i];
    f.index = static_cast<int64_t>(i);
    f.neighbours = {{static_cast<int64_t>((i + 9000) % all.features.size()), 0.5}};
    for (int e = static_cast<int>(f.examples.size()); e > 0 && e < 20; ++e) {
      f.examples.push_back(f.examples.front());
      f.examples.back().sequence = e;
      for (int t = 0; t < 60; ++t) {
        f.examples.back().ids.push_back((t * 7 + e) % 8);
        f.examples.back().activations.push_back(0.1f * static_cast<float>(t % 5));
      }
    }
  }
  all.features[20001].label = "far down the list";
  result.artifacts.push_back(std::move(all));
  const qint64 run = storeRun(specOf("features", {{"tokens", "10000"}}), "Features", &result);
  result = {};
  panel_.reset(makePanel("features", QSize(1000, 620)));
  QElapsedTimer clock;
  clock.start();
  ASSERT_TRUE(waitUntil([&] { return set()->set() != nullptr && set()->feature() >= 0; })) << problems_.join(QLatin1Char('\n')).toStdString();
  const qint64 opened = clock.elapsed();
  RecordProperty("opened_ms", std::to_string(opened));
  EXPECT_LT(opened, 1500);
  EXPECT_EQ(set()->sourceRun(), run);
  EXPECT_EQ(set()->feature(), 0);                                // the strongest
  EXPECT_TRUE(text("feature_count").startsWith(QStringLiteral("24576"))) << text("feature_count").toStdString();
  // One that is not among the rows that are here yet, as a link from another panel asks for it.
  const qint64 before = clock.elapsed();
  choose(20001);
  EXPECT_LT(clock.elapsed() - before, 1500);
  EXPECT_EQ(set()->dashboard()->shown()->examples.size(), 20u);
  EXPECT_EQ(set()->dashboard()->labelField()->text(), QStringLiteral("far down the list"));
  // In time all rows are there, and the chosen one is marked among them.
  ASSERT_TRUE(waitUntil([&] { return set()->list()->model()->rowCount() == 24576; }));
  RecordProperty("all_rows_ms", std::to_string(clock.elapsed()));
  EXPECT_EQ(set()->list()->currentIndex().siblingAtColumn(0).data().toString(), QStringLiteral("20001"));
  // The search goes over the whole set, whatever has been read.
  set()->setSearch(QStringLiteral("label:\"far down\""));
  ASSERT_TRUE(waitUntil([&] { return set()->list()->model()->rowCount() == 1; }));
  EXPECT_EQ(text("feature_count"), QStringLiteral("1 of 24576 features"));
  set()->setSearch(QStringLiteral("index<3 sort:-index"));
  ASSERT_TRUE(waitUntil([&] { return set()->list()->model()->rowCount() == 3; }));
  EXPECT_EQ(set()->list()->model()->index(0, 0).data().toString(), QStringLiteral("2"));
  EXPECT_EQ(set()->feature(), 20001);                            // hidden by the search, still shown
  picture(panel_.get(), QStringLiteral("features_large"));
}

TEST_F(FeaturesPanelTest, SteeringChangesTheText) {
  if (!session_->findAnalysis(QStringLiteral("features"))) GTEST_SKIP() << "this build reads no dictionaries";
  openTwins(2, false);
  // A training run's dictionary, written beside the project as the panel does.
  AnalysisResult trained;
  trained.artifacts.push_back(smallDictionary());
  const QString folder = folder_.filePath(QStringLiteral("dictionaries/small"));
  session_->engine()->write_dictionaries(trained, {}, folder.toStdString());
  ASSERT_TRUE(QDir(folder).exists());
  storeFeatures(folder);
  open("features");
  ASSERT_TRUE(waitUntil([&] { return set()->set() != nullptr; }));
  choose(3);
  QTest::mouseClick(find<QToolButton>("features_steer"), Qt::LeftButton);
  auto* prompt = find<QLineEdit>("steer_prompt");
  ASSERT_TRUE(prompt->isVisible());
  EXPECT_FALSE(prompt->text().isEmpty());                        // the window's prompt
  prompt->setFocus();
  prompt->selectAll();
  QTest::keyClicks(prompt, QStringLiteral("Then, Mary and John went to the store."));
  auto* strength = find<QDoubleSpinBox>("steer_strength");
  strength->setValue(20);
  EXPECT_EQ(find<QSlider>("steer_slider")->value(), 40);
  find<QSpinBox>("steer_tokens")->setValue(6);
  QTest::keyClick(prompt, Qt::Key_Return);
  ASSERT_TRUE(waitUntil([&] { return !text("steer_without").isEmpty(); }, 60000)) << problems_.join(QLatin1Char('\n')).toStdString();
  EXPECT_NE(text("steer_without"), text("steer_with"));
  EXPECT_TRUE(text("steer_note").contains(QStringLiteral("KL")));
  // The run is in the project with the command that repeats it; the unsteered text is the model's own.
  const RunRecord* run = nullptr;
  for (const RunRecord& r : session_->runs())
    if (r.analysis == "steering") run = &r;
  ASSERT_TRUE(waitUntil([&] {
    for (const RunRecord& r : session_->runs())
      if (r.analysis == "steering") run = &r;
    return run != nullptr;
  }));
  EXPECT_NE(run->command.find("--prompt 'Then, Mary and John went to the store.'"), std::string::npos) << run->command;
  EXPECT_EQ(run->spec.answer_params.at("feature"), "3");
  std::vector<int64_t> ids = prompt_ids(session_->model(0)->tokenizer(), "Then, Mary and John went to the store.", BosMode::kAuto).value();
  std::vector<int64_t> written;
  for (int i = 0; i < 6; ++i) {
    const int64_t next = session_->engine()->next_tokens(*session_->model(0), ids, 1, {}).top[0].id;
    const auto eos = session_->model(0)->tokenizer()->eos_id();
    if (eos && next == *eos) break;
    written.push_back(next);
    ids.push_back(next);
  }
  EXPECT_EQ(text("steer_without").toStdString(), session_->model(0)->tokenizer()->decode(written));
  picture(panel_.get(), QStringLiteral("features_steer"));
}

TEST_F(FeaturesPanelTest, ARunsDictionaryIsChosenByTheWindow) {
  openTwins(2, false);
  AnalysisResult trained;
  trained.artifacts.push_back(smallDictionary());
  const qint64 run = storeRun(specOf("sae", {{"kind", "standard"}}), "SAE", &trained);
  open("features");
  ASSERT_TRUE(settle());
  session_->selection().setRun(run);
  auto* form = find<ParamForm>("dictionary_form");
  ASSERT_TRUE(waitUntil([&] { return form->isVisible(); }));
  const QString path = QString::fromStdString(form->values().at("dictionary"));
  EXPECT_TRUE(path.contains(QStringLiteral("-dictionaries/sae-"))) << path.toStdString();
  EXPECT_FALSE(QDir(path).exists());                             // written when the run starts
}

TEST_F(FeaturesPanelTest, DashboardsOfADictionaryTrainedHere) {
  if (!session_->findAnalysis(QStringLiteral("sae")) || !session_->findAnalysis(QStringLiteral("features"))) GTEST_SKIP();
  openTwins(2, false);
  const QString corpus = writeTokens(folder_.filePath(QStringLiteral("corpus.json")), session_->model(0)->facts().vocab_size);
  RunRequest train;
  train.analysis = QStringLiteral("sae");
  train.params = {{"corpus", corpus.toStdString()}, {"hook", "blocks.1.hook_resid_post"}, {"d_sae", "32"}, {"k", "4"}, {"tokens", "4096"}, {"batch", "128"},
                  {"length", "32"}, {"buffer", "4"}, {"eval_tokens", "256"}};
  ASSERT_NE(session_->run(train), 0);
  ASSERT_TRUE(settle());
  ASSERT_FALSE(session_->runs().empty()) << problems_.join(QLatin1Char('\n')).toStdString();
  const qint64 trained = session_->runs().front().id;
  ASSERT_EQ(session_->runs().front().state, RunStatus::kDone) << problems_.join(QLatin1Char('\n')).toStdString();
  open("features");
  session_->selection().setRun(trained);
  auto* form = find<ParamForm>("dictionary_form");
  ASSERT_TRUE(waitUntil([&] { return form->isVisible(); }));
  auto values = form->values();
  values["corpus"] = corpus.toStdString();
  values["tokens"] = "2048";
  values["length"] = "32";
  form->setValues(values);
  auto* run = find<QPushButton>("form_run");
  ASSERT_TRUE(run->isEnabled()) << text("form_hint").toStdString();
  QTest::mouseClick(run, Qt::LeftButton);
  ASSERT_TRUE(waitUntil([&] { return set()->set() != nullptr; }, 120000)) << problems_.join(QLatin1Char('\n')).toStdString();
  ASSERT_TRUE(settle());
  EXPECT_TRUE(QDir(QString::fromStdString(values.at("dictionary"))).exists());
  EXPECT_EQ(set()->set()->d_sae, 32);
  EXPECT_EQ(set()->set()->hook, "blocks.1.hook_resid_post");
  // A share of 4 of 32 features a token, whichever they are.
  double sum = 0;
  for (const FeatureSet::Feature& f : set()->set()->features) sum += f.density;
  EXPECT_NEAR(sum, 4, 1.5);
  QTest::qWait(100);
  picture(panel_.get(), QStringLiteral("features_trained"));
  // The dictionary's dashboards are found again by the run that trained it.
  session_->selection().setRun(0);
  session_->selection().setRun(trained);
  ASSERT_TRUE(settle());
  EXPECT_FALSE(form->isVisible());
}

}  // namespace
}  // namespace microtome::desktop
