// RWKV-7 in flash-linear-attention's format (`rwkv7`).
#include <algorithm>
#include <cmath>

#include "core/families/registry.h"
#include "core/families/rwkv_shell.h"

namespace microtome::families {
namespace {

// A low rank: as given; when null, the reference's rule factor * sqrt(hidden) rounded to a multiple of 32.
int64_t read_rank(const Json& config, const char* key, int64_t absent, double factor, int64_t hidden,
                  const std::string& where) {
  if (!config.contains(key)) return absent;
  if (!config[key].is_null()) return read_size(config, key, where);
  double steps = std::nearbyint(factor * std::sqrt(static_cast<double>(hidden)) / 32);
  return std::max<int64_t>(32, static_cast<int64_t>(steps) * 32);
}

// The width of all values: a number, a list with one a layer, or the model's width.
int64_t read_value_width(const Json& config, int64_t hidden, int64_t layers, const std::string& where) {
  if (!config.contains("value_dim") || config["value_dim"].is_null()) return hidden;
  const Json& v = config["value_dim"];
  if (!v.is_array()) return read_size(config, "value_dim", where);
  if (static_cast<int64_t>(v.size()) != layers)
    throw Error(StatusCode::kBadInput, "field 'value_dim' has " + std::to_string(v.size()) + " entries", where,
                "give one a layer, " + std::to_string(layers));
  for (const Json& n : v) {
    if (!n.is_number_integer() || n.get<int64_t>() < 1 || n.get<int64_t>() > INT32_MAX)
      throw Error(StatusCode::kBadInput, "field 'value_dim' holds " + n.dump().substr(0, 60), where,
                  "its entries are positive numbers");
    if (n != v[0])
      throw Error(StatusCode::kUnsupported, "field 'value_dim' holds different widths", where,
                  "the first layer's values are mixed into all others, so they must be as wide");
  }
  return v[0].get<int64_t>();
}

ModelConfig read(const Json& config, const std::string& where) {
  ModelConfig out = read_rwkv_shell(config, /*receptance=*/false, where);
  int64_t hidden = out.d_model, head_dim = read_size(config, "head_dim", 0, where), heads;
  if (!config.contains("head_dim")) head_dim = read_size(config, "num_heads", 0, where) ? 0 : 64;
  if (head_dim) {
    heads = divide(hidden, head_dim, "hidden_size", "head_dim", where);
  } else {
    heads = read_size(config, "num_heads", where);
    head_dim = divide(hidden, heads, "hidden_size", "num_heads", where);
  }
  int64_t values = read_value_width(config, hidden, static_cast<int64_t>(out.layers.size()), where);
  double wide = static_cast<double>(head_dim) / 64;
  Params p;
  p.set("num_heads", heads);
  p.set("head_k", head_dim);
  p.set("head_v", divide(values, heads, "value_dim", "num_heads", where));
  p.set("decay_rank", read_rank(config, "decay_low_rank_dim", 64, 2.5 * wide, hidden, where));
  p.set("rate_rank", read_rank(config, "a_low_rank_dim", 64, 2.5 * wide, hidden, where));
  p.set("value_rank", read_rank(config, "v_low_rank_dim", 16, 1.7 * wide, hidden, where));
  p.set("gate_rank", read_rank(config, "gate_low_rank_dim", 128, 5, hidden, where));
  p.set("norm_eps", static_cast<double>(head_dim) * out.final_norm.eps);
  // The fused norms add 1e-6 under the root; the plain ones bound the length from below.
  p.set("unit", std::string(json_bool(config, "fuse_norm", true, where) ? "eps" : "clamped"));
  for (size_t i = 0; i < out.layers.size(); ++i) {
    p.set("first", i == 0);
    out.layers[i].mixer = "rwkv7";
    out.layers[i].mixer_params = p;
  }
  return out;
}

std::vector<TensorBinding> bind(const ModelConfig& config, const Stored&) {
  return bind_rwkv_shell(config, {"key.weight", "x_k", "", ""});
}

}  // namespace

void register_rwkv7(Registry& registry) {
  registry.add({"rwkv7", {"rwkv7"}, read, bind, tied_head});
}

}  // namespace microtome::families
