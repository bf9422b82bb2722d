// Greater-than: an end year of the same century comes after the start year. Corrupted: the start year is 01, so that
// every later year is as good.
#include <algorithm>
#include <cstdio>

#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

std::string two_digits(int64_t n) {
  char text[8];
  std::snprintf(text, sizeof text, "%02d", static_cast<int>(n));
  return text;
}

class GreaterThanSource : public Source {
 public:
  explicit GreaterThanSource(const Setup& s)
      : templates_(s.templates()),
        nouns_(s.single_words("nouns", 1)),
        centuries_(s.numbers("centuries")),
        first_(json_int(s.words, "first_year", s.task)),
        last_(json_int(s.words, "last_year", s.task)) {
    for (int64_t y = 0; y < 100; ++y) years_.push_back(two_digits(y));
    // All hundred are needed: the metric sums over every year.
    s.keep_single(years_, "two-digit numbers", years_.size(), "");
    for (const std::string& y : years_) ids_.push_back(*s.tokenizer.single_token(y));
    if (const int64_t c = s.options.get_int("century"); c != kDrawn) centuries_ = {c};
  }

  std::optional<Draft> draw(Rng& rng) const override {
    const Template& t = pick_template(rng, templates_);
    const int64_t century = rng.pick(centuries_);
    const int64_t year = first_ + static_cast<int64_t>(rng.below(static_cast<uint64_t>(last_ - first_ + 1)));
    std::map<std::string, std::string> slots = {
        {"n", rng.pick(nouns_)}, {"c", std::to_string(century)}, {"y", years_[static_cast<size_t>(year)]}};
    Draft d;
    d.clean = fill(t.text, slots).text;
    slots["y"] = "01";
    d.corrupted = fill(t.text, slots).text;
    const auto split = years_.begin() + year + 1;
    d.wrong_answers.assign(years_.begin(), split);
    d.answers.assign(split, years_.end());
    // Some tokenizers know round years as one token (" 1900"). The start year must be cut in two; among the answers the
    // two digits stand for such a year, since the century before them is fixed.
    d.merging_answers = true;
    d.accepts = [id = ids_[static_cast<size_t>(year)]](const std::vector<int64_t>& got) {
      return std::find(got.begin(), got.end(), id) != got.end();
    };
    label_template(d, t);
    d.labels["noun"] = slots.at("n");
    d.labels["century"] = slots.at("c");
    d.labels["yy"] = std::to_string(year);
    return d;
  }

 private:
  std::vector<Template> templates_;
  std::vector<std::string> nouns_, years_;
  std::vector<int64_t> centuries_, ids_;
  int64_t first_, last_;
};

}  // namespace

Builtin greater_than() {
  Builtin b;
  b.info.name = "greater_than";
  b.info.title = "Greater-than";
  b.info.description =
      "An event began in a year; in which year of the same century did it end? Every later year is right. Corrupted: "
      "the event began in year 01.";
  b.info.metric = "greater_than";
  b.info.source = "Hanna et al. 2023, arXiv 2305.00586";
  b.settings.specs = {number_setting("century", 10, 99, "the first two digits of the year; drawn when not given")};
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<GreaterThanSource>(s); };
  return b;
}

}  // namespace microtome::tasks
