// outcome.h — the numbers that a training run keeps of itself, and the result made of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/dictionary_training/plan.h"

namespace microtome::training {

// Columns of the rows that items hold. curve: group, step, tokens, loss, mse, l0, dead share, gradient norm.
constexpr int64_t kCurveColumns = 8, kPendingColumns = 5;
// evaluated, on held-out text: group, member, step, tokens, l0, fvu, cosine, bias, dead, dense, ce clean, spliced, zero-ablated,
// recovered, kl spliced, recovered, number of tokens.
constexpr int64_t kEvalColumns = 17;

NamedArray array_of(const std::string& name, const std::vector<std::vector<double>>& rows, int64_t columns);
std::vector<std::vector<double>> rows_of(const NamedArray& array);
std::string dictionary_prefix(size_t group, size_t member);   // "0.2."
// Sequences [1, pos] of one length put together, at most about `tokens` tokens a batch.
std::vector<at::Tensor> batched(const std::vector<at::Tensor>& sequences, int64_t tokens);

// whole: the last item holds the dictionaries, which become artifacts; else what is known so far.
AnalysisResult training_result(const Plan& plan, const std::vector<std::vector<NamedArray>>& items, bool whole);

}  // namespace microtome::training
