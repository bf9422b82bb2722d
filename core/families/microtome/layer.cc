#include "core/families/microtome/layer.h"

#include <algorithm>

#include "core/families/config_read.h"
#include "core/families/microtome/mixer.h"

namespace microtome::families {
namespace {

using Words = std::vector<std::string>;

std::string listed(const Words& words) {
  std::string out;
  for (const std::string& w : words) out += (out.empty() ? "" : ", ") + w;
  return out;
}

std::string read_choice(const Json& object, const char* key, const std::string& fallback, const Words& allowed,
                        const std::string& where) {
  const std::string value = json_string(object, key, fallback, where);
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end())
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is '" + value.substr(0, 60) + "'", where,
                "allowed are " + listed(allowed));
  return value;
}

ExpertsConfig read_experts(const Json& channel, const std::string& outer) {
  ExpertsConfig e;
  if (!channel.contains("experts") || channel["experts"].is_null()) return e;
  const std::string where = outer + ", experts";
  const Json x = read_object(channel, "experts", outer);
  check_keys(x, {"count", "per_token", "d_expert", "scores", "renormalize", "scale", "correction", "groups", "groups_kept",
                 "d_shared", "shared_gate"}, where);
  e.count = read_size(x, "count", where);
  e.per_token = read_size(x, "per_token", 1, where);
  e.d_expert = read_size(x, "d_expert", where);
  e.scores = read_choice(x, "scores", "softmax", {"softmax", "sigmoid"}, where) == "softmax"
                 ? ExpertsConfig::Scores::kSoftmax : ExpertsConfig::Scores::kSigmoid;
  e.renormalize = json_bool(x, "renormalize", false, where);
  e.scale = json_float(x, "scale", 1.0, where);
  e.correction = json_bool(x, "correction", false, where);
  e.groups = read_size(x, "groups", 1, where);
  e.groups_kept = read_size(x, "groups_kept", e.groups, where);
  e.d_shared = read_size(x, "d_shared", 0, where);
  e.shared_gate = json_bool(x, "shared_gate", false, where);
  return e;
}

ChannelMixerConfig read_channel(const Json& layer, const std::string& outer) {
  ChannelMixerConfig c;
  if (!layer.contains("channel") || layer["channel"].is_null()) return c;
  const std::string where = outer + ", channel";
  const Json x = read_object(layer, "channel", outer);
  check_keys(x, {"d_mlp", "activation", "gated", "bias", "shift", "receptance", "experts"}, where);
  c.experts = read_experts(x, where);
  c.d_mlp = c.experts.count ? read_size(x, "d_mlp", c.experts.d_expert, where) : read_size(x, "d_mlp", where);
  c.activation = read_activation(x, "activation", "silu", where);
  c.gated = json_bool(x, "gated", true, where);
  c.bias = json_bool(x, "bias", false, where);
  const std::string shift = read_choice(x, "shift", "none", {"none", "to_earlier", "to_current"}, where);
  using Shift = ChannelMixerConfig::Shift;
  c.shift = shift == "none" ? Shift::kNone : shift == "to_earlier" ? Shift::kToEarlier : Shift::kToCurrent;
  c.receptance = json_bool(x, "receptance", false, where);
  auto refuse = [&](const std::string& what, const char* instead) {
    throw Error(StatusCode::kBadInput, what, where, instead);
  };
  if (c.receptance && c.shift == Shift::kNone)
    refuse("field 'receptance' is true without a shift", "set shift to to_earlier or to_current");
  if (c.experts.count == 0) return c;
  if (c.d_mlp != c.experts.d_expert)
    refuse("field 'd_mlp' is " + std::to_string(c.d_mlp) + " beside experts of width " + std::to_string(c.experts.d_expert),
           "leave d_mlp out: experts.d_expert says it");
  if (c.bias || c.shift != Shift::kNone)
    refuse(std::string("field '") + (c.bias ? "bias" : "shift") + "' is set beside experts", "experts have neither");
  return c;
}

}  // namespace

void check_keys(const Json& object, const Words& allowed, const std::string& where) {
  for (const auto& [key, _] : object.items())
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
      throw Error(StatusCode::kBadInput, "field '" + key.substr(0, 60) + "' is unknown", where,
                  "allowed are " + listed(allowed));
}

Json read_object(const Json& object, const char* key, const std::string& where) {
  if (!object.contains(key) || object[key].is_null()) return Json::object();
  if (!object[key].is_object())
    throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is not an object", where,
                "give {…}, or leave it out");
  return object[key];
}

NormConfig read_norm(const Json& object, const char* key, const NormConfig& base, const std::string& outer) {
  if (!object.contains(key) || object[key].is_null()) return base;
  const std::string where = outer + ", " + key;
  const Json x = read_object(object, key, outer);
  check_keys(x, {"kind", "eps", "weight", "bias", "offset"}, where);
  using Kind = NormConfig::Kind;
  const char* before = base.kind == Kind::kRms ? "rms" : base.kind == Kind::kLayer ? "layer" : "none";
  const std::string kind = read_choice(x, "kind", before, {"rms", "layer", "none"}, where);
  NormConfig n = base;
  if (kind != before)
    n = kind == "rms" ? NormConfig{Kind::kRms, 1e-6, true, false, 0}
        : kind == "layer" ? NormConfig{Kind::kLayer, 1e-5, true, true, 0} : NormConfig{Kind::kNone, 0, false, false, 0};
  n.eps = json_float(x, "eps", n.eps, where);
  n.weight = json_bool(x, "weight", n.weight, where);
  n.bias = json_bool(x, "bias", n.bias, where);
  n.offset = json_float(x, "offset", n.offset, where);
  return n;
}

Json laid_over(const Json& defaults, const Json& layer) {
  Json out = defaults;
  for (const auto& [key, value] : layer.items()) {
    const bool other_mixer = key == "mixer" && value.is_object() && value.contains("kind") && out.contains(key) &&
                             out[key].is_object() && out[key].contains("kind") && out[key]["kind"] != value["kind"];
    const bool inside = value.is_object() && out.contains(key) && out[key].is_object() && !other_mixer;
    out[key] = inside ? laid_over(out[key], value) : value;
  }
  return out;
}

LayerConfig read_layer(const Json& layer, int64_t d_model, const NormConfig& norm, const std::string& where) {
  check_keys(layer, {"mixer", "norm1", "norm2", "post1", "post2", "wiring", "keep1", "add1", "keep2", "add2", "normed_stream",
                     "channel"}, where);
  LayerConfig l;
  l.channel = read_channel(layer, where);
  l.norm1 = read_norm(layer, "norm1", norm, where);
  l.norm2 = read_norm(layer, "norm2", norm, where);
  auto given = [&](const char* key) { return layer.contains(key) && !layer[key].is_null(); };
  if (given("post1")) l.post1 = read_norm(layer, "post1", norm, where);
  if (given("post2")) l.post2 = read_norm(layer, "post2", norm, where);
  const std::string wiring = read_choice(layer, "wiring", "sequential", {"sequential", "parallel", "post_norm"}, where);
  l.wiring = wiring == "sequential" ? Wiring::kSequential : wiring == "parallel" ? Wiring::kParallel : Wiring::kPostNorm;
  l.keep1 = json_float(layer, "keep1", 1.0, where);
  l.add1 = json_float(layer, "add1", 1.0, where);
  l.keep2 = json_float(layer, "keep2", 1.0, where);
  l.add2 = json_float(layer, "add2", 1.0, where);
  l.normed_stream = json_bool(layer, "normed_stream", false, where);
  if (!layer.contains("mixer") || layer["mixer"].is_null())
    throw Error(StatusCode::kBadInput, "field 'mixer' is missing", where, "give {\"kind\": …} here or under defaults");
  read_mixer(read_object(layer, "mixer", where), d_model, l, where + ", mixer");
  if (l.channel.d_mlp > 0) return l;
  // Attention only: what stands around the channel mixer goes with it.
  if (l.wiring == Wiring::kParallel)
    throw Error(StatusCode::kBadInput, "field 'wiring' is 'parallel' in a layer without a channel mixer", where,
                "set it to sequential, or give 'channel'");
  l.norm2 = {NormConfig::Kind::kNone, 0, false, false, 0};
  l.post2.reset();
  return l;
}

}  // namespace microtome::families
