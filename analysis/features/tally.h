// tally.h — what is counted while a corpus goes by, in bounded memory: moments of every feature, its strongest sequences, and
// fair samples of tokens. All can be made from parts, in any order, and come out the same. Free of LibTorch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace microtome::analyses {

// What fires in one sequence: entries by position, at one position by feature. A token's number is the place of its sequence's
// first token in the corpus plus its position.
struct SequenceCodes {
  int64_t sequence = 0, first_token = 0, length = 0;
  int64_t looked_at = 0;               // tokens that count: all but a start token that is left out
  int64_t from = 0;                    // position of the first of them
  std::vector<int32_t> position, feature;
  std::vector<float> value;            // > 0
};

// Of every feature of the dictionary, over the tokens looked at.
struct Moments {
  explicit Moments(int64_t features) : count(static_cast<size_t>(features)), sum(static_cast<size_t>(features)), max(static_cast<size_t>(features)) {}
  void add(const SequenceCodes& codes);
  int64_t tokens = 0;
  std::vector<int64_t> count;          // tokens the feature fires on
  std::vector<double> sum;
  std::vector<float> max;
};

// For each of many slots the `most` best entries. Entry::better(a, b) is a strict order in which no two entries are equal.
template <class Entry>
class Best {
 public:
  Best(int64_t slots, int64_t most) : most_(static_cast<size_t>(most)), kept_(static_cast<size_t>(slots)) {}
  // Would it be kept?
  bool worth(int64_t slot, const Entry& e) const {
    const auto& k = kept_[static_cast<size_t>(slot)];
    return k.size() < most_ || (most_ > 0 && Entry::better(e, k.front()));
  }
  void push(int64_t slot, Entry e) {
    if (!worth(slot, e)) return;
    auto& k = kept_[static_cast<size_t>(slot)];
    if (k.size() == most_) {
      std::pop_heap(k.begin(), k.end(), Entry::better);
      k.pop_back();
    }
    k.push_back(std::move(e));
    std::push_heap(k.begin(), k.end(), Entry::better);   // the front is the worst
  }
  int64_t slots() const { return static_cast<int64_t>(kept_.size()); }
  // Best first.
  std::vector<Entry> sorted(int64_t slot) const {
    std::vector<Entry> out = kept_[static_cast<size_t>(slot)];
    std::sort(out.begin(), out.end(), Entry::better);
    return out;
  }

 private:
  size_t most_;
  std::vector<std::vector<Entry>> kept_;
};

// A sequence by its strongest token.
struct Peak {
  float value = 0;
  int64_t token = 0;
  static bool better(const Peak& a, const Peak& b) { return a.value != b.value ? a.value > b.value : a.token < b.token; }
};

// A token drawn by a number that depends on seed, feature and token alone: the smallest ones are a sample without favour,
// whatever the order in which tokens come.
struct Drawn {
  uint64_t lot = 0;
  int64_t token = 0;
  std::vector<float> activations{};    // of its window
  static bool better(const Drawn& a, const Drawn& b) { return a.lot != b.lot ? a.lot < b.lot : a.token < b.token; }
};
uint64_t lot_of(uint64_t seed, int64_t feature, int64_t token);

// The strongest token of each feature in one sequence, the first where several are equal.
class SequencePeaks {
 public:
  explicit SequencePeaks(int64_t features) : value_(static_cast<size_t>(features)), position_(static_cast<size_t>(features)) {}
  // Calls f(feature, value, position) for every feature that fires.
  template <class F>
  void each(const SequenceCodes& codes, F&& f) {
    touched_.clear();
    for (size_t i = 0; i < codes.value.size(); ++i) {
      const size_t k = static_cast<size_t>(codes.feature[i]);
      if (value_[k] == 0) touched_.push_back(codes.feature[i]);
      if (codes.value[i] > value_[k]) {
        value_[k] = codes.value[i];
        position_[k] = codes.position[i];
      }
    }
    for (int32_t k : touched_) {
      f(k, value_[static_cast<size_t>(k)], position_[static_cast<size_t>(k)]);
      value_[static_cast<size_t>(k)] = 0;
    }
  }

 private:
  std::vector<float> value_;
  std::vector<int32_t> position_, touched_;
};

// Active features of a sample of tokens, for co-activation: all tokens while they are few, then those with the smallest lots,
// so that neither entries nor pairs exceed what is allowed.
class TokenSample {
 public:
  TokenSample(uint64_t seed, int64_t most_entries, int64_t most_pairs) : seed_(seed), most_entries_(most_entries), most_pairs_(most_pairs) {}
  void add(const SequenceCodes& codes);
  // Tokens in order: ends[i] is where token i's features end in `features`.
  void write(std::vector<int64_t>& ends, std::vector<int64_t>& features) const;
  bool dropped() const { return dropped_; }

 private:
  struct One {
    uint64_t lot = 0;
    int64_t token = 0;
    std::vector<int32_t> features;
    static bool less(const One& a, const One& b) { return a.lot != b.lot ? a.lot < b.lot : a.token < b.token; }
  };
  uint64_t seed_;
  int64_t most_entries_, most_pairs_, entries_ = 0, pairs_ = 0;
  bool dropped_ = false;
  uint64_t cutoff_ = 0;                // once something was dropped: the tokens kept are all those with a lot below it
  std::vector<One> heap_;              // largest lot in front
};

}  // namespace microtome::analyses
