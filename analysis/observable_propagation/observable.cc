#include "analysis/observable_propagation/observable.h"

#include <ATen/ATen.h>

#include <charconv>
#include <optional>
#include <vector>

namespace microtome::analyses {
namespace {

int64_t token_of(const AnalysisInput& input, const std::string& text, const std::string& param) {
  const std::string where = "param " + param, shown = "'" + text.substr(0, 60) + "'";
  const int64_t vocab = input.model.config().vocab_size;
  if (text.size() > 1 && text[0] == '#') {
    int64_t id = -1;
    auto [next, error] = std::from_chars(text.data() + 1, text.data() + text.size(), id);
    if (error == std::errc() && next == text.data() + text.size()) {
      if (id < 0 || id >= vocab)
        throw Error(StatusCode::kBadInput, "token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocab), where, "choose another");
      return id;
    }
  }
  if (!input.tokenizer) throw Error(StatusCode::kBadInput, shown + " is a text, and this model has no tokenizer", where, "write ids: #12|#7>#40");
  std::optional<int64_t> id = text.empty() ? std::nullopt : input.tokenizer->single_token(text);
  if (!id || *id >= vocab) throw Error(StatusCode::kBadInput, shown + " is not one token", where, "write texts that are one token each, often with a space in front");
  return *id;
}

// The mean's weights over the texts between from and to.
void add_side(const AnalysisInput& input, const std::string& side, const std::string& param, double sign, at::Tensor& n) {
  std::vector<int64_t> ids;
  for (size_t from = 0; from <= side.size();) {
    size_t to = std::min(side.find('|', from), side.size());
    ids.push_back(token_of(input, side.substr(from, to - from), param));
    from = to + 1;
  }
  for (int64_t id : ids) n[id] += sign / static_cast<double>(ids.size());
}

}  // namespace

at::Tensor Observable::of(const AnalysisInput& input, const engine::PromptGroup& group) const {
  const int64_t rows = static_cast<int64_t>(group.prompts.size()), vocab = input.model.config().vocab_size;
  if (shared.defined()) return shared.unsqueeze(0).expand({rows, vocab});
  at::Tensor n = at::zeros({rows, vocab}, at::kDouble);
  for (int64_t r = 0; r < rows; ++r) {
    const PromptPair& p = input.dataset.pairs[static_cast<size_t>(group.prompts[static_cast<size_t>(r)])];
    for (int64_t id : p.answer_ids) n[r][id] += 1.0 / static_cast<double>(p.answer_ids.size());
    for (int64_t id : p.wrong_ids) n[r][id] -= 1.0 / static_cast<double>(p.wrong_ids.size());
  }
  return n;
}

Observable parse_observable(const AnalysisInput& input, const std::string& text, const std::string& param) {
  Observable out;
  const int64_t vocab = input.model.config().vocab_size;
  if (text.empty()) {
    out.name = "answer − wrong answers";
    for (size_t i = 0; i < input.dataset.pairs.size(); ++i) {
      const PromptPair& p = input.dataset.pairs[i];
      const std::string where = input.dataset.name + (p.line ? ", line " + std::to_string(p.line) : ", prompt " + std::to_string(i + 1));
      if (p.answer_ids.empty()) throw Error(StatusCode::kBadInput, "the prompt has no answer to make an observable of", where, "add 'answer' to the line, or name tokens");
      for (const auto* ids : {&p.answer_ids, &p.wrong_ids})
        for (int64_t id : *ids)
          if (id < 0 || id >= vocab) throw Error(StatusCode::kBadInput, "token id " + std::to_string(id) + " is outside the vocabulary", where, "use this model's own tokenizer");
    }
    return out;
  }
  out.name = text;
  out.shared = at::zeros({vocab}, at::kDouble);
  size_t split = text.find('>');
  add_side(input, text.substr(0, split), param, 1, out.shared);
  if (split != std::string::npos && split + 1 < text.size()) add_side(input, text.substr(split + 1), param, -1, out.shared);
  if (!(out.shared != 0).any().item<bool>()) throw Error(StatusCode::kBadInput, "both sides of the observable are the same", "param " + param, "name different tokens");
  return out;
}

}  // namespace microtome::analyses
