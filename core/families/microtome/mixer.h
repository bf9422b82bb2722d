// mixer.h — the parameters of a mixer as config.json gives them, held against what the mixer reads.
#pragma once

#include <string>

#include "core/base/json.h"
#include "core/model/model_config.h"

namespace microtome::families {

// {"kind": a registered mixer, its parameters …} into layer.mixer and layer.mixer_params. Throws Error(kBadInput) naming
// an unknown kind, an unknown parameter or a value of another type, and what is allowed.
void read_mixer(const Json& mixer, int64_t d_model, LayerConfig& layer, const std::string& where);

}  // namespace microtome::families
