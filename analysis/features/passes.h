// passes.h — the two passes over a block of the corpus, and what their items come to when put together. Both are made so that
// the answer does not depend on how the corpus was cut into blocks.
#pragma once

#include <memory>
#include <vector>

#include "analysis/features/corpus_scan.h"
#include "analysis/features/tally.h"
#include "core/base/artifact.h"

namespace microtome::analyses {

struct PassOptions {
  int64_t d_sae = 0;
  int64_t examples = 20, bands = 4, band_examples = 2, context = 10, bins = 40;
  bool coactive = true;
  uint64_t seed = 0;
};

// First pass: moments of every feature, the strongest sequences of those that may be chosen, active features of a sample.
class FirstPass {
 public:
  // candidates: features that may be chosen, ascending.
  FirstPass(const PassOptions& options, const std::vector<int64_t>& candidates);
  // One block; what cannot be among the best beside what was added so far is left out of the item. allowed: share of the
  // whole sample's size that this block may use.
  std::vector<NamedArray> scan(const CorpusScan& corpus, const CorpusScan::Block& block, double allowed, int64_t rows, Progress& progress) const;
  void add(const std::vector<NamedArray>& item);

  const Moments& moments() const { return moments_; }
  // Of a feature, strongest first; empty where it is no candidate.
  std::vector<Peak> peaks(int64_t feature) const;
  // The sample: see TokenSample::write. dropped: it is not every token.
  const std::vector<int64_t>& sample_ends() const { return ends_; }
  const std::vector<int64_t>& sample_features() const { return features_; }
  bool sample_dropped() const { return dropped_; }

 private:
  PassOptions options_;
  std::vector<int64_t> candidates_;
  std::vector<int32_t> slot_;          // feature → slot, -1: no candidate
  Moments moments_;
  Best<Peak> peaks_;
  std::vector<int64_t> ends_, features_;
  bool dropped_ = false;
};

// Second pass, for the chosen features, whose maxima and strongest examples are known: histograms, windows around the
// strongest tokens, and tokens drawn from bands of activation.
class SecondPass {
 public:
  SecondPass(const PassOptions& options, const FirstPass& first, const CorpusScan& corpus, std::vector<int64_t> chosen);
  std::vector<NamedArray> scan(const CorpusScan::Block& block, int64_t rows, Progress& progress) const;
  void add(const std::vector<NamedArray>& item);

  const std::vector<int64_t>& chosen() const { return chosen_; }
  struct Shown { std::string band; int64_t token = 0; std::vector<float> activations; };   // activations: of its window
  struct Feature {
    std::vector<int64_t> histogram;
    std::vector<Shown> shown;          // strongest first, then by band from the highest down
  };
  Feature feature(size_t slot) const;
  // The first token of the window of a token, and how many there are; both within its sequence.
  std::pair<int64_t, int64_t> window(int64_t token) const;

 private:
  struct Wanted { int64_t token = 0, sequence = 0; int32_t slot = 0, rank = 0; };
  struct Local;
  void look(const SequenceCodes& codes, Local& local) const;
  int64_t band_slot(int64_t slot, int64_t band) const { return slot * options_.bands + band; }

  PassOptions options_;
  const CorpusScan& corpus_;
  std::vector<int64_t> chosen_;
  std::vector<int32_t> slot_;
  std::vector<float> max_;             // of a chosen feature
  std::vector<Wanted> wanted_;         // by sequence, then slot; one a sequence and slot
  std::vector<size_t> wanted_of_;      // sequence → first in wanted_
  std::vector<double> histogram_;      // [slot, bin]: whole numbers
  std::vector<std::vector<Shown>> top_;
  Best<Drawn> drawn_;
};

}  // namespace microtome::analyses
