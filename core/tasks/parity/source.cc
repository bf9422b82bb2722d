// Parity: is the number of b even or odd? Corrupted: one letter is flipped.
#include "core/tasks/generator.h"

namespace microtome::tasks {
namespace {

constexpr int64_t kMaxLength = 512;

class ParitySource : public Source {
 public:
  explicit ParitySource(const Setup& s)
      : prefix_(s.text("prefix")), suffix_(s.text("suffix")), lengths_(s.numbers("lengths")) {
    if (const int64_t n = s.options.get_int("length"); n != kDrawn) lengths_ = {n};
    for (int64_t n : lengths_) total_ += static_cast<uint64_t>(n);
  }

  std::optional<Draft> draw(Rng& rng) const override {
    // A length is as likely as it is long: there are few short words, and all different ones are soon used up.
    uint64_t at = rng.below(total_);
    size_t length = 0;
    for (int64_t n : lengths_) {
      length = static_cast<size_t>(n);
      if (at < length) break;
      at -= length;
    }
    std::vector<int> bits(length);
    int ones = 0;
    for (int& b : bits) ones += b = static_cast<int>(rng.below(2));
    const size_t flipped = rng.below(length);
    Draft d;
    d.clean = d.corrupted = prefix_;
    for (size_t i = 0; i < length; ++i) {
      d.clean += bits[i] ? " b" : " a";
      d.corrupted += (bits[i] != 0) != (i == flipped) ? " b" : " a";
    }
    d.clean += suffix_;
    d.corrupted += suffix_;
    d.answers = {ones % 2 ? " odd" : " even"};
    d.wrong_answers = {ones % 2 ? " even" : " odd"};
    d.labels["template"] = "len-" + std::to_string(length);
    d.labels["template_id"] = std::to_string(length);
    d.labels["bits"] = Json(bits).dump();
    d.labels["flipped"] = std::to_string(flipped);
    d.labels["corrupted_answer"] = d.wrong_answers.front();
    return d;
  }

 private:
  std::string prefix_, suffix_;
  std::vector<int64_t> lengths_;
  uint64_t total_ = 0;
};

}  // namespace

Builtin parity() {
  Builtin b;
  b.info.name = "parity";
  b.info.title = "Parity";
  b.info.description = "Is the number of b in a word even or odd? Corrupted: one letter is flipped.";
  b.info.metric = "logit_diff";
  b.info.source = "Hahn 2020, arXiv 1906.06755; for linear recurrences Grazzi et al. 2024, arXiv 2411.12537";
  b.settings.specs = {number_setting("length", 1, kMaxLength, "letters of the word; drawn when not given")};
  b.make = [](const Setup& s) -> std::unique_ptr<Source> { return std::make_unique<ParitySource>(s); };
  return b;
}

}  // namespace microtome::tasks
