// Kept states and the eigenvalues of their transitions: against the model's own states, against the recurrence run on an
// identity, and by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "analysis/engine/layers.h"
#include "analysis/runner.h"
#include "analysis/states/keep.h"
#include "analysis/states/transition.h"
#include "core/mixers/registry.h"
#include "core/model/loaded_model.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/run_whole.h"

namespace microtome {
namespace {

using analyses::states::Eigenvalues;
using analyses::states::Transition;
using analyses::states::transition_eigenvalues;
using engine::block_point;
using testing::close;
using testing::run_whole;

std::unique_ptr<Model> model_of(const std::string& name) {
  std::string folder = testing::golden_path("golden/models/" + name);
  return testing::load_test_model(folder.empty() ? testing::golden_path("models/" + name) : folder);
}

Dataset two_lengths(const Model& model) {
  Dataset d = testing::dataset_of(testing::random_ids(2, 12, model.config().vocab_size, 3));
  d.pairs.push_back(testing::dataset_of(testing::random_ids(1, 9, model.config().vocab_size, 4)).pairs[0]);
  std::swap(d.pairs[0], d.pairs[2]);   // the first prompt is the short one: its group is not the last
  return d;
}

const TensorMap& map_named(const AnalysisResult& r, const std::string& name) {
  for (const Artifact& a : r.artifacts)
    if (artifact_name(a) == name) return std::get<TensorMap>(a);
  throw Error(StatusCode::kNotFound, "no artifact '" + name + "'");
}

at::Tensor array_in(const TensorMap& map, const std::string& name) {
  return engine::to_tensor(engine::find_array(map.arrays, name));
}

at::Tensor row(std::vector<double> v, std::vector<int64_t> shape) { return at::tensor(v, at::kDouble).view(shape); }

// Sorted by real, then imaginary part.
at::Tensor sorted_eigenvalues(const at::Tensor& matrix) {
  at::Tensor v = at::linalg_eigvals(matrix);
  return std::get<0>(at::sort(at::real(v).contiguous()));
}

class Keeping : public ::testing::TestWithParam<const char*> {};

TEST_P(Keeping, StatesAreTheModelsAndEigenvaluesThoseOfItsRecurrence) {
  auto model = model_of(GetParam());
  Dataset d = two_lengths(*model);
  int64_t layer = 0;
  while (!model->mixer_info(layer).recurrent) ++layer;
  const MixerInfo& info = model->mixer_info(layer);
  int64_t head = info.kv_heads - 1;
  std::string name = std::to_string(layer) + "." + std::to_string(head);
  AnalysisResult plain = run_whole("states", *model, d), kept = run_whole("states", *model, d, {{"keep", name}});
  // What is measured beside does not change by a bit.
  const TensorMap &a = map_named(plain, "states"), &b = map_named(kept, "states");
  ASSERT_EQ(a.arrays.size(), b.arrays.size());
  for (size_t i = 0; i < a.arrays.size(); ++i)
    EXPECT_TRUE(at::equal(at::nan_to_num(engine::to_tensor(a.arrays[i]), -7), at::nan_to_num(engine::to_tensor(b.arrays[i]), -7)));
  EXPECT_EQ(kept.artifacts.size(), plain.artifacts.size() + 1);

  const TensorMap& map = map_named(kept, "state_" + std::to_string(layer) + "_" + std::to_string(head));
  EXPECT_EQ(map.axis_labels.at("pos").size(), 9u);
  HookPlan plan;
  for (const char* point : {"hook_state", "hook_state_write", "hook_k", "hook_rot_k", "hook_decay", "hook_beta"})
    if (engine::has_point(*model, layer, std::string("attn.") + point)) plan.capture(block_point(layer, std::string("attn.") + point));
  at::NoGradGuard no_grad;
  at::Tensor tokens = at::tensor(d.pairs[0].clean_ids, at::kLong).unsqueeze(0);
  ForwardResult run = model->forward(tokens, plan);
  auto hook = [&](const char* point) {
    std::string full = block_point(layer, std::string("attn.") + point);
    return run.cache.has(full) ? run.cache.get(full) : at::Tensor();
  };
  at::Tensor state = array_in(map, "state");
  EXPECT_EQ(state.scalar_type(), at::kFloat);
  EXPECT_TRUE(close(state, hook("hook_state")[0].select(1, head), 1e-5, 1e-5));
  EXPECT_TRUE(close(array_in(map, "write"), hook("hook_state_write")[0].select(1, head), 1e-5, 1e-5));

  // The recurrence without values, started from the identity, leaves A_t … A_1. One head, float64.
  auto by_head = [&](const at::Tensor& t) {
    return t.select(2, head * t.size(2) / info.kv_heads).unsqueeze(2).to(at::kCPU, at::kDouble);
  };
  at::Tensor k = by_head(hook("hook_rot_k").defined() ? hook("hook_rot_k") : hook("hook_k")), g, beta;
  int64_t d_k = info.d_k;
  MixerOpRequest request;
  request.inputs = {{"q", k}, {"k", k}, {"v", at::zeros_like(k)}, {"initial_state", at::eye(d_k, k.options()).view({1, 1, d_k, d_k})}};
  if (hook("hook_decay").defined()) g = by_head(hook("hook_decay"));
  if (hook("hook_beta").defined()) beta = by_head(hook("hook_beta").unsqueeze(-1)).squeeze(-1);
  bool by_channel = g.defined() && g.size(3) > 1;
  std::string kind = beta.defined() ? (g.defined() ? "gated_delta_rule" : "delta_rule")
                     : by_channel   ? "gla"
                     : g.defined()  ? "simple_gla"
                                    : "linear_attn";
  if (g.defined()) request.inputs[by_channel ? "gk" : "g"] = by_channel ? g : g.squeeze(-1);
  if (beta.defined()) request.inputs["beta"] = beta;
  request.states = true;
  request.form = MixerForm::kNaive;
  if (kind == "linear_attn") request.scalars.set("kind", std::string("plain"));
  at::Tensor products = mixers::builtin().find(kind)->op(request).at("states")[0].select(1, 0);   // [pos, d_k, d_k]

  at::Tensor re = array_in(map, "product_eigenvalues_re"), im = array_in(map, "product_eigenvalues_im");
  at::Tensor along = array_in(map, "eigen_k"), rest = array_in(map, "eigen_rest");
  ASSERT_EQ(re.sizes(), (std::vector<int64_t>{9, d_k}));
  EXPECT_EQ(rest.dim(), by_channel ? 2 : 1);
  for (int64_t t = 0; t < 9; ++t) {
    EXPECT_TRUE(close(std::get<0>(at::sort(re[t])), sorted_eigenvalues(products[t]), 1e-7, 1e-6)) << "product at " << t;
    // Σ λ = trace, Σ |λ|² is what the magnitudes say.
    EXPECT_NEAR(re[t].sum().item<double>(), products[t].trace().item<double>(), 1e-8 * static_cast<double>(d_k));
    EXPECT_NEAR(im[t].sum().item<double>(), 0, 1e-9);
    at::Tensor step = at::eye(d_k, k.options());
    at::Tensor key = k[0][t][0];
    if (beta.defined()) step = step - beta[0][t][0] * at::outer(key, key);
    if (g.defined()) step = at::matmul(step, at::diag(g[0][t][0].exp().expand({d_k})));
    at::Tensor mine = by_channel ? rest[t] : at::cat({along[t].view({1}), rest[t].expand({d_k - 1})});
    EXPECT_TRUE(close(std::get<0>(at::sort(mine)), sorted_eigenvalues(step), 1e-7, 1e-6)) << "token " << t;
    EXPECT_NEAR(along[t].item<double>(), (at::dot(key, at::mv(step, key)) / at::dot(key, key)).item<double>(), 1e-7);
  }
}
INSTANTIATE_TEST_SUITE_P(Models, Keeping,
                         ::testing::Values("fla-linear_attn-elu-norm", "fla-retnet", "fla-gla", "fla-gla-shortconv-gqa", "fla-delta_net-negeig-gate",
                                           "fla-gated_deltanet", "fla-gated_deltanet-gva-negeig", "fla-hybrid-gated_deltanet-swa",
                                           "zoo-gated_deltanet"),
                         [](const auto& i) {
                           std::string s = i.param;
                           std::replace(s.begin(), s.end(), '-', '_');
                           return s;
                         });

TEST(Keep, SeveralHeadsAndWhatIsRefused) {
  auto model = model_of("fla-hybrid-gated_deltanet-swa");
  Dataset d = two_lengths(*model);
  int64_t soft = 0, layer = 0;
  while (model->mixer_info(soft).recurrent) ++soft;
  while (!model->mixer_info(layer).recurrent) ++layer;
  std::string l = std::to_string(layer);
  AnalysisResult r = run_whole("states", *model, d, {{"keep", " " + l + ".1, " + l + ".0," + l + ".1"}}, 1);
  EXPECT_NE(array_in(map_named(r, "state_" + l + "_0"), "state").sum().item<double>(),
            array_in(map_named(r, "state_" + l + "_1"), "state").sum().item<double>());
  std::vector<std::string> wrong = {l,         l + ".", l + ".x",  "-1.0",
                                    l + ".0,,", l + ".0,", l + ".99", "77.0",
                                    "1.0;1.1", "99999999999999999999.0", std::to_string(soft) + ".0"};
  for (const std::string& bad : wrong) {
    try {
      run_whole("states", *model, d, {{"keep", bad}});
      ADD_FAILURE() << "accepted '" << bad << "'";
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kBadInput) << bad << ": " << e.what();
      EXPECT_NE(std::string(e.what()).find("keep"), std::string::npos) << e.what();
    }
  }
  EXPECT_EQ(analyses::states::parse_kept("  ", *model, 10).size(), 0u);
  try {
    analyses::states::parse_kept(l + ".0", *model, int64_t{1} << 20);
    ADD_FAILURE() << "too much was accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("numbers"), std::string::npos) << e.what();
  }
}

TEST(Keep, AKilledRunGoesOnWithEqualBits) {
  namespace fs = std::filesystem;
  fs::path folder = fs::temp_directory_path() / ("microtome-keep-" + std::to_string(::getpid()));
  fs::create_directories(folder);
  auto model = load_model(testing::golden_path("golden/models/fla-gated_deltanet"), c10::Device(c10::kCPU), at::kFloat);
  Dataset d = two_lengths(*model->model);
  RunSettings s;
  s.analysis = "states";
  s.params["keep"] = "0.0,1.1";
  auto run = [&](ResultStore* store, int64_t cancel_after) {
    Progress progress;
    int64_t steps = 0;
    progress.on_step([&](const Progress::Snapshot&) {
      if (cancel_after >= 0 && ++steps > cancel_after) progress.cancel();
    });
    return run_analysis(analyses::builtin(), *model, d, s, store, progress);
  };
  RunOutcome whole = run(nullptr, -1);
  for (int64_t after : {3, 5, 7}) {
    auto store = ResultStore::open((folder / ("k" + std::to_string(after) + ".microtome")).string(), ResultStore::Mode::kReadWrite).value();
    EXPECT_THROW(run(store.get(), after), Error);
    RunOutcome rest = run(store.get(), -1);
    EXPECT_GT(rest.items_resumed, 0) << after;
    RunOutcome stored = run(store.get(), -1);
    EXPECT_TRUE(stored.from_store);
    for (const char* name : {"states", "state_0_0", "state_1_1"})
      for (const NamedArray& a : map_named(whole.result, name).arrays)
        for (const AnalysisResult* r : {&rest.result, &stored.result}) {
          at::Tensor x = engine::to_tensor(a), y = array_in(map_named(*r, name), a.name);
          EXPECT_TRUE(at::equal(at::nan_to_num(x, -7), at::nan_to_num(y, -7))) << name << " " << a.name;
        }
  }
  s.params["keep"] = "0.0";
  EXPECT_NE(run(nullptr, -1).key.hash, whole.key.hash);
  fs::remove_all(folder);
}

TEST(Transitions, ByHand) {
  Progress progress;
  // Key (1, 0), β = 1.5, decay 1/2: -1/4 along it, 1/2 across; then key (0, 1) without decay, β = 1: 0 and 1.
  Transition t;
  t.pos = 2;
  t.d_k = 2;
  t.decay = row({-std::log(2.0), 0}, {2, 1});
  t.k = row({1, 0, 0, 1}, {2, 2});
  t.beta = row({1.5, 1}, {2});
  Eigenvalues e = transition_eigenvalues(t, progress);
  EXPECT_TRUE(close(e.along_k, row({-0.25, 0}, {2}), 1e-12, 0));
  EXPECT_TRUE(close(e.rest, row({0.5, 1}, {2}), 1e-12, 0));
  EXPECT_TRUE(close(e.product_re, row({0.5, -0.25, -0.25, 0}, {2, 2}), 1e-12, 0));
  // Two reflections make a rotation: a complex pair, the positive imaginary part first.
  double c = std::cos(0.4), s = std::sin(0.4);
  t.decay = at::Tensor();
  t.k = row({1, 0, c, s}, {2, 2});
  t.beta = row({2, 2}, {2});
  e = transition_eigenvalues(t, progress);
  EXPECT_TRUE(close(e.product_re[1], row({std::cos(0.8), std::cos(0.8)}, {2}), 1e-12, 0));
  EXPECT_TRUE(close(e.product_im[1], row({std::sin(0.8), -std::sin(0.8)}, {2}), 1e-12, 0));
  // A decay a channel and a delta rule: the eigenvalues of (I - β k kᵀ) D.
  t.decay = row({-0.1, -2, -0.5, -0.7}, {2, 2});
  e = transition_eigenvalues(t, progress);
  for (int64_t p = 0; p < 2; ++p) {
    at::Tensor k = t.k[p], a = at::matmul(at::eye(2, k.options()) - t.beta[p] * at::outer(k, k), at::diag(t.decay[p].exp()));
    EXPECT_TRUE(close(e.rest[p], sorted_eigenvalues(a), 1e-12, 0));
  }
  // No key, no decay: nothing is lost. What is not finite gives NaN and no crash.
  Transition still;
  still.pos = 3;
  still.d_k = 2;
  e = transition_eigenvalues(still, progress);
  EXPECT_TRUE(e.along_k.isnan().all().item<bool>());
  EXPECT_TRUE(at::equal(e.rest, at::ones({3}, at::kDouble)));
  EXPECT_TRUE(at::equal(e.product_re, at::ones({3, 2}, at::kDouble)));
  t.beta = row({NAN, 1}, {2});
  e = transition_eigenvalues(t, progress);
  EXPECT_TRUE(e.product_re.isnan().all().item<bool>());
  EXPECT_TRUE(e.rest[0].isnan().all().item<bool>());
  EXPECT_FALSE(e.rest[1].isnan().any().item<bool>());
}

}  // namespace
}  // namespace microtome
