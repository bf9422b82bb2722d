// recurrence.h — what the linear mixers share: a matrix state that decays and is written once a token,
//
//   S' = exp(g_t) ∘ S_{t-1};   S_t = S' + k_t w_t^T;   z_t = scale S_t^T q_t
//
// with w_t = v_t (linear attention, RetNet, GLA) or w_t = beta_t (v_t - S'^T k_t) (delta rules), and optionally a
// running normaliser n_t = n_{t-1} + k_t that divides the read-out: z_t = scale S_t^T q_t / (scale n_t . q_t + 1e-10).
//
// A mixer folder gives the two forms of its own recurrence over a span of tokens (naive.cc: the definition; chunk.cc);
// the driver below cuts a run into spans at the tokens whose state somebody wants to see or change, so that the states
// of all other tokens are never made, and derives the attention matrix that the recurrence amounts to.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/hooks/hook_scope.h"
#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

// Some kinds have more than that: several writes a token (steps), a transition that is diagonal plus low rank (a, b), a
// read-out before the write with a bonus for the token's own key (u). They say so in Kind. A skip is nothing the forms
// know of: the driver adds it to z and to the pattern's diagonal.
//
// Tokens of one span. Query head h reads state head h / (heads of q / state heads).
struct RecurrenceInput {
  at::Tensor q, k;           // [batch, pos, head, d_k]; k, v and beta have pos * steps entries
  at::Tensor v;              // [batch, pos, state head, d_v]
  at::Tensor g;              // log decay [batch, pos, state head, d_k or 1]; undefined: none
  at::Tensor beta;           // write strength [batch, pos, state head]; undefined: none
  double scale = 1;
  at::Tensor a, b;           // [batch, pos, state head, d_k]: what of the state is answered, and where that is written
  at::Tensor u;              // [state head, d_k]
  int64_t steps = 1;         // writes a token; the entry of token t, step j is t * steps + j
  at::Tensor skip;           // [state head]: z_t also gets skip v_t, past the state; undefined: nothing. Needs steps 1
  bool narrow_z = false;     // z may come back in q's type, for callers that round it to that anyway

  int64_t positions() const { return q.size(1); }
  RecurrenceInput slice(int64_t from, int64_t to) const;
};

struct RecurrentState {
  at::Tensor S;              // [batch, state head, d_k, d_v]
  at::Tensor z;              // the normaliser [batch, state head, d_k]; undefined: not normalised
};

// Runs a span: state is read and replaced; returns z [batch, pos, head, d_v], or nothing unless read_out.
// Differentiable. Every head count of the input but q's equals the state's.
using SpanForm = at::Tensor (*)(const RecurrenceInput& in, RecurrentState& state, bool read_out);
// What token t adds to the decayed state: [batch, state head, d_k, d_v]. before: the state as the last token left it.
using TokenWrite = at::Tensor (*)(const RecurrenceInput& in, int64_t t, const at::Tensor& before,
                                  const at::Tensor& decayed);

// exp(g_t) of one token, ready to multiply S: [batch, head, d_k or 1, 1].
at::Tensor decay_at(const RecurrenceInput& in, int64_t t);
// k v^T by head: [batch, head, d_k, d_v].
at::Tensor outer_product(const at::Tensor& k, const at::Tensor& v);
// S^T x by head; x [batch, head of q or state, d_k] → [batch, head, d_v].
at::Tensor read_state(const at::Tensor& S, const at::Tensor& x);

// (u . q_t k_t) v_t: what a read-out before the write still sees of its own token; [batch, head of q, d_v].
at::Tensor own_token(const RecurrenceInput& in, int64_t t);

constexpr double kNormalizerEps = 1e-10;

class LinearRecurrence {
 public:
  struct Kind {
    const char* name;
    SpanForm naive, chunk;
    bool delta = false;       // the write subtracts what the state already answers to k
    bool normalized = false;  // keeps z
    TokenWrite write = nullptr;   // where it is neither k v^T nor the delta rule's
    bool reads_before = false;    // z_t = scale (S_{t-1} + diag(u) k_t v_t^T)^T q_t
  };
  explicit LinearRecurrence(Kind kind) : kind_(kind) {}

  // Mixes a whole run. Heads of k, v, g and beta may each be fewer than the state's (the most among them and the
  // incoming state); they are then repeated. state: in, undefined counts as zero; out, after the last token.
  // Asks hooks for hook_state, hook_state_write, hook_state_normalizer, hook_pattern (and notes hook_pattern_residual).
  // run.read: only these positions of z are returned. Returns z [batch, pos, head, d_v] in float32 (float64 where q
  // is; in.narrow_z). On a GPU the chunk form is chunk_kernel.h's where that covers the case. Throws Error(kUnsupported)
  // for a form that does not exist, Error(kBadInput) for a state of another shape.
  at::Tensor run(RecurrenceInput in, RecurrentState& state, HookScope& hooks, const MixerRun& run) const;

  // The same without hooks, one tensor for all states: [batch, pos, state head, d_k, d_v], after each token's write.
  at::Tensor all_states(RecurrenceInput in, RecurrentState state, MixerForm form) const;

  // run() without hooks together with all_states(): one pass where a scan covers it.
  at::Tensor run_with_states(RecurrenceInput in, RecurrentState& state, const MixerRun& run, at::Tensor& states) const;

  // A [batch, head, q_pos, k_pos] with z_t = sum_s A[t, s] v_s when S_0 is zero (a normaliser keeps its z_0): the
  // recurrence run on values that are one-hot over time, or its closed form where that is one matrix product. 256
  // queries at a time. With several steps a token k_pos counts them. Without the skip.
  at::Tensor pattern(RecurrenceInput in, RecurrentState state, MixerForm form) const;

 private:
  // as_given: q, k and v keep a 16-bit type.
  void align(RecurrenceInput& in, RecurrentState& state, bool as_given = false) const;
  // One span in a form. Recurrent: token by token in one pass (scan.h), where that does not cover the case the naive loop.
  at::Tensor span(MixerForm form, const RecurrenceInput& in, RecurrentState& state, bool read_out) const;
  // Whether all states come from the chunk kernels.
  bool states_by_chunks(const RecurrenceInput& in, const RecurrentState& state, MixerForm form) const;
  // A whole run whose states are only looked at, in one pass: token by token or in chunks.
  at::Tensor noted(const RecurrenceInput& in, RecurrentState& state, HookScope& hooks, bool in_chunks) const;
  at::Tensor spans(const RecurrenceInput& in, RecurrentState& state, HookScope& hooks, MixerForm form) const;
  // One token, its state written down between write and read-out. hooks may be null.
  at::Tensor step(const RecurrenceInput& in, RecurrentState& state, HookScope* hooks, int64_t t) const;
  at::Tensor read_only(const RecurrenceInput& in, RecurrentState& state, MixerForm form,
                       const std::vector<int64_t>& read) const;
  at::Tensor implied(const RecurrenceInput& in, const RecurrentState& before, bool zero_before, const at::Tensor& z,
                     HookScope& hooks, MixerForm form) const;
  at::Tensor closed_pattern(const RecurrenceInput& in, const at::Tensor& z0) const;
  Kind kind_;
};

}  // namespace microtome::mixers
