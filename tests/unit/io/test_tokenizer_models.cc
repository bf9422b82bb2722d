// Unigram and WordPiece, and the stages that BERT's files use. Expected values are those of the `tokenizers` library
// (0.23.3) on the same JSON, but for the exhaustive search.
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <map>

#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/io/tokenizer.h"

namespace microtome {
namespace {

using Ids = std::vector<int64_t>;
using Pieces = std::vector<std::string>;
using Offsets = std::vector<std::pair<int64_t, int64_t>>;

std::shared_ptr<const Tokenizer> parse(const Json& json) { return Tokenizer::parse(json.dump(), "test.json").value(); }

std::string refusal(const Json& json) {
  const auto r = Tokenizer::parse(json.dump(), "test.json");
  return r.is_ok() ? "accepted" : r.status().text();
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

Json unigram(const std::vector<std::pair<std::string, double>>& pieces, const Json& unk_id, bool byte_fallback = false) {
  Json vocab = Json::array();
  for (const auto& [piece, score] : pieces) vocab.push_back(Json::array({piece, score}));
  return {{"added_tokens", Json::array()},
          {"model", {{"type", "Unigram"}, {"unk_id", unk_id}, {"vocab", vocab}, {"byte_fallback", byte_fallback}}}};
}

Json word_piece(const std::vector<std::string>& vocab) {
  Json json = {{"added_tokens", Json::array()},
               {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
               {"model", {{"type", "WordPiece"}, {"vocab", Json::object()}}}};
  for (size_t i = 0; i < vocab.size(); ++i) json["model"]["vocab"][vocab[i]] = i;
  return json;
}

TEST(TokenizerUnigram, TheBestOfAllSpellings) {
  Rng rng(3);
  for (int round = 0; round < 30; ++round) {
    std::map<std::string, double> scores = {{"a", -1.0 - rng.uniform()}, {"b", -3 * rng.uniform()}, {"\u00e9", -4.0}};
    for (int i = 0; i < 12; ++i) {
      std::string piece;
      for (uint64_t n = 2 + rng.below(3); n > 0; --n) piece += std::vector<std::string>{"a", "b", "\u00e9"}[rng.below(3)];
      scores[piece] = -6 * rng.uniform();
    }
    std::vector<std::pair<std::string, double>> pieces(scores.begin(), scores.end());
    const auto t = parse(unigram(pieces, nullptr));
    for (int i = 0; i < 10; ++i) {
      std::string text;
      for (uint64_t n = 1 + rng.below(9); n > 0; --n) text += std::vector<std::string>{"a", "b", "\u00e9"}[rng.below(3)];
      const std::function<double(const std::string&)> best = [&](const std::string& rest) {
        if (rest.empty()) return 0.0;
        double top = -std::numeric_limits<double>::infinity();
        for (const auto& [piece, score] : scores)
          if (rest.starts_with(piece)) top = std::max(top, score + best(rest.substr(piece.size())));
        return top;
      };
      const Encoding e = t->encode(text);
      double got = 0;
      std::string joined;
      for (const std::string& p : e.pieces) {
        got += scores.at(p);
        joined += p;
      }
      EXPECT_EQ(joined, text);
      EXPECT_NEAR(got, best(text), 1e-12) << text;
    }
  }
}

TEST(TokenizerUnigram, UnknownsFuseAndSpellThemselves) {
  const auto t = parse(unigram({{"<unk>", 0}, {"a", -1}, {"xy", -2}, {"--", -5}}, 0));
  const Encoding e = t->encode("a\u00e9\u00e8a-a--");
  EXPECT_EQ(e.ids, (Ids{1, 0, 1, 0, 1, 3}));
  EXPECT_EQ(e.pieces, (Pieces{"a", "\u00e9\u00e8", "a", "-", "a", "--"}));
  EXPECT_EQ(e.offsets, (Offsets{{0, 1}, {1, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 8}}));
  EXPECT_EQ(t->encode("x").ids, (Ids{0}));
  EXPECT_EQ(t->encode("axya").ids, (Ids{1, 2, 1}));
  // Of twins the last one holds; of equal scores the shorter way is found first.
  EXPECT_EQ(parse(unigram({{"a", -1}, {"a", -3}}, nullptr))->encode("a").ids, (Ids{1}));
  EXPECT_EQ(parse(unigram({{"a", -1}, {"b", -1}, {"ab", -2}}, nullptr))->encode("ab").ids, (Ids{2}));
}

TEST(TokenizerUnigram, ByteFallbackSpellsUnknownsInBytes) {
  std::vector<std::pair<std::string, double>> pieces = {{"<unk>", 0}, {"a", -1}, {"<0xC3>", -9}, {"<0xA9>", -9}};
  const auto t = parse(unigram(pieces, 0, true));
  const Encoding e = t->encode("a\u00e9a\u00e9\u00e8");
  EXPECT_EQ(e.ids, (Ids{1, 2, 3, 1, 0}));      // the last run has a byte without a piece
  EXPECT_EQ(e.pieces, (Pieces{"a", "<0xC3>", "<0xA9>", "a", "\u00e9\u00e8"}));
  EXPECT_EQ(e.offsets, (Offsets{{0, 1}, {1, 2}, {1, 2}, {2, 3}, {3, 5}}));
  EXPECT_EQ(parse(unigram(pieces, 0, false))->encode("\u00e9").ids, (Ids{0}));
}

TEST(TokenizerUnigram, LongTextsAndBadFiles) {
  std::vector<std::pair<std::string, double>> pieces = {{"<unk>", 0}};
  for (size_t n = 1; n <= 64; ++n) pieces.emplace_back(std::string(n, 'a'), -1.0 - 1.0 / static_cast<double>(n));
  const auto t = parse(unigram(pieces, 0));
  std::string text(size_t{1} << 20, 'a');
  for (size_t i = 0; i < text.size(); i += 3) text[i] = 'b';
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(t->encode(std::string(size_t{1} << 20, 'a')).ids.size(), size_t{1} << 14);
  EXPECT_EQ(t->encode(text).ids.size(), 2 * (text.size() / 3) + 1);      // each b is an unknown of its own
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));

  try {
    parse(unigram({{"a", -1}}, nullptr))->encode("ab\u00e9");
    ADD_FAILURE() << "spelt without an unknown piece";
  } catch (const Error& e) {
    EXPECT_HAS(e.status().text(), "'b' is in no piece");
  }
  EXPECT_HAS(refusal(unigram({{"a", -1}}, 1)), "'unk_id' is 1");
  EXPECT_HAS(refusal(unigram({{"a", -1}}, -2)), "'unk_id' is -2");
  EXPECT_HAS(refusal(unigram({}, 0)), "'unk_id' is 0");
  EXPECT_HAS(refusal(unigram({{std::string(5000, 'a'), -1}}, 0)), "5000 bytes");
  for (const Json& vocab : {Json::object(), Json{{"a"}}, Json{{1, 2}}, Json{{"a", "b"}}, Json{{"a", 1, 2}}}) {
    Json json = unigram({}, nullptr);
    json["model"]["vocab"] = vocab;
    EXPECT_HAS(refusal(json), "[piece, score]");
  }
}

TEST(TokenizerWordPiece, TheLongestEachTime) {
  Json json = word_piece({"[UNK]", "un", "##aff", "##able", "##a", "unaff", "a", "##ffx", "\u00e9", "##\u00e9"});
  const auto t = parse(json);
  EXPECT_EQ(t->encode("unaffable").ids, (Ids{5, 3}));
  EXPECT_EQ(t->encode("unaffable").offsets, (Offsets{{0, 5}, {5, 9}}));
  EXPECT_EQ(t->encode("una a\u00e9").pieces, (Pieces{"un", "##a", "a", "##\u00e9"}));
  // The longest leads nowhere, and no other is tried: the whole word is unknown.
  const Encoding lost = t->encode("a unaffx a");
  EXPECT_EQ(lost.ids, (Ids{6, 0, 6}));
  EXPECT_EQ(lost.offsets, (Offsets{{0, 1}, {2, 8}, {9, 10}}));
  json["model"]["max_input_chars_per_word"] = 3;
  EXPECT_EQ(parse(json)->encode("una unaa a\u00e9\u00e9").ids, (Ids{1, 4, 0, 6, 9, 9}));
  json["model"]["continuing_subword_prefix"] = "";
  EXPECT_EQ(parse(json)->encode("una").ids, (Ids{1, 6}));
  json["model"]["max_input_chars_per_word"] = -1;
  EXPECT_HAS(refusal(json), "'max_input_chars_per_word' is -1");
  json["model"]["max_input_chars_per_word"] = 100;
  json["model"]["unk_token"] = "<none>";
  EXPECT_THROW(parse(json)->encode("zzz"), Error);
  EXPECT_EQ(parse(json)->encode("a").ids, (Ids{6}));
  json["model"]["vocab"] = Json::array();
  EXPECT_HAS(refusal(json), "'model.vocab' must be an object");
  // A word of a megabyte, if the file allows it.
  Json longest = word_piece({"[UNK]", "a", "##a", "##aaaaaaaa"});
  longest["model"]["max_input_chars_per_word"] = int64_t{1} << 40;
  EXPECT_EQ(parse(longest)->encode(std::string((1 << 20) + 1, 'a')).ids.size(), size_t{1} + (1 << 17));
}

TEST(TokenizerWordPiece, DecoderJoinsAndCleansUp) {
  Json json = word_piece({"do", "not", "##n", ".", "'", "s", "'s", "##.", "n't", "x"});
  json["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  EXPECT_EQ(parse(json)->decode({0, 1, 2, 3}), "do notn.");
  EXPECT_EQ(parse(json)->decode({2, 0}), "##n do");
  EXPECT_EQ(parse(json)->decode({9, 4, 5, 6, 8, 7}), "x ' s'sn't.");
  json["decoder"]["cleanup"] = false;
  EXPECT_EQ(parse(json)->decode({9, 6, 3, 2}), "x 's .n");
}

TEST(TokenizerBert, NormalizerAndClassesOfCharacters) {
  Json json = word_piece({"[UNK]", "a", "##a", "##b", "e", "##e", "[CLS]", "[SEP]"});
  json["normalizer"] = {{"type", "BertNormalizer"}, {"clean_text", true}, {"handle_chinese_chars", true},
                        {"strip_accents", nullptr}, {"lowercase", true}};
  json["post_processor"] = {{"type", "BertProcessing"}, {"sep", {"[SEP]", 7}}, {"cls", {"[CLS]", 6}}};
  const auto t = parse(json);
  EXPECT_EQ(t->encode("a").ids, (Ids{6, 1, 7}));
  EXPECT_EQ(t->encode("a").pieces, (Pieces{"[CLS]", "a", "[SEP]"}));
  const auto ids = [](const std::shared_ptr<const Tokenizer>& tokenizer, const std::string& between) {
    return tokenizer->encode("A" + between + "a", false).ids;
  };
  const Ids gone = {1, 2}, apart = {1, 1}, letter = {0}, isolated = {1, 0, 1};
  for (const auto& [text, want] : std::vector<std::pair<std::string, Ids>>{
           {std::string(1, '\0'), gone}, {"\ufffd", gone}, {"\u0007", gone}, {"\u200b", gone}, {"\ue000", gone},
           {"\U0010ffff", letter},       // unassigned
           {"\t", apart}, {"\r", apart}, {"\u3000", apart}, {"\u0301", gone}, {"B", {1, 3, 2}}, {"!", isolated},
           {"\u4e16", isolated}, {"\U0002b820", letter}, {"\U0002b920", isolated},
           // As of Unicode 8.0: later punctuation and marks are letters, and some categories have changed.
           {"\u2e42", isolated}, {"\u2e43", letter}, {"\u166d", isolated}, {"\u1734", gone}, {"\u1885", letter},
           {"\ua9bd", letter}, {"\u08e2", letter}, {"\u1df6", letter}})
    EXPECT_EQ(ids(t, text), want) << text;
  EXPECT_EQ(t->encode("a\u00c9\u4e16", false).offsets, (Offsets{{0, 1}, {1, 2}, {2, 3}}));
  json["normalizer"]["lowercase"] = false;
  EXPECT_EQ(parse(json)->encode("a\u00e9", false).ids, (Ids{0}));
  EXPECT_EQ(parse(json)->encode("aB", false).ids, (Ids{0}));
  json["normalizer"]["strip_accents"] = true;
  EXPECT_EQ(parse(json)->encode("a\u00e9", false).ids, (Ids{1, 5}));
  json["normalizer"]["handle_chinese_chars"] = false;
  EXPECT_EQ(parse(json)->encode("a\u4e16" "a", false).ids, (Ids{0}));
  json["normalizer"]["clean_text"] = false;
  EXPECT_EQ(parse(json)->encode("a\u200b" "a", false).ids, (Ids{0}));
  json["post_processor"]["cls"] = {"[CLS]", 8};
  EXPECT_HAS(refusal(json), "'cls'");
  json["post_processor"] = {{"type", "RobertaProcessing"}, {"sep", {"[SEP]", 7}}, {"cls", {"[CLS]", 6}}};
  EXPECT_EQ(parse(json)->encode("a").ids, (Ids{6, 1, 7}));
}

// A double array as in Darts-clone, each node's children in 256 units of their own, and the replacements behind it.
std::string charsmap(const std::map<std::string, std::string>& table) {
  std::vector<std::map<uint8_t, size_t>> nodes(1);
  std::map<size_t, uint32_t> leaves;
  std::string texts;
  for (const auto& [key, by] : table) {
    size_t n = 0;
    for (const char c : key) {
      const auto [child, fresh] = nodes[n].emplace(static_cast<uint8_t>(c), nodes.size());
      n = child->second;
      if (fresh) nodes.emplace_back();
    }
    leaves[n] = static_cast<uint32_t>(texts.size());
    texts += by + '\0';
  }
  std::vector<uint32_t> units(256 * (nodes.size() + 1), 0x80000000), place(nodes.size(), 0);
  for (size_t n = 0; n < nodes.size(); ++n) {
    const auto base = static_cast<uint32_t>(256 * (n + 1));
    units[place[n]] = (n == 0 ? 0 : place[n] & 0xFF) | (place[n] ^ base) << 10;
    if (leaves.count(n)) {
      units[place[n]] |= 0x100;
      units[base] = 0x80000000 | leaves[n];
    }
    for (const auto& [byte, child] : nodes[n]) place[child] = base ^ byte;
  }
  units.insert(units.begin(), static_cast<uint32_t>(4 * units.size()));
  std::string bytes;
  for (const uint32_t u : units)
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(u >> (8 * i));
  return bytes + texts;
}

std::string base64(const std::string& bytes) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t v = 0;
    for (size_t k = 0; k < 3; ++k) v = v << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : digits[v >> (18 - 6 * k) & 63];
  }
  return out;
}

TEST(TokenizerCharsmap, ReplacesAsSentencePieceDoes) {
  const std::string table = charsmap({{"\t", " "}, {"e\u0301", "\u00e9"}, {"\ufb01", "fi"}, {"\u200b", ""},
                                      {"\u2026", "..."}, {"a\u0308", "X"}, {"q", "QQ"}});
  std::vector<std::pair<std::string, double>> pieces;
  for (const char* c : {"a", "b", "e", "f", "i", "n", "Q", "X", " ", "\u00e9", ".", "\u0301", "\u0308"})
    pieces.emplace_back(c, -1);
  Json json = unigram(pieces, nullptr);
  json["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", base64(table)}};
  const auto t = parse(json);
  const auto expect = [&](const std::string& text, const std::string& normal, const Offsets& offsets) {
    const Encoding e = t->encode(text);
    std::string got;
    for (const std::string& p : e.pieces) got += p;
    EXPECT_EQ(got, normal);
    EXPECT_EQ(e.offsets, offsets) << text;
  };
  expect("\ufb01n", "fin", {{0, 1}, {0, 1}, {1, 2}});
  expect("e\u0301\ta", "\u00e9 a", {{0, 1}, {2, 3}, {3, 4}});
  expect("a\u0308\u0301b", "Xb", {{0, 1}, {3, 4}});      // the shortest entry stands for the whole cluster
  expect("a\u200b" "b", "ab", {{0, 1}, {2, 3}});
  expect("\u200b" "ab", "ab", {{0, 1}, {1, 2}});
  expect("q\u2026", "QQ...", {{0, 1}, {0, 1}, {1, 2}, {1, 2}, {1, 2}});
  expect("e\u0308", "e\u0308", {{0, 1}, {1, 2}});

  const auto with = [&](const std::string& encoded) {
    json["normalizer"]["precompiled_charsmap"] = encoded;
    return refusal(json);
  };
  EXPECT_HAS(with("a*=="), "not base64");
  EXPECT_HAS(with("abc"), "not base64");
  EXPECT_HAS(with(""), "too short");
  EXPECT_HAS(with(base64(std::string("\xff\xff\xff\x7f", 4) + "abcd")), "a length that it does not have");
  EXPECT_HAS(with(base64(table + "\xff")), "not UTF-8");
  EXPECT_EQ(with(base64(table)), "accepted");
  // A table whose entries point nowhere is refused when text meets one of them; no unit outside it is looked at.
  std::string cut = table;
  cut.resize(cut.size() - 18);      // all replacements
  EXPECT_EQ(with(base64(cut)), "accepted");
  EXPECT_THROW(parse(json)->encode("q"), Error);
  EXPECT_EQ(with(base64(std::string("\x04\0\0\0\xff\xff\xff\xff", 8))), "accepted");
  EXPECT_EQ(parse(json)->encode("ab").ids, (Ids{0, 1}));
}

}  // namespace
}  // namespace microtome
