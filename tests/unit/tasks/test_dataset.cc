// Reading, writing and tokenising dataset lines.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/tasks/task.h"
#include "tests/unit/tasks/word_tokenizer.h"

namespace microtome {
namespace {

using testing::WordTokenizer;

class DatasetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / (std::string("microtome_dataset_") + info->name());
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "pairs.jsonl").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Result<Dataset> read(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    return read_dataset(path_);
  }
  // The error's sentence; the file and the line must be named in it.
  std::string error(const std::string& line) {
    const Result<Dataset> r = read("{\"clean\": \"a\"}\n" + line + "\n");
    EXPECT_FALSE(r.is_ok()) << line;
    EXPECT_EQ(r.status().exit_code(), 2) << line;
    EXPECT_NE(r.status().where().find(path_ + ", line 2"), std::string::npos) << r.status().text();
    return r.status().text();
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  std::filesystem::path folder_;
  std::string path_;
  WordTokenizer tokenizer_{{" Mary", " John", " gave", " to", " Tom", "When", " and"}};
};

TEST_F(DatasetTest, ReadsAllFields) {
  const Dataset d = read("\xEF\xBB\xBF{\"clean\": \"a b\", \"corrupted\": \"a c\", \"answer\": \" d\", "
                         "\"wrong_answers\": [\" e\"], \"positions\": {\"end\": 1, \"differs\": [1, 2], "
                         "\"none\": null, \"empty\": []}, \"order\": \"ABBA\", "
                         "\"n\": 3, \"args\": [\"x\", \"y\"], \"nothing\": null, \"corrupted_answer\": null}\r\n"
                         "\n"
                         "{\"clean_ids\": [1, 2], \"answer_ids\": [5, 6], \"answer_id\": 6, \"wrong_ids\": [7]}")
                        .value();
  EXPECT_EQ(d.name, "pairs.jsonl");
  ASSERT_EQ(d.pairs.size(), 2u);
  const PromptPair& a = d.pairs[0];
  EXPECT_EQ(a.clean, "a b");
  EXPECT_EQ(a.corrupted, "a c");
  EXPECT_EQ(a.answers, std::vector<std::string>{" d"});
  EXPECT_EQ(a.wrong_answers, std::vector<std::string>{" e"});
  EXPECT_EQ(a.positions, (std::map<std::string, int64_t>{{"differs", 1}, {"differs_1", 2}, {"end", 1}}));
  EXPECT_EQ(a.labels, (std::map<std::string, std::string>{{"order", "ABBA"}, {"n", "3"}, {"args", "[\"x\",\"y\"]"}}));
  EXPECT_EQ(a.line, 1);
  const PromptPair& b = d.pairs[1];
  EXPECT_EQ(b.clean_ids, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(b.answer_ids, (std::vector<int64_t>{5, 6}));
  EXPECT_EQ(b.line, 3);
  EXPECT_TRUE(b.corrupted_ids.empty());
}

TEST_F(DatasetTest, ErrorsNameFileLineAndField) {
  EXPECT_TRUE(has(error("{\"corrupted\": \"x\"}"), "field 'clean' is missing"));
  EXPECT_TRUE(has(error("{\"clean\": 3}"), "field 'clean' must be a text"));
  EXPECT_TRUE(has(error("{\"clean\": \"\"}"), "field 'clean' is empty"));
  EXPECT_TRUE(has(error("{\"clean_ids\": [1.5]}"), "field 'clean_ids' must hold whole numbers"));
  EXPECT_TRUE(has(error("{\"clean_ids\": [-1]}"), "-1"));
  EXPECT_TRUE(has(error("{\"clean_ids\": [18446744073709551615]}"), "18446744073709551615"));
  EXPECT_TRUE(has(error("{\"clean_ids\": \"12\"}"), "field 'clean_ids' must be a list"));
  EXPECT_TRUE(has(error("{\"clean\": \"a\", \"answers\": \" b\"}"), "field 'answers' must be a list"));
  EXPECT_TRUE(has(error("{\"clean\": \"a\", \"answers\": [\" b\"], \"answer\": \" c\"}"), "not among 'answers'"));
  EXPECT_TRUE(has(error("{\"clean\": \"a\", \"wrong_answers\": [\" b\"], \"wrong_ids\": [1, 2]}"), "'wrong_ids' 2"));
  EXPECT_TRUE(has(error("{\"clean\": \"a\", \"positions\": [1]}"), "field 'positions' must be an object"));
  EXPECT_TRUE(has(error("{\"clean\": \"a\", \"positions\": {\"end\": \"1\"}}"), "'end'"));
  EXPECT_TRUE(has(error("{\"clean\": \"a\", \"positions\": {\"d\": [0, 1], \"d_1\": 0}}"), "twice"));
  error("[1, 2]");
  error("{\"clean\": \"a\", \"clean\": \"b\"}");
  error("{\"clean\": \"a\"");
  error("{\"clean\": " + std::string(100, '[') + std::string(100, ']') + "}");
  error("{\"clean\": \"" + std::string((size_t{4} << 20), 'x') + "\"}");
}

TEST_F(DatasetTest, RefusesWhatIsNotAPlainFile) {
  EXPECT_EQ(read_dataset((folder_ / "none.jsonl").string()).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(read_dataset(folder_.string()).status().code(), StatusCode::kBadInput);
  EXPECT_EQ(read("\n\n").status().code(), StatusCode::kBadInput);
  // A sparse file over the limit is refused by its size.
  std::ofstream(path_, std::ios::binary) << "{}";
  std::filesystem::resize_file(path_, (uintmax_t{1} << 30) + 1);
  EXPECT_TRUE(has(read_dataset(path_).status().text(), "larger than 1 GB"));
}

TEST_F(DatasetTest, WritesWhatItReads) {
  Dataset d = read("{\"clean\": \"When Mary\", \"corrupted\": \"When John\", \"answers\": [\" to\", \" gave\"], "
                   "\"wrong_answers\": [\" Tom\"], \"positions\": {\"end\": 2}, "
                   "\"order\": \"ABBA\", \"text\": \"\xC3\xA9 \\\"q\\\"\"}\n")
                  .value();
  ASSERT_TRUE(tokenise(d, &tokenizer_, BosMode::kAuto, tokenizer_.vocab_size(), false).is_ok());
  const std::string out = (folder_ / "out.jsonl").string();
  ASSERT_TRUE(write_dataset(out, d).is_ok());
  Dataset back = read_dataset(out).value();
  EXPECT_EQ(back.hash(), d.hash());
  EXPECT_EQ(back.pairs[0].clean, d.pairs[0].clean);
  EXPECT_EQ(back.pairs[0].clean_ids, d.pairs[0].clean_ids);
  EXPECT_EQ(back.pairs[0].answer_ids, d.pairs[0].answer_ids);
  EXPECT_EQ(back.pairs[0].labels, d.pairs[0].labels);
}

TEST_F(DatasetTest, HashCoversWhatAffectsAnAnswer) {
  Dataset d;
  d.pairs.resize(1);
  PromptPair& p = d.pairs[0];
  p.clean_ids = {1, 2};
  p.corrupted_ids = {1, 3};
  p.answer_ids = {4};
  p.wrong_ids = {5};
  p.positions = {{"end", 1}};
  p.labels = {{"order", "ABBA"}};
  std::vector<std::string> hashes = {d.hash()};
  const auto differs = [&](auto change) {
    Dataset other = d;
    change(other.pairs[0]);
    for (const std::string& h : hashes) EXPECT_NE(other.hash(), h);
    hashes.push_back(other.hash());
  };
  differs([](PromptPair& q) { q.clean_ids[1] = 7; });
  differs([](PromptPair& q) { q.corrupted_ids[1] = 7; });
  differs([](PromptPair& q) { q.answer_ids[0] = 7; });
  differs([](PromptPair& q) { q.wrong_ids[0] = 7; });
  differs([](PromptPair& q) { q.positions["end"] = 0; });
  differs([](PromptPair& q) { q.labels["order"] = "BABA"; });
  differs([](PromptPair& q) { q.clean_ids = {}, q.clean = "x"; });
  EXPECT_EQ(d.hash(), Dataset(d).hash());
  Dataset renamed = d;
  renamed.name = "other";
  renamed.pairs[0].line = 9;
  EXPECT_EQ(renamed.hash(), d.hash());
}

TEST_F(DatasetTest, TokenisesTextWithTheStartToken) {
  const auto ids = [&](const Tokenizer& t, BosMode bos) { return prompt_ids(&t, "When Mary", bos).value(); };
  const int64_t when = *tokenizer_.id_of("When"), mary = *tokenizer_.id_of(" Mary");
  EXPECT_EQ(ids(tokenizer_, BosMode::kAuto), (std::vector<int64_t>{0, when, mary}));
  EXPECT_EQ(ids(tokenizer_, BosMode::kOn), (std::vector<int64_t>{0, when, mary}));
  EXPECT_EQ(ids(tokenizer_, BosMode::kOff), (std::vector<int64_t>{when, mary}));
  const std::vector<std::string> words = {"When", " Mary"};
  EXPECT_EQ(ids(WordTokenizer(words, true, true), BosMode::kAuto).size(), 3u);
  EXPECT_EQ(ids(WordTokenizer(words, true, true), BosMode::kOff).size(), 2u);
  EXPECT_EQ(ids(WordTokenizer(words, false), BosMode::kAuto).size(), 2u);
  const WordTokenizer none(words, false);
  EXPECT_EQ(prompt_ids(&none, "x", BosMode::kOn).status().code(), StatusCode::kBadInput);
  EXPECT_EQ(prompt_ids(nullptr, "x", BosMode::kAuto).status().code(), StatusCode::kBadInput);
}

class TokeniseTest : public DatasetTest {
 protected:
  std::string complaint(const std::string& lines, bool drop = false, const Tokenizer* tokenizer = nullptr,
                        int64_t vocab = 0) {
    Dataset d = read(lines).value();
    const std::string before = d.hash();
    const Status s = tokenise(d, tokenizer ? tokenizer : &tokenizer_, BosMode::kAuto,
                              vocab ? vocab : tokenizer_.vocab_size(), drop);
    EXPECT_FALSE(s.is_ok()) << lines;
    EXPECT_EQ(s.exit_code(), 2);
    EXPECT_EQ(d.hash(), before);
    return s.text();
  }
};

TEST_F(TokeniseTest, AnswersMustBeOneToken) {
  const std::string good = "{\"clean\": \"When Mary gave to\", \"answer\": \" John\"}\n";
  const std::string text = complaint(good + "{\"clean\": \"When Mary\", \"answer\": \" Xi\"}\n");
  EXPECT_TRUE(has(text, "line 2")) << text;
  EXPECT_TRUE(has(text, "' Xi' is 3 tokens (' ', 'X', 'i')")) << text;
  const std::string line = "{\"clean\": \"When\", \"answer\": \" Tom\", \"wrong_answers\": ";
  EXPECT_TRUE(has(complaint(line + "[\" to\", \" Ann\"]}"), "' Ann'"));
  EXPECT_TRUE(has(complaint(line + "[\" Tom\"]}"), "both a right"));
  Dataset d = read(good).value();
  ASSERT_TRUE(tokenise(d, &tokenizer_, BosMode::kAuto, tokenizer_.vocab_size(), false).is_ok());
  EXPECT_EQ(d.pairs[0].answer_ids, std::vector<int64_t>{*tokenizer_.id_of(" John")});
  // Ids without text: the answer is encoded by itself.
  Dataset ids = read("{\"clean_ids\": [0, 3], \"answer\": \" John\"}").value();
  ASSERT_TRUE(tokenise(ids, &tokenizer_, BosMode::kAuto, tokenizer_.vocab_size(), false).is_ok());
  EXPECT_EQ(ids.pairs[0].answer_ids, std::vector<int64_t>{*tokenizer_.id_of(" John")});
  EXPECT_EQ(ids.pairs[0].clean_ids, (std::vector<int64_t>{0, 3}));
}

TEST_F(TokeniseTest, IdsHoldAndMustBeInTheVocabulary) {
  Dataset d = read("{\"clean\": \"When\", \"clean_ids\": [4, 5, 6], \"answer\": \" Tom\", \"answer_id\": 7}").value();
  ASSERT_TRUE(tokenise(d, nullptr, BosMode::kAuto, 10, false).is_ok());
  EXPECT_EQ(d.pairs[0].clean_ids, (std::vector<int64_t>{4, 5, 6}));
  EXPECT_EQ(d.pairs[0].answer_ids, std::vector<int64_t>{7});
  const std::string text = complaint("{\"clean_ids\": [1]}\n{\"clean_ids\": [1, 500]}", false, nullptr, 500);
  EXPECT_TRUE(has(text, "line 2") && has(text, "id 500") && has(text, "vocabulary of 500")) << text;
  EXPECT_TRUE(has(complaint("{\"clean_ids\": [1], \"wrong_ids\": [600]}", false, nullptr, 500), "wrong_ids"));
  EXPECT_TRUE(has(complaint("{\"clean_ids\": [1], \"positions\": {\"end\": 1}}"), "'end' is 1"));
}

TEST_F(TokeniseTest, TextWithoutATokenizerIsAnError) {
  Dataset d = read("{\"clean\": \"When\"}").value();
  const Status s = tokenise(d, nullptr, BosMode::kAuto, 100, false);
  EXPECT_TRUE(has(s.text(), "no tokenizer") && has(s.text(), "line 1")) << s.text();
}

TEST_F(TokeniseTest, UnequalPairsAreNamed) {
  const std::string lines =
      "{\"clean\": \"When Mary\", \"corrupted\": \"When John\"}\n"
      "{\"clean\": \"When Mary\", \"corrupted\": \"When John and\"}\n"
      "{\"clean\": \"When Mary\"}\n";
  EXPECT_TRUE(has(complaint(lines), "clean has 3 tokens and corrupted 4 (pairs.jsonl, line 2)"));
  Dataset d = read(lines).value();
  ASSERT_TRUE(tokenise(d, &tokenizer_, BosMode::kAuto, tokenizer_.vocab_size(), true).is_ok());
  ASSERT_EQ(d.pairs.size(), 2u);
  EXPECT_EQ(d.pairs[1].line, 3);
  ASSERT_EQ(d.warnings.size(), 1u);
  EXPECT_TRUE(has(d.warnings[0], "line 2"));
  EXPECT_TRUE(has(complaint("{\"clean\": \"a b\", \"corrupted\": \"a b c\"}", true), "no pair"));
}

}  // namespace
}  // namespace microtome
