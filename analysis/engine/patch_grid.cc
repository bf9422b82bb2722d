#include "analysis/engine/patch_grid.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace microtome::engine {

const std::vector<Site>& patch_sites() {
  using S = Site::Shape;
  static const std::vector<Site> sites = {
      {"resid_pre", "hook_resid_pre", S::kPos},   {"resid_mid", "hook_resid_mid", S::kPos},
      {"resid_post", "hook_resid_post", S::kPos}, {"attn_out", "hook_attn_out", S::kPos},
      {"mlp_out", "hook_mlp_out", S::kPos},       {"z", "attn.hook_z", S::kHead},
      {"q", "attn.hook_q", S::kHead},             {"k", "attn.hook_k", S::kHead},
      {"v", "attn.hook_v", S::kHead},             {"pattern", "attn.hook_pattern", S::kHead},
      {"result", "attn.hook_result", S::kHead},   {"state", "attn.hook_state", S::kState},
      {"state_write", "attn.hook_state_write", S::kState}, {"decay", "attn.hook_decay", S::kState},
      {"beta", "attn.hook_beta", S::kState}};
  return sites;
}

const Site& find_site(const std::string& name) {
  std::string known;
  for (const Site& s : patch_sites()) {
    if (s.name == name) return s;
    known += (known.empty() ? "" : ", ") + s.name;
  }
  throw Error(StatusCode::kBadInput, "there is no site '" + name + "'", "site", "use one of " + known);
}

struct PatchGrid::Base {
  std::vector<at::Tensor> residual;    // resid_pre of every layer, and the last resid_post: [prompts, length, d_model]
  at::Tensor last_logits, metric, losses;
};

namespace {

// hook_state and hook_state_write are asked one position at a time; decay and beta come whole.
bool position_wise(const Site& s) { return s.name == "state" || s.name == "state_write"; }

std::string point(const Site& s, int64_t layer) { return "blocks." + std::to_string(layer) + "." + s.hook; }

at::Tensor repeat_rows(const at::Tensor& t, int64_t copies) {
  std::vector<int64_t> times(static_cast<size_t>(t.dim()), 1);
  times[0] = copies;
  return t.repeat(times);
}

}  // namespace

PatchGrid::PatchGrid(const AnalysisInput& input, Options options, std::vector<GridGroup> groups, Replacement replacement)
    : input_(input), options_(std::move(options)), groups_(std::move(groups)), replacement_(std::move(replacement)),
      bases_(groups_.size()), sources_(groups_.size()) {
  // Where later tokens reach back, no position is out of a change's reach.
  if (!input_.model.config().causal())
    for (GridGroup& g : groups_) g.first_changed = 0;
  for (const GridGroup& g : groups_) {
    width_ = std::max(width_, g.prompts.length);
    prompt_count_ += static_cast<int64_t>(g.prompts.prompts.size());
  }
}

PatchGrid::~PatchGrid() = default;

void PatchGrid::split_groups(int64_t most_prompts) {
  const int64_t most = std::max<int64_t>(1, most_prompts);
  std::vector<GridGroup> out;
  bool any = false;
  for (GridGroup& g : groups_) {
    const int64_t count = static_cast<int64_t>(g.prompts.prompts.size());
    if (count <= most) {
      out.push_back(std::move(g));
      continue;
    }
    any = true;
    for (int64_t from = 0; from < count; from += most) {
      const int64_t n = std::min(most, count - from);
      GridGroup part;
      part.prompts = part_of(g.prompts, from, n);
      part.base_tokens = g.base_tokens.narrow(0, from, n);
      if (g.source_tokens.defined()) part.source_tokens = g.source_tokens.narrow(0, from, n);
      part.first_changed = g.first_changed;
      part.metric = std::make_unique<Metric>(g.metric->name(), input_, part.prompts);
      out.push_back(std::move(part));
    }
  }
  groups_ = std::move(out);
  if (!any) return;
  bases_.clear();
  bases_.resize(groups_.size());
  sources_.assign(groups_.size(), {});
}

bool PatchGrid::has_site(int64_t layer) const { return input_.model.catalogue().find(point(options_.site, layer)) != nullptr; }

void PatchGrid::require_site() const {
  std::string kinds;
  for (int64_t l = 0; l < static_cast<int64_t>(input_.model.config().layers.size()); ++l) {
    if (has_site(l)) return;
    const std::string& kind = input_.model.mixer_info(l).kind;
    if (kinds.find(kind) == std::string::npos) kinds += (kinds.empty() ? "" : ", ") + kind;
  }
  throw Error(StatusCode::kBadInput, "no layer of this model has the site '" + options_.site.name + "'",
              "its mixers are " + kinds, "`microtome inspect MODEL` lists the points it has");
}

int64_t PatchGrid::heads(int64_t layer) const {
  const HookPoint* p = input_.model.catalogue().find(point(options_.site, layer));
  if (!p) return 0;
  for (size_t a = 0; a < p->axes.size(); ++a)
    if (p->axes[a] == "head") return p->sizes[a];
  return 0;
}

bool PatchGrid::by_pos() const {
  switch (options_.site.shape) {
    case Site::Shape::kPos: return !options_.all_positions;
    case Site::Shape::kHead: return options_.by_position;
    default: return true;
  }
}

int64_t PatchGrid::max_heads() const {
  int64_t out = 0;
  for (int64_t l = 0; l < static_cast<int64_t>(input_.model.config().layers.size()); ++l) out = std::max(out, heads(l));
  return out;
}

const PatchGrid::Base& PatchGrid::base(size_t group) {
  if (bases_[group]) return *bases_[group];
  GridGroup& g = groups_[group];
  int64_t n = static_cast<int64_t>(input_.model.config().layers.size());
  HookPlan plan;
  plan.form = input_.form;
  plan.capture("blocks.*.hook_resid_pre").capture("blocks." + std::to_string(n - 1) + ".hook_resid_post");
  bool all = options_.loss || g.metric->needs_all_positions();
  if (!all) plan.logit_positions = std::vector<int64_t>{-1};
  ForwardResult r = input_.model.forward(g.base_tokens, plan);
  auto b = std::make_unique<Base>();
  for (int64_t l = 0; l < n; ++l) b->residual.push_back(r.cache.get("blocks." + std::to_string(l) + ".hook_resid_pre"));
  b->residual.push_back(r.cache.get("blocks." + std::to_string(n - 1) + ".hook_resid_post"));
  b->last_logits = r.logits.select(1, r.logits.size(1) - 1);
  if (all) b->losses = Metric::token_losses(r.logits, g.base_tokens, 0);
  if (g.metric->needs_reference()) {
    at::Tensor clean_last = b->last_logits;
    if (!g.base_tokens.equal(g.prompts.clean)) {
      HookPlan quiet;
      quiet.form = input_.form;
      quiet.logit_positions = std::vector<int64_t>{-1};
      at::Tensor y = input_.model.forward(g.prompts.clean, quiet).logits;
      clean_last = y.select(1, 0);
    }
    g.metric->set_reference(clean_last);
  }
  b->metric = g.metric->needs_all_positions() ? b->losses.mean(1) : g.metric->last(b->last_logits);
  bases_[group] = std::move(b);
  return *bases_[group];
}

at::Tensor PatchGrid::base_metric() {
  at::Tensor out = at::full({prompt_count_}, NAN, at::kDouble);
  for (size_t g = 0; g < groups_.size(); ++g)
    out.index_copy_(0, at::tensor(groups_[g].prompts.prompts, at::kLong), base(g).metric.to(at::kCPU, at::kDouble));
  return out;
}

at::Tensor PatchGrid::base_loss() {
  at::Tensor out = at::full({prompt_count_}, NAN, at::kDouble);
  for (size_t g = 0; g < groups_.size(); ++g)
    if (base(g).losses.defined())
      out.index_copy_(0, at::tensor(groups_[g].prompts.prompts, at::kLong), base(g).losses.mean(1).to(at::kCPU, at::kDouble));
  return out;
}

// What a run has at one layer needs the blocks up to it and no logits.
at::Tensor PatchGrid::value_in(const at::Tensor& tokens, int64_t layer) const {
  std::string name = point(options_.site, layer);
  HookPlan plan;
  plan.form = input_.form;
  plan.logits = false;
  plan.capture(name);
  return input_.model.forward(tokens, plan).cache.get(name);
}

at::Tensor PatchGrid::replacement(size_t group, int64_t layer) {
  const GridGroup& g = groups_[group];
  at::Tensor base_value = options_.need_base ? value_in(g.base_tokens, layer) : at::Tensor();
  if (replacement_) return replacement_(g, layer, base_value);
  // Residual-sized values of all layers come from one run; states and patterns are too large to keep.
  int64_t layers = static_cast<int64_t>(input_.model.config().layers.size());
  bool small = !position_wise(options_.site) && options_.site.name != "pattern" && options_.site.name != "result" &&
               layers * g.base_tokens.numel() * input_.model.config().d_model < (int64_t{1} << 28);
  if (!small) return value_in(g.source_tokens, layer);
  std::map<int64_t, at::Tensor>& kept = sources_[group];
  if (kept.empty()) {
    HookPlan plan;
    plan.form = input_.form;
    plan.logits = false;
    for (int64_t l = 0; l < layers; ++l)
      if (has_site(l)) plan.capture(point(options_.site, l));
    ForwardResult r = input_.model.forward(g.source_tokens, plan);
    for (int64_t l = 0; l < layers; ++l)
      if (has_site(l)) kept[l] = r.cache.get(point(options_.site, l));
  }
  return kept.at(layer);
}

std::vector<PatchGrid::Cell> PatchGrid::cells(size_t group, int64_t layer) const {
  const GridGroup& g = groups_[group];
  std::vector<Cell> out;
  for (int64_t p = by_pos() ? g.first_changed : -1; p < (by_pos() ? g.prompts.length : 0); ++p)
    for (int64_t h = by_head() ? 0 : -1; h < (by_head() ? heads(layer) : 0); ++h) out.push_back({p, h});
  return out;
}

// value: the replacement over the whole sequence, [prompts, pos, …] ([prompts, head, q, k] for patterns). The edit sees
// rows = cells × prompts, the prompt running fastest.
Edit PatchGrid::make_edit(const std::vector<Cell>& cells, const at::Tensor& value, int64_t prompts, bool pattern) const {
  bool stepwise = position_wise(options_.site);
  return [=](const at::Tensor& v, int64_t first) {
    at::Tensor out = v.clone(at::MemoryFormat::Contiguous);
    for (size_t c = 0; c < cells.size(); ++c) {
      at::Tensor rows = out.narrow(0, static_cast<int64_t>(c) * prompts, prompts);
      auto [pos, head] = cells[c];
      if (stepwise && pos != first) continue;
      at::Tensor from = value, to = rows;
      if (pattern) {
        from = from.select(1, head);
        to = to.select(1, head);
        if (pos >= 0) to.select(1, pos - first).copy_(from.select(1, pos));
        else to.copy_(from.slice(1, first, first + to.size(1)));
        continue;
      }
      if (pos >= 0) {
        from = from.select(1, pos);
        to = to.select(1, stepwise ? 0 : pos - first);
      } else {
        from = from.slice(1, first, first + to.size(1));
      }
      int64_t head_axis = pos >= 0 ? 1 : 2;
      if (head >= 0) {
        from = from.select(head_axis, head);
        to = to.select(head_axis, head);
      }
      to.copy_(from);
    }
    return out;
  };
}

std::map<std::string, at::Tensor> PatchGrid::measure(size_t group, const at::Tensor& logits, int64_t copies, int64_t first) {
  const GridGroup& g = groups_[group];
  const Base& b = base(group);
  std::map<std::string, at::Tensor> out;
  at::Tensor last = logits.select(1, logits.size(1) - 1);
  at::Tensor loss;
  if (options_.loss || g.metric->needs_all_positions()) {
    // Positions before the change keep the base's losses.
    at::Tensor fresh = Metric::token_losses(logits, repeat_rows(g.base_tokens, copies), first);
    at::Tensor old = repeat_rows(b.losses.slice(1, 0, first), copies);
    loss = at::cat({old, fresh}, 1).mean(1);
  }
  out["value"] = g.metric->needs_all_positions() ? loss : g.metric->last(last);
  if (options_.loss) out["loss"] = loss;
  if (options_.kl) out["kl"] = kl_divergence(repeat_rows(b.last_logits, copies), last);
  for (auto& [name, t] : out) t = t.to(at::kCPU, at::kDouble).view({copies, -1});
  return out;
}

std::map<std::string, at::Tensor> PatchGrid::empty_result() const {
  std::vector<int64_t> shape;
  if (by_pos()) shape.push_back(width_);
  if (by_head()) shape.push_back(max_heads());
  shape.push_back(prompt_count_);
  std::map<std::string, at::Tensor> out;
  out["value"] = at::full(shape, NAN, at::kDouble);
  if (options_.kl) out["kl"] = at::full(shape, NAN, at::kDouble);
  if (options_.loss) out["loss"] = at::full(shape, NAN, at::kDouble);
  return out;
}

void PatchGrid::write(std::map<std::string, at::Tensor>& out, size_t group, const std::vector<Cell>& cells,
                      const std::map<std::string, at::Tensor>& values) const {
  const PromptGroup& g = groups_[group].prompts;
  at::Tensor columns = at::tensor(g.prompts, at::kLong);
  for (auto& [name, target] : out) {
    const at::Tensor& v = values.at(name);
    for (size_t c = 0; c < cells.size(); ++c) {
      at::Tensor place = target;
      if (cells[c].pos >= 0) place = place.select(0, cells[c].pos + width_ - g.length);
      if (cells[c].head >= 0) place = place.select(0, cells[c].head);
      place.index_copy_(0, columns, v.select(0, static_cast<int64_t>(c)));
    }
  }
}

PatchGrid::Cells PatchGrid::run_layer(int64_t layer, int64_t batch_rows, Progress& progress,
                                      const std::function<void(const Cells& so_far)>& on_batch) {
  std::map<std::string, at::Tensor> out = empty_result();
  if (!has_site(layer)) return out;
  split_groups(batch_rows);
  const Site& site = options_.site;
  bool pattern = site.name == "pattern";
  // Changes of the residual stream itself need no hook: the run starts behind them.
  bool direct = site.name == "resid_pre" || site.name == "resid_post";
  int64_t start_layer = site.name == "resid_post" ? layer + 1 : layer;
  int64_t total = 0, done = 0;
  for (size_t g = 0; g < groups_.size(); ++g) total += static_cast<int64_t>(cells(g, layer).size());

  for (size_t g = 0; g < groups_.size(); ++g) {
    const GridGroup& group = groups_[g];
    const Base& b = base(g);
    int64_t prompts = group.base_tokens.size(0), length = group.prompts.length;
    std::vector<Cell> todo = cells(g, layer);
    // Cells before the first difference replace a value by itself.
    std::vector<Cell> same;
    for (int64_t p = 0; by_pos() && p < std::min(group.first_changed, length); ++p)
      for (int64_t h = by_head() ? 0 : -1; h < (by_head() ? heads(layer) : 0); ++h)
        same.push_back({p, h});
    if (!by_pos() && group.first_changed >= length) std::swap(same, todo);
    if (!same.empty()) {
      std::map<std::string, at::Tensor> values;
      int64_t n = static_cast<int64_t>(same.size());
      auto spread = [&](const at::Tensor& t) { return t.to(at::kCPU, at::kDouble).unsqueeze(0).expand({n, prompts}); };
      values["value"] = spread(b.metric);
      if (options_.kl) values["kl"] = at::zeros({n, prompts}, at::kDouble);
      if (options_.loss) values["loss"] = spread(b.losses.mean(1));
      write(out, g, same, values);
    }
    if (todo.empty()) continue;
    at::Tensor value = replacement(g, layer);
    // A linear pattern covers only the positions of the run it is asked in; in both directions there is no prefix.
    bool from_zero = (pattern && input_.model.mixer_info(layer).recurrent) || !input_.model.config().causal();

    RunState prefix;
    prefix.length = length;
    size_t next = 0;
    while (next < todo.size()) {
      int64_t start = from_zero ? 0 : by_pos() ? todo[next].pos : group.first_changed;
      int64_t tokens = length - start;
      int64_t copies = std::clamp<int64_t>(batch_rows * width_ / (prompts * tokens), 1, static_cast<int64_t>(todo.size() - next));
      if (by_pos()) {
        // All cells of a batch start at its first position, so a wide batch computes what a later start would not; a
        // narrow one leaves the device idle. An eighth of the sequence, but no fewer tokens than keep it busy.
        int64_t a_position = by_head() ? heads(layer) : 1;
        int64_t busy = (input_.model.device().is_cpu() ? 1024 : 6144) / (prompts * tokens) + 1;
        copies = std::min(copies, std::max(a_position * std::max<int64_t>(1, width_ / 8), busy));
      }
      std::vector<Cell> chunk(todo.begin() + static_cast<int64_t>(next), todo.begin() + static_cast<int64_t>(next) + copies);
      next += chunk.size();
      if (start > prefix.position) {
        HookPlan quiet;
        quiet.form = input_.form;
        quiet.logits = false;
        prefix.first_layer = start_layer;
        prefix.residual = b.residual[static_cast<size_t>(start_layer)].slice(1, prefix.position, start);
        input_.model.forward(group.base_tokens.slice(1, prefix.position, start), quiet, &prefix);
      }
      RunState state = prefix.select_batch(at::arange(prompts, at::kLong).repeat({copies}));
      state.keep = false;
      state.first_layer = start_layer;
      at::Tensor residual = repeat_rows(b.residual[static_cast<size_t>(start_layer)].slice(1, start), copies);
      HookPlan plan;
      plan.form = input_.form;
      if (direct) {
        residual = make_edit(chunk, value, prompts, false)(residual, start);
      } else {
        std::vector<int64_t> positions;
        if (by_pos())
          for (const Cell& c : chunk) positions.push_back(c.pos);
        plan.edit(point(site, layer), make_edit(chunk, value, prompts, pattern), positions);
      }
      state.residual = residual;
      if (!options_.loss && !group.metric->needs_all_positions()) plan.logit_positions = std::vector<int64_t>{-1};
      at::Tensor logits = input_.model.forward(repeat_rows(group.base_tokens.slice(1, start), copies), plan, &state).logits;
      write(out, g, chunk, measure(g, logits, copies, start));
      if (on_batch) on_batch(out);
      done += copies;
      progress.step(done, total, "layer " + std::to_string(layer));
    }
  }
  return out;
}

at::Tensor PatchGrid::whole_run(size_t group, int64_t layer, const Cell& cell, const at::Tensor& value, bool last_only) const {
  HookPlan plan;
  plan.form = input_.form;
  if (last_only) plan.logit_positions = std::vector<int64_t>{-1};
  std::vector<int64_t> positions;
  if (cell.pos >= 0) positions.push_back(cell.pos);
  const at::Tensor& tokens = groups_[group].base_tokens;
  plan.edit(point(options_.site, layer), make_edit({cell}, value, tokens.size(0), options_.site.name == "pattern"), positions);
  return input_.model.forward(tokens, plan).logits;
}

std::map<std::string, at::Tensor> PatchGrid::run_layer_reference(int64_t layer, Progress& progress) {
  std::map<std::string, at::Tensor> out = empty_result();
  if (!has_site(layer)) return out;
  for (size_t g = 0; g < groups_.size(); ++g) {
    base(g);
    at::Tensor value = replacement(g, layer);
    std::vector<Cell> todo = cells(g, layer);
    for (size_t c = 0; c < todo.size(); ++c) {
      write(out, g, {todo[c]}, measure(g, whole_run(g, layer, todo[c], value, false), 1, 0));
      progress.step(static_cast<int64_t>(c) + 1, static_cast<int64_t>(todo.size()));
    }
  }
  return out;
}

at::Tensor PatchGrid::cell_logits(size_t group, int64_t layer, int64_t pos, int64_t head) {
  int64_t layers = static_cast<int64_t>(input_.model.config().layers.size());
  auto outside = [](int64_t index, bool has_axis, int64_t size) { return has_axis ? index < 0 || index >= size : index != -1; };
  if (layer < 0 || layer >= layers || !has_site(layer) || outside(pos, by_pos(), groups_.at(group).prompts.length) ||
      outside(head, by_head(), heads(layer)))
    throw Error(StatusCode::kBadInput, "the grid of site '" + options_.site.name + "' has no cell at layer " + std::to_string(layer) +
                ", position " + std::to_string(pos) + ", head " + std::to_string(head), "patching", "choose a cell that has a value");
  return whole_run(group, layer, {pos, head}, replacement(group, layer), true).select(1, 0);
}

}  // namespace microtome::engine
