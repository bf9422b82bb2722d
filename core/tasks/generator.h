// generator.h — what a built-in task is made of: its description, the settings it takes, and a source that draws prompt
// pairs as text. generate.cc turns drafts into checked, tokenised pairs; a task's folder holds the source alone.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/base/params.h"
#include "core/base/rng.h"
#include "core/tasks/task.h"

namespace microtome::tasks {

// Bytes [begin, end) of a text: a word, without the space before it. The texts of all tasks are ASCII.
struct Mark {
  size_t begin = 0, end = 0;
};

// A pair before it is tokenised. Drafts that do not tokenise as they should are thrown away and drawn again.
struct Draft {
  std::string clean, corrupted;
  std::vector<std::string> answers, wrong_answers;
  std::map<std::string, std::string> labels;
  std::map<std::string, Mark> marks;                 // position label → a word of clean that must be one token
  std::map<std::string, std::string> next_to;        // position label → the label it lies one token behind
  bool merging_answers = false;                      // an answer counts by itself where it would merge with the text
  bool label_differences = true;                     // positions differs, differs_1 … where the two prompts differ
  std::function<bool(const std::vector<int64_t>& clean_ids)> accepts;   // a further condition; empty: none
};

struct Template {
  int64_t id = 0;
  std::string label;        // as the reference files name it
  std::string text;         // with {slots}
  double weight = 1;
  int64_t described = 0;    // docstring: parameters that are described before the one asked for
};

// What a source is built from. words: "known" or "held_out" of resources/tasks/<task>.json.
struct Setup {
  const Tokenizer& tokenizer;
  std::string task;
  Json words;
  Params options;

  std::vector<Template> templates() const;
  // The words under `key` that are one token with `lead` in front. Fewer than `need`: Error(kUnsupported) that names
  // the task, how many there are and which.
  std::vector<std::string> single_words(const char* key, size_t need, const char* lead = " ") const;
  std::vector<std::string> keep_single(const std::vector<std::string>& all, const std::string& what, size_t need,
                                       const char* lead = " ") const;
  // Throws that error when `kept`, out of `of` words, are fewer than `need`.
  void require(const std::vector<std::string>& kept, size_t of, const std::string& what, size_t need) const;
  std::vector<int64_t> numbers(const char* key) const;
  std::string text(const char* key) const;
  // Tokens that are a space and then two or more lower-case letters: (id, letters), in the order of ids.
  std::vector<std::pair<int64_t, std::string>> random_words(size_t need) const;
};

// Immutable; draw() depends on nothing but the generator's state.
class Source {
 public:
  virtual ~Source() = default;
  virtual std::optional<Draft> draw(Rng& rng) const = 0;
};

struct Builtin {
  TaskInfo info;
  ParamSchema settings;
  std::unique_ptr<Source> (*make)(const Setup& setup);
};

// Settings: a choice whose first entry is the default, and a whole number that is drawn when not given.
ParamSpec choice_setting(const char* name, std::vector<std::string> choices, const char* help);
ParamSpec number_setting(const char* name, int64_t min, int64_t max, const char* help);
constexpr int64_t kDrawn = -1;

struct Filled {
  std::string text;
  std::map<std::string, std::vector<Mark>> slots;    // every place where a slot stood
};
// Replaces {name} by its value. A slot without a value is Error(kInternal): templates ship with the program.
Filled fill(const std::string& text, const std::map<std::string, std::string>& values);
bool has_slot(const Template& t, const char* slot);

const Template& pick_template(Rng& rng, const std::vector<Template>& all);
// `count` different entries of `all`, in random order; count <= all.size().
template <class T>
std::vector<T> pick_distinct(Rng& rng, std::vector<T> all, size_t count) {
  for (size_t i = 0; i < count; ++i) std::swap(all[i], all[i + rng.below(all.size() - i)]);
  all.resize(count);
  return all;
}
std::string list_label(const std::vector<std::string>& words);
void label_template(Draft& draft, const Template& t);

// Sorted by name.
const std::vector<Builtin>& builtins();

Builtin assoc_recall();
Builtin brackets();
Builtin colored_objects();
Builtin copy();
Builtin docstring();
Builtin greater_than();
Builtin induction();
Builtin ioi();
Builtin parity();
Builtin pronoun();
Builtin sva();

}  // namespace microtome::tasks
