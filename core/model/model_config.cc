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

void check_factor(double value, const char* what, const std::string& where) {
  if (!std::isfinite(value)) throw Error(StatusCode::kBadInput, std::string(what) + " is not a finite number", where);
}

void check_experts(const ExpertsConfig& e, const std::string& where) {
  if (e.count == 0) return;
  check_size(e.count, 1 << 16, "number of experts", where);
  check_size(e.per_token, e.count, "experts a token", where);
  check_size(e.d_expert, kMaxWidth * 16, "expert width", where);
  if (e.d_shared) check_size(e.d_shared, kMaxWidth * 16, "shared expert width", where);
  if (e.groups < 1 || e.count % e.groups)
    throw Error(StatusCode::kBadInput, std::to_string(e.count) + " experts do not divide into " +
                std::to_string(e.groups) + " groups", where, "correct one of the two fields");
  check_size(e.groups_kept, e.groups, "groups of experts kept", where);
  if (e.per_token > e.count / e.groups * e.groups_kept)
    throw Error(StatusCode::kBadInput, std::to_string(e.per_token) + " experts a token are more than the kept groups hold",
                where, "keep more groups or choose fewer experts");
}

}  // namespace

bool ModelConfig::causal() const {
  for (const LayerConfig& l : layers)
    if (!l.mixer_params.get_bool("causal", true)) return false;
  return true;
}

void check_config(const ModelConfig& c, const std::string& where) {
  check_size(c.d_model, kMaxWidth, "hidden size", where);
  check_size(c.vocab_size, int64_t{1} << 40, "vocab_size", where);
  check_size(static_cast<int64_t>(c.layers.size()), 10000, "number of layers", where);
  check_size(c.loops, static_cast<int64_t>(c.layers.size()), "number of loops", where);
  if (c.layers.size() % static_cast<size_t>(c.loops))
    throw Error(StatusCode::kBadInput, std::to_string(c.layers.size()) + " layers are no whole number of " +
                std::to_string(c.loops) + " equal rounds", where, "correct one of the two fields");
  if (c.context_length < 0) check_size(c.context_length, INT64_MAX, "context length", where);
  if (c.learned_positions) check_size(c.learned_positions, int64_t{1} << 32, "number of positions", where);
  check_norm(c.final_norm, "final norm", where);
  check_factor(c.embed_scale, "embedding scale", where);
  check_factor(c.logit_scale, "logit scale", where);
  if (!(std::isfinite(c.logit_softcap) && c.logit_softcap >= 0))
    throw Error(StatusCode::kBadInput, "the cap of the logits is " + std::to_string(c.logit_softcap), where,
                "it must be positive, or absent");
  if (c.embed_norm) check_norm(*c.embed_norm, "embedding norm", where);
  for (const LayerConfig& l : c.layers) {
    if (l.channel.d_mlp) check_size(l.channel.d_mlp, kMaxWidth * 16, "intermediate size", where);
    check_norm(l.norm1, "norm", where);
    check_norm(l.norm2, "norm", where);
    if (l.post1) check_norm(*l.post1, "norm", where);
    if (l.post2) check_norm(*l.post2, "norm", where);
    for (double f : {l.keep1, l.add1, l.keep2, l.add2, l.channel.gate_scale, l.channel.down_scale})
      check_factor(f, "a multiplier", where);
    check_experts(l.channel.experts, where);
  }
}

}  // namespace microtome
