// added_tokens.h — tokens that are cut out of the text before the model sees it: special ones (<|endoftext|>) and
// others that a file adds to its vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/json.h"
#include "core/io/tokenizer/normalizers.h"
#include "core/io/tokenizer/token_model.h"

namespace microtome::tok {

struct AddedToken {
  int64_t id = 0;
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
};

// A stretch of a text: an added token, or (id < 0) what lies between.
struct AddedSpan {
  size_t begin = 0, end = 0;
  int64_t id = -1;
};

// Finds the leftmost and there the longest of a set of strings. Immutable once filled.
class StringFinder {
 public:
  StringFinder() : nodes_(1) { first_.fill(0); }
  void add(std::string_view text, size_t value);
  bool empty() const { return nodes_.size() == 1; }
  // Length of the longest string that begins at `at`, 0 when none does; *value is its.
  size_t longest_at(std::string_view text, size_t at, size_t* value) const;

 private:
  struct Node {
    int64_t value = -1;
    uint32_t child = 0;          // most nodes have one child; 0: none
    unsigned char byte = 0;      // that leads to it
    bool has_more = false;       // further ones are in more_
  };
  uint32_t child_of(uint32_t node, unsigned char byte) const;
  std::vector<Node> nodes_;
  std::array<uint32_t, 256> first_;                 // children of the root: most positions of a text end here
  std::unordered_map<uint64_t, uint32_t> more_;     // (node, byte) → node
};

// Immutable; thread-safe.
class AddedTokens {
 public:
  // From the list "added_tokens"; null or absent is empty. A token that the model's vocabulary has keeps the id it has
  // there. Throws Error(kBadInput) naming the entry.
  AddedTokens(const Json& list, const TokenModel& model, const Normalizer* normalizer, const std::string& where);

  // `normalized` picks the tokens that are matched against normalised text. The spans cover the text, in order.
  std::vector<AddedSpan> find(std::string_view text, bool normalized, const Budget& budget) const;
  const AddedToken* by_id(int64_t id) const;
  std::optional<int64_t> id_of(std::string_view content) const;
  int64_t size() const { return size_; }   // largest id + 1

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<int64_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  StringFinder raw_, normalized_;
  int64_t size_ = 0;
};

}  // namespace microtome::tok
