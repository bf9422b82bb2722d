// Colored objects: three things with a colour each; the colour of one is asked for. Corrupted: another one is.
#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

class ColoredObjectsSource : public Source {
 public:
  explicit ColoredObjectsSource(const Setup& s)
      : templates_(s.templates()), items_(s.single_words("items", 3)), colors_(s.single_words("colors", 3)) {}

  std::optional<Draft> draw(Rng& rng) const override {
    const Template& t = pick_template(rng, templates_);
    const std::vector<std::string> items = pick_distinct(rng, items_, 3);
    const std::vector<std::string> colors = pick_distinct(rng, colors_, 3);
    const size_t asked = rng.below(3);
    const size_t other = (asked + 1 + rng.below(2)) % 3;
    std::map<std::string, std::string> slots;
    for (size_t i = 0; i < 3; ++i) {
      slots["i" + std::to_string(i)] = items[i];
      slots["c" + std::to_string(i)] = colors[i];
    }
    Draft d;
    slots["q"] = items[asked];
    d.clean = fill(t.text, slots).text;
    slots["q"] = items[other];
    d.corrupted = fill(t.text, slots).text;
    for (size_t i = 0; i < 3; ++i) (i == asked ? d.answers : d.wrong_answers).push_back(" " + colors[i]);
    label_template(d, t);
    d.labels["items"] = list_label(items);
    d.labels["colors"] = list_label(colors);
    d.labels["query"] = items[asked];
    d.labels["corrupted_answer"] = " " + colors[other];
    return d;
  }

 private:
  std::vector<Template> templates_;
  std::vector<std::string> items_, colors_;
};

}  // namespace

Builtin colored_objects() {
  Builtin b;
  b.info.name = "colored_objects";
  b.info.title = "Colored objects";
  b.info.description =
      "Three objects and their colours; what colour has one of them? Corrupted: another one is asked for.";
  b.info.metric = "logit_diff";
  b.info.source = "Merullo et al. 2023, arXiv 2310.08744";
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<ColoredObjectsSource>(s); };
  return b;
}

}  // namespace microtome::tasks
