// Every kind's training forward, loss and gradients against SAELens's numbers (tests/golden/analyses/sae-*, transcoder-*): the naive
// form through autograd and, where there is one, the sparse form.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/dictionary/kinds/kind.h"
#include "core/io/safetensors.h"
#include "core/training/trainer.h"
#include "tests/golden_path.h"

namespace microtome {
namespace {

struct Golden {
  std::string folder;
  std::map<std::string, at::Tensor> tensors;
  explicit Golden(const std::string& name) : folder(testing::golden_path("golden/analyses/" + name)) {
    read("/expected.safetensors", "");
    // The repository's copy leaves out parameters that the dictionary's own weights repeat.
    for (const auto& [tensor, t] : tensors)
      if (tensor.rfind("train_param.", 0) == 0) return;
    read("/sae_weights.safetensors", "train_param.");
  }
  void read(const std::string& file, const std::string& prefix) {
    for (const NamedArray& a : read_arrays(folder + file).value())
      if (const auto* v = std::get_if<std::vector<float>>(&a.data)) tensors[prefix + a.name] = at::from_blob(const_cast<float*>(v->data()), a.shape, at::kFloat).clone();
      else if (const auto* i = std::get_if<std::vector<int64_t>>(&a.data)) tensors[prefix + a.name] = at::from_blob(const_cast<int64_t*>(i->data()), a.shape, at::kLong).clone();
  }
  const at::Tensor& at(const std::string& name) const { return tensors.at(name); }
};

// Tolerances of the golden files' README: losses 1e-4 relative, gradients 5e-4 of the largest.
void near(const at::Tensor& got, const at::Tensor& want, double share, const std::string& what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  EXPECT_LE((got - want).abs().max().item<double>(), share * want.abs().max().item<double>() + 1e-7) << what;
}

struct Case {
  std::string folder, kind;
  double l1 = 0, l0 = 0;
  bool rescale = false, centred = true, layer_norm = false;
};

DictionaryConfig config_of(const Case& c) {
  DictionaryConfig d;
  d.kind = c.kind;
  d.d_in = d.d_out = 64;
  d.d_sae = 160;
  d.k = 12;
  d.apply_b_dec_to_input = c.centred;
  d.rescale_acts_by_decoder_norm = c.rescale;
  d.normalize = c.layer_norm ? "layer_norm" : "none";
  if (c.kind == "matryoshka") d.nested = {20, 60};
  return d;
}

LossSettings settings_of(const Case& c, const Golden& g) {
  LossSettings s;
  s.l1 = c.l1;
  s.l0 = c.l0;
  s.sparsity = c.folder == "sae-jumprelu-tanh" ? "tanh" : "step";
  s.bandwidth = c.folder == "sae-jumprelu-tanh" ? 0.4 : 0.3;
  s.pre_act = c.folder == "sae-jumprelu-tanh" ? 0.003 : 0;
  if (auto dead = g.tensors.find("dead_neuron_mask"); dead != g.tensors.end()) s.dead = dead->second.to(at::kBool);
  return s;
}

class EveryKind : public ::testing::TestWithParam<Case> {};

TEST_P(EveryKind, ForwardLossAndGradientsAreSaeLens) {
  const Case& c = GetParam();
  if (!std::filesystem::exists(testing::golden_path("golden/analyses/" + c.folder + "/expected.safetensors"))) GTEST_SKIP() << "not in this copy of the references";
  const Golden g(c.folder);
  Dictionary d;
  d.config = config_of(c);
  std::vector<std::pair<std::string, at::Tensor>> leaves;
  for (const auto& [name, t] : g.tensors)
    if (name.rfind("train_param.", 0) == 0) {
      d.weights[name.substr(12)] = t.clone().set_requires_grad(true);
      leaves.emplace_back(name.substr(12), d.weights[name.substr(12)]);
    }
  check_dictionary(d, c.folder);
  const at::Tensor& x = g.at("x");
  at::AutoGradMode on(true);
  Dictionary::Normalised n = d.normalise(x);
  // The reference measures the error after its layer norm is undone: its loss is that of the scaled output.
  const DictionaryKind& kind = dictionary_kinds::builtin().get(c.kind);
  LossResult r;
  if (c.layer_norm) {
    LossSettings s = settings_of(c, g);
    at::Tensor codes = kind.activate(d, n.x, s, r);
    r.out = d.decode(codes, x);
    r.parts = {{"mse_loss", (r.out - x).square().sum(-1).mean()}};
    kind.penalise(d, n.x, x, codes, s, r);
    r.loss = r.parts[0].second + r.parts[1].second;
  } else {
    r = kind.loss(d, n.x, n.x, settings_of(c, g));
  }
  near(r.pre, g.at("hidden_pre"), 1e-5, "pre");
  near(r.codes, g.at("feature_acts"), 1e-5, "codes");
  near(r.out, g.at("sae_out"), 1e-5, "out");
  near(r.loss, g.at("loss"), 1e-4, "loss");
  for (const auto& [name, value] : r.parts) near(value, g.at("loss." + name), 1e-4, name);
  r.loss.backward();
  for (const auto& [name, leaf] : leaves) near(leaf.grad(), g.at("grad." + name), 5e-4, "gradient of " + name);
}

TEST_P(EveryKind, TheTrainersOwnFormHasTheSameGradients) {
  const Case& c = GetParam();
  if (c.layer_norm || !std::filesystem::exists(testing::golden_path("golden/analyses/" + c.folder + "/expected.safetensors"))) GTEST_SKIP() << "not trained this way";
  const Golden g(c.folder);
  Dictionary d;
  d.config = config_of(c);
  for (const auto& [name, t] : g.tensors)
    if (name.rfind("train_param.", 0) == 0) d.weights[name.substr(12)] = t.clone();
  for (auto form : {TrainerSettings::Form::kDense, TrainerSettings::Form::kSparse}) {
    TrainerSettings s;
    s.loss = settings_of(c, g);
    // The trainer finds dead features by itself; here they are given by a count that none or all has reached.
    const bool has_dead = s.loss.dead.defined();
    s.form = form;
    if (form == TrainerSettings::Form::kSparse && c.kind != "topk" && c.kind != "batchtopk" && c.kind != "matryoshka") continue;
    Trainer t({d}, s);
    if (has_dead) {
      std::vector<NamedArray> state = t.state("");
      for (NamedArray& a : state)
        if (a.name == "0.silent")
          for (int64_t i = 0; i < a.size(); ++i) std::get<std::vector<int64_t>>(a.data)[static_cast<size_t>(i)] = s.loss.dead[i].item<bool>() ? s.dead_tokens : 0;
      t.set_state(state, "");
    }
    EXPECT_EQ(t.sparse(), form == TrainerSettings::Form::kSparse);
    at::Tensor loss;
    auto gradients = t.gradients({g.at("x")}, {g.at("x")}, &loss);
    near(loss, g.at("loss"), 1e-4, "loss");
    for (const auto& [name, value] : gradients) near(value.contiguous(), g.at("grad." + name), 5e-4, "gradient of " + name);
  }
}

INSTANTIATE_TEST_SUITE_P(SaeLens, EveryKind,
                         ::testing::Values(Case{"sae-standard", "standard", 2.0}, Case{"sae-standard-nobdec", "standard", 0.5, 0, false, false},
                                           Case{"sae-standard-layernorm", "standard", 1.0, 0, false, true, true}, Case{"sae-gated", "gated", 1.5}, Case{"sae-topk", "topk"},
                                           Case{"sae-topk-rescaled", "topk", 0, 0, true}, Case{"sae-batchtopk", "batchtopk", 0, 0, true},
                                           Case{"sae-matryoshka-batchtopk", "matryoshka", 0, 0, true}, Case{"sae-jumprelu-step", "jumprelu", 0, 0.7},
                                           Case{"sae-jumprelu-tanh", "jumprelu", 0, 0.5}),
                         [](const auto& i) {
                           std::string name = i.param.folder;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace microtome
