#include "analysis/steering/directions.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "analysis/engine/dictionaries.h"
#include "core/io/safetensors.h"
#include "core/model/weights.h"
#include "core/training/dictionary_metrics.h"

namespace microtome::analyses {
namespace {

[[noreturn]] void bad(const std::string& what, const std::string& where, const std::string& todo) {
  throw Error(StatusCode::kBadInput, what, where, todo);
}

std::vector<int64_t> trailing(const Model& model, const std::string& hook) {
  const HookPoint* p = model.catalogue().find(hook);
  return {p->sizes.begin() + 2, p->sizes.end()};
}

// `name`: a tensor of the file, "NAME[12]" a row of it; empty: the only one.
at::Tensor read_direction(const std::string& path, const std::string& name) {
  const std::string where = "param tensor", shown = "'" + name.substr(0, 200) + "'";
  if (path.empty()) bad("no file with a direction is named", "param file", "name a safetensors file");
  std::string tensor = name;
  int64_t row = -1;
  if (!name.empty() && name.back() == ']') {
    const size_t open = name.rfind('[');
    const char* end = name.data() + name.size() - 1;
    if (open == std::string::npos) bad(shown + " has ']' without '['", where, "write NAME[12]");
    auto [next, error] = std::from_chars(name.data() + open + 1, end, row);
    if (error != std::errc() || next != end || row < 0) bad(shown + " names no row", where, "write NAME[12]");
    tensor.resize(open);
  }
  SafetensorsFile file = SafetensorsFile::open(path).value();
  if (tensor.empty() && file.tensors().size() != 1)
    bad("the file has " + std::to_string(file.tensors().size()) + " tensors and none is named", path, "name one with tensor=");
  const TensorEntry* e = tensor.empty() ? &file.tensors().front() : file.find(tensor);
  if (!e) throw Error(StatusCode::kNotFound, "tensor '" + tensor.substr(0, 200) + "' is not in the file", path, "`microtome inspect FILE` lists them");
  at::Tensor t = tensor_of_entry(*e, file.keep_alive());
  if (row >= 0) {
    if (t.dim() < 2 || row >= t.size(0))
      bad("row " + std::to_string(row) + " is outside tensor '" + tensor.substr(0, 200) + "' with " +
              (t.dim() < 2 ? "no rows" : std::to_string(t.size(0)) + " rows"), where, "name a row that it has");
    t = t.select(0, row);
  }
  return t.to(at::kDouble).clone();
}

// The answers' rows of the unembedding minus the wrong answers', a prompt.
at::Tensor unembedding_difference(const AnalysisInput& input) {
  const Model& model = input.model;
  const at::Tensor& table = model.weights().get(model.config().tied_unembedding ? "embed.weight" : "unembed.weight");
  auto mean_row = [&](const std::vector<int64_t>& ids, const char* what, size_t prompt) {
    if (ids.empty()) bad("prompt " + std::to_string(prompt + 1) + " has no " + what, input.dataset.name, "choose another direction");
    for (int64_t id : ids)
      if (id < 0 || id >= table.size(0))
        bad("token id " + std::to_string(id) + " is outside the vocabulary", input.dataset.name, "use this model's own tokenizer");
    return table.index_select(0, at::tensor(ids, at::kLong).to(table.device())).to(at::kCPU, at::kDouble).mean(0);
  };
  std::vector<at::Tensor> rows;
  for (size_t i = 0; i < input.dataset.pairs.size(); ++i) {
    const PromptPair& p = input.dataset.pairs[i];
    rows.push_back(mean_row(p.answer_ids, "answer", i) - mean_row(p.wrong_ids, "wrong answer", i));
  }
  return at::stack(rows);
}

// The feature's largest activation on the clean prompts.
double max_activation(const AnalysisInput& input, const std::vector<engine::PromptGroup>& groups, const DirectionOptions& o) {
  auto set = std::make_shared<DictionarySet>();
  set->members = {*o.dictionary};
  set->layers = {layer_of_hook(o.dictionary->config.hook_in)};
  double most = 0;
  SpliceOptions watch;
  watch.watch_only = true;
  watch.watch = [&](const SpliceOptions::Place&, const at::Tensor&, const at::Tensor&, const at::Tensor& codes) {
    most = std::max(most, codes.select(1, o.feature).max().item<double>());
  };
  for (const engine::PromptGroup& g : groups) {
    HookPlan plan;
    plan.form = input.form;
    plan.logits = false;
    splice(plan, set, watch);
    input.model.forward(g.clean, plan);
  }
  return most;
}

}  // namespace

std::shared_ptr<const Dictionary> read_dictionary(const AnalysisInput& input, const std::string& hook, int64_t feature, std::vector<std::string>& warnings) {
  std::shared_ptr<const DictionarySet> set = engine::read_set(input, "dictionary", warnings);
  std::vector<const Dictionary*> fitting;
  for (const Dictionary& d : set->members)
    if (hook.empty() || d.config.hook_out == hook) fitting.push_back(&d);
  if (fitting.size() != 1)
    bad(hook.empty() ? "there are " + std::to_string(set->members.size()) + " dictionaries and none is chosen" : "no dictionary there gives " + hook,
        "param dictionary", "name one file, or the point that its dictionary gives with point=");
  int64_t size = fitting[0]->config.d_sae;
  if (feature >= size) bad("there is no feature " + std::to_string(feature), "param feature", "features go from 0 to " + std::to_string(size - 1));
  return std::make_shared<Dictionary>(*fitting[0]);
}

std::vector<std::string> steered_points(const Model& model, const std::string& glob) {
  std::vector<std::string> names = model.catalogue().match(glob);
  for (const std::string& n : names) {
    const HookPoint* p = model.catalogue().find(n);
    bool fits = p->axes.size() >= 3 && p->axes[0] == "batch" && p->axes[1] == "pos";
    for (size_t a = 2; a < p->axes.size(); ++a) fits = fits && p->sizes[a] > 0;
    if (!fits) bad("'" + n + "' holds no vector a position", "param point", "choose a residual, a sub-layer output or a head's q, k, v or z");
  }
  return names;
}

std::vector<SteeredPoint> find_directions(const AnalysisInput& input, const std::vector<engine::PromptGroup>& groups,
                                          const std::vector<std::string>& hooks, const DirectionOptions& o, Progress& progress) {
  std::vector<SteeredPoint> out;
  std::vector<at::Tensor> sums(hooks.size());
  std::vector<double> norms(hooks.size(), 0), rows(hooks.size(), 0), all(hooks.size(), 0);
  const bool difference = o.from == DirectionOptions::From::kMeanDifference;
  for (size_t g = 0; g < groups.size(); ++g) {
    progress.step(static_cast<int64_t>(g), static_cast<int64_t>(groups.size()), "finding the direction");
    for (bool clean : {true, false}) {
      if (!clean && !difference) continue;
      HookPlan plan;
      plan.form = input.form;
      plan.logits = false;
      for (const std::string& h : hooks) plan.capture(h);
      ActivationCache cache = input.model.forward(clean ? groups[g].clean : groups[g].corrupted, plan).cache;
      for (size_t i = 0; i < hooks.size(); ++i) {
        at::Tensor v = cache.get(hooks[i]).to(at::kCPU, at::kDouble);
        if (clean) {
          norms[i] += v.flatten(2).norm(2, {2}).sum().item<double>();
          all[i] += static_cast<double>(v.size(0) * v.size(1));
        }
        if (!difference) continue;
        at::Tensor part = (o.all_positions ? v : v.narrow(1, v.size(1) - 1, 1)).sum(at::IntArrayRef{0, 1});
        if (clean) rows[i] += static_cast<double>(v.size(0) * (o.all_positions ? v.size(1) : 1));
        sums[i] = !sums[i].defined() ? part : clean ? sums[i] + part : sums[i] - part;
      }
    }
  }
  at::Tensor given;
  if (o.from == DirectionOptions::From::kFile) given = read_direction(o.file, o.tensor);
  if (o.from == DirectionOptions::From::kUnembedding) given = unembedding_difference(input);
  if (o.from == DirectionOptions::From::kFeature) given = o.dictionary->directions()[o.feature].to(at::kCPU, at::kDouble);
  for (size_t i = 0; i < hooks.size(); ++i) {
    SteeredPoint p;
    p.hook = hooks[i];
    p.mean_norm = norms[i] / all[i];
    std::vector<int64_t> shape = trailing(input.model, hooks[i]);
    int64_t size = 1;
    for (int64_t s : shape) size *= s;
    if (difference) {
      p.direction = (sums[i] / rows[i]).unsqueeze(0);
    } else {
      if (o.from == DirectionOptions::From::kUnembedding && shape.size() != 1)
        bad("a direction of the unembedding lies in the residual stream, and " + hooks[i] + " does not", "steering",
            "choose a residual or a sub-layer output");
      int64_t have = o.from == DirectionOptions::From::kUnembedding ? given.size(1) : given.numel();
      if (have != size)
        bad("the direction has " + std::to_string(have) + " numbers and " + hooks[i] + " has " + std::to_string(size), "steering",
            "choose a point of the direction's width");
      std::vector<int64_t> whole{given.numel() / size};
      whole.insert(whole.end(), shape.begin(), shape.end());
      p.direction = given.reshape(whole);
    }
    at::Tensor norm = p.direction.flatten(1).norm(2, {1});
    if (!at::isfinite(p.direction).all().item<bool>()) bad("the direction at " + hooks[i] + " is not finite", "steering", "check its source");
    if (!(norm.min().item<double>() > 0))
      bad("the direction at " + hooks[i] + " is zero", "steering",
          difference ? "clean and corrupted prompts are alike there: choose a later point, or direction_positions=all" : "choose another direction");
    p.norm = norm.mean().item<double>();
    if (o.to_mean_norm) {
      std::vector<int64_t> by_row(static_cast<size_t>(p.direction.dim()), 1);
      by_row[0] = norm.size(0);
      p.direction = p.direction * (p.mean_norm / norm).view(by_row);
    }
    if (o.to_max_activation) {
      const double most = max_activation(input, groups, o);
      if (!(most > 0))
        bad("feature " + std::to_string(o.feature) + " fires on none of the clean prompts", "param scale", "choose another scale, or prompts on which it fires");
      p.direction = p.direction * most;
    }
    out.push_back(std::move(p));
  }
  return out;
}

Edit steer(const at::Tensor& direction, double coefficient, bool project_out, int64_t start) {
  return [=](const at::Tensor& v, int64_t first) {
    int64_t from = std::max<int64_t>(0, start - first), count = v.size(1) - from;
    if (count <= 0) return v;
    at::Tensor part = v.narrow(1, from, count), d = direction.unsqueeze(1);
    if (project_out) {
      at::Tensor unit = (d / d.norm(2, -1, true).clamp_min(1e-30)).to(v.device(), v.scalar_type());
      part = part - coefficient * (part * unit).sum(-1, true) * unit;
    } else {
      part = part + coefficient * d.to(v.device(), v.scalar_type());
    }
    return from == 0 ? part : at::cat({v.narrow(1, 0, from), part}, 1);
  };
}

}  // namespace microtome::analyses
