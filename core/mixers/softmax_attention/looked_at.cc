#include "core/mixers/softmax_attention/looked_at.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <limits>

#include "core/hooks/index_tensor.h"
#include "core/mixers/softmax_attention/both.h"
#include "core/mixers/softmax_attention/statistics.h"

namespace microtome::mixers {
namespace {

// What numbers and targets are in.
at::ScalarType wide(const at::Tensor& q) { return q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

void tell(HookScope& hooks, const PatternStatistics& numbers) {
  hooks.apply("hook_pattern_statistics", numbers.numbers);
  if (numbers.at.defined()) hooks.apply("hook_pattern_at", numbers.at);
}

// The pattern is read at some of the queries only.
bool few_rows(const HookScope& hooks, const QueryRows& rows) {
  const auto positions = hooks.positions("hook_pattern");
  return positions && static_cast<int64_t>(positions->size()) < rows.count();
}

// A pattern that is only read is made beside the run, and only for the queries that are asked for.
void keep_pattern(HookScope& hooks, const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options, const QueryRows& rows,
                  int64_t dropped) {
  at::NoGradGuard no_grad;
  QueryRows some = rows;
  at::Tensor asking = q;
  if (const auto positions = hooks.positions("hook_pattern"); positions && !rows.read) {
    some.read = *positions;
    asking = q.index_select(1, index_tensor(*positions, q.device()));
  }
  at::Tensor pattern = pattern_only(asking, k, options, some, hooks.kept_type().value_or(wide(q)));
  hooks.keep("hook_pattern", dropped == 0 ? pattern : at::constant_pad_nd(pattern, {dropped, 0}));
}

}  // namespace

std::vector<HookPoint> pattern_points(int64_t heads, const std::string& pattern_note) {
  const std::vector<std::string> square = {"batch", "head", "q_pos", "k_pos"};
  return {{"hook_attn_scores", square, {-1, heads, -1, -1}, true, "after the mask, before softmax"},
          {"hook_pattern", square, {-1, heads, -1, -1}, true, pattern_note},
          {"hook_pattern_statistics", {"batch", "head", "q_pos", "statistic"}, {-1, heads, -1, std::ssize(kPatternNumbers)}, true,
           "lse, max, argmax, entropy, first, distance, mass of a row of the pattern, which is not held"},
          {"hook_pattern_targets", {"batch", "q_pos", "target"}, {-1, -1, kPatternTargets}, true,
           "positions that hook_pattern_at reads; set others here, below 0 is none"},
          {"hook_pattern_at", {"batch", "head", "q_pos", "target"}, {-1, heads, -1, kPatternTargets}, true,
           "the pattern at hook_pattern_targets; the pattern is not held"}};
}

at::Tensor attend_hooked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, HookScope& hooks, MixerForm form,
                         const AttentionOptions& options, const QueryRows& rows, int64_t first_pos) {
  // Hooks count k_pos from the start of the sequence: keys that a window dropped are there, unseen.
  const int64_t dropped = first_pos - rows.past;
  const bool changed = hooks.changes("hook_attn_scores") || hooks.changes("hook_pattern");
  const bool counted = hooks.wants("hook_pattern_statistics") || hooks.wants("hook_pattern_targets") || hooks.wants("hook_pattern_at");
  StatisticsAsked asked;
  asked.dropped = dropped;
  if (counted) {
    at::Tensor targets = hooks.apply("hook_pattern_targets", default_targets(rows, q.size(0), dropped, wide(q), q.device()));
    if (hooks.wants("hook_pattern_at")) asked.targets = targets.detach();
  }
  const bool whole_read = hooks.wants("hook_pattern") && !few_rows(hooks, rows);
  // On the CPU a whole pattern that is read anyway is also the quickest way to z.
  if (form != MixerForm::kNaive && !changed && !hooks.wants("hook_attn_scores") && (!whole_read || q.is_cuda())) {
    if (counted) tell(hooks, pattern_statistics(q, k, options, rows, asked));
    if (hooks.wants("hook_pattern")) keep_pattern(hooks, q, k, options, rows, dropped);
    return options.fused() ? attention_fused(q, k, v, options, rows) : attention_blocked(q, k, v, options, rows);
  }
  auto hooked = [&](const char* name, const at::Tensor& x, double unseen) {
    if (!hooks.wants(name)) return x;
    if (dropped == 0) return hooks.apply(name, x);
    return hooks.apply(name, at::constant_pad_nd(x, {dropped, 0}, unseen)).narrow(-1, dropped, x.size(-1));
  };
  if (hooks.wants("hook_attn_scores") && form != MixerForm::kNaive && !changed)
    if (Looked l = attention_looked_at(q, k, v, options, rows); l.z.defined()) {
      hooked("hook_attn_scores", l.scores, -std::numeric_limits<double>::infinity());
      hooked("hook_pattern", l.pattern, 0.0);
      if (counted) tell(hooks, statistics_of(l.pattern, l.scores, options, rows, asked));
      return l.z;
    }
  at::Tensor scores = hooked("hook_attn_scores", attention_scores(q, k, options, rows), -std::numeric_limits<double>::infinity());
  at::Tensor pattern = hooked("hook_pattern", attention_pattern(scores, options), 0.0);
  if (counted) tell(hooks, statistics_of(pattern, scores, options, rows, asked));
  return attention_mix(pattern, v).to(q.scalar_type());
}

}  // namespace microtome::mixers
