// Docstring: parameters are described in the order of the def line; the next one is asked for. Corrupted: the def line
// has other names, so that it no longer says which is next.
#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

constexpr size_t kArgs = 5;

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& w : words) out += (out.empty() ? "" : ", ") + w;
  return out;
}

class DocstringSource : public Source {
 public:
  explicit DocstringSource(const Setup& s)
      : templates_(s.templates()),
        functions_(s.single_words("functions", 1)),
        args_(s.single_words("args", 2 * kArgs)),
        adjectives_(s.single_words("adjectives", 1)),
        nouns_(s.single_words("nouns", 1)) {}

  std::optional<Draft> draw(Rng& rng) const override {
    const Template& t = pick_template(rng, templates_);
    const std::vector<std::string> both = pick_distinct(rng, args_, 2 * kArgs);
    const std::vector<std::string> args(both.begin(), both.begin() + kArgs);
    const std::vector<std::string> others(both.begin() + kArgs, both.end());
    std::map<std::string, std::string> slots = {{"F", rng.pick(functions_)}, {"args", joined(args)}};
    for (int64_t k = 0; k <= t.described; ++k) {
      slots["d" + std::to_string(k)] = rng.pick(adjectives_);
      slots["n" + std::to_string(k)] = rng.pick(nouns_);
      slots["p" + std::to_string(k)] = args[static_cast<size_t>(k)];
    }
    Draft d;
    d.clean = fill(t.text, slots).text;
    slots["args"] = joined(others);
    d.corrupted = fill(t.text, slots).text;
    for (size_t i = 0; i < kArgs; ++i) {
      (static_cast<int64_t>(i) == t.described ? d.answers : d.wrong_answers).push_back(" " + args[i]);
    }
    label_template(d, t);
    d.labels["args"] = list_label(args);
    d.labels["corrupted_args"] = list_label(others);
    return d;
  }

 private:
  std::vector<Template> templates_;
  std::vector<std::string> functions_, args_, adjectives_, nouns_;
};

}  // namespace

Builtin docstring() {
  Builtin b;
  b.info.name = "docstring";
  b.info.title = "Docstring";
  b.info.description =
      "A Python docstring describes the parameters in order; which comes next? Corrupted: the def line has other "
      "parameter names.";
  b.info.metric = "logit_diff";
  b.info.source =
      "Heimersheim and Janiak 2023, A circuit for Python docstrings in a 4-layer attention-only transformer";
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<DocstringSource>(s); };
  return b;
}

}  // namespace microtome::tasks
