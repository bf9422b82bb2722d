// layer.h — one layer of a microtome config.json: norms, mixer, wiring, channel mixer. README.md lists the keys.
#pragma once

#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/model/model_config.h"

namespace microtome::families {

// Throws Error(kBadInput) naming the first key of `object` that is not allowed, and those that are.
void check_keys(const Json& object, const std::vector<std::string>& allowed, const std::string& where);
// object[key], an object; an empty one where it is absent or null.
Json read_object(const Json& object, const char* key, const std::string& where);
// A norm under `key`, with what it leaves out taken from `base`; another kind starts from that kind's usual settings.
NormConfig read_norm(const Json& object, const char* key, const NormConfig& base, const std::string& where);
// `layer` laid over `defaults` key by key, inside objects too; a mixer of another kind replaces the whole mixer.
Json laid_over(const Json& defaults, const Json& layer);
// A layer whose norms default to `norm`. Throws Error(kBadInput) naming the key, the value and what is allowed.
LayerConfig read_layer(const Json& layer, int64_t d_model, const NormConfig& norm, const std::string& where);

}  // namespace microtome::families
