#include <algorithm>
#include <set>

#include "core/base/quote.h"
#include "core/tasks/prompt.h"
#include "core/tasks/task.h"

namespace microtome {
namespace tasks {

Encoding encode_prompt(const Tokenizer& tokenizer, const std::string& text, BosMode bos) {
  Encoding e = tokenizer.encode(text, bos != BosMode::kOff);
  if (bos == BosMode::kOff || tokenizer.adds_bos()) return e;
  const std::optional<int64_t> start = tokenizer.bos_id();
  if (!start) {
    if (bos == BosMode::kAuto) return e;
    throw Error(StatusCode::kBadInput, "a start token is asked for, but this tokenizer names none", "tokenizer",
                "use --bos auto or --bos off");
  }
  e.ids.insert(e.ids.begin(), *start);
  e.pieces.insert(e.pieces.begin(), tokenizer.piece(*start));
  e.offsets.insert(e.offsets.begin(), {0, 0});
  return e;
}

std::optional<int64_t> following_token(const Tokenizer& tokenizer, const std::string& text,
                                       const std::vector<int64_t>& ids, const std::string& answer, BosMode bos) {
  const Encoding e = encode_prompt(tokenizer, text + answer, bos);
  if (e.ids.size() != ids.size() + 1 || !std::equal(ids.begin(), ids.end(), e.ids.begin())) return std::nullopt;
  return e.ids.back();
}

}  // namespace tasks

namespace {

std::string place_of(const Dataset& dataset, const PromptPair& pair, size_t index) {
  if (pair.line > 0) return dataset.name + ", line " + std::to_string(pair.line);
  return dataset.name + ", pair " + std::to_string(index + 1);
}

class PairTokeniser {
 public:
  PairTokeniser(const Tokenizer* tokenizer, BosMode bos, int64_t vocab_size)
      : tokenizer_(tokenizer), bos_(bos), vocab_size_(vocab_size) {}

  void run(PromptPair& pair, const std::string& where) const {
    text_ids(pair.clean, pair.clean_ids, "clean", where);
    if (pair.clean_ids.empty()) throw Error(StatusCode::kBadInput, "field 'clean' gives no tokens", where);
    text_ids(pair.corrupted, pair.corrupted_ids, "corrupted", where);
    answer_ids(pair, pair.answers, pair.answer_ids, "answer", where);
    answer_ids(pair, pair.wrong_answers, pair.wrong_ids, "wrong_answers", where);
    in_vocabulary(pair.clean_ids, "clean_ids", where);
    in_vocabulary(pair.corrupted_ids, "corrupted_ids", where);
    in_vocabulary(pair.answer_ids, "answer_ids", where);
    in_vocabulary(pair.wrong_ids, "wrong_ids", where);
    const std::set<int64_t> right(pair.answer_ids.begin(), pair.answer_ids.end());
    for (int64_t id : pair.wrong_ids) {
      if (right.count(id)) {
        throw Error(StatusCode::kBadInput, "token " + std::to_string(id) + " is both a right and a wrong answer",
                    where);
      }
    }
    const int64_t length = static_cast<int64_t>(pair.clean_ids.size());
    for (const auto& [label, index] : pair.positions) {
      if (index >= 0 && index < length) continue;
      throw Error(StatusCode::kBadInput,
                  "field 'positions': " + in_quotes(label) + " is " + std::to_string(index) + ", but the prompt has " +
                      std::to_string(length) + " tokens",
                  where, "give an index from 0, the start token counted");
    }
  }

 private:
  const Tokenizer& need_tokenizer(const char* field, const std::string& where) const {
    if (tokenizer_) return *tokenizer_;
    throw Error(StatusCode::kBadInput, std::string("field '") + field + "' is text, but the model has no tokenizer",
                where, "give token ids (clean_ids, corrupted_ids, answer_id, wrong_ids)");
  }

  void text_ids(const std::string& text, std::vector<int64_t>& ids, const char* field, const std::string& where) const {
    if (!ids.empty() || text.empty()) return;
    const Tokenizer& tokenizer = need_tokenizer(field, where);
    try {
      ids = tasks::encode_prompt(tokenizer, text, bos_).ids;
    } catch (const Error& e) {
      throw Error(e.status().code(), std::string("field '") + field + "': " + e.status().what(), where,
                  e.status().todo());
    }
  }

  void answer_ids(const PromptPair& pair, const std::vector<std::string>& texts, std::vector<int64_t>& ids,
                  const char* field, const std::string& where) const {
    if (!ids.empty() || texts.empty()) return;
    const Tokenizer& tokenizer = need_tokenizer(field, where);
    // Where the line gave its own ids, the text need not be what they spell: then there is no context to encode in.
    const bool in_context =
        !pair.clean.empty() && tasks::encode_prompt(tokenizer, pair.clean, bos_).ids == pair.clean_ids;
    std::vector<int64_t> found;
    found.reserve(texts.size());
    for (const std::string& text : texts) {
      std::optional<int64_t> id;
      if (in_context) id = tasks::following_token(tokenizer, pair.clean, pair.clean_ids, text, bos_);
      if (!id) id = tokenizer.single_token(text);
      if (!id) not_single(tokenizer, text, field, where);
      found.push_back(*id);
    }
    ids = std::move(found);
  }

  [[noreturn]] static void not_single(const Tokenizer& tokenizer, const std::string& text, const char* field,
                                      const std::string& where) {
    const Encoding e = tokenizer.encode(text, false);
    std::string pieces;
    for (size_t i = 0; i < e.pieces.size() && i < 8; ++i) pieces += (i ? ", " : "") + in_quotes(e.pieces[i], 40);
    if (e.pieces.size() > 8) pieces += ", …";
    throw Error(StatusCode::kBadInput,
                std::string("field '") + field + "': " + in_quotes(text) + " is " + std::to_string(e.ids.size()) +
                    " tokens (" + pieces + "), and an answer must be one",
                where, "choose an answer that is one token, with the space before it (\" Mary\")");
  }

  void in_vocabulary(const std::vector<int64_t>& ids, const char* field, const std::string& where) const {
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] >= 0 && ids[i] < vocab_size_) continue;
      throw Error(StatusCode::kBadInput,
                  std::string("field '") + field + "[" + std::to_string(i) + "]': id " + std::to_string(ids[i]) +
                      " is outside the vocabulary of " + std::to_string(vocab_size_),
                  where, "use the tokenizer that belongs to this model");
    }
  }

  const Tokenizer* tokenizer_;
  BosMode bos_;
  int64_t vocab_size_;
};

}  // namespace

Dataset typed_dataset(PromptPair pair) {
  Dataset out;
  out.name = "prompt";
  out.pairs.push_back(std::move(pair));
  return out;
}

Status tokenise(Dataset& dataset, const Tokenizer* tokenizer, BosMode bos, int64_t vocab_size, bool drop_unequal) {
  return catch_status([&] {
    const PairTokeniser tokeniser(tokenizer, bos, vocab_size);
    std::vector<PromptPair> kept;
    std::vector<std::string> warnings;
    kept.reserve(dataset.pairs.size());
    for (size_t i = 0; i < dataset.pairs.size(); ++i) {
      PromptPair pair = dataset.pairs[i];
      const std::string where = place_of(dataset, pair, i);
      tokeniser.run(pair, where);
      if (!pair.corrupted_ids.empty() && pair.corrupted_ids.size() != pair.clean_ids.size()) {
        const std::string lengths = "clean has " + std::to_string(pair.clean_ids.size()) + " tokens and corrupted " +
                                    std::to_string(pair.corrupted_ids.size());
        if (!drop_unequal) {
          throw Error(StatusCode::kBadInput, lengths, where,
                      "make both equally long: they are compared position by position");
        }
        warnings.push_back(where + ": " + lengths + "; the pair was left out");
        continue;
      }
      kept.push_back(std::move(pair));
    }
    if (kept.empty() && !dataset.pairs.empty()) {
      throw Error(StatusCode::kBadInput, "no pair has clean and corrupted of equal length", dataset.name,
                  "make both equally long in tokens");
    }
    // Only now, so that an error leaves the dataset as it was.
    dataset.pairs = std::move(kept);
    dataset.warnings.insert(dataset.warnings.end(), warnings.begin(), warnings.end());
  });
}

Result<std::vector<int64_t>> prompt_ids(const Tokenizer* tokenizer, const std::string& text, BosMode bos) {
  std::vector<int64_t> ids;
  const Status status = catch_status([&] {
    if (!tokenizer) {
      throw Error(StatusCode::kBadInput, "a prompt is given as text, but the model has no tokenizer", "tokenizer.json",
                  "give token ids");
    }
    ids = tasks::encode_prompt(*tokenizer, text, bos).ids;
  });
  if (!status) return status;
  return ids;
}

}  // namespace microtome
