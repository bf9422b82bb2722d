// hf_tokenizer.h — the Tokenizer behind a tokenizer.json: the stages of the other files in this folder, in the order of
// the reference: added tokens, normalizer, added tokens that are normalised, pre-tokenizer, model, post-processor.
#pragma once

#include <memory>
#include <string>

#include "core/io/tokenizer.h"
#include "core/io/tokenizer/added_tokens.h"
#include "core/io/tokenizer/decoders.h"
#include "core/io/tokenizer/normalizers.h"
#include "core/io/tokenizer/post_processors.h"
#include "core/io/tokenizer/pre_tokenizers.h"
#include "core/io/tokenizer/token_model.h"

namespace microtome::tok {

// Start and end token as the files beside tokenizer.json name them.
struct SpecialNames {
  std::optional<std::string> bos, eos;
  std::optional<int64_t> bos_id, eos_id;   // of config.json, where no name is given
  bool bos_known = false, eos_known = false;   // true also when a file says there is none
};

class HfTokenizer : public Tokenizer {
 public:
  // Throws Error naming file and field.
  HfTokenizer(std::string_view json_text, const std::string& where, const SpecialNames& names);

  Encoding encode(std::string_view text, bool add_special) const override;
  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override;
  std::string piece(int64_t id) const override;
  std::string display(int64_t id) const override;
  std::optional<int64_t> id_of(std::string_view piece) const override;
  int64_t vocab_size() const override { return vocab_size_; }
  std::optional<int64_t> bos_id() const override { return bos_; }
  std::optional<int64_t> eos_id() const override { return eos_; }
  bool adds_bos() const override { return adds_bos_; }
  const std::string& hash() const override { return hash_; }

 private:
  // Null for an id that neither the vocabulary nor the added tokens have.
  const std::string* spelling(int64_t id) const;
  void check_id(int64_t id) const;
  PreTokenized words(std::string_view text, const Budget& budget) const;
  std::optional<int64_t> named(const std::optional<std::string>& name, const std::optional<int64_t>& id) const;

  std::string where_;
  std::unique_ptr<TokenModel> model_;
  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<AddedTokens> added_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  std::unique_ptr<PostProcessor> post_processor_;
  std::unique_ptr<Decoder> decoder_;
  int64_t vocab_size_ = 0;
  std::optional<int64_t> bos_, eos_;
  bool adds_bos_ = false;
  std::string hash_;
};

}  // namespace microtome::tok
