// The chunk kernels without a delta rule against the naive form in float64: every decay, type, length, head size, grouped heads,
// extreme gates, NaN, gradients, what is written down on the way, and the runs that use them. They are skipped without a GPU
// (MICROTOME_TEST_DEVICE), where only what the kernels refuse can be looked at.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/cache/activation_cache.h"
#include "core/mixers/chunk_kernel.h"
#include "core/mixers/gla/forms.h"
#include "core/mixers/linear_attn/forms.h"
#include "core/mixers/registry.h"
#include "core/mixers/simple_gla/forms.h"
#include "core/model/device.h"

namespace microtome::mixers {
namespace {

c10::Device device() {
  const char* d = std::getenv("MICROTOME_TEST_DEVICE");
  return parse_device(d && *d ? d : "cpu");
}

enum class Decay { kNone, kHead, kChannel };

struct Shape {
  int64_t batch, pos, heads, group, d_k, d_v;
};

LinearRecurrence::Kind kind_of(Decay decay, bool normalized = false) {
  if (decay == Decay::kNone) return {"linear_attn", linear_attn_naive, linear_attn_chunk, false, normalized};
  if (decay == Decay::kHead) return {"simple_gla", simple_gla_naive, simple_gla_chunk};
  return {"gla", gla_naive, gla_chunk};
}

// Rounded to `type`, so that every form starts from the same numbers. gate: the strongest log decay of a token.
RecurrenceInput random_input(const Shape& s, Decay decay, at::ScalarType type, double gate = 0.3) {
  RecurrenceInput in;
  in.q = at::randn({s.batch, s.pos, s.heads * s.group, s.d_k});
  in.k = at::randn({s.batch, s.pos, s.heads, s.d_k});
  in.k = in.k / in.k.norm(2, -1, true);
  in.v = at::randn({s.batch, s.pos, s.heads, s.d_v});
  if (decay != Decay::kNone) in.g = at::rand({s.batch, s.pos, s.heads, decay == Decay::kHead ? 1 : s.d_k}) * -gate;
  in.scale = 1 / std::sqrt(static_cast<double>(s.d_k));
  for (at::Tensor* t : {&in.q, &in.k, &in.v}) *t = t->to(type).to(device());
  if (in.g.defined()) in.g = in.g.to(device());
  return in;
}

RecurrenceInput wide_copy(RecurrenceInput in, at::ScalarType type, c10::Device to) {
  for (at::Tensor* t : {&in.q, &in.k, &in.v, &in.g})
    if (t->defined()) *t = t->detach().to(to, type);
  return in;
}
RecurrenceInput reference_of(const RecurrenceInput& in) { return wide_copy(in, at::kDouble, at::kCPU); }

at::Tensor home(const at::Tensor& x) { return x.detach().to(at::kCPU, at::kDouble); }
double gap(const at::Tensor& a, const at::Tensor& b) { return (home(a) - home(b)).norm().item<double>() / (1e-30 + home(b).norm().item<double>()); }

struct WithTf32 {
  explicit WithTf32(bool on) : before(at::globalContext().allowTF32CuBLAS()) { at::globalContext().setAllowTF32CuBLAS(on); }
  ~WithTf32() { at::globalContext().setAllowTF32CuBLAS(before); }
  bool before;
};

struct Precision {
  const char* name;
  at::ScalarType type;
  bool tf32;
  double tolerance;
};
constexpr Precision kPrecisions[] = {{"float32", at::kFloat, false, 3e-6}, {"TF32", at::kFloat, true, 1e-3}, {"half", at::kHalf, false, 1.5e-3}, {"bfloat16", at::kBFloat16, false, 1e-2}};

bool refused_by_design(const Precision& p, Decay decay, const Shape& s) {
  // float32 with 256 keys and decays needs more shared memory than a block can have.
  return (decay == Decay::kChannel && p.type == at::kHalf) || (decay != Decay::kNone && p.type == at::kFloat && s.d_k > 128);
}

class ChunkKernel : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    if (!device().is_cuda()) GTEST_SKIP() << "no GPU asked for";
    ASSERT_EQ(chunk_kernel_missing(false), "");
    at::manual_seed(21);
  }
};

TEST_P(ChunkKernel, IsTheNaiveForm) {
  const Shape s = GetParam();
  for (const Precision& p : kPrecisions)
    for (Decay decay : {Decay::kNone, Decay::kHead, Decay::kChannel}) {
      SCOPED_TRACE(std::string(p.name) + " decay " + std::to_string(static_cast<int>(decay)));
      WithTf32 tf32(p.tf32);
      const RecurrenceInput in = random_input(s, decay, p.type), wide = reference_of(in);
      const at::Tensor S0 = at::randn({s.batch, s.heads, s.d_k, s.d_v}).to(device()), untouched = S0.clone();
      RecurrentState state{S0, {}}, naive{home(S0), {}};
      const char* refused = chunk_kernel_refuses(kind_of(decay), in, state);
      if (refused_by_design(p, decay, s)) {
        EXPECT_NE(refused, nullptr);
        continue;
      }
      ASSERT_EQ(refused, nullptr);
      ChunkNotes notes;
      for (int64_t t = 0; t < s.pos; ++t)
        if (t % 64 == 63 || t % 29 == 4 || t == s.pos - 1) notes.keep.push_back(t);
      notes.want_written = notes.want_norms = notes.want_pattern = true;
      const at::Tensor z = chunk_kernel(kind_of(decay), in, state, true, &notes);
      EXPECT_EQ(z.scalar_type(), p.type);
      EXPECT_TRUE(S0.equal(untouched)) << "the incoming state is somebody else's";
      std::vector<at::Tensor> rows;
      size_t kept = 0;
      double worst = 0;
      for (int64_t t = 0; t < s.pos; ++t) {
        rows.push_back(kind_of(decay).naive(wide.slice(t, t + 1), naive, true));
        if (kept < notes.keep.size() && notes.keep[kept] == t) worst = std::max(worst, gap(notes.kept.select(1, static_cast<int64_t>(kept++)), naive.S));
      }
      const at::Tensor want = at::cat(rows, 1);
      EXPECT_EQ(kept, notes.keep.size());
      EXPECT_LT(worst, p.tolerance) << "states kept";
      EXPECT_LT(gap(z, want), p.tolerance);
      EXPECT_LT(gap(state.S, naive.S), p.tolerance);
      EXPECT_EQ(gap(notes.written, wide.v), 0);
      EXPECT_LT(gap(notes.write_norm, wide.k.norm(2, -1) * wide.v.norm(2, -1)), 1e-6);
      EXPECT_LT(gap(notes.read_norm, want.norm(2, -1)), p.tolerance);
      // The implied pattern: the naive form on values that are one-hot over the tokens of a chunk.
      const int64_t last = (s.pos - 1) / 64, from = last * 64, n = s.pos - from;
      for (int64_t c : {int64_t{0}, last}) {
        const int64_t m = c == last ? n : 64;
        RecurrenceInput alone = wide.slice(c * 64, c * 64 + m);
        alone.v = at::eye(m, at::kDouble).view({1, m, 1, m}).expand({s.batch, m, s.heads, m}).contiguous();
        RecurrentState zero{at::zeros({s.batch, s.heads, s.d_k, m}, at::kDouble), {}};
        const at::Tensor A = kind_of(decay).naive(alone, zero, true).transpose(1, 2);
        const at::Tensor block = notes.pattern.select(2, c);
        EXPECT_LT(gap(block.slice(2, 0, m).slice(3, 0, m), A), p.tolerance) << "pattern of chunk " << c;
        EXPECT_EQ(block.slice(2, 0, m).slice(3, m).abs().sum().item<double>(), 0);
      }
      // Twice the same bits.
      RecurrentState again{S0, {}};
      EXPECT_TRUE(chunk_kernel(kind_of(decay), in, again, true, nullptr).equal(z));
      EXPECT_TRUE(again.S.equal(state.S));
    }
}

TEST_P(ChunkKernel, HasTheNaiveFormsGradients) {
  const Shape s = GetParam();
  if (s.pos > 300) GTEST_SKIP() << "the naive form's graph is too long";
  for (const Precision& p : kPrecisions)
    for (Decay decay : {Decay::kNone, Decay::kHead, Decay::kChannel}) {
      if (refused_by_design(p, decay, s)) continue;
      SCOPED_TRACE(std::string(p.name) + " decay " + std::to_string(static_cast<int>(decay)));
      WithTf32 tf32(p.tf32);
      RecurrenceInput in = random_input(s, decay, p.type), wide = reference_of(in);
      at::Tensor S0 = at::randn({s.batch, s.heads, s.d_k, s.d_v}).to(device()), wide_S = home(S0);
      std::vector<at::Tensor> leaves, wide_leaves;
      for (at::Tensor* t : {&in.q, &in.k, &in.v, &in.g, &S0})
        if (t->defined()) leaves.push_back(t->requires_grad_(true));
      for (at::Tensor* t : {&wide.q, &wide.k, &wide.v, &wide.g, &wide_S})
        if (t->defined()) wide_leaves.push_back(t->requires_grad_(true));
      RecurrentState state{S0, {}}, naive{wide_S, {}};
      const at::Tensor z = chunk_kernel(kind_of(decay), in, state, true, nullptr), want = kind_of(decay).naive(wide, naive, true);
      const at::Tensor dz = at::randn(z.sizes()).to(p.type).to(device()), dS = at::randn(S0.sizes()).to(device());
      const auto mine = torch::autograd::grad({z, state.S}, leaves, {dz, dS});
      const auto theirs = torch::autograd::grad({want, naive.S}, wide_leaves, {home(dz), home(dS)});
      const char* names[] = {"q", "k", "v", decay == Decay::kNone ? "state" : "g", "state"};
      // A gate's gradient is a difference of sums over all tokens.
      for (size_t i = 0; i < mine.size(); ++i)
        EXPECT_LT(gap(mine[i], theirs[i]), p.tolerance * (decay != Decay::kNone && i == 3 ? 5 : 2)) << names[i];
      // The state alone.
      RecurrentState only{S0, {}};
      const auto of_z = torch::autograd::grad({chunk_kernel(kind_of(decay), in, only, true, nullptr)}, {leaves[1]}, {dz});
      const auto want_z = torch::autograd::grad({kind_of(decay).naive(wide, naive = {wide_S, {}}, true)}, {wide_leaves[1]}, {home(dz)});
      EXPECT_LT(gap(of_z[0], want_z[0]), p.tolerance * 2);
    }
}
INSTANTIATE_TEST_SUITE_P(Shapes, ChunkKernel,
                         ::testing::Values(Shape{1, 1, 1, 1, 64, 64}, Shape{2, 63, 3, 1, 64, 64}, Shape{1, 64, 2, 2, 32, 64}, Shape{2, 65, 2, 3, 64, 32}, Shape{1, 130, 2, 1, 128, 128},
                                           Shape{1, 100, 1, 1, 256, 256}, Shape{1, 70, 1, 2, 20, 12}, Shape{1, 90, 2, 1, 21, 77}, Shape{1, 200, 1, 1, 100, 48}, Shape{1, 1000, 2, 2, 64, 64}));

class ChunkKernelEdges : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!device().is_cuda()) GTEST_SKIP() << "no GPU asked for";
    at::manual_seed(22);
  }
};

TEST_F(ChunkKernelEdges, ExtremeGates) {
  WithTf32 off(false);
  const Shape s{1, 200, 2, 1, 64, 48};
  for (Decay decay : {Decay::kHead, Decay::kChannel})
    for (double gate : {0.0, 0.5, 4.0, 80.0})
      for (bool endless : {false, true}) {
        SCOPED_TRACE("decay " + std::to_string(static_cast<int>(decay)) + " gates to -" + std::to_string(gate) + (endless ? " and -inf" : ""));
        RecurrenceInput in = random_input(s, decay, at::kFloat, gate);
        if (endless) {
          in.g.select(1, 3).fill_(-std::numeric_limits<double>::infinity());       // forgets everything
          in.g.select(1, 70).fill_(-1e4);
          in.g.select(1, 71).fill_(-1e30);
          in.g.select(1, 130).fill_(0);
        }
        RecurrentState state{at::randn({1, 2, 64, 48}).to(device()), {}}, naive{home(state.S), {}};
        ChunkNotes notes;
        notes.want_pattern = true;
        const at::Tensor z = chunk_kernel(kind_of(decay), in, state, true, &notes), want = kind_of(decay).naive(reference_of(in), naive, true);
        EXPECT_LT(gap(z, want), 3e-6);
        EXPECT_LT(gap(state.S, naive.S), 3e-6);
        EXPECT_TRUE(at::isfinite(notes.pattern).all().item<bool>());
      }
}

TEST_F(ChunkKernelEdges, NotANumberStaysInItsHead) {
  for (Decay decay : {Decay::kNone, Decay::kHead, Decay::kChannel})
    for (int what = 0; what < (decay == Decay::kNone ? 3 : 4); ++what) {
      SCOPED_TRACE("decay " + std::to_string(static_cast<int>(decay)) + " in " + "qkvg"[what]);
      RecurrenceInput in = random_input({1, 150, 2, 1, 32, 16}, decay, at::kFloat);
      (what == 0 ? in.q : what == 1 ? in.k : what == 2 ? in.v : in.g)[0][70][1][0] = std::numeric_limits<double>::quiet_NaN();
      RecurrentState state{at::zeros({1, 2, 32, 16}).to(device()), {}};
      const at::Tensor wrong = at::isnan(chunk_kernel(kind_of(decay), in, state, true, nullptr)).to(at::kCPU);
      EXPECT_FALSE(wrong.select(2, 0).any().item<bool>()) << "another head";
      EXPECT_FALSE(wrong.narrow(1, 0, 64).any().item<bool>()) << "earlier chunks";
      EXPECT_TRUE(wrong[0][70][1][0].item<bool>());
      EXPECT_EQ(wrong[0][149][1][0].item<bool>(), what != 0) << "what reads the state later sees it, unless only a query had it";
    }
}

TEST_F(ChunkKernelEdges, RoundsNoMoreThanTensorOperations) {
  for (Decay decay : {Decay::kNone, Decay::kHead, Decay::kChannel}) {
    RecurrenceInput in = random_input({2, 512, 2, 1, 64, 64}, decay, at::kBFloat16);
    RecurrentState state{at::zeros({2, 2, 64, 64}).to(device()), {}}, naive{home(state.S), {}}, plain{state.S.to(at::kBFloat16), {}};
    const at::Tensor want = kind_of(decay).naive(reference_of(in), naive, true);
    RecurrenceInput narrow = in;
    if (in.g.defined()) narrow.g = in.g.to(at::kBFloat16);
    const at::Tensor theirs = kind_of(decay).chunk(narrow, plain, true), mine = chunk_kernel(kind_of(decay), in, state, true, nullptr);
    EXPECT_LE(gap(mine, want), gap(theirs, want)) << static_cast<int>(decay);
    EXPECT_LE(gap(state.S, naive.S), gap(plain.S, naive.S)) << static_cast<int>(decay);
  }
}

TEST_F(ChunkKernelEdges, StridesSlicesAndNormaliser) {
  WithTf32 off(false);
  RecurrenceInput in = random_input({2, 150, 2, 1, 16, 8}, Decay::kNone, at::kFloat);
  in.q = in.q.abs();
  in.k = in.k.abs().transpose(1, 2).contiguous().transpose(1, 2);
  in.v = at::cat({in.v, in.v}, 3).narrow(3, 4, 8);
  in = in.slice(7, 140);
  RecurrentState state{at::randn({2, 2, 8, 16}).to(device()).transpose(2, 3), at::rand({2, 2, 16}).to(device())}, naive{home(state.S), home(state.z)};
  ChunkNotes notes;
  notes.keep_normalizer = {0, 63, 100};
  const RecurrenceInput wide = reference_of(in);
  const at::Tensor z = chunk_kernel(kind_of(Decay::kNone, true), in, state, true, &notes), z0 = naive.z, want = kind_of(Decay::kNone, true).naive(wide, naive, true);
  EXPECT_LT(gap(z, want), 1e-5);
  EXPECT_LT(gap(state.z, naive.z), 1e-6);
  EXPECT_LT(gap(notes.kept_normalizer.select(1, 2), z0 + wide.k.slice(1, 0, 101).sum(1)), 1e-6);
}

// A run whose states are looked at takes one pass and tells the hooks the same as the loop does.
TEST_F(ChunkKernelEdges, RunsTellHooksTheirStates) {
  WithTf32 off(false);
  RecurrenceInput in = random_input({1, 200, 2, 1, 32, 16}, Decay::kHead, at::kBFloat16);
  const MixerKind* kind = builtin().find("simple_gla");
  HookCatalogue catalogue;
  for (HookPoint p : kind->info(kind->cases.front().params, kind->cases.front().d_model).points) {
    p.name = "blocks.0.attn." + p.name;
    catalogue.add(p);
  }
  const std::string point = "blocks.0.attn.hook_state";
  HookPlan plan;
  plan.capture(point, std::vector<int64_t>{10, 63, 127, 199});
  at::Tensor states[2], outputs[2];
  for (int naive = 0; naive < 2; ++naive) {
    ActivationCache cache;
    HookRun hooks(plan, catalogue, 0, 200, &cache);
    HookScope scope(&hooks, "blocks.0.attn");
    RecurrentState state;
    MixerRun run;
    run.form = naive ? MixerForm::kNaive : MixerForm::kChunk;
    outputs[naive] = LinearRecurrence(kind_of(Decay::kHead)).run(in, state, scope, run);
    hooks.finish();
    states[naive] = cache.get(point);
  }
  EXPECT_EQ(outputs[0].scalar_type(), at::kFloat);
  EXPECT_LT(gap(outputs[0], outputs[1]), 1e-2);
  EXPECT_LT(gap(states[0], states[1]), 1e-2);
}

TEST(ChunkKernelCoverage, SaysWhatItDoesNotTake) {
  const Shape s{1, 70, 1, 1, 8, 8};
  RecurrenceInput in = random_input(s, Decay::kNone, at::kFloat);
  RecurrentState state{at::zeros({1, 1, 8, 8}).to(device()), {}};
  if (!device().is_cuda()) {
    ASSERT_NE(chunk_kernel_refuses(kind_of(Decay::kNone), in, state), nullptr);
    EXPECT_NE(std::string(chunk_kernel_refuses(kind_of(Decay::kNone), in, state)).find("GPU"), std::string::npos);
    return;
  }
  EXPECT_EQ(chunk_kernel_refuses(kind_of(Decay::kNone), in, state), nullptr);
  RecurrenceInput twice = in;
  twice.steps = 2;
  EXPECT_NE(chunk_kernel_refuses(kind_of(Decay::kNone), twice, state), nullptr);
  RecurrenceInput mixed = in;
  mixed.v = in.v.to(at::kHalf);
  EXPECT_NE(chunk_kernel_refuses(kind_of(Decay::kNone), mixed, state), nullptr);
  LinearRecurrence::Kind before = kind_of(Decay::kNone);
  before.reads_before = true;
  EXPECT_NE(chunk_kernel_refuses(before, in, state), nullptr);
  RecurrenceInput large = random_input({1, 70, 1, 1, 300, 8}, Decay::kNone, at::kFloat);
  EXPECT_NE(chunk_kernel_refuses(kind_of(Decay::kNone), large, {at::zeros({1, 1, 300, 8}).to(device()), {}}), nullptr);
}

}  // namespace
}  // namespace microtome::mixers
