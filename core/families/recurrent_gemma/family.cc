// RecurrentGemma (transformers' `recurrent_gemma`, arXiv 2404.07839): Griffin's recurrent blocks with windowed attention
// between, and Gemma's norms and embeddings.
#include <bit>
#include <cmath>

#include "core/families/decoder.h"
#include "core/families/registry.h"

namespace microtome::families {
namespace {

// The library keeps the embeddings' factor as a bfloat16, and models were trained with it.
double to_bfloat16(double x) {
  uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  bits += 0x7FFF + ((bits >> 16) & 1);                 // round to nearest, ties to even
  return std::bit_cast<float>(bits & 0xFFFF0000u);
}

// block_types, from the start again where it is shorter than the stack. True: recurrent.
std::vector<bool> read_blocks(const Json& config, const std::string& where) {
  if (!config.contains("block_types") || config["block_types"].is_null()) return {true, true, false};
  const Json& list = config["block_types"];
  if (!list.is_array() || list.empty())
    throw Error(StatusCode::kBadInput, "field 'block_types' is no list of block types", where,
                "give a list of 'recurrent' and 'attention', such as one of each");
  std::vector<bool> out;
  for (const Json& entry : list) {
    const std::string type = entry.is_string() ? entry.get<std::string>() : entry.dump();
    if (type != "recurrent" && type != "attention")
      throw Error(StatusCode::kBadInput, "field 'block_types' has '" + type.substr(0, 60) + "'", where,
                  "allowed are recurrent and attention");
    out.push_back(type == "recurrent");
  }
  return out;
}

ModelConfig read(const Json& config, const std::string& where) {
  Decoder d = read_decoder(config, where, true);
  d.model.context_length = 0;
  d.model.hard_context = false;
  d.all_norms({NormConfig::Kind::kRms, json_float(config, "rms_norm_eps", 1e-6, where), true, false, 1});
  d.model.embed_scale = to_bfloat16(std::sqrt(static_cast<double>(d.model.d_model)));
  d.model.logit_softcap = json_float(config, "logits_soft_cap", 30.0, where);
  d.qkv_bias(json_bool(config, "attention_bias", false, where));
  Params& p = d.attention();
  p.set("o_bias", true);
  p.set("window", read_size(config, "attention_window_size", 2048, where));
  read_rope(config, d.head_dim, where, p, {10000, 0.5});
  ChannelMixerConfig& mlp = d.layer.channel;
  mlp.d_mlp = divide(mlp.d_mlp, 2, "intermediate_size", "2 (the gate and the value share it)", where);
  mlp.bias = true;
  mlp.activation = read_activation(config, "hidden_activation", "gelu_pytorch_tanh", where);
  LayerConfig recurrent = d.layer;
  recurrent.mixer = "rg_lru";
  Params& r = recurrent.mixer_params = {};
  const int64_t width = read_size(config, "lru_width", d.model.d_model, where);
  divide(width, d.heads, "lru_width", "num_attention_heads", where);
  r.set("width", width);
  r.set("num_heads", d.heads);
  r.set("conv_size", read_size(config, "conv1d_width", 4, where));
  r.set("activation", mlp.activation == "gelu_new" ? std::string("gelu_tanh") : mlp.activation);
  const std::vector<bool> blocks = read_blocks(config, where);
  return finish(std::move(d), [&](int64_t i, LayerConfig& l) {
    if (blocks[static_cast<size_t>(i) % blocks.size()]) l = recurrent;
  });
}

std::vector<TensorBinding> bind(const ModelConfig& c, const Stored& has) {
  DecoderNames names;
  names.norm1 = "temporal_pre_norm";
  names.norm2 = "channel_pre_norm";
  names.final_norm = "final_norm";
  names.attention = "temporal_block.";
  names.mlp = "mlp_block.";
  return bind_decoder(c, has, names);
}

}  // namespace

void register_recurrent_gemma(Registry& registry) {
  registry.add({"recurrent_gemma", {"recurrent_gemma"}, read, bind, decoder_ignorable});
}

}  // namespace microtome::families
