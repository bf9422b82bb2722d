// What the families refuse, and that the message names the field, the value and what is allowed.
#include <gtest/gtest.h>

#include "core/families/registry.h"

namespace microtome {
namespace {

Json fla(const std::string& type) {
  return Json{{"model_type", type}, {"hidden_size", 64}, {"num_heads", 2}, {"head_dim", 16}, {"num_hidden_layers", 2},
              {"intermediate_size", 96}, {"vocab_size", 97}};
}

Json mamba2() {
  return Json{{"model_type", "mamba2"}, {"hidden_size", 64}, {"num_heads", 4}, {"head_dim", 32}, {"num_hidden_layers", 2},
              {"n_groups", 2}, {"layer_norm_epsilon", 1e-5}, {"vocab_size", 97}};
}

std::string refusal(const Json& config) {
  try {
    families::read_model_config(config, "config.json");
  } catch (const Error& e) {
    return e.status().text();
  }
  return {};
}

void expect_words(const std::string& text, std::initializer_list<const char*> words) {
  for (const char* w : words) EXPECT_NE(text.find(w), std::string::npos) << w << ": " << text;
}

TEST(Families, ReadTheirDefaults) {
  for (const char* type : {"gated_deltaproduct", "kda", "comba", "mesa_net"}) EXPECT_EQ(refusal(fla(type)), "") << type;
  for (const char* type : {"hgrn", "gsa", "abc"}) EXPECT_EQ(refusal(fla(type)), "") << type;
  for (const char* type : {"rwkv6", "forgetting_transformer", "rwkv"}) EXPECT_EQ(refusal(fla(type)), "") << type;
  for (const char* type : {"mamba", "falcon_mamba"}) EXPECT_EQ(refusal(fla(type)), "") << type;
  EXPECT_EQ(refusal(mamba2()), "");
  Json rwkv7 = fla("rwkv7");
  rwkv7.erase("num_heads");
  EXPECT_EQ(refusal(rwkv7), "");
}

TEST(Families, RefuseByName) {
  auto with = [](const char* type, const char* key, Json value) {
    Json c = fla(type);
    c[key] = std::move(value);
    return refusal(c);
  };
  expect_words(with("kda", "attnres_block_size", 4), {"attnres_block_size", "4"});
  expect_words(with("kda", "lower_bound", 3.0), {"lower_bound", "3", "negative"});
  expect_words(with("comba", "expand_v", 0.3), {"expand_v", "0.3", "head_dim 16"});
  expect_words(with("gated_deltaproduct", "num_householder", 0), {"num_householder", "0", "positive"});
  expect_words(with("gated_deltaproduct", "num_householder", 1000), {"num_householder", "1000", "64"});
  expect_words(with("mesa_net", "use_short_conv", false), {"use_short_conv", "false"});
  expect_words(with("mesa_net", "lambda_lower_bound", -1.0), {"lambda_lower_bound", "-1"});
  expect_words(with("forgetting_transformer", "window_size", 128), {"window_size", "128"});
  expect_words(with("forgetting_transformer", "num_kv_heads", 3), {"num_kv_heads 3", "num_heads 2"});
  expect_words(with("hgrn", "use_short_conv", true), {"use_short_conv", "true"});
  expect_words(with("hgrn", "expand_ratio", -1.0), {"expand_ratio", "0 and 64"});
  expect_words(with("hgrn2", "expand_ratio", 48), {"hidden_size 64", "expand_ratio 48"});
  expect_words(with("gsa", "feature_map", "t2r"), {"feature_map", "t2r", "swish"});
  expect_words(with("gsa", "gate_logit_normalizer", 0.0), {"gate_logit_normalizer", "0"});
  expect_words(with("gsa", "num_slots", -2), {"num_slots", "-2", "positive"});
  expect_words(with("abc", "clamp_min", 40.0), {"clamp_min", "40", "clamp_max"});
  expect_words(with("abc", "use_input_gate", true), {"use_input_gate", "true"});
  expect_words(with("rwkv6", "attn", Json{{"layers", {0}}}), {"attn"});
  expect_words(with("rwkv7", "value_dim", Json{64, 128}), {"value_dim", "different"});
  expect_words(with("rwkv7", "value_dim", Json::array({64})), {"value_dim", "1 entries", "2"});
  expect_words(with("rwkv7", "hidden_act", "softsign"), {"hidden_act", "softsign", "sqrelu"});
  expect_words(with("rwkv", "layer_norm_epsilon", -1.0), {"epsilon"});
  expect_words(with("mamba", "hidden_act", "gelu"), {"hidden_act", "gelu", "silu"});
  expect_words(with("mamba", "time_step_rank", "half"), {"time_step_rank", "half"});
  expect_words(with("falcon_mamba", "mixer_rms_eps", 0.0), {"mixer_rms_eps", "0"});
}

TEST(Families, MambaFormats) {
  auto layer = [](const Json& c) { return families::read_model_config(c, "config.json").config.layers.at(0).mixer_params; };
  auto with = [](const char* key, Json value) {
    Json c = mamba2();
    c[key] = std::move(value);
    return c;
  };
  expect_words(refusal(with("num_heads", 3)), {"num_heads 3", "head_dim 32", "128"});
  expect_words(refusal(with("n_groups", 3)), {"num_heads 4", "n_groups 3"});
  expect_words(refusal(with("time_step_limit", Json{0.1, 0.05})), {"time_step_limit", "0.1", "0.05"});
  expect_words(refusal(with("time_step_limit", Json::array({0.1}))), {"time_step_limit", "two numbers"});
  expect_words(refusal(with("D_has_hdim", true)), {"D_has_hdim"});
  expect_words(refusal(with("rms_norm", false)), {"rms_norm", "false"});
  EXPECT_EQ(layer(mamba2()).get_int("norm_groups"), 2);
  // Which comes first, norm or gate, is a choice in flash-linear-attention's format alone.
  Json before = with("norm_before_gate", true);
  EXPECT_FALSE(layer(before).get_bool("norm_before_gate"));
  before["norm_eps"] = 1e-5;
  EXPECT_TRUE(layer(before).get_bool("norm_before_gate"));
  EXPECT_EQ(layer(with("time_step_limit", Json{0.01, 0.5})).get_float("dt_max"), 0.5);
  EXPECT_FALSE(layer(with("time_step_limit", Json{0.0, Json{{"__float__", "Infinity"}}})).has("dt_max"));
  // 15 levels cover 2^14 tokens.
  Json log_linear = with("model_type", "log_linear_mamba2");
  log_linear["norm_eps"] = 1e-5;
  EXPECT_EQ(families::read_model_config(log_linear, "config.json").config.context_length, 16384);
  log_linear["dt_limit"] = Json{0.01, 0.5};
  expect_words(refusal(log_linear), {"dt_limit", "log_linear_mamba2"});
  // Ties are the default of transformers' Mamba, of no other.
  auto tied = [](const Json& c) { return families::read_model_config(c, "config.json").config.tied_unembedding; };
  Json mamba = fla("mamba");
  EXPECT_TRUE(tied(mamba));
  mamba["norm_eps"] = 1e-5;
  EXPECT_FALSE(tied(mamba));
  EXPECT_FALSE(tied(mamba2()));
}

// Hybrids of Mamba and softmax attention, as transformers writes them.
Json hybrid(const std::string& type) {
  return Json{{"model_type", type}, {"hidden_size", 64}, {"num_attention_heads", 4}, {"num_key_value_heads", 2},
              {"num_hidden_layers", 3}, {"intermediate_size", 96}, {"vocab_size", 97}, {"attn_layer_period", 2},
              {"attn_layer_offset", 1}, {"mamba_n_heads", 8}, {"n_mamba_heads", 8}, {"mamba_d_head", 16},
              {"mamba_d_ssm", 128}, {"layers_block_type", {"mamba", "hybrid", "hybrid"}}};
}

TEST(Families, HybridsOfMambaAndAttention) {
  auto with = [](const char* type, const char* key, Json value) {
    Json c = hybrid(type);
    c[key] = std::move(value);
    return refusal(c);
  };
  for (const char* type : {"jamba", "bamba", "falcon_h1", "zamba2"}) EXPECT_EQ(refusal(hybrid(type)), "") << type;
  expect_words(with("jamba", "attn_layer_offset", 2), {"attn_layer_offset", "2", "attn_layer_period"});
  expect_words(with("jamba", "expert_layer_period", 0), {"expert_layer_period", "0", "positive"});
  expect_words(with("jamba", "mamba_dt_rank", "half"), {"mamba_dt_rank", "half"});
  expect_words(with("bamba", "attn_layer_indices", Json::array({5})), {"attn_layer_indices", "5", "0 to 2"});
  expect_words(with("bamba", "mamba_d_head", 32), {"mamba_n_heads", "8", "mamba_d_head", "32", "128"});
  expect_words(with("bamba", "mamba_n_groups", 3), {"mamba_n_heads 8", "mamba_n_groups 3"});
  expect_words(with("bamba", "time_step_limit", Json{0.1, 0.05}), {"time_step_limit", "0.1", "0.05"});
  expect_words(with("falcon_h1", "mamba_d_ssm", 100), {"mamba_d_ssm 100", "mamba_n_heads 8"});
  expect_words(with("falcon_h1", "ssm_multipliers", Json::array({1.0})), {"ssm_multipliers", "5 numbers"});
  expect_words(with("falcon_h1", "key_multiplier", "big"), {"key_multiplier"});
  expect_words(with("zamba2", "layers_block_type", Json{"mamba", "hybrid"}), {"layers_block_type", "3 entries"});
  const Json slow = {"mamba", "hybrid", "slow"};
  expect_words(with("zamba2", "layers_block_type", slow), {"layers_block_type", "slow", "hybrid"});
  expect_words(with("zamba2", "time_step_min", -1.0), {"time_step_min", "-1"});
  expect_words(with("zamba2", "num_mem_blocks", 0), {"num_mem_blocks", "0", "positive"});
  expect_words(with("zamba2", "mamba_headdim", 8), {"n_mamba_heads", "mamba_headdim", "8"});

  auto read = [](const Json& c) { return families::read_model_config(c, "config.json").config; };
  Json automatic = hybrid("bamba");
  automatic["mamba_d_head"] = "auto";
  EXPECT_EQ(read(automatic).layers[0].mixer_params.get_int("head_dim"), 16);
  // Attention in layer 1, experts behind odd layers.
  ModelConfig jamba = read(hybrid("jamba"));
  EXPECT_EQ(jamba.layers[0].mixer, "mamba1");
  EXPECT_EQ(jamba.layers[1].mixer, "softmax_attention");
  EXPECT_EQ(jamba.layers[0].channel.experts.count, 0);
  EXPECT_EQ(jamba.layers[1].channel.experts.count, 16);
  // With one shared block, the second hybrid layer reads the first one's weights, with adapters of its own.
  ModelConfig zamba = read(hybrid("zamba2"));
  EXPECT_TRUE(zamba.layers[0].mixer_params.get_bool("first"));
  EXPECT_EQ(zamba.layers[2].mixer_params.get_int("block_layer"), 1);
  EXPECT_EQ(zamba.layers[2].mixer_params.get_int("block_use"), 1);
}

TEST(Families, HybridsAndMemoriesRefuseByName) {
  auto with = [](const char* type, const char* key, Json value) {
    Json c = fla(type);
    c["num_attention_heads"] = 4;
    c["num_local_experts"] = 3;
    if (key) c[key] = std::move(value);
    return refusal(c);
  };
  for (const char* type : {"minimax", "recurrent_gemma", "xlstm", "mom"}) EXPECT_EQ(with(type, nullptr, {}), "") << type;
  expect_words(with("minimax", "hidden_act", "gelu"), {"hidden_act", "gelu", "silu"});
  expect_words(with("minimax", "layer_types", Json{"linear_attention", "sliding"}),
               {"layer_types", "sliding", "full_attention"});
  expect_words(with("recurrent_gemma", "block_types", Json{"recurrent", "mamba"}), {"block_types", "mamba", "attention"});
  expect_words(with("recurrent_gemma", "block_types", Json::array()), {"block_types", "list"});
  expect_words(with("recurrent_gemma", "intermediate_size", 97), {"intermediate_size 97", "2"});
  expect_words(with("recurrent_gemma", "lru_width", 30), {"lru_width 30", "num_attention_heads 4"});
  expect_words(with("xlstm", "weight_mode", "fused"), {"weight_mode", "fused", "single"});
  expect_words(with("xlstm", "gate_soft_cap", -1.0), {"gate_soft_cap", "-1", "positive"});
  expect_words(with("xlstm", "num_heads", 3), {"qk_dim_factor 32", "num_heads 3"});
  expect_words(with("mom", "topk", 5), {"topk", "5", "num_memories, 4"});
  expect_words(with("mom", "single_kv_proj", true), {"single_kv_proj", "true"});
  expect_words(with("mom", "mom_backend", "gla"), {"mom_backend", "gla", "gated_deltanet"});
  expect_words(with("mom", "capacity", 0.5), {"capacity", "0.5"});
}

}  // namespace
}  // namespace microtome
