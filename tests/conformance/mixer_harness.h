// mixer_harness.h — one mixer alone, with random weights, run under a plan as block 0 of a model would run it.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/rng.h"
#include "core/base/status.h"
#include "core/cache/activation_cache.h"
#include "core/hooks/hook_scope.h"
#include "core/mixers/registry.h"

namespace microtome::testing {

inline const std::string kPrefix = "blocks.0.attn";

inline at::Tensor random_tensor(Rng& rng, std::vector<int64_t> shape, at::ScalarType type, double scale = 1.0) {
  int64_t n = 1;
  for (int64_t s : shape) n *= s;
  std::vector<double> values(static_cast<size_t>(n));
  for (double& v : values) v = scale * rng.normal();
  return at::tensor(values, at::TensorOptions().dtype(at::kDouble)).reshape(shape).to(type);
}

// Projections keep the size of their input; vectors (biases, decay and gate parameters) stay moderate; gains near one.
inline WeightMap random_weights(const MixerKind& kind, const Params& params, int64_t d_model, at::ScalarType type,
                                uint64_t seed) {
  WeightMap out;
  uint64_t n = 0;
  for (const WeightSpec& spec : kind.weights(params, d_model)) {
    Rng rng(item_seed(seed, n++));
    double fan_in = 1;
    for (size_t i = 1; i < spec.shape.size(); ++i) fan_in *= static_cast<double>(spec.shape[i]);
    const bool gain = spec.shape.size() == 1 && spec.name.find("norm") != std::string::npos;
    at::Tensor w = random_tensor(rng, spec.shape, at::kDouble, spec.shape.size() > 1 ? 1 / std::sqrt(fan_in) : 0.3);
    out[spec.name] = (gain ? 1 + 0.3 * w : w).to(type);
  }
  return out;
}

inline std::unique_ptr<TokenMixer> make_mixer(const MixerKind& kind, const MixerCase& c, at::ScalarType type,
                                              uint64_t seed = 1) {
  return kind.create(c.params, c.d_model, random_weights(kind, c.params, c.d_model, type, seed));
}

inline at::Tensor random_input(const MixerCase& c, int64_t pos, at::ScalarType type, uint64_t seed = 2) {
  Rng rng(seed);
  return random_tensor(rng, {c.batch, pos, c.d_model}, type);
}

inline HookCatalogue catalogue_of(const MixerInfo& info) {
  HookCatalogue out;
  for (HookPoint p : info.points) {
    p.name = kPrefix + "." + p.name;
    out.add(std::move(p));
  }
  return out;
}

inline std::string full_name(const HookPoint& p) { return kPrefix + "." + p.name; }

// The tensors here are tiny: threads would only wait for each other.
class OneThread : public ::testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};
inline ::testing::Environment* const kOneThread = ::testing::AddGlobalTestEnvironment(new OneThread);

// One mixer × case of the registry.
struct Subject {
  std::string kind;
  size_t index = 0;
  std::string name;                    // as a test name: letters, digits, underscores
};

inline std::vector<Subject> subjects() {
  std::vector<Subject> out;
  for (const MixerKind* kind : mixers::builtin().all())
    for (size_t i = 0; i < kind->cases.size(); ++i) {
      std::string name = kind->name + "_" + kind->cases[i].name;
      for (char& ch : name)
        if (!std::isalnum(static_cast<unsigned char>(ch))) ch = '_';
      out.push_back({kind->name, i, name});
    }
  return out;
}

inline void PrintTo(const Subject& s, std::ostream* out) { *out << s.name; }
inline std::string subject_name(const ::testing::TestParamInfo<Subject>& info) { return info.param.name; }

// Cases of one token are lengthened where a test cuts the sequence.
inline int64_t length(const MixerCase& c) { return std::max<int64_t>(c.pos, 13); }

// The axis along which a point's positions lie; -1: a number beside the points, of the run as a whole.
inline int64_t position_axis(const HookPoint& p) {
  for (size_t a = 0; a < p.axes.size(); ++a)
    if (p.axes[a] == "pos" || p.axes[a] == "q_pos") return static_cast<int64_t>(a);
  return -1;
}

struct RunArgs {
  MixerForm form = MixerForm::kAuto;
  MixerState* state = nullptr;
  int64_t first_pos = 0;
  const HookPlan* plan = nullptr;
  ActivationCache* cache = nullptr;
  std::map<std::string, at::Tensor> split = {};
  std::optional<std::vector<int64_t>> read = {};
};

// What an earlier layer would have left: random, the same at an absolute position whatever the run.
inline SharedValues shared_values(const MixerInfo& info, const at::Tensor& x, int64_t first_pos) {
  SharedValues out;
  for (const SharedValue& v : info.reads) {
    std::vector<at::Tensor> rows;
    std::vector<int64_t> shape = v.sizes;
    shape.insert(shape.begin(), x.size(0));
    for (int64_t t = 0; t < x.size(1); ++t) {
      Rng rng(item_seed(13, static_cast<uint64_t>(first_pos + t)));
      rows.push_back(random_tensor(rng, shape, x.scalar_type()));
    }
    out[v.name] = at::stack(rows, 1);
  }
  return out;
}

// Every run counts as a part of a sequence of 512 tokens, so that angles that depend on the length are the same in all.
inline at::Tensor run_mixer(const TokenMixer& mixer, const at::Tensor& x, const RunArgs& args = {}) {
  const HookPlan nothing;
  const HookCatalogue catalogue = catalogue_of(mixer.info());
  ActivationCache unused;
  HookRun run(args.plan ? *args.plan : nothing, catalogue, args.first_pos, x.size(1),
              args.cache ? args.cache : &unused);
  HookScope scope(&run, kPrefix);
  SharedValues shared = shared_values(mixer.info(), x, args.first_pos);
  at::Tensor y = mixer.forward({x, args.split, &shared}, args.state, scope, {args.form, args.read, 512});
  run.finish();
  return y;
}

// Largest |a - b|, and the size to hold it against.
inline double max_abs(const at::Tensor& t) { return t.numel() ? t.to(at::kDouble).abs().max().item<double>() : 0.0; }
inline ::testing::AssertionResult close(const at::Tensor& got, const at::Tensor& want, double atol, double rtol) {
  if (!got.defined() || !want.defined()) return ::testing::AssertionFailure() << "an undefined tensor";
  if (got.sizes() != want.sizes())
    return ::testing::AssertionFailure() << "shape " << got.sizes() << ", expected " << want.sizes();
  at::Tensor g = got.detach().to(at::kDouble), w = want.detach().to(at::kDouble);
  // Masked scores are -inf on both sides.
  at::Tensor masked = w.isneginf();
  if (!g.isneginf().equal(masked)) return ::testing::AssertionFailure() << "masked entries differ";
  g = g.masked_fill(masked, 0.0);
  w = w.masked_fill(masked, 0.0);
  if (!g.isfinite().all().item<bool>()) return ::testing::AssertionFailure() << "not finite";
  const double difference = max_abs(g - w), allowed = atol + rtol * max_abs(w);
  if (difference <= allowed) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "differs by " << difference << ", allowed " << allowed;
}

inline ::testing::AssertionResult close(const MixerState& got, const MixerState& want, double atol, double rtol) {
  if (got.tensors.size() != want.tensors.size())
    return ::testing::AssertionFailure() << got.tensors.size() << " state tensors, expected " << want.tensors.size();
  for (const auto& [name, w] : want.tensors) {
    auto it = got.tensors.find(name);
    if (it == got.tensors.end()) return ::testing::AssertionFailure() << "no state '" << name << "'";
    if (w.defined() != it->second.defined())
      return ::testing::AssertionFailure() << "state '" << name << "' is defined on one side only";
    if (!w.defined()) continue;
    if (auto same = close(it->second, w, atol, rtol); !same) return same << " in state '" << name << "'";
  }
  return ::testing::AssertionSuccess();
}

// The derivative of `metric` at a point that was captured with gradient.
inline at::Tensor gradient_at(const at::Tensor& metric, const ActivationCache& cache, const std::string& name) {
  at::Tensor leaf = cache.get(name + "@leaf");
  leaf.retain_grad();
  metric.backward({}, /*retain_graph=*/true);
  return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
}

// Is `got` the derivative of metric(h) at 0? Norms of small vectors and quotients by small sums bend sharply, so the
// step shrinks until the difference quotient, extrapolated once, agrees; a wrong derivative agrees with none.
template <class F>
::testing::AssertionResult is_derivative(double got, const F& metric) {
  double nearest = 0, best = std::numeric_limits<double>::infinity();
  for (double h : {1e-5, 1e-4, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15, 1e-16}) {
    // Steps that vanish in rounding would agree with a gradient of zero; only a steep one needs them.
    if (h < 1e-10 && std::fabs(got) < 1e6) break;
    const double whole = (metric(h) - metric(-h)) / (2 * h), half = (metric(h / 2) - metric(-h / 2)) / h;
    for (double want : {whole, (4 * half - whole) / 3}) {
      const double error = std::fabs(got - want) / (1 + std::fabs(want));
      if (error <= 1e-6) return ::testing::AssertionSuccess();
      if (error < best) best = error, nearest = want;
    }
  }
  return ::testing::AssertionFailure() << "gradient " << got << ", difference quotient " << nearest;
}

}  // namespace microtome::testing
