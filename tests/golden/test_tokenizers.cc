// Ids, pieces, offsets and texts against what the `tokenizers` library gave (golden/tokenizers), exactly.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "core/base/json.h"
#include "core/io/tokenizer.h"
#include "core/io/tokenizer/rwkv_tokenizer.h"
#include "tests/golden_path.h"

namespace microtome {
namespace {

struct Named {
  const char* name;
  const char* tokenizer;
};
constexpr Named kTokenizers[] = {
    {"llama3style", "data/tokenizers/small/llama3style.json"}, {"qwen2style", "data/tokenizers/small/qwen2style.json"},
    {"gemmastyle", "data/tokenizers/small/gemmastyle.json"},   {"stories260K", "models/stories260K/tokenizer.json"},
    {"unigram", "data/tokenizers/small/unigram.json"},         {"wordpiece", "data/tokenizers/small/wordpiece.json"},
    {"gpt2", "data/tokenizers/gpt2/tokenizer.json"},
    {"gpt-neox-20b", "data/tokenizers/gpt-neox-20b/20B_tokenizer.json"},
};

struct Loaded {
  std::shared_ptr<const Tokenizer> tokenizer;
  Json golden;
};

// Null tokenizer: the reference is not on this machine.
Loaded load(const Named& named) {
  const std::string tokenizer = testing::golden_path(named.tokenizer);
  const std::string golden = testing::golden_path(std::string("golden/tokenizers/") + named.name + ".json");
  if (tokenizer.empty() || golden.empty()) {
    std::cout << "[ note     ] the reference for " << named.name << " was not found\n";
    return {};
  }
  return {Tokenizer::open(tokenizer).value(), read_json_file(golden).value()};
}

using Ids = std::vector<int64_t>;
using Offsets = std::vector<std::pair<int64_t, int64_t>>;

TEST(GoldenTokenizers, CasesAreExact) {
  int run = 0;
  for (const Named& named : kTokenizers) {
    const Loaded l = load(named);
    if (!l.tokenizer) continue;
    ++run;
    EXPECT_EQ(l.tokenizer->vocab_size(), l.golden.at("vocab_size").get<int64_t>()) << named.name;
    ASSERT_EQ(l.golden.at("cases").size(), 200u);
    int wrong = 0;
    for (const Json& c : l.golden.at("cases")) {
      const auto text = c.at("text").get<std::string>();
      const Encoding e = l.tokenizer->encode(text, false);
      const Encoding special = l.tokenizer->encode(text, true);
      const bool good =
          e.ids == c.at("ids").get<Ids>() && e.pieces == c.at("tokens").get<std::vector<std::string>>() &&
          e.offsets == c.at("offsets").get<Offsets>() && special.ids == c.at("ids_with_special").get<Ids>() &&
          l.tokenizer->decode(e.ids) == c.at("decoded").get<std::string>() &&
          l.tokenizer->decode(special.ids, true) == c.at("decoded_skip_special").get<std::string>();
      if (good || ++wrong > 5) continue;
      ADD_FAILURE() << named.name << ": " << c.dump() << "\nids " << Json(e.ids) << "\npieces " << Json(e.pieces)
                    << "\noffsets " << Json(e.offsets) << "\nwith special " << Json(special.ids) << "\ndecoded "
                    << Json(l.tokenizer->decode(e.ids)) << "\nskipping special "
                    << Json(l.tokenizer->decode(special.ids, true));
    }
    EXPECT_EQ(wrong, 0) << named.name;
  }
  EXPECT_GE(run, 6);
}

TEST(GoldenTokenizers, EveryPrefixDecodesExactly) {
  int run = 0;
  for (const Named& named : kTokenizers) {
    const Loaded l = load(named);
    if (!l.tokenizer) continue;
    ++run;
    ASSERT_EQ(l.golden.at("decode_only").size(), 20u);
    for (const Json& c : l.golden.at("decode_only")) {
      const Ids ids = c.at("ids").get<Ids>();
      EXPECT_EQ(l.tokenizer->decode(ids), c.at("text").get<std::string>()) << named.name << " " << c.dump();
      ASSERT_EQ(c.at("prefix_texts").size(), ids.size());
      for (size_t n = 1; n <= ids.size(); ++n) {
        EXPECT_EQ(l.tokenizer->decode(Ids(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(n))),
                  c.at("prefix_texts")[n - 1].get<std::string>())
            << named.name << " " << c.dump();
      }
    }
  }
  EXPECT_GE(run, 6);
}

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

TEST(GoldenTokenizers, RwkvWorldIsExactOnBytes) {
  const std::string vocabulary = testing::golden_path("data/tokenizers/rwkv-world/rwkv_vocab_v20230424.txt");
  const std::string golden_file = testing::golden_path("golden/tokenizers/rwkv-world.json");
  ASSERT_FALSE(vocabulary.empty() || golden_file.empty());
  const auto shared = Tokenizer::open(vocabulary).value();
  const auto* t = dynamic_cast<const tok::RwkvTokenizer*>(shared.get());
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->vocab_size(), 65530);
  const Json golden = read_json_file(golden_file).value();
  for (const char* part : {"cases", "raw_bytes"})
    for (const Json& c : golden.at(part)) {
      const std::string bytes = from_hex(c.at("bytes_hex").get<std::string>());
      const Ids ids = c.at("ids").get<Ids>();
      EXPECT_EQ(t->encode_bytes(bytes), ids) << c.dump();
      EXPECT_EQ(t->decode_bytes(ids), bytes) << c.dump();
      if (!c.contains("text")) continue;
      const auto text = c.at("text").get<std::string>();
      const Encoding e = t->encode(text, true);
      EXPECT_EQ(e.ids, ids) << c.dump();
      EXPECT_EQ(e.pieces.size(), ids.size());
      EXPECT_EQ(t->decode(ids, false), text) << c.dump();
    }
  // The repository holds a part of the entries (subset.py), each under its id.
  const char* root = std::getenv("MICROTOME_GOLDEN");
  const bool whole = root && *root && vocabulary.rfind(root, 0) == 0;
  int64_t entries = 0;
  for (int64_t id = 0; id < t->vocab_size(); ++id) {
    if (!whole && t->piece(id).empty()) continue;
    ASSERT_EQ(t->id_of(t->piece(id)), id);
    ++entries;
  }
  EXPECT_TRUE(whole ? entries == t->vocab_size() : entries > 2000) << entries;
}

TEST(RwkvTokenizer, ReadsLiteralsAndFindsTheLongest) {
  const tok::RwkvTokenizer t("1 'a' 1\n2 'ab' 2\n3 \"'\" 1\n4 b'\\xc3' 1\n5 '\\xe9' 2\n6 b'\\xa9x' 2\n7 'b' 1\n"
                             "8 'abba' 4\n", "v.txt");
  EXPECT_EQ(t.encode("abb'", true).ids, (Ids{2, 7, 3}));
  EXPECT_EQ(t.encode("abba", true).ids, (Ids{8}));
  EXPECT_EQ(t.encode("a\u00e9", true).ids, (Ids{1, 5}));
  EXPECT_EQ(t.encode("\u00e9a", true).offsets, (Offsets{{0, 1}, {1, 2}}));
  // The character of two bytes is the longest, and then nothing begins with x.
  EXPECT_THROW(t.encode_bytes("\xc3\xa9x"), Error);
  EXPECT_EQ(t.encode_bytes("\xc3\xc3"), (Ids{4, 4}));
  EXPECT_EQ(t.piece(6), "b'\\xa9x'");
  EXPECT_EQ(t.display(6), "\xef\xbf\xbdx");
  EXPECT_EQ(t.decode({1, 0, 7}, true), "ab");
  EXPECT_EQ(t.decode({1, 0, 7}, false), "a<|endoftext|>b");
  EXPECT_THROW(t.decode({9}, false), Error);
}

TEST(RwkvTokenizer, RefusesMalformedFilesByLine) {
  auto refusal = [](const std::string& text) {
    try {
      tok::RwkvTokenizer t(text, "v.txt");
    } catch (const Error& e) {
      return e.status().text();
    }
    return std::string();
  };
  for (const char* text : {"", "x", "1 'a'", "0 'a' 1", "1 'a' 2", "1 'a 1", "1 'a' 1\n1 'b' 1", "1 'a' 1\n2 'a' 1",
                           "1 '\\q' 1", "1 '\\x4' 1", "1 '\\ud800' 3", "99999999999999999999 'a' 1", "1 '' 0",
                           "1048576 'a' 1", "1 b'\\xc3' 1\n2 b\"\\xc3\" 1", "1 '\xc3' 1"}) {
    const std::string message = refusal(text);
    EXPECT_FALSE(message.empty()) << text;
    EXPECT_NE(message.find("v.txt"), std::string::npos) << message;
  }
  EXPECT_NE(refusal("1 'a' 1\n2 'b' 7").find("line 2"), std::string::npos);
}

TEST(GoldenTokenizers, SpecialTokensAndSpellingsOfTheKnownFiles) {
  const auto open = [](const Named& n) { return Tokenizer::open(testing::golden_path(n.tokenizer)).value(); };
  const auto llama = open(kTokenizers[0]), qwen = open(kTokenizers[1]), stories = open(kTokenizers[3]);
  EXPECT_TRUE(llama->adds_bos());
  EXPECT_EQ(llama->bos_id(), llama->id_of("<|begin_of_text|>"));
  EXPECT_FALSE(qwen->adds_bos());
  EXPECT_EQ(qwen->bos_id(), std::nullopt);
  EXPECT_TRUE(stories->adds_bos());
  EXPECT_EQ(stories->bos_id(), 1);
  for (const auto& t : {llama, qwen, stories}) {
    for (int64_t id = 0; id < t->vocab_size(); ++id) {
      ASSERT_EQ(t->id_of(t->piece(id)), id);
      ASSERT_FALSE(t->display(id).empty()) << id;
    }
  }
}

}  // namespace
}  // namespace microtome
