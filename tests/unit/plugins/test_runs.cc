// The example plug-ins run as any other analysis does: numbers, project, resume, cancel, key.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "analysis/runner.h"
#include "core/tasks/task.h"
#include "tests/golden_path.h"
#include "tests/run_whole.h"
#include "tests/unit/base/temp_folder.h"
#include "tests/unit/plugins/plugin_fixture.h"

namespace microtome {
namespace {

class ExamplePlugins : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = load_model(testing::golden_path("models/zoo-llama"), c10::Device(c10::kCPU), at::kFloat);
    known_ = new app::AnalysisCatalogue(testing::load({testing::examples()}));
    GenerateOptions o;
    o.count = 24;
    data_ = new Dataset(generate_task("ioi", *model_->tokenizer, o).value());
  }
  static void TearDownTestSuite() {
    model_.reset();
    delete known_;
    delete data_;
  }
  static RunSettings settings(const std::string& name) {
    RunSettings s;
    s.analysis = name;
    if (name == "token_surprisal") s.params["batch_size"] = "5";
    return s;
  }
  static RunOutcome run(const RunSettings& s, ResultStore* store, int64_t cancel_after = -1) {
    Progress progress;
    int64_t steps = 0;
    progress.on_step([&](const Progress::Snapshot&) {
      if (cancel_after >= 0 && ++steps > cancel_after) progress.cancel();
    });
    return run_analysis(known_->registry, *model_, *data_, s, store, progress);
  }
  // Every number of a result as bytes, so that NaN equals NaN.
  static std::string bytes_of(const AnalysisResult& r) {
    std::string out;
    for (const SummaryItem& s : r.summary)
      out += s.name + std::string(reinterpret_cast<const char*>(&s.value), 8) +
             std::string(reinterpret_cast<const char*>(&s.low), 8);
    for (const std::string& f : r.findings) out += f;
    for (const Artifact& a : r.artifacts) {
      out += artifact_name(a);
      if (const auto* m = std::get_if<TensorMap>(&a))
        for (const NamedArray& n : m->arrays)
          std::visit(
              [&](const auto& v) { out.append(reinterpret_cast<const char*>(v.data()), v.size() * sizeof v[0]); },
              n.data);
    }
    return out;
  }
  static std::shared_ptr<const LoadedModel> model_;
  static app::AnalysisCatalogue* known_;
  static Dataset* data_;
};
std::shared_ptr<const LoadedModel> ExamplePlugins::model_;
app::AnalysisCatalogue* ExamplePlugins::known_ = nullptr;
Dataset* ExamplePlugins::data_ = nullptr;

TEST_F(ExamplePlugins, SurprisalIsWhatTheModelSays) {
  RunOutcome o = run(settings("token_surprisal"), nullptr);
  at::NoGradGuard no_grad;
  at::Tensor surprisal = testing::array_of(o.result, "surprisal"), entropy = testing::array_of(o.result, "entropy");
  int64_t width = surprisal.size(1);
  double total = 0;
  int64_t n = 0;
  for (size_t p = 0; p < data_->pairs.size(); ++p) {
    at::Tensor ids = at::tensor(data_->pairs[p].clean_ids, at::kLong).unsqueeze(0);
    int64_t length = ids.size(1);
    at::Tensor logprob =
        at::log_softmax(model_->model->forward(ids).logits[0].to(at::kDouble), -1).narrow(0, 0, length - 1);
    at::Tensor want = -logprob.gather(1, ids[0].narrow(0, 1, length - 1).unsqueeze(1)).squeeze(1);
    at::Tensor want_entropy = -(logprob.exp() * logprob).sum(-1);
    int64_t row = static_cast<int64_t>(p), first = width - length;
    EXPECT_TRUE(testing::close(surprisal[row].narrow(0, first + 1, length - 1), want, 2e-5, 1e-5));
    EXPECT_TRUE(testing::close(entropy[row].narrow(0, first + 1, length - 1), want_entropy, 2e-5, 1e-5));
    EXPECT_TRUE(at::isnan(surprisal[row].narrow(0, 0, first + 1)).all().item<bool>());
    total += want.sum().item<double>();
    n += length - 1;
  }
  ASSERT_EQ(o.result.summary.size(), 4u);
  EXPECT_EQ(o.result.summary[0].name, "surprisal");
  EXPECT_LT(o.result.summary[0].low, o.result.summary[0].value);
  EXPECT_NEAR(o.result.summary[2].value, std::exp(total / static_cast<double>(n)), 1e-3);
  // Help comes from the declared outputs; the table is sorted and has the rows asked for.
  const auto& map = std::get<TensorMap>(o.result.artifacts.at(0));
  for (const NamedArray& a : map.arrays) EXPECT_FALSE(a.help.empty());
  EXPECT_EQ(map.axis_labels.at("pos").back(), "-1");
  const auto& table = std::get<Table>(o.result.artifacts.back());
  ASSERT_EQ(table.rows.size(), 20u);
  for (size_t i = 1; i < table.rows.size(); ++i)
    EXPECT_GE(std::get<double>(table.rows[i - 1][4]), std::get<double>(table.rows[i][4]));
  EXPECT_EQ(o.result.findings.size(), 2u);
}

TEST_F(ExamplePlugins, ParametersActAndGoIntoTheKey) {
  RunSettings s = settings("token_surprisal");
  RunOutcome nats = run(s, nullptr);
  s.params["unit"] = "bits";
  s.params["top"] = "3";
  RunOutcome bits = run(s, nullptr);
  EXPECT_NEAR(bits.result.summary[0].value, nats.result.summary[0].value / std::log(2.0), 1e-9);
  EXPECT_EQ(std::get<Table>(bits.result.artifacts.back()).rows.size(), 3u);
  EXPECT_NE(bits.key.hash, nats.key.hash);
  EXPECT_EQ(nats.spec.plugin_hash, known_->registry.get("token_surprisal", "test").plugin_hash);
  EXPECT_NE(nats.key.text.find("plugin=" + nats.spec.plugin_hash), std::string::npos);
  s.params["unit"] = "hartley";
  EXPECT_THROW(run(s, nullptr), Error);
  s.params = {{"tpo", "3"}};
  EXPECT_THROW(run(s, nullptr), Error);
}

TEST_F(ExamplePlugins, GoOnAfterACancelWithEqualBits) {
  testing::TempFolder folder;
  for (const char* name : {"token_surprisal", "shared_prefix"}) {
    std::string whole = bytes_of(run(settings(name), nullptr).result);
    EXPECT_EQ(bytes_of(run(settings(name), nullptr).result), whole);
    for (int64_t after : {0, 1, 2, 4, 7}) {
      auto store =
          ResultStore::open(folder / (name + std::to_string(after) + ".microtome"), ResultStore::Mode::kReadWrite)
              .value();
      try {
        run(settings(name), store.get(), after);
      } catch (const Error& e) {
        EXPECT_EQ(e.status().code(), StatusCode::kCancelled) << e.what();
      }
      RunOutcome rest = run(settings(name), store.get());
      if (after == 4 && std::string(name) == "token_surprisal") {
        EXPECT_GT(rest.items_resumed, 0);
      }
      EXPECT_EQ(bytes_of(rest.result), whole) << name << " cancelled after " << after;
      RunOutcome again = run(settings(name), store.get());
      EXPECT_TRUE(again.from_store);
      EXPECT_EQ(bytes_of(again.result), whole);
      EXPECT_NE(store->attempts(1).value().back().versions.find(std::string(name) + ".so"), std::string::npos);
    }
  }
}

TEST_F(ExamplePlugins, SharedPrefixInPlainC) {
  RunOutcome o = run(settings("shared_prefix"), nullptr);
  const auto& table = std::get<Table>(o.result.artifacts.at(0));
  ASSERT_EQ(table.rows.size(), data_->pairs.size());
  for (size_t i = 0; i < table.rows.size(); ++i) {
    const PromptPair& p = data_->pairs[i];
    int64_t first = static_cast<int64_t>(
        std::mismatch(p.clean_ids.begin(), p.clean_ids.end(), p.corrupted_ids.begin()).first - p.clean_ids.begin());
    EXPECT_EQ(std::get<int64_t>(table.rows[i][1]), static_cast<int64_t>(p.clean_ids.size()));
    EXPECT_EQ(std::get<int64_t>(table.rows[i][2]), first);
    EXPECT_GE(std::get<int64_t>(table.rows[i][3]), 1);
  }
}

TEST_F(ExamplePlugins, PromptsAreCheckedBeforeThePluginSeesThem) {
  Progress progress;
  Dataset bad = *data_;
  bad.pairs[3].corrupted_ids.pop_back();
  EXPECT_THROW(run_analysis(known_->registry, *model_, bad, settings("shared_prefix"), nullptr, progress), Error);
  bad.pairs[3].clean_ids[1] = 1 << 30;
  EXPECT_THROW(run_analysis(known_->registry, *model_, bad, settings("token_surprisal"), nullptr, progress), Error);
  Dataset none;
  EXPECT_THROW(run_analysis(known_->registry, *model_, none, settings("token_surprisal"), nullptr, progress), Error);
  // One token: nothing to predict, said and not failed.
  Dataset one;
  one.name = "one";
  one.pairs.resize(1);
  one.pairs[0].clean_ids = {5};
  AnalysisResult r =
      run_analysis(known_->registry, *model_, one, settings("token_surprisal"), nullptr, progress).result;
  EXPECT_EQ(r.warnings.size(), 1u);
}

TEST_F(ExamplePlugins, RecurrentModelsToo) {
  auto model = load_model(testing::golden_path("models/zoo-gated_deltanet"), c10::Device(c10::kCPU), at::kDouble);
  Progress progress;
  RunSettings s = settings("token_surprisal");
  s.dtype = "float64";
  RunOutcome o = run_analysis(known_->registry, *model, *data_, s, nullptr, progress);
  EXPECT_TRUE(std::isfinite(o.result.summary[0].value));
}

}  // namespace
}  // namespace microtome
