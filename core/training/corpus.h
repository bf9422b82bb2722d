// corpus.h — text as sequences of token ids for training and for looking at features. Free of LibTorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/status.h"

namespace microtome {

class Tokenizer;

struct Corpus {
  std::string name;                          // the file's
  std::vector<std::vector<int64_t>> sequences;
  bool starts = false;                       // every sequence begins with the start token
  int64_t tokens() const;
};

// By the file's name and look: *.safetensors holds one integer tensor [n, length] (or `input_ids`); JSON [[1, 2, …], …]; JSON
// lines {"text": "…"}; anything else is text, UTF-8. Ids are taken as they are, a row a sequence, longer ones cut into
// several. Texts are joined (with the end token between documents of JSON lines, where the tokenizer has one) and cut into
// sequences of `length`, each with the tokenizer's start token in front where `bos`; a last shorter one is dropped unless it is
// the only one. max_tokens: 0 reads all. Throws Error(kBadInput) naming file and line or byte; Error(kNotFound) for text
// without a tokenizer.
Corpus read_corpus(const std::string& path, const Tokenizer* tokenizer, int64_t length, bool bos, int64_t vocab, int64_t max_tokens = 0);

}  // namespace microtome
