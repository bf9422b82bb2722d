// hook_scope.h — a compiled plan during one run: HookRun holds it, HookScope is the view below one prefix
// ("blocks.3.attn") that a mixer or block asks.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/hooks/hook_plan.h"

namespace microtome {

class ActivationCache;

// One run's compiled plan. A point captured with gradient is kept twice: NAME holds its value, NAME@leaf the tensor on the
// path to the output whose gradient is the point's.
// Not thread-safe; lives for one forward().
class HookRun {
 public:
  // first_pos: absolute position of this run's first token; n_pos: how many tokens it has.
  // Throws Error(kNotFound) for a pattern that selects nothing.
  HookRun(const HookPlan& plan, const HookCatalogue& catalogue, int64_t first_pos, int64_t n_pos, ActivationCache* out);
  ~HookRun();
  HookRun(const HookRun&) = delete;

  struct Action;                                       // what to do at one point
  Action* find(const std::string& full_name);
  bool empty() const { return actions_.empty(); }
  // The last block with anything wanted; -1: none (points outside blocks do not count).
  int64_t last_layer_wanted() const;
  int64_t first_pos() const { return first_pos_; }
  int64_t n_pos() const { return n_pos_; }
  ActivationCache* cache() const { return cache_; }
  std::optional<at::ScalarType> kept_type() const { return kept_type_; }
  // Calls f(full name, action) for every action below the prefix.
  void visit_prefix(const std::string& prefix, const std::function<void(const std::string&, Action*)>& f);
  // Stacks the states that were taken position by position and hands everything to the cache. Call once, at the end.
  void finish();

 private:
  std::map<std::string, std::unique_ptr<Action>, std::less<>> actions_;
  int64_t first_pos_, n_pos_;
  ActivationCache* cache_;
  std::optional<at::ScalarType> kept_type_;
};

// Points below one prefix. Cheap; built anew by each block in each run. Names are relative: "hook_z".
class HookScope {
 public:
  HookScope() = default;                               // wants nothing
  HookScope(HookRun* run, std::string_view prefix);

  bool any() const { return !here_.empty(); }
  // Captured, edited or differentiated.
  bool wants(std::string_view point) const;
  // Edited or differentiated: the value returned by apply() must be what the run goes on with. A point that is only
  // captured may be computed on the side.
  bool changes(std::string_view point) const;
  // Positions wanted at a point, relative to this run's first token, ascending; nullopt: all of them.
  std::optional<std::vector<int64_t>> positions(std::string_view point) const;

  // Captures and edits; returns what to go on with. value has the point's catalogue axes.
  at::Tensor apply(std::string_view point, const at::Tensor& value);
  // The same for one position of a recurrent state: value lacks the pos axis ([batch, head, d_k, d_v]); pos is relative.
  at::Tensor apply_at(std::string_view point, int64_t pos, const at::Tensor& value);
  // The same for many positions at once, of a point that nothing changes: value [batch, n, …], one a position that positions()
  // names, in order. Ignored where the point is not captured.
  void keep(std::string_view point, const at::Tensor& value);
  // A number beside the points (e.g. "hook_pattern_residual" [batch, head]); kept under the full name, never edited.
  void note(std::string_view name, const at::Tensor& value, std::vector<std::string> axes);
  // A different prefix of the same run.
  HookScope sibling(std::string_view prefix) const { return HookScope(run_, prefix); }
  int64_t first_pos() const { return run_ ? run_->first_pos() : 0; }
  // HookPlan::kept_type.
  std::optional<at::ScalarType> kept_type() const { return run_ ? run_->kept_type() : std::nullopt; }

 private:
  HookRun::Action* find(std::string_view point) const;
  HookRun* run_ = nullptr;
  std::string prefix_;
  std::vector<std::pair<std::string, HookRun::Action*>> here_;
};

}  // namespace microtome
