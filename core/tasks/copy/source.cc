// Copy: a list of random words, an arrow, and the beginning of the list again. Corrupted: the word that is next was
// another one in the list.
#include <algorithm>

#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

using Word = std::pair<int64_t, std::string>;
constexpr int64_t kMaxLength = 512;

class CopySource : public Source {
 public:
  explicit CopySource(const Setup& s)
      : tokenizer_(s.tokenizer),
        prefix_(s.text("prefix")),
        arrow_(s.text("arrow")),
        lengths_(s.numbers("lengths")),
        offset_(s.options.get_int("offset")) {
    if (const int64_t n = s.options.get_int("length"); n != kDrawn) lengths_ = {n};
    const int64_t shortest = *std::min_element(lengths_.begin(), lengths_.end());
    if (offset_ != kDrawn && offset_ >= shortest) {
      throw Error(StatusCode::kBadInput,
                  "offset " + std::to_string(offset_) + " is not below the length of " + std::to_string(shortest),
                  "task 'copy'", "set a longer list or a smaller offset");
    }
    words_ = s.random_words(static_cast<size_t>(*std::max_element(lengths_.begin(), lengths_.end()) + 1));
  }

  std::optional<Draft> draw(Rng& rng) const override {
    const auto length = static_cast<size_t>(rng.pick(lengths_));
    const size_t drawn = rng.below(length);
    const size_t offset = offset_ == kDrawn ? drawn : static_cast<size_t>(offset_);
    std::vector<Word> words = pick_distinct(rng, words_, length + 1);
    const Word other = words.back();
    words.pop_back();
    std::vector<int64_t> ids;
    Draft d;
    d.clean = d.corrupted = prefix_;
    d.wrong_answers = {" " + other.second};
    for (size_t i = 0; i < length; ++i) {
      if (tokenizer_.single_token(" " + words[i].second) != words[i].first) return std::nullopt;
      ids.push_back(words[i].first);
      d.clean += " " + words[i].second;
      d.corrupted += " " + (i == offset ? other : words[i]).second;
      (i == offset ? d.answers : d.wrong_answers).push_back(" " + words[i].second);
    }
    d.clean += arrow_;
    d.corrupted += arrow_;
    for (size_t i = 0; i < offset; ++i) {
      d.clean += " " + words[i].second;
      d.corrupted += " " + words[i].second;
    }
    // The list must stand there as the chosen ids, and again, as far as it goes, at the end.
    d.accepts = [ids, offset](const std::vector<int64_t>& got) {
      if (got.size() < ids.size() + offset) return false;
      const auto tail = got.end() - static_cast<std::ptrdiff_t>(offset);
      return std::search(got.begin(), tail, ids.begin(), ids.end()) != tail && std::equal(tail, got.end(), ids.begin());
    };
    d.labels["template"] = "len-" + std::to_string(length);
    d.labels["template_id"] = d.labels["length"] = std::to_string(length);
    d.labels["offset"] = std::to_string(offset);
    d.labels["corrupted_answer"] = d.wrong_answers.front();
    return d;
  }

 private:
  const Tokenizer& tokenizer_;
  std::string prefix_, arrow_;
  std::vector<int64_t> lengths_;
  int64_t offset_;
  std::vector<Word> words_;
};

}  // namespace

Builtin copy() {
  Builtin b;
  b.info.name = "copy";
  b.info.title = "Copying a list";
  b.info.description =
      "A list of random words is written out again; which comes next? Corrupted: another word stood at that place of "
      "the list.";
  b.info.metric = "logit_diff";
  b.info.source = "Jelassi et al. 2024, arXiv 2402.01032";
  b.settings.specs = {number_setting("length", 2, kMaxLength, "words of the list; drawn when not given"),
                      number_setting("offset", 0, kMaxLength - 1,
                                     "words written out before the answer; drawn when not given")};
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<CopySource>(s); };
  return b;
}

}  // namespace microtome::tasks
