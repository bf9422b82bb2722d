// outcome.h — from the metrics of all circuits of an evaluation to its result.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/circuit_eval/plan.h"

namespace microtome::analyses {

// The prompts drawn anew, a row of weights each: bootstrap resamples, random halves (two by two), each template alone.
struct Draws {
  at::Tensor weights;                                  // [draw, prompt]
  int64_t resamples = 0, halves = 0;
  std::vector<std::string> templates;                  // labels `template` of the prompts; empty with fewer than two
};
Draws draw_prompts(const AnalysisInput& input, int64_t resamples);

class EvalOutcome {
 public:
  EvalOutcome(const AnalysisInput& input, const circuit::Graph& graph, const std::string& metric, const EvalPlan& plan, const Draws& draws)
      : input_(input), graph_(graph), metric_(metric), plan_(plan), draws_(draws) {}
  // values [circuit, prompt]; drawn [draw, source, input] or undefined; reference may be undefined.
  AnalysisResult result(const at::Tensor& scores, const at::Tensor& drawn, const at::Tensor& values, const at::Tensor& reference, bool from_file,
                        double share, bool by_size);

 private:
  // Faithfulness of mean metrics [circuit, draw] → the same shape.
  at::Tensor faithfulness(const at::Tensor& means) const;
  void curve(AnalysisResult& out);
  void nodes(AnalysisResult& out);
  void stability(AnalysisResult& out, const at::Tensor& drawn);
  void against(AnalysisResult& out, const at::Tensor& scores, const at::Tensor& reference, bool by_size);
  SummaryItem with_interval(const std::string& name, double value, const at::Tensor& boot, const std::string& unit, const std::string& help) const;

  const AnalysisInput& input_;
  const circuit::Graph& graph_;
  const std::string& metric_;
  const EvalPlan& plan_;
  const Draws& draws_;
  at::Tensor mean_, boot_, f_, f_boot_;                // [circuit], [circuit, bootstrap]
  bool meaningful_ = true;
};

}  // namespace microtome::analyses
