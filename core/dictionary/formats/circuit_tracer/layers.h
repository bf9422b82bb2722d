// layers.h — one layer of circuit-tracer's transcoders as a file, both ways.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/dictionary/dictionary.h"

namespace microtome::dictionary_formats::circuit_tracer {

struct Layer {
  std::filesystem::path encoder;       // the whole transcoder, or W_enc_N.safetensors
  std::filesystem::path decoder;       // W_dec_N.safetensors; empty where the first holds all
};

// Weights, kind, skip of layer i of n; sizes and hooks are the caller's. The forms its loaders take: its own layout (the
// encoder [d_sae, d_in]), Gemma Scope's npz, Gemma Scope 2's (w_enc [d_in, d_sae], affine_skip_connection [d_in, d_out],
// cross-layer w_dec [d_sae, n, d_out]). Throws Error(kBadInput).
Dictionary read_layer(const Layer& layer, int64_t i, int64_t n, bool cross_layer);

void write_layer(const Dictionary& d, const std::filesystem::path& file);
// number: "3", part of the tensors' names.
void write_cross_layer(const Dictionary& d, const std::string& number, const std::filesystem::path& encoder, const std::filesystem::path& decoder);

}  // namespace microtome::dictionary_formats::circuit_tracer
