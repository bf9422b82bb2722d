// Gendered pronoun: a name, and later "he" or "she". Corrupted: a name of the other gender.
#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

class PronounSource : public Source {
 public:
  explicit PronounSource(const Setup& s)
      : templates_(s.templates()),
        male_(s.single_words("male_names", 1)),
        female_(s.single_words("female_names", 1)),
        places_(s.single_words("places", 1)),
        objects_(s.single_words("objects", 1)),
        gender_(s.options.get_string("gender")) {}

  std::optional<Draft> draw(Rng& rng) const override {
    const Template& t = pick_template(rng, templates_);
    const bool drawn = rng.below(2) == 0;
    const bool male = gender_ == "mixed" ? drawn : gender_ == "he";
    const std::string name = rng.pick(male ? male_ : female_);
    const std::string other = rng.pick(male ? female_ : male_);
    std::map<std::string, std::string> slots = {{"N", name}, {"P", rng.pick(places_)}, {"O", rng.pick(objects_)}};
    Draft d;
    d.clean = fill(t.text, slots).text;
    slots["N"] = other;
    d.corrupted = fill(t.text, slots).text;
    d.answers = {male ? " he" : " she"};
    d.wrong_answers = {male ? " she" : " he"};
    label_template(d, t);
    d.labels["name"] = name;
    d.labels["other"] = other;
    d.labels["corrupted_answer"] = d.wrong_answers.front();
    return d;
  }

 private:
  std::vector<Template> templates_;
  std::vector<std::string> male_, female_, places_, objects_;
  std::string gender_;
};

}  // namespace

Builtin pronoun() {
  Builtin b;
  b.info.name = "pronoun";
  b.info.aliases = {"gendered_pronoun"};
  b.info.title = "Gendered pronoun";
  b.info.description = "A name, then 'he' or 'she'. Corrupted: a name of the other gender.";
  b.info.metric = "logit_diff";
  b.info.source =
      "Mathwin et al. 2023, Identifying a preliminary circuit for predicting gendered pronouns in GPT-2 small";
  b.settings.specs = {choice_setting("gender", {"mixed", "he", "she"}, "which pronoun is right")};
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<PronounSource>(s); };
  return b;
}

}  // namespace microtome::tasks
