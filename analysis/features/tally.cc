#include "analysis/features/tally.h"

#include "core/base/rng.h"

namespace microtome::analyses {

void Moments::add(const SequenceCodes& codes) {
  tokens += codes.looked_at;
  for (size_t i = 0; i < codes.value.size(); ++i) {
    const size_t k = static_cast<size_t>(codes.feature[i]);
    ++count[k];
    sum[k] += static_cast<double>(codes.value[i]);
    max[k] = std::max(max[k], codes.value[i]);
  }
}

uint64_t lot_of(uint64_t seed, int64_t feature, int64_t token) {
  uint64_t state = item_seed(seed, static_cast<uint64_t>(feature)) ^ (static_cast<uint64_t>(token) * 0x9e3779b97f4a7c15ull);
  return splitmix64(state);
}

void TokenSample::add(const SequenceCodes& codes) {
  size_t i = 0;
  for (int64_t p = codes.from; p < codes.length; ++p) {
    const size_t begin = i;
    while (i < codes.position.size() && codes.position[i] == p) ++i;
    One one;
    one.token = codes.first_token + p;
    one.lot = lot_of(seed_, -1, one.token);
    if (dropped_ && one.lot >= cutoff_) continue;
    one.features.assign(codes.feature.begin() + static_cast<int64_t>(begin), codes.feature.begin() + static_cast<int64_t>(i));
    const int64_t n = static_cast<int64_t>(one.features.size());
    entries_ += n;
    pairs_ += n * n;
    heap_.push_back(std::move(one));
    std::push_heap(heap_.begin(), heap_.end(), One::less);
    while (heap_.size() > 1 && (entries_ > most_entries_ || pairs_ > most_pairs_)) {
      std::pop_heap(heap_.begin(), heap_.end(), One::less);
      const int64_t gone = static_cast<int64_t>(heap_.back().features.size());
      entries_ -= gone;
      pairs_ -= gone * gone;
      cutoff_ = heap_.back().lot;
      heap_.pop_back();
      dropped_ = true;
    }
  }
}

void TokenSample::write(std::vector<int64_t>& ends, std::vector<int64_t>& features) const {
  std::vector<const One*> order;
  for (const One& one : heap_) order.push_back(&one);
  std::sort(order.begin(), order.end(), [](const One* a, const One* b) { return a->token < b->token; });
  for (const One* one : order) {
    features.insert(features.end(), one->features.begin(), one->features.end());
    ends.push_back(static_cast<int64_t>(features.size()));
  }
}

}  // namespace microtome::analyses
