// The reference task files: reading them, tokenising their text again, and finding every one of their words and
// templates in the shipped "known" lists.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/base/resources.h"
#include "core/tasks/generator.h"
#include "core/tasks/task.h"
#include "tests/golden_path.h"

namespace microtome {
namespace {

using testing::golden_path;

class ReferenceTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string folder = golden_path("models/zoo-llama");
    ASSERT_FALSE(folder.empty());
    tokenizer_ = Tokenizer::open_folder(folder).value();
    ASSERT_NE(tokenizer_, nullptr);
    const std::string path = golden_path("data/tasks/" + GetParam() + "/test.jsonl");
    ASSERT_FALSE(path.empty());
    data_ = read_dataset(path).value();
    ASSERT_GE(data_.pairs.size(), 20u);
    const std::string file = "tasks/" + GetParam() + ".json";
    known_ = parse_json(embedded_resources().at(file), file).value().at("known");
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  Dataset data_;
  Json known_;
};

TEST_P(ReferenceTest, TextGivesTheReferenceIds) {
  Dataset text = data_;
  for (PromptPair& p : text.pairs) {
    EXPECT_FALSE(p.clean.empty());
    p.clean_ids.clear(), p.corrupted_ids.clear(), p.answer_ids.clear(), p.wrong_ids.clear();
  }
  const Status s = tokenise(text, tokenizer_.get(), BosMode::kAuto, tokenizer_->vocab_size(), false);
  ASSERT_TRUE(s.is_ok()) << s.text();
  ASSERT_EQ(text.pairs.size(), data_.pairs.size());
  for (size_t i = 0; i < data_.pairs.size(); ++i) {
    EXPECT_EQ(text.pairs[i].clean_ids, data_.pairs[i].clean_ids);
    EXPECT_EQ(text.pairs[i].corrupted_ids, data_.pairs[i].corrupted_ids);
    EXPECT_EQ(text.pairs[i].answer_ids, data_.pairs[i].answer_ids);
    EXPECT_EQ(text.pairs[i].wrong_ids, data_.pairs[i].wrong_ids);
  }
}

// What fills the slots of a row's template, from its labels; an empty map for tasks without templates.
using Slots = std::map<std::string, std::string>;

std::vector<std::string> texts(const PromptPair& p, const char* label) {
  return parse_json(p.labels.at(label), label).value().get<std::vector<std::string>>();
}

class Membership {
 public:
  explicit Membership(const Json& known) : known_(known) {}
  void check(const char* key, const std::string& word) {
    const auto all = known_.at(key).get<std::vector<std::string>>();
    EXPECT_TRUE(std::find(all.begin(), all.end(), word) != all.end()) << key << " lacks " << word;
  }

 private:
  const Json& known_;
};

// The word of `list` that makes the template say what the row says.
std::string find_fill(const Json& list, const std::string& slot, Slots slots, const std::string& text,
                      const std::string& wanted) {
  if (text.find("{" + slot + "}") == std::string::npos) return {};
  for (const Json& w : list) {
    slots[slot] = w.get<std::string>();
    if (tasks::fill(text, slots).text == wanted) return slots[slot];
  }
  ADD_FAILURE() << "no word of the list makes " << text << " say " << wanted;
  return {};
}

Slots slots_of(const std::string& task, const PromptPair& p, const Json& known, const tasks::Template& t) {
  Membership m(known);
  const auto label = [&](const char* key) { return p.labels.at(key); };
  Slots s;
  if (task == "ioi") {
    for (const char* k : {"io", "subject", "third"}) m.check("names", label(k));
    m.check("places", label("place"));
    m.check("objects", label("object"));
    const bool abba = label("order") == "ABBA";
    s = {{"A", label(abba ? "io" : "subject")}, {"B", label(abba ? "subject" : "io")}, {"S", label("subject")},
         {"P", label("place")}, {"O", label("object")}};
  } else if (task == "greater_than") {
    m.check("nouns", label("noun"));
    const int yy = std::stoi(label("yy"));
    EXPECT_TRUE(yy >= known.at("first_year") && yy <= known.at("last_year"));
    s = {{"n", label("noun")}, {"c", label("century")}, {"y", (yy < 10 ? "0" : "") + std::to_string(yy)}};
  } else if (task == "docstring") {
    const auto args = texts(p, "args");
    for (const auto& a : args) m.check("args", a);
    for (const auto& a : texts(p, "corrupted_args")) m.check("args", a);
    const std::string& c = p.clean;
    s["F"] = c.substr(4, c.find('(') - 4);
    m.check("functions", s["F"]);
    const size_t open = c.find(", ") + 2;
    s["args"] = c.substr(open, c.find("):") - open);
    size_t at = c.find("\"\"\"") + 3;
    for (int64_t k = 0; k <= t.described; ++k) {
      const std::string i = std::to_string(k);
      if (k > 0) {
        s["p" + std::to_string(k - 1)] = args[static_cast<size_t>(k - 1)];
        at = c.find(": ", at) + 2;
      }
      const size_t space = c.find(' ', at), line = c.find('\n', at);
      s["d" + i] = c.substr(at, space - at);
      s["n" + i] = c.substr(space + 1, line - space - 1);
      m.check("adjectives", s["d" + i]);
      m.check("nouns", s["n" + i]);
      at = line;
    }
  } else if (task == "colored_objects") {
    const auto items = texts(p, "items"), colors = texts(p, "colors");
    for (size_t i = 0; i < 3; ++i) {
      m.check("items", items[i]);
      m.check("colors", colors[i]);
      s["i" + std::to_string(i)] = items[i];
      s["c" + std::to_string(i)] = colors[i];
    }
    s["q"] = label("query");
  } else if (task == "pronoun") {
    const bool he = p.answers[0] == " he";
    m.check(he ? "male_names" : "female_names", label("name"));
    m.check(he ? "female_names" : "male_names", label("other"));
    s["N"] = label("name");
    s["P"] = find_fill(known.at("places"), "P", s, t.text, p.clean);
    s["O"] = find_fill(known.at("objects"), "O", s, t.text, p.clean);
  } else if (task == "sva") {
    for (const Json& a : known.at("adverbs")) {
      const std::string lead = a.at(0);
      if (p.clean.rfind(lead + ",", 0) != 0) continue;
      s["V"] = lead;
      const std::set<std::string> verbs = {" " + a.at(1).get<std::string>(), " " + a.at(2).get<std::string>()};
      EXPECT_EQ(verbs, (std::set<std::string>{p.answers[0], p.wrong_answers[0]}));
    }
    const auto noun = [&](const std::string& word) {
      for (const Json& n : known.at("nouns")) {
        if (n.at(0) == word || n.at(1) == word) return true;
      }
      return false;
    };
    EXPECT_TRUE(noun(label("subject")) && noun(label("attractor")));
    s["a"] = label("subject");
    s["b"] = label("attractor");
  }
  return s;
}

bool in_list(const Json& list, const std::string& number) {
  return std::any_of(list.begin(), list.end(), [&](const Json& n) { return n.dump() == number; });
}

TEST_P(ReferenceTest, EveryRowCanBeMadeFromTheKnownSet) {
  const std::string task = GetParam();
  for (const PromptPair& p : data_.pairs) {
    const std::string id = p.labels.at("template_id");
    if (known_.contains("templates")) {
      tasks::Setup setup{*tokenizer_, task, known_, {}};
      const std::vector<tasks::Template> all = setup.templates();
      const auto t =
          std::find_if(all.begin(), all.end(), [&](const auto& one) { return std::to_string(one.id) == id; });
      ASSERT_NE(t, all.end()) << "template " << id;
      EXPECT_EQ(t->label, p.labels.at("template"));
      EXPECT_EQ(tasks::fill(t->text, slots_of(task, p, known_, *t)).text, p.clean);
    } else if (task == "induction") {
      EXPECT_TRUE(in_list(known_.at("periods"), id));
      EXPECT_GE(std::stoi(p.labels.at("offset")), known_.at("first_offset").get<int>());
    } else if (task == "assoc_recall") {
      EXPECT_TRUE(in_list(known_.at("pairs"), id));
      EXPECT_EQ(p.clean.rfind(known_.at("prefix").get<std::string>() + " ", 0), 0u);
      for (const std::string& key : texts(p, "keys")) Membership(known_).check("keys", key);
    } else {
      EXPECT_TRUE(in_list(known_.at("lengths"), id));
      EXPECT_EQ(p.clean.rfind(known_.at("prefix").get<std::string>() + " ", 0), 0u);
    }
  }
}

TEST_P(ReferenceTest, GeneratedPromptsHaveTheFormOfTheFile) {
  GenerateOptions options;
  options.count = 200;
  options.seed = 11;
  const Dataset made = generate_task(GetParam(), *tokenizer_, options).value();
  ASSERT_EQ(made.pairs.size(), 200u);
  std::map<std::string, int> file_templates, made_templates;
  std::set<std::string> file_positions, made_positions;
  size_t shortest = 1000, longest = 0;
  for (const PromptPair& p : data_.pairs) {
    ++file_templates[p.labels.at("template_id") + " " + p.labels.at("template")];
    for (const auto& [label, index] : p.positions) file_positions.insert(label);
  }
  for (const PromptPair& p : made.pairs) {
    ++made_templates[p.labels.at("template_id") + " " + p.labels.at("template")];
    for (const auto& [label, index] : p.positions) made_positions.insert(label);
    shortest = std::min(shortest, p.clean_ids.size());
    longest = std::max(longest, p.clean_ids.size());
    EXPECT_EQ(p.clean_ids.front(), data_.pairs[0].clean_ids.front());
  }
  EXPECT_EQ(made_positions, file_positions);
  for (const auto& [name, n] : file_templates) {
    EXPECT_TRUE(made_templates.count(name)) << "never made: " << name;
  }
  if (data_.pairs.size() >= 200) {
    for (const auto& [name, n] : made_templates) {
      EXPECT_TRUE(file_templates.count(name)) << "not in the file: " << name;
      EXPECT_LT(std::abs(n - file_templates[name]), 36) << name;
    }
    for (const PromptPair& p : data_.pairs) {
      EXPECT_GE(p.clean_ids.size() + 6, shortest);
      EXPECT_LE(p.clean_ids.size(), longest + 6);
    }
  }
  // Every label of the file is there, but for words that a template does not use and names of the file's own.
  for (const auto& [key, value] : data_.pairs[0].labels) {
    const std::set<std::string> apart = {
        "id", "task", "split", "place", "object", "attractor", "corrupted_abc",
        "corrupted_abc_ids", "corrupted_answer_id"};
    if (apart.count(key)) continue;
    EXPECT_TRUE(made.pairs[0].labels.count(key)) << key;
  }
}

std::vector<std::string> all_tasks() {
  std::vector<std::string> names;
  for (const TaskInfo& t : task_list()) names.push_back(t.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Tasks, ReferenceTest, ::testing::ValuesIn(all_tasks()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace microtome
