// hook_plan.h — what a run should read, replace and differentiate. A plan is data until compiled against a model's
// catalogue; a block then asks "is this wanted?" and builds only that.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/hooks/hook_point.h"

namespace microtome {

enum class MixerForm { kAuto, kNaive, kChunk, kRecurrent };
const char* form_name(MixerForm form);
// "auto", "naive", "chunk", "recurrent"; throws Error(kBadInput) naming the four.
MixerForm parse_form(const std::string& name);

// What to read. positions: absolute token positions (negative: from the end of this run); empty: all.
// gradient: the captured tensor stays on the autograd graph and lies on the path to the output, so that
// at::autograd::grad(metric, tensor) is the derivative with respect to the point.
struct Capture {
  std::string pattern;
  std::vector<int64_t> positions;
  bool gradient = false;
};

// One change, as data; the JSON form is cli.md's intervention file.
struct Intervention {
  enum class Operation { kSet, kAdd, kScale, kProjectOut };
  std::string hook;
  std::map<std::string, std::vector<int64_t>> where;   // axis name → indices (negative: from the end); absent: all
  Operation operation = Operation::kSet;
  // The source: a number, or a tensor. A tensor with the point's own shape is read at the same places; any other must
  // broadcast to the selected region.
  double value = 0;
  at::Tensor tensor;
  std::string source_text;                             // canonical JSON of the source, for run keys
};

// A change in code, for analyses. value covers this run's tokens; first_pos is the absolute position of its first one.
// For recurrent states (hook_state, hook_state_write) it is called once a position with pos axis of length 1.
using Edit = std::function<at::Tensor(const at::Tensor& value, int64_t first_pos)>;

class HookPlan {
 public:
  HookPlan& capture(std::string pattern, std::vector<int64_t> positions = {}, bool gradient = false);
  HookPlan& intervene(Intervention i);
  // positions: absolute positions the edit touches (empty: all). Naming them keeps states elsewhere unmaterialised.
  HookPlan& edit(std::string hook, Edit f, std::vector<int64_t> positions = {});

  MixerForm form = MixerForm::kAuto;
  bool logits = true;                                  // false: stop after the last wanted point
  std::optional<std::vector<int64_t>> logit_positions; // absolute (negative: from the end); unset: all
  // Points that are wanted only up to this block: blocks from here on are not run (unset: all are).
  std::optional<int64_t> stop_before_layer;
  // Floating type in which captured values without gradients are kept; unset: as they are. A pattern that is only read is made in it.
  std::optional<at::ScalarType> kept_type;

  struct EditEntry { std::string hook; Edit f; std::vector<int64_t> positions; };
  const std::vector<Capture>& captures() const { return captures_; }
  const std::vector<Intervention>& interventions() const { return interventions_; }
  const std::vector<EditEntry>& edits() const { return edits_; }

 private:
  std::vector<Capture> captures_;
  std::vector<Intervention> interventions_;
  std::vector<EditEntry> edits_;
};

// Applies one intervention to a point's value. axes: the point's axis names; first_pos: absolute position of index 0 of a
// position axis; total_pos: length of the sequence (for negative positions). Throws Error(kBadInput) naming hook, axis
// and range. Differentiable.
at::Tensor apply_intervention(const Intervention& i, const at::Tensor& value, const std::vector<std::string>& axes,
                              int64_t first_pos, int64_t total_pos);

}  // namespace microtome
