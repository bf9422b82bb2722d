// sources.h — what every source of a graph adds to the residual stream in one run: [row, source, pos, d_model]. Their sum,
// with the mixers' output biases, is the stream. Where a norm stands behind a mixer (Gemma 2, OLMo 2), a head's part is
// what the norm makes of its result with the scale of that run, so that the parts of a run still add up.
#pragma once

#include <ATen/core/Tensor.h>

#include "analysis/circuit/graph.h"

namespace microtome::circuit {

// Asks a plan for the points that hold the sources.
void capture_sources(const Graph& graph, HookPlan& plan);
// Of a run whose plan was asked. [row, source, pos, d_model]
at::Tensor captured_sources(const Graph& graph, const ActivationCache& cache);
// Takes those of a run from the ones of another, in place.
void subtract_sources(const Graph& graph, const ActivationCache& cache, at::Tensor& from);

// One writer's part of the stream, from its point's value: heads [row, pos, head, d_model] → [row, head, pos, d_model];
// others [row, pos, d_model] → [row, 1, pos, d_model]. post_scale: the value of post_scale_hook, where there is one.
at::Tensor contribution(const Graph& graph, const Writers& writer, const at::Tensor& value, const at::Tensor& post_scale);
// "blocks.1.ln1_post.hook_scale" where a writer's heads pass a norm; empty where they do not.
std::string post_scale_hook(const Graph& graph, const Writers& writer);

}  // namespace microtome::circuit
