// token_model.h — what cuts one word into tokens. A new kind of model is a new file with its maker in token_model.cc's
// table; everything around it (added tokens, normalizers, pre-tokenizers, decoders) stays as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"

namespace microtome::tok {

// Bounds on what a file may declare.
constexpr size_t kMaxVocabularySize = size_t{4} << 20;
constexpr int64_t kMaxTokenId = (int64_t{1} << 24) - 1;
constexpr size_t kMaxTokenBytes = size_t{64} << 10;

struct ModelToken {
  int64_t id = 0;
  size_t begin = 0, end = 0;   // bytes of the word
  bool as_text = false;        // its piece is the word's own text there: what Unigram calls an unknown
};

// Immutable; thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of a word (valid UTF-8, not empty). Throws Error when the model cannot spell it.
  virtual void tokenize(std::string_view word, std::vector<ModelToken>& out) const = 0;
  virtual std::optional<int64_t> id_of(std::string_view token) const = 0;
  // Null for an id that the vocabulary leaves out.
  virtual const std::string* token_of(int64_t id) const = 0;
  virtual int64_t size() const = 0;   // largest id + 1
};

// From the "model" object. Throws Error(kUnsupported) for a type other than those known, Error(kBadInput) naming the
// field. `where` is the file.
std::unique_ptr<TokenModel> make_model(const Json& spec, const std::string& where);

std::unique_ptr<TokenModel> make_bpe(const Json& spec, const std::string& where);         // bpe.cc
std::unique_ptr<TokenModel> make_unigram(const Json& spec, const std::string& where);     // unigram.cc
std::unique_ptr<TokenModel> make_word_piece(const Json& spec, const std::string& where);  // word_piece.cc

}  // namespace microtome::tok
