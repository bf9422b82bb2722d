// Linear recurrences as ops: forms against each other, derivatives, extreme decays, senseless input.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <torch/csrc/autograd/autograd.h>
#include <limits>

#include "core/mixers/registry.h"
#include "tests/unit/mixers/test_linear_support.h"

namespace microtome {
namespace {

using mixers::builtin;
using testing::max_diff;

struct OpCase {
  const char* name;
  int64_t q_heads, k_heads, v_heads;
  const char* kind;                  // linear_attn only
};

const OpCase kOps[] = {{"linear_attn", 4, 2, 2, "plain"}, {"linear_attn", 2, 2, 2, "norm"}, {"retention", 2, 2, 2, ""},
                       {"simple_gla", 2, 2, 2, ""},       {"gla", 4, 2, 2, ""},             {"delta_rule", 2, 2, 2, ""},
                       {"gated_delta_rule", 2, 2, 4, ""}};

MixerOpRequest random_request(const OpCase& c, int64_t T, double decay = 1.0, at::ScalarType type = at::kDouble) {
  at::manual_seed(11);
  const int64_t B = 2, K = 6, V = 5, H = std::max(c.k_heads, c.v_heads);
  auto f64 = at::TensorOptions().dtype(at::kDouble);
  MixerOpRequest r;
  r.inputs["q"] = at::randn({B, T, c.q_heads, K}, f64);
  r.inputs["k"] = at::randn({B, T, c.k_heads, K}, f64);
  r.inputs["v"] = at::randn({B, T, c.v_heads, V}, f64);
  r.inputs["initial_state"] = at::randn({B, H, K, V}, f64);
  const std::string name = c.name;
  if (name == "simple_gla" || name == "gated_delta_rule") r.inputs["g"] = -at::rand({B, T, H}, f64) * decay;
  if (name == "gla") r.inputs["gk"] = -at::rand({B, T, H, K}, f64) * decay;
  if (name.find("delta") != std::string::npos) {
    r.inputs["beta"] = at::rand({B, T, H}, f64) * 2;
    for (const char* side : {"q", "k"}) r.inputs[side] = r.inputs[side] / r.inputs[side].norm(2, {-1}, true);
  }
  if (name == "linear_attn") {
    r.scalars.set("kind", std::string(c.kind));
    for (const char* side : {"q", "k"}) r.inputs[side] = r.inputs[side].abs() + 0.1;
    if (std::string(c.kind) == "norm") r.inputs["z0"] = at::rand({B, 1, H, K}, f64);
  }
  for (auto& [_, t] : r.inputs) t = t.to(type);
  return r;
}

MixerOpResult run(const OpCase& c, MixerOpRequest r, MixerForm form) {
  r.form = form;
  return builtin().find(c.name)->op(r);
}

TEST(LinearOps, FormsAgreeWithNaiveAtOddLengths) {
  for (const OpCase& c : kOps) {
    for (int64_t T : {1, 2, 3, 19, 63, 64, 65, 67, 130}) {
      for (double decay : {0.1, 8.0}) {
        MixerOpRequest r = random_request(c, T, decay);
        r.implied = r.states = T < 70;
        MixerOpResult naive = run(c, r, MixerForm::kNaive);
        for (MixerForm form : {MixerForm::kChunk, MixerForm::kRecurrent}) {
          MixerOpResult got = run(c, r, form);
          ASSERT_EQ(naive.size(), got.size());
          for (const auto& [output, want] : naive)
            EXPECT_LE(max_diff(got.at(output), want), 1e-10 * std::max(1.0, want.abs().max().item<double>()))
                << c.name << " " << output << " T=" << T << " decay " << decay << " " << form_name(form);
        }
      }
    }
  }
}

TEST(LinearOps, Float32StaysAccurateUnderStrongAndMixedDecay) {
  for (const OpCase& c : kOps) {
    MixerOpRequest exact = random_request(c, 200), rough;
    for (const char* name : {"g", "gk"}) {
      if (!exact.inputs.count(name)) continue;
      // Half of the tokens forget nearly everything: exp(-b) would overflow a chunk later.
      at::Tensor& g = exact.inputs[name];
      g = at::where(at::rand(g.sizes()) < 0.5, g * 60, g * 1e-3).to(at::kFloat).to(at::kDouble);
    }
    for (auto& [_, t] : exact.inputs) t = t.to(at::kFloat).to(at::kDouble);
    rough = exact;
    for (auto& [_, t] : rough.inputs) t = t.to(at::kFloat);
    exact.implied = rough.implied = true;
    MixerOpResult want = run(c, exact, MixerForm::kNaive), got = run(c, rough, MixerForm::kChunk);
    for (const char* output : {"o", "final_state", "A"}) {
      EXPECT_LE(max_diff(got.at(output), want.at(output)), 1e-6 + 5e-6 * want.at(output).abs().max().item<double>())
          << c.name << " " << output;
      EXPECT_EQ(got.at(output).scalar_type(), at::kFloat);
    }
  }
}

TEST(LinearOps, ADecayOfMinusInfinityForgetsEverything) {
  for (const OpCase& c : {kOps[3], kOps[4], kOps[6]}) {
    MixerOpRequest r = random_request(c, 67);
    at::Tensor& g = r.inputs.count("g") ? r.inputs["g"] : r.inputs["gk"];
    g.select(1, 40).fill_(-std::numeric_limits<double>::infinity());
    MixerOpResult naive = run(c, r, MixerForm::kNaive), chunk = run(c, r, MixerForm::kChunk);
    EXPECT_LE(max_diff(naive.at("o"), chunk.at("o")), 1e-10) << c.name;
    MixerOpRequest later = r;
    for (auto& [name, t] : later.inputs)
      if (name != "initial_state") t = t.slice(1, 40);
    later.inputs.erase("initial_state");
    EXPECT_LE(max_diff(run(c, later, MixerForm::kNaive).at("o"), chunk.at("o").slice(1, 40)), 1e-10) << c.name;
  }
}

at::Tensor loss_of(const MixerOpResult& r) {
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (const char* output : {"o", "final_state", "z_final", "A", "states"}) {
    auto it = r.find(output);
    if (it == r.end()) continue;
    at::Tensor t = it->second;
    loss = loss + (t * at::arange(t.numel(), at::kDouble).view(t.sizes()).sin()).sum() + t.square().sum() * 0.1;
  }
  return loss;
}

TEST(LinearOps, DerivativesThroughBothFormsMatchFiniteDifferences) {
  for (const OpCase& c : kOps) {
    for (MixerForm form : {MixerForm::kNaive, MixerForm::kChunk}) {
      MixerOpRequest r = random_request(c, 67);
      r.implied = true;
      std::vector<at::Tensor> leaves;
      std::vector<std::string> names;
      for (auto& [name, t] : r.inputs) {
        t = t.detach().requires_grad_(true);
        leaves.push_back(t);
        names.push_back(name);
      }
      auto grads = torch::autograd::grad({loss_of(run(c, r, form))}, leaves);
      for (size_t i = 0; i < leaves.size(); ++i) {
        at::NoGradGuard no_grad;
        at::Tensor direction = at::randn_like(leaves[i]);
        const double eps = 1e-6, analytic = (grads[i] * direction).sum().item<double>();
        MixerOpRequest up = r, down = r;
        up.inputs[names[i]] = leaves[i] + direction * eps;
        down.inputs[names[i]] = leaves[i] - direction * eps;
        const double numeric =
            (loss_of(run(c, up, form)) - loss_of(run(c, down, form))).item<double>() / (2 * eps);
        EXPECT_NE(analytic, 0.0) << c.name << " " << names[i];
        EXPECT_NEAR(analytic, numeric, 1e-5 * std::max(1.0, std::abs(numeric)))
            << c.name << " " << c.kind << " " << names[i] << " " << form_name(form);
      }
    }
  }
}

TEST(LinearOps, ARunInTwoPartsEqualsOneRun) {
  for (const OpCase& c : kOps) {
    MixerOpRequest whole = random_request(c, 90), first = whole, second = whole;
    for (auto* part : {&first, &second})
      for (auto& [name, t] : part->inputs)
        if (name != "initial_state" && name != "z0") t = part == &first ? t.slice(1, 0, 41) : t.slice(1, 41);
    MixerOpResult want = run(c, whole, MixerForm::kAuto), a = run(c, first, MixerForm::kAuto);
    // Grouped states come back once a query head; the state itself is the first of each group.
    const int64_t heads = std::max(c.k_heads, c.v_heads), group = a.at("final_state").size(1) / heads;
    second.inputs["initial_state"] = a.at("final_state").slice(1, 0, heads * group, group);
    if (a.count("z_final")) second.inputs["z0"] = a.at("z_final");
    MixerOpResult b = run(c, second, MixerForm::kAuto);
    EXPECT_LE(max_diff(at::cat({a.at("o"), b.at("o")}, 1), want.at("o")), 1e-10) << c.name;
    EXPECT_LE(max_diff(b.at("final_state"), want.at("final_state")), 1e-10) << c.name;
  }
}

TEST(LinearOps, SenselessInputIsRefused) {
  auto refused = [](const OpCase& c, const MixerOpRequest& r, const char* what) {
    try {
      builtin().find(c.name)->op(r);
      ADD_FAILURE() << c.name << " took " << what;
    } catch (const Error& e) {
      EXPECT_TRUE(e.status().code() == StatusCode::kBadInput || e.status().code() == StatusCode::kUnsupported) << what;
      EXPECT_FALSE(e.status().what().empty());
    }
  };
  for (const OpCase& c : kOps) {
    const MixerOpRequest good = random_request(c, 5);
    for (const auto& [name, t] : good.inputs) {
      MixerOpRequest r = good;
      r.inputs[name] = t.slice(0, 0, 1);
      refused(c, r, (name + " of another batch").c_str());
      r.inputs[name] = t.to(at::kLong);
      refused(c, r, (name + " of integers").c_str());
      r.inputs[name] = t.unsqueeze(0);
      refused(c, r, (name + " with one axis more").c_str());
      if (name == "initial_state" || name == "z0") continue;
      r.inputs.erase(name);
      refused(c, r, ("no " + name).c_str());
    }
    MixerOpRequest r = good;
    r.inputs["k"] = at::randn({2, 5, 3, 6}, at::kDouble);
    refused(c, r, "three key heads for two or four");
    r = good;
    r.scalars.set("scale", std::numeric_limits<double>::infinity());
    refused(c, r, "an infinite scale");
  }
}

}  // namespace
}  // namespace microtome
