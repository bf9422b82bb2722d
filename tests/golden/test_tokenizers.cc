// Ids, pieces, offsets and texts against what the `tokenizers` library gave (golden/tokenizers), exactly.
#include <gtest/gtest.h>

#include <iostream>

#include "core/base/json.h"
#include "core/io/tokenizer.h"
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
  EXPECT_GE(run, 4);
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
  EXPECT_GE(run, 4);
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
