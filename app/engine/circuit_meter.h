// circuit_meter.h — what a circuit is worth, asked again and again: the Circuit panel's threshold slider and its knock-outs.
// Made once for a model, prompts and a metric; it keeps what the corrupted run wrote, so that each question costs one forward
// pass over the prompts. Without LibTorch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/artifact.h"
#include "core/base/progress.h"
#include "core/tasks/task.h"

namespace microtome::app {

class OpenModel;

struct CircuitMeterOptions {
  std::string metric = "auto";         // logit_diff, answer_logprob, kl, greater_than; auto: the task's own
  std::string outside = "corrupted";   // what edges outside the circuit carry: corrupted, zero, mean
  uint64_t seed = 0;                   // of the intervals
};

struct CircuitMeasure {
  double metric = 0;                   // mean over prompts
  double faithfulness = 0;             // (metric - empty) / (whole - empty)
  double low = 0, high = 0;            // 95 % bootstrap interval of faithfulness over prompts; NaN with one prompt
  int64_t edges = 0, nodes = 0;        // in the circuit, of those that the model has
};

// Used by one thread at a time; belongs into job bodies. Throws Error: kBadInput where prompts lack what the metric needs,
// where the circuit names a node that the model does not have; kUnsupported where the model's stream is no sum.
class CircuitMeter {
 public:
  virtual ~CircuitMeter() = default;
  virtual double whole() const = 0;    // the metric of the clean run, mean over prompts
  virtual double empty() const = 0;    // of the run whose every edge carries what is outside
  virtual const std::string& metric() const = 0;       // as resolved: "logit_diff"
  // Edges count as inside where the circuit names them with in_graph; edges it does not name are outside. knocked_out:
  // names of nodes all of whose edges are outside, whatever the circuit says. Several circuits run as one batch.
  virtual std::vector<CircuitMeasure> measure(const std::vector<const Circuit*>& circuits,
                                              const std::vector<std::string>& knocked_out, Progress& progress) = 0;
};

}  // namespace microtome::app
