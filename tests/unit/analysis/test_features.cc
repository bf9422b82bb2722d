// features: every number against a plain computation over all codes at once.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "analysis/engine/layers.h"
#include "analysis/features/coactivity.h"
#include "analysis/features/passes.h"
#include "analysis/runner.h"
#include "core/model/weights.h"
#include "core/store/feature_query.h"
#include "feature_fixture.h"
#include "tests/golden_path.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using namespace analyses;
using testing::run_whole;

// codes [token, feature] of all tokens in order, from activations and weights by the definition.
at::Tensor plain_codes(const Model& model, const std::vector<std::vector<int64_t>>& rows, const std::string& hook, const std::map<std::string, at::Tensor>& w) {
  at::NoGradGuard no_grad;
  HookPlan plan;
  plan.logits = false;
  plan.capture(hook);
  std::vector<at::Tensor> all;
  for (const auto& r : rows) {
    at::Tensor x = model.forward(at::tensor(r, at::kLong).unsqueeze(0).to(model.device()), plan).cache.get(hook).to(at::kCPU, at::kDouble).squeeze(0).flatten(1);
    all.push_back(at::relu(at::matmul(x - w.at("b_dec").to(at::kDouble), w.at("W_enc").to(at::kDouble)) + w.at("b_enc").to(at::kDouble)));
  }
  return at::cat(all);
}

const FeatureSet& set_of(const AnalysisResult& r) {
  for (const Artifact& a : r.artifacts)
    if (const auto* s = std::get_if<FeatureSet>(&a)) return *s;
  throw Error(StatusCode::kNotFound, "the result has no features");
}

double number_of(const AnalysisResult& r, const std::string& name) {
  for (const SummaryItem& s : r.summary)
    if (s.name == name) return s.value;
  return NAN;
}

bool same_features(const FeatureSet& a, const FeatureSet& b, double tolerance) {
  auto near = [&](double x, double y) { return (std::isnan(x) && std::isnan(y)) || std::fabs(x - y) <= tolerance * (1 + std::fabs(y)); };
  if (a.features.size() != b.features.size() || a.token_texts != b.token_texts || a.tokens_seen != b.tokens_seen) return false;
  for (size_t i = 0; i < a.features.size(); ++i) {
    const auto &x = a.features[i], &y = b.features[i];
    if (x.index != y.index || x.density != y.density || !near(x.max, y.max) || !near(x.mean, y.mean) || x.histogram != y.histogram || x.examples.size() != y.examples.size()) return false;
    for (auto part : {&FeatureSet::Feature::top_logits, &FeatureSet::Feature::bottom_logits}) {
      if ((x.*part).size() != (y.*part).size()) return false;
      for (size_t k = 0; k < (x.*part).size(); ++k)
        if ((x.*part)[k].id != (y.*part)[k].id || !near((x.*part)[k].value, (y.*part)[k].value)) return false;
    }
    for (auto part : {&FeatureSet::Feature::neighbours, &FeatureSet::Feature::coactive}) {
      if ((x.*part).size() != (y.*part).size()) return false;
      for (size_t k = 0; k < (x.*part).size(); ++k)
        if ((x.*part)[k].feature != (y.*part)[k].feature || !near((x.*part)[k].value, (y.*part)[k].value)) return false;
    }
    for (size_t k = 0; k < x.examples.size(); ++k) {
      const auto &p = x.examples[k], &q = y.examples[k];
      if (p.band != q.band || p.sequence != q.sequence || p.position != q.position || p.strongest != q.strongest || p.ids != q.ids || p.activations.size() != q.activations.size()) return false;
      for (size_t t = 0; t < p.activations.size(); ++t)
        if (!near(static_cast<double>(p.activations[t]), static_cast<double>(q.activations[t]))) return false;
    }
  }
  return true;
}

class Features : public testing::FeatureFixture {
 protected:
  static constexpr int64_t kFeatures = 96, kRows = 60, kLength = 40, kBins = 12, kTop = 5, kContext = 4, kBands = 4, kDrawn = 2;

  void prepare(const std::string& hook, double scale = 0.35, double shift = -2.5) {
    hook_ = hook;
    model_ = testing::load_test_model(testing::golden_path("golden/models/stories260K"), at::kDouble);
    int64_t width = 1;
    const HookPoint* p = model_->catalogue().find(hook);
    for (size_t i = 2; i < p->sizes.size(); ++i) width *= p->sizes[i];
    params_ = {{"dictionary", write_sae("sae", width, kFeatures, hook, scale, shift)}, {"corpus", write_corpus(kRows, kLength, 512)}, {"length", "64"}, {"examples", std::to_string(kTop)},
               {"context", std::to_string(kContext)}, {"bins", std::to_string(kBins)}, {"bands", std::to_string(kBands)}, {"band_examples", std::to_string(kDrawn)}, {"logits", "6"}, {"neighbours", "7"}, {"coactive", "8"}};
    codes_ = plain_codes(*model_, rows_, hook, weights_);
  }
  AnalysisResult run(int64_t batch = 7, uint64_t seed = 5) { return run_whole("features", *model_, Dataset{}, params_, batch * kLength, seed); }
  double code(int64_t sequence, int64_t position, int64_t feature) const { return codes_.const_data_ptr<double>()[(sequence * kLength + position) * kFeatures + feature]; }

  std::unique_ptr<Model> model_;
  std::string hook_;
  std::map<std::string, std::string> params_;
  at::Tensor codes_;
};

TEST_F(Features, EveryNumberIsThatOfAPlainComputation) {
  prepare("blocks.2.hook_resid_post");
  AnalysisResult result = run();
  const FeatureSet& set = set_of(result);
  ASSERT_EQ(set.features.size(), static_cast<size_t>(kFeatures));
  EXPECT_EQ(set.tokens_seen, kRows * kLength);
  EXPECT_EQ(set.hook, hook_);
  int64_t alive = 0, dense = 0, fired = 0, banded = 0;
  for (const FeatureSet::Feature& f : set.features) {
    const int64_t i = f.index;
    int64_t count = 0;
    double max = 0, sum = 0;
    struct Row { double value; int64_t sequence, position; };
    std::vector<Row> strongest;
    for (int64_t s = 0; s < kRows; ++s) {
      Row best{0, s, 0};
      for (int64_t p = 0; p < kLength; ++p) {
        const double v = code(s, p, i);
        count += v > 0;
        sum += v;
        max = std::max(max, v);
        // As floats: a token that comes twice at the beginning has the same activations twice, but for rounding.
        if (static_cast<float>(v) > static_cast<float>(best.value)) best = {v, s, p};
      }
      if (best.value > 0) strongest.push_back(best);
    }
    alive += count > 0;
    dense += count > kRows * kLength / 10;
    fired += count;
    ASSERT_EQ(f.density, static_cast<double>(count) / (kRows * kLength)) << i;
    EXPECT_NEAR(f.max, max, 1e-6 * (1 + max));
    EXPECT_NEAR(f.mean, count ? sum / static_cast<double>(count) : 0, 1e-6 * (1 + max));
    std::vector<int64_t> histogram(kBins, 0);
    const double most = f.max;
    for (int64_t s = 0; s < kRows; ++s)
      for (int64_t p = 0; p < kLength; ++p)
        if (const double v = static_cast<double>(static_cast<float>(code(s, p, i))); v > 0) ++histogram[static_cast<size_t>(std::min<int64_t>(kBins - 1, static_cast<int64_t>(v / most * kBins)))];
    EXPECT_EQ(f.histogram, histogram) << i;
    // The strongest sequences.
    std::sort(strongest.begin(), strongest.end(), [](const Row& a, const Row& b) { return a.value > b.value; });
    std::set<int64_t> top_sequences;
    size_t tops = 0;
    for (const auto& e : f.examples) tops += e.band == "top";
    ASSERT_EQ(tops, std::min<size_t>(kTop, strongest.size())) << i;
    for (size_t k = 0; k < f.examples.size(); ++k) {
      const FeatureSet::Example& e = f.examples[k];
      if (k < tops) {
        EXPECT_EQ(e.sequence, strongest[k].sequence) << i << " example " << k;
        EXPECT_EQ(e.position, strongest[k].position);
        top_sequences.insert(e.sequence);
      }
      const int64_t from = std::max<int64_t>(0, e.position - kContext), to = std::min(kLength, e.position + kContext + 1);
      ASSERT_EQ(static_cast<int64_t>(e.ids.size()), to - from);
      EXPECT_EQ(e.strongest, e.position - from);
      for (int64_t p = from; p < to; ++p) {
        EXPECT_EQ(e.ids[static_cast<size_t>(p - from)], rows_[static_cast<size_t>(e.sequence)][static_cast<size_t>(p)]);
        EXPECT_NEAR(static_cast<double>(e.activations[static_cast<size_t>(p - from)]), code(e.sequence, p, i), 1e-6 * (1 + max)) << i << " at " << p;
      }
    }
    // Of each band as many as there are, from sequences not shown already, each once.
    const char* names[] = {"0.00–0.25", "0.25–0.50", "0.50–0.75", "0.75–1.00"};
    for (int64_t b = 0; b < kBands; ++b) {
      auto band_of = [&](double v) { return std::min<int64_t>(kBands - 1, static_cast<int64_t>(static_cast<double>(static_cast<float>(v)) / most * kBands)); };
      std::set<int64_t> possible, drawn;
      for (int64_t s = 0; s < kRows; ++s)
        for (int64_t p = 0; p < kLength; ++p)
          if (code(s, p, i) > 0 && band_of(code(s, p, i)) == b && top_sequences.count(s) == 0) possible.insert(s);
      size_t n = 0;
      for (const auto& e : f.examples) {
        if (e.band != names[b]) continue;
        ++n;
        drawn.insert(e.sequence);
        EXPECT_EQ(possible.count(e.sequence), 1u);
        EXPECT_EQ(band_of(code(e.sequence, e.position, i)), b);
      }
      EXPECT_EQ(n, std::min<size_t>(kDrawn, possible.size())) << i << " band " << b;
      EXPECT_EQ(drawn.size(), n);
      banded += static_cast<int64_t>(n);
    }
  }
  EXPECT_GT(alive, kFeatures / 2) << "the test would see too little";
  EXPECT_GT(banded, 100);
  EXPECT_EQ(number_of(result, "alive"), static_cast<double>(alive) / kFeatures);
  EXPECT_EQ(number_of(result, "dead"), static_cast<double>(kFeatures - alive));
  EXPECT_EQ(number_of(result, "dense"), static_cast<double>(dense));
  EXPECT_DOUBLE_EQ(number_of(result, "l0"), static_cast<double>(fired) / (kRows * kLength));
  EXPECT_FALSE(result.findings.empty());

  // Logits, neighbours and co-activation.
  at::Tensor w_dec = weights_["W_dec"].to(at::kCPU, at::kDouble), unembed = model_->weights().get("embed.weight").to(at::kCPU, at::kDouble), gain = model_->weights().get("ln_final.weight").to(at::kCPU, at::kDouble);
  at::Tensor logits = at::matmul(w_dec * gain, unembed.t()), unit = w_dec / w_dec.norm(2, {1}, true), cosine = at::matmul(unit, unit.t());
  at::Tensor active = (codes_ > 0).to(at::kDouble), both = at::matmul(active.t(), active), n1 = active.sum(0);
  const double n = kRows * kLength;
  for (const FeatureSet::Feature& f : set.features) {
    at::Tensor order = logits[f.index].argsort(-1, true);
    ASSERT_EQ(f.top_logits.size(), 6u);
    for (int64_t k = 0; k < 6; ++k) {
      EXPECT_EQ(f.top_logits[static_cast<size_t>(k)].id, order[k].item<int64_t>());
      EXPECT_NEAR(f.top_logits[static_cast<size_t>(k)].value, logits[f.index][order[k]].item<double>(), 1e-6);
      EXPECT_EQ(f.bottom_logits[static_cast<size_t>(k)].id, order[511 - k].item<int64_t>());
    }
    std::vector<std::pair<double, int64_t>> near, phi;
    for (int64_t j = 0; j < kFeatures; ++j) {
      if (j == f.index) continue;
      near.emplace_back(-cosine[f.index][j].item<double>(), j);
      const double a = n1[f.index].item<double>(), b = n1[j].item<double>(), ab = both[f.index][j].item<double>();
      if (ab >= 2 && a < n && b < n) phi.emplace_back(-(n * ab - a * b) / std::sqrt(a * (n - a) * b * (n - b)), j);
    }
    std::sort(near.begin(), near.end());
    std::sort(phi.begin(), phi.end());
    ASSERT_EQ(f.neighbours.size(), 7u);
    for (size_t k = 0; k < 7; ++k) {
      EXPECT_EQ(f.neighbours[k].feature, near[k].second);
      EXPECT_NEAR(f.neighbours[k].value, -near[k].first, 1e-6);
    }
    ASSERT_EQ(f.coactive.size(), std::min<size_t>(8, phi.size())) << f.index;
    for (size_t k = 0; k < f.coactive.size(); ++k) {
      EXPECT_EQ(f.coactive[k].feature, phi[k].second);
      EXPECT_NEAR(f.coactive[k].value, -phi[k].first, 1e-9);
    }
  }
}

TEST_F(Features, BatchesDoNotMatterAndSeedsOnlyToWhatIsDrawn) {
  prepare("blocks.2.hook_resid_post");
  const AnalysisResult a = run(7), b = run(1), c = run(7, 6);
  EXPECT_TRUE(same_features(set_of(a), set_of(b), 1e-6));
  EXPECT_FALSE(same_features(set_of(a), set_of(c), 1e-6));
  for (size_t i = 0; i < set_of(a).features.size(); ++i)
    for (size_t k = 0; k < set_of(a).features[i].examples.size(); ++k)
      if (set_of(a).features[i].examples[k].band == "top") {
        EXPECT_EQ(set_of(a).features[i].examples[k].position, set_of(c).features[i].examples[k].position);
      }
}

TEST_F(Features, ChosenFeaturesAreThoseOfTheWhole) {
  prepare("blocks.2.hook_resid_post");
  const AnalysisResult whole = run();
  params_["features"] = "90-92, 3,3";
  const AnalysisResult some = run();
  ASSERT_EQ(set_of(some).features.size(), 4u);
  FeatureSet cut = set_of(whole);
  std::erase_if(cut.features, [](const auto& f) { return f.index != 3 && (f.index < 90 || f.index > 92); });
  cut.token_texts = set_of(some).token_texts;
  // A GPU's library takes the products of other shapes in another order.
  EXPECT_TRUE(same_features(set_of(some), cut, model_->device().is_cpu() ? 1e-9 : 1e-5));
  EXPECT_EQ(number_of(some, "alive"), number_of(whole, "alive")) << "of all features, not of those shown";
  params_["tokens"] = "1000";
  EXPECT_EQ(set_of(run()).tokens_seen, 1000);
  params_["tokens"] = "0";
  params_["features"] = "alive";
  for (const auto& f : set_of(run()).features) EXPECT_GT(f.density, 0);
  params_["most"] = "2";
  const AnalysisResult two = run();
  ASSERT_EQ(set_of(two).features.size(), 2u);
  EXPECT_FALSE(two.warnings.empty());
  for (const char* bad : {"", "x", "5-", "5-4", "96", "1,,2", "-1", "0-1000000000"}) {
    params_["features"] = bad;
    EXPECT_THROW(run(), Error) << bad;
  }
}

TEST_F(Features, HeadsAreFlattenedAndReachTheLogitsThroughTheOutputMatrix) {
  prepare("blocks.1.attn.hook_z", 0.5, -1);
  const FeatureSet set = set_of(run());
  at::Tensor w_dec = weights_["W_dec"].to(at::kCPU, at::kDouble), unembed = model_->weights().get("embed.weight").to(at::kCPU, at::kDouble), gain = model_->weights().get("ln_final.weight").to(at::kCPU, at::kDouble);
  // What the attention layer adds when hook_z is the direction, minus what it adds when it is 0, by running the model.
  int64_t checked = 0;
  for (const FeatureSet::Feature& f : set.features) {
    double max = codes_.select(1, f.index).max().item<double>();
    EXPECT_NEAR(f.max, max, 1e-6 * (1 + max));
    if (f.index % 17 != 0) continue;
    auto written = [&](const at::Tensor& z) {
      HookPlan plan;
      plan.logits = false;
      plan.edit("blocks.1.attn.hook_z", [&](const at::Tensor& value, int64_t) { return z.view({1, 1, value.size(2), value.size(3)}).to(value.device()).expand_as(value).clone(); });
      plan.capture("blocks.1.hook_attn_out");
      at::NoGradGuard no_grad;
      return model_->forward(at::ones({1, 1}, at::kLong).to(model_->device()), plan).cache.get("blocks.1.hook_attn_out").flatten().to(at::kCPU);
    };
    at::Tensor direction = w_dec[f.index], residual = written(direction) - written(at::zeros_like(direction)), logits = at::matmul(unembed, residual * gain);
    at::Tensor order = logits.argsort(-1, true);
    for (int64_t k = 0; k < 6; ++k) {
      EXPECT_EQ(f.top_logits[static_cast<size_t>(k)].id, order[k].item<int64_t>());
      EXPECT_NEAR(f.top_logits[static_cast<size_t>(k)].value, logits[order[k]].item<double>(), 1e-6);
    }
    ++checked;
  }
  EXPECT_GT(checked, 3);
}

TEST_F(Features, StateWritesOfARecurrentLayerAreReadAndHaveNoLogits) {
  model_ = testing::load_test_model(testing::golden_path("golden/models/fla-gla"), at::kDouble);
  hook_ = "blocks.1.attn.hook_state_write";
  const HookPoint* p = model_->catalogue().find(hook_);
  ASSERT_NE(p, nullptr);
  const int64_t width = p->sizes[2] * p->sizes[3] * p->sizes[4];
  params_ = {{"dictionary", write_sae("sae", width, kFeatures, hook_, 1, -0.02)}, {"corpus", write_corpus(30, 20, 90)}, {"length", "64"}};
  codes_ = plain_codes(*model_, rows_, hook_, weights_);
  const AnalysisResult r = run();
  int64_t alive = 0;
  for (const FeatureSet::Feature& f : set_of(r).features) {
    at::Tensor c = codes_.select(1, f.index);
    const int64_t count = (c > 0).sum().item<int64_t>();
    alive += count > 0;
    EXPECT_EQ(f.density, static_cast<double>(count) / 600);
    EXPECT_NEAR(f.max, c.max().item<double>(), 1e-6 * (1 + c.max().item<double>()));
    EXPECT_TRUE(f.top_logits.empty());
    EXPECT_EQ(f.neighbours.size(), 10u);
  }
  EXPECT_GT(alive, 20);
  ASSERT_FALSE(r.warnings.empty());
  EXPECT_NE(r.warnings[0].find("no logits"), std::string::npos) << r.warnings[0];
}

TEST_F(Features, MistakesAreNamedBeforeAnythingRuns) {
  prepare("blocks.2.hook_resid_post");
  auto message = [&](std::map<std::string, std::string> change) {
    auto kept = params_;
    for (auto& [k, v] : change) params_[k] = v;
    std::string text;
    try {
      run();
    } catch (const Error& e) {
      text = e.status().text();
    }
    params_ = kept;
    return text;
  };
  EXPECT_NE(message({{"dictionary", ""}}).find("no dictionary"), std::string::npos);
  EXPECT_NE(message({{"corpus", ""}}).find("no corpus"), std::string::npos);
  EXPECT_NE(message({{"hook", "blocks.2.hook_resid_pos"}}).find("blocks.2.hook_resid_post"), std::string::npos) << "the nearest names: " << message({{"hook", "blocks.2.hook_resid_pos"}});
  EXPECT_NE(message({{"hook", "blocks.2.mlp.hook_post"}}).find("172"), std::string::npos) << "both widths";
  EXPECT_NE(message({{"hook", "blocks.2.attn.hook_pattern"}}).find("no vector a token"), std::string::npos);
  EXPECT_NE(message({{"member", "3"}}).find("no member 3"), std::string::npos);
  EXPECT_NE(message({{"layer", "4"}}).find("layer 4"), std::string::npos);
}

// Cancelled anywhere and gone on, the stored features are the same, bit for bit; then they are found by text.
TEST_F(Features, AStoredRunGoesOnAndIsSearched) {
  prepare("blocks.2.hook_resid_post");
  auto loaded = load_model(testing::golden_path("golden/models/stories260K"), c10::Device(c10::kCPU), at::kFloat);
  RunSettings settings;
  settings.analysis = "features";
  settings.params = params_;
  settings.seed = 5;
  auto go = [&](ResultStore* store, int64_t after) {
    Progress progress;
    int64_t steps = 0;
    progress.on_step([&](const Progress::Snapshot&) {
      if (after >= 0 && ++steps > after) progress.cancel();
    });
    return run_analysis(builtin(), *loaded, Dataset{}, settings, store, progress);
  };
  const FeatureSet whole = set_of(go(nullptr, -1).result);
  for (int64_t after : {1, 3, 5, 8, 10}) {
    auto store = ResultStore::open(folder_ + "/p" + std::to_string(after) + ".microtome", ResultStore::Mode::kReadWrite).value();
    EXPECT_THROW(go(store.get(), after), Error);
    const RunOutcome rest = go(store.get(), -1);
    EXPECT_TRUE(same_features(set_of(rest.result), whole, 0)) << after;
    EXPECT_TRUE(same_features(set_of(store->result(rest.record.id).value()), whole, 0)) << after;
    // By the strongest tokens, against the examples themselves.
    const std::string wanted = whole.token_texts.at(whole.features[7].examples.at(0).ids.at(static_cast<size_t>(whole.features[7].examples[0].strongest)));
    std::vector<int64_t> expected, found;
    for (const auto& f : whole.features)
      for (const auto& e : f.examples)
        if (whole.token_texts.at(e.ids[static_cast<size_t>(e.strongest)]) == wanted && (expected.empty() || expected.back() != f.index)) expected.push_back(f.index);
    FeatureQuery q;
    q.tokens.push_back({wanted, true});
    for (const FeatureRow& r : store->search_features(rest.record.id, q).value().rows) found.push_back(r.index);
    EXPECT_EQ(found, expected) << wanted;
    EXPECT_FALSE(found.empty());
  }
}

TEST_F(Features, ADictionaryOfOtherWeightsIsNamed) {
  prepare("blocks.2.hook_resid_post");
  auto loaded = load_model(testing::golden_path("golden/models/stories260K"), c10::Device(c10::kCPU), at::kFloat);
  RunSettings settings;
  settings.analysis = "features";
  settings.params = params_;
  auto warned = [&](const std::string& hash) {
    write_sae("sae", 64, kFeatures, hook_, 0.35, -2.5, {{"metadata", {{"hook_name", hook_}, {"sae_lens_version", "6.54.12"}, {"microtome", {{"weights_hash", hash}}}}}});
    Progress progress;
    const AnalysisResult r = run_analysis(builtin(), *loaded, Dataset{}, settings, nullptr, progress).result;
    auto says = [&](const std::vector<std::string>& all) { return std::any_of(all.begin(), all.end(), [](const std::string& w) { return w.find("was trained on weights") != std::string::npos; }); };
    EXPECT_EQ(says(r.warnings), says(progress.snapshot().warnings)) << "said while it runs, too";
    return says(r.warnings);
  };
  EXPECT_TRUE(warned(std::string(64, 'a')));
  EXPECT_FALSE(warned(loaded->checkpoint->weights_hash().value()));
}

// What a pass finds does not depend on how the corpus was cut.
TEST_F(Features, BlocksDoNotMatter) {
  prepare("blocks.2.hook_resid_post");
  Dataset none;
  AnalysisInput in{*model_, nullptr, none, {}, 0, MixerForm::kAuto};
  Dictionary d;
  d.config.kind = "standard";
  d.config.d_in = d.config.d_out = 64;
  d.config.d_sae = kFeatures;
  for (const auto& [name, w] : weights_) d.weights[name] = w.to(model_->device(), at::kDouble);
  Corpus corpus;
  corpus.sequences = rows_;
  const CorpusScan scan(in, d, hook_, corpus, true);
  EXPECT_EQ(scan.blocks().size(), 3u);
  PassOptions o;
  o.d_sae = kFeatures;
  o.examples = kTop;
  o.band_examples = kDrawn;
  o.context = kContext;
  o.bins = kBins;
  std::vector<int64_t> all;
  for (int64_t f = 0; f < kFeatures; ++f) all.push_back(f);
  auto passes = [&](int64_t step) {
    Progress progress;
    FirstPass first(o, all);
    for (int64_t s = 0; s < kRows; s += step) first.add(first.scan(scan, {s, std::min(kRows, s + step), 0}, 1, 4, progress));
    SecondPass second(o, first, scan, all);
    for (int64_t s = 0; s < kRows; s += step) second.add(second.scan({s, std::min(kRows, s + step), 0}, 4, progress));
    std::string out;
    for (size_t i = 0; i < all.size(); ++i) {
      const SecondPass::Feature f = second.feature(i);
      out += std::to_string(first.moments().count[i]) + " " + std::to_string(first.moments().max[i]);
      for (int64_t n : f.histogram) out += " " + std::to_string(n);
      for (const auto& s : f.shown) out += " " + s.band + ":" + std::to_string(s.token) + ":" + std::to_string(s.activations.size());
    }
    for (int64_t e : first.sample_ends()) out += " " + std::to_string(e);
    return out;
  };
  const std::string whole = passes(kRows);
  EXPECT_EQ(passes(1), whole);
  EXPECT_EQ(passes(7), whole);
}

TEST(FeatureTally, LotsFavourNoToken) {
  // The smallest of ten lots is each of the ten about equally often.
  std::vector<int64_t> first(10, 0);
  for (int64_t feature = 0; feature < 5000; ++feature) {
    int64_t best = 0;
    for (int64_t t = 1; t < 10; ++t)
      if (lot_of(3, feature, t) < lot_of(3, feature, best)) best = t;
    ++first[static_cast<size_t>(best)];
  }
  double chi = 0;
  for (int64_t n : first) chi += std::pow(static_cast<double>(n) - 500, 2) / 500;
  EXPECT_LT(chi, 27.9) << "0.1 % of fair draws are beyond this";
}

TEST(FeatureTally, ASampleOfTokensIsBoundedAndThatOfTheSmallestLots) {
  SequenceCodes codes;
  codes.length = codes.looked_at = 1000;
  for (int32_t p = 0; p < 1000; ++p)
    for (int32_t k = 0; k < 1 + p % 4; ++k) {
      codes.position.push_back(p);
      codes.feature.push_back(k);
      codes.value.push_back(1);
    }
  TokenSample all(7, 1 << 20, 1 << 20), some(7, 100, 1 << 20), pairs(7, 1 << 20, 100);
  for (TokenSample* s : {&all, &some, &pairs}) s->add(codes);
  std::vector<int64_t> ends, features;
  all.write(ends, features);
  EXPECT_EQ(ends.size(), 1000u);
  EXPECT_EQ(features.size(), 2500u);
  EXPECT_FALSE(all.dropped());
  for (TokenSample* s : {&some, &pairs}) {
    ends.clear();
    features.clear();
    s->write(ends, features);
    EXPECT_TRUE(s->dropped());
    int64_t squares = 0, before = 0;
    for (int64_t e : ends) {
      squares += (e - before) * (e - before);
      before = e;
    }
    EXPECT_LE(s == &some ? static_cast<int64_t>(features.size()) : squares, 100);
    EXPECT_GT(s == &some ? static_cast<int64_t>(features.size()) : squares, 60);
  }
}

TEST(FeatureTally, PartnersByHand) {
  // Ten tokens: 0 and 1 always together on four, 2 on one of them and three others, 3 everywhere.
  std::vector<int64_t> ends, features;
  for (int t = 0; t < 10; ++t) {
    if (t < 4) features.insert(features.end(), {0, 1});
    if (t >= 2 && t < 6) features.push_back(2);
    features.push_back(3);
    ends.push_back(static_cast<int64_t>(features.size()));
  }
  Progress progress;
  const Partners p = coactive_features(ends, features, 5, {0, 2, 4}, 2, progress);
  EXPECT_EQ(p.feature, (std::vector<int64_t>{1, 2, 0, 1, -1, -1}));
  EXPECT_NEAR(p.phi[0], 1, 1e-12);
  EXPECT_NEAR(p.phi[1], (10. * 2 - 16) / 24, 1e-12);
  EXPECT_TRUE(std::isnan(p.phi[4]));
}

}  // namespace
}  // namespace microtome
