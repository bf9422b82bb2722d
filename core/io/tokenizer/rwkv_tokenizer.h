// rwkv_tokenizer.h — RWKV's "world" tokenizer: greedy longest match over bytes, with a vocabulary file of one entry a
// line, `id literal length`, the literal being a Python string or bytes literal and the length that of its bytes. Ids
// start at 1; 0 is the end of a text and never produced.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/io/tokenizer.h"

namespace microtome::tok {

class RwkvTokenizer : public Tokenizer {
 public:
  // Throws Error(kBadInput) naming file and line.
  RwkvTokenizer(std::string_view vocabulary, const std::string& where);

  // Bytes in, bytes out: what encode and decode do apart from UTF-8. Throws Error(kBadInput) for a byte that no entry
  // begins with.
  std::vector<int64_t> encode_bytes(std::string_view bytes) const;
  std::string decode_bytes(const std::vector<int64_t>& ids) const;

  Encoding encode(std::string_view text, bool add_special) const override;
  // Malformed parts of the bytes become U+FFFD.
  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override;
  // The entry's text; where its bytes are no text, the literal as the file has it.
  std::string piece(int64_t id) const override;
  std::string display(int64_t id) const override;
  std::optional<int64_t> id_of(std::string_view piece) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  std::optional<int64_t> bos_id() const override { return 0; }
  std::optional<int64_t> eos_id() const override { return 0; }
  bool adds_bos() const override { return false; }
  const std::string& hash() const override { return hash_; }

 private:
  // The longest entry that `rest` begins with: its id, or 0.
  int64_t longest(std::string_view rest) const;
  const std::string& entry(int64_t id) const;

  std::string where_, hash_;
  std::vector<std::string> bytes_;                     // by id; empty: no entry
  std::unordered_map<int64_t, std::string> literals_;  // of entries that are no text
  std::unordered_map<std::string, int64_t> by_piece_;
  std::vector<int64_t> sorted_;                        // ids by bytes
};

}  // namespace microtome::tok
