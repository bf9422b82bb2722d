// Subject-verb agreement: the verb's number is the subject's, also across a noun of the other number (the attractor).
// Corrupted: the subject has the other number.
#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

struct Forms {
  std::string lead, singular, plural;      // adverb and verb, or empty and noun
  const std::string& form(bool plural_form) const { return plural_form ? plural : singular; }
};

class SvaSource : public Source {
 public:
  explicit SvaSource(const Setup& s) : templates_(s.templates()), attractor_(s.options.get_string("attractor")) {
    for (const Json& a : s.words.at("adverbs")) {
      adverbs_.push_back({a.at(0).get<std::string>(), a.at(1).get<std::string>(), a.at(2).get<std::string>()});
    }
    std::vector<std::string> kept;
    for (const Json& n : s.words.at("nouns")) {
      const auto one = n.at(0).get<std::string>(), many = n.at(1).get<std::string>();
      if (!s.tokenizer.single_token(" " + one) || !s.tokenizer.single_token(" " + many)) continue;
      kept.push_back(one);
      nouns_.push_back({"", one, many});
    }
    s.require(kept, s.words.at("nouns").size(), "nouns with singular and plural", 2);
    if (attractor_ == "any") return;
    std::vector<Template> with;
    for (const Template& t : templates_) {
      if (has_slot(t, "b")) with.push_back(t);
    }
    templates_ = std::move(with);
  }

  std::optional<Draft> draw(Rng& rng) const override {
    const Template& t = pick_template(rng, templates_);
    const Forms& adverb = rng.pick(adverbs_);
    const std::vector<Forms> nouns = pick_distinct(rng, nouns_, 2);
    const bool plural = rng.below(2) == 1;
    const bool drawn_differs = rng.below(2) == 1;
    const bool with_attractor = has_slot(t, "b");
    const bool differs = with_attractor && (attractor_ == "any" ? drawn_differs : attractor_ == "different");
    const std::string& subject = nouns[0].form(plural);
    const std::string& attractor = nouns[1].form(plural != differs);
    std::map<std::string, std::string> slots = {{"V", adverb.lead}, {"a", subject}, {"b", attractor}};
    Draft d;
    d.clean = fill(t.text, slots).text;
    slots["a"] = nouns[0].form(!plural);
    d.corrupted = fill(t.text, slots).text;
    d.answers = {" " + adverb.form(plural)};
    d.wrong_answers = {" " + adverb.form(!plural)};
    label_template(d, t);
    d.labels["subject"] = subject;
    if (with_attractor) d.labels["attractor"] = attractor;
    d.labels["attractor_differs"] = differs ? "true" : "false";
    d.labels["corrupted_answer"] = d.wrong_answers.front();
    return d;
  }

 private:
  std::vector<Template> templates_;
  std::vector<Forms> adverbs_, nouns_;
  std::string attractor_;
};

}  // namespace

Builtin sva() {
  Builtin b;
  b.info.name = "sva";
  b.info.title = "Subject-verb agreement";
  b.info.description =
      "The verb agrees with the subject, also across a noun of the other number. Corrupted: the subject has the other "
      "number.";
  b.info.metric = "logit_diff";
  b.info.source = "Linzen et al. 2016, arXiv 1611.01368; as a circuit task Marks et al. 2024, arXiv 2403.19647";
  b.settings.specs = {choice_setting("attractor", {"any", "same", "different"},
                                     "the number of the noun between subject and verb, against the subject's")};
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<SvaSource>(s); };
  return b;
}

}  // namespace microtome::tasks
