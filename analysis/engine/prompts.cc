#include "analysis/engine/prompts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

namespace microtome::engine {
namespace {

std::string where_of(const AnalysisInput& input, size_t prompt) {
  int64_t line = input.dataset.pairs[prompt].line;
  return input.dataset.name + (line ? ", line " + std::to_string(line) : ", prompt " + std::to_string(prompt + 1));
}

at::Tensor stack_ids(const std::vector<const std::vector<int64_t>*>& rows, int64_t length, at::Device device) {
  at::Tensor out = at::empty({static_cast<int64_t>(rows.size()), length}, at::TensorOptions().dtype(at::kLong));
  int64_t* to = out.mutable_data_ptr<int64_t>();
  for (const auto* r : rows) to = std::copy(r->begin(), r->end(), to);
  return out.to(device);
}

int64_t first_difference(const std::vector<const std::vector<int64_t>*>& a,
                         const std::vector<const std::vector<int64_t>*>& b, int64_t length) {
  int64_t first = length;
  for (size_t r = 0; r < a.size(); ++r) {
    auto at = std::mismatch(a[r]->begin(), a[r]->end(), b[r]->begin()).first;
    first = std::min(first, static_cast<int64_t>(at - a[r]->begin()));
  }
  return first;
}

}  // namespace

std::vector<PromptGroup> group_prompts(const AnalysisInput& input, bool need_corrupted, int64_t max_rows) {
  const std::vector<PromptPair>& pairs = input.dataset.pairs;
  std::map<int64_t, std::vector<int64_t>> by_length;
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (pairs[i].clean_ids.empty())
      throw Error(StatusCode::kBadInput, "the prompt has no tokens", where_of(input, i), "give at least one token");
    if (need_corrupted && pairs[i].corrupted_ids.size() != pairs[i].clean_ids.size())
      throw Error(StatusCode::kBadInput,
                  "the clean prompt has " + std::to_string(pairs[i].clean_ids.size()) +
                      " tokens and the corrupted one " + std::to_string(pairs[i].corrupted_ids.size()),
                  where_of(input, i), "both must have equally many");
    by_length[static_cast<int64_t>(pairs[i].clean_ids.size())].push_back(static_cast<int64_t>(i));
  }
  std::vector<PromptGroup> out;
  for (const auto& [length, all] : by_length) {
    size_t step = max_rows > 0 ? static_cast<size_t>(max_rows) : all.size();
    for (size_t from = 0; from < all.size(); from += step) {
      PromptGroup g;
      g.length = length;
      g.prompts.assign(all.begin() + static_cast<int64_t>(from),
                       all.begin() + static_cast<int64_t>(std::min(all.size(), from + step)));
      std::vector<const std::vector<int64_t>*> clean, corrupted;
      for (int64_t p : g.prompts) {
        clean.push_back(&pairs[static_cast<size_t>(p)].clean_ids);
        corrupted.push_back(&pairs[static_cast<size_t>(p)].corrupted_ids);
      }
      g.clean = stack_ids(clean, length, input.model.device());
      g.first_difference = length;
      if (need_corrupted) {
        g.corrupted = stack_ids(corrupted, length, input.model.device());
        g.first_difference = first_difference(clean, corrupted, length);
      }
      out.push_back(std::move(g));
    }
  }
  return out;
}

PromptGroup part_of(const PromptGroup& group, int64_t from, int64_t count) {
  PromptGroup out = group;
  out.prompts.assign(group.prompts.begin() + from, group.prompts.begin() + from + count);
  out.clean = group.clean.narrow(0, from, count);
  if (group.corrupted.defined()) out.corrupted = group.corrupted.narrow(0, from, count);
  return out;
}

int64_t longest(const std::vector<PromptGroup>& groups) {
  int64_t most = 0;
  for (const PromptGroup& g : groups) most = std::max(most, g.length);
  return most;
}

void require_prompts(const AnalysisInput& input, const AnalysisInfo& info, bool need_answers) {
  if (info.prompts == AnalysisInfo::Prompts::kNone) return;
  const ModelConfig& config = input.model.config();
  if (input.dataset.pairs.empty())
    throw Error(StatusCode::kBadInput, "analysis '" + info.name + "' needs prompts and was given none",
                input.dataset.name, "name a task or a dataset file");
  auto check = [&](const std::vector<int64_t>& ids, const char* which, size_t i) {
    if (ids.empty())
      throw Error(StatusCode::kBadInput,
                  std::string("the line has no ") + which + " prompt, which analysis '" + info.name + "' needs",
                  where_of(input, i), "add it or choose another dataset");
    if (config.hard_context && static_cast<int64_t>(ids.size()) > config.context_length)
      throw Error(StatusCode::kBadInput,
                  std::string("the ") + which + " prompt has " + std::to_string(ids.size()) +
                      " tokens, the model's context " + std::to_string(config.context_length),
                  where_of(input, i), "shorten it");
    for (int64_t id : ids)
      if (id < 0 || id >= config.vocab_size)
        throw Error(
            StatusCode::kBadInput,
            "token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(config.vocab_size),
            where_of(input, i), "use this model's own tokenizer");
  };
  for (size_t i = 0; i < input.dataset.pairs.size(); ++i) {
    const PromptPair& pair = input.dataset.pairs[i];
    check(pair.clean_ids, "clean", i);
    if (info.prompts == AnalysisInfo::Prompts::kPairs) {
      check(pair.corrupted_ids, "corrupted", i);
      if (pair.clean_ids.size() != pair.corrupted_ids.size())
        throw Error(StatusCode::kBadInput,
                    "the clean prompt has " + std::to_string(pair.clean_ids.size()) + " tokens and the corrupted one " +
                        std::to_string(pair.corrupted_ids.size()),
                    where_of(input, i), "both must have equally many");
    }
    if (need_answers && pair.answer_ids.empty())
      throw Error(StatusCode::kBadInput, "the prompt has no answer, which analysis '" + info.name + "' needs",
                  where_of(input, i), "add 'answer' to the line");
  }
}

std::vector<std::string> position_labels(const AnalysisInput& input, const std::vector<PromptGroup>& groups) {
  int64_t width = longest(groups);
  std::vector<int64_t> shared(static_cast<size_t>(width), -1);  // the id that all prompts have there; -2: they differ
  for (const PromptGroup& g : groups)
    for (int64_t p : g.prompts) {
      const std::vector<int64_t>& ids = input.dataset.pairs[static_cast<size_t>(p)].clean_ids;
      for (int64_t t = 0; t < g.length; ++t) {
        int64_t& cell = shared[static_cast<size_t>(width - g.length + t)];
        int64_t id = ids[static_cast<size_t>(t)];
        cell = cell == -1 || cell == id ? id : -2;
      }
    }
  std::vector<std::string> out;
  for (int64_t t = 0; t < width; ++t) {
    int64_t id = shared[static_cast<size_t>(t)];
    out.push_back(id < 0 ? std::to_string(t - width) : token_texts(input.tokenizer, {id})[0]);
  }
  return out;
}

std::vector<std::string> token_texts(const Tokenizer* tokenizer, const std::vector<int64_t>& ids) {
  std::vector<std::string> out;
  for (int64_t id : ids)
    out.push_back(tokenizer && id >= 0 && id < tokenizer->vocab_size() ? tokenizer->display(id)
                                                                       : "#" + std::to_string(id));
  return out;
}

std::vector<std::string> number_labels(const std::string& prefix, int64_t n) {
  std::vector<std::string> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(prefix + std::to_string(i));
  return out;
}

}  // namespace microtome::engine
