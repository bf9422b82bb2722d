// observable_propagation against products of weight matrices written out, against small changes of the running model, and against
// paths corrupted by hand.
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "core/model/weights.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using testing::array_of;
using testing::close;
using testing::run_whole;

const Model& model_of(const std::string& name) {
  static auto& models = *new std::map<std::string, std::unique_ptr<Model>>;
  std::unique_ptr<Model>& m = models[name];
  if (!m) m = testing::load_test_model(testing::golden_path("golden/models/" + name), at::kDouble);
  return *m;
}

Dataset pairs(const Model& m, int64_t length = 7) {
  const int64_t vocab = m.config().vocab_size;
  Dataset d = testing::dataset_of(testing::random_ids(3, length, vocab, 2)), other = testing::dataset_of(testing::random_ids(3, length, vocab, 4));
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    d.pairs[i].corrupted_ids = other.pairs[i].clean_ids;
    d.pairs[i].answer_ids = {static_cast<int64_t>(i + 1)};
    d.pairs[i].wrong_ids = {static_cast<int64_t>(i + 9), static_cast<int64_t>(i + 10)};
  }
  return d;
}

at::Tensor weight(const Model& m, const std::string& name) { return m.weights().get(name).to(at::kCPU, at::kDouble); }
at::Tensor unembedding(const Model& m) { return weight(m, m.config().tied_unembedding ? "embed.weight" : "unembed.weight"); }
std::string at_block(int64_t l, const std::string& p) { return "blocks." + std::to_string(l) + "." + p; }
at::Tensor batch(const Model& m, const std::vector<int64_t>& ids) { return at::tensor(ids, at::kLong).unsqueeze(0).to(m.device()); }

at::Tensor one_hot_difference(const Model& m, const std::vector<int64_t>& plus, const std::vector<int64_t>& minus) {
  at::Tensor n = at::zeros({m.config().vocab_size}, at::kDouble);
  for (int64_t id : plus) n[id] += 1.0 / static_cast<double>(plus.size());
  for (int64_t id : minus) n[id] -= 1.0 / static_cast<double>(minus.size());
  return n;
}

TEST(ObservablePropagation, WithoutNormsVectorsAreProductsOfWeights) {
  const Model& m = model_of("induction-2l-attn-only");
  Dataset d = pairs(m);
  AnalysisResult r = run_whole("observable_propagation", m, d, {{"tokens", "#3|#5>#7"}, {"other", "#4>#5"}, {"second", "1"}});
  at::Tensor y = array_of(r, "vectors"), v = at::matmul(unembedding(m).t(), one_hot_difference(m, {3, 5}, {7}));
  EXPECT_TRUE(close(array_of(r, "observable"), v, 1e-9, 0));
  auto through = [&](int64_t l, const at::Tensor& t) { return at::matmul(weight(m, at_block(l, "attn.v_proj.weight")).t(), at::matmul(weight(m, at_block(l, "attn.o_proj.weight")).t(), t)); };
  std::vector<at::Tensor> own = {through(0, v), through(1, v)};
  for (int64_t l = 0; l < 2; ++l) {
    EXPECT_TRUE(close(y[l][0], own[static_cast<size_t>(l)], 1e-5, 1e-5));
    EXPECT_NEAR(array_of(r, "norm")[l][0].item<double>(), own[static_cast<size_t>(l)].norm().item<double>(), 1e-9);
  }
  // Two heads: the upper one's vector is what the lower one may write.
  at::Tensor two = array_of(r, "vectors2");
  EXPECT_TRUE(close(two[0][0][0], through(0, own[1]), 1e-5, 1e-5));
  EXPECT_TRUE(two[0][1][0].isnan().all().item<bool>());
  // Coupling: y' · x expected where y · x = 1.
  at::Tensor other = through(1, at::matmul(unembedding(m).t(), one_hot_difference(m, {4}, {5})));
  double product = (own[1] * other).sum().item<double>();
  EXPECT_NEAR(array_of(r, "coupling")[1][0].item<double>(), product / own[1].square().sum().item<double>(), 1e-9);
  EXPECT_NEAR(array_of(r, "cosine")[1][0].item<double>(), product / (own[1].norm() * other.norm()).item<double>(), 1e-9);
}

// What the coefficient is said to be: x drawn evenly from the sphere of radius r where y · x = 1 (arXiv 2312.16291), and y' · x averaged.
double mean_where_it_is_one(const at::Tensor& y, const at::Tensor& other, int64_t samples, uint64_t seed) {
  at::Generator rng = at::detail::createCPUGenerator(seed);
  const double size = y.norm().item<double>(), radius = 1.5 / size;
  at::Tensor z = at::randn({samples, y.size(0)}, rng, at::kDouble), unit = y / size;
  z = z - at::matmul(z, unit).unsqueeze(1) * unit;
  z = z / z.norm(2, {1}, true);
  at::Tensor x = y / (size * size) + std::sqrt(radius * radius - 1 / (size * size)) * z;
  EXPECT_LE((at::matmul(x, y) - 1).abs().max().item<double>(), 1e-9);
  EXPECT_LE((x.norm(2, {1}) - radius).abs().max().item<double>(), 1e-9 * radius);
  return at::matmul(x, other).mean().item<double>();
}

TEST(ObservablePropagation, CouplingIsTheMeanOverDirections) {
  const Model& m = model_of("hf-llama");
  Dataset d = pairs(m);
  AnalysisResult r = run_whole("observable_propagation", m, d, {{"tokens", "#3>#7"}, {"other", "#4>#5"}, {"second", "0"}});
  AnalysisResult reversed = run_whole("observable_propagation", m, d, {{"tokens", "#4>#5"}, {"second", "0"}});
  at::Tensor y = array_of(r, "vectors").to(at::kDouble), other = array_of(reversed, "vectors").to(at::kDouble), c = array_of(r, "coupling");
  constexpr int64_t kSamples = 20000;
  for (int64_t l = 0; l < y.size(0); ++l)
    for (int64_t h = 0; h < y.size(1); ++h) {
      // Five standard errors of the mean.
      const double scale = other[l][h].norm().item<double>() / y[l][h].norm().item<double>();
      EXPECT_NEAR(c[l][h].item<double>(), mean_where_it_is_one(y[l][h], other[l][h], kSamples, 3), 5 * 1.2 * scale / std::sqrt(static_cast<double>(kSamples * y.size(2)))) << l << " " << h;
    }
  // Between heads of one observable, in both directions: from the row's head to the column's.
  AnalysisResult one = run_whole("observable_propagation", m, d, {{"tokens", "#3>#7"}, {"second", "0"}});
  at::Tensor between = array_of(one, "coupling"), own = array_of(one, "vectors").to(at::kDouble).flatten(0, 1), effect = array_of(one, "measured").abs().flatten();
  at::Tensor order = effect.argsort(-1, true);
  ASSERT_GE(between.size(0), 2);
  for (auto [a, b] : {std::pair<int64_t, int64_t>{0, 1}, {1, 0}}) {
    at::Tensor from = own[order[a].item<int64_t>()], to = own[order[b].item<int64_t>()];
    const double scale = to.norm().item<double>() / from.norm().item<double>();
    EXPECT_NEAR(between[a][b].item<double>(), mean_where_it_is_one(from, to, kSamples, 5), 6 * scale / std::sqrt(static_cast<double>(kSamples * own.size(1))));
  }
}

TEST(ObservablePropagation, EffectsAreThoseOfPathsByHand) {
  const Model& m = model_of("induction-2l-attn-only");
  Dataset d = pairs(m);
  AnalysisResult r = run_whole("observable_propagation", m, d, {{"tokens", "#3>#7"}, {"second", "0"}}, 2);
  at::Tensor n = one_hot_difference(m, {3}, {7}), v = at::matmul(unembedding(m).t(), n), y = array_of(r, "vectors").to(at::kDouble);
  for (int64_t i = 0; i < 3; ++i) {
    std::map<std::string, at::Tensor> clean, corrupted;
    for (auto* side : {&clean, &corrupted}) {
      HookPlan plan;
      for (int64_t l = 0; l < 2; ++l)
        for (const char* p : {"attn.hook_result", "attn.hook_pattern", "hook_resid_pre"}) plan.capture(at_block(l, p));
      const PromptPair& p = d.pairs[static_cast<size_t>(i)];
      ForwardResult run = m.forward(batch(m, side == &clean ? p.clean_ids : p.corrupted_ids), plan);
      for (const std::string& name : run.cache.names()) (*side)[name] = run.cache.get(name)[0].to(at::kCPU);
    }
    for (int64_t l = 0; l < 2; ++l) {
      auto change = [&](const char* p) { return corrupted[at_block(l, p)] - clean[at_block(l, p)]; };
      EXPECT_NEAR(array_of(r, "measured_prompts")[l][0][i].item<double>(), (change("attn.hook_result")[6][0] * v).sum().item<double>(), 1e-8);
      double predicted = 0;
      for (int64_t s = 0; s < 7; ++s) predicted += clean[at_block(l, "attn.hook_pattern")][0][6][s].item<double>() * (change("hook_resid_pre")[s] * y[l][0]).sum().item<double>();
      EXPECT_NEAR(array_of(r, "predicted_prompts")[l][0][i].item<double>(), predicted, 1e-4);
    }
  }
}

// What y · δ is the derivative of: RMS norm of x with gain g, read by w.
at::Tensor through_rms(const at::Tensor& x, const at::Tensor& gain, double eps, const at::Tensor& w) {
  at::Tensor s = (x.square().mean() + eps).sqrt(), unit = x / s, u = gain * w;
  return (u - unit * (unit * u).sum() / static_cast<double>(x.size(0))) / s;
}

TEST(ObservablePropagation, NormsAndSharedKeyHeadsAreAsTheFormulasSay) {
  const Model& m = model_of("hf-llama");
  Dataset d = pairs(m);
  for (bool named : {true, false})
    for (bool frozen : {false, true}) {
      std::map<std::string, std::string> params = {{"second", "0"}, {"norms", frozen ? "frozen" : "gradient"}};
      if (named) params["tokens"] = "#3>#7";
      AnalysisResult r = run_whole("observable_propagation", m, d, params, 2);
      const MixerInfo& info = m.mixer_info(1);
      auto norm = [&](const at::Tensor& x, const std::string& name, double eps, const at::Tensor& w) {
        at::Tensor gain = weight(m, name + ".weight");
        return frozen ? gain * w / (x.square().mean() + eps).sqrt() : through_rms(x, gain, eps, w);
      };
      for (int64_t l = 0; l < 2; ++l) {
        at::Tensor wanted = at::zeros({info.heads, m.config().d_model}, at::kDouble);
        for (const PromptPair& p : d.pairs) {
          HookPlan plan;
          plan.capture(at_block(l, "hook_resid_pre")).capture("blocks.1.hook_resid_post");
          ForwardResult run = m.forward(batch(m, p.clean_ids), plan);
          at::Tensor last = run.cache.get("blocks.1.hook_resid_post")[0][6].to(at::kCPU), before = run.cache.get(at_block(l, "hook_resid_pre"))[0].to(at::kCPU);
          at::Tensor n = named ? one_hot_difference(m, {3}, {7}) : one_hot_difference(m, p.answer_ids, p.wrong_ids);
          at::Tensor v = norm(last, "ln_final", m.config().final_norm.eps, at::matmul(unembedding(m).t(), n));
          at::Tensor back = at::matmul(weight(m, at_block(l, "attn.o_proj.weight")).t(), v).view({info.heads, info.d_v});
          at::Tensor values = weight(m, at_block(l, "attn.v_proj.weight")).view({info.kv_heads, info.d_v, m.config().d_model});
          for (int64_t h = 0; h < info.heads; ++h) {
            at::Tensor w = at::matmul(values[h / (info.heads / info.kv_heads)].t(), back[h]);
            for (int64_t t = 0; t < 7; ++t) wanted[h] += norm(before[t], at_block(l, "ln1"), m.config().layers[static_cast<size_t>(l)].norm1.eps, w) / 21;
          }
        }
        EXPECT_TRUE(close(array_of(r, "vectors")[l], wanted, 1e-6, 1e-5)) << named << frozen << l;
      }
    }
}

// Gate, norm by head and short convolution of a recurrent layer: the vector is the derivative of what it says, found by small changes.
class ObservableOfRecurrence : public ::testing::TestWithParam<const char*> {};

TEST_P(ObservableOfRecurrence, VectorsAreDerivativesOfTheModel) {
  const Model& m = model_of(GetParam());
  Dataset d = pairs(m);
  d.pairs.resize(1);
  AnalysisResult r = run_whole("observable_propagation", m, d, {{"tokens", "#3>#7"}, {"second", "0"}});
  at::Tensor tokens = batch(m, d.pairs[0].clean_ids), reader = array_of(r, "observable"), y = array_of(r, "vectors").to(at::kDouble);
  const std::string z = at_block(0, "attn.hook_z"), v = at_block(0, "attn.hook_v"), out = at_block(0, "hook_attn_out"), pre = at_block(0, "hook_resid_pre");
  // What is read of the layer's output at the last position, where nothing lies between but norms: the observable at the last residual.
  auto value = [&](const std::string& edited, const std::string& read, const std::function<at::Tensor(const at::Tensor&)>& change) {
    HookPlan plan;
    plan.edit(edited, [&](const at::Tensor& x, int64_t) { return change(x); });
    plan.capture(read);
    return m.forward(tokens, plan).cache.get(read)[0].to(at::kCPU);
  };
  const double h = 1e-5;
  const int64_t heads = m.mixer_info(0).heads, d_v = m.mixer_info(0).d_v, head = heads - 1;
  at::Tensor u = at::zeros({d_v}, at::kDouble);
  for (int64_t k = 0; k < d_v; ++k) {
    auto moved = [&](double step) {
      return (value(z, out, [&](const at::Tensor& x) {
                at::Tensor c = x.clone();
                c.select(1, 6).select(1, head).select(1, k) += step;
                return c;
              })[6] * reader).sum().item<double>();
    };
    u[k] = (moved(h) - moved(-h)) / (2 * h);
  }
  at::Tensor direction = (at::arange(m.config().d_model, at::kDouble) * 0.7).sin();
  auto shifted = [&](double step) {
    at::Tensor values = value(pre, v, [&](const at::Tensor& x) { return x + step * direction.to(x.device()); });
    return (values.select(1, head / (heads / values.size(1))) * u).sum().item<double>();
  };
  const double slope = (shifted(h) - shifted(-h)) / (2 * h) / 7;
  EXPECT_NEAR((y[0][head] * direction).sum().item<double>(), slope, 1e-5 * std::max(1.0, std::fabs(slope)));
  EXPECT_GT(std::fabs(slope), 1e-6);
}
INSTANTIATE_TEST_SUITE_P(Models, ObservableOfRecurrence, ::testing::Values("fla-gla", "fla-gated_deltanet", "hf-llama"), [](const auto& i) {
  std::string n = i.param;
  std::replace(n.begin(), n.end(), '-', '_');
  return n;
});

TEST(ObservablePropagation, LinearMlpsAreRunAnewInTheMeasurement) {
  const Model& m = model_of("hf-llama");
  Dataset d = pairs(m);
  AnalysisResult linear = run_whole("observable_propagation", m, d, {{"tokens", "#3>#7"}, {"second", "0"}, {"mlps", "linear"}}), plain = run_whole("observable_propagation", m, d, {{"tokens", "#3>#7"}, {"second", "0"}});
  const int64_t heads = m.mixer_info(0).heads;
  for (int64_t i = 0; i < 3; ++i) {
    const PromptPair& p = d.pairs[static_cast<size_t>(i)];
    HookPlan look;
    for (int64_t l = 0; l < 2; ++l)
      for (const char* point : {"hook_attn_out", "hook_mlp_out", "attn.hook_result"}) look.capture(at_block(l, point));
    ForwardResult clean = m.forward(batch(m, p.clean_ids), look), corrupted = m.forward(batch(m, p.corrupted_ids), look);
    for (bool run_mlps : {true, false})
      for (int64_t l = 0; l < 2; ++l)
        for (int64_t h = 0; h < heads; ++h) {
          HookPlan plan;
          for (int64_t k = 0; k < 2; ++k) {
            at::Tensor held = clean.cache.get(at_block(k, "hook_attn_out")).clone();
            const std::string result = at_block(k, "attn.hook_result");
            if (k == l) held.select(1, 6) += (corrupted.cache.get(result) - clean.cache.get(result)).select(1, 6).select(1, h);
            plan.edit(at_block(k, "hook_attn_out"), [held](const at::Tensor&, int64_t) { return held; });
            if (!run_mlps) plan.edit(at_block(k, "hook_mlp_out"), [&clean, k](const at::Tensor&, int64_t) { return clean.cache.get(at_block(k, "hook_mlp_out")); });
          }
          at::Tensor a = m.forward(batch(m, p.clean_ids), plan).logits[0][6], b = clean.logits[0][6];
          EXPECT_NEAR(array_of(run_mlps ? linear : plain, "measured_prompts")[l][h][i].item<double>(), (a[3] - a[7] - b[3] + b[7]).item<double>(), 1e-8);
        }
  }
  // Below the last MLP the vectors have one path more.
  EXPECT_GT((array_of(linear, "vectors")[0] - array_of(plain, "vectors")[0]).abs().max().item<double>(), 1e-6);
}

TEST(ObservablePropagation, LinearMlpsAreDerivativesOfWhatFollows) {
  // Attention above layer 0 held, the observable changes along what layer 0 writes as its readers say. On one prompt.
  const Model& m = model_of("hf-llama");
  Dataset d = pairs(m);
  d.pairs.resize(1);
  AnalysisResult r = run_whole("observable_propagation", m, d, {{"tokens", "#3>#7"}, {"second", "0"}, {"mlps", "linear"}});
  at::Tensor tokens = batch(m, d.pairs[0].clean_ids), y = array_of(r, "vectors").to(at::kDouble);
  HookPlan look;
  for (const char* p : {"hook_attn_out", "hook_resid_pre", "attn.hook_v"}) look.capture(at_block(0, p));
  look.capture("blocks.1.hook_attn_out");
  ForwardResult clean = m.forward(tokens, look);
  // Of a head's output straight: one source position that is moved, seen with weight 1 at the last position.
  at::Tensor direction = (at::arange(m.config().d_model, at::kDouble) * 0.9).cos().to(m.device()), o = weight(m, at_block(0, "attn.o_proj.weight")).to(m.device());
  const int64_t heads = m.mixer_info(0).heads, d_v = m.mixer_info(0).d_v;
  const double step = 1e-5;
  for (int64_t h = 0; h < heads; ++h) {
    double slope = 0;
    for (int64_t s = 0; s < 7; ++s)
      for (double sign : {1.0, -1.0}) {
        HookPlan values, plan;
        values.edit(at_block(0, "hook_resid_pre"), [&](const at::Tensor& x, int64_t) {
          at::Tensor c = x.clone();
          c.select(1, s) += sign * step * direction;
          return c;
        });
        values.capture(at_block(0, "attn.hook_v"));
        at::Tensor v = m.forward(tokens, values).cache.get(at_block(0, "attn.hook_v")) - clean.cache.get(at_block(0, "attn.hook_v"));
        at::Tensor written = at::matmul(o.narrow(1, h * d_v, d_v), v[0][s][h / (heads / v.size(2))]);
        for (int64_t k = 0; k < 2; ++k) {
          at::Tensor held = clean.cache.get(at_block(k, "hook_attn_out")).clone();
          if (k == 0) held[0][6] += written;
          plan.edit(at_block(k, "hook_attn_out"), [held](const at::Tensor&, int64_t) { return held; });
        }
        at::Tensor a = m.forward(tokens, plan).logits[0][6];
        slope += sign * (a[3] - a[7]).item<double>() / (2 * step) / 7;
      }
    EXPECT_NEAR((y[0][h] * direction.to(y.device())).sum().item<double>(), slope, 1e-4 * std::max(1.0, std::fabs(slope)));
  }
}

TEST(ObservablePropagation, BadParametersAreNamed) {
  const Model& m = model_of("hf-llama");
  Dataset d = pairs(m), alone = d, no_answers = d;
  alone.pairs[1].corrupted_ids.clear();
  no_answers.pairs[2].answer_ids.clear();
  auto error = [&](const Dataset& data, const std::map<std::string, std::string>& params) {
    try {
      run_whole("observable_propagation", m, data, params);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(error(d, {{"tokens", " he> she"}}).find("no tokenizer"), std::string::npos);
  EXPECT_NE(error(d, {{"tokens", "#100000"}}).find("outside the vocabulary"), std::string::npos);
  EXPECT_NE(error(d, {{"tokens", "#3>#3"}}).find("the same"), std::string::npos);
  EXPECT_NE(error(alone, {}).find("no corrupted prompt"), std::string::npos) << error(alone, {});
  EXPECT_NE(error(no_answers, {}).find("no answer"), std::string::npos);
  EXPECT_EQ(error(no_answers, {{"tokens", "#3>#4"}, {"second", "0"}}), "");
  EXPECT_NE(error(Dataset{}, {}).find("needs prompts"), std::string::npos);
}

}  // namespace
}  // namespace microtome
