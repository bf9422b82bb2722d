// Indirect object identification: two names, one of them again as the giver; the other is who receives. Corrupted: the
// second mention of the giver is replaced, by the receiver (s2_io, the answer turns round) or by a third name (abc).
#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

class IoiSource : public Source {
 public:
  explicit IoiSource(const Setup& s)
      : templates_(s.templates()),
        names_(s.single_words("names", 3)),
        places_(s.single_words("places", 1)),
        objects_(s.single_words("objects", 1)),
        order_(s.options.get_string("order")),
        abc_(s.options.get_string("corruption") == "abc") {}

  std::optional<Draft> draw(Rng& rng) const override {
    const Template& t = pick_template(rng, templates_);
    const std::vector<std::string> names = pick_distinct(rng, names_, 3);
    const std::string &io = names[0], &subject = names[1], &third = names[2];
    const bool drawn_abba = rng.below(2) == 0;
    const bool abba = order_ == "mixed" ? drawn_abba : order_ == "ABBA";
    std::map<std::string, std::string> slots = {{"A", abba ? io : subject},
                                                {"B", abba ? subject : io},
                                                {"S", subject},
                                                {"P", rng.pick(places_)},
                                                {"O", rng.pick(objects_)}};
    const Filled clean = fill(t.text, slots);
    Draft d;
    d.clean = clean.text;
    d.label_differences = false;
    d.marks["io"] = clean.slots.at(abba ? "A" : "B").front();
    d.marks["s1"] = clean.slots.at(abba ? "B" : "A").front();
    d.marks["s2"] = clean.slots.at("S").front();
    d.next_to["s1_plus_1"] = "s1";
    slots["S"] = abc_ ? third : io;
    d.corrupted = fill(t.text, slots).text;
    d.answers = {" " + io};
    d.wrong_answers = {" " + subject};
    label_template(d, t);
    d.labels["order"] = abba ? "ABBA" : "BABA";
    d.labels["io"] = io;
    d.labels["subject"] = subject;
    d.labels["third"] = third;
    if (has_slot(t, "P")) d.labels["place"] = slots.at("P");
    if (has_slot(t, "O")) d.labels["object"] = slots.at("O");
    d.labels["corruption"] = abc_ ? "abc" : "s2_io";
    if (!abc_) d.labels["corrupted_answer"] = " " + subject;
    return d;
  }

 private:
  std::vector<Template> templates_;
  std::vector<std::string> names_, places_, objects_;
  std::string order_;
  bool abc_;
};

}  // namespace

Builtin ioi() {
  Builtin b;
  b.info.name = "ioi";
  b.info.title = "Indirect object identification";
  b.info.description =
      "Two people, one of whom gives something: who receives it? Corrupted: the second mention of the giver is "
      "replaced by the other name (corruption=s2_io) or by a third one (abc).";
  b.info.metric = "logit_diff";
  b.info.source = "Wang et al. 2022, arXiv 2211.00593";
  b.settings.specs = {
      choice_setting("order", {"mixed", "ABBA", "BABA"}, "who is named first: the receiver (ABBA) or the giver (BABA)"),
      choice_setting("corruption", {"s2_io", "abc"}, "what the second mention of the giver becomes")};
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<IoiSource>(s); };
  return b;
}

}  // namespace microtome::tasks
