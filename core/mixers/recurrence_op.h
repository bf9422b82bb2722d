// recurrence_op.h — a linear recurrence alone, on given tensors named as in the reference files (`microtome mixer`).
#pragma once

#include <string>

#include "core/mixers/recurrence.h"

namespace microtome::mixers {

struct RecurrenceOp {
  LinearRecurrence::Kind kind;
  std::string decay;                 // input name of the log decay, "" without one
  bool decay_by_channel = false;     // [batch, pos, head, d_k] instead of [batch, pos, head]
  bool decay_optional = false;
  bool steps = false;                // k, v, beta hold several writes a token; their number follows from the shapes
  std::string a = {}, b = {}, u = {};   // input names of RecurrenceInput's further parts, "" without them
};

// Inputs: q, k, v [batch, pos, head, *], the decay, beta [batch, pos, head] (delta kinds), a and b [batch, pos, head,
// d_k], u [head, d_k], initial_state [batch, head, d_k, d_v], z0 [batch, 1, head, d_k]; scalar "scale" (default d_k^-0.5).
// Results: o, final_state, z_final, and on request states and A; grouped states come back once a query head. Throws Error(kBadInput) naming the input and both
// shapes.
MixerOpResult run_recurrence_op(const RecurrenceOp& op, const MixerOpRequest& request);

// An input of the request; Error(kBadInput) when absent, of another rank, empty or not of a floating type.
const at::Tensor& op_input(const MixerOpRequest& request, const std::string& name, int64_t rank);

}  // namespace microtome::mixers
