// cases.h — parameter sets for the conformance test.
#pragma once

#include <vector>

#include "core/mixers/token_mixer.h"

namespace microtome::mixers {

std::vector<MixerCase> mlstm_cases();

}  // namespace microtome::mixers
