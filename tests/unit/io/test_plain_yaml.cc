#include <gtest/gtest.h>

#include "core/io/plain_yaml.h"

namespace microtome {
namespace {

Json yaml(const std::string& text) {
  const auto r = parse_plain_yaml(text, "c.yaml");
  EXPECT_TRUE(r.is_ok()) << r.status().text();
  return r.is_ok() ? r.value() : Json();
}

void expect_refused(const std::string& text, const std::string& part, StatusCode code = StatusCode::kBadInput) {
  const auto r = parse_plain_yaml(text, "c.yaml");
  ASSERT_FALSE(r.is_ok()) << text;
  EXPECT_EQ(r.status().code(), code) << r.status().text();
  EXPECT_NE(r.status().text().find(part), std::string::npos) << r.status().text();
  EXPECT_NE(r.status().text().find("c.yaml"), std::string::npos) << r.status().text();
}

TEST(PlainYaml, ReadsWhatConfigurationsAreWrittenIn) {
  EXPECT_EQ(yaml("# a comment\n---\nmodel_name: \"meta-llama/Llama-3.2-1B\"   # quoted\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"),
            Json::parse(R"({"model_name": "meta-llama/Llama-3.2-1B", "model_kind": "transcoder_set", "feature_input_hook": "mlp.hook_in"})"));
  EXPECT_EQ(yaml("list:\n- a\n- 'it''s'\n- 3\nother:\n  - x: 1\n    y: [1, 2.5, \"a, b\", [true]]\n  - - deep\n    - ~\nempty: {}\nnone:\n"),
            Json::parse(R"({"list": ["a", "it's", 3], "other": [{"x": 1, "y": [1, 2.5, "a, b", [true]]}, ["deep", null]], "empty": {}, "none": null})"));
  EXPECT_EQ(yaml("url: hf://mwhanna/x/layer_0.safetensors?revision=main\nhash: a#b\nnegative: -4\nscience: 1e-3\ntext: 1_000\nword: 'true'\n"),
            Json::parse(R"({"url": "hf://mwhanna/x/layer_0.safetensors?revision=main", "hash": "a#b", "negative": -4, "science": 0.001, "text": "1_000", "word": "true"})"));
  EXPECT_EQ(yaml(""), Json::object());
  EXPECT_EQ(yaml("a: \"\\u00e9\\n\"\r\n"), Json::parse(R"({"a": "é\n"})"));
}

TEST(PlainYaml, WritesWhatItReads) {
  const Json data = Json::parse(R"({"name": "a: b #c", "n": -3, "x": 0.25, "t": "true", "none": null, "yes": true, "list": ["hf://a/b", {"k": [1, [2]], "e": []}, {}], "sub": {"key with: colon": "\"quoted\"\n"}, "": ""})");
  const std::string text = plain_yaml(data);
  EXPECT_EQ(yaml(text), data) << text;
}

TEST(PlainYaml, RefusesWhatExpandsOrMakesThings) {
  expect_refused("a: &x 1\n", "line 1 has an anchor", StatusCode::kUnsupported);
  expect_refused("a: 1\nb: *x\n", "line 2 has an anchor or alias", StatusCode::kUnsupported);
  expect_refused("a: !!python/object/apply:os.system ['true']\n", "a tag", StatusCode::kUnsupported);
  expect_refused("a: |\n  text\n", "a block of text", StatusCode::kUnsupported);
  expect_refused("a: {b: 1}\n", "a mapping in braces", StatusCode::kUnsupported);
  expect_refused("a: 1\n---\nb: 2\n", "a second document", StatusCode::kUnsupported);
  expect_refused("a: 1\na: 2\n", "gives the key 'a' twice");
  expect_refused("a: 1\n   b: 2\n", "line 2 is indented more");
  expect_refused("  a: 1\nb: 2\n", "indented less");
  expect_refused("just words\n", "has no 'key: value'");
  expect_refused("- a\n- b\n", "begins a list");
  expect_refused("a: [1, 2\n", "without ']'");
  expect_refused("a: [1 2] 3\n", "after ']'");
  expect_refused("a: \"open\n", "quoted text");
  expect_refused("a: 'open\n", "quoted text");
  expect_refused("\ta: 1\n", "tab");
  expect_refused("a: \xff\n", "UTF-8");
  std::string deep = "a: ";
  for (int i = 0; i < 40; ++i) deep += "[";
  expect_refused(deep, "nested too deeply");
  std::string nested;
  for (int i = 0; i < 40; ++i) nested += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  expect_refused(nested, "nested too deeply");
  std::string many;
  for (int i = 0; i < 20000; ++i) many += "k" + std::to_string(i) + ": 1\n";
  expect_refused(many, "too many");
  expect_refused(std::string(2 << 20, 'a'), "at most 1 MiB");
}

}  // namespace
}  // namespace microtome
