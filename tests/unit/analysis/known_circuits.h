// known_circuits.h — small models compiled by hand, whose circuit for a task is known by construction, beside heads that do
// something else: what circuit discovery is measured against.
//
//   induction   two softmax layers: a previous-token head, an induction head that reads its output as keys
//   descent     linear attention that does one step of gradient descent on in-context regression (arXiv 2212.07677)
//   memory      a previous-token head that hands keys to a delta-rule head, which is a key-value memory
//
// Other heads have random weights; what they write is read by the unembedding a little (kNoise), by nothing else.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "analysis/analysis.h"
#include "core/model/loaded_model.h"

namespace microtome::testing {

struct KnownCircuit {
  std::string name;
  std::unique_ptr<Model> model;
  Dataset data;
  std::set<std::string> edges;         // "input->a0.h0<v>"
  std::set<std::string> heads;         // "a0.h0"
};

constexpr double kNoise = 0.02;

// sharpness: of both heads' scores; at 15 the softmaxes are saturated, so that a gradient at one point sees little.
KnownCircuit known_induction(const std::string& name, double sharpness);
KnownCircuit known_descent();
KnownCircuit known_memory();

}  // namespace microtome::testing
