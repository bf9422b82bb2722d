// intervention_json.h — the JSON form of interventions (cli.md): what a file holds, what the store keeps, what plug-ins see.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/hooks/hook_plan.h"

namespace microtome {

// Gives the tensor of {"run": NAME, "pos": […]} at a hook. May throw Error(kBadInput) where no such run exists.
using RunSource = std::function<at::Tensor(const std::string& run, const std::string& hook, const std::vector<int64_t>& pos)>;

// A list of {"hook", "where"?, "operation", "source"}. Tensors named by {"file": "F.safetensors:NAME"} are read. Throws
// Error(kBadInput) naming the entry and the field.
std::vector<Intervention> parse_interventions(const Json& list, const std::string& where, const RunSource& run);

}  // namespace microtome
