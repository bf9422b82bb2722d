// The chunked kernels of the delta rules (kernels/chunk_delta) against the naive forms in float64: outputs, states, what is noted on
// the way, gradients; element types, lengths around a chunk, head sizes, grouped heads, extreme gates, NaN, equal bits. They are on
// a GPU alone: MICROTOME_TEST_DEVICE names it, and without one there is nothing to test.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/mixers/chunk_kernel.h"
#include "core/mixers/delta_rule/forms.h"
#include "core/mixers/gated_delta_product/forms.h"
#include "core/mixers/gated_delta_rule/forms.h"
#include "core/mixers/kda/forms.h"
#include "core/model/device.h"
#include "core/model/kernel_library.h"
#include "kernels/chunk/chunk.h"

namespace microtome::mixers {
namespace {

c10::Device device() {
  const char* d = std::getenv("MICROTOME_TEST_DEVICE");
  return parse_device(d && *d ? d : "cpu");
}

struct Shape {
  int64_t batch, pos, heads, group, d_k, d_v;
};

enum class Decay { kNone, kHead, kChannel };
constexpr Decay kDecays[] = {Decay::kNone, Decay::kHead, Decay::kChannel};

const LinearRecurrence::Kind& kind_of(Decay decay) {
  static const LinearRecurrence::Kind plain{"delta_rule", delta_rule_naive, delta_rule_chunk, true};
  static const LinearRecurrence::Kind gated{"gated_delta_rule", gated_delta_rule_naive, gated_delta_rule_chunk, true};
  static const LinearRecurrence::Kind channel{"kda", kda_naive, kda_chunk, true};
  return decay == Decay::kNone ? plain : decay == Decay::kHead ? gated : channel;
}

// Float64 on the CPU, q, k and v rounded to `type`: what both sides are given.
RecurrenceInput random_input(const Shape& s, Decay decay, at::ScalarType type) {
  const at::TensorOptions o = at::TensorOptions().dtype(at::kDouble);
  auto rounded = [&](const at::Tensor& x) { return x.to(type).to(at::kDouble); };
  RecurrenceInput in;
  in.q = rounded(at::randn({s.batch, s.pos, s.heads * s.group, s.d_k}, o));
  at::Tensor k = at::randn({s.batch, s.pos, s.heads, s.d_k}, o);
  in.k = rounded(k / k.norm(2, -1, true));
  in.v = rounded(at::randn({s.batch, s.pos, s.heads, s.d_v}, o));
  if (decay != Decay::kNone) in.g = (-at::rand({s.batch, s.pos, s.heads, decay == Decay::kHead ? 1 : s.d_k}, o) * 0.3).to(at::kFloat).to(at::kDouble);
  in.beta = at::rand({s.batch, s.pos, s.heads}, o).to(at::kFloat).to(at::kDouble);
  in.scale = 1 / std::sqrt(static_cast<double>(s.d_k));
  return in;
}

RecurrenceInput on_device(const RecurrenceInput& wide, at::ScalarType type) {
  RecurrenceInput in = wide;
  for (at::Tensor* t : {&in.q, &in.k, &in.v}) *t = t->to(device(), type);
  for (at::Tensor* t : {&in.g, &in.beta})
    if (t->defined()) *t = t->to(device(), at::kFloat);
  return in;
}

at::Tensor wide(const at::Tensor& t) { return t.to(at::kCPU, at::kDouble); }

// Distance over size.
double gap(const at::Tensor& a, const at::Tensor& b) {
  const double size = b.norm().item<double>();
  return (wide(a) - b).norm().item<double>() / (size > 0 ? size : 1);
}

double tolerance_of(at::ScalarType type, bool tf32) { return type == at::kFloat ? tf32 ? 3e-3 : 3e-5 : type == at::kHalf ? 3e-3 : 2e-2; }

// What the definition gives for everything that a pass can note.
struct Naive {
  at::Tensor z, S, states, written, write_norm, read_norm, pattern;
};

Naive naive_of(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, const at::Tensor& S0) {
  Naive out;
  RecurrentState state{S0, {}};
  std::vector<at::Tensor> z, states, written;
  for (int64_t t = 0; t < in.positions(); ++t) {
    const at::Tensor decayed = in.g.defined() ? state.S * decay_at(in, t) : state.S;
    written.push_back((in.v.select(1, t) - read_state(decayed, in.k.select(1, t))) * in.beta.select(1, t).unsqueeze(-1));
    z.push_back(kind.naive(in.slice(t, t + 1), state, true));
    states.push_back(state.S);
  }
  out.z = at::cat(z, 1);
  out.S = state.S;
  out.states = at::stack(states, 1);
  out.written = at::stack(written, 1);
  out.write_norm = in.k.norm(2, -1) * out.written.norm(2, -1);
  out.read_norm = out.z.norm(2, -1);
  // Diagonal blocks: each chunk on its own, on values that are one-hot over its tokens.
  const int64_t C = 64, B = in.k.size(0), H = in.k.size(2), T = in.positions();
  std::vector<at::Tensor> blocks;
  for (int64_t from = 0; from < T; from += C) {
    const int64_t n = std::min(C, T - from);
    RecurrenceInput part = in.slice(from, from + n);
    part.v = at::eye(n, in.v.options()).view({1, n, 1, n}).expand({B, n, H, n});
    RecurrentState none{at::zeros({B, H, in.k.size(3), n}, in.v.options()), {}};
    blocks.push_back(at::constant_pad_nd(kind.naive(part, none, true).permute({0, 2, 1, 3}), {0, C - n, 0, C - n}));
  }
  out.pattern = at::stack(blocks, 2);
  return out;
}

class ChunkDelta : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!device().is_cuda()) GTEST_SKIP() << "no GPU is named";
    tf32_ = at::globalContext().allowTF32CuBLAS();
    at::globalContext().setAllowTF32CuBLAS(false);
    at::manual_seed(11);
  }
  void TearDown() override {
    if (device().is_cuda()) at::globalContext().setAllowTF32CuBLAS(tf32_);
  }
  bool tf32_ = false;

  void compare(Decay decay, const RecurrenceInput& in, at::ScalarType type, double tolerance) {
    const auto& kind = kind_of(decay);
    const int64_t T = in.positions();
    const at::Tensor S0 = at::randn({in.k.size(0), in.k.size(2), in.k.size(3), in.v.size(3)}).to(at::kDouble);
    const Naive want = naive_of(kind, in, S0);
    const RecurrenceInput given = on_device(in, type);
    RecurrentState state{S0.to(device(), at::kFloat), {}};
    const at::Tensor untouched = state.S, copy = state.S.clone();
    ASSERT_EQ(chunk_kernel_refuses(kind, given, state), nullptr);
    ChunkNotes notes;
    for (int64_t t = 0; t < T; ++t)
      if (t % 64 == 63 || t == T - 1 || (t / 64 == 1 && t % 5 == 0) || t == 2) notes.keep.push_back(t);   // chunks with and without tokens inside
    notes.want_written = notes.want_norms = notes.want_pattern = true;
    const at::Tensor z = chunk_kernel(kind, given, state, true, &notes);
    EXPECT_EQ(z.scalar_type(), type);
    EXPECT_TRUE(untouched.equal(copy)) << "the incoming state is somebody else's";
    EXPECT_LT(gap(z, want.z), tolerance);
    EXPECT_LT(gap(state.S, want.S), tolerance);
    EXPECT_LT(gap(notes.kept, want.states.index_select(1, at::tensor(notes.keep, at::kLong))), tolerance);
    EXPECT_LT(gap(notes.written, want.written), tolerance);
    EXPECT_LT(gap(notes.write_norm, want.write_norm), tolerance);
    EXPECT_LT(gap(notes.read_norm, want.read_norm), tolerance);
    EXPECT_LT(gap(notes.pattern, want.pattern), tolerance);
    // Alone, and without a read-out.
    RecurrentState again{S0.to(device(), at::kFloat), {}};
    EXPECT_TRUE(chunk_kernel(kind, given, again, true, nullptr).equal(z)) << "noting changes nothing";
    EXPECT_TRUE(again.S.equal(state.S));
    again.S = S0.to(device(), at::kFloat);
    chunk_kernel(kind, given, again, false, nullptr);
    EXPECT_TRUE(again.S.equal(state.S));
  }
};

TEST_F(ChunkDelta, IsTheNaiveForm) {
  const Shape shapes[] = {{2, 1, 2, 1, 64, 64}, {1, 63, 2, 1, 64, 64}, {1, 64, 2, 1, 64, 64}, {1, 65, 2, 1, 64, 64}, {1, 1000, 1, 1, 64, 64}, {2, 130, 2, 2, 32, 48},
                          {1, 150, 1, 3, 128, 64}, {1, 100, 1, 1, 256, 256}, {1, 140, 3, 1, 96, 40}, {1, 140, 2, 2, 20, 23}, {1, 140, 2, 1, 33, 65}, {1, 70, 40, 1, 64, 128}};
  for (const Shape& s : shapes)
    for (Decay decay : kDecays)
      for (auto [type, tf32] : {std::pair{at::kFloat, false}, {at::kFloat, true}, {at::kBFloat16, false}, {at::kHalf, false}}) {
        SCOPED_TRACE("pos " + std::to_string(s.pos) + " d_k " + std::to_string(s.d_k) + " d_v " + std::to_string(s.d_v) + " decay " + std::to_string(static_cast<int>(decay)) + " " +
                     c10::toString(type) + (tf32 ? " tf32" : ""));
        at::globalContext().setAllowTF32CuBLAS(tf32);
        if (decay == Decay::kChannel && type == at::kFloat && s.d_k > 128) continue;   // more than the shared memory; refused
        compare(decay, random_input(s, decay, type), type, tolerance_of(type, tf32));
      }
}

TEST_F(ChunkDelta, ExtremeGatesAndWriteStrengths) {
  for (Decay decay : kDecays)
    for (auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      SCOPED_TRACE(std::string("decay ") + std::to_string(static_cast<int>(decay)) + " " + c10::toString(type));
      RecurrenceInput in = random_input({1, 200, 3, 1, 64, 64}, decay, type);
      const at::Tensor r = at::rand_like(in.beta);
      in.beta = at::where(r < 0.3, at::zeros_like(r), at::where(r < 0.6, 2 * at::ones_like(r), in.beta));
      if (in.g.defined()) {
        const at::Tensor d = at::rand_like(in.g);       // decay to 0, far beyond what exp can show, none, and in between
        in.g = at::where(d < 0.1, at::full_like(d, -1e4), at::where(d < 0.2, at::full_like(d, -200), at::where(d < 0.6, at::zeros_like(d), (30 * in.g).to(at::kFloat).to(at::kDouble))));
      }
      compare(decay, in, type, 2 * tolerance_of(type, false));
      if (!in.g.defined()) continue;
      in.g.fill_(-std::numeric_limits<double>::infinity());
      compare(decay, in, type, 2 * tolerance_of(type, false));
    }
}

TEST_F(ChunkDelta, KeysLongerThanOne) {
  for (Decay decay : kDecays) {
    RecurrenceInput in = random_input({1, 128, 2, 1, 64, 64}, decay, at::kFloat);
    in.k = (in.k * 1.2).to(at::kFloat).to(at::kDouble);
    compare(decay, in, at::kFloat, 1e-3);
  }
}

TEST_F(ChunkDelta, NanStaysInItsHead) {
  for (Decay decay : kDecays)
    for (auto type : {at::kFloat, at::kBFloat16}) {
      const RecurrenceInput clean = random_input({2, 150, 2, 1, 64, 64}, decay, type);
      const at::Tensor S0 = at::randn({2, 2, 64, 64}).to(device());
      RecurrentState expected{S0, {}};
      const at::Tensor z = chunk_kernel(kind_of(decay), on_device(clean, type), expected, true, nullptr);
      for (int part = 0; part < (decay == Decay::kNone ? 4 : 5); ++part) {
        RecurrenceInput in = on_device(clean, type);
        at::Tensor* parts[] = {&in.q, &in.k, &in.v, &in.beta, &in.g};
        parts[part]->select(0, 1).select(0, 70).select(0, 0).fill_(std::numeric_limits<double>::quiet_NaN());
        RecurrentState state{S0, {}};
        const at::Tensor y = chunk_kernel(kind_of(decay), in, state, true, nullptr);
        EXPECT_TRUE(y.select(0, 1).select(1, 0).slice(0, 70, 71).isnan().any().item<bool>()) << part;
        EXPECT_TRUE(y.select(0, 1).select(1, 1).equal(z.select(0, 1).select(1, 1))) << part;
        EXPECT_TRUE(y.select(0, 0).equal(z.select(0, 0))) << part;
        EXPECT_TRUE(y.select(0, 1).select(1, 0).slice(0, 0, 64).equal(z.select(0, 1).select(1, 0).slice(0, 0, 64))) << part;
      }
    }
}

TEST_F(ChunkDelta, SameBitsAgain) {
  for (Decay decay : kDecays) {
    const RecurrenceInput in = on_device(random_input({2, 500, 4, 1, 64, 64}, decay, at::kBFloat16), at::kBFloat16);
    at::Tensor z, kept;
    for (int i = 0; i < 3; ++i) {
      RecurrentState state{at::ones({2, 4, 64, 64}, in.beta.options()), {}};
      ChunkNotes notes;
      for (int64_t t = 0; t < 500; t += 3) notes.keep.push_back(t);
      const at::Tensor y = chunk_kernel(kind_of(decay), in, state, true, &notes);
      EXPECT_TRUE(i == 0 || (y.equal(z) && notes.kept.equal(kept)));
      z = y;
      kept = notes.kept;
    }
  }
}

// Every state of a run with few heads, which is written beside the walk.
TEST_F(ChunkDelta, EveryState) {
  for (Decay decay : kDecays) {
    const RecurrenceInput in = random_input({1, 1100, 2, 1, 32, 24}, decay, at::kFloat);
    const at::Tensor S0 = at::randn({1, 2, 32, 24}, at::kDouble);
    const Naive want = naive_of(kind_of(decay), in, S0);
    RecurrentState state{S0.to(device(), at::kFloat), {}};
    ChunkNotes notes;
    for (int64_t t = 0; t < 1100; ++t) notes.keep.push_back(t);
    const at::Tensor z = chunk_kernel(kind_of(decay), on_device(in, at::kFloat), state, true, &notes);
    EXPECT_LT(gap(notes.kept, want.states), 3e-5);
    EXPECT_LT(gap(z, want.z), 3e-5);
    EXPECT_LT(gap(state.S, want.S), 3e-5);
  }
}

// The chunk form as one writes it in tensor operations of the type, the inverse and the state in float32.
at::Tensor plain_form(const RecurrenceInput& in, at::Tensor S) {
  const auto type = in.q.scalar_type();
  const int64_t C = 64, T = in.positions();
  auto heads = [](const at::Tensor& x) { return x.transpose(1, 2); };
  std::vector<at::Tensor> rows;
  for (int64_t from = 0; from < T; from += C) {
    const int64_t to = std::min(T, from + C), n = to - from;
    const at::Tensor q = heads(in.q.slice(1, from, to)), k = heads(in.k.slice(1, from, to)), v = heads(in.v.slice(1, from, to));
    const at::Tensor beta = heads(in.beta.slice(1, from, to)).unsqueeze(-1);
    at::Tensor b = in.g.defined() ? heads(in.g.slice(1, from, to)).cumsum(2) : at::zeros_like(beta);
    const at::Tensor G = (b - b.transpose(2, 3)).tril().exp().tril();
    const at::Tensor L = (beta * at::matmul(k, k.transpose(2, 3)).to(at::kFloat) * G).tril(-1) + at::eye(n, beta.options());
    const at::Tensor inverse = at::linalg_solve_triangular(L, at::eye(n, beta.options()), false, true, true).to(type);
    const at::Tensor W = at::matmul(inverse, (beta * b.exp() * k).to(type)), U = at::matmul(inverse, (beta * v).to(type));
    const at::Tensor w = (U.to(at::kFloat) - at::matmul(W, S.to(type)).to(at::kFloat)).to(type);
    const at::Tensor A = (at::matmul(q, k.transpose(2, 3)).to(at::kFloat) * G).to(type);
    rows.push_back((at::matmul((q * b.exp()).to(type), S.to(type)).to(at::kFloat) + at::matmul(A, w).to(at::kFloat)) * in.scale);
    const at::Tensor last = b.slice(2, n - 1);
    S = S * last.exp() + at::matmul((k * (last - b).exp()).to(type).transpose(2, 3), w).to(at::kFloat);
  }
  return at::cat(rows, 2).transpose(1, 2).to(type);
}

TEST_F(ChunkDelta, ErrorOfHalfTypesIsNoWorseThanThatOfTensorOperations) {
  for (Decay decay : {Decay::kNone, Decay::kHead})
    for (auto type : {at::kBFloat16, at::kHalf}) {
      const RecurrenceInput in = random_input({2, 700, 3, 1, 64, 64}, decay, type);
      RecurrentState naive{at::zeros({2, 3, 64, 64}, at::kDouble), {}}, state{at::zeros({2, 3, 64, 64}).to(device()), {}};
      const at::Tensor want = kind_of(decay).naive(in, naive, true);
      const double ours = gap(chunk_kernel(kind_of(decay), on_device(in, type), state, true, nullptr), want);
      const double theirs = gap(plain_form(on_device(in, type), at::zeros({2, 3, 64, 64}).to(device())), want);
      std::printf("  error against float64, decay %d %s: %.2e, tensor operations %.2e\n", static_cast<int>(decay), c10::toString(type), ours, theirs);
      EXPECT_LT(ours, theirs * 1.05);
    }
}

void compare_gradients(const Shape& s, Decay decay, const RecurrenceInput& in, at::ScalarType type, double tolerance) {
  const at::Tensor S0 = at::randn({s.batch, s.heads, s.d_k, s.d_v}, at::kDouble);
  const at::Tensor dz = at::randn({s.batch, s.pos, s.heads * s.group, s.d_v}, at::kDouble).to(type).to(at::kDouble), dS = at::randn_like(S0);
  auto gradients = [&](RecurrenceInput r, RecurrentState state, bool kernel) {
    std::vector<at::Tensor> leaves;
    for (at::Tensor* t : {&r.q, &r.k, &r.v, &r.beta, &r.g, &state.S})
      if (t->defined()) leaves.push_back(*t = t->clone().requires_grad_(true));
    const at::Tensor z = kernel ? chunk_kernel(kind_of(decay), r, state, true, nullptr) : kind_of(decay).naive(r, state, true);
    return torch::autograd::grad({z, state.S}, leaves, {dz.to(z.device(), z.scalar_type()), dS.to(z.device(), state.S.scalar_type())});
  };
  const auto want = gradients(in, {S0, {}}, false), got = gradients(on_device(in, type), {S0.to(device(), at::kFloat), {}}, true);
  const char* names[] = {"q", "k", "v", "beta", in.g.defined() ? "g" : "S", "S"};
  for (size_t i = 0; i < want.size(); ++i) EXPECT_LT(gap(got[i], want[i]), tolerance) << names[i];
}

TEST_F(ChunkDelta, GradientsAreTheNaiveOnes) {
  const Shape shapes[] = {{1, 1, 1, 1, 32, 32}, {1, 63, 1, 1, 64, 64}, {1, 65, 2, 1, 64, 32}, {2, 130, 1, 2, 32, 48}, {1, 100, 2, 1, 20, 23}, {1, 70, 1, 1, 128, 128}, {1, 90, 1, 1, 72, 100}, {1, 300, 1, 1, 64, 64}};
  for (const Shape& s : shapes)
    for (Decay decay : kDecays)
      for (auto type : {at::kFloat, at::kBFloat16}) {
        SCOPED_TRACE("pos " + std::to_string(s.pos) + " d_k " + std::to_string(s.d_k) + " decay " + std::to_string(static_cast<int>(decay)) + " " + c10::toString(type));
        compare_gradients(s, decay, random_input(s, decay, type), type, 2 * tolerance_of(type, false));
      }
}

TEST_F(ChunkDelta, GradientsOfExtremeGates) {
  const Shape s{1, 150, 2, 1, 64, 32};
  for (Decay decay : kDecays) {
    RecurrenceInput in = random_input(s, decay, at::kFloat);
    if (!in.g.defined()) continue;
    SCOPED_TRACE("decay " + std::to_string(static_cast<int>(decay)));
    const at::Tensor d = at::rand_like(in.g);
    in.g = at::where(d < 0.1, at::full_like(d, -200), at::where(d < 0.6, at::zeros_like(d), (30 * in.g).to(at::kFloat).to(at::kDouble)));
    compare_gradients(s, decay, in, at::kFloat, 4 * tolerance_of(at::kFloat, false));
  }
}

// Or the tensor operations, which find the same, would be what is tested.
TEST_F(ChunkDelta, GradientsComeFromTheKernels) {
  const auto workspace = reinterpret_cast<kernels::ChunkWorkspace>(kernel_function(kernels::kChunkDeltaWorkspace));
  ASSERT_NE(workspace, nullptr);
  float one = 1;
  for (int64_t d : {32, 64, 96, 128})
    for (int64_t gates : {int64_t{0}, int64_t{1}, d})
      for (auto element : {kernels::Element::kFloat32, kernels::Element::kBFloat16, kernels::Element::kFloat16}) {
        kernels::Chunk in;
        in.element = element;
        in.batch = in.heads = 1;
        in.positions = 100;
        in.d_k = in.d_v = d;
        in.g_width = gates;
        in.beta = &one;
        EXPECT_GE(workspace(in, true), 0) << d << ", " << gates << " gates";
      }
}

TEST_F(ChunkDelta, SeveralWritesAToken) {
  for (int64_t steps : {2, 3})
    for (bool decays : {false, true}) {
      SCOPED_TRACE(std::to_string(steps) + " steps" + (decays ? " with decays" : ""));
      const RecurrenceInput writes = random_input({2, 70 * steps, 2, 1, 64, 48}, Decay::kHead, at::kFloat), reads = random_input({2, 70, 2, 1, 64, 48}, Decay::kHead, at::kFloat);
      RecurrenceInput in = writes;
      in.q = reads.q;
      in.g = decays ? reads.g : at::Tensor();
      in.steps = steps;
      const at::Tensor S0 = at::randn({2, 2, 64, 48}, at::kDouble);
      RecurrentState naive{S0, {}}, state{S0.to(device(), at::kFloat), {}};
      const at::Tensor want = gated_delta_product_naive(in, naive, true), z = gated_delta_product_chunk(on_device(in, at::kFloat), state, true);
      EXPECT_LT(gap(z, want), 3e-5);
      EXPECT_LT(gap(state.S, naive.S), 3e-5);
    }
}

TEST_F(ChunkDelta, RefusesWhatItDoesNotCover) {
  RecurrenceInput in = on_device(random_input({1, 10, 1, 1, 320, 16}, Decay::kNone, at::kFloat), at::kFloat);
  RecurrentState state{at::zeros({1, 1, 320, 16}).to(device()), {}};
  EXPECT_NE(chunk_kernel_refuses(kind_of(Decay::kNone), in, state), nullptr);
  in = on_device(random_input({1, 10, 1, 1, 64, 16}, Decay::kNone, at::kFloat), at::kFloat);
  state.S = at::zeros({1, 1, 64, 16}).to(device());
  EXPECT_EQ(chunk_kernel_refuses(kind_of(Decay::kNone), in, state), nullptr);
  in.beta = at::Tensor();
  EXPECT_NE(chunk_kernel_refuses(kind_of(Decay::kNone), in, state), nullptr) << "a delta rule without write strengths";
}

}  // namespace
}  // namespace microtome::mixers
