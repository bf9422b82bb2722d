// The layers around linear recurrences: decoding, states handed on, reads of single positions, types, parameters.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/mixers/test_linear_support.h"

namespace microtome {
namespace {

using testing::linear_kinds;
using testing::LinearSubject;
using testing::make_subject;
using testing::max_diff;

template <class F>
void for_each_case(F&& f) {
  for (const char* name : linear_kinds()) {
    const MixerKind* kind = mixers::builtin().find(name);
    ASSERT_NE(kind, nullptr) << name;
    ASSERT_FALSE(kind->cases.empty()) << name;
    for (const MixerCase& c : kind->cases) {
      SCOPED_TRACE(std::string(name) + " " + c.name);
      f(*kind, c);
    }
  }
}

TEST(LinearLayers, TokenByTokenDecodingEqualsTheWholeRun) {
  for_each_case([](const MixerKind& kind, const MixerCase& c) {
    LinearSubject s = make_subject(kind, c, at::kDouble);
    MixerState whole, decoded;
    at::Tensor want = s.run(HookPlan(), &whole).out;
    std::vector<at::Tensor> parts;
    const int64_t prompt = c.pos / 2;
    if (prompt > 0) parts.push_back(s.run(HookPlan(), &decoded, MixerForm::kAuto, 0, prompt).out);
    for (int64_t t = prompt; t < c.pos; ++t)
      parts.push_back(s.run(HookPlan(), &decoded, MixerForm::kAuto, t, t + 1).out);
    EXPECT_LE(max_diff(at::cat(parts, 1), want), 1e-10);
    ASSERT_EQ(whole.tensors.size(), decoded.tensors.size());
    for (const auto& [name, t] : whole.tensors) {
      ASSERT_EQ(decoded.tensors.at(name).sizes(), t.sizes()) << name;
      EXPECT_LE(max_diff(decoded.tensors.at(name), t), 1e-10) << name;
    }
  });
}

TEST(LinearLayers, FormsAgreeAlsoWithAnIncomingState) {
  for_each_case([](const MixerKind& kind, const MixerCase& c) {
    LinearSubject s = make_subject(kind, c, at::kDouble);
    at::Tensor outs[2];
    MixerState states[2];
    for (int i : {0, 1}) {
      MixerForm form = i ? MixerForm::kChunk : MixerForm::kNaive;
      s.run(HookPlan(), &states[i], form);
      outs[i] = s.run(HookPlan(), &states[i], form).out;
    }
    EXPECT_LE(max_diff(outs[0], outs[1]), 1e-10);
    if (c.pos > 1) {
      EXPECT_GT(max_diff(outs[0], s.out()), 1e-4) << "the state made no difference";
    }
  });
}

TEST(LinearLayers, ReadingSomePositionsGivesTheirRows) {
  for_each_case([](const MixerKind& kind, const MixerCase& c) {
    LinearSubject s = make_subject(kind, c, at::kDouble);
    at::Tensor want = s.out();
    for (std::vector<int64_t> read : {std::vector<int64_t>{c.pos - 1}, {0, c.pos / 2}, {c.pos / 2, c.pos - 1}}) {
      if (read.size() == 2 && read[0] == read[1]) continue;
      HookScope nothing;
      MixerRun run;
      run.read = read;
      at::Tensor got = s.mixer->forward(s.in, nullptr, nothing, run);
      ASSERT_EQ(got.size(1), static_cast<int64_t>(read.size()));
      EXPECT_LE(max_diff(got, want.index_select(1, at::tensor(read))), 1e-10);
    }
  });
}

TEST(LinearLayers, SplitInputsOfEqualHeadsChangeNothing) {
  for_each_case([](const MixerKind& kind, const MixerCase& c) {
    LinearSubject s = make_subject(kind, c, at::kDouble);
    MixerState plain_state, split_state;
    at::Tensor want = s.run(HookPlan(), &plain_state).out;
    MixerState resumed = plain_state;
    at::Tensor want_next = s.run(HookPlan(), &plain_state).out;
    const MixerInfo& info = s.mixer->info();
    for (const std::string& role : info.inputs) {
      LinearSubject one = make_subject(kind, c, at::kDouble);
      one.in.split[role] = one.in.x.unsqueeze(2).expand({c.batch, c.pos, info.heads, c.d_model});
      EXPECT_LE(max_diff(one.out(), want), 1e-10) << role;
      // A state kept with grouped heads serves a run without.
      MixerState state = resumed;
      EXPECT_LE(max_diff(one.run(HookPlan(), &state).out, want_next), 1e-10) << role;
      // A first token has nothing to decay, and no earlier one for a convolution.
      if ((role == "decay" || role.find("_conv") != std::string::npos) && c.pos == 1) continue;
      // One head's input alone changes the result. (By more than a factor, which a norm would undo.)
      at::Tensor changed = one.in.split[role].clone();
      changed.select(2, info.heads - 1).add_(at::randn({c.d_model}, at::kDouble));
      one.in.split[role] = changed;
      EXPECT_GT(max_diff(one.out(), want), 1e-6) << role;
    }
  });
}

TEST(LinearLayers, HalfTypesComputeStatesInFloat32) {
  for (const char* name : linear_kinds()) {
    SCOPED_TRACE(name);
    LinearSubject exact = testing::subject_of(name, 60, at::kFloat), half = testing::subject_of(name, 60, at::kBFloat16);
    MixerState state;
    at::Tensor out = half.run(HookPlan(), &state).out;
    EXPECT_EQ(out.scalar_type(), at::kBFloat16);
    EXPECT_EQ(state.tensors.at("S").scalar_type(), at::kFloat);
    at::Tensor want = exact.out();
    EXPECT_LE(max_diff(out, want), 0.1 * want.abs().max().item<double>());
  }
}

TEST(LinearLayers, SenselessParametersAreRefused) {
  for (const char* name : linear_kinds()) {
    const MixerKind* kind = mixers::builtin().find(name);
    for (const char* size : {"num_heads", "num_kv_heads", "head_k", "head_v", "conv_size", "gate_low_rank", "num_v_heads"}) {
      for (int64_t value : {int64_t{0}, int64_t{-3}, int64_t{1} << 40}) {
        Params p = kind->cases.front().params;
        const std::string key = size, mixer = name;
        if (key == "gate_low_rank" && mixer != "gla") continue;
        if (key == "num_v_heads" && mixer != "gated_delta_rule") continue;
        p.set("use_short_conv", true);
        p.set(key, value);
        auto made = [&] { kind->info(p, 32); kind->weights(p, 32); };
        EXPECT_THROW(made(), Error) << name << " " << key << " = " << value;
      }
    }
    EXPECT_THROW(kind->info(kind->cases.front().params, 0), Error) << name;
    Params p = kind->cases.front().params;
    EXPECT_THROW(kind->create(p, 32, {}), Error) << name << " without weights";
    LinearSubject s = testing::subject_of(name, 19, at::kFloat);
    const at::Tensor plain = s.out(MixerForm::kNaive);
    EXPECT_LE((s.out(MixerForm::kRecurrent) - plain).abs().max().item<double>(), 1e-5 * (1 + plain.abs().max().item<double>())) << name;
    MixerState wrong;
    wrong.tensors["S"] = at::zeros({s.about.batch, 1, 3, 3});
    EXPECT_THROW(s.run(HookPlan(), &wrong), Error) << name;
  }
}

TEST(LinearLayers, PointsAreListedWithTheirSizes) {
  for_each_case([](const MixerKind& kind, const MixerCase& c) {
    LinearSubject s = make_subject(kind, c, at::kFloat);
    HookPlan plan;
    for (const HookPoint& p : s.mixer->info().points) plan.capture(testing::attn(p.name.c_str()));
    testing::LinearRun r = s.run(plan);
    for (const HookPoint& p : s.mixer->info().points) {
      ASSERT_EQ(p.axes.size(), p.sizes.size()) << p.name;
      ASSERT_TRUE(r.cache.has(testing::attn(p.name.c_str()))) << p.name;
      at::Tensor t = r.cache.get(testing::attn(p.name.c_str()));
      ASSERT_EQ(t.dim(), static_cast<int64_t>(p.axes.size())) << p.name;
      for (size_t a = 0; a < p.axes.size(); ++a) {
        int64_t want = p.sizes[a] >= 0 ? p.sizes[a] : p.axes[a] == "batch" ? c.batch : c.pos;
        EXPECT_EQ(t.size(static_cast<int64_t>(a)), want) << p.name << " axis " << p.axes[a];
      }
    }
    // Looking on changes nothing beyond the order of sums.
    EXPECT_LE(max_diff(r.out, s.out()), 1e-5);
  });
}

}  // namespace
}  // namespace microtome
