// cases.h — conformance cases of latent attention.
#pragma once

#include <vector>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

std::vector<MixerCase> mla_cases();

}  // namespace microtome::mixers
