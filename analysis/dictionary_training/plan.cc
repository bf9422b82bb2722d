#include "analysis/dictionary_training/plan.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "analysis/engine/layers.h"
#include "core/base/json.h"
#include "core/training/dictionary_metrics.h"

namespace microtome::training {
namespace {

int64_t share_of(const Params& p, const char* name, int64_t steps) { return static_cast<int64_t>(p.get_float(name) * static_cast<double>(steps)); }

TrainerSettings settings_of(const AnalysisInput& input, int64_t d_sae, int64_t steps) {
  const Params& p = input.params;
  TrainerSettings s;
  s.loss.l1 = p.get_float("l1");
  s.loss.l0 = p.get_float("l0");
  s.loss.sparsity = p.get_string("sparsity");
  s.loss.bandwidth = p.get_float("bandwidth");
  s.loss.pre_act = p.get_float("pre_act");
  s.loss.aux = p.get_float("aux");
  s.loss.products = p.get_string("precision") == "bfloat16" ? at::kBFloat16 : at::kFloat;
  // The scaling law of Gao et al. (arXiv 2406.04093) for Adam on TopK dictionaries.
  s.lr = p.get_float("lr") > 0 ? p.get_float("lr") : 2e-4 * std::sqrt(16384.0 / static_cast<double>(d_sae));
  s.beta1 = p.get_float("beta1");
  s.beta2 = p.get_float("beta2");
  s.steps = steps;
  s.warmup = share_of(p, "warmup", steps);
  s.decay = share_of(p, "decay", steps);
  s.sparsity_warmup = share_of(p, "sparsity_warmup", steps);
  s.clip = p.get_float("clip");
  s.unit_decoder = p.get_string("decoder") == "unit";
  s.dead_tokens = p.get_int("dead_tokens");
  s.resample_every = p.get_int("resample_every");
  const std::string form = p.get_string("training_form");
  s.form = form == "dense" ? TrainerSettings::Form::kDense : form == "sparse" ? TrainerSettings::Form::kSparse : TrainerSettings::Form::kAuto;
  s.seed = input.seed;
  return s;
}

std::vector<int64_t> nested_sizes(const std::string& text, int64_t d_sae) {
  std::vector<int64_t> out;
  if (text.empty()) {
    for (int64_t n = std::max<int64_t>(1, d_sae / 16); n < d_sae; n *= 4) out.push_back(n);
    return out;
  }
  for (double v : read_sweep(text, "nested")) {
    if (v != std::floor(v) || v >= static_cast<double>(d_sae))
      throw Error(StatusCode::kBadInput, "an inner dictionary of " + param_text(v) + " features does not fit one of " + std::to_string(d_sae), "param nested", "write whole numbers below that: 64,256");
    out.push_back(static_cast<int64_t>(v));
  }
  return out;
}

size_t index_of(std::vector<std::string>& hooks, const std::string& hook) {
  auto it = std::find(hooks.begin(), hooks.end(), hook);
  if (it == hooks.end()) it = hooks.insert(hooks.end(), hook);
  return static_cast<size_t>(it - hooks.begin());
}

}  // namespace

std::vector<double> read_sweep(const std::string& text, const std::string& param) {
  std::vector<double> out;
  for (size_t from = 0; from < text.size();) {
    size_t to = std::min(text.find(',', from), text.size()), a = text.find_first_not_of(' ', from);
    size_t b = to;
    while (b > from && text[b - 1] == ' ') --b;
    double v = NAN;
    if (a != std::string::npos && a < b) {
      auto [end, error] = std::from_chars(text.data() + a, text.data() + b, v);
      if (error != std::errc() || end != text.data() + b) v = NAN;
    }
    if (!(v > 0) || !std::isfinite(v)) throw Error(StatusCode::kBadInput, "'" + text.substr(from, std::min<size_t>(to - from, 60)) + "' is not a number above 0", "param " + param, "write numbers with commas between");
    out.push_back(v);
    from = to + 1;
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  if (out.size() > 16) throw Error(StatusCode::kBadInput, "there are more than 16 numbers", "param " + param, "write fewer");
  return out;
}

Plan make_plan(const AnalysisInput& input, const std::vector<std::pair<std::string, std::string>>& pairs, bool cross_layer, bool skip) {
  const Params& p = input.params;
  Plan plan;
  plan.batch = p.get_int("batch");
  plan.steps = std::max<int64_t>(1, (p.get_int("tokens") + plan.batch - 1) / plan.batch);
  plan.checkpoint_every = p.get_int("checkpoint_every");
  plan.log_every = std::min(p.get_int("log_every"), plan.checkpoint_every);
  plan.length = p.get_int("length");
  plan.eval_tokens = p.get_int("eval_tokens");
  plan.patience = p.get_int("patience");
  plan.block_tokens = p.get_int("buffer") * plan.batch;
  plan.normalise = p.get_string("normalize") == "mean_norm";
  plan.evaluate_ends = p.get_string("evaluate") == "end";
  plan.decoder_norm = p.get_string("decoder") == "unit" ? 1.0 : p.get_float("decoder_norm");
  const std::string kind = p.get_string("kind");
  const bool counts = kind == "topk" || kind == "batchtopk" || kind == "matryoshka";
  std::vector<double> sweep = read_sweep(p.get_string("sweep"), "sweep");
  plan.swept = sweep.empty() ? "" : counts ? "k" : kind == "jumprelu" ? "l0" : "l1";
  if (sweep.empty()) sweep.push_back(NAN);
  if (cross_layer && kind == "matryoshka") throw Error(StatusCode::kUnsupported, "a cross-layer transcoder of nested dictionaries is not defined", "param kind", "choose jumprelu, topk, batchtopk or standard");

  std::vector<Member> members;
  for (size_t i = 0; i < pairs.size(); ++i) {
    Member m;
    DictionaryConfig& c = m.config;
    c.kind = kind;
    c.d_in = point_width(input.model, pairs[i].first);
    c.d_out = point_width(input.model, pairs[i].second);
    c.d_sae = p.get_int("d_sae") > 0 ? p.get_int("d_sae") : p.get_int("expansion") * c.d_in;
    c.transcoder = pairs[i].first != pairs[i].second;
    c.skip = skip;
    c.apply_b_dec_to_input = !c.transcoder;
    c.rescale_acts_by_decoder_norm = counts && p.get_string("decoder") != "unit" && !cross_layer;
    c.hook_in = pairs[i].first;
    c.hook_out = pairs[i].second;
    c.model = input.model_name;
    c.weights_hash = input.weights_hash;
    if (kind == "matryoshka") c.nested = nested_sizes(p.get_string("nested"), c.d_sae);
    m.in = index_of(plan.hooks, c.hook_in);
    m.out = index_of(plan.hooks, c.hook_out);
    m.later = cross_layer ? static_cast<int64_t>(pairs.size() - 1 - i) : 0;
    members.push_back(std::move(m));
  }
  auto add = [&](std::vector<Member> together, const std::string& name) {
    for (double value : sweep) {
      Group g;
      g.members = together;
      g.settings = settings_of(input, together[0].config.d_sae, plan.steps);
      g.swept = value;
      g.name = name;
      g.initial_threshold = p.get_float("initial_threshold");
      int64_t k = p.get_int("k");
      if (!std::isnan(value)) {
        g.name += ", " + plan.swept + " " + param_text(value);
        if (plan.swept == "k") k = static_cast<int64_t>(value);
        if (plan.swept == "k" && value != std::floor(value)) throw Error(StatusCode::kBadInput, "k " + param_text(value) + " is not a whole number", "param sweep", "write whole numbers for this kind");
        if (plan.swept == "l1") g.settings.loss.l1 = value;
        if (plan.swept == "l0") g.settings.loss.l0 = value;
      }
      for (Member& m : g.members) {
        m.config.k = counts ? k : 0;
        m.config.name = g.name;
        if (counts && k > m.config.d_sae) throw Error(StatusCode::kBadInput, "k is " + std::to_string(k) + ", but there are " + std::to_string(m.config.d_sae) + " features", "param k", "choose a smaller one");
      }
      plan.groups.push_back(std::move(g));
    }
  };
  if (cross_layer) add(members, "cross-layer transcoder of " + std::to_string(members.size()) + " layers");
  else
    for (const Member& m : members) add({m}, m.config.transcoder ? m.config.hook_in + " to " + m.config.hook_out : m.config.hook_in);
  if (plan.groups.size() > 64) throw Error(StatusCode::kBadInput, std::to_string(plan.groups.size()) + " dictionaries in one run are too many", "param sweep", "name fewer points or values");
  return plan;
}

}  // namespace microtome::training
