#include "analysis/path_patching/paths.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/engine/layers.h"

namespace microtome::analyses {

using engine::block_point;
using engine::Metric;
using engine::NodeName;
using engine::PromptGroup;

namespace {

constexpr int64_t kMlp = -1;                           // a sender that is no head

at::Tensor repeat_rows(const at::Tensor& t, int64_t copies) {
  std::vector<int64_t> times(static_cast<size_t>(t.dim()), 1);
  times[0] = copies;
  return t.repeat(times);
}

// The point that a node reads from its layer's input.
std::string point_of(const NodeName& n) {
  return block_point(n.layer, n.kind == NodeName::Kind::kMlp ? "hook_mlp_in" : "attn.hook_" + n.role);
}

// Entries of a point's head axis that belong to one query head: its key/value group, once for every write of a token.
std::vector<int64_t> entries(const Model& model, const NodeName& n, int64_t& axis) {
  const HookPoint* p = model.catalogue().find(point_of(n));
  auto it = std::find(p->axes.begin(), p->axes.end(), "head");
  axis = it - p->axes.begin();
  const MixerInfo& info = model.mixer_info(n.layer);
  int64_t size = p->sizes[static_cast<size_t>(axis)];
  int64_t groups = size > info.heads && size % info.kv_heads == 0 ? info.kv_heads : size;
  std::vector<int64_t> out;
  for (int64_t e = n.head * groups / info.heads; e < size; e += groups) out.push_back(e);
  return out;
}

at::Tensor index_of(const std::vector<int64_t>& v, at::Device device) {
  return at::tensor(v, at::TensorOptions().dtype(at::kLong)).to(device);
}

}  // namespace

// One group's clean run: what passes start from and what is frozen.
struct PathRunner::Base {
  std::vector<at::Tensor> residual, attn_out, mlp_out; // a layer; mlp_out undefined where it has none
  at::Tensor metric, losses;
  int64_t first = 0;                                   // nothing before it differs
  RunState prefix;                                     // keys, values and states of the tokens before it
};

PathRunner::PathRunner(const AnalysisInput& input, std::vector<Receiver> receivers, bool freeze_mlps, const std::string& metric)
    : input_(input), receivers_(std::move(receivers)), freeze_mlps_(freeze_mlps), groups_(engine::group_prompts(input, true)),
      bases_(groups_.size()), layers_(engine::layer_count(input.model)) {
  for (const PromptGroup& g : groups_) {
    metrics_.push_back(std::make_unique<Metric>(metric, input, g));
    all_logits_ = metrics_.back()->needs_all_positions();
    prompt_count_ += static_cast<int64_t>(g.prompts.size());
  }
  for (int64_t l = 0; l < layers_; ++l) most_heads_ = std::max(most_heads_, heads(l));
  for (const Receiver& r : receivers_) {
    for (const NodeName& n : r.nodes) {
      auto refuse = [&](const std::string& why, const std::string& todo) {
        throw Error(StatusCode::kBadInput, "'" + n.text() + "' cannot receive: " + why, "param receiver", todo);
      };
      if (n.kind == NodeName::Kind::kInput) refuse("nothing comes before the input", "name a head's input, an MLP or the logits");
      if (n.kind == NodeName::Kind::kLogits && r.nodes.size() > 1)
        refuse("the logits end every path, so nothing can be changed together with them", "leave out logits or 'together'");
      if (n.kind == NodeName::Kind::kLogits) continue;
      if (n.kind == NodeName::Kind::kHead && n.role.empty())
        refuse("a head reads several inputs", "write " + n.text() + "<q>, <k> or <v>");
      const HookPoint* p = input.model.catalogue().find(point_of(n));
      if (!p || (n.kind == NodeName::Kind::kHead && std::find(p->axes.begin(), p->axes.end(), "head") == p->axes.end()))
        refuse("layer " + std::to_string(n.layer) + " (" + input.model.mixer_info(n.layer).kind + ") has no point for it by heads",
               "`microtome inspect MODEL --hooks` lists the points");
    }
  }
}

PathRunner::~PathRunner() = default;

int64_t PathRunner::heads(int64_t layer) const {
  const HookPoint* z = input_.model.catalogue().find(block_point(layer, "attn.hook_z"));
  return z && z->axes.size() == 4 && z->axes[2] == "head" ? z->sizes[2] : 0;
}

const PathRunner::Base& PathRunner::base(size_t group) {
  if (bases_[group]) return *bases_[group];
  const PromptGroup& g = groups_[group];
  const Model& model = input_.model;
  HookPlan plan;
  plan.form = input_.form;
  plan.capture("blocks.*.hook_resid_pre").capture("blocks.*.hook_attn_out");
  for (int64_t l = 0; l < layers_; ++l)
    if (engine::has_point(model, l, "hook_mlp_out")) plan.capture(block_point(l, "hook_mlp_out"));
  if (!all_logits_) plan.logit_positions = std::vector<int64_t>{-1};
  ForwardResult r = model.forward(g.clean, plan);
  auto b = std::make_unique<Base>();
  for (int64_t l = 0; l < layers_; ++l) {
    b->residual.push_back(r.cache.get(block_point(l, "hook_resid_pre")));
    b->attn_out.push_back(r.cache.get(block_point(l, "hook_attn_out")));
    std::string mlp = block_point(l, "hook_mlp_out");
    b->mlp_out.push_back(r.cache.has(mlp) ? r.cache.get(mlp) : at::Tensor());
  }
  at::Tensor last = r.logits.select(1, r.logits.size(1) - 1);
  if (metrics_[group]->needs_reference()) metrics_[group]->set_reference(last);
  if (all_logits_) b->losses = Metric::token_losses(r.logits, g.clean, 0);
  b->metric = all_logits_ ? b->losses.mean(1) : metrics_[group]->last(last);
  // Where later tokens reach back, no position is out of a change's reach.
  b->first = model.config().causal() ? g.first_difference : 0;
  b->prefix.length = g.length;
  if (b->first > 0 && b->first < g.length) {
    HookPlan quiet;
    quiet.form = input_.form;
    quiet.logits = false;
    model.forward(g.clean.slice(1, 0, b->first), quiet, &b->prefix);
  }
  bases_[group] = std::move(b);
  return *bases_[group];
}

at::Tensor PathRunner::ends(bool clean) {
  at::Tensor out = at::full({prompt_count_}, NAN, at::kDouble);
  for (size_t i = 0; i < groups_.size(); ++i) {
    at::Tensor metric = base(i).metric;
    if (!clean) {
      HookPlan plan;
      plan.form = input_.form;
      if (!all_logits_) plan.logit_positions = std::vector<int64_t>{-1};
      at::Tensor logits = input_.model.forward(groups_[i].corrupted, plan).logits;
      metric = all_logits_ ? Metric::token_losses(logits, groups_[i].corrupted, 0).mean(1)
                           : metrics_[i]->last(logits.select(1, logits.size(1) - 1));
    }
    out.index_copy_(0, at::tensor(groups_[i].prompts, at::kLong), metric.to(at::kCPU, at::kDouble));
  }
  return out;
}

bool PathRunner::reaches(int64_t layer, int64_t head, const NodeName& to) const {
  if (to.kind == NodeName::Kind::kLogits) return true;
  const bool beside = input_.model.config().layers[static_cast<size_t>(layer)].wiring == Wiring::kParallel;
  return layer < to.layer || (to.kind == NodeName::Kind::kMlp && layer == to.layer && head != kMlp && !beside);
}

bool PathRunner::reaches(int64_t layer, int64_t head, const Receiver& to) const {
  return std::any_of(to.nodes.begin(), to.nodes.end(), [&](const NodeName& n) { return reaches(layer, head, n); });
}

at::Tensor PathRunner::measure(size_t group, const at::Tensor& logits, int64_t first) {
  const PromptGroup& g = groups_[group];
  int64_t copies = logits.size(0) / g.clean.size(0);
  at::Tensor value;
  if (all_logits_) {
    // Positions before the change keep the clean run's losses.
    at::Tensor fresh = Metric::token_losses(logits, repeat_rows(g.clean, copies), first);
    value = at::cat({repeat_rows(base(group).losses.slice(1, 0, first), copies), fresh}, 1).mean(1);
  } else {
    value = metrics_[group]->last(logits.select(1, logits.size(1) - 1));
  }
  return value.to(at::kCPU, at::kDouble).view({copies, -1});
}

std::map<std::string, at::Tensor> PathRunner::send(size_t group, int64_t layer, const std::vector<int64_t>& senders,
                                                   const at::Tensor& z, const at::Tensor& mlp, at::Tensor& logits) {
  const Base& b = base(group);
  const PromptGroup& g = groups_[group];
  const int64_t rows = g.clean.size(0), copies = static_cast<int64_t>(senders.size()), first = b.first;
  HookPlan plan;
  plan.form = input_.form;
  plan.logits = false;
  int64_t last = layer;
  std::set<std::string> wanted;
  for (const Receiver& r : receivers_)
    for (const NodeName& n : r.nodes) {
      if (n.kind == NodeName::Kind::kLogits) {
        plan.logits = true;
      } else if (std::any_of(senders.begin(), senders.end(), [&](int64_t s) { return reaches(layer, s, n); })) {
        wanted.insert(point_of(n));
        last = std::max(last, n.layer);
      }
    }
  if (plan.logits) last = layers_ - 1;
  plan.stop_before_layer = last + 1;
  if (!all_logits_) plan.logit_positions = std::vector<int64_t>{-1};
  for (const std::string& p : wanted) plan.capture(p);

  auto to_clean = [copies](const at::Tensor& clean) {
    return [clean, copies](const at::Tensor& v, int64_t from) { return repeat_rows(clean.slice(1, from, from + v.size(1)), copies); };
  };
  if (z.defined())
    plan.edit(block_point(layer, "attn.hook_z"), [&senders, &z, rows](const at::Tensor& v, int64_t from) {
      at::Tensor out = v.clone();
      for (size_t s = 0; s < senders.size(); ++s)
        if (senders[s] != kMlp)
          out.narrow(0, static_cast<int64_t>(s) * rows, rows).select(2, senders[s]).copy_(
              z.select(2, senders[s]).slice(1, from, from + v.size(1)));
      return out;
    });
  if (mlp.defined()) {
    const at::Tensor& clean = b.mlp_out[static_cast<size_t>(layer)];
    plan.edit(block_point(layer, "hook_mlp_out"), [&senders, &mlp, clean, rows, this](const at::Tensor& v, int64_t from) {
      at::Tensor out = v.clone();
      for (size_t s = 0; s < senders.size(); ++s) {
        if (senders[s] != kMlp && !freeze_mlps_) continue;
        const at::Tensor& value = senders[s] == kMlp ? mlp : clean;
        out.narrow(0, static_cast<int64_t>(s) * rows, rows).copy_(value.slice(1, from, from + v.size(1)));
      }
      return out;
    });
  }
  // All heads of a later layer at their clean values: what they write together is the clean sub-layer output, gate, norm
  // and projection included.
  for (int64_t l = layer + 1; l <= last; ++l) {
    plan.edit(block_point(l, "hook_attn_out"), to_clean(b.attn_out[static_cast<size_t>(l)]));
    if (freeze_mlps_ && b.mlp_out[static_cast<size_t>(l)].defined())
      plan.edit(block_point(l, "hook_mlp_out"), to_clean(b.mlp_out[static_cast<size_t>(l)]));
  }
  RunState state = b.prefix.select_batch(at::arange(rows, at::kLong).repeat({copies}));
  state.keep = false;
  state.first_layer = layer;
  state.residual = repeat_rows(b.residual[static_cast<size_t>(layer)].slice(1, first), copies);
  ForwardResult r = input_.model.forward(repeat_rows(g.clean.slice(1, first), copies), plan, &state);
  logits = r.logits;
  std::map<std::string, at::Tensor> out;
  for (const std::string& p : wanted) out[p] = r.cache.get(p);
  return out;
}

at::Tensor PathRunner::receive(size_t group, int64_t layer, const Receiver& to, const std::map<std::string, at::Tensor>& read,
                               const at::Tensor& rows) {
  const Base& b = base(group);
  const PromptGroup& g = groups_[group];
  HookPlan plan;
  plan.form = input_.form;
  if (!all_logits_) plan.logit_positions = std::vector<int64_t>{-1};
  int64_t start = layers_;
  for (const NodeName& n : to.nodes) {
    auto it = read.find(point_of(n));
    if (it == read.end()) continue;                    // no path leads there; it stays as it is
    start = std::min(start, n.layer);
    at::Tensor value = it->second.index_select(0, rows.to(it->second.device()));
    if (n.kind == NodeName::Kind::kMlp) {
      plan.edit(point_of(n), [value](const at::Tensor&, int64_t) { return value; });
      continue;
    }
    int64_t axis = 0;
    at::Tensor index = index_of(entries(input_.model, n, axis), value.device());
    plan.edit(point_of(n), [value, index, axis](const at::Tensor& v, int64_t) {
      return v.index_copy(axis, index, value.index_select(axis, index));
    });
  }
  const int64_t copies = rows.size(0) / g.clean.size(0);
  RunState state = b.prefix.select_batch(at::arange(g.clean.size(0), at::kLong).repeat({copies}));
  state.keep = false;
  state.first_layer = start;
  state.residual = repeat_rows(b.residual[static_cast<size_t>(start)].slice(1, b.first), copies);
  return input_.model.forward(repeat_rows(g.clean.slice(1, b.first), copies), plan, &state).logits;
}

void PathRunner::run_group(size_t group, int64_t layer, int64_t batch_rows, at::Tensor& out,
                           const std::function<void(int64_t)>& done) {
  const PromptGroup& g = groups_[group];
  const Base& b = base(group);
  const int64_t prompts = g.clean.size(0);
  std::vector<int64_t> senders;
  for (int64_t h = 0; h < heads(layer); ++h) senders.push_back(h);
  if (b.mlp_out[static_cast<size_t>(layer)].defined()) senders.push_back(kMlp);
  std::erase_if(senders, [&](int64_t s) {
    return std::none_of(receivers_.begin(), receivers_.end(), [&](const Receiver& r) { return reaches(layer, s, r); });
  });
  at::Tensor columns = at::tensor(g.prompts, at::kLong);
  auto cell = [&](size_t receiver, int64_t sender) {
    return out.select(0, static_cast<int64_t>(receiver)).select(0, sender == kMlp ? most_heads_ : sender);
  };
  if (b.first >= g.length) {                           // clean and corrupted are the same
    for (size_t r = 0; r < receivers_.size(); ++r)
      for (int64_t s : senders)
        if (reaches(layer, s, receivers_[r])) cell(r, s).index_copy_(0, columns, b.metric.to(at::kCPU, at::kDouble));
    senders.clear();
  }
  if (senders.empty()) return;

  HookPlan plan;
  plan.form = input_.form;
  plan.logits = false;
  if (heads(layer)) plan.capture(block_point(layer, "attn.hook_z"));
  if (b.mlp_out[static_cast<size_t>(layer)].defined()) plan.capture(block_point(layer, "hook_mlp_out"));
  ForwardResult corrupted = input_.model.forward(g.corrupted, plan);
  auto value = [&](const char* point) {
    std::string name = block_point(layer, point);
    return corrupted.cache.has(name) ? corrupted.cache.get(name) : at::Tensor();
  };
  at::Tensor z = value("attn.hook_z"), mlp = value("hook_mlp_out");

  const int64_t step = std::max<int64_t>(1, batch_rows * g.length / (prompts * (g.length - b.first)));
  for (size_t from = 0; from < senders.size(); from += static_cast<size_t>(step)) {
    std::vector<int64_t> some(senders.begin() + static_cast<int64_t>(from),
                              senders.begin() + std::min<int64_t>(static_cast<int64_t>(from) + step, static_cast<int64_t>(senders.size())));
    at::Tensor logits;
    std::map<std::string, at::Tensor> read = send(group, layer, some, z, mlp, logits);
    for (size_t r = 0; r < receivers_.size(); ++r) {
      std::vector<int64_t> chosen;
      for (size_t s = 0; s < some.size(); ++s)
        if (reaches(layer, some[s], receivers_[r])) chosen.push_back(static_cast<int64_t>(s));
      if (chosen.empty()) continue;
      at::Tensor rows = (at::tensor(chosen, at::kLong).unsqueeze(1) * prompts + at::arange(prompts, at::kLong)).flatten();
      bool direct = receivers_[r].nodes[0].kind == NodeName::Kind::kLogits;
      at::Tensor said = direct ? logits.index_select(0, rows.to(logits.device())) : receive(group, layer, receivers_[r], read, rows);
      at::Tensor measured = measure(group, said, b.first);
      for (size_t c = 0; c < chosen.size(); ++c)
        cell(r, some[static_cast<size_t>(chosen[c])]).index_copy_(0, columns, measured.select(0, static_cast<int64_t>(c)));
    }
    done(static_cast<int64_t>(some.size()));
  }
}

at::Tensor PathRunner::run_layer(int64_t layer, int64_t batch_rows, Progress& progress) {
  at::Tensor out = at::full({static_cast<int64_t>(receivers_.size()), most_heads_ + 1, prompt_count_}, NAN, at::kDouble);
  const int64_t total = static_cast<int64_t>(groups_.size()) * (heads(layer) + 1);
  int64_t done = 0;
  progress.step(0, total, "layer " + std::to_string(layer));
  for (size_t g = 0; g < groups_.size(); ++g)
    run_group(g, layer, batch_rows, out, [&](int64_t senders) {
      done += senders;
      progress.step(done, total, "layer " + std::to_string(layer));
    });
  return out;
}

}  // namespace microtome::analyses
