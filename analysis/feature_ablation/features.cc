#include "analysis/feature_ablation/features.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace microtome::analyses {
namespace {

[[noreturn]] void bad(const std::string& what, const char* where, const std::string& todo) { throw Error(StatusCode::kBadInput, what, where, todo); }

std::vector<std::string> pieces(const std::string& text) {
  std::vector<std::string> out;
  for (size_t from = 0; from <= text.size();) {
    size_t to = std::min(text.find(',', from), text.size()), a = from, b = to;
    while (a < b && text[a] == ' ') ++a;
    while (b > a && text[b - 1] == ' ') --b;
    out.push_back(text.substr(a, b - a));
    from = to + 1;
  }
  return out;
}

std::optional<int64_t> whole_number(const std::string& s) {
  int64_t x = 0;
  auto [next, error] = std::from_chars(s.data(), s.data() + s.size(), x);
  if (s.empty() || error != std::errc() || next != s.data() + s.size()) return std::nullopt;
  return x;
}

}  // namespace

std::vector<FeatureRef> parse_features(const DictionarySet& set, const std::string& text) {
  std::vector<FeatureRef> out;
  const bool several = set.members.size() > 1;
  for (const std::string& piece : pieces(text)) {
    const std::string shown = "'" + piece.substr(0, 60) + "'";
    size_t slash = piece.find('/');
    FeatureRef f;
    if (slash != std::string::npos) {
      std::optional<int64_t> layer = whole_number(piece.substr(0, slash));
      auto it = layer ? std::find(set.layers.begin(), set.layers.end(), *layer) : set.layers.end();
      if (it == set.layers.end()) bad(shown + " names no layer that has a dictionary", "param features", "write LAYER/FEATURE");
      f.member = static_cast<size_t>(it - set.layers.begin());
    } else if (several) {
      bad(shown + " does not say which of " + std::to_string(set.members.size()) + " dictionaries it is of", "param features", "write LAYER/FEATURE");
    }
    std::optional<int64_t> number = whole_number(slash == std::string::npos ? piece : piece.substr(slash + 1));
    int64_t size = set.members[f.member].config.d_sae;
    if (!number) bad(shown + " is not the number of a feature", "param features", "write numbers with commas between");
    if (*number < 0 || *number >= size) bad("there is no feature " + std::to_string(*number), "param features", "features go from 0 to " + std::to_string(size - 1));
    f.feature = *number;
    if (std::find(out.begin(), out.end(), f) != out.end()) bad("feature " + piece + " is there twice", "param features", "name each once");
    out.push_back(f);
  }
  return out;
}

std::string feature_name(const DictionarySet& set, const FeatureRef& f) {
  std::string number = std::to_string(f.feature);
  return set.members.size() > 1 ? std::to_string(set.layers[f.member]) + "/" + number : number;
}

at::Tensor position_mask(const AnalysisInput& input, const engine::PromptGroup& group, const std::string& text) {
  int64_t rows = static_cast<int64_t>(group.prompts.size());
  at::Tensor mask = at::zeros({rows, group.length}, at::kDouble);
  if (text == "all" || text.empty()) return mask.fill_(1);
  if (text == "last") {
    mask.select(1, group.length - 1).fill_(1);
    return mask;
  }
  if (whole_number(pieces(text).front())) {
    for (const std::string& piece : pieces(text)) {
      std::optional<int64_t> p = whole_number(piece);
      if (!p) bad("'" + piece.substr(0, 60) + "' is no position", "param positions", "write indices with commas between");
      int64_t at = *p < 0 ? *p + group.length : *p;
      if (at < 0 || at >= group.length)
        bad("position " + std::to_string(*p) + " is outside a prompt of " + std::to_string(group.length) + " tokens", "param positions", "choose another");
      mask.select(1, at).fill_(1);
    }
    return mask;
  }
  for (int64_t r = 0; r < rows; ++r) {
    const PromptPair& p = input.dataset.pairs[static_cast<size_t>(group.prompts[static_cast<size_t>(r)])];
    auto it = p.positions.find(text);
    if (it == p.positions.end())
      bad("prompt " + std::to_string(group.prompts[static_cast<size_t>(r)] + 1) + " has no position '" + text.substr(0, 60) + "'", "param positions",
          "write all, last, indices, or a label that all lines have");
    if (it->second < 0 || it->second >= group.length) bad("position '" + text.substr(0, 60) + "' is outside the prompt", "param positions", "correct the dataset");
    mask[r][it->second].fill_(1);
  }
  return mask;
}

}  // namespace microtome::analyses
