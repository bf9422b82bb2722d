// The scan against the naive form written out in tensor operations: every kind of write and decay, lengths, head sizes, grouped
// heads, extreme gates, NaN, what is written down on the way; on the device that MICROTOME_TEST_DEVICE names.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/mixers/comba/forms.h"
#include "core/mixers/delta_rule/forms.h"
#include "core/mixers/gated_delta_product/forms.h"
#include "core/mixers/gated_delta_rule/forms.h"
#include "core/mixers/gla/forms.h"
#include "core/mixers/linear_attn/forms.h"
#include "core/mixers/rwkv6/forms.h"
#include "core/mixers/rwkv7/forms.h"
#include "core/mixers/scan.h"
#include "core/model/device.h"

namespace microtome::mixers {
namespace {

c10::Device device() {
  const char* d = std::getenv("MICROTOME_TEST_DEVICE");
  return parse_device(d && *d ? d : "cpu");
}
bool on_gpu() { return device().is_cuda(); }

struct Shape {
  int64_t batch, pos, heads, group, d_k, d_v;
};

enum class Decay { kNone, kHead, kChannel };

LinearRecurrence::Kind kind_of(bool delta, Decay decay, bool normalized = false) {
  if (delta && decay == Decay::kNone) return {"delta_rule", delta_rule_naive, delta_rule_chunk, true};
  if (delta) return {"gated_delta_rule", gated_delta_rule_naive, gated_delta_rule_chunk, true};
  if (decay == Decay::kNone) return {"linear_attn", linear_attn_naive, linear_attn_chunk, false, normalized};
  return {"gla", gla_naive, gla_chunk};
}

RecurrenceInput random_input(const Shape& s, bool delta, Decay decay, at::ScalarType type) {
  const at::TensorOptions o = at::TensorOptions().dtype(type);
  RecurrenceInput in;
  in.q = at::randn({s.batch, s.pos, s.heads * s.group, s.d_k}, o);
  in.k = at::randn({s.batch, s.pos, s.heads, s.d_k}, o);
  in.k = in.k / in.k.norm(2, -1, true);
  in.v = at::randn({s.batch, s.pos, s.heads, s.d_v}, o);
  if (decay != Decay::kNone) in.g = -at::rand({s.batch, s.pos, s.heads, decay == Decay::kHead ? 1 : s.d_k}, o) * 0.3;
  if (delta) in.beta = at::rand({s.batch, s.pos, s.heads}, o) * 2;
  in.scale = 1 / std::sqrt(static_cast<double>(s.d_k));
  for (at::Tensor* t : {&in.q, &in.k, &in.v, &in.g, &in.beta})
    if (t->defined()) *t = t->to(device());
  return in;
}

double gap(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / (1 + b.abs().max().item<double>());
}

// Outputs, the last state and every state and write, against the naive loop in float64.
void compare(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, const at::Tensor& S0, double tolerance) {
  const int64_t T = in.positions();
  RecurrentState state{S0, {}}, naive{S0.to(at::kCPU, at::kDouble), {}};
  if (kind.normalized) {
    state.z = at::rand({in.k.size(0), in.k.size(2), in.k.size(3)}, in.k.options().device(at::kCPU)).to(device()) + 1;
    naive.z = state.z.to(at::kCPU, at::kDouble);
  }
  ASSERT_TRUE(scan_covers(kind, in, state));
  ScanNotes notes;
  for (int64_t t = T % 2; t < T; t += 2) notes.keep.push_back(t);
  notes.want_written = true;
  const at::Tensor untouched = S0.clone();
  at::Tensor z = scan(kind, in, state, true, &notes);
  EXPECT_TRUE(S0.equal(untouched)) << "the incoming state is somebody else's";
  RecurrenceInput wide = in;
  for (at::Tensor* t : {&wide.q, &wide.k, &wide.v, &wide.g, &wide.beta})
    if (t->defined()) *t = t->to(at::kCPU, at::kDouble);
  std::vector<at::Tensor> rows, written;
  size_t kept = 0;
  for (int64_t t = 0; t < T; ++t) {
    const at::Tensor before = naive.S;
    rows.push_back(kind.naive(wide.slice(t, t + 1), naive, true));
    at::Tensor decayed = wide.g.defined() ? before * decay_at(wide, t) : before, v = wide.v.select(1, t);
    written.push_back(kind.delta ? (v - read_state(decayed, wide.k.select(1, t))) * wide.beta.select(1, t).unsqueeze(-1) : v);
    if (kept < notes.keep.size() && notes.keep[kept] == t)
      ASSERT_LT(gap(notes.kept.select(1, static_cast<int64_t>(kept++)).to(at::kCPU, at::kDouble), naive.S), tolerance) << "state after token " << t;
  }
  EXPECT_EQ(kept, notes.keep.size());
  EXPECT_LT(gap(z.to(at::kCPU, at::kDouble), at::cat(rows, 1)), tolerance);
  EXPECT_LT(gap(state.S.to(at::kCPU, at::kDouble), naive.S), tolerance);
  EXPECT_LT(gap(notes.written.to(at::kCPU, at::kDouble), at::stack(written, 1)), tolerance);
  if (kind.normalized) {
    EXPECT_LT(gap(state.z.to(at::kCPU, at::kDouble), naive.z), tolerance);
    EXPECT_LT(gap(notes.normalizer.select(1, T - 1).to(at::kCPU, at::kDouble), naive.z), tolerance);
  }
}

class Scan : public ::testing::TestWithParam<Shape> {};

TEST_P(Scan, IsTheNaiveForm) {
  device();                                            // opens the CUDA half before the first draw
  at::manual_seed(11);
  const Shape s = GetParam();
  for (at::ScalarType type : {at::kFloat, at::kDouble}) {
    if (type == at::kDouble && on_gpu()) continue;     // not covered there
    for (bool delta : {false, true})
      for (Decay decay : {Decay::kNone, Decay::kHead, Decay::kChannel}) {
        SCOPED_TRACE(std::string(delta ? "delta" : "plain") + " decay " + std::to_string(static_cast<int>(decay)));
        RecurrenceInput in = random_input(s, delta, decay, type);
        at::Tensor S0 = at::randn({s.batch, s.heads, s.d_k, s.d_v}, at::TensorOptions().dtype(type)).to(device());
        compare(kind_of(delta, decay), in, S0, type == at::kDouble ? 1e-12 : 3e-5);
      }
    compare(kind_of(false, Decay::kNone, true), random_input(s, false, Decay::kNone, type), at::zeros({s.batch, s.heads, s.d_k, s.d_v}, at::TensorOptions().dtype(type)).to(device()),
            type == at::kDouble ? 1e-10 : 1e-3);       // a quotient by n . q, which comes near 0
  }
}
INSTANTIATE_TEST_SUITE_P(Shapes, Scan,
                         ::testing::Values(Shape{1, 1, 1, 1, 1, 1}, Shape{2, 63, 3, 1, 16, 24}, Shape{1, 65, 2, 2, 32, 8}, Shape{2, 5, 1, 3, 7, 13}, Shape{1, 130, 2, 1, 64, 64},
                                           Shape{1, 70, 1, 1, 128, 40}, Shape{1, 33, 1, 2, 256, 17}, Shape{1, 1000, 1, 1, 20, 12}));

// Writes and reads of other kinds against their definitions in float64: outputs, the last state, every third state.
void compare_kin(const LinearRecurrence::Kind& kind, const RecurrenceInput& in, const at::Tensor& S0, double tolerance) {
  const int64_t T = in.positions();
  RecurrentState state{S0, {}}, naive{S0.to(at::kCPU, at::kDouble), {}};
  ASSERT_TRUE(scan_covers(kind, in, state)) << kind.name;
  ScanNotes notes;
  for (int64_t t = T % 3; t < T; t += 3) notes.keep.push_back(t);
  const std::vector<int64_t> kept_at = notes.keep;
  at::Tensor z = scan(kind, in, state, true, &notes);
  EXPECT_EQ(notes.keep, kept_at);
  RecurrenceInput wide = in;
  for (at::Tensor* t : {&wide.q, &wide.k, &wide.v, &wide.g, &wide.beta, &wide.a, &wide.b, &wide.u})
    if (t->defined()) *t = t->to(at::kCPU, at::kDouble);
  std::vector<at::Tensor> rows;
  size_t kept = 0;
  for (int64_t t = 0; t < T; ++t) {
    rows.push_back(kind.naive(wide.slice(t, t + 1), naive, true));
    if (kept < notes.keep.size() && notes.keep[kept] == t)
      ASSERT_LT(gap(notes.kept.select(1, static_cast<int64_t>(kept++)).to(at::kCPU, at::kDouble), naive.S), tolerance) << kind.name << ", state after token " << t;
  }
  EXPECT_LT(gap(z.to(at::kCPU, at::kDouble), at::cat(rows, 1)), tolerance) << kind.name;
  EXPECT_LT(gap(state.S.to(at::kCPU, at::kDouble), naive.S), tolerance) << kind.name;
}

TEST(ScanKin, AreTheNaiveForms) {
  device();                                            // opens the CUDA half before the first draw
  at::manual_seed(12);
  for (const Shape& s : {Shape{1, 1, 2, 1, 16, 16}, Shape{2, 63, 3, 1, 16, 24}, Shape{1, 65, 2, 1, 32, 8}, Shape{1, 70, 2, 1, 64, 64}, Shape{1, 33, 1, 1, 128, 40}, Shape{2, 5, 1, 1, 7, 13}, Shape{1, 21, 1, 1, 256, 9}})
    for (at::ScalarType type : {at::kFloat, at::kDouble}) {
      if (type == at::kDouble && on_gpu()) continue;   // not covered there
      const double tolerance = type == at::kDouble ? 1e-12 : 3e-5;
      const at::TensorOptions o = at::TensorOptions().dtype(type);
      auto unit = [&] {
        at::Tensor x = at::randn({s.batch, s.pos, s.heads, s.d_k}, o);
        return (x / x.norm(2, -1, true)).to(device());
      };
      at::Tensor S0 = at::randn({s.batch, s.heads, s.d_k, s.d_v}, o).to(device());
      RecurrenceInput in = random_input(s, true, Decay::kHead, type);
      in.a = unit();
      compare_kin({"comba", comba_naive, comba_chunk, true, false, comba_write}, in, S0, tolerance);
      in = random_input(s, false, Decay::kChannel, type);
      in.a = -unit();
      in.b = -in.a * at::rand({s.batch, s.pos, s.heads, s.d_k}, o).to(device());
      compare_kin({"rwkv7", dplr_naive, dplr_chunk, false, false, dplr_write}, in, S0, tolerance);
      in = random_input(s, false, Decay::kChannel, type);
      in.u = at::randn({s.heads, s.d_k}, o).to(device());
      compare_kin({"rwkv6", rwkv6_naive, rwkv6_chunk, false, false, nullptr, true}, in, S0, tolerance);
      for (Decay decay : {Decay::kNone, Decay::kHead}) {
        in = random_input(s, true, decay, type);
        RecurrenceInput more = random_input({s.batch, 3 * s.pos, s.heads, 1, s.d_k, s.d_v}, true, decay, type);
        in.k = more.k;
        in.v = more.v;
        in.beta = more.beta;
        in.steps = 3;
        compare_kin({"gated_delta_product", gated_delta_product_naive, gated_delta_product_chunk, true, false, gated_delta_product_write}, in, S0, tolerance);
      }
    }
}

TEST(ScanEdges, ExtremeGatesAndWriteStrengths) {
  device();                                            // opens the CUDA half before the first draw
  at::manual_seed(5);
  const Shape s{1, 40, 2, 1, 16, 16};
  at::Tensor S0 = at::randn({1, 2, 16, 16}).to(device());
  for (Decay decay : {Decay::kHead, Decay::kChannel}) {
    RecurrenceInput in = random_input(s, true, decay, at::kFloat);
    in.g.select(1, 3).fill_(-std::numeric_limits<double>::infinity());           // forgets everything
    in.g.select(1, 5).fill_(-200);
    in.g.select(1, 7).fill_(0);
    in.beta.select(1, 9).fill_(0);
    in.beta.select(1, 11).fill_(1);
    in.beta.select(1, 13).fill_(2);
    compare(kind_of(true, decay), in, S0, 3e-5);
  }
}

TEST(ScanEdges, NotANumberStaysInItsHead) {
  device();                                            // opens the CUDA half before the first draw
  at::manual_seed(6);
  RecurrenceInput in = random_input({1, 20, 2, 1, 8, 8}, true, Decay::kHead, at::kFloat);
  in.v[0][4][1][2] = std::numeric_limits<double>::quiet_NaN();
  RecurrentState state{at::zeros({1, 2, 8, 8}).to(device()), {}};
  at::Tensor z = scan(kind_of(true, Decay::kHead), in, state, true, nullptr).to(at::kCPU);
  EXPECT_FALSE(at::isnan(z.select(2, 0)).any().item<bool>());
  EXPECT_FALSE(at::isnan(z.select(2, 1).narrow(1, 0, 4)).any().item<bool>());
  for (int64_t t = 4; t < 20; ++t) EXPECT_TRUE(std::isnan(z[0][t][1][2].item<float>())) << t;
  EXPECT_FALSE(at::isnan(z.select(2, 1).select(2, 3)).any().item<bool>()) << "columns do not mix";
}

TEST(ScanEdges, StridesAndSlicesAreTaken) {
  device();                                            // opens the CUDA half before the first draw
  at::manual_seed(7);
  RecurrenceInput in = random_input({2, 50, 2, 1, 16, 8}, true, Decay::kHead, at::kFloat);
  in.k = in.k.transpose(1, 2).contiguous().transpose(1, 2);
  in.v = at::cat({in.v, in.v}, 3).narrow(3, 8, 8);
  at::Tensor S0 = at::randn({2, 2, 8, 16}).to(device()).transpose(2, 3);
  compare(kind_of(true, Decay::kHead), in.slice(7, 40), S0, 3e-5);
}

TEST(ScanEdges, SaysWhatItDoesNotCover) {
  RecurrenceInput in = random_input({1, 4, 1, 1, 8, 8}, true, Decay::kNone, at::kFloat);
  RecurrentState state{at::zeros({1, 1, 8, 8}).to(device()), {}};
  EXPECT_TRUE(scan_covers(kind_of(true, Decay::kNone), in, state));
  EXPECT_FALSE(scan_covers(kind_of(false, Decay::kNone), in, state)) << "a write strength that the kind does not have";
  LinearRecurrence::Kind before = kind_of(true, Decay::kNone);
  before.reads_before = true;
  EXPECT_FALSE(scan_covers(before, in, state));
  RecurrenceInput twice = in;
  twice.steps = 2;
  EXPECT_FALSE(scan_covers(kind_of(true, Decay::kNone), twice, state));
  at::AutoGradMode grad(true);
  in.v.requires_grad_(true);
  EXPECT_FALSE(scan_covers(kind_of(true, Decay::kNone), in, state)) << "nothing of it is differentiated";
}

}  // namespace
}  // namespace microtome::mixers
