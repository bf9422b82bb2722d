#include "analysis/linear_probe/examples.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "core/base/rng.h"

namespace microtome::analyses {
namespace {

constexpr size_t kMostClasses = 1000;

[[noreturn]] void bad(const std::string& what, const std::string& where, const std::string& todo) { throw Error(StatusCode::kBadInput, what, where, todo); }

std::string where_of(const AnalysisInput& input, size_t prompt) {
  int64_t line = input.dataset.pairs[prompt].line;
  return input.dataset.name + (line ? ", line " + std::to_string(line) : ", prompt " + std::to_string(prompt + 1));
}

int64_t position_of(const AnalysisInput& input, size_t i, const std::string& text) {
  const PromptPair& p = input.dataset.pairs[i];
  const int64_t length = static_cast<int64_t>(p.clean_ids.size());
  if (text == "mean") return -1;
  if (text == "last" || text.empty()) return length - 1;
  int64_t at = 0;
  auto [next, error] = std::from_chars(text.data(), text.data() + text.size(), at);
  if (error == std::errc() && next == text.data() + text.size()) {
    if (at < 0) at += length;
    if (at < 0 || at >= length) bad("position " + text + " is outside a prompt of " + std::to_string(length) + " tokens", where_of(input, i), "choose another");
    return at;
  }
  auto it = p.positions.find(text);
  if (it == p.positions.end()) {
    std::string known;
    for (const auto& [name, _] : p.positions) known += (known.empty() ? "" : ", ") + name;
    bad("the prompt has no position '" + text.substr(0, 60) + "'", where_of(input, i), "write last, mean, an index" + (known.empty() ? "" : ", or one of " + known));
  }
  if (it->second < 0 || it->second >= length) bad("position '" + text.substr(0, 60) + "' is outside the prompt", where_of(input, i), "correct the dataset");
  return it->second;
}

const std::vector<int64_t>& ids_of(const AnalysisInput& input, const Example& e) {
  const PromptPair& p = input.dataset.pairs[static_cast<size_t>(e.prompt)];
  return e.corrupted ? p.corrupted_ids : p.clean_ids;
}

double number_of(const std::string& text, const std::string& where, const std::string& label) {
  double x = NAN;
  auto [next, error] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (text.empty() || error != std::errc() || next != text.data() + text.size() || !std::isfinite(x))
    bad("'" + text.substr(0, 60) + "' is not a number", where, "a ridge probe needs a label '" + label + "' that is one; probe=logistic takes any text");
  return x;
}

// One label a type, dealt out at random, each as often among the types as among the rows of y.
at::Tensor control_labels(const std::vector<std::string>& types, const at::Tensor& y, uint64_t seed) {
  Rng rng(seed);
  std::map<std::string, int64_t> row;                  // whose label the type has
  for (const std::string& t : types) row[t] = 0;
  const at::Tensor order = at::argsort(y, /*stable=*/true, 0, /*descending=*/false);
  const int64_t n = y.size(0), count = static_cast<int64_t>(row.size());
  std::vector<int64_t> dealt;
  for (int64_t k = 0; k < count; ++k) dealt.push_back(order[(2 * k + 1) * n / (2 * count)].item<int64_t>());
  rng.shuffle(dealt);
  size_t next = 0;
  for (auto& [type, r] : row) r = dealt[next++];
  std::vector<int64_t> index;
  for (const std::string& t : types) index.push_back(row[t]);
  return y.index_select(0, at::tensor(index, at::kLong));
}

}  // namespace

ExampleSet make_examples(const AnalysisInput& input) {
  const std::vector<PromptPair>& pairs = input.dataset.pairs;
  const bool ridge = input.params.get_string("probe") == "ridge";
  const std::string position = input.params.get_string("position");
  std::string label = input.params.get_string("label");
  if (label.empty()) {
    bool twins = std::all_of(pairs.begin(), pairs.end(), [](const PromptPair& p) { return p.corrupted_ids.size() == p.clean_ids.size() && !p.corrupted_ids.empty(); });
    label = twins ? "corrupted" : "answer";
  }
  ExampleSet out;
  std::vector<std::string> names;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const PromptPair& p = pairs[i];
    Example e{static_cast<int64_t>(i), false, position_of(input, i, position)};
    if (label == "corrupted") {
      if (p.corrupted_ids.size() != p.clean_ids.size())
        bad("the line has no corrupted prompt as long as the clean one", where_of(input, i), "choose another label, or a dataset with pairs");
      out.examples.push_back(e);
      names.push_back(ridge ? "0" : "clean");
      e.corrupted = true;
      out.examples.push_back(e);
      names.push_back(ridge ? "1" : "corrupted");
      out.what = "whether the prompt is corrupted";
    } else if (label == "answer") {
      if (p.answer_ids.empty()) bad("the prompt has no answer, which label=answer needs", where_of(input, i), "add 'answer' to the line, or choose another label");
      out.examples.push_back(e);
      names.push_back(ridge && !p.answers.empty() ? p.answers[0].substr(std::min(p.answers[0].find_first_not_of(' '), p.answers[0].size()))
                                                  : engine::token_texts(input.tokenizer, {p.answer_ids[0]})[0]);
      out.what = "the answer";
    } else {
      auto it = p.labels.find(label);
      if (it == p.labels.end()) {
        std::string known = "answer, corrupted";
        for (const auto& [name, _] : p.labels) known += ", " + name;
        bad("the line has no label '" + label.substr(0, 60) + "'", where_of(input, i), "use one of " + known);
      }
      out.examples.push_back(e);
      names.push_back(it->second);
      out.what = "'" + label + "'";
    }
  }
  // Classes that occur once cannot be learned and tested.
  if (!ridge) {
    std::map<std::string, int64_t> count;
    for (const std::string& n : names) ++count[n];
    std::vector<Example> kept;
    std::vector<std::string> kept_names;
    std::set<std::string> left_out;
    for (size_t i = 0; i < names.size(); ++i) {
      if (count[names[i]] < 2) {
        left_out.insert(names[i]);
        continue;
      }
      kept.push_back(out.examples[i]);
      kept_names.push_back(names[i]);
    }
    if (!left_out.empty())
      out.warnings.push_back(std::to_string(left_out.size()) + (left_out.size() == 1 ? " class occurs" : " classes occur") + " once and is left out: '" + *left_out.begin() + "'" +
                             (left_out.size() > 1 ? " …" : ""));
    out.examples = std::move(kept);
    names = std::move(kept_names);
    std::map<std::string, int64_t> index;
    for (const std::string& n : names) index[n] = 0;
    for (auto& [name, i] : index) {
      i = static_cast<int64_t>(out.classes.size());
      out.classes.push_back(name);
    }
    if (out.classes.size() < 2)
      bad("the label '" + label + "' has " + (out.classes.empty() ? "no class that occurs twice" : "only one class"), input.dataset.name, "give more prompts, or choose another label");
    if (out.classes.size() > kMostClasses) bad("the label '" + label + "' has " + std::to_string(out.classes.size()) + " classes", input.dataset.name, "choose one with fewer, or probe=ridge");
    std::vector<int64_t> y;
    for (const std::string& n : names) y.push_back(index[n]);
    out.y = at::tensor(y, at::kLong);
  } else {
    std::vector<double> y;
    for (size_t i = 0; i < names.size(); ++i) y.push_back(number_of(names[i], where_of(input, static_cast<size_t>(out.examples[i].prompt)), label));
    out.y = at::tensor(y, at::kDouble);
    if (!(out.y != out.y[0]).any().item<bool>()) bad("the label '" + label + "' is the same number on every line", input.dataset.name, "choose another label");
  }

  // Folds: prompts that are alike, and a prompt with its corrupted one, stay together; classes are dealt out evenly.
  std::map<std::vector<int64_t>, int64_t> by_ids;
  std::vector<int64_t> group, first_class;
  for (size_t i = 0; i < out.examples.size(); ++i) {
    auto [it, is_new] = by_ids.try_emplace(pairs[static_cast<size_t>(out.examples[i].prompt)].clean_ids, static_cast<int64_t>(first_class.size()));
    if (is_new) first_class.push_back(ridge || label == "corrupted" ? 0 : out.y[static_cast<int64_t>(i)].item<int64_t>());
    group.push_back(it->second);
  }
  const int64_t groups = static_cast<int64_t>(first_class.size());
  if (groups < 2) bad("there is only one prompt to learn from", input.dataset.name, "give more prompts");
  out.folds = std::min(input.params.get_int("folds"), groups);
  std::vector<int64_t> order(static_cast<size_t>(groups)), fold_of(static_cast<size_t>(groups));
  for (int64_t g = 0; g < groups; ++g) order[static_cast<size_t>(g)] = g;
  Rng rng(item_seed(input.seed, 1'000'001));
  rng.shuffle(order);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return first_class[static_cast<size_t>(a)] < first_class[static_cast<size_t>(b)]; });
  for (size_t k = 0; k < order.size(); ++k) fold_of[static_cast<size_t>(order[k])] = static_cast<int64_t>(k) % out.folds;
  std::vector<int64_t> fold;
  for (int64_t g : group) fold.push_back(fold_of[static_cast<size_t>(g)]);
  out.fold = at::tensor(fold, at::kLong);

  std::vector<std::string> by_token, by_prompt;
  for (const Example& e : out.examples) {
    const std::vector<int64_t>& ids = ids_of(input, e);
    by_token.push_back(std::to_string(ids[static_cast<size_t>(e.position < 0 ? static_cast<int64_t>(ids.size()) - 1 : e.position)]));
    std::string all;
    for (int64_t id : ids) all += std::to_string(id) + " ";
    by_prompt.push_back(all);
  }
  const size_t tokens = std::set<std::string>(by_token.begin(), by_token.end()).size(), needed = 2 * std::max<size_t>(2, out.classes.size());
  const bool token = position != "mean" && tokens >= needed;
  out.type = token ? "token at the position" : "prompt";
  out.control = control_labels(token ? by_token : by_prompt, out.y, item_seed(input.seed, 1'000'002));
  return out;
}

}  // namespace microtome::analyses
