// tokenizer.h — text to token ids and back, exactly as Hugging Face's `tokenizers` does for tokenizer.json files of the
// models BPE (byte-level, and SentencePiece style with byte fallback), Unigram and WordPiece: added tokens, normalizers,
// pre-tokenizers, post-processors, decoders; and as RWKV does for its vocabulary files.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace microtome {

struct Encoding {
  std::vector<int64_t> ids;
  std::vector<std::string> pieces;                       // as the vocabulary spells them; Unigram's unknowns as the text
  std::vector<std::pair<int64_t, int64_t>> offsets;      // in code points of the input text; (0,0) for special tokens
};

// Immutable; thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Reads tokenizer.json, or a vocabulary file of RWKV (*.txt), bounded. Errors name file and field or line:
  // "merges[12]: 'xy' is not in the vocabulary".
  static Result<std::shared_ptr<const Tokenizer>> open(const std::string& tokenizer_json_path);
  static Result<std::shared_ptr<const Tokenizer>> parse(std::string_view json_text, const std::string& where);
  // tokenizer.json of a model folder, with bos/eos names from tokenizer_config.json / special_tokens_map.json /
  // config.json; else its rwkv_vocab*.txt. Null value: the folder has neither.
  static Result<std::shared_ptr<const Tokenizer>> open_folder(const std::string& folder);

  // add_special: what `encode(add_special_tokens=True)` adds through the post-processor. Text must be UTF-8
  // (Error kBadInput with the byte offset otherwise).
  virtual Encoding encode(std::string_view text, bool add_special = true) const = 0;
  // skip_special drops special added tokens. Ids out of range: Error kBadInput naming id and vocabulary size.
  virtual std::string decode(const std::vector<int64_t>& ids, bool skip_special = false) const = 0;
  // The vocabulary's spelling of one id; and what a person should see for it (decoded alone, '·' not substituted).
  virtual std::string piece(int64_t id) const = 0;
  virtual std::string display(int64_t id) const = 0;
  virtual std::optional<int64_t> id_of(std::string_view piece) const = 0;
  virtual int64_t vocab_size() const = 0;                // largest id + 1
  virtual std::optional<int64_t> bos_id() const = 0;
  virtual std::optional<int64_t> eos_id() const = 0;
  // True when the post-processor itself puts a start token in front.
  virtual bool adds_bos() const = 0;
  // SHA-256 of tokenizer.json and the special-token names.
  virtual const std::string& hash() const = 0;

  // The id of `text` when it is exactly one token of this tokenizer in the middle of a text, else nothing.
  std::optional<int64_t> single_token(std::string_view text) const;
};

}  // namespace microtome
