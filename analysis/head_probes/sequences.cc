#include "analysis/head_probes/sequences.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "core/base/rng.h"

namespace microtome::analyses::head_probes {
namespace {

constexpr size_t kTries = 64;  // a token that was already drawn is drawn anew; far more tries than needed

}  // namespace

bool fits(const Model& model, int64_t length) {
  return !model.config().hard_context || length <= model.config().context_length;
}

Sequences draw(const AnalysisInput& input, int64_t count, int64_t n, int64_t times, uint64_t first_item) {
  const ModelConfig& c = input.model.config();
  std::set<int64_t> special = {0};
  int64_t start = 0;
  if (c.bos_id && *c.bos_id >= 0 && *c.bos_id < c.vocab_size) start = *c.bos_id;
  if (input.tokenizer && input.tokenizer->bos_id()) start = *input.tokenizer->bos_id();
  if (start < 0 || start >= c.vocab_size) start = 0;
  special.insert(start);
  if (c.eos_id) special.insert(*c.eos_id);
  if (input.tokenizer && input.tokenizer->eos_id()) special.insert(*input.tokenizer->eos_id());
  // A vocabulary table may be padded beyond what the tokenizer knows.
  int64_t vocab = c.vocab_size;
  if (input.tokenizer && input.tokenizer->vocab_size() > 1) vocab = std::min(vocab, input.tokenizer->vocab_size());
  int64_t usable =
      vocab - std::count_if(special.begin(), special.end(), [&](int64_t id) { return id >= 0 && id < vocab; });
  if (usable < 1)
    throw Error(StatusCode::kBadInput, "a vocabulary of " + std::to_string(vocab) + " leaves no tokens to draw",
                "head_probes");

  Sequences out;
  out.n = n;
  out.times = times;
  if (usable < n)
    out.warnings.push_back("the vocabulary has only " + std::to_string(usable) + " tokens to draw " +
                           std::to_string(n) + " from, so tokens repeat within a half");
  out.tokens = at::empty({count, 1 + times * n}, at::TensorOptions().dtype(at::kLong));
  int64_t* to = out.tokens.mutable_data_ptr<int64_t>();
  for (int64_t s = 0; s < count; ++s) {
    Rng rng(item_seed(input.seed, first_item + static_cast<uint64_t>(s)));
    std::vector<int64_t> half;
    std::set<int64_t> used;
    if (usable < 4 * n && usable >= n) {
      // A small vocabulary is shuffled; drawing anew would take long.
      for (int64_t id = 1; id < vocab; ++id)
        if (!special.count(id)) half.push_back(id);
      rng.shuffle(half);
      half.resize(static_cast<size_t>(n));
    }
    while (static_cast<int64_t>(half.size()) < n) {
      int64_t id = 0;
      for (size_t k = 0; k < kTries || special.count(id); ++k) {
        id = 1 + static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocab - 1)));
        if (!special.count(id) && (usable < n || !used.count(id))) break;
      }
      used.insert(id);
      half.push_back(id);
    }
    *to++ = start;
    for (int64_t r = 0; r < times; ++r) to = std::copy(half.begin(), half.end(), to);
  }
  out.tokens = out.tokens.to(input.model.device());
  return out;
}

Sequences from_dataset(const AnalysisInput& input) {
  const std::vector<PromptPair>& pairs = input.dataset.pairs;
  if (pairs.empty())
    throw Error(StatusCode::kBadInput, "tokens is 'dataset' and no dataset was given", "head_probes",
                "name a dataset file");
  Sequences out;
  size_t length = pairs[0].clean_ids.size();
  out.n = (static_cast<int64_t>(length) - 1) / 2;
  out.tokens = at::empty({static_cast<int64_t>(pairs.size()), static_cast<int64_t>(length)},
                         at::TensorOptions().dtype(at::kLong));
  int64_t* to = out.tokens.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < pairs.size(); ++i) {
    const std::vector<int64_t>& ids = pairs[i].clean_ids;
    std::string where = input.dataset.name + (pairs[i].line ? ", line " + std::to_string(pairs[i].line)
                                                            : ", prompt " + std::to_string(i + 1));
    bool good = ids.size() == length && out.n >= 2 && static_cast<int64_t>(length) == 1 + 2 * out.n &&
                std::equal(ids.begin() + 1, ids.begin() + 1 + out.n, ids.begin() + 1 + out.n);
    if (!good)
      throw Error(StatusCode::kBadInput,
                  "the prompt is not a start token, n tokens and the same n tokens again, as long as "
                  "the first prompt",
                  where, "give such ids or use tokens=random");
    for (int64_t id : ids)
      if (id < 0 || id >= input.model.config().vocab_size)
        throw Error(StatusCode::kBadInput,
                    "token id " + std::to_string(id) + " is outside the vocabulary of " +
                        std::to_string(input.model.config().vocab_size),
                    where, "use this model's own tokenizer");
    to = std::copy(ids.begin(), ids.end(), to);
  }
  out.tokens = out.tokens.to(input.model.device());
  return out;
}

}  // namespace microtome::analyses::head_probes
