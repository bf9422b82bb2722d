// task.h — built-in tasks: prompt pairs whose answer is one token, made with a seed from templates and word lists.
// Two template sets: "known" (the ones the shipped models were trained on) and "held_out" (marked; for generalisation).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/base/params.h"
#include "core/base/status.h"
#include "core/io/tokenizer.h"

namespace microtome {

// One clean/corrupted pair as text or ids (cli.md, "Dataset lines"). Where both are given the ids hold.
struct PromptPair {
  std::string clean, corrupted;
  std::vector<std::string> answers, wrong_answers;        // texts, each one token
  std::vector<int64_t> clean_ids, corrupted_ids;          // filled by tokenise(); start token included
  std::vector<int64_t> answer_ids, wrong_ids;
  std::map<std::string, int64_t> positions;               // label → index into the ids (start token counted)
  std::map<std::string, std::string> labels;              // any further keys of the line, as text (template, order …)
  int64_t line = 0;                                        // 1-based line in its file; 0: generated
};

// Immutable. hash() is a SHA-256 over everything that affects an answer.
struct Dataset {
  std::string name;                                        // task name or file name
  std::vector<PromptPair> pairs;
  std::vector<std::string> warnings;                       // e.g. pairs of unequal length, with line numbers
  std::string hash() const;
};

enum class BosMode { kAuto, kOn, kOff };

// JSON lines, bounded; an error names file and line. Text only lines stay untokenised.
Result<Dataset> read_dataset(const std::string& jsonl_path);
Status write_dataset(const std::string& jsonl_path, const Dataset& dataset);
// The dataset of one prompt as typed; name "prompt". An empty corrupted text means there is none.
Dataset typed_dataset(PromptPair pair);
// Fills ids (text lines get the start token as `bos` says), checks that every answer is one token (naming the line and
// the pieces), that ids are below vocab_size, and that clean and corrupted have equal length: unequal pairs are dropped
// with a warning naming the line when drop_unequal, else an error.
Status tokenise(Dataset& dataset, const Tokenizer* tokenizer, BosMode bos, int64_t vocab_size, bool drop_unequal);
// Ids of one text with the start token as `bos` says (tokenizer null: error).
Result<std::vector<int64_t>> prompt_ids(const Tokenizer* tokenizer, const std::string& text, BosMode bos);

struct TaskInfo {
  std::string name, title, description;                    // description: what clean and corrupted differ in
  std::vector<std::string> aliases;
  std::string metric;                                      // default metric: "logit_diff", "greater_than" …
  std::string source;                                      // paper
};

struct GenerateOptions {
  int64_t count = 32;
  uint64_t seed = 0;
  std::string templates = "known";                         // or "held_out"
  std::map<std::string, std::string> set;                  // task-specific: order=ABBA, period=…, pairs=…
  BosMode bos = BosMode::kAuto;
};

// The built-in tasks, sorted by name.
const std::vector<TaskInfo>& task_list();
// Name or alias to info; null: unknown.
const TaskInfo* find_task(const std::string& name);
// Pairs whose names and numbers are single tokens of `tokenizer`, equal in length, no two alike where the space allows.
// Tokenised already. Errors: unknown task (lists the names), a tokenizer that leaves too few words (names them).
Result<Dataset> generate_task(const std::string& name, const Tokenizer& tokenizer, const GenerateOptions& options);

}  // namespace microtome
