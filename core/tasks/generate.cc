#include <algorithm>

#include "core/base/quote.h"
#include "core/base/resources.h"
#include "core/tasks/generator.h"
#include "core/tasks/prompt.h"

namespace microtome {
namespace tasks {

const std::vector<Builtin>& builtins() {
  static const std::vector<Builtin> all = {assoc_recall(), brackets(),     colored_objects(), copy(),
                                           docstring(),    greater_than(), induction(),       ioi(),
                                           parity(),       pronoun(),      sva()};
  return all;
}

namespace {

constexpr int64_t kMaxCount = 1000000;
// Draws for one item: generous for tokenizers that cut most words, and still an end when the space is used up.
constexpr int kTries = 400;

const Builtin* find_builtin(const std::string& name) {
  for (const Builtin& b : builtins()) {
    if (b.info.name == name) return &b;
    for (const std::string& alias : b.info.aliases) {
      if (alias == name) return &b;
    }
  }
  return nullptr;
}

// The token that ends where the word ends and holds nothing before it but its space; nothing when the word is cut.
std::optional<int64_t> token_of(const Encoding& e, const Mark& mark) {
  for (size_t i = 0; i < e.offsets.size(); ++i) {
    const auto [begin, end] = e.offsets[i];
    if (begin == end || end != static_cast<int64_t>(mark.end)) continue;
    if (begin <= static_cast<int64_t>(mark.begin) && begin + 1 >= static_cast<int64_t>(mark.begin)) {
      return static_cast<int64_t>(i);
    }
  }
  return std::nullopt;
}

class Checker {
 public:
  Checker(const Tokenizer& tokenizer, BosMode bos) : tokenizer_(tokenizer), bos_(bos) {}

  // The tokenised pair; nothing when it breaks one of the promises of task.h.
  std::optional<PromptPair> accept(const Draft& draft) const {
    const Encoding clean = encode_prompt(tokenizer_, draft.clean, bos_);
    PromptPair pair;
    pair.clean_ids = clean.ids;
    pair.corrupted_ids = encode_prompt(tokenizer_, draft.corrupted, bos_).ids;
    if (pair.clean_ids.size() != pair.corrupted_ids.size() || pair.clean_ids == pair.corrupted_ids) return std::nullopt;
    if (draft.accepts && !draft.accepts(pair.clean_ids)) return std::nullopt;
    pair.clean = draft.clean;
    pair.corrupted = draft.corrupted;
    pair.answers = draft.answers;
    pair.wrong_answers = draft.wrong_answers;
    const bool merging = draft.merging_answers;
    if (!answers(pair, pair.answers, pair.answer_ids, merging)) return std::nullopt;
    if (!answers(pair, pair.wrong_answers, pair.wrong_ids, merging)) return std::nullopt;
    std::set<int64_t> different(pair.answer_ids.begin(), pair.answer_ids.end());
    different.insert(pair.wrong_ids.begin(), pair.wrong_ids.end());
    if (different.size() != pair.answer_ids.size() + pair.wrong_ids.size()) return std::nullopt;
    pair.labels = draft.labels;
    if (!positions(draft, clean, pair)) return std::nullopt;
    return pair;
  }

 private:
  bool answers(const PromptPair& pair, const std::vector<std::string>& texts, std::vector<int64_t>& ids,
               bool merging) const {
    for (const std::string& text : texts) {
      std::optional<int64_t> id = following_token(tokenizer_, pair.clean, pair.clean_ids, text, bos_);
      if (!id && merging) id = tokenizer_.single_token(text);
      if (!id) return false;
      ids.push_back(*id);
    }
    return true;
  }

  static bool positions(const Draft& draft, const Encoding& clean, PromptPair& pair) {
    for (const auto& [label, mark] : draft.marks) {
      const std::optional<int64_t> at = token_of(clean, mark);
      if (!at) return false;
      pair.positions[label] = *at;
    }
    for (const auto& [label, before] : draft.next_to) pair.positions[label] = pair.positions.at(before) + 1;
    int64_t found = 0;
    for (size_t i = 0; draft.label_differences && i < pair.clean_ids.size(); ++i) {
      if (pair.clean_ids[i] == pair.corrupted_ids[i]) continue;
      pair.positions[found == 0 ? "differs" : "differs_" + std::to_string(found)] = static_cast<int64_t>(i);
      ++found;
    }
    pair.positions["end"] = static_cast<int64_t>(pair.clean_ids.size()) - 1;
    return true;
  }

  const Tokenizer& tokenizer_;
  BosMode bos_;
};

Params settings_of(const Builtin& task, const std::map<std::string, std::string>& given) {
  for (const auto& [key, value] : given) {
    if (task.settings.find(key)) continue;
    std::string known;
    for (const ParamSpec& p : task.settings.specs) known += (known.empty() ? "" : ", ") + p.name;
    throw Error(StatusCode::kBadInput, "task '" + task.info.name + "' has no setting " + in_quotes(key), "--set " + key,
                known.empty() ? "it takes none" : "it takes " + known);
  }
  return resolve_params(task.settings, given).value();
}

Dataset generate(const std::string& name, const Tokenizer& tokenizer, const GenerateOptions& options) {
  const Builtin* task = find_builtin(name);
  if (!task) {
    std::string names;
    for (const Builtin& b : builtins()) names += (names.empty() ? "" : ", ") + b.info.name;
    throw Error(StatusCode::kNotFound, "there is no task " + in_quotes(name), "task", "choose one of " + names);
  }
  if (options.count < 1 || options.count > kMaxCount) {
    throw Error(StatusCode::kBadInput,
                "the number of prompts is " + std::to_string(options.count) + ", and 1 to " +
                    std::to_string(kMaxCount) + " can be made",
                "count");
  }
  if (options.templates != "known" && options.templates != "held_out") {
    throw Error(StatusCode::kBadInput, "there is no template set " + in_quotes(options.templates), "templates",
                "choose known or held_out");
  }
  const std::string file = "tasks/" + task->info.name + ".json";
  const Json words = parse_json(embedded_resources().at(file), file).value();
  Setup setup{tokenizer, task->info.name, words.at(options.templates), settings_of(*task, options.set)};
  const std::unique_ptr<Source> source = task->make(setup);
  const Checker checker(tokenizer, options.bos);

  Dataset dataset;
  dataset.name = task->info.name;
  std::set<std::string> seen;
  int64_t repeats = 0;
  for (int64_t item = 0; item < options.count; ++item) {
    Rng rng(item_seed(options.seed, static_cast<uint64_t>(item)));
    std::optional<PromptPair> chosen;
    bool fresh = false;
    for (int attempt = 0; attempt < kTries && !fresh; ++attempt) {
      const std::optional<Draft> draft = source->draw(rng);
      if (!draft) continue;
      const bool is_new = !seen.count(draft->clean + "\n\n" + draft->corrupted);
      if (!is_new && chosen) continue;
      std::optional<PromptPair> pair = checker.accept(*draft);
      if (!pair) continue;
      fresh = is_new;
      chosen = std::move(pair);
    }
    if (!chosen) {
      throw Error(StatusCode::kUnsupported,
                  "task '" + task->info.name + "': no prompt out of " + std::to_string(kTries) +
                      " drawn has an answer of one token and a corrupted form of equal length with this tokenizer",
                  "tokenizer", "use another task, or a dataset of your own");
    }
    seen.insert(chosen->clean + "\n\n" + chosen->corrupted);
    if (!fresh) ++repeats;
    chosen->labels["templates"] = options.templates;
    dataset.pairs.push_back(std::move(*chosen));
  }
  if (repeats > 0) {
    dataset.warnings.push_back("task '" + task->info.name + "': " + std::to_string(repeats) + " of " +
                               std::to_string(options.count) +
                               " prompts repeat an earlier one, since no new one was found");
  }
  return dataset;
}

}  // namespace
}  // namespace tasks

const std::vector<TaskInfo>& task_list() {
  static const std::vector<TaskInfo> all = [] {
    std::vector<TaskInfo> infos;
    for (const tasks::Builtin& b : tasks::builtins()) infos.push_back(b.info);
    return infos;
  }();
  return all;
}

const TaskInfo* find_task(const std::string& name) {
  const tasks::Builtin* b = tasks::find_builtin(name);
  return b ? &b->info : nullptr;
}

Result<Dataset> generate_task(const std::string& name, const Tokenizer& tokenizer, const GenerateOptions& options) {
  Dataset dataset;
  const Status status = catch_status([&] { dataset = tasks::generate(name, tokenizer, options); });
  if (!status) return status;
  return dataset;
}

}  // namespace microtome
