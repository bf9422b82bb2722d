// sinks.h — attention sinks of one layer, and patterns with their share changed (arXiv 2406.15765).
#pragma once

#include <ATen/core/Tensor.h>

namespace microtome::analyses {

struct SinkRule {
  bool first = true;                   // position 0 may be a sink
  double epsilon = 0.3;                // it is one where its mean mass over all queries is above this
  double multiple = 5;                 // another position: mean mass over later queries above this many times 1 / (q + 1)
  int64_t min_queries = 4;             // and at least so many later queries
};

struct Sinks {
  at::Tensor is_sink;                  // [batch, head, key] bool
  at::Tensor mass;                     // [batch, head]: mass on all of a head's sinks, mean over queries, float64
};
// pattern [batch, head, q_pos, k_pos] of a whole sequence; of recurrent layers (keys in steps of a token added up) the mass is
// that of absolute weights divided by their row's sum, as in analysis `attention`.
Sinks find_sinks(const at::Tensor& pattern, bool recurrent, const SinkRule& rule);

// The pattern with the columns of sinks times factor. renormalise: the rest of a row is scaled so that its sum stays; where
// the sinks alone would exceed the sum they get all of it, and a row that sees nothing but sinks stays as it is.
// is_sink [batch, head, key]; pattern's k_pos may be several entries a key.
at::Tensor calibrate(const at::Tensor& pattern, const at::Tensor& is_sink, double factor, bool renormalise);

}  // namespace microtome::analyses
