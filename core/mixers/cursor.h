// cursor.h — a run over one token whose position is a number on the device: the same operations on the same tensors then
// serve every position, so that a step of generation can be recorded once (core/model/generation.h).
//
// Holds for the calling thread while a WithCursor exists, as at::NoGradGuard does. What heeds it: the model's embedding,
// rotary(), softmax attention. A run with a cursor has one token, keeps state and has no hooks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace microtome::mixers {

struct Cursor {
  at::Tensor position;                 // int64 [1], where the model is
  // Softmax attention keeps keys and values [batch, room, head, d] and writes the token's own at `position`.
  int64_t room = 0;
  at::Tensor later;                    // bool [room]: behind the position
};

const Cursor* cursor();                // null: none

class WithCursor {
 public:
  explicit WithCursor(const Cursor& c);
  ~WithCursor();
  WithCursor(const WithCursor&) = delete;

 private:
  const Cursor* before_;
};

}  // namespace microtome::mixers
