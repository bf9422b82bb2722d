// Induction: random words, and then their beginning again; the word that came next before comes next now. Corrupted:
// that word was another one.
#include <algorithm>

#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

using Word = std::pair<int64_t, std::string>;
constexpr int64_t kMaxPeriod = 512;

class InductionSource : public Source {
 public:
  explicit InductionSource(const Setup& s)
      : tokenizer_(s.tokenizer),
        periods_(s.numbers("periods")),
        first_offset_(json_int(s.words, "first_offset", s.task)),
        offset_(s.options.get_int("offset")) {
    if (const int64_t p = s.options.get_int("period"); p != kDrawn) periods_ = {p};
    const int64_t shortest = *std::min_element(periods_.begin(), periods_.end());
    if (offset_ != kDrawn && offset_ >= shortest) {
      throw Error(StatusCode::kBadInput,
                  "offset " + std::to_string(offset_) + " is not below the period of " + std::to_string(shortest),
                  "task 'induction'", "set a longer period or a smaller offset");
    }
    words_ = s.random_words(static_cast<size_t>(*std::max_element(periods_.begin(), periods_.end()) + 1));
    // Tokenizers that put a space in front themselves would otherwise begin with two.
    const std::string both = words_[0].second + " " + words_[1].second;
    const std::vector<int64_t> ids = {words_[0].first, words_[1].first};
    if (tokenizer_.encode(" " + both, false).ids != ids && tokenizer_.encode(both, false).ids == ids) lead_ = "";
  }

  std::optional<Draft> draw(Rng& rng) const override {
    const auto period = static_cast<size_t>(rng.pick(periods_));
    const size_t from = std::min(static_cast<size_t>(first_offset_), period - 1);
    const size_t drawn = from + rng.below(period - from);
    const size_t offset = offset_ == kDrawn ? drawn : static_cast<size_t>(offset_);
    std::vector<Word> words = pick_distinct(rng, words_, period + 1);
    const Word other = words.back();
    words.pop_back();
    for (const Word& w : words) {
      if (tokenizer_.single_token(" " + w.second) != w.first) return std::nullopt;
    }
    Draft d;
    std::vector<int64_t> ids;
    for (size_t i = 0; i < period + offset; ++i) {
      const Word& w = words[i % period];
      const std::string space = i == 0 ? lead_ : " ";
      d.clean += space + w.second;
      d.corrupted += space + (i == offset ? other.second : w.second);
      ids.push_back(w.first);
    }
    d.answers = {" " + words[offset].second};
    d.wrong_answers = {" " + other.second};
    // Nothing but the start token may stand before the chosen ids.
    d.accepts = [ids](const std::vector<int64_t>& got) {
      return got.size() >= ids.size() && got.size() <= ids.size() + 1 &&
             std::equal(ids.rbegin(), ids.rend(), got.rbegin());
    };
    d.labels["template"] = "period-" + std::to_string(period);
    d.labels["template_id"] = d.labels["period"] = std::to_string(period);
    d.labels["offset"] = std::to_string(offset);
    d.labels["corrupted_answer"] = d.wrong_answers.front();
    return d;
  }

 private:
  const Tokenizer& tokenizer_;
  std::vector<int64_t> periods_;
  int64_t first_offset_, offset_;
  std::vector<Word> words_;
  std::string lead_ = " ";
};

}  // namespace

Builtin induction() {
  Builtin b;
  b.info.name = "induction";
  b.info.title = "Induction on random words";
  b.info.description =
      "Random words, then the same words from the start; the next one is what followed before. Corrupted: another word "
      "stood there the first time.";
  b.info.metric = "logit_diff";
  b.info.source = "Olsson et al. 2022, arXiv 2209.11895";
  b.settings.specs = {number_setting("period", 2, kMaxPeriod, "words before they repeat; drawn when not given"),
                      number_setting("offset", 1, kMaxPeriod - 1,
                                     "words repeated before the answer; drawn when not given")};
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<InductionSource>(s); };
  return b;
}

}  // namespace microtome::tasks
