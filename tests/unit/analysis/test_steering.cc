// steering: directions against sums written out, curves and texts against whole runs without state.
#include <gtest/gtest.h>

#include <filesystem>
#include <unistd.h>

#include "analysis/engine/metric.h"
#include "core/io/safetensors.h"
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

Dataset pairs(const Model& model) {
  int64_t vocab = model.config().vocab_size;
  Dataset d = testing::dataset_of(testing::random_ids(3, 8, vocab, 2)), other = testing::dataset_of(testing::random_ids(3, 8, vocab, 4));
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    d.pairs[i].corrupted_ids = other.pairs[i].clean_ids;
    d.pairs[i].answer_ids = {static_cast<int64_t>(i + 1)};
    d.pairs[i].wrong_ids = {static_cast<int64_t>(i + 9)};
  }
  return d;
}

at::Tensor ids(const std::vector<int64_t>& v) { return at::tensor(v, at::kLong).unsqueeze(0); }

at::Tensor at_point(const Model& m, const std::vector<int64_t>& tokens, const std::string& point) {
  HookPlan plan;
  plan.capture(point);
  return m.forward(ids(tokens).to(m.device()), plan).cache.get(point)[0].to(at::kCPU);
}

// Logits of a whole run with `change` applied at a point from position `start` on.
at::Tensor steered(const Model& m, const std::vector<int64_t>& tokens, const std::string& point, int64_t start,
                   const std::function<at::Tensor(const at::Tensor&)>& change) {
  HookPlan plan;
  plan.edit(point, [&](const at::Tensor& v, int64_t) {
    at::Tensor out = v.clone();
    for (int64_t t = start; t < v.size(1); ++t) out.select(1, t).copy_(change(v.select(1, t).to(at::kCPU)));
    return out;
  });
  return m.forward(ids(tokens).to(m.device()), plan).logits[0].to(at::kCPU);
}

double difference(const PromptPair& p, const at::Tensor& last) { return (last[p.answer_ids[0]] - last[p.wrong_ids[0]]).item<double>(); }

class Steering : public ::testing::TestWithParam<const char*> {};

TEST_P(Steering, CurveAndTextsAreThoseOfWholeRuns) {
  const Model& m = model_of(GetParam());
  Dataset d = pairs(m);
  std::string point = "blocks.1.hook_resid_post";
  at::Tensor direction = at::zeros({m.config().d_model}, at::kDouble);
  for (const PromptPair& p : d.pairs) direction = direction + (at_point(m, p.clean_ids, point)[7] - at_point(m, p.corrupted_ids, point)[7]) / 3;
  for (const char* positions : {"all", "last", "from"}) {
    int64_t start = *positions == 'a' ? 0 : *positions == 'l' ? 7 : 5;
    AnalysisResult r = run_whole("steering", m, d, {{"layer", "1"}, {"coefficients", "1.5,-0.5, 0"}, {"positions", positions}, {"from", "-3"},
                                                    {"max_new", "3"}, {"texts", "2"}, {"metric", "logit_diff"}});
    EXPECT_TRUE(close(array_of(r, "direction")[0], direction, 1e-5, 1e-5));
    at::Tensor metric = array_of(r, "metric_prompts"), kl = array_of(r, "kl_prompts"), tokens = array_of(r, "tokens");
    double sorted[3] = {-0.5, 0, 1.5};
    for (int64_t c = 0; c < 3; ++c) {
      auto change = [&](const at::Tensor& x) { return x + sorted[c] * direction; };
      for (int64_t i = 0; i < 3; ++i) {
        const PromptPair& p = d.pairs[static_cast<size_t>(i)];
        at::Tensor plain = m.forward(ids(p.clean_ids).to(m.device())).logits[0][7].to(at::kCPU), last = steered(m, p.clean_ids, point, start, change)[7];
        EXPECT_NEAR(metric[c][i].item<double>(), difference(p, last), 1e-6);
        at::Tensor a = at::log_softmax(plain, -1), b = at::log_softmax(last, -1);
        EXPECT_NEAR(kl[c][i].item<double>(), (a.exp() * (a - b)).sum().item<double>(), 1e-6);
        if (i >= 2) continue;
        std::vector<int64_t> text = p.clean_ids;
        for (int64_t t = 0; t < 3; ++t) {
          at::Tensor y = steered(m, text, point, start, change);
          int64_t id = y[y.size(0) - 1].argmax().item<int64_t>();
          if (m.config().eos_id && id == *m.config().eos_id) id = -1;
          EXPECT_EQ(tokens[c][i][t].item<int64_t>(), id) << positions << " " << c << " " << t;
          if (id < 0) break;
          text.push_back(id);
        }
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Models, Steering, ::testing::Values("hf-gpt2", "hf-llama", "fla-hybrid-gated_deltanet-swa", "fla-gla"), [](const auto& i) {
  std::string n = i.param;
  std::replace(n.begin(), n.end(), '-', '_');
  return n;
});

TEST(SteeringDirections, ProjectedOutUnembeddingIsGoneFromTheLogitsOfALinearReadOut) {
  const Model& m = model_of("hf-llama");
  Dataset d = pairs(m);
  std::string point = "blocks.1.hook_resid_post";
  AnalysisResult r = run_whole("steering", m, d, {{"point", point}, {"direction", "unembedding"}, {"operation", "project_out"}, {"coefficients", "1"},
                                                  {"max_new", "0"}, {"metric", "logit_diff"}});
  const at::Tensor table = m.weights().get(m.config().tied_unembedding ? "embed.weight" : "unembed.weight").to(at::kCPU);
  for (int64_t i = 0; i < 3; ++i) {
    const PromptPair& p = d.pairs[static_cast<size_t>(i)];
    at::Tensor unit = (table[p.answer_ids[0]] - table[p.wrong_ids[0]]).to(at::kDouble);
    unit = unit / unit.norm();
    at::Tensor last = steered(m, p.clean_ids, point, 0, [&](const at::Tensor& x) { return x - (x * unit).sum(-1, true) * unit; })[7];
    EXPECT_NEAR(array_of(r, "metric_prompts")[0][i].item<double>(), difference(p, last), 1e-6);
  }
}

TEST(SteeringDirections, AreReadFromFilesAndScaled) {
  namespace fs = std::filesystem;
  const Model& m = model_of("hf-llama");
  Dataset d = pairs(m);
  for (PromptPair& p : d.pairs) p.corrupted_ids.clear();
  std::vector<float> numbers(static_cast<size_t>(2 * m.config().d_model), 0.f);
  for (int64_t k = 0; k < m.config().d_model; ++k) numbers[static_cast<size_t>(m.config().d_model + k)] = static_cast<float>(k % 5) - 2;
  std::string path = (fs::temp_directory_path() / ("steering-" + std::to_string(::getpid()) + ".safetensors")).string();
  TensorToWrite t{"W_dec", DType::kF32, {2, m.config().d_model}, {reinterpret_cast<const uint8_t*>(numbers.data()), numbers.size() * 4}};
  ASSERT_TRUE(static_cast<bool>(write_safetensors(path, {t})));
  auto run = [&](const std::string& name) {
    return run_whole("steering", m, d, {{"layer", "0"}, {"direction", "file"}, {"file", path}, {"tensor", name}, {"scale", "mean_norm"}, {"max_new", "0"}});
  };
  at::Tensor got = array_of(run("W_dec[1]"), "direction")[0].to(at::kDouble);
  double norm = 0;
  for (const PromptPair& p : d.pairs) norm += at_point(m, p.clean_ids, "blocks.0.hook_resid_post").norm(2, {1}).mean().item<double>() / 3;
  EXPECT_NEAR(got.norm().item<double>(), norm, 1e-4 * norm);
  EXPECT_NEAR((got[4] / got[0]).item<double>(), -1, 1e-5);      // 2 and -2 in the file
  for (auto [name, says] : {std::pair{"W_dec[0]", "zero"}, {"W_dec[2]", "outside"}, {"W_dec", "numbers"}, {"", "numbers"}, {"other", "not in the file"}, {"W_dec[x]", "names no row"}}) {
    try {
      run(name);
      ADD_FAILURE() << name << " was taken";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(says), std::string::npos) << e.what();
    }
  }
  fs::remove(path);
  EXPECT_THROW(run("W_dec[1]"), Error);
}

TEST(SteeringInput, BadParametersAreNamed) {
  const Model& m = model_of("hf-llama");
  Dataset d = pairs(m);
  const std::vector<std::pair<std::map<std::string, std::string>, std::string>> cases = {
      {{{"coefficients", "1,,2"}}, "empty"}, {{{"coefficients", "1,x"}}, "not a number"}, {{{"coefficients", "inf"}}, "not a number"}, {{{"coefficients", ""}}, "empty"},
      {{{"layer", "99"}}, "no layer 99"}, {{{"point", "attn.hook_pattern"}}, "no vector"}, {{{"point", "hook_nothing"}}, "no hook point"},
      {{{"direction", "file"}}, "no file"}, {{{"direction", "unembedding"}, {"point", "attn.hook_z"}}, "residual stream"}, {{{"point", "hook_embed"}, {"coefficients", "1"}}, ""}};
  for (const auto& [params, says] : cases) {
    std::string error;
    try {
      run_whole("steering", m, d, params);
    } catch (const Error& e) {
      error = e.what();
    }
    EXPECT_EQ(error.empty(), says.empty()) << error;
    EXPECT_NE(error.find(says), std::string::npos) << error;
  }
}

}  // namespace
}  // namespace microtome
