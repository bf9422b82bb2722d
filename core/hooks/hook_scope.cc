#include "core/hooks/hook_scope.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "core/base/status.h"
#include "core/cache/activation_cache.h"
#include "core/hooks/index_tensor.h"

namespace microtome {

struct HookRun::Action {
  const HookPoint* point = nullptr;
  bool capture = false, capture_all = false, gradient = false;
  std::vector<int64_t> capture_pos;                    // relative, ascending
  std::vector<const Intervention*> interventions;
  std::vector<const HookPlan::EditEntry*> edits;
  bool all_positions = false;                          // some use of the point wants every position
  std::set<int64_t> positions;                         // relative, over all uses
  std::map<int64_t, at::Tensor> taken;                 // by position, for states
  at::Tensor leaf;                                     // of position-wise points: a zero added on the path
  int64_t pos_axis = -1;
};

namespace {

int64_t absolute(int64_t p, int64_t total) { return p < 0 ? p + total : p; }

}  // namespace

HookRun::HookRun(const HookPlan& plan, const HookCatalogue& catalogue, int64_t first_pos, int64_t n_pos,
                 ActivationCache* out)
    : first_pos_(first_pos), n_pos_(n_pos), cache_(out), kept_type_(plan.kept_type) {
  if (cache_) cache_->keep_as(kept_type_);
  int64_t total = first_pos + n_pos;
  auto action = [&](const std::string& name) -> Action& {
    auto& slot = actions_[name];
    if (!slot) {
      slot = std::make_unique<Action>();
      slot->point = catalogue.find(name);
      const auto& axes = slot->point->axes;
      for (size_t a = 0; a < axes.size(); ++a)
        if (axes[a] == "pos" || axes[a] == "q_pos") slot->pos_axis = static_cast<int64_t>(a);
    }
    return *slot;
  };
  auto use_positions = [&](Action& a, const std::vector<int64_t>& given) {
    if (given.empty()) a.all_positions = true;
    for (int64_t p : given) {
      int64_t r = absolute(p, total) - first_pos;
      if (absolute(p, total) < 0 || absolute(p, total) >= total)
        throw Error(StatusCode::kBadInput, "position " + std::to_string(p) + " is outside a sequence of " +
                    std::to_string(total) + " tokens", a.point->name);
      if (r >= 0) a.positions.insert(r);
    }
  };
  for (const Capture& c : plan.captures()) {
    for (const std::string& name : catalogue.match(c.pattern)) {
      Action& a = action(name);
      use_positions(a, c.positions);
      a.capture = true;
      a.gradient = a.gradient || c.gradient;
      if (c.positions.empty()) a.capture_all = true;
      for (int64_t p : c.positions) {
        int64_t r = absolute(p, total) - first_pos;
        if (r >= 0) a.capture_pos.push_back(r);
      }
    }
  }
  for (const Intervention& i : plan.interventions()) {
    for (const std::string& name : catalogue.match(i.hook)) {
      Action& a = action(name);
      auto it = i.where.find("pos");
      use_positions(a, it == i.where.end() ? std::vector<int64_t>{} : it->second);
      a.interventions.push_back(&i);
    }
  }
  for (const auto& e : plan.edits()) {
    for (const std::string& name : catalogue.match(e.hook)) {
      Action& a = action(name);
      use_positions(a, e.positions);
      a.edits.push_back(&e);
    }
  }
  for (auto& [name, a] : actions_) {
    std::sort(a->capture_pos.begin(), a->capture_pos.end());
    a->capture_pos.erase(std::unique(a->capture_pos.begin(), a->capture_pos.end()), a->capture_pos.end());
    if (a->capture_all) a->capture_pos.clear();
  }
}

HookRun::~HookRun() = default;

HookRun::Action* HookRun::find(const std::string& full_name) {
  auto it = actions_.find(full_name);
  return it == actions_.end() ? nullptr : it->second.get();
}

int64_t HookRun::last_layer_wanted() const {
  int64_t last = -1;
  for (const auto& [name, _] : actions_) {
    if (name.rfind("blocks.", 0) == 0) last = std::max(last, static_cast<int64_t>(std::atoll(name.c_str() + 7)));
    else if (name.rfind("ln_final", 0) == 0 || name.rfind("unembed", 0) == 0) last = INT64_MAX;
  }
  return last;
}

void HookRun::finish() {
  for (auto& [name, a] : actions_) {
    if (a->taken.empty()) continue;
    std::vector<at::Tensor> values;
    std::vector<int64_t> positions;
    for (auto& [p, v] : a->taken) {
      values.push_back(v);
      positions.push_back(p + first_pos_);
    }
    CachedTensor about{a->point->axes, a->capture_all ? std::vector<int64_t>{} : positions, first_pos_};
    cache_->put(name, at::stack(values, 1), about);
    if (a->leaf.defined()) cache_->put(name + "@leaf", a->leaf, about);
    a->taken.clear();
  }
}

HookScope::HookScope(HookRun* run, std::string_view prefix) : run_(run), prefix_(prefix) {
  if (!run_ || run_->empty()) return;
  run_->visit_prefix(prefix_, [&](const std::string& name, HookRun::Action* a) {
    here_.emplace_back(name.substr(prefix_.empty() ? 0 : prefix_.size() + 1), a);
  });
}

void HookRun::visit_prefix(const std::string& prefix, const std::function<void(const std::string&, Action*)>& f) {
  if (prefix.empty()) {
    for (auto& [name, a] : actions_) f(name, a.get());
    return;
  }
  std::string start = prefix + ".";
  for (auto it = actions_.lower_bound(start); it != actions_.end() && it->first.rfind(start, 0) == 0; ++it)
    f(it->first, it->second.get());
}

HookRun::Action* HookScope::find(std::string_view point) const {
  for (const auto& [name, a] : here_)
    if (name == point) return a;
  return nullptr;
}

bool HookScope::wants(std::string_view point) const { return find(point) != nullptr; }

bool HookScope::changes(std::string_view point) const {
  HookRun::Action* a = find(point);
  return a && (a->gradient || !a->interventions.empty() || !a->edits.empty());
}

std::optional<std::vector<int64_t>> HookScope::positions(std::string_view point) const {
  HookRun::Action* a = find(point);
  if (!a) return std::vector<int64_t>{};
  if (a->all_positions) return std::nullopt;
  return std::vector<int64_t>(a->positions.begin(), a->positions.end());
}

at::Tensor HookScope::apply(std::string_view point, const at::Tensor& value) {
  HookRun::Action* a = find(point);
  if (!a) return value;
  const std::string& name = a->point->name;
  if (value.dim() != static_cast<int64_t>(a->point->axes.size()))
    throw Error(StatusCode::kInternal, "hook point has " + std::to_string(value.dim()) + " axes", name);
  at::Tensor v = value;
  int64_t first = run_->first_pos(), total = first + run_->n_pos();
  for (const Intervention* i : a->interventions) v = apply_intervention(*i, v, a->point->axes, first, total);
  for (const auto* e : a->edits) {
    v = e->f(v, first);
    if (v.sizes() != value.sizes())
      throw Error(StatusCode::kInternal, "an edit changed the shape from " + c10::str(value.sizes()) + " to " +
                  c10::str(v.sizes()), name);
  }
  // A point nothing before which needs a gradient becomes a leaf of its own.
  // Others become a tensor of their own, or the derivative would count what else reads the stream there.
  if (a->gradient) v = v.requires_grad() ? v.view_as(v) : v.detach().requires_grad_(true);
  if (a->capture) {
    at::Tensor kept = a->gradient ? v : v.detach();
    CachedTensor about{a->point->axes, {}, first};
    if (!a->capture_all && a->pos_axis >= 0) {
      at::Tensor index = index_tensor(a->capture_pos, v.device());
      kept = kept.index_select(a->pos_axis, index);
      for (int64_t p : a->capture_pos) about.positions.push_back(p + first);
    }
    run_->cache()->put(name, kept, about);
    if (a->gradient) run_->cache()->put(name + "@leaf", v, {a->point->axes, {}, first});
  }
  return v;
}

at::Tensor HookScope::apply_at(std::string_view point, int64_t pos, const at::Tensor& value) {
  HookRun::Action* a = find(point);
  if (!a || (!a->all_positions && !a->positions.count(pos))) return value;
  at::Tensor v = value.unsqueeze(1);
  int64_t first = run_->first_pos() + pos, total = run_->first_pos() + run_->n_pos();
  for (const Intervention* i : a->interventions) v = apply_intervention(*i, v, a->point->axes, first, total);
  for (const auto* e : a->edits) {
    bool here = e->positions.empty();
    for (int64_t p : e->positions) here = here || absolute(p, total) == first;
    if (here) v = e->f(v, first);
  }
  if (v.dim() != value.dim() + 1 || v.size(1) != 1)
    throw Error(StatusCode::kInternal, "an edit changed the shape of a state", a->point->name);
  v = v.squeeze(1);
  bool captured = a->capture && (a->capture_all ||
                                 std::binary_search(a->capture_pos.begin(), a->capture_pos.end(), pos));
  if (captured) {
    if (a->gradient) {
      // The stack of all positions is not on the path to the output, so the derivative is taken through a zero that is
      // added to each position.
      if (!a->leaf.defined()) {
        int64_t n = a->capture_all ? run_->n_pos() : static_cast<int64_t>(a->capture_pos.size());
        std::vector<int64_t> shape = v.sizes().vec();
        shape.insert(shape.begin() + 1, n);
        a->leaf = at::zeros(shape, v.options()).requires_grad_(true);
      }
      int64_t slot = a->capture_all ? pos : std::lower_bound(a->capture_pos.begin(), a->capture_pos.end(), pos) -
                                                a->capture_pos.begin();
      v = v + a->leaf.select(1, slot);
    }
    a->taken[pos] = v.detach();
  }
  return v;
}

void HookScope::keep(std::string_view point, const at::Tensor& value) {
  HookRun::Action* a = find(point);
  if (!a || !a->capture) return;
  CachedTensor about{a->point->axes, {}, run_->first_pos()};
  if (!a->capture_all)
    for (int64_t p : a->capture_pos) about.positions.push_back(p + run_->first_pos());
  const int64_t want = a->capture_all ? run_->n_pos() : static_cast<int64_t>(a->capture_pos.size());
  if (a->gradient || !a->edits.empty() || !a->interventions.empty() || value.size(a->pos_axis) != want)
    throw Error(StatusCode::kInternal, "what is changed, or too few positions of it, was kept together", a->point->name);
  run_->cache()->put(a->point->name, value.detach(), about);
}

void HookScope::note(std::string_view name, const at::Tensor& value, std::vector<std::string> axes) {
  if (!run_ || !run_->cache()) return;
  std::string full = prefix_.empty() ? std::string(name) : prefix_ + "." + std::string(name);
  run_->cache()->put(full, value.detach(), {std::move(axes), {}, run_->first_pos()});
}

}  // namespace microtome
