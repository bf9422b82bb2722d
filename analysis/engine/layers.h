// layers.h — what analyses that look at every layer and head share: names of points, a walk over the layers that holds
// one layer's tensors at a time, the read-out of a residual, and tables with one row a head.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/model/model.h"

namespace microtome::engine {

std::string block_point(int64_t layer, const std::string& point);  // (3, "attn.hook_z") → "blocks.3.attn.hook_z"
bool has_point(const Model& model, int64_t layer, const std::string& point);
int64_t layer_count(const Model& model);
int64_t most_heads(const Model& model);              // query heads of the widest layer
int64_t pattern_heads(const Model& model, int64_t layer);   // patterns that a layer has: its query heads, in MoM one a memory and head
int64_t most_pattern_heads(const Model& model);      // and of the widest layer
// A point of the part of a layer that has the state ("attn.hook_z"): where softmax attention lies beside it and has the
// plain name, "attn.hook_z.ssm".
std::string state_point(const Model& model, int64_t layer, const std::string& point);
int64_t state_readers(const Model& model, int64_t layer);   // query heads that read the layer's state
int64_t most_state_heads(const Model& model);        // of the recurrent layers; 0: there are none
std::string head_name(int64_t layer, int64_t head);  // "2.0"
// The parameter `heads`: "all" or "0,3" → a flag a head. Throws Error(kBadInput) naming the range.
std::vector<bool> chosen_heads(const std::string& text, int64_t heads);

struct WantedPoint {
  std::string name;                // relative to the block: "attn.hook_pattern"
  std::vector<int64_t> positions;  // empty: all
};
// Called after each run of a layer: the layer, the position of the run's first token, what was captured (full names).
using OnLayer = std::function<void(int64_t layer, int64_t first, const ActivationCache& cache)>;

// Runs tokens [batch, pos] layer by layer, so that never more than one layer's points are held. span > 0: softmax
// layers of longer prompts run that many queries at a time (keys and values kept between), so that no whole pattern is
// held either; recurrent layers always run whole. wanted may name only points that the layer has. Returns the last
// residual.
at::Tensor stream_layers(const Model& model, const at::Tensor& tokens, MixerForm form, int64_t span,
                         const std::function<std::vector<WantedPoint>(int64_t layer)>& wanted, const OnLayer& on_layer);

// One layer over a few tokens at a time, so that what is asked of it (states above all) is never held for all of them.
struct LayerSpan {
  int64_t first = 0, count = 0;
  bool looked_at = true;           // false: tokens before `begin`, which run in one go
};
// entry: the layer's hook_resid_pre [batch, pos, d_model]. Tokens from `begin` on run `step` at a time, the layer's state
// kept between. prepare adds captures and edits to a span's plan, on_span is given what they caught.
void walk_layer(const Model& model, int64_t layer, const at::Tensor& tokens, const at::Tensor& entry, MixerForm form,
                int64_t begin, int64_t step, const std::function<void(const LayerSpan&, HookPlan&)>& prepare,
                const std::function<void(const LayerSpan&, const ActivationCache&)>& on_span);

// Final norm and unembedding of residuals [n, d_model] → logits [n, vocab].
at::Tensor unembed(const Model& model, const at::Tensor& residual);
// The direct effect of residual contributions [n, d_model] on the logits, up to the positive scale of the final norm:
// centred where the norm centres, times its gain, times the unembedding; biases left out. → [n, vocab]
at::Tensor direct_logits(const Model& model, const at::Tensor& contribution);
// The final norm's gain [d_model]; undefined without one.
at::Tensor final_gain(const Model& model);
// Throws Error(kUnsupported) where the logits are no sum over what the layers write: a residual stream that is normalised
// between layers, a layer between the last residual and the unembedding. A soft cap of the logits is let through.
void require_linear_readout(const Model& model, const char* analysis);
// The final norm's divisor of residuals [n, d_model] → [n, 1].
at::Tensor final_scale(const Model& model, const at::Tensor& residual);
// Rows of logits that fit comfortably in memory at a time.
int64_t logit_rows(const Model& model);

// Where attention goes: the pattern itself for softmax layers; for recurrent ones absolute weights, each row divided by
// its sum (a row of zeros stays zeros). pattern [batch, head, q_pos, k_pos], or k_pos in steps of a token, which are
// added up.
at::Tensor attention_mass(const at::Tensor& pattern, bool recurrent, int64_t keys);
// mass[.., q, q - offset] for the queries q = first…: [batch, head, queries]; 0 where q < offset.
at::Tensor at_offset(const at::Tensor& mass, int64_t first, int64_t offset);

// NaN cells are put before (front) or behind what is there until the axis has `size` cells.
at::Tensor pad_nan(const at::Tensor& t, int64_t axis, int64_t size, bool front);

struct HeadScore {
  std::string name, unit, help;
  at::Tensor values;  // [layer, head], NaN where the head has none
};
// One row a head: layer, head, kind, then the scores.
Table head_table(const Model& model, std::string name, std::string title, const std::vector<HeadScore>& scores);
TensorMap head_map(const Model& model, std::string name, std::string title, const std::vector<HeadScore>& scores,
                   const std::vector<std::string>& diverging);
struct TopHead {
  int64_t layer = -1, head = -1;
  double value = 0;
};
std::vector<TopHead> top_heads(const at::Tensor& scores, size_t count);  // largest first, NaN left out
std::string short_number(double value);                                  // "0.94", "12", "1.2e-05"

}  // namespace microtome::engine
