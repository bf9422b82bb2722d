// corpus_scan.h — a corpus through the model up to a hook point and through a dictionary's encoder, sequence by sequence.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/features/tally.h"
#include "core/dictionary/dictionary.h"
#include "core/training/corpus.h"

namespace microtome::analyses {

class CorpusScan {
 public:
  // dictionary: on the model's device. hook: a point of the model whose axes are batch, pos and others that are flattened
  // into d_in. skip_start: the tokenizer's start token at position 0 is left out. Throws Error(kBadInput) naming both widths.
  CorpusScan(const AnalysisInput& input, const Dictionary& dictionary, std::string hook, Corpus corpus, bool skip_start);

  // Neighbouring sequences; at most kMostBlocks, of 1,024 tokens or more.
  struct Block { int64_t begin = 0, end = 0, tokens = 0; };
  static constexpr int64_t kMostBlocks = 16;
  const std::vector<Block>& blocks() const { return blocks_; }
  int64_t tokens() const { return first_token_.back(); }
  const Corpus& corpus() const { return corpus_; }
  int64_t sequence_of(int64_t token) const;
  int64_t first_token(int64_t sequence) const { return first_token_[static_cast<size_t>(sequence)]; }
  const std::string& hook() const { return hook_; }

  // rows: sequences of one length that run together.
  void run(const Block& block, int64_t rows, Progress& progress, const std::function<void(const SequenceCodes&)>& on_sequence) const;

 private:
  void encode(const at::Tensor& x, int64_t sequence, std::vector<SequenceCodes>& out) const;

  const AnalysisInput& input_;
  const Dictionary& dictionary_;
  std::string hook_;
  Corpus corpus_;
  std::vector<int64_t> first_token_;   // a sequence, and the number of tokens last
  std::vector<bool> skips_;
  std::vector<Block> blocks_;
};

}  // namespace microtome::analyses
