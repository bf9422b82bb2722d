#include "analysis/circuit/edge_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <string_view>

#include "analysis/circuit/sources.h"
#include "analysis/engine/layers.h"
#include "core/base/memory.h"
#include "core/model/gpu_graph.h"

namespace microtome::circuit {
namespace {

using engine::block_point;

// Inputs of nodes that lead nowhere need no correction, whatever is cut at them: what they write is not read.
at::Tensor live_inputs(const Graph& graph, const at::Tensor& inside) {
  const int64_t sources = graph.source_count(), inputs = graph.input_count(), circuits = inside.size(0);
  at::Tensor out = at::zeros({circuits, inputs}, at::kBool);
  const bool* in = inside.const_data_ptr<bool>();
  bool* live = out.mutable_data_ptr<bool>();
  for (int64_t c = 0; c < circuits; ++c) {
    std::vector<bool> leads(static_cast<size_t>(sources), false);
    for (int64_t i = inputs - 1; i >= 0; --i) {
      const Input& to = graph.inputs()[static_cast<size_t>(i)];
      if (to.node >= 0 && !leads[static_cast<size_t>(to.node)]) continue;
      live[c * inputs + i] = true;
      for (int64_t k = 0; k < to.sources; ++k)
        if (in[(c * sources + k) * inputs + i]) leads[static_cast<size_t>(k)] = true;
    }
  }
  return out;
}

}  // namespace

Outside parse_outside(const std::string& name) {
  if (name == "corrupted") return Outside::kCorrupted;
  if (name == "zero") return Outside::kZero;
  if (name == "mean") return Outside::kMean;
  throw Error(StatusCode::kBadInput, "'" + name + "' is not known as what cut edges carry", "outside", "use corrupted, zero or mean");
}

at::Tensor mean_sources(const Graph& graph, const AnalysisInput& input) {
  at::NoGradGuard no_grad;
  at::Tensor total;
  int64_t count = 0;
  for (const engine::PromptGroup& g : engine::group_prompts(input, false, 64)) {
    HookPlan plan;
    plan.form = input.form;
    plan.logits = false;
    capture_sources(graph, plan);
    at::Tensor s = captured_sources(graph, graph.model().forward(g.clean, plan).cache).to(at::kDouble).sum(at::IntArrayRef{0, 2});
    total = total.defined() ? total + s : s;
    count += g.clean.numel();
  }
  return (total / static_cast<double>(count)).to(graph.model().dtype());
}

struct EdgeRunner::Impl {
  const Graph& graph;
  const Model& model;
  MixerForm form;
  engine::Metric metric;
  at::Tensor tokens;                   // [prompt, pos] from `first` on
  int64_t first = 0, length = 0, prompts = 0, width = 0;
  RunState prefix;                     // after the tokens that do not differ
  std::vector<at::Tensor> residual;    // of the clean run before each layer and behind the last: [prompt, pos, d_model]
  at::Tensor outside;                  // [source, prompt, pos, d_model]
  at::Tensor shift;                    // outside - clean
  at::Tensor clean, clean_logits;
  int64_t most = 4096;                 // circuits at once; fewer after memory did not suffice
  // Runs of a few circuits from one layer on, of which searches make hundreds that differ in `cut` alone, as CUDA graphs by the
  // number of circuits. Small models only: where the GPU is busy anyway, running all corrections costs more than starting them.
  struct Recorded {
    int64_t runs = 0;
    double plain = INFINITY, quick = INFINITY;         // seconds, at best
    at::Tensor cut, logits;
    std::unique_ptr<GpuGraph> graph;
  };
  std::map<int64_t, Recorded> recorded;
  int64_t recorded_layer = -1;
  std::string why_not_recorded;        // once it was tried in vain
  bool records = true;
  static constexpr int64_t kPlain = 3, kMost = 8;      // runs before one is recorded; circuits at once

  Impl(const Graph& g, const AnalysisInput& input, const engine::PromptGroup& group, const std::string& name, Outside kind, const at::Tensor& means)
      : graph(g), model(g.model()), form(input.form), metric(name, input, group) {
    if (metric.needs_all_positions())
      throw Error(StatusCode::kBadInput, "the metric 'loss' reads every position, circuits are measured at the last one", "metric",
                  "choose logit_diff, answer_logprob, kl or greater_than");
    at::NoGradGuard no_grad;
    length = group.length;
    prompts = group.clean.size(0);
    width = model.config().d_model;
    if (kind == Outside::kCorrupted && model.config().causal()) first = std::min(group.first_difference, length - 1);
    if (first > 0) {
      HookPlan quiet;
      quiet.form = form;
      quiet.logits = false;
      prefix.length = length;
      model.forward(group.clean.slice(1, 0, first), quiet, &prefix);
    }
    tokens = group.clean.slice(1, first);
    at::Tensor own = look(tokens, true);
    if (kind == Outside::kCorrupted) outside = look(group.corrupted.slice(1, first), false);
    else if (kind == Outside::kZero) outside = at::zeros_like(own);
    else outside = means.to(own.options()).view({means.size(0), 1, 1, width}).expand(own.sizes()).contiguous();
    shift = outside - own;
  }

  RunState start(int64_t copies, int64_t from_layer, const at::Tensor& x) const {
    RunState state;
    if (first > 0) state = prefix.select_batch(at::arange(prompts, at::TensorOptions().dtype(at::kLong).device(model.device())).repeat({copies}));
    state.keep = false;
    state.length = length;
    state.first_layer = from_layer;
    state.residual = x;
    return state;
  }

  // What every source writes from `first` on: [source, prompt, pos, d_model].
  at::Tensor look(const at::Tensor& ids, bool is_clean) {
    HookPlan plan;
    plan.form = form;
    plan.logit_positions = std::vector<int64_t>{-1};
    if (!is_clean) plan.logits = false;
    capture_sources(graph, plan);
    if (is_clean)
      for (int64_t l = 0; l < engine::layer_count(model); ++l) plan.capture(block_point(l, "hook_resid_pre"));
    if (is_clean) plan.capture(block_point(engine::layer_count(model) - 1, "hook_resid_post"));
    RunState state = start(1, 0, {});
    ForwardResult r = model.forward(ids, plan, &state);
    if (is_clean) {
      for (int64_t l = 0; l < engine::layer_count(model); ++l) residual.push_back(r.cache.get(block_point(l, "hook_resid_pre")));
      residual.push_back(r.cache.get(block_point(engine::layer_count(model) - 1, "hook_resid_post")));
      clean_logits = r.logits.select(1, 0);
      if (metric.needs_reference()) metric.set_reference(clean_logits);
      clean = metric.last(clean_logits).to(at::kCPU, at::kDouble);
    }
    return captured_sources(graph, r.cache).transpose(0, 1).contiguous();
  }

  int64_t tokens_here() const { return tokens.size(1); }

  // Readers of one layer that follow one another and read the same sources (q, k and v): their corrections are one product, for
  // which the sources are fetched once.
  struct Together {
    int64_t layer, sources, first, count, readers;
    at::Tensor sum;                    // while some of them have not read yet
  };
  std::vector<Together> readers_together(int64_t from_layer, const std::vector<char>& wanted) const {
    constexpr int64_t kMost = 4;       // their corrections are there at the same time
    std::vector<Together> out;
    for (size_t i = 0; i < graph.readers().size(); ++i) {
      const Readers& r = graph.readers()[i];
      if (r.layer < from_layer || !wanted[i]) continue;
      const bool joins = !out.empty() && r.by_head && out.back().layer == r.layer && out.back().sources == r.sources &&
                         out.back().first + out.back().count == r.first && out.back().readers < kMost;
      if (!joins) out.push_back({r.layer, r.sources, r.first, 0, 0, {}});
      out.back().count += r.count;
      ++out.back().readers;
    }
    return out;
  }

  // What `run` gives for cut [circuit, input, source] (CPU, bool), recorded after the first few times; undefined where nothing is.
  at::Tensor replay(const at::Tensor& cut, int64_t from_layer) {
    constexpr double kSmall = 256 << 20;
    const int64_t circuits = cut.size(0);
    if (!records || !shift.is_cuda() || circuits > kMost || !why_not_recorded.empty() || static_cast<double>(circuits) * bytes_of_one(from_layer) > kSmall) return {};
    if (recorded_layer != from_layer) recorded.clear();
    recorded_layer = from_layer;
    Recorded& r = recorded[circuits];
    if (++r.runs <= kPlain) return {};
    if (!r.graph) {
      r.cut = at::zeros(cut.sizes(), shift.options());
      // Edges that are not cut have a weight of 0.
      const std::vector<char> readers(graph.readers().size(), 1), writers(graph.writers().size(), 1);
      r.graph = GpuGraph::record(shift.device(), [&] { r.logits = run(r.cut, circuits, from_layer, readers, writers, false); }, why_not_recorded);
      if (!r.graph) {
        recorded.clear();
        return {};
      }
    }
    r.cut.copy_(cut);
    r.graph->launch();
    return r.logits;
  }
  // How long the latest run of so many circuits took, which decides whether they stay recorded.
  void took(int64_t circuits, double seconds) {
    auto found = recorded.find(circuits);
    if (found == recorded.end()) return;
    Recorded& r = found->second;
    (r.graph ? r.quick : r.plain) = std::min(r.graph ? r.quick : r.plain, seconds);
    if (r.runs != 2 * kPlain || r.quick < r.plain) return;
    why_not_recorded = "recorded runs are no quicker than plain ones";
    recorded.clear();
  }

  // What the parts of one circuit take, and a layer's inputs: a head's own stream a role, its norm, and the correction.
  double bytes_of_one(int64_t from_layer) const {
    int64_t heads = 1;
    for (const Readers& r : graph.readers()) heads = std::max(heads, r.count);
    return static_cast<double>(prompts * tokens_here() * width) * static_cast<double>(graph.source_count() - graph.sources_before(from_layer) + 16 * heads + 24) *
           static_cast<double>(shift.element_size());
  }

  // The run of `circuits` circuits from a layer on. cut: weight of each edge's replacement [circuit, input, source] on the
  // device; wanted(reader) and needed(writer) say where anything is cut.
  at::Tensor run(const at::Tensor& cut, int64_t circuits, int64_t from_layer, const std::vector<char>& wanted,
                 const std::vector<char>& needed, bool soft) {
    const int64_t shared = graph.sources_before(from_layer), own = graph.source_count() - shared;
    const int64_t flat = prompts * tokens_here() * width;
    at::Tensor early = shift.narrow(0, 0, shared).reshape({shared, flat});
    at::Tensor late;                                   // [circuit, source, prompt * pos * d_model]
    std::vector<std::pair<int64_t, at::Tensor>> parts; // of a run that is differentiated: a block a writer
    HookPlan plan;
    plan.form = form;
    plan.logit_positions = std::vector<int64_t>{-1};
    std::map<std::string, at::Tensor> scales;
    const bool runs = from_layer < engine::layer_count(model);
    if (!soft && own > 0 && runs) late = at::empty({circuits, own, flat}, shift.options());

    for (size_t i = 0; i < graph.writers().size(); ++i) {
      const Writers& w = graph.writers()[i];
      if (w.first < shared || !needed[i]) continue;
      const std::string scale = post_scale_hook(graph, w);
      auto note = [&, w, scale](const at::Tensor& value) {
        at::Tensor part = contribution(graph, w, value, scale.empty() ? at::Tensor() : scales.at(scale));   // [row, n, pos, d]
        at::Tensor delta = outside.narrow(0, w.first, w.count).unsqueeze(0) -
                           part.unflatten(0, {circuits, prompts}).transpose(1, 2);                          // [circuit, n, prompt, pos, d]
        if (soft) parts.push_back({w.first, delta.flatten(2)});
        else late.narrow(1, w.first - shared, w.count).copy_(delta.flatten(2));
      };
      if (scale.empty()) {
        plan.edit(w.hook, [note](const at::Tensor& v, int64_t) { note(v); return v; });
      } else {
        // The norm behind the heads comes after them; what they write is known when both are.
        auto result = std::make_shared<at::Tensor>();
        plan.edit(w.hook, [result](const at::Tensor& v, int64_t) { *result = v; return v; });
        plan.edit(scale, [&scales, scale, result, note](const at::Tensor& v, int64_t) {
          scales[scale] = v;
          note(*result);
          return v;
        });
      }
    }
    std::vector<Together> groups = readers_together(from_layer, wanted);
    auto corrections = [&](int64_t first, int64_t count, int64_t sources) {                                 // [circuit, count, flat]
      at::Tensor weights = cut.narrow(1, first, count).narrow(2, 0, sources);                               // [circuit, n, source]
      const int64_t before = std::min(shared, sources);
      at::Tensor sum = at::matmul(weights.narrow(2, 0, before).reshape({circuits * count, before}), early.narrow(0, 0, before)).view({circuits, count, flat});
      if (!soft && sources > shared && late.defined())
        sum = sum.baddbmm_(weights.narrow(2, shared, sources - shared), late.narrow(1, 0, sources - shared));
      for (const auto& [at_, block] : parts)
        if (at_ < sources) sum = sum + at::bmm(weights.narrow(2, at_, block.size(1)), block);
      return sum;
    };
    auto corrected = [&](const Readers& r, const at::Tensor& value) {
      Together& t = *std::find_if(groups.begin(), groups.end(), [&](const Together& g) { return r.first >= g.first && r.first < g.first + g.count; });
      if (!t.sum.defined()) t.sum = corrections(t.first, t.count, r.sources);
      at::Tensor sum = t.sum.narrow(1, r.first - t.first, r.count);
      if (r.first + r.count == t.first + t.count) t.sum.reset();         // the last that reads it
      sum = sum.unflatten(2, {prompts, tokens_here(), width}).permute({0, 2, 3, 1, 4}).flatten(0, 1);
      return value + (r.by_head ? sum : sum.squeeze(2));
    };
    constexpr std::string_view kConv = "_conv_input";
    auto is_wanted = [&](const std::string& hook) {
      for (size_t i = 0; i < graph.readers().size(); ++i)
        if (graph.readers()[i].hook == hook) return wanted[i] != 0;
      return false;
    };
    at::Tensor x = residual[static_cast<size_t>(from_layer)];
    if (circuits > 1) x = x.repeat({circuits, 1, 1});
    for (size_t i = 0; i < graph.readers().size(); ++i) {
      const Readers& r = graph.readers()[i];
      if (r.layer < from_layer) continue;
      if (!wanted[i]) {
        // A short convolution that nobody asks for an input of its own takes its role's, which is corrected.
        if (runs && r.hook.ends_with(kConv) && is_wanted(r.hook.substr(0, r.hook.size() - kConv.size()) + "_input"))
          plan.edit(r.hook, [](const at::Tensor& v, int64_t) { return v; });
        continue;
      }
      if (!runs) x = corrected(r, x);                  // only the logits are left, and they are the stream itself
      else plan.edit(r.hook, [&corrected, &r](const at::Tensor& v, int64_t) { return corrected(r, v); });
    }
    // Writers whose parts nobody asks for leave garbage in `late`; weights of 0 must not meet NaN there.
    if (late.defined() && std::find(needed.begin(), needed.end(), char{0}) != needed.end()) late.zero_();
    RunState state = start(circuits, from_layer, x);
    at::Tensor ids = circuits > 1 ? tokens.repeat({circuits, 1}) : tokens;
    return model.forward(ids, plan, &state).logits.select(1, 0);
  }
};

EdgeRunner::EdgeRunner(const Graph& graph, const AnalysisInput& input, const engine::PromptGroup& group, const std::string& metric,
                       Outside outside, const at::Tensor& means)
    : impl_(std::make_unique<Impl>(graph, input, group, metric, outside, means)) {}
EdgeRunner::~EdgeRunner() = default;

const at::Tensor& EdgeRunner::clean() const { return impl_->clean; }
const at::Tensor& EdgeRunner::clean_logits() const { return impl_->clean_logits; }
int64_t EdgeRunner::prompts() const { return impl_->prompts; }
bool EdgeRunner::recorded() const {
  return std::any_of(impl_->recorded.begin(), impl_->recorded.end(), [](const auto& r) { return r.second.graph != nullptr; });
}
void EdgeRunner::record(bool records) { impl_->records = records; }
const std::string& EdgeRunner::why_not_recorded() const { return impl_->why_not_recorded; }
at::Tensor EdgeRunner::measure(const at::Tensor& logits) const { return impl_->metric.last(logits); }

int64_t EdgeRunner::circuits_at_once(int64_t from_layer) const {
  const double budget = impl_->model.device().is_cpu() ? 2e8 : 1.6e10;
  return std::clamp<int64_t>(static_cast<int64_t>(budget / impl_->bytes_of_one(from_layer)), 1, impl_->most);
}

at::Tensor EdgeRunner::run(const at::Tensor& given, int64_t from_layer) {
  at::NoGradGuard no_grad;
  const Graph& g = impl_->graph;
  at::Tensor inside = given.to(at::kCPU, at::kBool).contiguous();
  int64_t at_once = circuits_at_once(from_layer);
  std::vector<at::Tensor> out;
  in_parts(inside.size(0), at_once, [&](int64_t from, int64_t n) {
    const auto begin = std::chrono::steady_clock::now();
    at::Tensor some = inside.narrow(0, from, n).contiguous();
    at::Tensor live = live_inputs(g, some);
    at::Tensor cut = some.logical_not().logical_and(live.unsqueeze(1)).logical_and(g.possible()).transpose(1, 2).contiguous();   // [circuit, input, source]
    at::Tensor logits = impl_->replay(cut, from_layer);
    if (!logits.defined()) {
      at::Tensor any = cut.any(0);                     // [input, source]
      std::vector<char> wanted, needed;
      for (const Readers& r : g.readers()) wanted.push_back(any.narrow(0, r.first, r.count).any().item<bool>());
      for (const Writers& w : g.writers()) needed.push_back(any.narrow(1, w.first, w.count).any().item<bool>());
      logits = impl_->run(cut.to(impl_->shift.options()), some.size(0), from_layer, wanted, needed, false);
    }
    out.push_back(impl_->metric.last(logits).to(at::kCPU, at::kDouble).view({some.size(0), impl_->prompts}));
    impl_->took(n, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  });
  if (at_once < circuits_at_once(from_layer)) impl_->most = at_once;
  return at::cat(out);
}

at::Tensor EdgeRunner::run_soft(const at::Tensor& inside) {
  const Graph& g = impl_->graph;
  at::Tensor cut = (1 - inside).transpose(0, 1).unsqueeze(0).to(impl_->shift.scalar_type());
  return impl_->run(cut, 1, 0, std::vector<char>(g.readers().size(), 1), std::vector<char>(g.writers().size(), 1), true);
}

}  // namespace microtome::circuit
