// lower_bounds.h — HGRN and HGRN2 share one table of forget-gate bounds over all layers; each mixer reads its own row.
#pragma once

#include <string>
#include <vector>

#include "core/families/family.h"

namespace microtome::families {

// layer_idx and num_layers of the layers with this mixer.
void number_layers(ModelConfig& config, const std::string& mixer);
// flash-linear-attention's bindings, with the mixers' lower_bounds taken from the model's table.
std::vector<TensorBinding> bind_with_lower_bounds(const ModelConfig& config, const Stored& stored);
// The tied head; and the table where nothing reads it: a model whose only recurrent layer is its first.
bool lower_bounds_ignorable(const std::string& name);

}  // namespace microtome::families
