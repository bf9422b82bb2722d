#include "analysis/engine/pattern_numbers.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/mixers/softmax_attention/statistics.h"

namespace microtome::engine {
namespace {

const char* const kNumbers = "attn.hook_pattern_statistics";
const char* const kAt = "attn.hook_pattern_at";
const char* const kTargets = "attn.hook_pattern_targets";

}  // namespace

bool has_pattern_numbers(const Model& model, int64_t layer) { return has_point(model, layer, kNumbers) && has_point(model, layer, kAt); }

void ask_offsets(HookPlan& plan, int64_t layer, const std::vector<int64_t>& offsets) {
  if (static_cast<int64_t>(offsets.size()) > mixers::kPatternTargets)
    throw Error(StatusCode::kInternal, std::to_string(offsets.size()) + " offsets are more than a run reads", block_point(layer, kAt));
  plan.capture(block_point(layer, kAt));
  plan.edit(block_point(layer, kTargets), [offsets](const at::Tensor& targets, int64_t first) {
    at::Tensor query = at::arange(first, first + targets.size(1), targets.options());
    std::vector<at::Tensor> columns;
    for (int64_t offset : offsets) columns.push_back(query - offset);
    while (static_cast<int64_t>(columns.size()) < targets.size(2)) columns.push_back(at::full_like(query, -1));
    return at::stack(columns, -1).clamp_min(-1).expand_as(targets);
  });
}

at::Tensor at_place(const ActivationCache& cache, int64_t layer, int64_t place) {
  return cache.get(block_point(layer, kAt)).select(3, place);
}

at::Tensor pattern_number(const ActivationCache& cache, int64_t layer, const char* name) {
  const auto& all = mixers::kPatternNumbers;
  const auto found = std::find(all.begin(), all.end(), std::string_view(name));
  if (found == all.end()) throw Error(StatusCode::kInternal, std::string("a pattern has no number '") + name + "'");
  return cache.get(block_point(layer, kNumbers)).select(3, found - all.begin());
}

}  // namespace microtome::engine
