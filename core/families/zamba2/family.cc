// Zamba2 (transformers' `zamba2`): Mamba-2 in every layer; in the hybrid ones a transformer block, one of num_mem_blocks in
// turn, adds to its input.
#include <cmath>

#include "core/families/mamba_hybrid.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

constexpr const char* kShared = "shared_attention_mamba2";

// Which layers are hybrid. The library's older name of the others is mamba.
std::vector<bool> read_hybrid(const Json& config, int64_t n, const std::string& where) {
  std::vector<bool> out;
  if (!config.contains("layers_block_type") || config["layers_block_type"].is_null()) {
    for (int64_t i = 0; i < n; ++i) out.push_back((i > 0 && i <= 42 && i % 6 == 0) || i == 47 || i == 51);
    return out;
  }
  const Json& list = config["layers_block_type"];
  if (!list.is_array() || static_cast<int64_t>(list.size()) != n)
    throw Error(StatusCode::kBadInput, "field 'layers_block_type' is no list of " + std::to_string(n) + " entries", where,
                "give mamba or hybrid for each layer");
  for (const Json& type : list) {
    if (type != "mamba" && type != "linear_attention" && type != "hybrid")
      throw Error(StatusCode::kBadInput, "field 'layers_block_type' has " + type.dump().substr(0, 60), where,
                  "allowed are mamba, linear_attention and hybrid");
    out.push_back(type == "hybrid");
  }
  return out;
}

Params read_mamba(const Json& config, const std::string& where) {
  Mamba2Names names;
  names.heads = "n_mamba_heads";
  names.head_dim = "mamba_headdim";
  names.groups = "mamba_ngroups";
  names.bias = "add_bias_linear";
  names.default_heads = 8;
  names.default_state_size = 64;
  Params p = read_hybrid_mamba2(config, where, names, 1e-5);
  const double least = json_float(config, "time_step_min", 0.001, where);
  if (!(least >= 0 && least < 1e6))
    throw Error(StatusCode::kBadInput, "field 'time_step_min' is " + std::to_string(least), where, "0.001 is usual");
  p.set("dt_min", least);
  return p;
}

Params read_block(const Json& config, const Decoder& d, const std::string& where) {
  Params p;
  const int64_t head_dim = divide(2 * d.model.d_model, d.heads, "2 * hidden_size", "num_attention_heads", where);
  p.set("num_heads", d.heads);
  p.set("num_kv_heads", d.kv_heads);
  p.set("head_dim", head_dim);
  p.set("scale", std::sqrt(2.0 / static_cast<double>(head_dim)));
  if (json_bool(config, "use_mem_rope", false, where)) read_rope(config, head_dim, where, p);
  const int64_t rank = read_size(config, "adapter_rank", 128, where);
  p.set("adapter_rank", json_bool(config, "use_shared_attention_adapter", false, where) ? rank : 0);
  p.set("mlp_adapter_rank", rank);
  p.set("d_mlp", d.layer.channel.d_mlp);
  p.set("mlp_bias", json_bool(config, "add_bias_linear", false, where));
  p.set("activation", read_activation(config, "hidden_act", "gelu", where));
  return p;
}

ModelConfig read(const Json& config, const std::string& where) {
  Json spelled = config;
  if (!config.contains("intermediate_size") || config["intermediate_size"].is_null())
    spelled["intermediate_size"] = 4 * read_size(config, "hidden_size", where);
  if (json_bool(config, "use_long_context", false, where)) spelled["max_position_embeddings"] = 16384;
  spelled["head_dim"] = nullptr;                       // follows from twice the width
  Decoder d = read_decoder(spelled, where, true);
  d.model.hard_context = json_bool(config, "use_mem_rope", false, where);
  const double eps = json_float(config, "rms_norm_eps", 1e-5, where);
  const NormConfig norm{NormConfig::Kind::kRms, eps, true, false}, none{NormConfig::Kind::kNone, 0, false, false};
  d.model.final_norm = norm;
  const Params ssm = read_mamba(config, where), block = read_block(spelled, d, where);
  const std::vector<bool> hybrid = read_hybrid(config, d.n_layers, where);
  const int64_t blocks = read_size(config, "num_mem_blocks", 1, where);
  d.layer = {};
  d.layer.mixer = "mamba2";
  d.layer.mixer_params = ssm;
  d.layer.norm1 = norm;
  std::vector<int64_t> owners;                         // the layers that have a block first
  int64_t uses = 0;
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    const bool here = hybrid[static_cast<size_t>(i)];
    if (!here && i > 0) return;
    l.mixer = kShared;
    l.mixer_params = here ? block : Params();
    for (const auto& [name, value] : ssm.values()) l.mixer_params.set("ssm." + name, value);
    l.mixer_params.set("norm_eps", eps);
    l.mixer_params.set("first", i == 0);
    l.norm1 = none;
    if (!here) return;
    if (uses < blocks) owners.push_back(i);
    // Where the block's weights and this use's adapters are stored.
    l.mixer_params.set("block_layer", owners[static_cast<size_t>(uses % blocks)]);
    l.mixer_params.set("block_use", uses++);
  });
}

// A layer with a block: weights of the block below its first layer, or below this one where a checkpoint repeats them.
void bind_hybrid(Binder& out, const ModelConfig& c, size_t i, const Stored& has) {
  const Params& p = c.layers[i].mixer_params;
  const std::string own = "model.layers." + std::to_string(i) + ".";
  const std::string use = "_adapter_list." + std::to_string(p.get_int("block_use"));
  std::string block = "model.layers." + std::to_string(p.get_int("block_layer")) + ".shared_transformer.";
  if (!has(block + "input_layernorm.weight")) block = own + "shared_transformer.";
  const std::string attention = block + "self_attn.", mlp = block + "feed_forward.";
  out.mixer(i, "", {{"ssm_norm", own + "mamba_decoder.input_layernorm"}, {"ssm.", own + "mamba_decoder.mamba."},
                    {"linear", own + "linear"},
                    {"in_norm", block + "input_layernorm"}, {"mlp_norm", block + "pre_ff_layernorm"},
                    {"gate_up_adapter", mlp + "gate_up_proj" + use}, {"gate_up_proj", mlp + "gate_up_proj"},
                    {"down_proj", mlp + "down_proj"}, {"q_adapter", attention + "linear_q" + use},
                    {"k_adapter", attention + "linear_k" + use}, {"v_adapter", attention + "linear_v" + use},
                    {"", attention}});
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  Binder out(c);
  out.add("embed.weight", "model.embed_tokens.weight", {c.vocab_size, c.d_model});
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    const std::string from = "model.layers." + std::to_string(i) + ".";
    if (l.mixer_params.has("block_use")) {
      bind_hybrid(out, c, i, has);
      continue;
    }
    out.norm(l.norm1, Binder::block(i) + "ln1", from + "input_layernorm");
    out.mixer(i, from, {{"ssm_norm", "input_layernorm"}, {"ssm.", "mamba."}, {"", "mamba."}});
  }
  out.norm(c.final_norm, "ln_final", "model.final_layernorm");
  out.unembedding("lm_head");
  return out.take();
}

// A checkpoint may repeat a shared block below every layer that has it.
bool ignorable(const std::string& name) {
  return decoder_ignorable(name) || name.find(".shared_transformer.") != std::string::npos;
}

}  // namespace

void register_zamba2(Registry& registry) { registry.add({"zamba2", {"zamba2"}, read, bind, ignorable}); }

}  // namespace microtome::families
