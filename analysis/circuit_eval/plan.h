// plan.h — which circuits an evaluation runs, and what comes of their metrics. Pure functions.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "analysis/circuit/graph.h"

namespace microtome::analyses {

// MIB's sizes (arXiv 2504.13151), in % of all edges.
const std::vector<double>& edge_shares();

// Area under faithfulness (CPR) and under its distance from 1 (CMD) over the share of edges as a fraction, trapezoid.
double area_under(const std::vector<double>& shares, const std::vector<double>& faithfulness);
double area_from_one(const std::vector<double>& shares, const std::vector<double>& faithfulness);

// All circuits of one evaluation, one after the other.
struct EvalPlan {
  at::Tensor circuits;                                 // [circuit, source, input] bool
  int64_t whole = 0, empty = 1, sizes = 2;             // indices: the sizes' circuits follow one another
  int64_t chosen = 0;                                  // the circuit of the chosen size
  std::vector<int64_t> without;                        // indices of circuits without one node
  std::vector<int64_t> nodes;                          // and which source that is
  std::vector<std::pair<int64_t, int64_t>> subsets;    // C without K, whole model without K
  std::vector<int64_t> resampled;                      // the circuits chosen from resamples
};

// scores [source, input]; given: the circuit of a file as it is, undefined: the best `share` % without dead ends.
// resampled [resample, source, input] scores, may be undefined.
EvalPlan plan_evaluation(const circuit::Graph& graph, const at::Tensor& scores, const at::Tensor& given, double share, bool by_size,
                         const at::Tensor& resampled, int64_t subsets, uint64_t seed);

}  // namespace microtome::analyses
