// attribution.h — edge attribution: how much each edge is worth by the gradient (EAP, arXiv 2310.10348), the gradient
// averaged between corrupted and clean (EAP-IG, arXiv 2403.17806).
//
//   score(s -> d) = sum over positions and width of (z_s corrupted - z_s clean) · mean of d metric / d x_d
//
// x_d: what the input reads, before the layer's norm; the metric is not negated, so an edge that the answer needs scores
// below 0. Memory: tokens × (sources + inputs) × d_model, never edges × tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "analysis/circuit/graph.h"
#include "analysis/engine/metric.h"

namespace microtome::circuit {

struct Attribution {
  enum class Gradient {
    kClean,                            // EAP: of the clean run
    kInputs,                           // EAP-IG: at points between the corrupted and the clean embeddings
    kActivations,                      // at points between the two, at one node's output after the other
    kBothEnds,                         // the mean of the clean and of the corrupted run
  };
  Gradient gradient = Gradient::kClean;
  int64_t steps = 5;
  bool from_zero = true;               // kInputs: points k/steps with k = 0 … steps-1 (the public code); else 1 … steps (the paper)
  bool neurons = false;                // also the MLPs' neurons
  bool positions = false;              // also edges × positions
};

// Of one group of prompts of one length.
struct GroupScores {
  at::Tensor edges;                    // [prompt, source, input]
  at::Tensor by_position;              // [source, input, pos], sum over prompts; undefined unless asked
  at::Tensor neurons;                  // [prompt, layer, neuron]; undefined unless asked
  at::Tensor clean, corrupted;         // the metric [prompt], float64
  at::Tensor steps;                    // kInputs: the metric at every point [prompt, step]
  std::vector<at::Tensor> state_edges; // recurrent layers' [head, q_pos, k_pos], sum over prompts, in order of layers; one token a key
};

// The metric reads the last position. on_part is called between parts (progress, cancel) with the share done.
GroupScores attribute_edges(const Graph& graph, const engine::PromptGroup& group, const engine::Metric& metric,
                            const Attribution& how, MixerForm form, bool state_edges,
                            const std::function<void(double share)>& on_part);
// The same for any number of prompts: in parts of at most `rows` (0: any) that fit the memory a part may take, each prompt's own
// numbers one after the other, sums added up. `metric` is a name of engine::Metric.
GroupScores attribute_prompts(const Graph& graph, const AnalysisInput& input, const engine::PromptGroup& group, const std::string& metric,
                              const Attribution& how, bool state_edges, int64_t rows, const std::function<void(double share)>& on_part);
// Prompts of a length whose attribution fits that memory.
int64_t attribution_rows(const Graph& graph, int64_t length, const Attribution& how);
// Prompts of an item of an analysis that attributes: what is stored together must not depend on batches or the device.
constexpr int64_t kPromptsAnItem = 128;

}  // namespace microtome::circuit
