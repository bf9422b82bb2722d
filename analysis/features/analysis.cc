// features — dashboards of a dictionary's features; definition in README.md.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "analysis/engine/arrays.h"
#include "analysis/engine/dictionaries.h"
#include "analysis/features/coactivity.h"
#include "analysis/features/decoder_reading.h"
#include "analysis/features/feature_result.h"
#include "analysis/features/passes.h"
#include "analysis/registry.h"
#include "core/dictionary/formats/format.h"

namespace microtome::analyses {
namespace {

using namespace microtome::engine;

const AnalysisInfo kInfo = {
    "features", 1, "Feature dashboards",
    "For each feature of a sparse dictionary: the texts in which it is strongest and samples from bands of its activation, with its "
    "activation on every token; how often and how strongly it fires; the tokens whose logits its decoder direction raises and lowers "
    "most; the features nearest by direction and those that fire on the same tokens.",
    "after Neuronpedia and SAEDashboard; arXiv 2309.08600", AnalysisInfo::Prompts::kNone,
    {{"feature_table", {"feature"}, "a row a feature: density, largest and mean activation, strongest tokens, raised tokens"},
     {"densities", {"density"}, "number of features by the share of tokens they fire on"}}};

// "0-99,512" → the numbers, ascending, each once.
std::vector<int64_t> read_numbers(const std::string& text, int64_t d_sae) {
  std::vector<int64_t> out;
  auto bad = [&](const std::string& what) -> Error {
    return Error(StatusCode::kBadInput, what, "param features", "write all, alive, or numbers and ranges from 0 to " + std::to_string(d_sae - 1) + " with commas between: 0-99,512");
  };
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find(',', from), text.size());
    const char *a = text.data() + from, *b = text.data() + to;
    while (a < b && *a == ' ') ++a;
    while (b > a && b[-1] == ' ') --b;
    int64_t low = 0, high = 0;
    auto first = std::from_chars(a, b, low);
    if (first.ec != std::errc() || low < 0) throw bad("'" + text.substr(from, std::min<size_t>(to - from, 60)) + "' is no number of a feature");
    high = low;
    if (first.ptr != b) {
      auto second = *first.ptr == '-' ? std::from_chars(first.ptr + 1, b, high) : std::from_chars_result{first.ptr, std::errc::invalid_argument};
      if (second.ec != std::errc() || second.ptr != b || high < low) throw bad("'" + text.substr(from, std::min<size_t>(to - from, 60)) + "' is no range of features");
    }
    if (high >= d_sae) throw bad("the dictionary has no feature " + std::to_string(high));
    for (int64_t f = low; f <= high; ++f) out.push_back(f);
    if (out.size() > static_cast<size_t>(4 * d_sae)) throw bad("the list of features is longer than the dictionary");
    from = to + 1;
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Dictionary choose_member(const DictionarySet& set, int64_t layer, int64_t member, const std::string& where) {
  std::string known;
  for (size_t i = 0; i < set.members.size() && i < 64; ++i)
    known += (i ? ", " : "") + std::to_string(i) + (i < set.layers.size() && set.layers[i] >= 0 ? " (layer " + std::to_string(set.layers[i]) + ")" : "");
  auto bad = [&](const std::string& what) { return Error(StatusCode::kBadInput, what, where, "choose with `layer` or `member`; the set has " + known); };
  if (member >= 0) {
    if (member >= static_cast<int64_t>(set.members.size())) throw bad("the set has no member " + std::to_string(member));
    return set.members[static_cast<size_t>(member)];
  }
  if (layer >= 0) {
    std::vector<size_t> found;
    for (size_t i = 0; i < set.layers.size(); ++i)
      if (set.layers[i] == layer) found.push_back(i);
    if (found.size() != 1) throw bad(found.empty() ? "the set has no dictionary of layer " + std::to_string(layer) : "the set has several dictionaries of layer " + std::to_string(layer));
    return set.members.at(found[0]);
  }
  if (set.members.size() > 1) throw bad("the set has " + std::to_string(set.members.size()) + " dictionaries");
  return set.members[0];
}

class Run : public AnalysisRun {
 public:
  explicit Run(const AnalysisInput& input) : input_(input), dictionary_(read(input)), scan_(input_, dictionary_, hook(), corpus(), input.params.get_bool("skip_start")) {
    const Params& p = input.params;
    options_.d_sae = dictionary_.config.d_sae;
    options_.examples = p.get_int("examples");
    options_.bands = p.get_int("bands");
    options_.band_examples = p.get_int("band_examples");
    options_.context = p.get_int("context");
    options_.bins = p.get_int("bins");
    options_.coactive = p.get_int("coactive") > 0;
    options_.seed = input.seed;
    const std::string& which = p.get_string("features");
    only_alive_ = which == "alive";
    if (only_alive_ || which == "all") {
      candidates_.resize(static_cast<size_t>(options_.d_sae));
      for (size_t i = 0; i < candidates_.size(); ++i) candidates_[i] = static_cast<int64_t>(i);
    } else {
      candidates_ = read_numbers(which, options_.d_sae);
    }
    doubt_ = check_against_model(dictionary_, input.model, input.weights_hash);
    way_ = way_to_residual(input.model, HookCatalogue::canonical(dictionary_.config.hook_out), dictionary_.config.d_out);
    blocks_ = static_cast<int64_t>(scan_.blocks().size());
  }

  // Twice the blocks of the corpus, then the decoder, then co-activation.
  int64_t item_count() const override { return 2 * blocks_ + 2; }
  std::string item_title(int64_t item) const override {
    if (item == 2 * blocks_) return "logits and neighbours";
    if (item > 2 * blocks_) return "co-activation";
    const std::string part = "part " + std::to_string(item % blocks_ + 1) + " of " + std::to_string(blocks_);
    return item < blocks_ ? "how strongly features fire, " + part : "examples and histograms, " + part;
  }
  void set_batch(int64_t rows) override {
    // The runner counts rows of its longest prompt, and there are none: sequences are what runs here.
    batch_ = input_.params.get_int("batch_size") > 0 ? rows : std::max<int64_t>(1, rows / std::max<int64_t>(1, longest_));
  }

  void before_item(int64_t item, const std::vector<std::vector<NamedArray>>& so_far) override { fold(parts_, item, so_far); }

  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override {
    at::NoGradGuard no_grad;
    if (!doubt_.empty() && !said_) progress.warn(doubt_);
    said_ = true;
    if (item < blocks_) {
      const CorpusScan::Block& block = scan_.blocks()[static_cast<size_t>(item)];
      return parts_.first->scan(scan_, block, static_cast<double>(block.tokens) / static_cast<double>(scan_.tokens()), batch_, progress);
    }
    if (item < 2 * blocks_) return parts_.second->scan(scan_.blocks()[static_cast<size_t>(item - blocks_)], batch_, progress);
    progress.step(0, 1, item_title(item));
    return item == 2 * blocks_ ? decoder(progress) : coactivity(progress);
  }

  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override {
    Parts parts;
    fold(parts, 2 * blocks_, items);
    AnalysisResult out = feature_result({input_, dictionary_, scan_, *parts.first, *parts.second, items[static_cast<size_t>(2 * blocks_)], items[static_cast<size_t>(2 * blocks_ + 1)]});
    if (!way_.why_not.empty()) out.warnings.push_back("no logits are given: " + way_.why_not);
    if (parts.first->sample_dropped())
      out.warnings.push_back("co-activation is over a sample of " + std::to_string(parts.first->sample_ends().size()) + " of the corpus's tokens");
    if (!doubt_.empty()) out.warnings.push_back(doubt_);
    if (only_alive_ && input_.params.get_int("most") > 0 && static_cast<int64_t>(parts.second->chosen().size()) == input_.params.get_int("most"))
      out.warnings.push_back("only the first " + std::to_string(input_.params.get_int("most")) + " features that fire have a dashboard");
    return out;
  }

 private:
  struct Parts {
    std::unique_ptr<FirstPass> first;
    std::unique_ptr<SecondPass> second;
    int64_t folded = 0;
  };

  // Adds items up to `end` (without it) to what is known.
  void fold(Parts& parts, int64_t end, const std::vector<std::vector<NamedArray>>& items) const {
    if (!parts.first || end < parts.folded) parts = {std::make_unique<FirstPass>(options_, candidates_), nullptr, 0};
    for (;; ++parts.folded) {
      if (parts.folded == blocks_ && !parts.second) parts.second = std::make_unique<SecondPass>(options_, *parts.first, scan_, chosen(*parts.first));
      if (parts.folded >= std::min(end, 2 * blocks_)) break;
      const std::vector<NamedArray>& item = items[static_cast<size_t>(parts.folded)];
      if (parts.folded < blocks_) parts.first->add(item);
      else parts.second->add(item);
    }
  }

  std::vector<int64_t> chosen(const FirstPass& first) const {
    if (!only_alive_) return candidates_;
    const int64_t most = input_.params.get_int("most");
    std::vector<int64_t> out;
    for (int64_t f : candidates_)
      if (first.moments().count[static_cast<size_t>(f)] > 0 && (most == 0 || static_cast<int64_t>(out.size()) < most)) out.push_back(f);
    return out;
  }

  std::vector<NamedArray> decoder(Progress& progress) const {
    const std::vector<int64_t>& features = parts_.second->chosen();
    const int64_t n = static_cast<int64_t>(features.size()), logits = input_.params.get_int("logits"), near = input_.params.get_int("neighbours");
    at::Tensor none = at::empty({n, 0}, at::kLong), no_values = at::empty({n, 0}, at::kDouble);
    TopLogits top{none, no_values, none, no_values};
    Progress begin = progress.range(0, 0.5), end = progress.range(0.5, 1);
    if (way_.why_not.empty() && logits > 0) top = top_logits(input_.model, dictionary_, way_, features, logits, begin);
    Nearest nearest{none, no_values};
    if (near > 0) nearest = nearest_directions(dictionary_, features, near, end);
    return {to_array("top_id", {"feature", "rank"}, top.top_id), to_array("top_value", {"feature", "rank"}, top.top_value),
            to_array("bottom_id", {"feature", "rank"}, top.bottom_id), to_array("bottom_value", {"feature", "rank"}, top.bottom_value),
            to_array("neighbour", {"feature", "rank"}, nearest.feature), to_array("cosine", {"feature", "rank"}, nearest.cosine)};
  }

  std::vector<NamedArray> coactivity(Progress& progress) const {
    const std::vector<int64_t>& features = parts_.second->chosen();
    Partners p = coactive_features(parts_.first->sample_ends(), parts_.first->sample_features(), options_.d_sae, features, input_.params.get_int("coactive"), progress);
    const std::vector<int64_t> shape = {static_cast<int64_t>(features.size()), p.count};
    NamedArray index{"feature", {"feature", "rank"}, shape, std::move(p.feature), "", ""}, phi{"phi", {"feature", "rank"}, shape, std::move(p.phi), "", ""};
    return {std::move(index), std::move(phi)};
  }

  static Dictionary read(const AnalysisInput& input) {
    Dictionary d = choose_member(read_named(input, "dictionary"), input.params.get_int("layer"), input.params.get_int("member"), input.params.get_string("dictionary"));
    return d.to(input.model.device(), input.model.dtype() == at::kDouble ? at::kDouble : at::kFloat);
  }
  std::string hook() {
    const std::string& given = input_.params.get_string("hook");
    const std::string name = given.empty() ? dictionary_.config.hook_in : given;
    if (name.empty()) throw Error(StatusCode::kBadInput, "the dictionary does not say which point it reads", "param hook", "name it: --hook blocks.3.hook_resid_post");
    DictionaryConfig& c = dictionary_.config;
    c.hook_in = HookCatalogue::canonical(name);
    if (!c.transcoder) c.hook_out = c.hook_in;
    return c.hook_in;
  }
  Corpus corpus() {
    const Params& p = input_.params;
    const std::string& path = p.get_string("corpus");
    if (path.empty()) throw Error(StatusCode::kBadInput, "no corpus is given", "param corpus", "name a text file or token ids: --corpus FILE");
    Corpus c = read_corpus(path, input_.tokenizer, p.get_int("length"), p.get_bool("bos"), input_.model.config().vocab_size, p.get_int("tokens"));
    // The reader stops at the end of a stretch of text, somewhat later.
    int64_t total = c.tokens();
    for (; p.get_int("tokens") > 0 && total > p.get_int("tokens") && c.sequences.size() > 1; c.sequences.pop_back()) total -= static_cast<int64_t>(c.sequences.back().size());
    for (const auto& s : c.sequences) longest_ = std::max(longest_, static_cast<int64_t>(s.size()));
    return c;
  }

  const AnalysisInput input_;
  int64_t longest_ = 1;
  Dictionary dictionary_;
  CorpusScan scan_;
  PassOptions options_;
  std::vector<int64_t> candidates_;
  bool only_alive_ = false;
  WayToResidual way_;
  std::string doubt_;                  // of the dictionary's fit to the model
  bool said_ = false;
  int64_t blocks_ = 0, batch_ = 8;
  Parts parts_;
};

}  // namespace

void register_features(Registry& registry) {
  registry.add({kInfo, [](const AnalysisInput& input) { return std::make_unique<Run>(input); }});
}

}  // namespace microtome::analyses
