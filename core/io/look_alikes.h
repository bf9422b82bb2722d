// look_alikes.h — what people have by mistake where weights should be.
#pragma once

#include <string>
#include <string_view>

namespace microtome {

// Throws Error(kBadInput) when `bytes` begin like a git-LFS pointer, an HTML page or GGUF, saying that it is not
// `expected` ("safetensors").
void refuse_look_alikes(std::string_view bytes, const std::string& expected, const std::string& where);

}  // namespace microtome
