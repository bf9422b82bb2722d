// decoder_reading.h — what a dictionary's decoder says of its features without a corpus: logits and neighbours.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/base/progress.h"
#include "core/dictionary/dictionary.h"
#include "core/model/model.h"

namespace microtome::analyses {

// How what is written at a point reaches the residual stream: as it is, or through one matrix.
struct WayToResidual {
  std::string why_not;                 // one sentence where there is no linear way; then the rest is empty
  at::Tensor matrix;                   // [d_model, d_out]; undefined: as it is
};
// hook: where the dictionary's output stands. Points of the residual stream, sub-layer outputs, hook_z before a plain output
// matrix, hook_post.
WayToResidual way_to_residual(const Model& model, const std::string& hook, int64_t d_out);

struct TopLogits { at::Tensor top_id, top_value, bottom_id, bottom_value; };   // [features, count] on the CPU, strongest first
// The decoder's directions of the features named, through the way, the final norm's centring and gain, and the unembedding;
// the norm's divisor is left out, so values compare within a feature only up to that positive scale.
TopLogits top_logits(const Model& model, const Dictionary& dictionary, const WayToResidual& way, const std::vector<int64_t>& features, int64_t count, Progress& progress);

struct Nearest { at::Tensor feature, cosine; };                                 // [features, count] on the CPU, nearest first
// Cosine of each direction with those of all other features.
Nearest nearest_directions(const Dictionary& dictionary, const std::vector<int64_t>& features, int64_t count, Progress& progress);

}  // namespace microtome::analyses
