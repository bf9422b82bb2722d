// reading.h — a recurrent head's state, read with another query than its token's own. The query is replaced where the
// mixer uses it, and everything behind it (scale, running normaliser, norm by head, output gate, output projection) is
// the model's own, so a reading means the same for every mechanism and no state need be held.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "core/base/progress.h"
#include "core/model/model.h"

namespace microtome::analyses::state_lens {

// The layer has a state and, where the query is replaced, a query to replace.
bool readable(const Model& model, int64_t layer, bool own_query);

// What each head would write into the residual stream, had S_t been read with the query of position t (next: with query
// and gate of t + 1; at the last position with its own). tokens [batch, pos]; entry: the layer's hook_resid_pre. Called
// in order for spans of positions from `begin` on: written [batch, count, head, d_model].
using OnRead = std::function<void(int64_t first, const at::Tensor& written)>;
void read_positions(const Model& model, int64_t layer, const at::Tensor& tokens, const at::Tensor& entry, MixerForm form,
                    bool next, int64_t begin, Progress& progress, const OnRead& on_read);

struct KeyReading {
  at::Tensor written;                  // [d_k, head, d_model]: read with e_i
  at::Tensor row_norm;                 // [d_k, head]: |S^T e_i| of the state that the head reads
};
// The state after the last token of one prompt, tokens [1, pos], read with each key direction e_i; gate of that token.
KeyReading read_keys(const Model& model, int64_t layer, const at::Tensor& tokens, const at::Tensor& entry, MixerForm form,
                     Progress& progress);

}  // namespace microtome::analyses::state_lens
