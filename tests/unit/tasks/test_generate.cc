// The built-in generators: promises of task.h, settings, seeds, and tokenizers that leave too little.
#include <gtest/gtest.h>

#include <set>

#include "core/tasks/task.h"
#include "tests/golden_path.h"
#include "tests/unit/tasks/word_tokenizer.h"

namespace microtome {
namespace {

using testing::WordTokenizer;

std::string data_key(const PromptPair& p) { return p.clean + "\n\n" + p.corrupted; }

class GenerateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = testing::golden_path("models/zoo-llama");
    ASSERT_FALSE(folder.empty());
    zoo_ = Tokenizer::open_folder(folder).value();
    ASSERT_NE(zoo_, nullptr);
  }
  Result<Dataset> make(const std::string& task, int64_t count, std::map<std::string, std::string> set = {},
                       const std::string& templates = "known", uint64_t seed = 0) const {
    GenerateOptions o;
    o.count = count;
    o.seed = seed;
    o.templates = templates;
    o.set = std::move(set);
    return generate_task(task, *zoo_, o);
  }
  // By value: a loop may run over it.
  std::vector<PromptPair> pairs(const std::string& task, int64_t count,
                                std::map<std::string, std::string> set = {}) const {
    return make(task, count, std::move(set)).value().pairs;
  }
  std::string error(const std::string& task, std::map<std::string, std::string> set, int64_t count = 4) const {
    const Result<Dataset> r = make(task, count, std::move(set));
    EXPECT_FALSE(r.is_ok());
    if (r.is_ok()) return {};
    EXPECT_EQ(r.status().exit_code(), 2);
    return r.status().text();
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  std::shared_ptr<const Tokenizer> zoo_;
};

TEST(TaskList, NamesAliasesAndMetrics) {
  std::vector<std::string> names;
  for (const TaskInfo& t : task_list()) {
    names.push_back(t.name);
    EXPECT_FALSE(t.title.empty() || t.description.empty() || t.source.empty()) << t.name;
    EXPECT_EQ(t.metric, t.name == "greater_than" ? "greater_than" : "logit_diff");
    EXPECT_EQ(find_task(t.name)->name, t.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"assoc_recall", "brackets", "colored_objects", "copy", "docstring",
                                             "greater_than", "induction", "ioi", "parity", "pronoun", "sva"}));
  EXPECT_EQ(find_task("gendered_pronoun")->name, "pronoun");
  EXPECT_EQ(find_task("recall")->name, "assoc_recall");
  EXPECT_EQ(find_task("nonsense"), nullptr);
}

TEST_F(GenerateTest, EveryPairKeepsThePromises) {
  for (const TaskInfo& t : task_list()) {
    for (const char* templates : {"known", "held_out"}) {
      const Result<Dataset> made = make(t.name, 60, {}, templates, 3);
      ASSERT_TRUE(made.is_ok()) << made.status().text();
      const Dataset& d = made.value();
      EXPECT_EQ(d.name, t.name);
      ASSERT_EQ(d.pairs.size(), 60u);
      std::set<std::string> texts;
      for (const PromptPair& p : d.pairs) {
        texts.insert(p.clean + "\n\n" + p.corrupted);
        EXPECT_EQ(p.labels.at("templates"), templates);
        ASSERT_EQ(p.clean_ids.size(), p.corrupted_ids.size());
        EXPECT_NE(p.clean_ids, p.corrupted_ids);
        EXPECT_EQ(p.clean_ids, prompt_ids(zoo_.get(), p.clean, BosMode::kAuto).value());
        EXPECT_EQ(p.corrupted_ids, prompt_ids(zoo_.get(), p.corrupted, BosMode::kAuto).value());
        ASSERT_FALSE(p.answer_ids.empty() || p.wrong_ids.empty());
        ASSERT_EQ(p.answers.size(), p.answer_ids.size());
        std::vector<int64_t> longer = p.clean_ids;
        longer.push_back(p.answer_ids[0]);
        EXPECT_EQ(prompt_ids(zoo_.get(), p.clean + p.answers[0], BosMode::kAuto).value(), longer);
        EXPECT_EQ(p.positions.at("end"), static_cast<int64_t>(p.clean_ids.size()) - 1);
        if (t.name == "ioi") continue;
        const auto at = static_cast<size_t>(p.positions.at("differs"));
        EXPECT_NE(p.clean_ids[at], p.corrupted_ids[at]);
        for (size_t i = 0; i < at; ++i) EXPECT_EQ(p.clean_ids[i], p.corrupted_ids[i]);
      }
      EXPECT_EQ(texts.size(), d.warnings.empty() ? 60u : texts.size());
      EXPECT_TRUE(d.warnings.empty()) << t.name << ": " << d.warnings.front();
    }
  }
}

TEST_F(GenerateTest, HeldOutTemplatesAreOthers) {
  for (const TaskInfo& t : task_list()) {
    std::set<std::string> known;
    const Dataset a = make(t.name, 200).value(), b = make(t.name, 100, {}, "held_out").value();
    for (const PromptPair& p : a.pairs) known.insert(p.labels.at("template"));
    for (const PromptPair& p : b.pairs) EXPECT_FALSE(known.count(p.labels.at("template"))) << p.clean;
  }
}

TEST_F(GenerateTest, SeedsDecide) {
  for (const TaskInfo& t : task_list()) {
    const Dataset a = make(t.name, 20, {}, "known", 5).value();
    EXPECT_EQ(a.hash(), make(t.name, 20, {}, "known", 5).value().hash());
    EXPECT_NE(a.hash(), make(t.name, 20, {}, "known", 6).value().hash());
    // A shorter set is the beginning of a longer one.
    Dataset longer = make(t.name, 30, {}, "known", 5).value();
    longer.pairs.resize(20);
    EXPECT_EQ(longer.hash(), a.hash());
  }
}

// The texts themselves, so that a change of generator or of word lists, which changes every stored run, is seen.
TEST_F(GenerateTest, FirstPromptOfSeedZero) {
  const auto first = [&](const char* task) { return make(task, 1).value().pairs[0].clean; };
  EXPECT_EQ(first("ioi"), "While Lisa and Steven were commuting to the market, Steven gave a lamp to");
  EXPECT_EQ(first("parity"), "Parity: a a b a b b =");
}

TEST_F(GenerateTest, IoiOrdersCorruptionsAndPositions) {
  for (const std::string order : {"ABBA", "BABA"}) {
    for (const PromptPair& p : pairs("ioi", 40, {{"order", order}})) {
      EXPECT_EQ(p.labels.at("order"), order);
      EXPECT_EQ(p.positions.at("io") < p.positions.at("s1"), order == "ABBA");
      EXPECT_EQ(p.positions.at("s1_plus_1"), p.positions.at("s1") + 1);
      const auto id = [&](const char* label) { return p.clean_ids[static_cast<size_t>(p.positions.at(label))]; };
      EXPECT_EQ(id("io"), p.answer_ids[0]);
      EXPECT_EQ(id("s1"), p.wrong_ids[0]);
      EXPECT_EQ(id("s2"), p.wrong_ids[0]);
      EXPECT_GT(p.positions.at("s2"), p.positions.at("s1"));
      EXPECT_EQ(p.corrupted_ids[static_cast<size_t>(p.positions.at("s2"))], p.answer_ids[0]);
    }
  }
  for (const PromptPair& p : pairs("ioi", 20, {{"corruption", "abc"}})) {
    const int64_t third = p.corrupted_ids[static_cast<size_t>(p.positions.at("s2"))];
    EXPECT_EQ(third, zoo_->single_token(" " + p.labels.at("third")));
    EXPECT_NE(third, p.answer_ids[0]);
    EXPECT_NE(third, p.wrong_ids[0]);
  }
  int abba = 0;
  for (const PromptPair& p : pairs("ioi", 100)) abba += p.labels.at("order") == "ABBA";
  EXPECT_GT(abba, 30);
  EXPECT_LT(abba, 70);
}

TEST_F(GenerateTest, AnswersAreRight) {
  for (const PromptPair& p : pairs("greater_than", 60)) {
    const int yy = std::stoi(p.labels.at("yy"));
    ASSERT_EQ(p.answer_ids.size(), static_cast<size_t>(99 - yy));
    ASSERT_EQ(p.wrong_ids.size(), static_cast<size_t>(yy + 1));
    for (const std::string& a : p.answers) EXPECT_GT(std::stoi(a), yy);
  }
  for (const PromptPair& p : pairs("parity", 60)) {
    const std::string word = p.clean.substr(p.clean.find(':'));
    const bool odd = std::count(word.begin(), word.end(), 'b') % 2 == 1;
    EXPECT_EQ(p.answers[0], odd ? " odd" : " even");
  }
  for (const PromptPair& p : pairs("brackets", 60)) {
    std::string open;
    for (char c : p.clean.substr(p.clean.find(':') + 1)) {
      if (std::string("([{").find(c) != std::string::npos) open += c;
      if (std::string(")]}").find(c) != std::string::npos) open.pop_back();
    }
    EXPECT_EQ(p.answers[0], open.back() == '(' ? " )" : open.back() == '[' ? " ]" : " }");
    EXPECT_EQ(std::to_string(open.size()), p.labels.at("depth"));
  }
  for (const PromptPair& p : pairs("induction", 60)) {
    const auto period = static_cast<size_t>(std::stoi(p.labels.at("period")));
    for (size_t i = 1 + period; i < p.clean_ids.size(); ++i) EXPECT_EQ(p.clean_ids[i], p.clean_ids[i - period]);
    EXPECT_EQ(p.answer_ids[0], p.clean_ids[p.clean_ids.size() - period]);
    EXPECT_EQ(p.wrong_ids[0], p.corrupted_ids[p.clean_ids.size() - period]);
  }
  for (const PromptPair& p : pairs("assoc_recall", 60)) {
    EXPECT_NE(p.clean.find(" " + p.labels.at("query") + "=" + p.answers[0] + " "), std::string::npos);
    EXPECT_EQ(p.clean.substr(p.clean.rfind(' ')), " " + p.labels.at("query") + "=");
  }
}

TEST_F(GenerateTest, SettingsHold) {
  for (const PromptPair& p : pairs("induction", 10, {{"period", "7"}, {"offset", "4"}})) {
    EXPECT_EQ(p.clean_ids.size(), 1u + 7 + 4);
  }
  for (const PromptPair& p : pairs("assoc_recall", 10, {{"pairs", "2"}, {"demonstrations", "0"}})) {
    EXPECT_EQ(p.wrong_ids.size(), 1u);
  }
  for (const PromptPair& p : pairs("sva", 20, {{"attractor", "different"}})) {
    EXPECT_EQ(p.labels.at("attractor_differs"), "true");
  }
  for (const PromptPair& p : pairs("pronoun", 10, {{"gender", "she"}})) EXPECT_EQ(p.answers[0], " she");
  for (const PromptPair& p : pairs("copy", 10, {{"length", "4"}, {"offset", "0"}})) {
    EXPECT_EQ(p.clean.substr(p.clean.size() - 3), " ->");
  }
  // Two letters and one place to flip give eight pairs: beyond them prompts repeat, and that is said.
  const Dataset few = make("parity", 12, {{"length", "2"}}).value();
  std::set<std::string> different;
  for (const PromptPair& p : few.pairs) different.insert(data_key(p));
  EXPECT_EQ(different.size(), 8u);
  ASSERT_EQ(few.warnings.size(), 1u);
  EXPECT_TRUE(has(few.warnings[0], "4 of 12"));
}

TEST_F(GenerateTest, WrongSettingsAreNamed) {
  const std::string unknown = error("ioi", {{"period", "3"}});
  EXPECT_TRUE(has(unknown, "'period'") && has(unknown, "order, corruption")) << unknown;
  EXPECT_TRUE(has(error("docstring", {{"order", "x"}}), "takes none"));
  EXPECT_TRUE(has(error("ioi", {{"order", "AABB"}}), "ABBA"));
  EXPECT_TRUE(has(error("induction", {{"period", "many"}}), "period"));
  EXPECT_TRUE(has(error("induction", {{"period", "100000"}}), "period"));
  EXPECT_TRUE(has(error("induction", {{"period", "5"}, {"offset", "5"}}), "offset 5"));
  EXPECT_TRUE(has(error("copy", {{"length", "3"}, {"offset", "3"}}), "offset 3"));
  EXPECT_TRUE(has(error("nonsense", {}), "assoc_recall, brackets"));
  error("ioi", {}, 0);
  error("ioi", {}, 1000001);
  GenerateOptions o;
  o.templates = "other";
  EXPECT_TRUE(has(generate_task("ioi", *zoo_, o).status().text(), "held_out"));
}

TEST_F(GenerateTest, TooFewWordsAreCountedAndNamed) {
  GenerateOptions o;
  const WordTokenizer poor({" Mary", " John", " went", " store"});
  const Status s = generate_task("ioi", poor, o).status();
  EXPECT_EQ(s.code(), StatusCode::kUnsupported);
  EXPECT_TRUE(has(s.text(), "task 'ioi' needs 3 names") && has(s.text(), "has 2: John, Mary")) << s.text();
  EXPECT_TRUE(has(generate_task("induction", poor, o).status().text(), "this tokenizer has 2"));
  EXPECT_TRUE(has(generate_task("greater_than", poor, o).status().text(), "has 0"));
  EXPECT_TRUE(has(generate_task("sva", poor, o).status().text(), "has 0"));
  // Words enough, but no verb that is one token.
  const WordTokenizer mute({" dog", " dogs", " cat", " cats"});
  EXPECT_TRUE(has(generate_task("sva", mute, o).status().text(), "answer of one token"));
}

TEST_F(GenerateTest, OtherTokenizersDropWordsThatAreCut) {
  const WordTokenizer small({" Mary", " John", " Tom", " Lucy", " store", " park", " ring", " gave"});
  GenerateOptions o;
  o.count = 20;
  o.bos = BosMode::kOff;
  const Dataset d = generate_task("ioi", small, o).value();
  for (const PromptPair& p : d.pairs) {
    EXPECT_NE(p.clean_ids[0], 0);
    EXPECT_EQ(p.clean_ids[static_cast<size_t>(p.positions.at("io"))], p.answer_ids[0]);
    EXPECT_EQ(small.piece(p.answer_ids[0]), p.answers[0]);
  }
}

// Where "19" and "00" would merge into one token, "00" still stands for the year, and no start year is one token.
TEST_F(GenerateTest, YearsThatAreOneTokenAreNotStartYears) {
  std::vector<std::string> words = {" war", " trip", " plan", " 19"};
  for (char a = '0'; a <= '9'; ++a) {
    for (char b = '0'; b <= '9'; ++b) words.push_back({a, b});
  }
  for (const char* merged : {" 1900", " 1950"}) words.push_back(merged);
  class YearTokenizer : public WordTokenizer {
   public:
    using WordTokenizer::WordTokenizer;
    Encoding encode(std::string_view text, bool add_special = true) const override {
      const Encoding plain = WordTokenizer::encode(text, add_special);
      Encoding e;
      for (size_t i = 0; i < plain.ids.size(); ++i) {
        const auto joined = i + 1 < plain.ids.size() ? id_of(plain.pieces[i] + plain.pieces[i + 1]) : std::nullopt;
        e.ids.push_back(joined ? *joined : plain.ids[i]);
        e.pieces.push_back(joined ? piece(*joined) : plain.pieces[i]);
        e.offsets.emplace_back(plain.offsets[i].first, plain.offsets[joined ? i + 1 : i].second);
        if (joined) ++i;
      }
      return e;
    }
  };
  const YearTokenizer tokenizer(words);
  ASSERT_EQ(tokenizer.encode(" 1900").ids.size(), 1u);
  GenerateOptions o;
  o.count = 80;
  o.set = {{"century", "19"}};
  const Dataset d = generate_task("greater_than", tokenizer, o).value();
  for (const PromptPair& p : d.pairs) {
    EXPECT_NE(p.labels.at("yy"), "50");
    EXPECT_EQ(p.answer_ids.size() + p.wrong_ids.size(), 100u);
    EXPECT_EQ(p.wrong_ids[0], tokenizer.id_of("00"));
    EXPECT_EQ(tokenizer.piece(p.clean_ids[static_cast<size_t>(p.positions.at("differs"))]).size(), 2u);
  }
}

}  // namespace
}  // namespace microtome
