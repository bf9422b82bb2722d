// Broken and hostile tokenizer files: refused in one sentence that names file and field, or bounded in time and size.
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <functional>
#include <iostream>

#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/io/tokenizer.h"
#include "core/io/tokenizer/pattern.h"
#include "tests/golden_path.h"

namespace microtome {
namespace {

const char* const kGood = R"({"version": "1.0", "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
  "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})";

// kGood with the value at a JSON pointer replaced.
std::string with(const char* pointer, const Json& value) {
  Json json = Json::parse(kGood);
  json[Json::json_pointer(pointer)] = value;
  return json.dump();
}

void expect_refused(const std::string& text, StatusCode code, const std::vector<std::string>& words) {
  const auto result = Tokenizer::parse(text, "some/tokenizer.json");
  ASSERT_FALSE(result) << text.substr(0, 300);
  const std::string message = result.status().text();
  EXPECT_EQ(result.status().code(), code) << message;
  EXPECT_NE(message.find("some/tokenizer.json"), std::string::npos) << message;
  for (const std::string& word : words) EXPECT_NE(message.find(word), std::string::npos) << word << " in " << message;
  EXPECT_LT(message.size(), 2000u);
}

constexpr StatusCode kBad = StatusCode::kBadInput, kNot = StatusCode::kUnsupported;

TEST(TokenizerHostile, TheGoodFileIsGood) {
  EXPECT_EQ(Tokenizer::parse(kGood, "t").value()->encode("ab<s>a").ids, (std::vector<int64_t>{2, 3, 0}));
}

TEST(TokenizerHostile, WrongFieldsAreNamed) {
  expect_refused("", kBad, {});
  expect_refused("[]", kBad, {"object"});
  expect_refused(std::string(kGood).substr(0, 150), kBad, {});
  expect_refused(with("/model", 3), kBad, {"model"});
  expect_refused(with("/model/type", "Telepathy"), kNot, {"Telepathy", "model.type", "BPE"});
  expect_refused(with("/model/type", "WordLevel"), kNot, {"WordLevel", "BPE, Unigram, WordPiece"});
  expect_refused(with("/model/type", "Unigram"), kBad, {"model.vocab", "[piece, score]"});
  expect_refused(with("/model/vocab", Json::array()), kBad, {"model.vocab"});
  expect_refused(with("/model/vocab/a", -1), kBad, {"'a'"});
  expect_refused(with("/model/vocab/a", 1.5), kBad, {"'a'"});
  expect_refused(with("/model/vocab/a", int64_t{1} << 40), kBad, {"'a'"});
  expect_refused(with("/model/vocab/a", ~uint64_t{0}), kBad, {"'a'"});
  expect_refused(with("/model/vocab/a", 1), kBad, {"'a'", "'b'"});   // two tokens with one id
  expect_refused(with("/model/merges", "a b"), kBad, {"model.merges"});
  expect_refused(with("/model/merges/0", Json::array({"a", "x"})), kBad, {"merges[0]", "'x'", "not in the vocabulary"});
  expect_refused(with("/model/merges/0", Json::array({"b", "a"})), kBad, {"merges[0]", "'ba'"});
  expect_refused(with("/model/merges/0", "a b c"), kBad, {"merges[0]"});
  expect_refused(with("/model/merges/0", 7), kBad, {"merges[0]"});
  expect_refused(with("/model/dropout", 0.1), kNot, {"dropout"});
  expect_refused(with("/added_tokens/0/id", 1), kBad, {"added_tokens[0]", "'b'"});
  expect_refused(with("/added_tokens/0/id", -4), kBad, {"added_tokens[0]", "'id'"});
  expect_refused(with("/added_tokens/0/content", std::string(5000, 'x')), kBad, {"added_tokens[0]", "content"});
  expect_refused(with("/added_tokens", 1), kBad, {"added_tokens"});
  expect_refused(with("/normalizer", {{"type", "Nmt"}}), kNot, {"Nmt", "normalizer"});
  expect_refused(with("/normalizer", {{"type", "Replace"}, {"pattern", 4}, {"content", ""}}), kBad, {"pattern"});
  expect_refused(with("/pre_tokenizer", {{"type", "UnicodeScripts"}}), kNot, {"UnicodeScripts", "pre_tokenizer"});
  expect_refused(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Eaten"}}),
                 kBad, {"behavior", "Eaten"});
  expect_refused(
      with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "(((("}}}, {"behavior", "Isolated"}}), kBad,
      {"((((", "pre_tokenizer.pattern"});
  expect_refused(with("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}), kBad, {"replacement"});
  expect_refused(with("/decoder", {{"type", "CTC"}}), kNot, {"CTC", "decoder"});
  expect_refused(with("/decoder", {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}}), kBad, {"start"});
  expect_refused(with("/post_processor", {{"type", "TemplateProcessing"}, {"single", 3}}), kBad, {"single"});
  expect_refused(with("/post_processor", Json::parse(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}], "special_tokens": {}})")), kBad, {"<x>"});
  expect_refused(with("/post_processor", Json::parse(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}],
      "special_tokens": {"<x>": {"id": "<x>", "ids": [99], "tokens": ["<x>"]}}})")), kBad, {"ids"});
}

TEST(TokenizerHostile, NestedSequencesEnd) {
  Json inner = {{"type", "Lowercase"}};
  for (int i = 0; i < 20; ++i) {
    Json outer = {{"type", "Sequence"}};
    outer["normalizers"] = Json::array({inner});
    inner = outer;
  }
  expect_refused(with("/normalizer", inner), kBad, {"normalizers"});
}

TEST(TokenizerHostile, TheReferenceFilesAreRefused) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"tokenizer-bad-regex", "(((("}, {"tokenizer-malformed", ""}, {"tokenizer-merge-not-in-vocab", "merges["},
      {"tokenizer-unknown-model", "Telepathy"}};
  for (const auto& [name, word] : cases) {
    const std::string path = testing::golden_path("golden/bad/" + name + "/tokenizer.json");
    if (path.empty()) {
      std::cout << "[ note     ] " << name << " was not found; its like is in the test above\n";
      continue;
    }
    const auto result = Tokenizer::open(path);
    ASSERT_FALSE(result) << name;
    EXPECT_EQ(result.status().exit_code(), 2);
    EXPECT_NE(result.status().text().find(path), std::string::npos) << result.status().text();
    EXPECT_NE(result.status().text().find(word), std::string::npos) << result.status().text();
  }
}

// Processor time, so that a busy machine does not matter.
double seconds_of(const std::function<void()>& work) {
  const std::clock_t begin = std::clock();
  work();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

// The patterns below would run for years; each must end with an Error.
TEST(TokenizerHostile, SlowPatternsAreStopped) {
  const std::string as(200000, 'a');
  std::vector<tok::Match> out;
  const double exponential = seconds_of([&] {
    const auto p = tok::Pattern::regex("(a+)+[bc]", "t");
    EXPECT_THROW(p.find_all(as, tok::Budget(as.size()), out), Error);
  });
  EXPECT_LT(exponential, 20);
  const double quadratic = seconds_of([&] {
    const auto p = tok::Pattern::regex("(?:ad?)*+[bc]", "t");   // no step is repeated, but every start scans on
    EXPECT_THROW(p.find_all(as, tok::Budget(0, std::chrono::milliseconds(300)), out), Error);
  });
  EXPECT_LT(quadratic, 20);
  // Deep nesting outgrows the compiled form's stack; the interpreter finishes.
  tok::Pattern::regex("(?:(?:a|b)(?:c|))+", "t").find_all(as, tok::Budget(as.size()), out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].end, as.size());
}

TEST(TokenizerHostile, AModelWhosePatternHangsGivesAnError) {
  Json json = Json::parse(kGood);
  json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(?:a+)+[^ab]"}}}, {"behavior", "Isolated"}};
  const auto t = Tokenizer::parse(json.dump(), "t").value();
  EXPECT_EQ(t->encode("aab").ids.size(), 2u);
  EXPECT_THROW(t->encode(std::string(3000, 'a')), Error);
}

TEST(TokenizerHostile, ReplacementsCannotGrowWithoutEnd) {
  Json steps = Json::array();
  for (int i = 0; i < 40; ++i) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(100, 'a')}});
  }
  Json json = Json::parse(kGood);
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  const auto t = Tokenizer::parse(json.dump(), "t").value();
  EXPECT_EQ(t->encode("b").ids.size(), 1u);
  EXPECT_THROW(t->encode("a"), Error);
  json["normalizer"] = nullptr;
  json["decoder"] = {{"type", "Sequence"}, {"decoders", steps}};
  EXPECT_THROW(Tokenizer::parse(json.dump(), "t").value()->decode({0}), Error);
}

TEST(TokenizerHostile, LongAddedTokensThatAlmostMatch) {
  Json json = Json::parse(kGood);
  json["added_tokens"][0]["content"] = std::string(1000, 'a') + "!";
  const auto t = Tokenizer::parse(json.dump(), "t").value();
  size_t tokens = 0;
  EXPECT_LT(seconds_of([&] { tokens = t->encode(std::string(100000, 'a')).ids.size(); }), 10);
  EXPECT_EQ(tokens, 100000u);
}

// Whatever a flipped byte makes of a file: an error or a tokenizer that works, and nothing else.
TEST(TokenizerHostile, DamagedFilesNeverCrash) {
  Rng rng(11);
  int opened = 0, refused = 0;
  for (const char* name : {"data/tokenizers/small/qwen2style.json", "models/stories260K/tokenizer.json"}) {
    const std::string good = read_text_file(testing::golden_path(name)).value();
    for (int i = 0; i < 150; ++i) {
      std::string text = good;
      // Most of a file is vocabulary; the first part holds what steers the stages.
      const size_t range = i % 2 == 0 ? text.size() : std::min<size_t>(text.size(), 4000);
      for (uint64_t n = 1 + rng.below(2); n > 0; --n) {
        static constexpr std::string_view kSteering = "0123\"{}[],:ae\\?*+()";
        const char other = i % 3 == 0 ? static_cast<char>(rng.below(256)) : kSteering[rng.below(kSteering.size())];
        text[rng.below(range)] = other;
      }
      const auto result = Tokenizer::parse(text, "t");
      if (!result) {
        ++refused;
        EXPECT_NE(result.status().code(), StatusCode::kInternal) << result.status().text();
        continue;
      }
      ++opened;
      const Status status = catch_status([&] {
        const auto ids = result.value()->encode("Hello  wörld 123 <s>\n😀").ids;
        result.value()->decode(ids);
      });
      EXPECT_NE(status.code(), StatusCode::kInternal) << status.text();
    }
  }
  EXPECT_GT(opened, 15);
  EXPECT_GT(refused, 15);
}

}  // namespace
}  // namespace microtome
