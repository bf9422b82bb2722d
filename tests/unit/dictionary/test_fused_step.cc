// The training step by the kernels on a GPU (MICROTOME_TEST_DEVICE=cuda:0; without one these tests are skipped, but for Adam's, which runs
// on the CPU as well) against the definitions: the kinds' own loss through autograd in float64, at::topk, Adam's formula in float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>

#include "core/dictionary/kinds/kind.h"
#include "core/model/device.h"
#include "core/training/adam.h"
#include "core/training/gpu_call.h"
#include "core/training/trainer.h"
#include "kernels/top_choice/top_choice.h"

namespace microtome {
namespace {

c10::Device device() {
  const char* name = std::getenv("MICROTOME_TEST_DEVICE");
  return parse_device(name && *name ? name : "cpu");
}
bool has_kernels() { return device().is_cuda() && kernel_function(kernels::kTopRowsCudaSymbol) != nullptr; }

struct Case {
  std::string name, kind;
  bool rescale = false, transcoder = false, skip = false, dead = false, unit = false;
  int64_t d_in = 24, d_sae = 96, k = 4;
};

DictionaryConfig config_of(const Case& c) {
  DictionaryConfig d;
  d.kind = c.kind;
  d.d_in = c.d_in;
  d.d_out = c.transcoder ? c.d_in + 8 : c.d_in;
  d.d_sae = c.d_sae;
  d.k = c.k;
  d.transcoder = c.transcoder;
  d.skip = c.skip;
  d.apply_b_dec_to_input = !c.transcoder;
  d.rescale_acts_by_decoder_norm = c.rescale;
  if (c.kind == "matryoshka") d.nested = {c.d_sae / 8, c.d_sae / 8 * 3};
  return d;
}

// Weights far from a beginning's, so that nothing is 0 or 1 by chance.
Dictionary made(const Case& c) {
  at::manual_seed(11);
  Dictionary d;
  d.config = config_of(c);
  const DictionaryConfig& s = d.config;
  d.weights["W_dec"] = at::randn({s.d_sae, s.d_out}) * 0.3;
  d.weights["W_enc"] = at::randn({s.d_in, s.d_sae}) * 0.3;
  d.weights["b_dec"] = at::randn({s.d_out}) * 0.2;
  d.weights["b_enc"] = at::randn({s.d_sae}) * 0.2;
  if (s.skip) d.weights["W_skip"] = at::randn({s.d_out, s.d_in}) * 0.2;
  if (c.unit) d.weights["W_dec"] = d.weights["W_dec"] / d.weights["W_dec"].norm(2, 1, true);
  return d;
}

double apart(const at::Tensor& got, const at::Tensor& want) {
  at::Tensor a = got.to(at::kCPU, at::kDouble), b = want.to(at::kCPU, at::kDouble);
  return ((a - b).norm() / b.norm().clamp_min(1e-12)).item<double>();
}

class Fused : public ::testing::TestWithParam<Case> {};

TEST_P(Fused, GradientsAreThoseOfTheDefinitionInFloat64) {
  if (!has_kernels()) GTEST_SKIP() << "needs MICROTOME_TEST_DEVICE=cuda:0 and the kernels";
  const Case& c = GetParam();
  const Dictionary d = made(c);
  at::Tensor x = at::randn({70, d.config.d_in}), target = c.transcoder ? at::randn({70, d.config.d_out}) : x;
  TrainerSettings s;
  s.form = TrainerSettings::Form::kSparse;
  at::Tensor dead = at::zeros({c.d_sae}, at::kBool);
  if (c.dead) dead.slice(0, 0, c.d_sae, 3).fill_(true);

  // The definition.
  at::AutoGradMode on(true);
  Dictionary exact;
  exact.config = d.config;
  for (const auto& [name, w] : d.weights) exact.weights[name] = w.to(at::kDouble).set_requires_grad(true);
  LossSettings ls = s.loss;
  if (c.dead) ls.dead = dead;
  LossResult want = dictionary_kinds::builtin().get(c.kind).loss(exact, x.to(at::kDouble), target.to(at::kDouble), ls);
  want.loss.backward();

  for (auto products : {at::kFloat, at::kBFloat16}) {
    s.loss.products = products;
    Trainer t({d.to(device(), at::kFloat)}, s);
    if (c.dead) {
      std::vector<NamedArray> state = t.state("");
      for (NamedArray& a : state)
        if (a.name == "0.silent")
          for (int64_t i = 0; i < a.size(); ++i) std::get<std::vector<int64_t>>(a.data)[static_cast<size_t>(i)] = dead[i].item<bool>() ? s.dead_tokens : 0;
      t.set_state(state, "");
    }
    at::Tensor loss;
    auto gradients = t.gradients({x.to(device())}, {target.to(device())}, &loss);
    // bfloat16 may choose differently where two pre-activations are nearly equal.
    const double most = products == at::kFloat ? 2e-5 : 0.25, of_loss = products == at::kFloat ? 1e-5 : 0.02;
    EXPECT_LT(apart(loss, want.loss.detach()), of_loss);
    for (const auto& [name, g] : gradients) EXPECT_LT(apart(g, exact.weights[name].grad()), most) << name << (products == at::kFloat ? "" : ", bfloat16");
  }
}

// What one step from fresh moments leaves in them is a tenth of the clipped gradient.
TEST_P(Fused, AStepTakesTheClippedGradient) {
  if (!has_kernels()) GTEST_SKIP() << "needs MICROTOME_TEST_DEVICE=cuda:0 and the kernels";
  const Case& c = GetParam();
  const Dictionary d = made(c);
  // The first feature is on in every row: its gradients are summed by other means than those of a few entries.
  d.weight("b_enc")[0] = 50;
  at::Tensor x = at::randn({200, d.config.d_in}), target = c.transcoder ? at::randn({200, d.config.d_out}) : x;
  at::AutoGradMode on(true);
  Dictionary exact;
  exact.config = d.config;
  for (const auto& [name, w] : d.weights) exact.weights[name] = w.to(at::kDouble).set_requires_grad(true);
  TrainerSettings s;
  s.unit_decoder = c.unit;
  dictionary_kinds::builtin().get(c.kind).loss(exact, x.to(at::kDouble), target.to(at::kDouble), s.loss).loss.backward();
  std::map<std::string, at::Tensor> want;
  double square = 0;
  for (const auto& [name, w] : exact.weights) {
    at::Tensor g = w.grad().detach().clone(), row = w.detach();
    if (c.unit && name == "W_dec") g = g - (g * row).sum(1, true) * row;
    square += g.square().sum().item<double>();
    want[name == "W_enc" ? "0.W_enc_t.first" : "0." + name + ".first"] = (name == "W_enc" ? g.t().contiguous() : g).flatten();
  }
  const double norm = std::sqrt(square), scale = std::min(1.0, s.clip / (norm + 1e-6));
  Trainer t({d.to(device(), at::kFloat)}, s);
  StepReport r = t.step({x.to(device())}, {target.to(device())});
  EXPECT_NEAR(r.norm.item<double>(), norm, 1e-4 * norm);
  size_t seen = 0;
  for (const NamedArray& a : t.state(""))
    if (auto it = want.find(a.name); it != want.end()) {
      const auto& v = std::get<std::vector<float>>(a.data);
      EXPECT_LT(apart(at::from_blob(const_cast<float*>(v.data()), {a.size()}, at::kFloat), it->second * (0.1 * scale)), 1e-4) << a.name;
      ++seen;
    }
  EXPECT_EQ(seen, want.size());
}

TEST_P(Fused, GoesOnFromAStoredStateWithEqualBits) {
  if (!has_kernels()) GTEST_SKIP() << "needs MICROTOME_TEST_DEVICE=cuda:0 and the kernels";
  const Case& c = GetParam();
  const Dictionary start = made(c).to(device(), at::kFloat);
  std::vector<at::Tensor> x, target;
  for (int i = 0; i < 5; ++i) {
    x.push_back(at::randn({70, start.config.d_in}).to(device()));
    target.push_back(c.transcoder ? at::randn({70, start.config.d_out}).to(device()) : x.back());
  }
  for (auto products : {at::kFloat, at::kBFloat16}) {
    TrainerSettings s;
    s.loss.products = products;
    s.lr = 3e-3;
    s.steps = 40;
    s.warmup = 5;
    s.dead_tokens = c.dead ? 200 : 100000;
    s.resample_every = 7;
    s.unit_decoder = c.unit;
    auto run = [&](Trainer& t, int64_t from, int64_t to) {
      std::vector<double> losses;
      for (int64_t i = from; i < to; ++i) losses.push_back(t.step({x[static_cast<size_t>(i % 5)]}, {target[static_cast<size_t>(i % 5)]}).loss.item<double>());
      return losses;
    };
    Trainer whole({start}, s), first({start}, s), second({start}, s);
    run(whole, 0, 17);
    const std::vector<double> want = run(whole, 17, 40);
    run(first, 0, 17);
    second.set_state(first.state("x."), "x.");
    EXPECT_EQ(run(second, 17, 40), want);
    for (const auto& [name, w] : whole.trained(0).weights) EXPECT_TRUE(at::equal(w, second.trained(0).weight(name))) << name;
    if (c.unit) {
      EXPECT_LT((whole.trained(0).weight("W_dec").norm(2, 1) - 1).abs().max().item<double>(), 1e-5);
    }
  }
}

TEST_P(Fused, LossCurveIsTheDenseOnes) {
  if (!has_kernels()) GTEST_SKIP() << "needs MICROTOME_TEST_DEVICE=cuda:0 and the kernels";
  const Case& c = GetParam();
  const Dictionary start = made(c).to(device(), at::kFloat);
  std::vector<at::Tensor> x, target;
  for (int i = 0; i < 5; ++i) {
    x.push_back(at::randn({70, start.config.d_in}).to(device()));
    target.push_back(c.transcoder ? at::randn({70, start.config.d_out}).to(device()) : x.back());
  }
  // Which features are dead, and which of these take the residual, changes by jumps: curves go apart soon after some are.
  const size_t steps = c.dead ? 6 : 40;
  for (auto products : {at::kFloat, at::kBFloat16}) {
    TrainerSettings s;
    s.loss.products = products;
    s.lr = 1e-3;
    s.steps = 60;
    s.dead_tokens = c.dead ? 200 : 100000;
    s.unit_decoder = c.unit;
    TrainerSettings dense = s;
    dense.form = TrainerSettings::Form::kDense;
    Trainer a({start}, dense), b({start}, s);
    double sum = 0, other = 0;
    for (size_t i = 0; i < steps; ++i) {
      const double want = a.step({x[i % 5]}, {target[i % 5]}).loss.item<double>(), got = b.step({x[i % 5]}, {target[i % 5]}).loss.item<double>();
      sum += want;
      other += got;
      // Rounding lets the two choose differently where two features are nearly equal, and go apart from there on.
      EXPECT_NEAR(got, want, (products == at::kFloat ? 0.01 : 0.05) * want) << "step " << i;
    }
    EXPECT_NEAR(other, sum, (products == at::kFloat ? 2e-3 : 0.02) * sum);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Fused,
                         ::testing::Values(Case{"topk", "topk"}, Case{"topk_rescaled", "topk", true}, Case{"topk_dead", "topk", true, false, false, true},
                                           Case{"topk_unit", "topk", false, false, false, true, true}, Case{"topk_skip", "topk", false, true, true},
                                           Case{"topk_wide", "topk", true, false, false, true, false, 768, 1536, 40}, Case{"topk_many", "topk", false, false, false, false, false, 64, 640, 600},
                                           Case{"batchtopk", "batchtopk", true}, Case{"batchtopk_dead", "batchtopk", false, true, false, true}, Case{"matryoshka", "matryoshka", true},
                                           Case{"matryoshka_dead", "matryoshka", true, false, false, true}, Case{"matryoshka_skip", "matryoshka", false, true, true}),
                         [](const auto& i) { return i.param.name; });

// Both sides as [columns of a row → value], negative ones left out.
void expect_choice(const at::Tensor& scaled, const at::Tensor& column, const at::Tensor& value, const at::Tensor& row, int64_t wanted, const std::string& what) {
  at::Tensor got = at::zeros_like(scaled), host_column = column.cpu().to(at::kLong), host_value = value.cpu(), host_row = row.cpu().to(at::kLong);
  int64_t chosen = 0;
  for (int64_t e = 0; e < host_column.numel(); ++e) {
    const int64_t c = host_column[e].item<int64_t>();
    if (c < 0) continue;
    got[host_row[e].item<int64_t>()][c] = host_value[e];
    ++chosen;
  }
  EXPECT_EQ(chosen, wanted) << what;
  at::Tensor there = got.ne(0);                            // NaN is not 0
  EXPECT_TRUE(at::equal(at::nan_to_num(got.masked_select(there), -7.0), at::nan_to_num(scaled.masked_select(there), -7.0))) << what << ": a value is not the entry's";
}

TEST(TopChoice, IsTopkOfRowsAndOfTheBatch) {
  if (!has_kernels()) GTEST_SKIP() << "needs MICROTOME_TEST_DEVICE=cuda:0 and the kernels";
  at::manual_seed(2);
  const auto rows_kernel = kernel_of<kernels::TopRowsCuda>(kernels::kTopRowsCudaSymbol);
  const auto batch_kernel = kernel_of<kernels::TopBatchCuda>(kernels::kTopBatchCudaSymbol);
  for (const char* how : {"random", "ties", "negative", "nan", "equal", "one row"})
    for (int64_t columns : {96, 2048})
      for (int64_t k : {int64_t{1}, int64_t{32}, columns}) {
        const int64_t n = 21;
        at::Tensor pre = at::randn({n, columns});
        if (std::string(how) == "ties") pre = (pre * 3).round() / 3;
        if (std::string(how) == "negative") pre = -pre.abs() - 1;
        if (std::string(how) == "nan") pre[3][5] = std::numeric_limits<float>::quiet_NaN();
        if (std::string(how) == "equal") pre.fill_(0.5);
        if (std::string(how) == "one row") pre[4] = pre[4].abs() + 5;
        const std::string what = std::string(how) + ", " + std::to_string(columns) + " columns, k " + std::to_string(k);
        at::Tensor on = pre.to(device());
        const at::TensorOptions ints = on.options().dtype(at::kInt);
        at::Tensor column = at::empty({n * k}, ints), value = at::empty({n * k}, on.options());
        kernels::TopRows t;
        t.rows = n;
        t.columns = columns;
        t.k = k;
        t.pre = on.const_data_ptr();
        t.column = column.mutable_data_ptr<int32_t>();
        t.value = value.mutable_data_ptr<float>();
        ASSERT_EQ(rows_kernel(t, on.device().index(), nullptr), nullptr);
        // Values as at::topk's; of equal ones the first columns.
        at::Tensor sorted = std::get<0>(pre.topk(k, 1)).clamp_min(0), mine = std::get<0>(value.cpu().view({n, k}).sort(1, true));
        EXPECT_TRUE(at::equal(at::nan_to_num(mine, 1e9), at::nan_to_num(sorted, 1e9))) << what;
        expect_choice(pre, column, value, at::arange(n).repeat_interleave(k), sorted.ne(0).sum().item<int64_t>(), what);
        at::Tensor last = std::get<0>(sorted.min(1, true));
        for (int64_t r = 0; r < n; ++r) {
          // The chosen ones among those equal to the last value are the lowest.
          at::Tensor equal = pre[r].eq(last[r]).nonzero().flatten(), own = std::get<0>(column.cpu().view({n, k})[r].to(at::kLong).sort());
          int64_t taken = 0;
          for (int64_t i = 0; i < equal.numel() && last[r].item<float>() > 0; ++i) {
            const bool in = own.eq(equal[i]).any().item<bool>();
            EXPECT_TRUE(!in || taken == i) << what << ": a tie is not resolved by the lower column";
            taken += in;
          }
        }

        at::Tensor row = at::empty({n * k}, ints), row_from = at::empty({n + 1}, ints), counts = at::empty({kernels::kTopBatchCounts}, ints);
        at::Tensor largest = at::empty({n, kernels::kTopBatchParts}, on.options()), of_rows = at::empty({3, n}, ints), candidates = at::empty({n, kernels::kTopBatchRoom}, on.options().dtype(at::kLong));
        kernels::TopBatch b;
        b.rows = t;
        b.row_from = row_from.mutable_data_ptr<int32_t>();
        b.row = row.mutable_data_ptr<int32_t>();
        b.counts = counts.mutable_data_ptr<int32_t>();
        b.largest = largest.mutable_data_ptr<float>();
        b.candidates = candidates.mutable_data_ptr<int64_t>();
        b.of_rows = of_rows.mutable_data_ptr<int32_t>();
        ASSERT_EQ(batch_kernel(b, on.device().index(), nullptr), nullptr);
        at::Tensor all = std::get<0>(pre.flatten().topk(n * k)).clamp_min(0), ours = std::get<0>(value.cpu().sort(0, true));
        EXPECT_TRUE(at::equal(at::nan_to_num(ours, 1e9), at::nan_to_num(all, 1e9))) << what << ", batch";
        expect_choice(pre, column, value, row, all.ne(0).sum().item<int64_t>(), what + ", batch");
      }
}

TEST(AdamStep, IsTheFormulaInFloat64) {
  at::manual_seed(4);
  for (double clip : {0.0, 0.7})
    for (bool unit : {false, true}) {
      std::vector<AdamParameter> p(4);
      std::vector<std::vector<int64_t>> shapes = {{33, 24}, {17}, {6, 10, 12}, {9, 7}};
      std::vector<at::Tensor> w, m, v, g;
      double square = 0;
      for (size_t i = 0; i < p.size(); ++i) {
        w.push_back(at::randn(shapes[i], at::kDouble));
        m.push_back(at::randn(shapes[i], at::kDouble) * 0.1);
        v.push_back(at::rand(shapes[i], at::kDouble) * 0.1);
        g.push_back(at::randn(shapes[i], at::kDouble));
        auto on = [](const at::Tensor& t) { return t.to(device(), at::kFloat); };
        p[i].value = on(w[i]);
        p[i].first = on(m[i]);
        p[i].second = on(v[i]);
        p[i].gradient = on(g[i]);
        p[i].unit = unit && i == 0;
        square += g[i].square().sum().item<double>();
      }
      AdamOptions o;
      o.rate = 0.01;
      o.clip = clip;
      o.step = 3;
      const double norm = adam_step(p, o).item<double>(), scale = clip > 0 ? std::min(1.0, clip / (std::sqrt(square) + 1e-6)) : 1.0;
      EXPECT_NEAR(norm, std::sqrt(square), 1e-5 * std::sqrt(square));
      for (size_t i = 0; i < p.size(); ++i) {
        at::Tensor by = g[i] * scale, first = o.beta1 * m[i] + (1 - o.beta1) * by, second = o.beta2 * v[i] + (1 - o.beta2) * by * by;
        at::Tensor value = w[i] - o.rate / (1 - std::pow(o.beta1, 3)) * first / (second.sqrt() / std::sqrt(1 - std::pow(o.beta2, 3)) + o.eps);
        if (unit && i == 0) value = value / value.norm(2, 1, true);
        EXPECT_LT(apart(p[i].value, value), 1e-6) << i;
        EXPECT_LT(apart(p[i].first, first), 1e-6) << i;
        EXPECT_LT(apart(p[i].second, second), 1e-6) << i;
      }
    }
}

}  // namespace
}  // namespace microtome
