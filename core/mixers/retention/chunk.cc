#include "core/mixers/retention/forms.h"
#include "core/mixers/simple_gla/forms.h"

namespace microtome::mixers {

// The paper's chunkwise form (eq. 7) with powers of gamma is the scalar-gated one with a constant g. The gate stays a
// tensor over positions, because hook_decay may have changed some of them.
at::Tensor retention_chunk(const RecurrenceInput& in, RecurrentState& state, bool read_out) {
  return simple_gla_chunk(in, state, read_out);
}

}  // namespace microtome::mixers
