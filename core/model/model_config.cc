#include "core/model/model_config.h"

#include <cmath>

namespace microtome {
namespace {

// Far beyond any model, small enough that products of three stay below 2^63.
constexpr int64_t kMaxWidth = int64_t{1} << 20;

void check_size(int64_t value, int64_t max, const char* field, const std::string& where) {
  if (value < 1 || value > max)
    throw Error(StatusCode::kBadInput, std::string(field) + " is " + std::to_string(value), where,
                "it must lie between 1 and " + std::to_string(max));
}

void check_norm(const NormConfig& n, const char* field, const std::string& where) {
  if (!(std::isfinite(n.eps) && n.eps >= 0 && n.eps < 1))
    throw Error(StatusCode::kBadInput, std::string(field) + " epsilon is not a small positive number", where,
                "1e-5 and 1e-6 are usual");
}

}  // namespace

void check_config(const ModelConfig& c, const std::string& where) {
  check_size(c.d_model, kMaxWidth, "hidden size", where);
  check_size(c.vocab_size, int64_t{1} << 40, "vocab_size", where);
  check_size(static_cast<int64_t>(c.layers.size()), 10000, "number of layers", where);
  if (c.context_length < 0) check_size(c.context_length, INT64_MAX, "context length", where);
  if (c.learned_positions) check_size(c.learned_positions, int64_t{1} << 32, "number of positions", where);
  check_norm(c.final_norm, "final norm", where);
  if (c.embed_norm) check_norm(*c.embed_norm, "embedding norm", where);
  for (const LayerConfig& l : c.layers) {
    check_size(l.channel.d_mlp, kMaxWidth * 16, "intermediate size", where);
    check_norm(l.norm1, "norm", where);
    check_norm(l.norm2, "norm", where);
  }
}

}  // namespace microtome
