// The tokenizer as its users see it: BPE, added tokens, folders, round trips.
#include "core/io/tokenizer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/base/json.h"
#include "core/base/rng.h"
#include "tests/golden_path.h"

namespace microtome {
namespace {

using Ids = std::vector<int64_t>;
using Offsets = std::vector<std::pair<int64_t, int64_t>>;
using Merges = std::vector<std::pair<std::string, std::string>>;

std::shared_ptr<const Tokenizer> parse(const Json& json) { return Tokenizer::parse(json.dump(), "test.json").value(); }

std::shared_ptr<const Tokenizer> known(const std::string& name) {
  const std::string path = testing::golden_path(
      name == "stories260K" ? "models/stories260K/tokenizer.json" : "data/tokenizers/small/" + name + ".json");
  return Tokenizer::open(path).value();
}

// A tokenizer of the model alone; ids follow the order of `vocab`.
Json bpe(const std::vector<std::string>& vocab, const Merges& merges) {
  Json json = {{"added_tokens", Json::array()}, {"model", {{"type", "BPE"}, {"vocab", Json::object()}}}};
  Json list = Json::array();
  for (const auto& [a, b] : merges) list.push_back(Json::array({a, b}));
  json["model"]["merges"] = list;
  for (size_t i = 0; i < vocab.size(); ++i) json["model"]["vocab"][vocab[i]] = i;
  return json;
}

Json added(int64_t id, const std::string& content) {
  return {{"id", id},        {"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", false}};
}

TEST(TokenizerBpe, MergesInOrderOfRank) {
  Json json = bpe(
      {"u", "n", "r", "e", "l", "a", "t", "d", "re", "at", "ed", "un", "ated", "rel", "related", "unrelated"},
      {{"r", "e"}, {"a", "t"}, {"e", "d"}, {"u", "n"}, {"at", "ed"}, {"re", "l"}, {"rel", "ated"}, {"un", "related"}});
  const auto t = parse(json);
  const Encoding whole = t->encode("unrelated");
  EXPECT_EQ(whole.ids, Ids({15}));
  EXPECT_EQ(whole.offsets, Offsets({{0, 9}}));
  EXPECT_EQ(t->encode("relatedun").ids, Ids({14, 11}));
  EXPECT_EQ(t->encode("").ids, Ids());
  // The old spelling of merges gives the same.
  Json old = json;
  old["model"]["merges"] = {"#version: 0.2", "r e", "a t", "e d", "u n", "at ed", "re l", "rel ated", "un related"};
  EXPECT_EQ(parse(old)->encode("unrelatedunr").ids, t->encode("unrelatedunr").ids);
}

TEST(TokenizerBpe, IgnoreMergesTakesWholeWords) {
  Json json = bpe({".:.:", "Ġbelirtilen", ".", ":", "bel", "irtilen", "Ġ", ".:", "belirtilen", ".:.", "be", "l", "ir",
                   "ti", "en", "irtil", "irti", "i", "r", "t", "b", "e", "n"},
                  {{".", ":"}, {"b", "e"}, {"be", "l"}, {"i", "r"}, {"t", "i"}, {"ir", "ti"}, {"e", "n"},
                   {"irti", "l"}});
  EXPECT_EQ(parse(json)->encode(".:.:").ids, Ids({7, 7}));
  EXPECT_EQ(parse(json)->encode("Ġbelirtilen").ids, Ids({6, 4, 15, 14}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(parse(json)->encode(".:.:").ids, Ids({0}));
  EXPECT_EQ(parse(json)->encode("Ġbelirtilen").ids, Ids({1}));
}

TEST(TokenizerBpe, UnknownCharacters) {
  Json json = bpe({"<unk>", "a", "b"}, {});
  EXPECT_EQ(parse(json)->encode("acb").ids, Ids({1, 2}));   // no unknown token: dropped
  json["model"]["unk_token"] = "<unk>";
  const Encoding apart = parse(json)->encode("accb");
  EXPECT_EQ(apart.ids, Ids({1, 0, 0, 2}));
  EXPECT_EQ(apart.offsets, Offsets({{0, 1}, {1, 2}, {2, 3}, {3, 4}}));
  json["model"]["fuse_unk"] = true;
  const Encoding fused = parse(json)->encode("aéèb");
  EXPECT_EQ(fused.ids, Ids({1, 0, 2}));
  EXPECT_EQ(fused.offsets, Offsets({{0, 1}, {1, 3}, {3, 4}}));
  json["model"]["unk_token"] = "<none>";
  EXPECT_THROW(parse(json)->encode("c"), Error);
}

TEST(TokenizerBpe, ByteFallbackNeedsEveryByte) {
  Json json = bpe({"<unk>", "<0xC3>", "<0xA9>", "a"}, {});
  json["model"]["unk_token"] = "<unk>";
  json["model"]["byte_fallback"] = true;
  const Encoding e = parse(json)->encode("aéè");
  EXPECT_EQ(e.ids, Ids({3, 1, 2, 0}));   // è is C3 A8, and A8 is missing
  EXPECT_EQ(e.offsets, Offsets({{0, 1}, {1, 2}, {1, 2}, {2, 3}}));
}

TEST(TokenizerBpe, PrefixAndSuffixOfSubwords) {
  Json json = bpe({"a", "##b", "##c", "ab", "abc"}, {{"a", "##b"}, {"ab", "##c"}});
  json["model"]["continuing_subword_prefix"] = "##";
  EXPECT_EQ(parse(json)->encode("ab").ids, Ids({3}));
  EXPECT_EQ(parse(json)->encode("abc").ids, Ids({4}));
  EXPECT_EQ(parse(json)->encode("abcb").ids, Ids({4, 1}));
  Json suffix = bpe({"a", "b", "a</w>", "b</w>", "ab</w>"}, {{"a", "b</w>"}});
  suffix["model"]["end_of_word_suffix"] = "</w>";
  suffix["pre_tokenizer"] = {{"type", "WhitespaceSplit"}};
  EXPECT_EQ(parse(suffix)->encode("ab ba").ids, Ids({4, 1, 2}));
}

TEST(TokenizerBpe, AWordOfAMegabyteIsNoTrouble) {
  const auto t = known("llama3style");
  const std::clock_t begin = std::clock();   // processor time, so that a busy machine does not matter
  std::string word;
  for (size_t i = 0; i < (size_t{1} << 20); ++i) word += static_cast<char>('a' + (i * i + i / 7) % 26);
  const Encoding e = t->encode(word, false);
  EXPECT_EQ(t->decode(e.ids), word);
  EXPECT_EQ(t->decode(t->encode(std::string(1 << 20, ' '), false).ids), std::string(1 << 20, ' '));
  EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, 30.0);   // quadratic merging would take hours
}

TEST(TokenizerAdded, FlagsDecideWhatIsMatched) {
  Json json = bpe({"a", "b", " ", "A"}, {});
  json["normalizer"] = {{"type", "Lowercase"}};
  json["added_tokens"] = {added(4, "<w>"), added(5, "<l>"), added(6, "<r>"), added(7, "AB"), added(8, "<w>b")};
  json["added_tokens"][0]["single_word"] = true;
  json["added_tokens"][1]["lstrip"] = true;
  json["added_tokens"][2]["rstrip"] = true;
  json["added_tokens"][3]["normalized"] = true;
  const auto t = parse(json);
  EXPECT_EQ(t->vocab_size(), 9);
  EXPECT_EQ(t->encode("a <w> a").ids, Ids({0, 2, 4, 2, 0}));
  EXPECT_EQ(t->encode("a<w>").ids, Ids({0}));   // not a word of its own, and its characters are unknown: dropped
  EXPECT_EQ(t->encode("<w>b").ids, Ids({8}));   // the longest one
  const Encoding left = t->encode("a \t<l> b");
  EXPECT_EQ(left.ids, Ids({0, 5, 2, 1}));
  EXPECT_EQ(left.offsets, Offsets({{0, 1}, {1, 6}, {6, 7}, {7, 8}}));
  EXPECT_EQ(left.pieces[1], "<l>");
  const Encoding right = t->encode("a <r>  b");
  EXPECT_EQ(right.ids, Ids({0, 2, 6, 1}));
  EXPECT_EQ(right.offsets[2], (std::pair<int64_t, int64_t>(2, 7)));
  EXPECT_EQ(t->encode("bab").ids, Ids({1, 7}));   // "AB" as the normalizer leaves it
  EXPECT_EQ(t->encode("aAb").ids, Ids({0, 7}));
  EXPECT_EQ(t->decode({4, 7}), "<w> AB");   // no decoder: joined by spaces
}

TEST(TokenizerAdded, IdsFollowTheVocabulary) {
  Json json = bpe({"a", "<s>"}, {});
  json["added_tokens"] = {added(7, "<s>"), added(9, "<x>")};
  json["added_tokens"][1]["special"] = true;
  const auto t = parse(json);
  EXPECT_EQ(t->encode("a<s><x>").ids, Ids({0, 1, 9}));
  EXPECT_EQ(t->vocab_size(), 10);
  EXPECT_EQ(t->decode({0, 9, 1}, true), "a <s>");
  EXPECT_EQ(t->decode({0, 5, 1}), "a <s>");   // 5 is below the largest id, but nothing has it
  EXPECT_EQ(t->piece(5), "");
  for (int64_t id : {int64_t{-1}, int64_t{10}}) {
    try {
      t->decode({id});
      FAIL() << id;
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kBadInput);
      EXPECT_NE(e.status().what().find(std::to_string(id)), std::string::npos);
      EXPECT_NE(e.status().what().find("10"), std::string::npos);
    }
  }
}

std::string random_text(Rng& rng, bool marks) {
  static const std::vector<std::string> kParts = {
      " ",      "  ",     "\n",     "\r\n",   "\t",         "a",          "Hello", "don't", "'S",   "12345", "7",   "!?",
      "--",     "_",      "é",      "ß",      "İ",          "ſ",          "漢字",  "かな",  "한국", "ﬁ",     "😀",  "👩‍👩‍👧",
      "\u00A0", "\u2028", "\u200B", "\u3000", "\u180E", "\U0001D54F", "\U0010FFFF", "🇫🇷", "٣", "Ⅷ", "½",
      "<|end_of_text|>", "Ġ", "Ω", std::string(1, '\0'), "\u007F", "…", "「", "и"};
  static const std::vector<std::string> kMarks = {"\u0301", "\u0323", "\u0307", "\u093C", "\u1100\u1161\u11A8",
                                                  "\u212B"};
  std::string text;
  for (uint64_t n = rng.below(24); n > 0; --n) {
    text += marks && rng.below(4) == 0 ? rng.pick(kMarks) : rng.pick(kParts);
  }
  return text;
}

int64_t code_points(const std::string& text) {
  int64_t n = 0;
  for (char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

TEST(TokenizerRoundTrip, ByteLevelTextComesBackAsItWas) {
  const auto llama = known("llama3style"), qwen = known("qwen2style");
  Rng rng(7);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_text(rng, true);
    const Encoding e = llama->encode(text, false);
    ASSERT_EQ(llama->decode(e.ids), text);
    ASSERT_EQ(e.ids.size(), e.offsets.size());
    ASSERT_EQ(e.ids.size(), e.pieces.size());
    int64_t last = 0;   // offsets run on and leave nothing out
    for (const auto& [begin, end] : e.offsets) {
      ASSERT_LE(begin, last) << text;
      ASSERT_GE(end, last) << text;
      ASSERT_LT(begin, end);
      last = end;
    }
    ASSERT_EQ(last, code_points(text));
    const std::string plain = random_text(rng, false);
    ASSERT_EQ(qwen->decode(qwen->encode(plain, false).ids), plain);
    const std::string composed = qwen->decode(qwen->encode(text, false).ids);   // NFC
    ASSERT_EQ(qwen->decode(qwen->encode(composed, false).ids), composed);
  }
}

TEST(TokenizerRoundTrip, SentencePieceTextComesBackAsItWas) {
  const auto gemma = known("gemmastyle"), stories = known("stories260K");
  Rng rng(8);
  for (int i = 0; i < 1000; ++i) {
    const std::string text = random_text(rng, true);
    ASSERT_EQ(gemma->decode(gemma->encode(text, false).ids), text);
    ASSERT_EQ(stories->decode(stories->encode(text, false).ids), text);
  }
}

TEST(TokenizerThreads, ManyEncodeAtOnce) {
  const auto t = known("qwen2style");
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  Rng rng(9);
  for (int i = 0; i < 200; ++i) {
    texts.push_back(random_text(rng, true));
    expected.push_back(t->encode(texts.back()).ids);
  }
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (size_t k = 0; k < wrong.size(); ++k) {
    threads.emplace_back([&, k] {
      for (size_t i = 0; i < texts.size(); ++i) wrong[k] += t->encode(texts[i]).ids != expected[i];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(TokenizerSingleToken, IsTheTokenInTheMiddleOfAText) {
  const auto stories = known("stories260K");
  EXPECT_EQ(stories->single_token(" the"), stories->id_of("▁the"));
  EXPECT_EQ(stories->single_token("he"), stories->id_of("he"));
  EXPECT_EQ(stories->single_token(" the dog and"), std::nullopt);
  EXPECT_EQ(stories->single_token(""), std::nullopt);
  EXPECT_EQ(stories->single_token("</s>"), 2);
  EXPECT_EQ(stories->display(*stories->id_of("▁the")), " the");
  const auto llama = known("llama3style");
  EXPECT_EQ(llama->single_token(" the"), llama->id_of("Ġthe"));
  EXPECT_EQ(llama->single_token("\n"), llama->id_of("Ċ"));
  EXPECT_EQ(llama->display(*llama->id_of("Ġthe")), " the");
  // A piece whose text is its own comes back from that text, in every kind of tokenizer. Merging can make another
  // choice for a few, so the answer may be another token of the same text or none, but never a wrong one.
  for (const char* name : {"llama3style", "qwen2style", "gemmastyle", "stories260K"}) {
    const auto t = known(name);
    int same = 0, words = 0;
    for (int64_t id = 0; id < t->vocab_size(); ++id) {
      const std::string text = t->display(id);
      if (text.empty() || text.find("\uFFFD") != std::string::npos) continue;
      ++words;
      const auto found = t->single_token(text);
      if (!found) continue;
      EXPECT_EQ(t->display(*found), text) << name << " " << id;
      same += *found == id;
    }
    EXPECT_GT(same, words * 6 / 10) << name;
    EXPECT_GT(words, 200) << name;
  }
}

class TokenizerFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("microtome_tokenizer_" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write(const char* name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  std::shared_ptr<const Tokenizer> open() { return Tokenizer::open_folder(folder_.string()).value(); }
  std::filesystem::path folder_;
};

TEST_F(TokenizerFolder, StartAndEndTokens) {
  EXPECT_EQ(open(), nullptr);
  Json json = bpe({"<s>", "</s>", "a"}, {});
  write("tokenizer.json", json.dump());
  EXPECT_EQ(open()->bos_id(), std::nullopt);
  const std::string bare = open()->hash();
  EXPECT_EQ(bare.size(), 64u);
  EXPECT_EQ(bare, parse(json)->hash());
  write("config.json", R"({"bos_token_id": 0, "eos_token_id": [1, 2], "rope_theta": 1e4})");
  EXPECT_EQ(open()->bos_id(), 0);
  EXPECT_EQ(open()->eos_id(), 1);
  EXPECT_NE(open()->hash(), bare);
  write("config.json", R"({"bos_token_id": 99})");   // no such token
  EXPECT_EQ(open()->bos_id(), std::nullopt);
  write("config.json", R"({"bos_token_id": 0})");
  write("special_tokens_map.json", R"({"bos_token": "</s>", "eos_token": {"content": "a"}})");
  EXPECT_EQ(open()->bos_id(), 1);
  EXPECT_EQ(open()->eos_id(), 2);
  write("tokenizer_config.json", R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>"})");
  EXPECT_EQ(open()->bos_id(), 0);
  EXPECT_EQ(open()->eos_id(), 1);
  EXPECT_FALSE(open()->adds_bos());
  write("tokenizer_config.json", R"({"bos_token": null})");   // says that there is none
  EXPECT_EQ(open()->bos_id(), std::nullopt);
  EXPECT_EQ(open()->eos_id(), 2);
  write("tokenizer_config.json", R"({"bos_token": 7})");
  const auto bad = Tokenizer::open_folder(folder_.string());
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.status().text().find("bos_token"), std::string::npos);
  EXPECT_NE(bad.status().text().find("tokenizer_config.json"), std::string::npos);
}

TEST_F(TokenizerFolder, TheTemplateMayPutTheStartTokenInFront) {
  Json json = bpe({"<s>", "</s>", "a"}, {});
  json["post_processor"] = Json::parse(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "</s>", "type_id": 0}}],
      "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                                     "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}})");
  write("tokenizer.json", json.dump());
  write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false})");
  const auto t = open();
  EXPECT_TRUE(t->adds_bos());
  const Encoding e = t->encode("aa");
  EXPECT_EQ(e.ids, Ids({0, 2, 2, 1}));
  EXPECT_EQ(e.pieces, std::vector<std::string>({"<s>", "a", "a", "</s>"}));
  EXPECT_EQ(e.offsets, Offsets({{0, 0}, {0, 1}, {1, 2}, {0, 0}}));
  EXPECT_EQ(t->encode("aa", false).ids, Ids({2, 2}));
  write("tokenizer_config.json", R"({"bos_token": "a"})");
  EXPECT_FALSE(open()->adds_bos());
}

TEST(TokenizerText, MustBeUtf8) {
  const auto t = known("llama3style");
  for (const auto& [text, at] : std::vector<std::pair<std::string, std::string>>{
           {"ab\xFF", "byte 2"}, {"\xC0\x80", "byte 0"}, {"a\xED\xA0\x80", "byte 1"}, {"abc\xE2\x82", "byte 3"}}) {
    try {
      t->encode(text);
      FAIL() << at;
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kBadInput);
      EXPECT_NE(e.status().what().find(at), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace microtome
