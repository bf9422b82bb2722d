// params_text.h — params.json of every built-in analysis, by folder name. Free of LibTorch.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace microtome {

const std::vector<std::pair<std::string, std::string>>& embedded_params();

}  // namespace microtome
