// Brackets: a prefix of a well-formed word over three kinds; which closes the innermost open one? Corrupted: that one
// is of another kind.
#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

constexpr const char* kOpen[] = {" (", " [", " {"};
constexpr const char* kClose[] = {" )", " ]", " }"};
constexpr int64_t kMaxLength = 512;

class BracketsSource : public Source {
 public:
  explicit BracketsSource(const Setup& s)
      : prefix_(s.text("prefix")),
        suffix_(s.text("suffix")),
        lengths_(s.numbers("lengths")),
        max_depth_(static_cast<size_t>(json_int(s.words, "max_depth", s.task))),
        open_(json_float(s.words, "open_probability", s.task)) {
    if (const int64_t n = s.options.get_int("length"); n != kDrawn) lengths_ = {n};
  }

  std::optional<Draft> draw(Rng& rng) const override {
    const int64_t length = rng.pick(lengths_);
    std::vector<const char*> word;
    std::vector<std::pair<size_t, size_t>> stack;        // kind and place of what is open
    for (int64_t i = 0; i < length; ++i) {
      if (stack.empty() || (stack.size() < max_depth_ && rng.uniform() < open_)) {
        const size_t kind = rng.below(3);
        stack.emplace_back(kind, word.size());
        word.push_back(kOpen[kind]);
      } else {
        word.push_back(kClose[stack.back().first]);
        stack.pop_back();
      }
    }
    if (stack.empty()) return std::nullopt;
    const auto [kind, opener] = stack.back();
    const size_t other = (kind + 1 + rng.below(2)) % 3;
    Draft d;
    d.clean = d.corrupted = prefix_;
    for (size_t i = 0; i < word.size(); ++i) {
      d.clean += word[i];
      d.corrupted += i == opener ? kOpen[other] : word[i];
    }
    d.clean += suffix_;
    d.corrupted += suffix_;
    for (size_t k = 0; k < 3; ++k) (k == kind ? d.answers : d.wrong_answers).push_back(kClose[k]);
    std::string tail;
    for (size_t i = stack.size() - 1; i-- > 0;) tail += kClose[stack[i].first];
    d.labels["template"] = "len-" + std::to_string(length);
    d.labels["template_id"] = std::to_string(length);
    d.labels["depth"] = std::to_string(stack.size());
    d.labels["opener_index"] = std::to_string(opener);
    d.labels["tail"] = tail;
    d.labels["corrupted_answer"] = kClose[other];
    return d;
  }

 private:
  std::string prefix_, suffix_;
  std::vector<int64_t> lengths_;
  size_t max_depth_;
  double open_;
};

}  // namespace

Builtin brackets() {
  Builtin b;
  b.info.name = "brackets";
  b.info.title = "Closing brackets";
  b.info.description =
      "Nested brackets of three kinds; which one closes the innermost that is open? Corrupted: that one is of another "
      "kind.";
  b.info.metric = "logit_diff";
  b.info.source = "Dyck words of bounded depth: Yao et al. 2021, arXiv 2105.11115";
  b.settings.specs = {number_setting("length", 1, kMaxLength, "brackets before the question; drawn when not given")};
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<BracketsSource>(s); };
  return b;
}

}  // namespace microtome::tasks
