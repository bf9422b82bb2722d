#include "analysis/features/corpus_scan.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace microtome::analyses {
namespace {

constexpr int64_t kLeastBlock = 1024;              // tokens
constexpr int64_t kCodesAtOnce = int64_t{1} << 24; // numbers of dense codes held at a time

template <class T>
const T* host(at::Tensor& t) {
  t = t.to(at::kCPU).contiguous();
  return t.const_data_ptr<T>();
}

}  // namespace

CorpusScan::CorpusScan(const AnalysisInput& input, const Dictionary& dictionary, std::string hook, Corpus corpus, bool skip_start)
    : input_(input), dictionary_(dictionary), hook_(std::move(hook)), corpus_(std::move(corpus)) {
  const HookPoint* point = input.model.catalogue().find(hook_);
  if (!point) {
    std::string near;
    for (const std::string& n : input.model.catalogue().nearest(hook_)) near += (near.empty() ? "" : ", ") + n;
    throw Error(StatusCode::kBadInput, "the model has no point '" + hook_ + "', which the dictionary reads", "param hook", "the nearest are " + near);
  }
  hook_ = point->name;
  bool flat = point->axes.size() >= 3 && point->axes[0] == "batch" && point->axes[1] == "pos";
  int64_t width = 1;
  for (size_t i = 2; i < point->sizes.size(); ++i) {
    width *= point->sizes[i];
    flat = flat && point->sizes[i] > 0;
  }
  if (!flat) throw Error(StatusCode::kBadInput, "the point '" + hook_ + "' has no vector a token that a dictionary could read", "param hook", "choose a point with the axes batch, pos, …");
  if (width != dictionary.config.d_in)
    throw Error(StatusCode::kBadInput, "the point '" + hook_ + "' has " + std::to_string(width) + " numbers a token, the dictionary reads " + std::to_string(dictionary.config.d_in),
                "param dictionary", "choose the dictionary of this model, or another point with `hook`");
  first_token_ = {0};
  const std::optional<int64_t> start = input.tokenizer ? input.tokenizer->bos_id() : std::nullopt;
  for (const auto& ids : corpus_.sequences) {
    first_token_.push_back(first_token_.back() + static_cast<int64_t>(ids.size()));
    skips_.push_back(skip_start && (corpus_.starts || (start && !ids.empty() && ids[0] == *start)));
  }
  if (tokens() == 0) throw Error(StatusCode::kBadInput, "the corpus has no tokens", "param corpus", "give a longer text or a smaller `length`");
  const int64_t least = std::max(kLeastBlock, (tokens() + kMostBlocks - 1) / kMostBlocks), count = static_cast<int64_t>(corpus_.sequences.size());
  Block block;
  for (int64_t s = 0; s < count; ++s) {
    block.tokens += static_cast<int64_t>(corpus_.sequences[static_cast<size_t>(s)].size());
    block.end = s + 1;
    if (block.tokens < least && s + 1 < count) continue;
    blocks_.push_back(block);
    block = {s + 1, s + 1, 0};
  }
}

int64_t CorpusScan::sequence_of(int64_t token) const {
  return std::upper_bound(first_token_.begin(), first_token_.end(), token) - first_token_.begin() - 1;
}

void CorpusScan::encode(const at::Tensor& x, int64_t sequence, std::vector<SequenceCodes>& out) const {
  const int64_t length = x.size(1), d_sae = dictionary_.config.d_sae;
  at::Tensor flat = x.flatten(0, 1), finite = at::isfinite(flat).all();
  if (!finite.item<bool>())
    throw Error(StatusCode::kFailed, "the model gives numbers at '" + hook_ + "' that are not finite", "sequences " + std::to_string(sequence) + " to " + std::to_string(sequence + x.size(0) - 1) + " of the corpus",
                "use dtype float32, or look at the model's weights");
  out.clear();
  for (int64_t r = 0; r < x.size(0); ++r) {
    SequenceCodes c;
    c.sequence = sequence + r;
    c.first_token = first_token_[static_cast<size_t>(c.sequence)];
    c.length = length;
    c.from = skips_[static_cast<size_t>(c.sequence)] ? 1 : 0;
    c.looked_at = length - c.from;
    out.push_back(std::move(c));
  }
  const bool sparse = dictionary_.config.kind == "topk" && dictionary_.config.k > 0;
  // The same pieces whatever the batch, so that a token's codes do not depend on what ran beside it.
  const int64_t step = std::max<int64_t>(1, kCodesAtOnce / std::max<int64_t>(1, d_sae));
  for (int64_t begin = 0; begin < flat.size(0); begin += step) {
    at::Tensor part = flat.narrow(0, begin, std::min(step, flat.size(0) - begin)), rows, features, values;
    if (sparse) {
      SparseCodes codes = dictionary_.encode_sparse(part, dictionary_.config.k);
      auto [sorted, order] = codes.features.sort(1);
      at::Tensor v = codes.values.gather(1, order), fires = v > 0;
      rows = fires.nonzero().select(1, 0);
      features = sorted.masked_select(fires);
      values = v.masked_select(fires);
    } else {
      at::Tensor codes = dictionary_.encode(part), fires = codes > 0, places = fires.nonzero();
      rows = places.select(1, 0);
      features = places.select(1, 1);
      values = codes.masked_select(fires);
    }
    values = values.to(at::kFloat);
    const int64_t n = values.numel();
    const int64_t *row = host<int64_t>(rows), *feature = host<int64_t>(features);
    const float* value = host<float>(values);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t token = begin + row[i];
      SequenceCodes& c = out[static_cast<size_t>(token / length)];
      if (token % length < c.from) continue;
      c.position.push_back(static_cast<int32_t>(token % length));
      c.feature.push_back(static_cast<int32_t>(feature[i]));
      c.value.push_back(value[i]);
    }
  }
}

void CorpusScan::run(const Block& block, int64_t rows, Progress& progress, const std::function<void(const SequenceCodes&)>& on_sequence) const {
  at::NoGradGuard no_grad;
  HookPlan plan;
  plan.form = input_.form;
  plan.logits = false;
  if (int64_t layer = layer_of_hook(hook_); layer >= 0) plan.stop_before_layer = layer + 1;
  plan.capture(hook_);
  std::vector<SequenceCodes> codes;
  for (int64_t s = block.begin; s < block.end;) {
    const auto& first = corpus_.sequences[static_cast<size_t>(s)];
    int64_t end = s + 1;
    while (end < block.end && end - s < rows && corpus_.sequences[static_cast<size_t>(end)].size() == first.size()) ++end;
    progress.step(s - block.begin, block.end - block.begin, "sequence " + std::to_string(s + 1) + " of " + std::to_string(corpus_.sequences.size()));
    if (!first.empty()) {
      at::Tensor ids = at::empty({end - s, static_cast<int64_t>(first.size())}, at::kLong);
      for (int64_t r = s; r < end; ++r) {
        const auto& one = corpus_.sequences[static_cast<size_t>(r)];
        std::copy(one.begin(), one.end(), ids.mutable_data_ptr<int64_t>() + (r - s) * static_cast<int64_t>(first.size()));
      }
      at::Tensor x = input_.model.forward(ids.to(input_.model.device()), plan).cache.get(hook_).flatten(2);
      encode(x.to(dictionary_.weight("W_enc").scalar_type()), s, codes);
      for (const SequenceCodes& c : codes) on_sequence(c);
    }
    s = end;
  }
}

}  // namespace microtome::analyses
