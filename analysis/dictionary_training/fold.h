// fold.h — scales of the training folded into the weights, so that a dictionary reads and gives the model's own numbers.
#pragma once

#include "core/dictionary/dictionary.h"

namespace microtome::training {

// d was trained on x · in and targets · out. The result has the same codes on x, and gives targets: exactly, up to rounding.
// Codes of a `topk` with rescaling are divided by `out`, as their units are those of W_dec.
Dictionary folded(const Dictionary& d, double in, double out);

}  // namespace microtome::training
