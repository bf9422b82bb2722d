// Associative recall: pairs key=value, some of them asked for and answered, then one more key. Corrupted: another key
// is asked for.
#include <algorithm>

#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

constexpr int64_t kMaxPairs = 32;

class AssocRecallSource : public Source {
 public:
  explicit AssocRecallSource(const Setup& s)
      : prefix_(s.text("prefix")), pairs_(s.numbers("pairs")), demonstrations_(s.numbers("demonstrations")) {
    if (const int64_t n = s.options.get_int("pairs"); n != kDrawn) pairs_ = {n};
    if (const int64_t n = s.options.get_int("demonstrations"); n != kDrawn) demonstrations_ = {n};
    const auto need = static_cast<size_t>(*std::max_element(pairs_.begin(), pairs_.end()));
    keys_ = s.single_words("keys", need);
    std::vector<std::string> numbers;
    for (char a = '0'; a <= '9'; ++a) {
      for (char b = '0'; b <= '9'; ++b) numbers.push_back({a, b});
    }
    values_ = s.keep_single(numbers, "two-digit numbers", need, "");
  }

  std::optional<Draft> draw(Rng& rng) const override {
    const auto n = static_cast<size_t>(rng.pick(pairs_));
    const auto demos = std::min(static_cast<size_t>(rng.pick(demonstrations_)), n - 1);
    const std::vector<std::string> keys = pick_distinct(rng, keys_, n);
    const std::vector<std::string> values = pick_distinct(rng, values_, n);
    const size_t query = rng.below(n);
    std::vector<size_t> others;
    for (size_t i = 0; i < n; ++i) {
      if (i != query) others.push_back(i);
    }
    rng.shuffle(others);
    const size_t other = others.back();       // not one that is answered already, unless all are
    std::string text = prefix_;
    for (size_t i = 0; i < n; ++i) text += " " + keys[i] + "=" + values[i];
    text += " |";
    for (size_t i = 0; i < demos; ++i) text += " " + keys[others[i]] + "=" + values[others[i]];
    Draft d;
    d.clean = text + " " + keys[query] + "=";
    d.corrupted = text + " " + keys[other] + "=";
    for (size_t i = 0; i < n; ++i) (i == query ? d.answers : d.wrong_answers).push_back(values[i]);
    d.labels["template"] = "pairs-" + std::to_string(n);
    d.labels["template_id"] = d.labels["n_pairs"] = std::to_string(n);
    d.labels["demonstrations"] = std::to_string(demos);
    d.labels["keys"] = list_label(keys);
    d.labels["values"] = list_label(values);
    d.labels["query"] = keys[query];
    d.labels["corrupted_answer"] = values[other];
    return d;
  }

 private:
  std::string prefix_;
  std::vector<int64_t> pairs_, demonstrations_;
  std::vector<std::string> keys_, values_;
};

}  // namespace

Builtin assoc_recall() {
  Builtin b;
  b.info.name = "assoc_recall";
  b.info.aliases = {"recall"};
  b.info.title = "Associative recall";
  b.info.description =
      "Pairs of a word and a number; which number goes with one of the words? Corrupted: another word is asked for.";
  b.info.metric = "logit_diff";
  b.info.source = "Arora et al. 2023, arXiv 2312.04927";
  b.settings.specs = {number_setting("pairs", 2, kMaxPairs, "pairs to remember; drawn when not given"),
                      number_setting("demonstrations", 0, kMaxPairs - 1,
                                     "pairs recalled before the question; drawn when not given")};
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<AssocRecallSource>(s); };
  return b;
}

}  // namespace microtome::tasks
