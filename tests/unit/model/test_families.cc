// What the families refuse, and that the message names the field, the value and what is allowed.
#include <gtest/gtest.h>

#include "core/families/registry.h"

namespace microtome {
namespace {

Json fla(const std::string& type) {
  return Json{{"model_type", type}, {"hidden_size", 64}, {"num_heads", 2}, {"head_dim", 16}, {"num_hidden_layers", 2},
              {"intermediate_size", 96}, {"vocab_size", 97}};
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
}

}  // namespace
}  // namespace microtome
